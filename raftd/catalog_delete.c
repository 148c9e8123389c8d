/* catalog_delete: how objects leave the catalogue. A stream may lie in its grave for a while, without its name, and come back; after its grace
 * it goes for good, by a command of its own: the clock is in the commands, never looked at here. */
#include "raftd/catalog_private.h"

#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/invariant.h"

static const char DELETE_IN_USE[] =
    "the name is in use by another stream: delete that one first, or leave it as it is";
static const char DELETE_SEVERAL[] =
    "several streams of that name were deleted: name one by its id (stream ls --deleted)";
static const char DELETE_NONE[] = "no deleted stream of that name; its grace may be over";

/* --- taking out -------------------------------------------------------------------------------------------- */

static void catalog_drop_exchange(struct catalog *self, struct catalog_exchange *exchange)
{
    catalog_tell(self,
                 &(struct catalog_change){.kind = CATALOG_EXCHANGE_GONE, .exchange = exchange});
    (void) hash_remove(self->exchanges, span_of(exchange->key)); /* gave us this very object */
    catalog_exchange_destroy(&exchange);
}

static void catalog_drop_group(struct catalog *self, struct catalog_group *group)
{
    catalog_tell(self, &(struct catalog_change){.kind = CATALOG_GROUP_GONE, .group = group});
    if (group->stream->deleted_us == 0) {
        (void) hash_remove(self->groups, span_of(group->key)); /* gave us this very object */
    }
    (void) hash64_remove(self->groups_by_id, group->id); /* and this one, too */
    catalog_group_destroy(&group);
}

static void catalog_drop_stream(struct catalog *self, struct catalog_stream *stream)
{
    LIST_FOREACH (&stream->groups, node) {
        catalog_drop_group(self, LIST_ENTRY(node, struct catalog_group, link));
    }
    catalog_tell(self, &(struct catalog_change){.kind = CATALOG_STREAM_GONE, .stream = stream});
    if (stream->deleted_us == 0) {
        (void) hash_remove(self->streams, span_of(stream->key)); /* gave us this very object */
    }
    (void) hash64_remove(self->streams_by_group, stream->log_group); /* and this one, too */
    catalog_stream_destroy(&stream);
}

/* Its name and those of its groups are free; the rest stays. */
static void catalog_bury_stream(struct catalog *self, struct catalog_stream *stream,
                                uint64_t now_us)
{
    LIST_FOREACH (&stream->groups, node) {
        (void) hash_remove(self->groups,
                           span_of(LIST_ENTRY(node, struct catalog_group, link)->key));
    }
    (void) hash_remove(self->streams, span_of(stream->key)); /* gave us this very object */
    stream->deleted_us = now_us != 0 ? now_us : 1;
    catalog_tell(self, &(struct catalog_change){.kind = CATALOG_STREAM_BURIED, .stream = stream});
}

static void catalog_dig_out_stream(struct catalog *self, struct catalog_stream *stream)
{
    stream->deleted_us = 0;
    void *old = hash_put(self->streams, span_of(stream->key), stream);
    INVARIANT(old == NULL);
    LIST_FOREACH (&stream->groups, node) {
        struct catalog_group *group = LIST_ENTRY(node, struct catalog_group, link);
        old = hash_put(self->groups, span_of(group->key), group);
        INVARIANT(old == NULL);
    }
    catalog_tell(self, &(struct catalog_change){.kind = CATALOG_STREAM_DUG_OUT, .stream = stream});
}

/* --- finding the deleted ----------------------------------------------------------------------------------- */

/* NULL id: any. How many there are; *ret_stream is one of them. */
static unsigned catalog_find_buried(const struct catalog *self, struct span key,
                                    const struct uuid *id, struct catalog_stream **ret_stream)
{
    unsigned count = 0;
    void *object;
    for (size_t cursor = 0; (object = hash64_next(self->streams_by_group, &cursor)) != NULL;) {
        struct catalog_stream *stream = (struct catalog_stream *) object;
        if (stream->deleted_us != 0 && span_equal(span_of(stream->key), key) &&
            (id == NULL || uuid_equal(id, &stream->id))) {
            *ret_stream = stream;
            count++;
        }
    }
    return count;
}

int catalog_missing(const struct catalog *self, struct span namespace_, struct span name)
{
    struct buf key = {0};
    struct catalog_stream *stream;
    catalog_stream_key(&key, namespace_, name);
    bool is_buried = catalog_deleted_count(self) > 0 &&
                     catalog_find_buried(self, buf_span(&key), NULL, &stream) > 0;
    buf_release(&key);
    return is_buried ? ERR_STREAM_DELETED : ERR_NOT_FOUND;
}

/* The one that is meant: 0, ERR_NOT_FOUND, or ERR_BAD_REQUEST (several). */
static int catalog_choose_buried(const struct catalog *self, struct span key, const struct uuid *id,
                                 struct catalog_stream **ret_stream, const char **ret_detail)
{
    unsigned count = catalog_find_buried(self, key, id, ret_stream);
    if (count == 1) {
        return 0;
    }
    *ret_detail = count == 0 ? DELETE_NONE : DELETE_SEVERAL;
    return count == 0 ? ERR_NOT_FOUND : ERR_BAD_REQUEST;
}

/* An id of a message: false when there is none, or none that could be one. */
static bool catalog_read_id(protobuf_c_boolean has, ProtobufCBinaryData bytes, struct uuid *ret_id)
{
    return has && uuid_from_bytes(span_make(bytes.data, bytes.len), ret_id) == 0;
}

/* --- the commands ------------------------------------------------------------------------------------------ */

static uint64_t catalog_grace_ms(const struct catalog_stream *stream)
{
    return stream->spec.numbers[SPEC_STREAM_DELETE_GRACE];
}

uint64_t catalog_stream_due_us(const struct catalog_stream *stream)
{
    uint64_t due_us;
    if (__builtin_mul_overflow(catalog_grace_ms(stream), 1000, &due_us) ||
        __builtin_add_overflow(due_us, stream->deleted_us, &due_us)) {
        return UINT64_MAX;
    }
    return due_us;
}

static void catalog_delete_found(struct catalog *self, struct catalog_stream *stream, bool grace,
                                 uint64_t now_us, struct catalog_outcome *outcome)
{
    outcome->stream_id = stream->id;
    if (grace && catalog_grace_ms(stream) > 0) {
        catalog_bury_stream(self, stream, now_us);
        outcome->due_us = catalog_stream_due_us(stream);
    } else {
        catalog_drop_stream(self, stream);
    }
}

static void catalog_delete_stream(struct catalog *self, const Railgun__CatalogDelete *message,
                                  uint64_t now_us, struct catalog_outcome *outcome)
{
    const Railgun__Delete *what = message->delete_;
    struct uuid id;
    bool has_id = catalog_read_id(what->has_stream_id, what->stream_id, &id);
    bool now = what->has_now && what->now;
    struct catalog_stream *stream =
        catalog_stream_of(self, span_of(message->namespace_), span_of(what->name));
    if (stream != NULL && (!has_id || uuid_equal(&id, &stream->id))) {
        bool grace = message->has_grace && message->grace && !now;
        catalog_delete_found(self, stream, grace, now_us, outcome);
        return;
    }
    if (!now) {
        outcome->error = stream != NULL ? ERR_STREAM_CHANGED : ERR_NOT_FOUND;
        return;
    }
    struct buf key = {0};
    catalog_stream_key(&key, span_of(message->namespace_), span_of(what->name));
    outcome->error =
        catalog_choose_buried(self, buf_span(&key), has_id ? &id : NULL, &stream, &outcome->detail);
    buf_release(&key);
    if (outcome->error == 0) {
        catalog_delete_found(self, stream, false, now_us, outcome);
    }
}

int catalog_apply_delete(struct catalog *self, const Railgun__CatalogDelete *message,
                         uint64_t now_us, struct catalog_outcome *outcome)
{
    const Railgun__Delete *what = message->delete_;
    if (what == NULL || message->namespace_ == NULL || what->name == NULL || !what->has_kind) {
        return ERR_BAD_FORMAT;
    }
    if (what->kind == RAILGUN__KIND__KIND_EXCHANGE) {
        struct catalog_exchange *exchange =
            catalog_exchange_of(self, span_of(message->namespace_), span_of(what->name));
        outcome->error = exchange == NULL ? ERR_NOT_FOUND : 0;
        if (exchange != NULL) {
            catalog_drop_exchange(self, exchange);
        }
        return 0;
    }
    if (what->kind == RAILGUN__KIND__KIND_STREAM) {
        catalog_delete_stream(self, message, now_us, outcome);
        return 0;
    }
    if (what->kind != RAILGUN__KIND__KIND_GROUP || what->group == NULL) {
        return ERR_BAD_FORMAT;
    }
    struct catalog_stream *stream =
        catalog_stream_of(self, span_of(message->namespace_), span_of(what->name));
    struct catalog_group *group =
        stream != NULL ? catalog_group_of(self, stream, span_of(what->group)) : NULL;
    if (group != NULL && message->has_group_id && message->group_id != group->id) {
        group = NULL; /* another one of that name */
    }
    if (group != NULL) {
        catalog_drop_group(self, group);
    } else if (stream != NULL) {
        outcome->error = ERR_NOT_FOUND;
    } else {
        outcome->error = catalog_missing(self, span_of(message->namespace_), span_of(what->name));
    }
    return 0;
}

int catalog_apply_undelete(struct catalog *self, const Railgun__CatalogUndelete *message,
                           struct catalog_outcome *outcome)
{
    const Railgun__Undelete *what = message->undelete;
    if (what == NULL || message->namespace_ == NULL || what->name == NULL) {
        return ERR_BAD_FORMAT;
    }
    struct uuid id;
    bool has_id = catalog_read_id(what->has_stream_id, what->stream_id, &id);
    struct catalog_stream *buried = NULL;
    struct catalog_stream *living =
        catalog_stream_of(self, span_of(message->namespace_), span_of(what->name));
    struct buf key = {0};
    catalog_stream_key(&key, span_of(message->namespace_), span_of(what->name));
    outcome->error =
        catalog_choose_buried(self, buf_span(&key), has_id ? &id : NULL, &buried, &outcome->detail);
    buf_release(&key);
    if (living != NULL && (has_id ? uuid_equal(&id, &living->id) : buried == NULL)) {
        outcome->error = 0; /* it lives: asked twice, or never deleted */
        outcome->stream_id = living->id;
    } else if (living != NULL && buried != NULL) {
        outcome->error = ERR_STREAM_CHANGED;
        outcome->detail = DELETE_IN_USE;
    } else if (outcome->error == 0) {
        INVARIANT(buried != NULL); /* one was chosen */
        outcome->stream_id = buried->id;
        catalog_dig_out_stream(self, buried);
    }
    return 0;
}

void catalog_apply_reap(struct catalog *self, const Railgun__CatalogReap *message, uint64_t now_us)
{
    for (size_t i = 0; i < message->n_log_groups; i++) {
        struct catalog_stream *stream =
            (struct catalog_stream *) hash64_get(self->streams_by_group, message->log_groups[i]);
        if (stream != NULL && stream->deleted_us != 0 && catalog_stream_due_us(stream) <= now_us) {
            catalog_drop_stream(self, stream);
        }
    }
}

size_t catalog_reapable(const struct catalog *self, uint64_t now_us, uint64_t *log_groups,
                        size_t max, uint64_t *ret_next_us)
{
    size_t count = 0;
    uint64_t next_us = UINT64_MAX;
    const struct catalog_stream *stream;
    for (size_t cursor = 0; (stream = catalog_next_stream(self, &cursor)) != NULL;) {
        if (stream->deleted_us == 0) {
            continue;
        }
        uint64_t due_us = catalog_stream_due_us(stream);
        if (due_us <= now_us && count < max) {
            log_groups[count++] = stream->log_group;
        } else if (due_us < next_us) {
            next_us = due_us;
        }
    }
    *ret_next_us = next_us;
    return count;
}
