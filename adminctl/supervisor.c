/* supervisor: the parent of a node's daemons. Owns their processes and the folder's lock (held by the caller); it starts again whatever dies, waiting longer each
 * time it dies soon, and never touches data. One thread, no library of ours that starts threads: it forks. */
#include "adminctl/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/run/log.h"

#include "adminctl/ctl.h"
#include "adminctl/node.h"

enum {
    RESTART_DELAY_MIN_MS = 50,
    RESTART_DELAY_MAX_MS = 5000,
    STEADY_MS = 10000,     /* who ran this long begins again with the shortest delay */
    STOP_MS = 35000,       /* a little more than a daemon's own drain_timeout */
    DAEMON_EXIT_USAGE = 2, /* its configuration is wrong: starting it again helps nobody */
    FAILED_STARTS_MAX = 3, /* never ready, and ended by itself so often: the same */
    LOG_TAIL_BYTES = 4096,
    REPORT_BYTES = 1024
};

struct child {
    const char *daemon;
    pid_t pid; /* 0: not running */
    int notify_fd;
    bool ready;
    bool was_ready;
    uint64_t started_ms;
    uint64_t restart_at_ms;
    uint64_t delay_ms;
    unsigned restarts;
    unsigned failed_starts;
};

struct supervisor {
    const struct supervisor_options *options;
    char programs[NODE_PATH_MAX];
    struct child children[NODE_DAEMONS];
    int signal_fd;
    bool stopping;
    bool reported;
    int exit;
    char why[REPORT_BYTES * 2]; /* what to report when all are stopped */
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

/* --- readiness --- */

/* The abstract name that the child sends to; nothing of it lies on disk. */
static socklen_t notify_address(const struct supervisor *self, const struct child *child,
                                struct sockaddr_un *address)
{
    (void) self;
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    int length = snprintf(address->sun_path + 1, sizeof(address->sun_path) - 1, "railgun-up-%d-%s",
                          (int) getpid(), child->daemon);
    return (socklen_t) (offsetof(struct sockaddr_un, sun_path) + 1 + (size_t) length);
}

static int notify_open(struct supervisor *self, struct child *child)
{
    struct sockaddr_un address;
    socklen_t size = notify_address(self, child, &address);
    child->notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (child->notify_fd < 0 ||
        bind(child->notify_fd, (const struct sockaddr *) &address, size) < 0) {
        return err_from_errno(errno);
    }
    return 0;
}

static void notify_read(struct supervisor *self, struct child *child)
{
    char text[512];
    ssize_t size = 0;
    while ((size = recv(child->notify_fd, text, sizeof(text) - 1, 0)) > 0) {
        text[size] = 0;
        if (strstr(text, "READY=1") != NULL) {
            child->ready = true;
            child->was_ready = true;
        }
    }
    for (int i = 0; i < NODE_DAEMONS; i++) {
        if (!self->children[i].ready) {
            return;
        }
    }
    report(self, "ready\n");
}

/* --- processes --- */

static void child_exec(const struct supervisor *self, const struct child *child)
{
    char program[NODE_PATH_MAX];
    char config[NODE_PATH_MAX];
    char part[64];
    char port[64];
    char notify[128];
    char log_path[NODE_PATH_MAX];
    sigset_t none;

    (void) prctl(PR_SET_PDEATHSIG, SIGTERM); /* no orphans should we be killed with -9 */
    (void) sigemptyset(&none);
    (void) sigprocmask(SIG_SETMASK, &none, NULL);
    (void) setpgid(0, 0); /* Ctrl-C reaches us alone: we stop them in order */
    if (node_path(self->programs, child->daemon, program) < 0) {
        _exit(DAEMON_EXIT_USAGE);
    }
    (void) snprintf(part, sizeof(part), "etc/%s.conf", child->daemon);
    if (node_path(self->options->dir, part, config) < 0) {
        _exit(DAEMON_EXIT_USAGE);
    }
    if (self->options->to_files) {
        (void) snprintf(part, sizeof(part), "log/%s.log", child->daemon);
        int fd = node_path(self->options->dir, part, log_path) < 0
                     ? -1
                     : open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (fd >= 0) {
            (void) dup2(fd, STDOUT_FILENO);
            (void) dup2(fd, STDERR_FILENO);
        }
    }
    (void) snprintf(notify, sizeof(notify), "@railgun-up-%d-%s", (int) getppid(), child->daemon);
    (void) setenv("NOTIFY_SOCKET", notify, 1);
    (void) unsetenv("WATCHDOG_USEC");
    char option_config[] = "--config"; /* execv has no const */
    char option_set[] = "--set";
    char *arguments[] = {program, option_config, config, NULL, NULL, NULL};
    if (strcmp(child->daemon, "frontd") == 0 && self->options->port != NULL) {
        (void) snprintf(port, sizeof(port), "listen.port=%s", self->options->port);
        arguments[3] = option_set;
        arguments[4] = port;
    }
    (void) execv(program, arguments);
    (void) fprintf(stderr, "adminctl: cannot start %s: %s: build or install it beside adminctl\n",
                   program, strerror(errno));
    _exit(DAEMON_EXIT_USAGE);
}

static void child_start(struct supervisor *self, struct child *child)
{
    child->ready = false;
    child->started_ms = now_ms();
    child->restart_at_ms = 0;
    pid_t pid = fork();
    if (pid == 0) {
        child_exec(self, child);
    }
    if (pid < 0) {
        child->restart_at_ms = now_ms() + RESTART_DELAY_MAX_MS;
        log_error("cannot fork", "daemon=%s errno=%d action=\"tried again in 5 s\"", child->daemon,
                  errno);
        return;
    }
    child->pid = pid;
}

/* The last error that the daemon has logged; "" if it cannot be found. */
static void last_error(const struct supervisor *self, const struct child *child,
                       char out[REPORT_BYTES])
{
    char text[LOG_TAIL_BYTES + 1];
    char path[NODE_PATH_MAX];
    char part[64];
    out[0] = 0;
    (void) snprintf(part, sizeof(part), "log/%s.log", child->daemon);
    int fd = !self->options->to_files || node_path(self->options->dir, part, path) < 0
                 ? -1
                 : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    off_t size = lseek(fd, 0, SEEK_END);
    ssize_t got =
        pread(fd, text, LOG_TAIL_BYTES, size > LOG_TAIL_BYTES ? size - LOG_TAIL_BYTES : 0);
    (void) close(fd);
    text[got > 0 ? got : 0] = 0;
    char *rest = NULL;
    for (const char *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        /* A daemon that refuses its configuration says so before it has a log. */
        if (strstr(line, "level=error") != NULL || strstr(line, " level=") == NULL) {
            (void) snprintf(out, REPORT_BYTES, "%.900s", line);
        }
    }
}

/* It never comes up: say why, stop the others. */
static void give_up(struct supervisor *self, const struct child *child, int code)
{
    char why[REPORT_BYTES];
    last_error(self, child, why);
    (void) snprintf(self->why, sizeof(self->why), "%s does not start: %s%s(see %s/log/%s.log)\n",
                    child->daemon, why, why[0] != 0 ? " " : "",
                    self->options->to_files ? self->options->dir : "standard error, or",
                    child->daemon);
    log_error("daemon does not start", "daemon=%s exit=%d action=\"the node is stopped\"",
              child->daemon, code);
    self->stopping = true;
    self->exit = CTL_FAILED;
}

static void child_ended(struct supervisor *self, struct child *child, int status)
{
    uint64_t ran_ms = now_ms() - child->started_ms;
    bool by_signal = WIFSIGNALED(status);
    int code = by_signal ? WTERMSIG(status) : WEXITSTATUS(status);

    child->pid = 0;
    child->ready = false;
    if (self->stopping) {
        return;
    }
    child->failed_starts += !by_signal && code != 0;
    if (!by_signal && !child->was_ready &&
        (code == DAEMON_EXIT_USAGE || child->failed_starts >= FAILED_STARTS_MAX)) {
        give_up(self, child, code);
        return;
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
             child->daemon, by_signal ? "signal" : "exit", code, (unsigned long long) ran_ms,
             child->restarts, (unsigned long long) child->delay_ms);
}

static void reap(struct supervisor *self)
{
    int status = 0;
    pid_t pid = 0;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (int i = 0; i < NODE_DAEMONS; i++) {
            if (self->children[i].pid == pid) {
                child_ended(self, &self->children[i], status);
            }
        }
    }
}

/* How long the next poll may wait; starts what is due. */
static int start_due(struct supervisor *self)
{
    uint64_t now = now_ms();
    uint64_t next = UINT64_MAX;
    for (int i = 0; i < NODE_DAEMONS; i++) {
        struct child *child = &self->children[i];
        if (child->pid == 0 && child->restart_at_ms <= now) {
            child_start(self, child);
        }
        if (child->pid == 0 && child->restart_at_ms < next) {
            next = child->restart_at_ms;
        }
    }
    return next == UINT64_MAX ? -1 : next <= now ? 0 : (int) (next - now);
}

/* Wait for signals and notifications; true when asked to stop. */
static bool turn(struct supervisor *self, int timeout_ms)
{
    struct pollfd fds[1 + NODE_DAEMONS] = {{.fd = self->signal_fd, .events = POLLIN}};
    bool stop = false;
    for (int i = 0; i < NODE_DAEMONS; i++) {
        fds[1 + i] = (struct pollfd){.fd = self->children[i].notify_fd, .events = POLLIN};
    }
    if (poll(fds, 1 + NODE_DAEMONS, timeout_ms) <= 0) {
        return false;
    }
    struct signalfd_siginfo info;
    while (read(self->signal_fd, &info, sizeof(info)) == (ssize_t) sizeof(info)) {
        stop = stop || info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT;
        for (int i = 0; i < NODE_DAEMONS && info.ssi_signo == SIGHUP; i++) {
            if (self->children[i].pid != 0) {
                (void) kill(self->children[i].pid, SIGHUP);
            }
        }
    }
    for (int i = 0; i < NODE_DAEMONS; i++) {
        if ((fds[1 + i].revents & POLLIN) != 0) {
            notify_read(self, &self->children[i]);
        }
    }
    reap(self);
    return stop;
}

/* Clients first, so that no request meets a closed door: frontd, routerd, logd, raftd. */
static void stop_all(struct supervisor *self)
{
    self->stopping = true;
    for (int i = NODE_DAEMONS - 1; i >= 0; i--) {
        struct child *child = &self->children[i];
        uint64_t until = now_ms() + STOP_MS;
        if (child->pid == 0) {
            continue;
        }
        (void) kill(child->pid, SIGTERM);
        while (child->pid != 0 && now_ms() < until) {
            (void) turn(self, 100);
        }
        if (child->pid != 0) {
            log_warn("daemon does not stop", "daemon=%s action=\"killed\"", child->daemon);
            (void) kill(child->pid, SIGKILL);
            (void) waitpid(child->pid, NULL, 0);
            child->pid = 0;
        }
    }
}

int supervisor_run(const struct supervisor_options *options)
{
    struct supervisor self = {.options = options, .signal_fd = -1};
    sigset_t signals;

    (void) sigemptyset(&signals);
    (void) sigaddset(&signals, SIGTERM);
    (void) sigaddset(&signals, SIGINT);
    (void) sigaddset(&signals, SIGHUP);
    (void) sigaddset(&signals, SIGCHLD);
    (void) sigprocmask(SIG_BLOCK, &signals, NULL);
    self.signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (self.signal_fd < 0 || node_program_dir(self.programs) < 0) {
        report(&self, "cannot prepare to start daemons\n");
        return CTL_FAILED;
    }
    for (int i = 0; i < NODE_DAEMONS; i++) {
        self.children[i].daemon = node_daemons[i];
        if (notify_open(&self, &self.children[i]) < 0) {
            report(&self, "cannot open a notification socket\n");
            return CTL_FAILED;
        }
    }
    while (!self.stopping && !turn(&self, start_due(&self))) {
    }
    stop_all(&self);
    report(&self, self.why[0] != 0 ? self.why : "stopped before it was ready\n");
    for (int i = 0; i < NODE_DAEMONS; i++) {
        (void) close(self.children[i].notify_fd);
    }
    (void) close(self.signal_fd);
    return self.exit;
}
