/* catalog: a cache of raftd's catalogue. Owns its entries. Streams are found by name and by log group, groups by their stream and
 * name and by id, exchanges in a part of their own; sorted lists for paging are made when somebody asks. Messages are read in place. Must never show a stream
 * under a name that the catalogue has given to another one. */
#include "frontd/catalog.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/wire/changes.h"
#include "common/wire/pb.h"

#include "frontd/catalog_exchanges.h"

enum { /* CatalogStream, CatalogGroup of catalog.proto */
       STREAM_NAME = 2,
       STREAM_ID = 3,
       STREAM_LOG_GROUP = 4,
       STREAM_VERSION = 5,
       STREAM_SPEC = 6,
       STREAM_CREATED = 7,
       STREAM_DELETED = 8,
       GROUP_ID = 1,
       GROUP_LOG_GROUP = 2,
       GROUP_NAME = 3,
       GROUP_VERSION = 4,
       GROUP_SPEC = 5,
       GROUP_CREATED = 6,
};

struct stream {
    struct catalog_stream view;
    uint8_t *bytes;      /* the message */
    struct hash *groups; /* of struct group by name; NULL: none */
    uint64_t generation; /* of the snapshot that last named it */
};

struct group {
    struct catalog_group view;
    uint8_t *bytes; /* the message */
    struct stream *of;
    uint64_t generation;
};

struct catalog {
    struct hash64 *by_log_group; /* of struct stream, owned */
    struct hash *by_name;        /* those that live */
    struct hash *deleted;        /* by name: the last of that name that was deleted */
    struct hash64 *groups;       /* of struct group by id, owned */
    struct catalog_exchanges *exchanges;
    uint64_t revision;
    uint64_t watch_revision; /* known when the revision reaches it */
    uint64_t generation;     /* counts resets */
    bool is_watched;
    bool is_partial; /* `more` was set: the rest of a revision or snapshot is to come */
    bool is_reset;   /* a snapshot is under way: at its end what it did not name goes */
    bool is_known;
    struct stream **sorted_streams; /* NULL: to be made */
    struct group **sorted_groups;
    size_t sorted_group_count;
};

struct catalog *catalog_new(void)
{
    struct catalog *self = MEM_NEW(struct catalog);
    self->by_name = hash_new();
    self->deleted = hash_new();
    self->by_log_group = hash64_new();
    self->groups = hash64_new();
    self->exchanges = catalog_exchanges_new();
    return self;
}

static void catalog_unsort(struct catalog *self)
{
    MEM_FREE(self->sorted_streams);
    MEM_FREE(self->sorted_groups);
}

static void group_remove(struct catalog *self, struct group *group)
{
    catalog_unsort(self);
    (void) hash64_remove(self->groups, group->view.group_id); /* is group */
    (void) hash_remove(group->of->groups, group->view.name);  /* is group */
    group->of->view.group_count--;
    mem_free(group->bytes);
    mem_free(group);
}

/* Nobody finds it by name any more. */
static void stream_unname(struct catalog *self, struct stream *stream)
{
    if (hash_get(self->by_name, stream->view.name) == stream) {
        (void) hash_remove(self->by_name, stream->view.name); /* is stream */
    }
    if (hash_get(self->deleted, stream->view.name) == stream) {
        (void) hash_remove(self->deleted, stream->view.name); /* is stream */
    }
}

static void stream_name(struct catalog *self, struct stream *stream)
{
    struct hash *by_name = stream->view.deleted_us != 0 ? self->deleted : self->by_name;
    (void) hash_put(by_name, stream->view.name, stream); /* takes the place of one deleted before */
}

static void stream_remove(struct catalog *self, struct stream *stream)
{
    size_t cursor = 0;
    struct group *group = NULL;
    catalog_unsort(self);
    while (stream->groups != NULL &&
           (group = (struct group *) hash_next(stream->groups, &cursor)) != NULL) {
        group_remove(self, group);
    }
    hash_destroy(&stream->groups);
    (void) hash64_remove(self->by_log_group, stream->view.log_group); /* is stream */
    stream_unname(self, stream);
    mem_free(stream->bytes);
    mem_free(stream);
}

void catalog_destroy(struct catalog **self)
{
    struct catalog *catalog = *self;
    *self = NULL;
    if (catalog == NULL) {
        return;
    }
    size_t cursor = 0;
    struct stream *stream = NULL;
    while ((stream = (struct stream *) hash64_next(catalog->by_log_group, &cursor)) != NULL) {
        stream_remove(catalog, stream);
    }
    catalog_unsort(catalog);
    hash_destroy(&catalog->by_name);
    hash_destroy(&catalog->deleted);
    hash64_destroy(&catalog->by_log_group);
    hash64_destroy(&catalog->groups);
    catalog_exchanges_destroy(&catalog->exchanges);
    mem_free(catalog);
}

/* --- taking in changes --- */

static uint8_t *entry_own(struct span message)
{
    uint8_t *bytes = (uint8_t *) mem_new(message.size);
    memcpy(bytes, message.data, message.size);
    return bytes;
}

static int stream_read(struct span message, struct catalog_stream *ret_view)
{
    struct catalog_stream view = {.message = message};
    struct pb_field field;
    int result = 0;
    while ((result = pb_next(&message, &field)) == 1) {
        if (field.number == STREAM_NAME && field.type == PB_BYTES) {
            view.name = field.bytes;
        } else if (field.number == STREAM_ID && field.type == PB_BYTES) {
            if (uuid_from_bytes(field.bytes, &view.id) != 0) {
                return ERR_PROTOCOL;
            }
        } else if (field.number == STREAM_LOG_GROUP) {
            view.log_group = field.value;
        } else if (field.number == STREAM_VERSION) {
            view.version = field.value;
        } else if (field.number == STREAM_SPEC && field.type == PB_BYTES) {
            view.spec = field.bytes;
        } else if (field.number == STREAM_CREATED) {
            view.created_us = field.value;
        } else if (field.number == STREAM_DELETED) {
            view.deleted_us = field.value;
        }
    }
    if (result != 0 || view.name.size == 0 || view.log_group == 0) {
        return ERR_PROTOCOL;
    }
    *ret_view = view;
    return 0;
}

static int catalog_put_stream(struct catalog *self, struct span message)
{
    struct catalog_stream view;
    int result = stream_read(message, &view);
    if (result != 0) {
        return result;
    }
    struct stream *stream = (struct stream *) hash64_get(self->by_log_group, view.log_group);
    struct stream *namesake = (struct stream *) hash_get(self->by_name, view.name);
    if (view.deleted_us == 0 && namesake != NULL && namesake != stream) {
        stream_remove(self, namesake); /* the name was given to a new stream */
    }
    catalog_unsort(self);
    if (stream == NULL) {
        stream = MEM_NEW(struct stream);
        (void) hash64_put(self->by_log_group, view.log_group, stream); /* was absent */
    } else {
        stream_unname(self, stream); /* named again below, with the new bytes */
    }
    uint8_t *old = stream->bytes;
    size_t group_count = stream->view.group_count;
    stream->bytes = entry_own(message);
    (void) stream_read(span_make(stream->bytes, message.size), &stream->view); /* as just now */
    stream->view.group_count = group_count;
    stream->generation = self->generation;
    mem_free(old);
    stream_name(self, stream);
    size_t cursor = 0;
    struct group *group = NULL;
    while (stream->groups != NULL &&
           (group = (struct group *) hash_next(stream->groups, &cursor)) != NULL) {
        group->view.stream = stream->view.name;
    }
    return 0;
}

static int group_read(struct span message, struct catalog_group *ret_view)
{
    struct catalog_group view = {.message = message};
    struct pb_field field;
    int result = 0;
    while ((result = pb_next(&message, &field)) == 1) {
        if (field.number == GROUP_ID) {
            view.group_id = field.value;
        } else if (field.number == GROUP_LOG_GROUP) {
            view.log_group = field.value;
        } else if (field.number == GROUP_NAME && field.type == PB_BYTES) {
            view.name = field.bytes;
        } else if (field.number == GROUP_VERSION) {
            view.version = field.value;
        } else if (field.number == GROUP_SPEC && field.type == PB_BYTES) {
            view.spec = field.bytes;
        } else if (field.number == GROUP_CREATED) {
            view.created_us = field.value;
        }
    }
    if (result != 0 || view.name.size == 0 || view.group_id == 0) {
        return ERR_PROTOCOL;
    }
    *ret_view = view;
    return 0;
}

static int catalog_put_group(struct catalog *self, struct span message)
{
    struct catalog_group view;
    int result = group_read(message, &view);
    if (result != 0) {
        return result;
    }
    struct stream *stream = (struct stream *) hash64_get(self->by_log_group, view.log_group);
    if (stream == NULL) {
        return ERR_PROTOCOL; /* a stream always comes before its groups */
    }
    struct group *group = (struct group *) hash64_get(self->groups, view.group_id);
    struct group *namesake =
        stream->groups != NULL ? (struct group *) hash_get(stream->groups, view.name) : NULL;
    if (group != NULL && group != namesake) {
        group_remove(self, group); /* ids are never re-used: a corrected entry */
    }
    if (namesake != NULL) {
        group_remove(self, namesake);
    }
    catalog_unsort(self);
    group = MEM_NEW(struct group);
    group->bytes = entry_own(message);
    (void) group_read(span_make(group->bytes, message.size), &group->view); /* as just now */
    group->view.stream = stream->view.name;
    group->of = stream;
    group->generation = self->generation;
    if (stream->groups == NULL) {
        stream->groups = hash_new();
    }
    (void) hash_put(stream->groups, group->view.name, group);     /* was absent */
    (void) hash64_put(self->groups, group->view.group_id, group); /* was absent */
    stream->view.group_count++;
    return 0;
}

/* The snapshot is complete: what it did not name is gone. */
static void catalog_sweep(struct catalog *self)
{
    size_t cursor = 0;
    struct stream *stream = NULL;
    while ((stream = (struct stream *) hash64_next(self->by_log_group, &cursor)) != NULL) {
        if (stream->generation != self->generation) {
            stream_remove(self, stream);
        }
    }
    cursor = 0;
    struct group *group = NULL;
    while ((group = (struct group *) hash64_next(self->groups, &cursor)) != NULL) {
        if (group->generation != self->generation) {
            group_remove(self, group);
        }
    }
    catalog_exchanges_sweep(self->exchanges, self->generation);
}

static void catalog_drop_stream(struct catalog *self, uint64_t log_group)
{
    struct stream *stream = (struct stream *) hash64_get(self->by_log_group, log_group);
    if (stream != NULL) {
        stream_remove(self, stream);
    }
}

static void catalog_drop_group(struct catalog *self, uint64_t group_id)
{
    struct group *group = (struct group *) hash64_get(self->groups, group_id);
    if (group != NULL) {
        group_remove(self, group);
    }
}

/* The numbers of a repeated field, one by one or packed. */
typedef void drop_fn(struct catalog *self, uint64_t number);
static int catalog_drop_each(struct catalog *self, const struct pb_field *field, drop_fn *drop)
{
    if (field->type == PB_VARINT) {
        drop(self, field->value);
        return 0;
    }
    return ERR_PROTOCOL; /* proto2 does not pack unless told to */
}

static int catalog_apply_field(struct catalog *self, const struct pb_field *field)
{
    if (field->number == CHANGES_STREAMS && field->type == PB_BYTES) {
        return catalog_put_stream(self, field->bytes);
    }
    if (field->number == CHANGES_GROUPS && field->type == PB_BYTES) {
        return catalog_put_group(self, field->bytes);
    }
    if (field->number == CHANGES_STREAMS_DELETED) {
        return catalog_drop_each(self, field, catalog_drop_stream);
    }
    if (field->number == CHANGES_GROUPS_DELETED) {
        return catalog_drop_each(self, field, catalog_drop_group);
    }
    if (field->number == CHANGES_EXCHANGES && field->type == PB_BYTES) {
        return catalog_exchanges_put(self->exchanges, field->bytes, self->generation);
    }
    if (field->number == CHANGES_EXCHANGES_DELETED && field->type == PB_BYTES) {
        return catalog_exchanges_drop(self->exchanges, field->bytes);
    }
    return 0;
}

static void catalog_update_known(struct catalog *self)
{
    if (self->is_watched && !self->is_partial && self->revision >= self->watch_revision) {
        self->is_known = true;
    }
}

int catalog_apply(struct catalog *self, struct span changes)
{
    struct changes_head head;
    if (changes_read_head(changes, &head) != 0) {
        return ERR_PROTOCOL;
    }
    if (head.reset && !self->is_reset) {
        self->is_reset = true;
        self->generation++;
    }
    struct pb_field field;
    while (pb_next(&changes, &field) == 1) {
        if (catalog_apply_field(self, &field) != 0) {
            return ERR_PROTOCOL;
        }
    }
    self->is_partial = head.more;
    if (!head.more) {
        if (self->is_reset) {
            catalog_sweep(self);
            self->is_reset = false;
        }
        self->revision = head.revision;
        catalog_update_known(self);
    }
    return 0;
}

void catalog_watched(struct catalog *self, uint64_t revision)
{
    self->is_watched = true;
    self->watch_revision = revision;
    catalog_update_known(self);
}

void catalog_unwatched(struct catalog *self)
{
    self->is_watched = false;
    self->is_partial = false;
    self->is_reset = false;
}

void catalog_distrust(struct catalog *self)
{
    catalog_unwatched(self);
    self->revision = 0;
}

bool catalog_is_known(const struct catalog *self)
{
    return self->is_known;
}

uint64_t catalog_revision(const struct catalog *self)
{
    return self->revision;
}

size_t catalog_stream_count(const struct catalog *self)
{
    return hash_count(self->by_name);
}

size_t catalog_group_count(const struct catalog *self)
{
    size_t count = hash64_count(self->groups);
    const struct catalog_stream *stream;
    for (size_t cursor = 0; (stream = catalog_next_deleted(self, &cursor)) != NULL;) {
        count -= stream->group_count;
    }
    return count;
}

const struct catalog_stream *catalog_find_deleted(const struct catalog *self, struct span name)
{
    const struct stream *stream = (const struct stream *) hash_get(self->deleted, name);
    return stream != NULL ? &stream->view : NULL;
}

const struct catalog_stream *catalog_next_deleted(const struct catalog *self, size_t *cursor)
{
    const struct stream *stream;
    bool has_some = hash_count(self->by_name) < hash64_count(self->by_log_group);
    while (has_some &&
           (stream = (const struct stream *) hash64_next(self->by_log_group, cursor)) != NULL) {
        if (stream->view.deleted_us != 0) {
            return &stream->view;
        }
    }
    return NULL;
}

uint64_t catalog_undelete_until_us(const struct catalog_stream *stream)
{
    enum { SPEC_DELETE_GRACE = 11 };
    uint64_t grace_ms = 0;
    struct span spec = stream->spec;
    struct pb_field field;
    while (pb_next(&spec, &field) == 1) {
        grace_ms = field.number == SPEC_DELETE_GRACE ? field.value : grace_ms;
    }
    return stream->deleted_us + grace_ms * 1000; /* raftd bounds it far below an overflow */
}

size_t catalog_exchange_count(const struct catalog *self)
{
    return catalog_exchanges_count(self->exchanges);
}

const struct catalog_exchange *catalog_find_exchange(const struct catalog *self,
                                                     struct span namespace_, struct span name)
{
    return catalog_exchanges_find(self->exchanges, namespace_, name);
}

const struct catalog_exchange *catalog_next_exchange(struct catalog *self, struct span namespace_,
                                                     struct span after, struct span prefix)
{
    return catalog_exchanges_next(self->exchanges, namespace_, after, prefix);
}

const struct catalog_stream *catalog_find_stream(const struct catalog *self, struct span name)
{
    const struct stream *stream = (const struct stream *) hash_get(self->by_name, name);
    return stream != NULL ? &stream->view : NULL;
}

const struct catalog_group *catalog_find_group(const struct catalog *self,
                                               const struct catalog_stream *stream,
                                               struct span name)
{
    const struct stream *of =
        (const struct stream *) hash64_get(self->by_log_group, stream->log_group);
    if (of == NULL || of->groups == NULL) {
        return NULL;
    }
    const struct group *group = (const struct group *) hash_get(of->groups, name);
    return group != NULL ? &group->view : NULL;
}

/* --- in order of name --- */

static int span_compare(struct span a, struct span b)
{
    size_t size = a.size < b.size ? a.size : b.size;
    int order = size != 0 ? memcmp(a.data, b.data, size) : 0;
    if (order != 0) {
        return order;
    }
    return a.size < b.size ? -1 : a.size > b.size;
}

static bool span_begins_with(struct span bytes, struct span prefix)
{
    return bytes.size >= prefix.size && span_equal(span_make(bytes.data, prefix.size), prefix);
}

static int stream_order(const void *a, const void *b)
{
    return span_compare((*(struct stream *const *) a)->view.name,
                        (*(struct stream *const *) b)->view.name);
}

static int group_order(const void *a, const void *b)
{
    const struct group *one = *(struct group *const *) a;
    const struct group *other = *(struct group *const *) b;
    int order = span_compare(one->view.stream, other->view.stream);
    return order != 0 ? order : span_compare(one->view.name, other->view.name);
}

static void catalog_sort(struct catalog *self)
{
    size_t cursor = 0;
    size_t count = 0;
    if (self->sorted_streams != NULL) {
        return;
    }
    struct stream *stream = NULL;
    self->sorted_streams = MEM_NEW_ARRAY(hash_count(self->by_name), struct stream *);
    while ((stream = (struct stream *) hash_next(self->by_name, &cursor)) != NULL) {
        self->sorted_streams[count++] = stream;
    }
    qsort(self->sorted_streams, count, sizeof(struct stream *), stream_order);
    struct group *group = NULL;
    cursor = 0;
    count = 0;
    self->sorted_groups = MEM_NEW_ARRAY(hash64_count(self->groups), struct group *);
    while ((group = (struct group *) hash64_next(self->groups, &cursor)) != NULL) {
        if (group->of->view.deleted_us == 0) {
            self->sorted_groups[count++] = group;
        }
    }
    self->sorted_group_count = count;
    qsort(self->sorted_groups, count, sizeof(struct group *), group_order);
}

const struct catalog_stream *catalog_next_stream(struct catalog *self, struct span after,
                                                 struct span prefix)
{
    catalog_sort(self);
    size_t low = 0;
    size_t high = hash_count(self->by_name);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        struct span name = self->sorted_streams[middle]->view.name;
        if (span_compare(name, after) <= 0 || span_compare(name, prefix) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == hash_count(self->by_name)) {
        return NULL;
    }
    const struct catalog_stream *found = &self->sorted_streams[low]->view;
    return span_begins_with(found->name, prefix) ? found : NULL;
}

const struct catalog_group *catalog_next_group(struct catalog *self, struct span after_stream,
                                               struct span after_group, struct span only,
                                               struct span prefix)
{
    catalog_sort(self);
    size_t low = 0;
    size_t high = self->sorted_group_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct catalog_group *group = &self->sorted_groups[middle]->view;
        int order = span_compare(group->stream, after_stream);
        order = order != 0 ? order : span_compare(group->name, after_group);
        if (order <= 0 || span_compare(group->stream, only) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    for (; low < self->sorted_group_count; low++) {
        const struct catalog_group *group = &self->sorted_groups[low]->view;
        if (only.size != 0 && !span_equal(group->stream, only)) {
            return NULL;
        }
        if (span_begins_with(group->name, prefix)) {
            return group;
        }
    }
    return NULL;
}
