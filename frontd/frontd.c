/* frontd: the switch between client connections and the other daemons. This file is main: it puts the parts together, passes on what the bus says,
 * and drains. It keeps clients' connections while logd and raftd come and go.
 *
 * Draining: no more connections; GoAway to all; for drain_grace everything goes on, so that clients can finish and leave by themselves; then what is
 * idle is closed, and the rest as soon as its requests have their outcome; consumers are detached without counting as failed. */
#include "frontd/frontd.h"

#include <inttypes.h>
#include <sys/resource.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/run/log.h"
#include "common/wire/bus.pb-c.h"

#include "frontd/catalog.h"
#include "frontd/channel.h"
#include "frontd/conn.h"
#include "frontd/deliver.h"
#include "frontd/ephemeral.h"
#include "frontd/exchange.h"
#include "frontd/inlet.h"
#include "frontd/limits.h"
#include "frontd/listener.h"
#include "frontd/session.h"
#include "frontd/to_logd.h"
#include "frontd/to_raftd.h"
#include "frontd/upstream.h"
#include "frontd/watchers.h"

enum { HOUR_MS = 3600 * 1000, DRAIN_LOOK_MS = 20 };

/* --- what the parts ask of the whole --- */

void frontd_request_end(void *self, struct request *request)
{
    struct frontd *frontd = self;
    if (request->session != NULL) {
        session_request_end(request->session, request);
    }
    request_give(frontd->requests, request);
}

void frontd_retry(void *self)
{
    struct frontd *frontd = self;
    conn_set_retry(frontd->conns);
}

void frontd_catalog_changed(struct frontd *self)
{
    if (!catalog_is_known(self->catalog)) {
        return;
    }
    if (!self->is_ready) {
        self->is_ready = true;
        log_info("the catalogue is known", "revision=%" PRIu64 " streams=%zu groups=%zu",
                 catalog_revision(self->catalog), catalog_stream_count(self->catalog),
                 catalog_group_count(self->catalog));
        daemon_ready(self->context);
    }
    exchanges_catalog_changed(self->exchanges);
    inlets_progress(self->inlets);
    conn_set_retry(self->conns);
}

/* --- metrics --- */

static uint64_t read_connections(void *ud)
{
    const struct frontd *self = ud;
    return conn_set_count(self->conns);
}

static uint64_t read_outbound_bytes(void *ud)
{
    const struct frontd *self = ud;
    return conn_set_outbound_bytes(self->conns);
}

static uint64_t read_inbound_bytes(void *ud)
{
    const struct frontd *self = ud;
    return conn_set_inbound_bytes(self->conns);
}

static uint64_t read_blocked(void *ud)
{
    const struct frontd *self = ud;
    return conn_set_blocked_count(self->conns);
}

static uint64_t read_consumers(void *ud)
{
    const struct frontd *self = ud;
    return channels_count(self->channels);
}

static uint64_t read_parked(void *ud)
{
    const struct frontd *self = ud;
    return upstream_parked_count(to_logd_upstream(self->logd)) +
           upstream_parked_count(to_raftd_upstream(self->raftd));
}

static uint64_t read_unknown(void *ud)
{
    const struct frontd *self = ud;
    return upstream_unknown_count(to_logd_upstream(self->logd)) +
           upstream_unknown_count(to_raftd_upstream(self->raftd));
}

#define READ_COUNT(field)                                                                          \
    static uint64_t read_##field(void *ud)                                                         \
    {                                                                                              \
        const struct frontd *self = ud;                                                            \
        return conn_set_counts(self->conns)->field;                                                \
    }
READ_COUNT(frames_in)
READ_COUNT(bytes_in)
READ_COUNT(bytes_out)
READ_COUNT(protocol_errors)
READ_COUNT(overloaded)

static void frontd_add_metrics(struct frontd *self)
{
    struct metrics *metrics = daemon_metrics(self->context);
    self->counters = (struct frontd_counters){
        .accepted = metrics_counter(metrics, "railgun_connections_accepted_total"),
        .refused = metrics_counter(metrics, "railgun_connections_refused_total"),
        .publishes = metrics_counter(metrics, "railgun_publishes_total"),
        .publish_bytes = metrics_counter(metrics, "railgun_publish_bytes_total"),
        .deliveries = metrics_counter(metrics, "railgun_deliveries_total"),
        .delivered_records = metrics_counter(metrics, "railgun_delivered_records_total"),
        .errors = metrics_counter(metrics, "railgun_request_errors_total"),
    };
    metrics_gauge(metrics, "railgun_connections", read_connections, self);
    metrics_gauge(metrics, "railgun_consumers", read_consumers, self);
    metrics_gauge(metrics, "railgun_frames_in_total", read_frames_in, self);
    metrics_gauge(metrics, "railgun_bytes_in_total", read_bytes_in, self);
    metrics_gauge(metrics, "railgun_bytes_out_total", read_bytes_out, self);
    metrics_gauge(metrics, "railgun_protocol_errors_total", read_protocol_errors, self);
    metrics_gauge(metrics, "railgun_overloaded_total", read_overloaded, self);
    metrics_gauge(metrics, "railgun_inbound_bytes", read_inbound_bytes, self);
    metrics_gauge(metrics, "railgun_outbound_bytes", read_outbound_bytes, self);
    metrics_gauge(metrics, "railgun_requests_parked", read_parked, self);
    metrics_gauge(metrics, "railgun_connections_blocked", read_blocked, self);
    metrics_gauge(metrics, "railgun_requests_unknown_total", read_unknown, self);
    ephemeral_add_metrics(self);
}

/* --- timers --- */

static void catalog_late(struct wheel_timer *timer, void *ud)
{
    struct frontd *self = ud;
    (void) timer;
    if (!catalog_is_known(self->catalog)) {
        log_warn("no catalogue yet", "raftd=%s action=\"requests are refused with NO_QUORUM\"",
                 upstream_name(to_raftd_upstream(self->raftd)));
        inlets_progress(self->inlets);
        conn_set_retry(self->conns);
    }
}

static void warn_insecure(struct wheel_timer *timer, void *ud)
{
    struct frontd *self = ud;
    log_warn("clients are neither encrypted nor authenticated",
             "listen.address=%s action=\"listening, because insecure_listen is set\"",
             self->settings->listen_address);
    loop_timer_start(self->loop, timer, HOUR_MS);
}

/* --- draining --- */

static void drain_begin_visit(void *ud, struct conn *conn)
{
    const struct frontd *self = ud;
    session_drain(conn_ud(conn), self->settings->drain_grace_ms);
}

/* After the grace: consumers leave, and who has nothing open is closed. */
static void drain_end_visit(void *ud, struct conn *conn)
{
    struct session *session = conn_ud(conn);
    (void) ud;
    channels_close_session(session, false);
    ephemeral_session_drained(session);
    if (session_is_idle(session)) {
        conn_finish(conn);
    }
}

static void drain_look(struct wheel_timer *timer, void *ud)
{
    struct frontd *self = ud;
    uint64_t waited_ms = loop_now_ms(self->loop) - self->drain_since_ms;
    if (waited_ms >= self->settings->drain_grace_ms) {
        self->is_grace_over = true;
        conn_set_each(self->conns, drain_end_visit, self);
    }
    if (conn_set_count(self->conns) == 0 && channels_detaching_count(self->channels) == 0) {
        daemon_drained(self->context);
        return;
    }
    loop_timer_start(self->loop, timer, DRAIN_LOOK_MS);
}

static void frontd_drain(void *ud)
{
    struct frontd *self = ud;
    self->is_draining = true;
    self->drain_since_ms = loop_now_ms(self->loop);
    listener_close(&self->listener);
    conn_set_each(self->conns, drain_begin_visit, self);
    drain_look(&self->drain_timer, self);
}

/* --- start and stop --- */

/* Each connection is a descriptor: take all that we are allowed. */
static void raise_descriptor_limit(const struct settings *settings)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) {
        return;
    }
    limit.rlim_cur = limit.rlim_max;
    (void) setrlimit(RLIMIT_NOFILE, &limit); /* then the old one stays */
    (void) getrlimit(RLIMIT_NOFILE, &limit); /* cannot fail if the first did not */
    if (limit.rlim_cur < settings->connections_max + 64) {
        log_warn("fewer descriptors than connections allowed",
                 "descriptors=%" PRIu64 " limits.connections=%" PRIu64
                 " action=\"connections beyond are not accepted\"",
                 (uint64_t) limit.rlim_cur, settings->connections_max);
    }
}

static int frontd_check(const void *values, struct buf *problem)
{
    const struct settings *settings = values;
    if (settings->batch_bytes_max + (64 << 10) > settings->frame_bytes_max ||
        settings->record_bytes_max > settings->batch_bytes_max) {
        buf_append_text(problem, "limits: must be record <= batch <= frame - 64k");
        return ERR_BAD_CONFIG;
    }
    return listener_check(settings, problem);
}

static void frontd_build(struct frontd *self)
{
    const struct settings *settings = self->settings;
    self->requests = request_pool_new();
    self->catalog = catalog_new();
    self->conns =
        conn_set_new(self->loop, &(struct conn_options){
                                     .hello_timeout_ms = settings->hello_timeout_ms,
                                     .heartbeat_ms = settings->heartbeat_ms,
                                     .frame_grace_ms = settings->frame_grace_ms,
                                     .frame_bytes_max = (uint32_t) settings->frame_bytes_max,
                                     .outbound_bytes_max = settings->outbound_bytes_max,
                                     .inbound_total_bytes_max = settings->inbound_total_bytes_max,
                                     .outbound_total_bytes_max = settings->outbound_total_bytes_max,
                                 });
    self->limits = limits_new(settings->connections_max, settings->address_connections_max,
                              settings->loopback_connections_max);
    /* After the connections: what they wrote may have made room for more deliveries in the same turn. */
    self->channels = channels_new(self);
    self->watchers = watchers_new(self);
    self->logd = to_logd_new(self);
    self->raftd = to_raftd_new(self);
    ephemeral_build(self);
    wheel_timer_init(&self->catalog_timer, catalog_late, self);
    wheel_timer_init(&self->hourly_timer, warn_insecure, self);
    wheel_timer_init(&self->drain_timer, drain_look, self);
}

static int frontd_start(struct daemon_context *context, void **ret_self)
{
    struct frontd *self = MEM_NEW(struct frontd);
    *ret_self = self;
    self->context = context;
    self->settings = (const struct settings *) daemon_values(context);
    self->loop = daemon_loop(context);
    self->bus = daemon_bus(context);
    loop_stay_awake(self->loop, self->settings->awake_us);
    self->name = daemon_name(context);
    self->started_ms = loop_now_ms(self->loop);
    raise_descriptor_limit(self->settings);
    frontd_build(self);
    frontd_add_metrics(self);
    int result = bus_bind(self->bus);
    if (result != 0) {
        log_error("cannot bind the bus", "run_dir=%s error=%s", self->settings->daemon.run_dir,
                  err_name(result));
        return result;
    }
    result = listener_open(self, &self->listener);
    if (result != 0) {
        return result;
    }
    if (listener_is_insecure(self->listener)) {
        warn_insecure(&self->hourly_timer, self);
    }
    loop_timer_start(self->loop, &self->catalog_timer, self->settings->catalog_wait_ms);
    daemon_not_ready(context, "waiting for the catalogue from raftd-0");
    return 0;
}

static void frontd_stop(void *ud)
{
    struct frontd *self = ud;
    if (self == NULL) {
        return;
    }
    struct wheel *wheel = loop_wheel(self->loop);
    wheel_cancel(wheel, &self->catalog_timer);
    wheel_cancel(wheel, &self->hourly_timer);
    wheel_cancel(wheel, &self->drain_timer);
    upstream_bus_closed(to_logd_upstream(self->logd));
    upstream_bus_closed(to_raftd_upstream(self->raftd));
    ephemeral_bus_closed(self);
    listener_close(&self->listener);
    conn_set_destroy(&self->conns);
    ephemeral_destroy(self);
    to_raftd_destroy(&self->raftd);
    to_logd_destroy(&self->logd);
    channels_destroy(&self->channels);
    watchers_destroy(&self->watchers);
    limits_destroy(&self->limits);
    catalog_destroy(&self->catalog);
    request_pool_destroy(&self->requests);
    buf_release(&self->scratch);
    mem_free(self);
}

static void frontd_reload(void *ud)
{
    struct frontd *self = ud;
    limits_change(self->limits, self->settings->connections_max,
                  self->settings->address_connections_max,
                  self->settings->loopback_connections_max);
}

/* --- the bus --- */

static void frontd_on_up(void *ud, struct bus_link *link)
{
    struct frontd *self = ud;
    if (upstream_notice(to_logd_upstream(self->logd), link)) {
        to_logd_on_up(self->logd);
    } else if (upstream_notice(to_raftd_upstream(self->raftd), link)) {
        to_raftd_on_up(self->raftd);
    } else {
        (void) ephemeral_on_up(self, link);
    }
}

static void frontd_on_down(void *ud, struct bus_link *link)
{
    struct frontd *self = ud;
    if (upstream_is(to_logd_upstream(self->logd), link)) {
        to_logd_on_down(self->logd);
    } else if (upstream_is(to_raftd_upstream(self->raftd), link)) {
        to_raftd_on_down(self->raftd);
    } else {
        (void) ephemeral_on_down(self, link);
    }
}

static void frontd_on_credit(void *ud, struct bus_link *link)
{
    struct frontd *self = ud;
    if (upstream_is(to_logd_upstream(self->logd), link)) {
        to_logd_on_credit(self->logd);
    } else if (upstream_is(to_raftd_upstream(self->raftd), link)) {
        to_raftd_on_credit(self->raftd);
    } else {
        (void) ephemeral_on_credit(self, link);
    }
}

static void frontd_on_message(void *ud, struct bus_link *link, struct bus_message *message)
{
    struct frontd *self = ud;
    if (ephemeral_on_message(self, link, message)) {
        return;
    }
    if (message->is_request) {
        (void) bus_reply_error(self->bus, message->ticket, ERR_UNSUPPORTED,
                               "frontd does not know that"); /* the asker may be gone */
    } else if (upstream_is(to_logd_upstream(self->logd), link)) {
        deliver_message(self, message);
    } else if (upstream_is(to_raftd_upstream(self->raftd), link) &&
               message->type == RAILGUN__BUS_TYPE__BUS_CATALOG_CHANGES) {
        to_raftd_on_changes(self->raftd, message->meta);
    }
}

const struct daemon_program frontd_program = {
    .name = "frontd",
    .purpose = "Terminates client connections and passes their requests to the other daemons.",
    .table = &settings_table,
    .check = frontd_check,
    .start = frontd_start,
    .drain = frontd_drain,
    .stop = frontd_stop,
    .reload = frontd_reload,
    .handlers =
        {
            .on_up = frontd_on_up,
            .on_down = frontd_on_down,
            .on_message = frontd_on_message,
            .on_credit = frontd_on_credit,
        },
};

int main(int argc, char **argv)
{
    return daemon_main(argc, argv, &frontd_program);
}
