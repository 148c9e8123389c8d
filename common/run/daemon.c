/* daemon: what is the same in the main function of every daemon, from the command line to the exit code. Owns the loop, the
 * bus, the metrics and the configuration; the program between start and stop owns everything else. Decides nothing
 * about the program's work. */
#include "common/run/daemon.h"

#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/base/sm.h"
#include "common/base/str.h"
#include "common/run/daemon_args.h"
#include "common/run/daemon_status.h"
#include "common/run/log.h"
#include "common/run/sd.h"

/*   STARTING --ready--> READY --not ready--> STARTING
 *       '------SIGTERM-----'--> DRAINING --drained, timeout, second SIGTERM--> STOPPED (a failure: from anywhere) */
enum daemon_state { DAEMON_STARTING, DAEMON_READY, DAEMON_DRAINING, DAEMON_STOPPED };

static const struct sm_state daemon_states[] = {
    [DAEMON_STARTING] = {"starting", SM_TO(DAEMON_STARTING) | SM_TO(DAEMON_READY) |
                                         SM_TO(DAEMON_DRAINING) | SM_TO(DAEMON_STOPPED)},
    [DAEMON_READY] = {"ready", SM_TO(DAEMON_READY) | SM_TO(DAEMON_STARTING) |
                                   SM_TO(DAEMON_DRAINING) | SM_TO(DAEMON_STOPPED)},
    [DAEMON_DRAINING] = {"draining", SM_TO(DAEMON_STOPPED)},
    [DAEMON_STOPPED] = {"stopped", SM_TO(DAEMON_STOPPED)},
};

enum { DAEMON_EXIT_OK = 0, DAEMON_EXIT_FAILED = 1, DAEMON_EXIT_USAGE = 2 };
enum { DAEMON_NAME_MAX = 48 };

struct daemon_context {
    const struct daemon_program *program;
    struct daemon_args args;
    void *values;
    const struct daemon_conf *conf; /* their first member */
    char name[DAEMON_NAME_MAX];
    struct loop *loop;
    struct bus *bus;
    struct metrics *metrics;
    struct sd sd;
    struct sm sm;
    int exit_code;
    void *self; /* the program's */
    struct wheel_timer drain_timer;
    struct wheel_timer watchdog_timer;
    uint64_t started_ms;
    char reason[200]; /* why not ready; empty when ready */
};

/* --- configuration --- */

/* All sources in their order, over fresh values. 0, or ERR_BAD_CONFIG, ERR_NOT_FOUND, ERR_IO and the problems. */
static int daemon_read_conf(const struct daemon_program *program, const struct daemon_args *args,
                            void *values, struct buf *problem)
{
    int rc = 0;
    conf_defaults(program->table, values);
    if (args->config_path != NULL) {
        rc = conf_read_file(program->table, args->config_path, values, problem);
    }
    int environment_rc = conf_read_environment(program->table, values, problem);
    rc = rc < 0 ? rc : environment_rc;
    for (size_t i = 0; i < args->set_count; i++) {
        int set_rc = conf_set(program->table, args->sets[i], values, problem);
        rc = rc < 0 ? rc : set_rc;
    }
    enum log_level level;
    const struct daemon_conf *conf = values;
    if (rc == 0 && log_level_parse(conf->log_level, &level) < 0) {
        buf_append_text(problem, "log_level: must be debug, info, warn or error");
        rc = ERR_BAD_CONFIG;
    }
    if (rc == 0 && program->check != NULL) {
        rc = program->check(values, problem);
    }
    return rc;
}

static void daemon_apply_log_level(const struct daemon_context *self)
{
    enum log_level level = LOG_LEVEL_INFO;
    (void) log_level_parse(self->conf->log_level, &level); /* checked when it was read */
    log_setup(self->name, level);
}

/* One log line for each line of the text. */
static void daemon_log_lines(enum log_level level, const char *event, const char *key,
                             struct buf *text)
{
    char shown[1024];
    struct span rest = buf_span(text);
    while (rest.size != 0) {
        const uint8_t *end = memchr(rest.data, '\n', rest.size);
        size_t size = end != NULL ? (size_t) (end - rest.data) : rest.size;
        log_line(level, event, "%s=\"%s\"", key,
                 str_escape(span_make(rest.data, size), shown, sizeof(shown)));
        size_t taken = end != NULL ? size + 1 : size;
        rest = span_make(rest.data + taken, rest.size - taken);
    }
}

static void daemon_reload(struct daemon_context *self)
{
    const struct conf_table *table = self->program->table;
    struct buf text = {0};
    void *fresh = mem_new(table->size);

    bool is_ready = self->sm.state == DAEMON_READY;
    if (is_ready) {
        sd_send(&self->sd, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
                timesource_monotonic_us(timesource_system()));
    }
    if (daemon_read_conf(self->program, &self->args, fresh, &text) < 0) {
        daemon_log_lines(LOG_LEVEL_ERROR, "configuration is wrong, the old one stays", "problem",
                         &text);
    } else {
        unsigned changed = conf_reload(table, self->values, fresh, &text);
        daemon_log_lines(LOG_LEVEL_INFO, "configuration changed", "change", &text);
        daemon_apply_log_level(self);
        log_info("configuration reloaded", "changed=%u", changed);
        if (changed != 0 && self->program->reload != NULL) {
            self->program->reload(self->self);
        }
    }
    if (is_ready) {
        sd_send(&self->sd, "READY=1");
    }
    conf_release(table, fresh);
    mem_free(fresh);
    buf_release(&text);
}

/* --- states --- */

static void daemon_end(struct daemon_context *self, int exit_code)
{
    sm_move(&self->sm, DAEMON_STOPPED);
    self->exit_code = exit_code;
    loop_stop(self->loop);
}

void daemon_ready(struct daemon_context *context)
{
    if (context->sm.state != DAEMON_STARTING) {
        return; /* ready already, or on its way out */
    }
    sm_move(&context->sm, DAEMON_READY);
    context->reason[0] = '\0';
    log_info("ready", "after_ms=%" PRIu64,
             timesource_monotonic_ms(timesource_system()) - context->started_ms);
    sd_send(&context->sd, "READY=1\nSTATUS=ready\nMAINPID=%ld", (long) getpid());
}

void daemon_not_ready(struct daemon_context *context, const char *reason)
{
    if (context->sm.state != DAEMON_STARTING && context->sm.state != DAEMON_READY) {
        return;
    }
    (void) str_escape(span_of(reason), context->reason, sizeof(context->reason));
    if (context->sm.state == DAEMON_READY) {
        log_warn("not ready", "reason=\"%s\" action=\"waiting\"", context->reason);
    }
    sm_move(&context->sm, DAEMON_STARTING);
    sd_send(&context->sd, "STATUS=not ready: %s", context->reason);
}

void daemon_drained(struct daemon_context *context)
{
    if (context->sm.state == DAEMON_DRAINING) {
        daemon_end(context, DAEMON_EXIT_OK);
    }
}

void daemon_fail(struct daemon_context *context, const char *event, const char *detail)
{
    log_error(event, "detail=\"%s\" action=\"the process ends\"", detail);
    sd_send(&context->sd, "STATUS=failed: %s", event);
    daemon_end(context, DAEMON_EXIT_FAILED);
}

static void daemon_on_drain_timeout(struct wheel_timer *timer, void *ud)
{
    struct daemon_context *self = ud;
    (void) timer;
    log_warn("drain took too long", "timeout_ms=%" PRIu64 " action=\"stopping with work open\"",
             self->conf->drain_timeout_ms);
    daemon_end(self, DAEMON_EXIT_OK);
}

static void daemon_on_stop_signal(struct daemon_context *self)
{
    if (self->sm.state == DAEMON_DRAINING) {
        log_warn("second signal to stop", "action=\"stopping with work open\"");
        daemon_end(self, DAEMON_EXIT_OK);
        return;
    }
    if (self->sm.state == DAEMON_STOPPED) {
        return;
    }
    sm_move(&self->sm, DAEMON_DRAINING);
    log_info("draining", "timeout_ms=%" PRIu64, self->conf->drain_timeout_ms);
    sd_send(&self->sd, "STOPPING=1\nSTATUS=draining");
    loop_timer_start(self->loop, &self->drain_timer, self->conf->drain_timeout_ms);
    if (self->program->drain != NULL) {
        self->program->drain(self->self);
    } else {
        daemon_drained(self);
    }
}

static void daemon_on_signal(void *ud, int signal_number)
{
    struct daemon_context *self = ud;
    if (signal_number == SIGHUP) {
        daemon_reload(self);
    } else {
        daemon_on_stop_signal(self);
    }
}

/* From the loop itself: a loop that hangs tells nothing. */
static void daemon_on_watchdog(struct wheel_timer *timer, void *ud)
{
    struct daemon_context *self = ud;
    sd_send(&self->sd, "WATCHDOG=1");
    loop_timer_start(self->loop, timer, self->sd.watchdog_ms);
}

/* --- the bus: the program's handlers, and status --- */

static void daemon_on_up(void *ud, struct bus_link *link)
{
    const struct daemon_context *self = ud;
    if (self->program->handlers.on_up != NULL) {
        self->program->handlers.on_up(self->self, link);
    }
}

static void daemon_on_down(void *ud, struct bus_link *link)
{
    const struct daemon_context *self = ud;
    if (self->program->handlers.on_down != NULL) {
        self->program->handlers.on_down(self->self, link);
    }
}

static void daemon_on_credit(void *ud, struct bus_link *link)
{
    const struct daemon_context *self = ud;
    if (self->program->handlers.on_credit != NULL) {
        self->program->handlers.on_credit(self->self, link);
    }
}

static void daemon_on_refused(void *ud, struct bus_peer *peer, int error)
{
    const struct daemon_context *self = ud;
    log_error("refused by a daemon", "peer=%s error=%s action=\"trying again\"",
              bus_peer_name(peer), err_name(error));
    if (self->program->handlers.on_refused != NULL) {
        self->program->handlers.on_refused(self->self, peer, error);
    }
}

static void daemon_answer_status(struct daemon_context *self, const struct bus_message *message)
{
    struct buf meta = {0};
    struct daemon_status status = {
        .daemon = self->name,
        .state = sm_name(&self->sm),
        .detail = self->reason,
        .uptime_ms = loop_now_ms(self->loop) - self->started_ms,
        .epoch = bus_epoch(self->bus),
        .metrics = self->metrics,
    };
    daemon_status_write(&status, &meta);
    struct bus_outgoing out = {.type = message->type, .meta = buf_span(&meta)};
    (void) bus_reply(self->bus, message->ticket, &out); /* the asker may be gone */
    buf_release(&meta);
}

static void daemon_on_message(void *ud, struct bus_link *link, struct bus_message *message)
{
    struct daemon_context *self = ud;
    if (message->type == DAEMON_STATUS_TYPE && message->is_request) {
        daemon_answer_status(self, message);
    } else if (self->program->handlers.on_message != NULL) {
        self->program->handlers.on_message(self->self, link, message);
    } else if (message->is_request) {
        /* the asker may be gone */
        (void) bus_reply_error(self->bus, message->ticket, ERR_UNSUPPORTED, NULL);
    }
}

static uint64_t daemon_read_rss(void *ud)
{
    (void) ud;
    return daemon_rss_bytes();
}

#define DAEMON_BUS_GAUGE(field)                                                                    \
    static uint64_t daemon_read_bus_##field(void *ud)                                              \
    {                                                                                              \
        struct bus_stats stats;                                                                    \
        bus_stats_read(((const struct daemon_context *) ud)->bus, &stats);                         \
        return stats.field;                                                                        \
    }
DAEMON_BUS_GAUGE(sent)
DAEMON_BUS_GAUGE(received)
DAEMON_BUS_GAUGE(sent_bytes)
DAEMON_BUS_GAUGE(received_bytes)
DAEMON_BUS_GAUGE(requests)
DAEMON_BUS_GAUGE(unknown)
DAEMON_BUS_GAUGE(again)
DAEMON_BUS_GAUGE(sessions)
DAEMON_BUS_GAUGE(malformed)
DAEMON_BUS_GAUGE(stale)

static void daemon_add_gauges(struct daemon_context *self)
{
    struct metrics *metrics = self->metrics;
    metrics_gauge(metrics, "railgun_rss_bytes", daemon_read_rss, self);
    metrics_gauge(metrics, "railgun_bus_sent_total", daemon_read_bus_sent, self);
    metrics_gauge(metrics, "railgun_bus_received_total", daemon_read_bus_received, self);
    metrics_gauge(metrics, "railgun_bus_sent_bytes_total", daemon_read_bus_sent_bytes, self);
    metrics_gauge(metrics, "railgun_bus_received_bytes_total", daemon_read_bus_received_bytes,
                  self);
    metrics_gauge(metrics, "railgun_bus_requests_total", daemon_read_bus_requests, self);
    metrics_gauge(metrics, "railgun_bus_unknown_total", daemon_read_bus_unknown, self);
    metrics_gauge(metrics, "railgun_bus_again_total", daemon_read_bus_again, self);
    metrics_gauge(metrics, "railgun_bus_sessions_total", daemon_read_bus_sessions, self);
    metrics_gauge(metrics, "railgun_bus_malformed_total", daemon_read_bus_malformed, self);
    metrics_gauge(metrics, "railgun_bus_stale_total", daemon_read_bus_stale, self);
}

/* --- from start to end --- */

static void daemon_prepare_process(void)
{
    (void) umask(0077);
    (void) signal(SIGPIPE, SIG_IGN);
    loop_block_signals();
    /* The loop's thread allocates and ZeroMQ's frees: an arena for each thread would only hold more memory. */
    (void) mallopt(M_ARENA_MAX, 2);
}

/* The name is ours, or another process's. */
static int daemon_open_bus(struct daemon_context *self)
{
    struct bus_options options = {.run_dir = self->conf->run_dir, .name = self->name};
    struct bus_handlers handlers = {
        .on_up = daemon_on_up,
        .on_down = daemon_on_down,
        .on_message = daemon_on_message,
        .on_credit = daemon_on_credit,
        .on_refused = daemon_on_refused,
        .ud = self,
    };
    char shown[512];
    (void) str_escape(span_of(self->conf->run_dir), shown, sizeof(shown));
    int rc = bus_open(&options, self->loop, &handlers, &self->bus);
    if (rc < 0) {
        log_error("run directory cannot be used", "run_dir=\"%s\" error=%s", shown, err_name(rc));
        return rc;
    }
    rc = bus_lock(self->bus);
    if (rc == ERR_LOCKED) {
        log_error("already running",
                  "name=%s run_dir=\"%s\" action=\"stop it, or give another --instance\"",
                  self->name, shown);
    } else if (rc < 0) {
        log_error("run directory cannot be written", "run_dir=\"%s\" error=%s", shown,
                  err_name(rc));
    }
    return rc;
}

static int daemon_run(struct daemon_context *self)
{
    self->loop = loop_new();
    self->metrics = metrics_new();
    self->started_ms = loop_now_ms(self->loop);
    self->exit_code = DAEMON_EXIT_FAILED;
    sm_init(&self->sm, "daemon", daemon_states, DAEMON_STARTING);
    wheel_timer_init(&self->drain_timer, daemon_on_drain_timeout, self);
    wheel_timer_init(&self->watchdog_timer, daemon_on_watchdog, self);
    sd_open(&self->sd);
    int rc = daemon_open_bus(self);
    if (rc == 0) {
        daemon_add_gauges(self);
        rc = loop_on_signals(self->loop, daemon_on_signal, self);
    }
    if (rc == 0) {
        log_info("starting", "version=%s pid=%ld", RAILGUN_VERSION, (long) getpid());
        rc = self->program->start(self, &self->self);
    }
    if (rc == 0) {
        if (self->sd.watchdog_ms != 0) {
            loop_timer_start(self->loop, &self->watchdog_timer, self->sd.watchdog_ms);
        }
        if (self->sm.state != DAEMON_STOPPED) { /* start may have failed late, by daemon_fail */
            (void) loop_run(self->loop);
        }
    }
    /* The bus first: its last calls still find the program whole. */
    bus_close(&self->bus);
    if (self->program->stop != NULL) {
        self->program->stop(self->self);
    }
    wheel_cancel(loop_wheel(self->loop), &self->drain_timer);
    wheel_cancel(loop_wheel(self->loop), &self->watchdog_timer);
    log_info("stopped", "exit=%d", self->exit_code);
    sd_close(&self->sd);
    metrics_destroy(&self->metrics);
    loop_destroy(&self->loop);
    return self->exit_code;
}

/* The configuration read, checked and, if that was all, done with: an exit code, or -1 to go on. */
static int daemon_configure(struct daemon_context *self)
{
    struct buf problem = {0};
    int rc = daemon_read_conf(self->program, &self->args, self->values, &problem);
    if (rc < 0) {
        (void) fprintf(stderr, "%s\n", buf_text(&problem));
    } else if (self->args.action == DAEMON_CHECK_CONFIG) {
        (void) printf("%s: configuration ok\n", self->program->name);
    }
    buf_release(&problem);
    if (rc < 0) {
        return DAEMON_EXIT_USAGE;
    }
    return self->args.action == DAEMON_CHECK_CONFIG ? DAEMON_EXIT_OK : -1;
}

int daemon_main(int argc, char **argv, const struct daemon_program *program)
{
    struct daemon_context self = {.program = program};

    daemon_prepare_process();
    int exit_code = daemon_args_read(argc, argv, program, &self.args);
    if (exit_code < 0) {
        self.values = mem_new(program->table->size);
        self.conf = self.values;
        exit_code = daemon_configure(&self);
        if (exit_code < 0) {
            (void) snprintf(self.name, sizeof(self.name), "%s-%" PRIu64, program->name,
                            self.conf->instance);
            daemon_apply_log_level(&self);
            exit_code = daemon_run(&self);
        }
        conf_release(program->table, self.values);
        mem_free(self.values);
    }
    daemon_args_release(&self.args);
    return exit_code;
}

struct loop *daemon_loop(struct daemon_context *context)
{
    return context->loop;
}

struct bus *daemon_bus(struct daemon_context *context)
{
    return context->bus;
}

const void *daemon_values(struct daemon_context *context)
{
    return context->values;
}

const char *daemon_name(struct daemon_context *context)
{
    return context->name;
}

struct metrics *daemon_metrics(struct daemon_context *context)
{
    return context->metrics;
}
