/* handle_undelete: BUS_CATALOG_UNDELETE. A deleted stream comes back, within its grace, when its name is free. */
#include "raftd/handle.h"

#include <string.h>

#include "common/base/err.h"
#include "common/base/name.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/scan.h"
#include "raftd/raftd.h"

void handle_undelete_reply(struct raftd *self, uint64_t ticket,
                           const struct catalog_outcome *outcome)
{
    if (outcome->error != 0) {
        /* The asker may be gone. */
        (void) bus_reply_error(raftd_bus(self), ticket, outcome->error, outcome->detail);
        return;
    }
    struct buf meta = {0};
    struct uuid id = outcome->stream_id;
    Railgun__UndeleteOk ok = RAILGUN__UNDELETE_OK__INIT;
    ok.has_stream_id = 1;
    ok.stream_id = (ProtobufCBinaryData){sizeof(id.bytes), id.bytes};
    ok.has_revision = 1;
    ok.revision = catalog_revision(raftd_catalog(self));
    scan_pack(&meta, &ok.base);
    struct bus_outgoing out = {.type = RAILGUN__BUS_TYPE__BUS_CATALOG_UNDELETE,
                               .meta = buf_span(&meta)};
    (void) bus_reply(raftd_bus(self), ticket, &out); /* The asker may be gone: it knows. */
    buf_release(&meta);
}

static int handle_undelete_read(const Railgun__CatalogUndelete *request, struct span *ret_namespace,
                                const char **ret_problem)
{
    const Railgun__Undelete *what = request->undelete;
    struct uuid id;
    if (what == NULL || ensure_name_problem(what->name) != NULL) {
        *ret_problem = "name: not a valid name";
        return ERR_BAD_REQUEST;
    }
    if (what->has_stream_id &&
        uuid_from_bytes(span_make(what->stream_id.data, what->stream_id.len), &id) != 0) {
        *ret_problem = "stream_id: 16 bytes";
        return ERR_BAD_REQUEST;
    }
    return ensure_namespace(request->namespace_, SPEC_STREAM, ret_namespace, ret_problem);
}

void handle_undelete(struct raftd *self, const struct bus_message *message)
{
    Railgun__CatalogUndelete *request = NULL;
    struct span namespace_ = {0};
    const char *problem = NULL;
    int error = SCAN_UNPACK(message->meta, railgun__catalog_undelete, &request);
    if (error == 0) {
        error = handle_undelete_read(request, &namespace_, &problem);
    }
    if (error != 0) {
        (void) bus_reply_error(raftd_bus(self), message->ticket, error, problem); /* may be gone */
        SCAN_FREE(&request);
        return;
    }
    char text[NAME_SIZE_MAX + 1] = {0};
    memcpy(text, namespace_.data, namespace_.size); /* a valid name: it fits */
    struct buf key = {0};
    catalog_stream_key(&key, namespace_, span_of(request->undelete->name));
    Railgun__CatalogUndelete undelete = RAILGUN__CATALOG_UNDELETE__INIT;
    undelete.namespace_ = text;
    undelete.undelete = request->undelete;
    Railgun__CatalogCommand command = RAILGUN__CATALOG_COMMAND__INIT;
    command.undelete = &undelete;
    raftd_propose(self, &command, message->ticket, buf_span(&key));
    buf_release(&key);
    SCAN_FREE(&request);
}
