/* to_logd: builds the messages to logd and follows its link. Owns the upstream. Must never copy a batch. */
#include "frontd/to_logd.h"

#include <inttypes.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/run/log.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/pb.h"

#include "frontd/channel.h"
#include "frontd/upstream.h"
#include "frontd/watchers.h"

enum { /* LogPublish of log.proto */
       PUBLISH_EXPECT = 1,
       PUBLISH_FENCE = 2,
       PUBLISH_ATOMIC = 3,
       PUBLISH_REVISION = 4,
       PUBLISH_STREAM_ID = 5,
};

struct to_logd {
    struct frontd *frontd;
    struct upstream *upstream;
};

struct to_logd *to_logd_new(struct frontd *frontd)
{
    struct to_logd *self = MEM_NEW(struct to_logd);
    self->frontd = frontd;
    self->upstream = upstream_new(&(struct upstream_options){
        .loop = frontd->loop,
        .bus = frontd->bus,
        .daemon = "logd-0",
        .parked_bytes_max = frontd->settings->parked_bytes_max,
        .request_timeout_ms = &frontd->settings->request_timeout_ms,
        .on_room = frontd_retry,
        .on_end = frontd_request_end,
        .ud = frontd,
    });
    return self;
}

void to_logd_destroy(struct to_logd **self)
{
    struct to_logd *logd = *self;
    *self = NULL;
    if (logd == NULL) {
        return;
    }
    upstream_destroy(&logd->upstream);
    mem_free(logd);
}

struct upstream *to_logd_upstream(const struct to_logd *self)
{
    return self->upstream;
}

bool to_logd_has_room(struct to_logd *self)
{
    return upstream_has_room(self->upstream);
}

void to_logd_publish(struct to_logd *self, struct request *request,
                     const struct catalog_stream *stream, const struct hot_publish *publish,
                     const struct slice *batch)
{
    struct buf *meta = &self->frontd->scratch;
    if (publish->has_expect) {
        pb_append_bytes(meta, PUBLISH_EXPECT, publish->expect);
    }
    if (publish->fence.size != 0) {
        pb_append_bytes(meta, PUBLISH_FENCE, publish->fence);
    }
    if (!publish->atomic) {
        pb_append_varint(meta, PUBLISH_ATOMIC, 0);
    }
    pb_append_varint(meta, PUBLISH_REVISION, catalog_revision(self->frontd->catalog));
    if (publish->stream_id.size != 0) {
        pb_append_bytes(meta, PUBLISH_STREAM_ID, publish->stream_id);
    }
    struct bus_outgoing out = {
        .type = RAILGUN__BUS_TYPE__BUS_LOG_PUBLISH,
        .subject = stream->log_group,
        .meta = buf_span(meta),
        .body = *batch,
    };
    upstream_ask(self->upstream, request, &out, self->frontd->settings->request_timeout_ms);
    buf_reset(meta);
}

void to_logd_ask(struct to_logd *self, struct request *request, uint16_t type, uint64_t subject,
                 struct span meta, uint64_t wait_ms)
{
    struct bus_outgoing out = {.type = type, .subject = subject, .meta = meta};
    upstream_ask(self->upstream, request, &out,
                 self->frontd->settings->request_timeout_ms + wait_ms);
}

void to_logd_tell(struct to_logd *self, uint16_t type, uint64_t consumer, struct span meta)
{
    struct request *request = request_take(self->frontd->requests);
    request->frontd = self->frontd;
    struct bus_outgoing out = {.type = type, .subject = consumer, .meta = meta};
    upstream_tell(self->upstream, request, &out);
}

void to_logd_on_up(struct to_logd *self)
{
    log_info("logd is there", "parked=%" PRIu64, upstream_parked_count(self->upstream));
    upstream_ready(self->upstream);
    channels_logd_up(self->frontd->channels);
    watchers_logd_up(self->frontd->watchers);
}

void to_logd_on_down(struct to_logd *self)
{
    log_line(self->frontd->is_draining ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "logd is gone",
             "consumers=%" PRIu64 " action=\"requests wait, consumers are attached again later\"",
             channels_count(self->frontd->channels));
    channels_logd_down(self->frontd->channels);
    upstream_down(self->upstream);
}

void to_logd_on_credit(struct to_logd *self)
{
    upstream_ready(self->upstream);
    channels_flush(self->frontd->channels);
}
