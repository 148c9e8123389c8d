/* handle_lock: BUS_CATALOG_LOCK. Without paths it only tells what is locked. */
#include "raftd/handle.h"

#include <string.h>

#include "common/base/err.h"
#include "common/base/name.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/scan.h"
#include "raftd/raftd.h"

void handle_lock_reply(struct raftd *self, uint64_t ticket, const struct catalog_outcome *outcome)
{
    if (outcome->error != 0) {
        /* The asker may be gone. */
        (void) bus_reply_error(raftd_bus(self), ticket, outcome->error, outcome->detail);
        return;
    }
    struct buf meta = {0};
    char *paths[SPEC_FIELDS_MAX];
    Railgun__LockOk ok = RAILGUN__LOCK_OK__INIT;
    ok.n_locked = lock_paths(outcome->kind, outcome->locked, paths);
    ok.locked = paths;
    ok.has_revision = 1;
    ok.revision = catalog_revision(raftd_catalog(self));
    scan_pack(&meta, &ok.base);
    struct bus_outgoing out = {.type = RAILGUN__BUS_TYPE__BUS_CATALOG_LOCK,
                               .meta = buf_span(&meta)};
    (void) bus_reply(raftd_bus(self), ticket, &out); /* The asker may be gone: it knows. */
    buf_release(&meta);
}

/* The form: 0, or an error with its reason in `problem`. */
static int handle_lock_read(const Railgun__CatalogLock *request, enum spec_kind *ret_kind,
                            struct span *ret_namespace, struct buf *problem)
{
    const Railgun__Lock *what = request->lock;
    const char *reason = NULL;
    uint32_t mask;
    if (what == NULL || !what->has_kind || !ensure_kind(what->kind, ret_kind) ||
        *ret_kind == SPEC_EXCHANGE) {
        buf_append_text(problem, "kind: must be stream or group");
        return ERR_BAD_REQUEST;
    }
    if (ensure_name_problem(what->name) != NULL ||
        (*ret_kind == SPEC_GROUP && ensure_name_problem(what->group) != NULL)) {
        buf_append_text(problem, "name or group: not a valid name");
        return ERR_BAD_REQUEST;
    }
    int error = ensure_namespace(request->namespace_, *ret_kind, ret_namespace, &reason);
    if (error != 0) {
        buf_printf(problem, "namespace: %s", reason);
        return error;
    }
    error = lock_read(*ret_kind, what->paths, what->n_paths, &mask, &reason);
    if (error != 0) {
        buf_printf(problem, "paths: there is no \"%s\"", reason);
    }
    return error;
}

/* What is locked now; an error when there is nothing to lock. */
static void handle_lock_look(const struct raftd *self, const Railgun__Lock *what,
                             enum spec_kind kind, struct span namespace_, struct span key,
                             struct catalog_outcome *outcome)
{
    const struct catalog_stream *stream = catalog_find_stream(raftd_catalog(self), key);
    const struct catalog_group *group = NULL;
    outcome->kind = kind;
    if (kind == SPEC_GROUP) {
        struct buf group_key = {0};
        catalog_group_key(&group_key, key, span_of(what->group));
        group = catalog_find_group(raftd_catalog(self), buf_span(&group_key));
        buf_release(&group_key);
    }
    if (stream == NULL) {
        outcome->error = catalog_missing(raftd_catalog(self), namespace_, span_of(what->name));
    } else if (kind == SPEC_GROUP && group == NULL) {
        outcome->error = ERR_NOT_FOUND;
    } else {
        outcome->locked = group != NULL ? group->locked : stream->locked;
    }
}

static void handle_lock_decide(struct raftd *self, Railgun__Lock *what, enum spec_kind kind,
                               struct span namespace_, uint64_t ticket)
{
    char text[NAME_SIZE_MAX + 1] = {0};
    memcpy(text, namespace_.data, namespace_.size); /* a valid name: it fits */
    struct buf key = {0};
    struct catalog_outcome now = {.command = CATALOG_LOCK};
    catalog_stream_key(&key, namespace_, span_of(what->name));
    handle_lock_look(self, what, kind, namespace_, buf_span(&key), &now);
    if ((now.error == 0 && what->n_paths > 0) || raftd_is_pending(self, buf_span(&key))) {
        Railgun__CatalogLock lock = RAILGUN__CATALOG_LOCK__INIT;
        lock.namespace_ = text;
        lock.lock = what;
        Railgun__CatalogCommand command = RAILGUN__CATALOG_COMMAND__INIT;
        command.lock = &lock;
        raftd_propose(self, &command, ticket, buf_span(&key));
    } else {
        handle_lock_reply(self, ticket, &now);
    }
    buf_release(&key);
}

void handle_lock(struct raftd *self, const struct bus_message *message)
{
    Railgun__CatalogLock *request = NULL;
    enum spec_kind kind = SPEC_STREAM;
    struct span namespace_ = {0};
    struct buf problem = {0};
    int error = SCAN_UNPACK(message->meta, railgun__catalog_lock, &request);
    if (error == 0) {
        error = handle_lock_read(request, &kind, &namespace_, &problem);
    }
    if (error == 0) {
        handle_lock_decide(self, request->lock, kind, namespace_, message->ticket);
    } else {
        /* may be gone */
        (void) bus_reply_error(raftd_bus(self), message->ticket, error, buf_text(&problem));
    }
    buf_release(&problem);
    SCAN_FREE(&request);
}
