/* handle_watch: BUS_CATALOG_WATCH. The answer comes first, the changes follow at the end of the turn. */
#include "raftd/handle.h"

#include "common/base/err.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/scan.h"
#include "raftd/raftd.h"

/* Does the watcher believe in another cluster? */
static bool handle_watch_is_foreign(const struct raftd *self, const Railgun__CatalogWatch *request)
{
    struct span theirs = span_make(request->cluster.data, request->cluster.len);
    const struct uuid *ours = catalog_cluster(raftd_catalog(self));
    return request->has_cluster && theirs.size > 0 &&
           !span_equal(theirs, span_make(ours->bytes, sizeof(ours->bytes)));
}

void handle_watch(struct raftd *self, struct bus_link *link, const struct bus_message *message)
{
    Railgun__CatalogWatch *request = NULL;
    int error = SCAN_UNPACK(message->meta, railgun__catalog_watch, &request);
    if (error == 0 && handle_watch_is_foreign(self, request)) {
        error = ERR_WRONG_CLUSTER;
    }
    if (error != 0) {
        (void) bus_reply_error(raftd_bus(self), message->ticket, error, NULL); /* may be gone */
        SCAN_FREE(&request);
        return;
    }
    struct uuid cluster = *catalog_cluster(raftd_catalog(self));
    Railgun__CatalogWatchOk ok = RAILGUN__CATALOG_WATCH_OK__INIT;
    ok.has_cluster = 1;
    ok.cluster = (ProtobufCBinaryData){sizeof(cluster.bytes), cluster.bytes};
    ok.has_node = 1;
    ok.node = catalog_node(raftd_catalog(self));
    ok.has_revision = 1;
    ok.revision = catalog_revision(raftd_catalog(self));
    struct buf meta = {0};
    scan_pack(&meta, &ok.base);
    struct bus_outgoing out = {.type = RAILGUN__BUS_TYPE__BUS_CATALOG_WATCH,
                               .meta = buf_span(&meta)};
    if (bus_reply(raftd_bus(self), message->ticket, &out) == 0) {
        watch_add(raftd_watch(self), link,
                  request->has_after_revision ? request->after_revision : 0);
    }
    buf_release(&meta);
    SCAN_FREE(&request);
}
