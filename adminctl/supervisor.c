/* supervisor: the parent of a node's daemons. Owns their processes and the folder's lock (held by the caller); it starts again whatever dies, waiting longer each
 * time it dies soon, and never touches data. One thread, no library of ours that starts threads: it forks.
 *
 * The node stands on the first instance of each daemon: should one of those never come up, the node is given up. A further frontd or routerd that does not come up is
 * told of and tried again, and disturbs nobody. */
#include "adminctl/supervisor.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/run/log.h"

#include "adminctl/child.h"
#include "adminctl/ctl.h"
#include "adminctl/node.h"

enum {
    RESTART_DELAY_MIN_MS = 50,
    RESTART_DELAY_MAX_MS = 5000,
    STEADY_MS = 10000,     /* who ran this long begins again with the shortest delay */
    STOP_MS = 35000,       /* a little more than a daemon's own drain_timeout */
    FAILED_STARTS_MAX = 3, /* never ready, and ended by itself so often: it is failing */
    CHILDREN = 2 + 2 * SCALE_MAX,
};

struct supervisor {
    const struct supervisor_options *options;
    char programs[NODE_PATH_MAX];
    struct child_place place;
    struct scale scale;
    struct child children[CHILDREN]; /* raftd, logd, routerds, frontds */
    char port[8];                    /* of all frontds, once the first listens; "" before */
    int signal_fd;
    bool stopping;
    bool reported;
    int exit;
    char why[SCALE_TEXT_MAX + 8]; /* what to report when all are stopped */
    struct buf told;              /* what the state file says */
};

static uint64_t now_ms(void)
{
    return timesource_monotonic_ms(timesource_system());
}

static void report(struct supervisor *self, const char *line)
{
    if (!self->reported && self->options->report_fd >= 0) {
        /* nobody may be listening any more */
        (void) !write(self->options->report_fd, line, strlen(line));
        (void) close(self->options->report_fd);
    }
    self->reported = true;
}

/* --- what is told --- */

static const char *state_name(const struct child *child)
{
    if (child->pid == 0) {
        return child->is_failing ? "failing" : "waiting";
    }
    if (child->is_stopping) {
        return "stopping";
    }
    return child->ready ? "ready" : "starting";
}

static void failing_text(const struct supervisor *self, const struct child *child, char *out,
                         size_t capacity)
{
    char why[CHILD_ERROR_SIZE];
    char log_name[CHILD_NAME_SIZE + 8];
    child_last_error(child, &self->place, why);
    (void) snprintf(out, capacity, "%s does not start: %s%s(see %s/log/%s)",
                    child->instance == 0 ? child->daemon : child->name, why, why[0] != 0 ? " " : "",
                    self->options->to_files ? self->options->dir : "standard error, or",
                    child_log_name(child, log_name));
}

/* Write the state file if it would say something else than before; report "ready" the first time that all are. */
static void tell(struct supervisor *self)
{
    struct buf daemons = {0};
    struct scale_state state = {.pid = getpid(), .wish = self->scale, .is_settled = true};
    buf_append_text(&daemons, "daemons = {\n");
    for (size_t i = 0; i < CHILDREN; i++) {
        const struct child *child = &self->children[i];
        if (child->is_wanted || child->pid != 0) {
            buf_printf(&daemons, "    %s = \"%s\";\n", child->name, state_name(child));
        }
        state.is_settled = state.is_settled && child->is_wanted == (child->pid != 0) &&
                           child->is_wanted == child->ready && !child->is_stopping;
        if (child->is_failing && state.failing[0] == 0) {
            failing_text(self, child, state.failing, sizeof(state.failing));
        }
    }
    buf_append_text(&daemons, "};\n");
    if (state.is_settled) {
        report(self, "ready\n");
    }
    if (!span_equal(buf_span(&daemons), buf_span(&self->told))) {
        int result = scale_state_write(self->options->dir, &state, buf_text(&daemons));
        if (result < 0) {
            log_warn(
                "cannot write the state",
                "file=%s/state error=%s action=\"adminctl up --frontd will not find the node\"",
                self->options->dir, err_name(result));
        }
        buf_reset(&self->told);
        buf_append(&self->told, buf_span(&daemons));
    }
    buf_release(&daemons);
}

/* --- what dies --- */

/* The first of its kind never comes up: say why, stop the others. */
static void give_up(struct supervisor *self, const struct child *child, int code)
{
    char why[SCALE_TEXT_MAX];
    failing_text(self, child, why, sizeof(why));
    (void) snprintf(self->why, sizeof(self->why), "%s\n", why);
    log_error("daemon does not start", "daemon=%s exit=%d action=\"the node is stopped\"",
              child->name, code);
    self->stopping = true;
    self->exit = CTL_FAILED;
}

/* Another one never comes up: say why, go on. */
static void mark_failing(struct supervisor *self, struct child *child, int code)
{
    char why[SCALE_TEXT_MAX];
    char line[SCALE_TEXT_MAX + 64];
    if (child->is_failing) {
        return;
    }
    child->is_failing = true;
    log_error("daemon does not start",
              "daemon=%s exit=%d action=\"the node goes on without it, it is tried again\"",
              child->name, code);
    failing_text(self, child, why, sizeof(why));
    (void) snprintf(line, sizeof(line), "%s; the node goes on without it\n", why);
    report(self, line);
}

static void child_ended(struct supervisor *self, struct child *child, int status)
{
    uint64_t ran_ms = now_ms() - child->started_ms;
    bool by_signal = WIFSIGNALED(status);
    int code = by_signal ? WTERMSIG(status) : WEXITSTATUS(status);
    bool was_asked = child->is_stopping;

    child->pid = 0;
    child->ready = false;
    child->is_stopping = false;
    if (self->stopping) {
        return;
    }
    if (!child->is_wanted || was_asked) { /* asked, and wanted again since: it starts at once */
        log_info("daemon stopped", "daemon=%s %s=%d", child->name, by_signal ? "signal" : "exit",
                 code);
        return;
    }
    child->failed_starts += !by_signal && code != 0;
    if (!by_signal && !child->was_ready &&
        (code == CHILD_EXIT_USAGE || child->failed_starts >= FAILED_STARTS_MAX)) {
        if (child->instance == 0) {
            give_up(self, child, code);
            return;
        }
        if (child->failed_starts >= FAILED_STARTS_MAX) {
            mark_failing(self, child, code);
        }
    }
    child->delay_ms =
        ran_ms >= STEADY_MS || child->delay_ms == 0 ? RESTART_DELAY_MIN_MS : child->delay_ms * 2;
    if (child->delay_ms > RESTART_DELAY_MAX_MS) {
        child->delay_ms = RESTART_DELAY_MAX_MS;
    }
    child->restart_at_ms = now_ms() + child->delay_ms;
    child->restarts++;
    log_warn("daemon ended",
             "daemon=%s %s=%d ran_ms=%llu restarts=%u action=\"started again in %llu ms\"",
             child->name, by_signal ? "signal" : "exit", code, (unsigned long long) ran_ms,
             child->restarts, (unsigned long long) child->delay_ms);
}

static void reap(struct supervisor *self)
{
    int status = 0;
    pid_t pid = 0;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (size_t i = 0; i < CHILDREN; i++) {
            struct child *child = &self->children[i];
            if (child->pid == pid) {
                child_ended(self, child, status);
            }
        }
    }
}

/* --- what is to run --- */

static bool is_frontd(const struct child *child)
{
    return strcmp(child->daemon, "frontd") == 0;
}

static void want(struct supervisor *self, const struct scale *scale)
{
    self->scale = *scale;
    for (size_t i = 0; i < CHILDREN; i++) {
        struct child *child = &self->children[i];
        bool was_wanted = child->is_wanted;
        unsigned count = is_frontd(child)                        ? scale->frontd
                         : strcmp(child->daemon, "routerd") == 0 ? scale->routerd
                                                                 : 1;
        child->is_wanted = child->instance < count;
        if (child->is_wanted != was_wanted) { /* its life begins, or is over: no old grudges */
            child->is_failing = false;
            child->was_ready = false;
            child->failed_starts = 0;
            child->delay_ms = 0;
            child->restart_at_ms = 0;
        }
    }
}

static void rescale(struct supervisor *self)
{
    struct scale scale;
    struct buf problem = {0};
    int result = scale_read(self->options->dir, &scale, &problem);
    if (result < 0) {
        log_warn("cannot read the scale",
                 "file=%s/etc/scale.conf error=%s detail=\"%s\" action=\"it stays as it is\"",
                 self->options->dir, err_name(result), buf_text(&problem));
    } else if (scale.frontd != self->scale.frontd || scale.routerd != self->scale.routerd) {
        log_info("scaling", "frontd=%u routerd=%u", scale.frontd, scale.routerd);
        want(self, &scale);
    }
    buf_release(&problem);
}

/* All frontds listen on one port: the first one picks it. */
static bool may_start(const struct supervisor *self, const struct child *child)
{
    return child->is_wanted && child->pid == 0 &&
           (child->instance == 0 || !is_frontd(child) || self->port[0] != 0);
}

static void start(struct supervisor *self, struct child *child)
{
    const char *port = self->port[0] != 0 ? self->port : self->options->port;
    int result = child_start(child, &self->place, port);
    if (result < 0) {
        child->restart_at_ms = now_ms() + RESTART_DELAY_MAX_MS;
        log_error("cannot start a process", "daemon=%s error=%s action=\"tried again in 5 s\"",
                  child->name, err_name(result));
    }
}

static void stop(struct child *child)
{
    child->is_stopping = true;
    child->kill_at_ms = now_ms() + STOP_MS;
    (void) kill(child->pid, SIGTERM);
}

static void kill_overdue(struct child *child)
{
    log_warn("daemon does not stop", "daemon=%s action=\"killed\"", child->name);
    (void) kill(child->pid, SIGKILL);
    child->kill_at_ms = UINT64_MAX;
}

/* Start and stop what is due; returns how long the next poll may wait. The surplus is stopped all at once: none of it listens any more then, so clients that are told
 * to go away come to those that stay. */
static int tend(struct supervisor *self)
{
    uint64_t now = now_ms();
    uint64_t next = UINT64_MAX;
    for (size_t i = CHILDREN; i-- > 0;) {
        struct child *child = &self->children[i];
        if (child->pid != 0 && !child->is_wanted && !child->is_stopping) {
            stop(child);
        }
    }
    for (size_t i = 0; i < CHILDREN; i++) {
        struct child *child = &self->children[i];
        if (may_start(self, child) && child->restart_at_ms <= now) {
            start(self, child);
        }
        if (may_start(self, child) && child->restart_at_ms < next) {
            next = child->restart_at_ms;
        }
        if (child->pid != 0 && child->is_stopping && child->kill_at_ms <= now) {
            kill_overdue(child);
        }
        if (child->pid != 0 && child->is_stopping && child->kill_at_ms < next) {
            next = child->kill_at_ms;
        }
    }
    return next == UINT64_MAX ? -1 : next <= now ? 0 : (int) (next - now);
}

/* --- the turn --- */

static void on_ready(struct supervisor *self, struct child *child)
{
    child->is_failing = false;
    child->failed_starts = 0;
    if (child->owes_reload) {
        child->owes_reload = false;
        (void) kill(child->pid, SIGHUP);
    }
    if (is_frontd(child) && child->instance == 0 && self->port[0] == 0) {
        uint16_t port = 0;
        if (node_port(self->options->dir, &port) == 0) {
            (void) snprintf(self->port, sizeof(self->port), "%u", port);
        } else {
            log_error("frontd-0 has left no port file", "dir=%s/run action=\"no further frontds\"",
                      self->options->dir);
        }
    }
}

/* One that is not ready might not be prepared for the signal: it would end. */
static void reload(struct supervisor *self)
{
    for (size_t i = 0; i < CHILDREN; i++) {
        struct child *child = &self->children[i];
        if (child->ready) {
            (void) kill(child->pid, SIGHUP);
        } else {
            child->owes_reload = child->pid != 0;
        }
    }
}

/* Wait for signals and notifications; true when asked to stop. */
static bool turn(struct supervisor *self, int timeout_ms)
{
    struct pollfd fds[1 + CHILDREN] = {{.fd = self->signal_fd, .events = POLLIN}};
    bool stop_asked = false;
    for (size_t i = 0; i < CHILDREN; i++) { /* -1 is passed over */
        fds[1 + i] = (struct pollfd){.fd = self->children[i].notify_fd, .events = POLLIN};
    }
    if (poll(fds, 1 + CHILDREN, timeout_ms) <= 0) {
        return false;
    }
    struct signalfd_siginfo info;
    while (read(self->signal_fd, &info, sizeof(info)) == (ssize_t) sizeof(info)) {
        stop_asked = stop_asked || info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT;
        if (info.ssi_signo == SIGHUP && !self->stopping) {
            rescale(self);
            reload(self);
        }
    }
    for (size_t i = 0; i < CHILDREN; i++) {
        if ((fds[1 + i].revents & POLLIN) != 0 && child_hear(&self->children[i])) {
            on_ready(self, &self->children[i]);
        }
    }
    reap(self);
    return stop_asked;
}

static bool runs_any(const struct supervisor *self, const char *daemon)
{
    for (size_t i = 0; i < CHILDREN; i++) {
        if (self->children[i].pid != 0 && strcmp(self->children[i].daemon, daemon) == 0) {
            return true;
        }
    }
    return false;
}

/* Clients first, so that no request meets a closed door: frontd, routerd, logd, raftd. */
static void stop_all(struct supervisor *self)
{
    self->stopping = true;
    for (int kind = NODE_DAEMONS - 1; kind >= 0; kind--) {
        const char *daemon = node_daemons[kind];
        for (size_t i = 0; i < CHILDREN; i++) {
            struct child *child = &self->children[i];
            if (child->pid != 0 && !child->is_stopping && strcmp(child->daemon, daemon) == 0) {
                stop(child);
            }
        }
        while (runs_any(self, daemon)) {
            (void) turn(self, 100);
            for (size_t i = 0; i < CHILDREN; i++) {
                struct child *child = &self->children[i];
                if (child->pid != 0 && child->is_stopping && child->kill_at_ms <= now_ms()) {
                    kill_overdue(child);
                }
            }
        }
    }
}

static int prepare(struct supervisor *self)
{
    sigset_t signals;
    size_t count = 0;
    (void) sigemptyset(&signals);
    (void) sigaddset(&signals, SIGTERM);
    (void) sigaddset(&signals, SIGINT);
    (void) sigaddset(&signals, SIGHUP);
    (void) sigaddset(&signals, SIGCHLD);
    (void) sigprocmask(SIG_BLOCK, &signals, NULL);
    for (int kind = 0; kind < NODE_DAEMONS; kind++) {
        unsigned instances = kind < 2 ? 1 : SCALE_MAX; /* raftd, logd; routerd, frontd */
        for (unsigned i = 0; i < instances; i++) {
            child_init(&self->children[count++], node_daemons[kind], i);
        }
    }
    self->place = (struct child_place){
        .dir = self->options->dir, .programs = self->programs, .to_files = self->options->to_files};
    want(self, &self->options->scale);
    self->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    return self->signal_fd < 0 ? err_from_errno(errno) : node_program_dir(self->programs);
}

int supervisor_run(const struct supervisor_options *options)
{
    struct supervisor self = {.options = options};
    if (prepare(&self) < 0) {
        report(&self, "cannot prepare to start daemons\n");
        return CTL_FAILED;
    }
    bool stop_asked = false;
    while (!self.stopping && !stop_asked) {
        int timeout_ms = tend(&self);
        tell(&self);
        stop_asked = turn(&self, timeout_ms);
    }
    stop_all(&self);
    scale_state_remove(options->dir);
    report(&self, self.why[0] != 0 ? self.why : "stopped before it was ready\n");
    for (size_t i = 0; i < CHILDREN; i++) {
        child_release(&self.children[i]);
    }
    buf_release(&self.told);
    (void) close(self.signal_fd);
    return self.exit;
}
