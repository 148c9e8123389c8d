/* to_raftd: follows raftd's catalogue and asks for changes to it. Owns the upstream and the requests that wait for the catalogue to come as far as their
 * answer said. While raftd is away the last catalogue stays in use. */
#include "frontd/to_raftd.h"

#include <inttypes.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/run/log.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/pb.h"

#include "frontd/catalog.h"
#include "frontd/upstream.h"

enum {
    WATCH_AGAIN_MS = 1000,
    WHEN_MS_MAX = 5000, /* longest wait for a revision that was announced */
};

struct to_raftd {
    struct frontd *frontd;
    struct upstream *upstream;
    struct wheel_timer watch_timer;
    bool is_watch_open;  /* asked, not answered */
    struct list waiting; /* of held requests, linked by of_queue */
    struct wheel_timer waiting_timer;
};

static void to_raftd_watch(struct to_raftd *self);
static void waiting_fire(struct wheel_timer *timer, void *ud);

static void watch_fire(struct wheel_timer *timer, void *ud)
{
    (void) timer;
    to_raftd_watch(ud);
}

struct to_raftd *to_raftd_new(struct frontd *frontd)
{
    struct to_raftd *self = MEM_NEW(struct to_raftd);
    self->frontd = frontd;
    list_init(&self->waiting);
    wheel_timer_init(&self->watch_timer, watch_fire, self);
    wheel_timer_init(&self->waiting_timer, waiting_fire, self);
    self->upstream = upstream_new(&(struct upstream_options){
        .loop = frontd->loop,
        .bus = frontd->bus,
        .daemon = "raftd-0",
        .parked_bytes_max = frontd->settings->parked_bytes_max,
        .request_timeout_ms = &frontd->settings->request_timeout_ms,
        .on_room = frontd_retry,
        .on_end = frontd_request_end,
        .ud = frontd,
    });
    return self;
}

static void waiting_resume(struct to_raftd *self, bool all)
{
    uint64_t revision = catalog_revision(self->frontd->catalog);
    struct list due;
    list_init(&due);
    LIST_FOREACH (&self->waiting, node) {
        const struct request *request = LIST_ENTRY(node, struct request, of_queue);
        bool is_late = loop_now_ms(self->frontd->loop) >= request->asked_ms + WHEN_MS_MAX;
        if (all || is_late || request->number <= revision) {
            list_remove(node);
            list_push_back(&due, node);
        }
    }
    struct list *node = NULL;
    while ((node = list_pop_front(&due)) != NULL) {
        struct request *request = LIST_ENTRY(node, struct request, of_queue);
        request->is_held = false;
        request->resume(request);
        if (!request->is_held) {
            frontd_request_end(self->frontd, request);
        }
    }
    if (!list_is_empty(&self->waiting)) {
        loop_timer_start(self->frontd->loop, &self->waiting_timer, WHEN_MS_MAX / 10);
    }
}

static void waiting_fire(struct wheel_timer *timer, void *ud)
{
    (void) timer;
    waiting_resume(ud, false);
}

void to_raftd_destroy(struct to_raftd **self)
{
    struct to_raftd *raftd = *self;
    *self = NULL;
    if (raftd == NULL) {
        return;
    }
    struct wheel *wheel = loop_wheel(raftd->frontd->loop);
    upstream_destroy(&raftd->upstream);
    waiting_resume(raftd, true);
    wheel_cancel(wheel, &raftd->watch_timer);
    wheel_cancel(wheel, &raftd->waiting_timer);
    mem_free(raftd);
}

struct upstream *to_raftd_upstream(const struct to_raftd *self)
{
    return self->upstream;
}

bool to_raftd_has_room(struct to_raftd *self)
{
    return upstream_has_room(self->upstream);
}

void to_raftd_ask(struct to_raftd *self, struct request *request, uint16_t type, struct span meta)
{
    struct bus_outgoing out = {.type = type, .meta = meta};
    upstream_ask(self->upstream, request, &out, self->frontd->settings->request_timeout_ms);
}

void to_raftd_when(struct to_raftd *self, struct request *request, uint64_t revision)
{
    request_hold(request);
    request->number = revision;
    request->asked_ms = loop_now_ms(self->frontd->loop);
    list_push_back(&self->waiting, &request->of_queue);
    bool is_reached = revision <= catalog_revision(self->frontd->catalog);
    loop_timer_start(self->frontd->loop, &self->waiting_timer, is_reached ? 0 : WHEN_MS_MAX / 10);
}

/* --- the watch --- */

static void watch_again_later(struct to_raftd *self)
{
    loop_timer_start(self->frontd->loop, &self->watch_timer, WATCH_AGAIN_MS);
}

static int watch_ok_read(struct span message, struct uuid *ret_cluster, uint64_t *ret_node,
                         uint64_t *ret_revision)
{
    struct pb_field field;
    int result = 0;
    while ((result = pb_next(&message, &field)) == 1) {
        if (field.number == 1 && field.type == PB_BYTES) {
            if (uuid_from_bytes(field.bytes, ret_cluster) != 0) {
                return ERR_PROTOCOL;
            }
        } else if (field.number == 2 && field.type == PB_VARINT) {
            *ret_node = field.value;
        } else if (field.number == 3 && field.type == PB_VARINT) {
            *ret_revision = field.value;
        }
    }
    return result;
}

static void watch_done(struct request *request, enum bus_outcome outcome,
                       const struct bus_message *reply)
{
    struct frontd *frontd = request->frontd;
    struct to_raftd *self = frontd->raftd;
    struct uuid cluster = {{0}};
    uint64_t node = 0;
    uint64_t revision = 0;
    if (self == NULL) {
        return; /* stopping */
    }
    self->is_watch_open = false;
    if (outcome != BUS_OK) {
        watch_again_later(self);
        return;
    }
    int result = reply->status;
    if (result == 0) {
        result = watch_ok_read(reply->meta, &cluster, &node, &revision);
    }
    if (result != 0) {
        log_error("raftd refuses to be watched", "error=%s action=\"asking again in %d ms\"",
                  err_name(result), WATCH_AGAIN_MS);
        watch_again_later(self);
        return;
    }
    frontd->node = node;
    if (uuid_is_nil(&frontd->cluster) && !uuid_is_nil(&cluster)) {
        frontd->cluster = cluster;
        bus_set_cluster(frontd->bus, &cluster);
    }
    catalog_watched(frontd->catalog, revision);
    frontd_catalog_changed(frontd);
}

static void to_raftd_watch(struct to_raftd *self)
{
    struct frontd *frontd = self->frontd;
    if (self->is_watch_open || upstream_link(self->upstream) == NULL) {
        return;
    }
    struct buf meta = {0};
    pb_append_varint(&meta, 1, catalog_revision(frontd->catalog));
    if (!uuid_is_nil(&frontd->cluster)) {
        pb_append_bytes(&meta, 2, span_make(frontd->cluster.bytes, sizeof(frontd->cluster.bytes)));
    }
    struct request *request = request_take(frontd->requests);
    request->frontd = frontd;
    request->done = watch_done;
    request->is_session_bound = true;
    self->is_watch_open = true;
    to_raftd_ask(self, request, RAILGUN__BUS_TYPE__BUS_CATALOG_WATCH, buf_span(&meta));
    buf_release(&meta);
}

void to_raftd_on_up(struct to_raftd *self)
{
    log_info("raftd is there", "revision=%" PRIu64, catalog_revision(self->frontd->catalog));
    upstream_ready(self->upstream);
    to_raftd_watch(self);
}

void to_raftd_on_down(struct to_raftd *self)
{
    log_line(self->frontd->is_draining ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "raftd is gone",
             "revision=%" PRIu64 " action=\"the catalogue stays as it is\"",
             catalog_revision(self->frontd->catalog));
    catalog_unwatched(self->frontd->catalog);
    upstream_down(self->upstream);
}

void to_raftd_on_credit(struct to_raftd *self)
{
    upstream_ready(self->upstream);
}

void to_raftd_on_changes(struct to_raftd *self, struct span changes)
{
    int result = catalog_apply(self->frontd->catalog, changes);
    if (result != 0) {
        log_error("catalogue changes cannot be read", "error=%s action=\"asking for all of it\"",
                  err_name(result));
        catalog_distrust(self->frontd->catalog);
        watch_again_later(self);
        return;
    }
    frontd_catalog_changed(self->frontd);
    waiting_resume(self, false);
}
