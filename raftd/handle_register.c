/* handle_register: BUS_CATALOG_REGISTER. A daemon of this node tells where it is reached; only what is new is logged. */
#include "raftd/handle.h"

#include <string.h>

#include "common/base/err.h"
#include "common/base/name.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/scan.h"
#include "raftd/raftd.h"

enum { REGISTER_DAEMON_MAX = 64, REGISTER_ENDPOINT_MAX = 512 };

void handle_register_reply(struct raftd *self, uint64_t ticket, int error)
{
    if (error != 0) {
        (void) bus_reply_error(raftd_bus(self), ticket, error, NULL); /* The asker may be gone. */
        return;
    }
    struct buf meta = {0};
    struct uuid cluster = *catalog_cluster(raftd_catalog(self));
    Railgun__CatalogRegisterOk ok = RAILGUN__CATALOG_REGISTER_OK__INIT;
    ok.has_cluster = 1;
    ok.cluster = (ProtobufCBinaryData){sizeof(cluster.bytes), cluster.bytes};
    ok.has_node = 1;
    ok.node = catalog_node(raftd_catalog(self));
    scan_pack(&meta, &ok.base);
    struct bus_outgoing out = {.type = RAILGUN__BUS_TYPE__BUS_CATALOG_REGISTER,
                               .meta = buf_span(&meta)};
    (void) bus_reply(raftd_bus(self), ticket, &out); /* The asker may be gone: it knows. */
    buf_release(&meta);
}

static const char *handle_register_problem(const Railgun__CatalogRegister *request)
{
    if (request->daemon == NULL || strlen(request->daemon) > REGISTER_DAEMON_MAX ||
        name_check(span_of(request->daemon)) != NULL) {
        return "daemon: not a valid name";
    }
    if (request->endpoint == NULL || request->endpoint[0] == '\0' ||
        strlen(request->endpoint) > REGISTER_ENDPOINT_MAX) {
        return "endpoint: 1 to 512 bytes";
    }
    return NULL;
}

void handle_register(struct raftd *self, const struct bus_message *message)
{
    Railgun__CatalogRegister *request = NULL;
    int error = SCAN_UNPACK(message->meta, railgun__catalog_register, &request);
    if (error != 0) {
        (void) bus_reply_error(raftd_bus(self), message->ticket, error, NULL); /* may be gone */
        return;
    }
    const char *problem = handle_register_problem(request);
    if (problem != NULL) {
        /* may be gone */
        (void) bus_reply_error(raftd_bus(self), message->ticket, ERR_BAD_REQUEST, problem);
        SCAN_FREE(&request);
        return;
    }
    Railgun__CatalogEndpoint wanted = RAILGUN__CATALOG_ENDPOINT__INIT;
    wanted.has_node = 1;
    wanted.node = catalog_node(raftd_catalog(self));
    wanted.daemon = request->daemon;
    wanted.endpoint = request->endpoint;
    struct buf key = {0};
    catalog_endpoint_key(&key, wanted.node, wanted.daemon);
    const struct catalog_endpoint *known =
        catalog_find_endpoint(raftd_catalog(self), buf_span(&key));
    bool is_known = known != NULL && strcmp(known->endpoint, wanted.endpoint) == 0;
    if (is_known && !raftd_is_pending(self, buf_span(&key))) {
        handle_register_reply(self, message->ticket, 0);
    } else {
        Railgun__CatalogCommand command = RAILGUN__CATALOG_COMMAND__INIT;
        command.endpoint = &wanted;
        raftd_propose(self, &command, message->ticket, buf_span(&key));
    }
    buf_release(&key);
    SCAN_FREE(&request);
}
