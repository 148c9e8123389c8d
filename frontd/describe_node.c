/* describe_node: asks raftd, logd and routerd for their status at once and puts the answers together. Owns one `gathering` for each open Describe, until
 * the last of them has its outcome. A daemon without a link, or without an answer in time, is "down". */
#include "frontd/describe_node.h"

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/run/daemon_status.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"

#include "frontd/catalog.h"
#include "frontd/to_logd.h"
#include "frontd/to_raftd.h"
#include "frontd/upstream.h"

enum {
    STATUS_TIMEOUT_MS = 500,
    DAEMONS = 3,
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

/* The request of the client is held while its parts are out. */
struct gathering {
    struct request *asker;
    unsigned open;      /* parts without an outcome */
    struct buf daemons; /* NODE_DAEMONS fields */
};

static void gathering_add_down(struct gathering *self, const char *name)
{
    struct buf info = {0};
    pb_append_bytes(&info, INFO_DAEMON, span_of(name));
    pb_append_bytes(&info, INFO_STATE, span_of("down"));
    pb_append_bytes(&self->daemons, NODE_DAEMONS, buf_span(&info));
    buf_release(&info);
}

static void gathering_add_self(struct gathering *self, struct frontd *frontd)
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
    pb_append_bytes(&self->daemons, NODE_DAEMONS, buf_span(&info));
    buf_release(&info);
}

static void gathering_answer(struct gathering *self)
{
    struct request *asker = self->asker;
    struct frontd *frontd = asker->frontd;
    if (asker->session == NULL) {
        return;
    }
    struct buf node = {0};
    struct buf body = {0};
    if (!uuid_is_nil(&frontd->cluster)) {
        pb_append_bytes(&node, NODE_CLUSTER,
                        span_make(frontd->cluster.bytes, sizeof(frontd->cluster.bytes)));
        pb_append_varint(&node, NODE_NODE, frontd->node);
    }
    gathering_add_self(self, frontd);
    buf_append(&node, buf_span(&self->daemons));
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

static void gathering_part_over(struct gathering *self)
{
    if (--self->open != 0) {
        return;
    }
    gathering_answer(self);
    frontd_request_end(self->asker->frontd, self->asker);
    buf_release(&self->daemons);
    mem_free(self);
}

/* A part: `gathering` is what it belongs to. */
static void status_done(struct request *request, enum bus_outcome outcome,
                        const struct bus_message *reply)
{
    struct gathering *gathering = request->gathering;
    if (outcome == BUS_OK && reply->status == 0) {
        pb_append_bytes(&gathering->daemons, NODE_DAEMONS, reply->meta);
    } else {
        gathering_add_down(gathering, upstream_name(request->upstream));
    }
    gathering_part_over(gathering);
}

/* Never called: the asker itself is not sent anywhere. */
static void asker_done(struct request *request, enum bus_outcome outcome,
                       const struct bus_message *reply)
{
    (void) request;
    (void) outcome;
    (void) reply;
}

int describe_node(struct session *self, const struct frame_view *view)
{
    struct frontd *frontd = self->frontd;
    struct request *asker = NULL;
    struct upstream *upstreams[DAEMONS] = {
        to_raftd_upstream(frontd->raftd),
        to_logd_upstream(frontd->logd),
        frontd->routerd,
    };
    int result = session_query(self, view, asker_done, &asker);
    if (result != 0) {
        return result == ERR_AGAIN ? ERR_AGAIN : 0;
    }
    struct gathering *gathering = MEM_NEW(struct gathering);
    gathering->asker = asker;
    gathering->open = 1; /* ourselves, until all are asked */
    for (unsigned i = 0; i < DAEMONS; i++) {
        if (upstream_link(upstreams[i]) == NULL) {
            gathering_add_down(gathering, upstream_name(upstreams[i]));
            continue;
        }
        struct request *part = request_take(frontd->requests);
        part->frontd = frontd;
        part->done = status_done;
        part->gathering = gathering;
        part->is_session_bound = true;
        gathering->open++;
        struct bus_outgoing out = {.type = RAILGUN__BUS_TYPE__BUS_STATUS};
        upstream_ask(upstreams[i], part, &out, STATUS_TIMEOUT_MS);
    }
    gathering_part_over(gathering);
    return 0;
}
