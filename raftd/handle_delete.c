/* handle_delete: BUS_CATALOG_DELETE. A stream goes with its groups; logd drops the data when its watch tells. */
#include "raftd/handle.h"

#include "common/base/err.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/scan.h"
#include "raftd/raftd.h"

void handle_delete_reply(struct raftd *self, uint64_t ticket, int error)
{
    if (error != 0) {
        (void) bus_reply_error(raftd_bus(self), ticket, error, NULL); /* The asker may be gone. */
        return;
    }
    struct buf meta = {0};
    Railgun__DeleteOk ok = RAILGUN__DELETE_OK__INIT;
    ok.has_revision = 1;
    ok.revision = catalog_revision(raftd_catalog(self));
    scan_pack(&meta, &ok.base);
    struct bus_outgoing out = {.type = RAILGUN__BUS_TYPE__BUS_CATALOG_DELETE,
                               .meta = buf_span(&meta)};
    (void) bus_reply(raftd_bus(self), ticket, &out); /* The asker may be gone: it knows. */
    buf_release(&meta);
}

/* The form alone. NULL if it is good, else what is wrong. */
static const char *handle_delete_problem(const Railgun__CatalogDelete *message)
{
    const Railgun__Delete *what = message->delete_;
    if (what == NULL || !what->has_kind) {
        return "kind: missing";
    }
    bool is_stream = what->kind == RAILGUN__KIND__KIND_STREAM;
    bool is_group = what->kind == RAILGUN__KIND__KIND_GROUP;
    if (!is_stream && !is_group) {
        return "kind: must be stream or group";
    }
    if (ensure_name_problem(what->name) != NULL) {
        return "name: not a valid name";
    }
    if (is_group && ensure_name_problem(what->group) != NULL) {
        return "group: not a valid name";
    }
    if (is_stream && what->group != NULL && what->group[0] != '\0') {
        return "group: not for a stream";
    }
    return NULL;
}

static bool handle_delete_exists(const struct raftd *self, const Railgun__Delete *what,
                                 struct span stream_key)
{
    const struct catalog *catalog = raftd_catalog(self);
    if (what->kind == RAILGUN__KIND__KIND_STREAM) {
        return catalog_find_stream(catalog, stream_key) != NULL;
    }
    struct buf key = {0};
    catalog_group_key(&key, stream_key, span_of(what->group));
    bool exists = catalog_find_group(catalog, buf_span(&key)) != NULL;
    buf_release(&key);
    return exists;
}

void handle_delete(struct raftd *self, const struct bus_message *message)
{
    static char namespace_[] = "default";
    Railgun__CatalogDelete *request = NULL;
    int error = SCAN_UNPACK(message->meta, railgun__catalog_delete, &request);
    if (error != 0) {
        (void) bus_reply_error(raftd_bus(self), message->ticket, error, NULL); /* may be gone */
        return;
    }
    const char *problem = handle_delete_problem(request);
    if (problem == NULL && request->namespace_ != NULL &&
        !span_is(span_of(request->namespace_), namespace_)) {
        error = ERR_UNSUPPORTED;
        problem = "namespace: only \"default\" is built in so far";
    } else if (problem != NULL) {
        error = ERR_BAD_REQUEST;
    }
    if (error != 0) {
        (void) bus_reply_error(raftd_bus(self), message->ticket, error, problem); /* may be gone */
        SCAN_FREE(&request);
        return;
    }
    struct buf key = {0};
    catalog_stream_key(&key, span_of(namespace_), span_of(request->delete_->name));
    if (handle_delete_exists(self, request->delete_, buf_span(&key)) ||
        raftd_is_pending(self, buf_span(&key))) {
        Railgun__CatalogDelete delete_ = RAILGUN__CATALOG_DELETE__INIT;
        delete_.namespace_ = namespace_;
        delete_.delete_ = request->delete_;
        Railgun__CatalogCommand command = RAILGUN__CATALOG_COMMAND__INIT;
        command.delete_ = &delete_;
        raftd_propose(self, &command, message->ticket, buf_span(&key));
    } else {
        handle_delete_reply(self, message->ticket, ERR_NOT_FOUND);
    }
    buf_release(&key);
    SCAN_FREE(&request);
}
