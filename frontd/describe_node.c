/* describe_node: asks raftd, logd, the routerds and the other frontds for their status at once and puts the answers together. A daemon without a link, or
 * without an answer in time, is "down". */
#include "frontd/describe_node.h"

#include <stdio.h>
#include <string.h>

#include "common/base/err.h"
#include "common/run/daemon_status.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"

#include "frontd/catalog.h"
#include "frontd/gathering.h"
#include "frontd/neighbours.h"
#include "frontd/routers.h"
#include "frontd/to_logd.h"
#include "frontd/to_raftd.h"
#include "frontd/upstream.h"

enum {
    STATUS_TIMEOUT_MS = 500,
    DESCRIBE_OK_NODE = 3,
    NODE_CLUSTER = 1,
    NODE_NODE = 2,
    NODE_DAEMONS = 3,
    NODE_REVISION = 4,
    NODE_STREAMS = 5,
    NODE_GROUPS = 6,
    NODE_CONNECTIONS = 7,
    INFO_DAEMON = 1,
    INFO_STATE = 4,
};

/* --- the answer: its parts are NODE_DAEMONS fields --- */

static void append_self(struct buf *out, struct frontd *frontd)
{
    struct buf info = {0};
    const char *state = frontd->is_ready ? "ready" : "starting";
    struct daemon_status status = {
        .daemon = frontd->name,
        .state = frontd->is_draining ? "draining" : state,
        .detail = "",
        .uptime_ms = loop_now_ms(frontd->loop) - frontd->started_ms,
        .epoch = bus_epoch(frontd->bus),
        .metrics = daemon_metrics(frontd->context),
    };
    daemon_status_write(&status, &info);
    pb_append_bytes(out, NODE_DAEMONS, buf_span(&info));
    buf_release(&info);
}

static void node_answer(struct request *asker, struct span parts)
{
    struct frontd *frontd = asker->frontd;
    struct buf node = {0};
    struct buf body = {0};
    if (!uuid_is_nil(&frontd->cluster)) {
        pb_append_bytes(&node, NODE_CLUSTER,
                        span_make(frontd->cluster.bytes, sizeof(frontd->cluster.bytes)));
        pb_append_varint(&node, NODE_NODE, frontd->node);
    }
    append_self(&node, frontd);
    buf_append(&node, parts);
    pb_append_varint(&node, NODE_REVISION, catalog_revision(frontd->catalog));
    pb_append_varint(&node, NODE_STREAMS, catalog_stream_count(frontd->catalog));
    pb_append_varint(&node, NODE_GROUPS, catalog_group_count(frontd->catalog));
    pb_append_varint(&node, NODE_CONNECTIONS, conn_set_count(frontd->conns));
    pb_append_bytes(&body, DESCRIBE_OK_NODE, buf_span(&node));
    session_send(asker->session, asker->channel, asker->corr, RAILGUN__FRAME__BODY_DESCRIBE_OK,
                 buf_span(&body));
    buf_release(&node);
    buf_release(&body);
}

/* --- the parts --- */

static void add_down(struct gathering *gathering, struct span name)
{
    struct buf info = {0};
    pb_append_bytes(&info, INFO_DAEMON, name);
    pb_append_bytes(&info, INFO_STATE, span_of("down"));
    pb_append_bytes(&gathering->parts, NODE_DAEMONS, buf_span(&info));
    buf_release(&info);
}

static void status_done(struct request *part, enum bus_outcome outcome,
                        const struct bus_message *reply)
{
    if (outcome == BUS_OK && reply->status == 0) {
        pb_append_bytes(&part->gathering->parts, NODE_DAEMONS, reply->meta);
    } else {
        add_down(part->gathering, buf_span(&part->keep));
    }
    gathering_part_over(part->gathering);
}

static struct request *status_part(struct gathering *gathering, const char *name)
{
    struct request *part = gathering_part(gathering, status_done);
    buf_append(&part->keep, span_of(name));
    return part;
}

static void ask_upstream(struct gathering *gathering, struct upstream *upstream)
{
    struct bus_outgoing out = {.type = RAILGUN__BUS_TYPE__BUS_STATUS};
    if (upstream_link(upstream) == NULL) {
        add_down(gathering, span_of(upstream_name(upstream)));
        return;
    }
    upstream_ask(upstream, status_part(gathering, upstream_name(upstream)), &out,
                 STATUS_TIMEOUT_MS);
}

static void ask_neighbour(struct gathering *gathering, unsigned instance)
{
    char name[32];
    (void) snprintf(name, sizeof(name), "frontd-%u", instance);
    neighbours_ask(gathering->asker->frontd->neighbours, instance, status_part(gathering, name),
                   RAILGUN__BUS_TYPE__BUS_STATUS, (struct span){0}, NULL, STATUS_TIMEOUT_MS);
}

static void routerd_done(void *ud, enum bus_outcome outcome, const struct bus_message *reply)
{
    struct request *part = ud;
    status_done(part, outcome, reply);
    frontd_request_end(part->frontd, part);
}

/* Each of them, whoever is asked for routes: so without routers_ask, which chooses. */
static void ask_routerd(struct gathering *gathering, const char *name)
{
    struct frontd *frontd = gathering->asker->frontd;
    struct bus_outgoing out = {.type = RAILGUN__BUS_TYPE__BUS_STATUS};
    struct bus_link *link = bus_peer_link(bus_connect(frontd->bus, name));
    struct request *part = status_part(gathering, name);
    if (bus_request(link, &out, STATUS_TIMEOUT_MS, routerd_done, part, NULL) != 0) {
        routerd_done(part, BUS_FAILED, NULL);
    }
}

/* Those that are there. One that is not may have been taken away for good; but a node has at least the first. */
static void ask_routerds(struct gathering *gathering)
{
    static const char first[] = "routerd-0";
    const struct routers *routers = gathering->asker->frontd->routers;
    const char *name = NULL;
    bool has_first = false;
    for (unsigned k = 0; (name = routers_name(routers, k)) != NULL; k++) {
        if (routers_is_there(routers, k)) {
            ask_routerd(gathering, name);
            has_first = has_first || strcmp(name, first) == 0;
        }
    }
    if (!has_first) {
        add_down(gathering, span_of(first));
    }
}

int describe_node(struct session *self, const struct frame_view *view)
{
    struct frontd *frontd = self->frontd;
    struct gathering *gathering = NULL;
    unsigned cursor = 0;
    int instance = 0;
    int result = gathering_begin(self, view, node_answer, &gathering);
    if (result != 0) {
        return result == ERR_AGAIN ? ERR_AGAIN : 0;
    }
    ask_upstream(gathering, to_raftd_upstream(frontd->raftd));
    ask_upstream(gathering, to_logd_upstream(frontd->logd));
    ask_routerds(gathering);
    while ((instance = neighbours_next(frontd->neighbours, &cursor)) >= 0) {
        ask_neighbour(gathering, (unsigned) instance);
    }
    gathering_part_over(gathering);
    return 0;
}
