/* handle_delete: BUS_CATALOG_DELETE. A stream goes with its groups, after its grace; logd drops the data when its watch tells. */
#include "raftd/handle.h"

#include <string.h>

#include "common/base/err.h"
#include "common/base/name.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/scan.h"
#include "raftd/raftd.h"

void handle_delete_reply(struct raftd *self, uint64_t ticket, const struct catalog_outcome *outcome)
{
    if (outcome->error != 0) {
        /* The asker may be gone. */
        (void) bus_reply_error(raftd_bus(self), ticket, outcome->error, outcome->detail);
        return;
    }
    struct buf meta = {0};
    struct uuid id = outcome->stream_id;
    Railgun__DeleteOk ok = RAILGUN__DELETE_OK__INIT;
    ok.has_revision = 1;
    ok.revision = catalog_revision(raftd_catalog(self));
    ok.has_stream_id = !uuid_is_nil(&id);
    ok.stream_id = (ProtobufCBinaryData){sizeof(id.bytes), id.bytes};
    ok.has_undelete_until_us = outcome->due_us != 0;
    ok.undelete_until_us = outcome->due_us;
    scan_pack(&meta, &ok.base);
    struct bus_outgoing out = {.type = RAILGUN__BUS_TYPE__BUS_CATALOG_DELETE,
                               .meta = buf_span(&meta)};
    (void) bus_reply(raftd_bus(self), ticket, &out); /* The asker may be gone: it knows. */
    buf_release(&meta);
}

/* The form alone: 0 with what is meant, or an error with its reason. */
static int handle_delete_read(const Railgun__CatalogDelete *message, enum spec_kind *ret_kind,
                              struct span *ret_namespace, const char **ret_problem)
{
    const Railgun__Delete *what = message->delete_;
    if (what == NULL || !what->has_kind) {
        *ret_problem = "kind: missing";
        return ERR_BAD_REQUEST;
    }
    if (!ensure_kind(what->kind, ret_kind)) {
        *ret_problem = "kind: must be stream, group or exchange";
        return ERR_BAD_REQUEST;
    }
    if (ensure_name_problem(what->name) != NULL) {
        *ret_problem = "name: not a valid name";
        return ERR_BAD_REQUEST;
    }
    if (*ret_kind == SPEC_GROUP && ensure_name_problem(what->group) != NULL) {
        *ret_problem = "group: not a valid name";
        return ERR_BAD_REQUEST;
    }
    if (*ret_kind != SPEC_GROUP && what->group != NULL && what->group[0] != '\0') {
        *ret_problem = "group: for groups only";
        return ERR_BAD_REQUEST;
    }
    struct uuid id;
    if (what->has_stream_id &&
        uuid_from_bytes(span_make(what->stream_id.data, what->stream_id.len), &id) != 0) {
        *ret_problem = "stream_id: 16 bytes";
        return ERR_BAD_REQUEST;
    }
    int error = ensure_namespace(message->namespace_, *ret_kind, ret_namespace, ret_problem);
    if (error == ERR_UNSUPPORTED) {
        *ret_problem = "namespace: only \"default\" is built in so far";
    } else if (error != 0) {
        *ret_problem = "namespace: not a valid name";
    }
    return error;
}

/* `key`: of the stream, of the group's stream, or of the exchange. */
static bool handle_delete_exists(const struct raftd *self, enum spec_kind kind,
                                 const Railgun__Delete *what, struct span key)
{
    const struct catalog *catalog = raftd_catalog(self);
    struct buf group_key = {0};
    bool exists = false;
    switch (kind) {
    case SPEC_STREAM: /* `now` also means what was deleted before: applying it finds that */
        exists = (what->has_now && what->now) || catalog_find_stream(catalog, key) != NULL;
        break;
    case SPEC_GROUP:
        catalog_group_key(&group_key, key, span_of(what->group));
        exists = catalog_find_group(catalog, buf_span(&group_key)) != NULL;
        break;
    case SPEC_EXCHANGE:
        exists = catalog_find_exchange(catalog, key) != NULL;
        break;
    }
    buf_release(&group_key);
    return exists;
}

void handle_delete(struct raftd *self, const struct bus_message *message)
{
    Railgun__CatalogDelete *request = NULL;
    int error = SCAN_UNPACK(message->meta, railgun__catalog_delete, &request);
    if (error != 0) {
        (void) bus_reply_error(raftd_bus(self), message->ticket, error, NULL); /* may be gone */
        return;
    }
    enum spec_kind kind = SPEC_STREAM;
    struct span namespace_ = {0};
    const char *problem = NULL;
    error = handle_delete_read(request, &kind, &namespace_, &problem);
    if (error != 0) {
        (void) bus_reply_error(raftd_bus(self), message->ticket, error, problem); /* may be gone */
        SCAN_FREE(&request);
        return;
    }
    struct buf key = {0};
    catalog_stream_key(&key, namespace_, span_of(request->delete_->name));
    if (handle_delete_exists(self, kind, request->delete_, buf_span(&key)) ||
        raftd_is_pending(self, buf_span(&key))) {
        char text[NAME_SIZE_MAX + 1] = {0};
        memcpy(text, namespace_.data, namespace_.size); /* a valid name: it fits */
        Railgun__CatalogDelete delete_ = RAILGUN__CATALOG_DELETE__INIT;
        delete_.namespace_ = text;
        delete_.delete_ = request->delete_;
        delete_.has_grace = 1;
        delete_.grace = 1;
        delete_.has_group_id = request->has_group_id;
        delete_.group_id = request->group_id;
        Railgun__CatalogCommand command = RAILGUN__CATALOG_COMMAND__INIT;
        command.delete_ = &delete_;
        raftd_propose(self, &command, message->ticket, buf_span(&key));
    } else {
        bool is_streamless =
            kind == SPEC_GROUP && catalog_find_stream(raftd_catalog(self), buf_span(&key)) == NULL;
        error = is_streamless ? catalog_missing(raftd_catalog(self), namespace_,
                                                span_of(request->delete_->name))
                              : ERR_NOT_FOUND;
        handle_delete_reply(self, message->ticket, &(struct catalog_outcome){.error = error});
    }
    buf_release(&key);
    SCAN_FREE(&request);
}
