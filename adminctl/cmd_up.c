/* up and down: a node in one folder. `up` lays out DIR/{etc,run,data,log}, writes the configuration files that are missing and supervises the daemons, here or in the
 * background; on a node that runs it tells the supervisor how many frontds and routerds are wanted. `down` asks the supervisor to stop and waits. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/str.h"
#include "common/run/log.h"
#include "common/store/fs.h"
#include "common/store/lock.h"

#include "adminctl/ctl.h"
#include "adminctl/node.h"
#include "adminctl/options.h"
#include "adminctl/supervisor.h"

static const char *const dir_default = "./run";

enum {
    READY_TIMEOUT_MS = 60000,
    DOWN_TIMEOUT_MS = 150000,
    MEET_TIMEOUT_MS = 10000,
    SCALE_TIMEOUT_MS = 120000,
    LOOK_MS = 20,
    NOT_GIVEN = 0,      /* a number of instances: as before */
    INSTANCES_MAX = 64, /* as the daemons' key `instance` allows */
};

/* A configuration file with what differs from the defaults; an existing one belongs to the user and stays. */
static int write_config(const char *dir, const char *daemon)
{
    char path[NODE_PATH_MAX];
    char part[64];
    (void) snprintf(part, sizeof(part), "etc/%s.conf", daemon);
    if (node_path(dir, part, path) < 0) {
        return ERR_TOO_LARGE;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return errno == EEXIST ? 0 : err_from_errno(errno);
    }
    FILE *file = fdopen(fd, "w");
    if (file == NULL) {
        (void) close(fd);
        return ERR_NO_MEMORY;
    }
    (void) fprintf(file,
                   "# Written by adminctl up, and never again: it is yours to edit. All keys: %s "
                   "--print-config\n",
                   daemon);
    (void) fprintf(file, "run_dir = \"%s/run\";\ndata_dir = \"%s/data/%s\";\n", dir, dir, daemon);
    return fclose(file) == 0 ? 0 : ERR_IO;
}

static int lay_out(const char *dir)
{
    static const char *const parts[] = {"etc",        "run",         "log",         "data/logd",
                                        "data/raftd", "data/frontd", "data/routerd"};
    char path[NODE_PATH_MAX];
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        int result = node_path(dir, parts[i], path);
        if (result == 0) {
            result = fs_make_dirs(path);
        }
        if (result < 0) {
            return result;
        }
    }
    /* Port and state of an earlier run must not be taken for this one's. */
    scale_state_remove(dir);
    for (unsigned i = 0; i < INSTANCES_MAX; i++) {
        char part[32];
        (void) snprintf(part, sizeof(part), "run/frontd-%u.port", i);
        if (node_path(dir, part, path) == 0) {
            (void) unlink(path);
        }
    }
    for (int i = 0; i < NODE_DAEMONS; i++) {
        int result = write_config(dir, node_daemons[i]);
        if (result < 0) {
            return result;
        }
    }
    return 0;
}

/* The parent of a detached supervisor: wait for its one line. */
static int wait_ready(struct ctl *ctl, const struct supervisor_options *options, int fd)
{
    const char *dir = options->dir;
    char line[2048] = "";
    char address[64] = "";
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    int ready = poll(&wait, 1, READY_TIMEOUT_MS);
    ssize_t size = ready > 0 ? read(fd, line, sizeof(line) - 1) : 0;
    (void) close(fd);
    if (size <= 0) {
        return ctl_fail(ctl, ERR_CLOSED, "it goes on starting in the background; see its logs",
                        "the node is not ready after %d s (logs: %s/log)", READY_TIMEOUT_MS / 1000,
                        dir);
    }
    line[strcspn(line, "\n")] = 0;
    if (strcmp(line, "ready") != 0) {
        (void) fprintf(stderr, "adminctl: %s\n", line);
        return CTL_FAILED;
    }
    (void) node_address(dir, address, sizeof(address));
    /* Each daemon is ready for itself; what was started first may still have to find what was started last. */
    ctl->dir = dir;
    uint64_t until = timesource_monotonic_ms(timesource_system()) + MEET_TIMEOUT_MS;
    bool is_up = ctl_node_is_up(ctl);
    while (!is_up && timesource_monotonic_ms(timesource_system()) < until) {
        (void) poll(NULL, 0, LOOK_MS);
        is_up = ctl_node_is_up(ctl);
    }
    if (!is_up) {
        return ctl_fail(ctl, ERR_NO_QUORUM,
                        "a daemon runs but is refused or not ready: see the warnings in its log",
                        "the daemons of %s have not met after %d s (it goes on in the background; "
                        "logs: %s/log)",
                        dir, MEET_TIMEOUT_MS / 1000, dir);
    }
    struct output *out = output_new(ctl->format);
    output_object(out, NULL);
    output_text(out, "node", span_of("ready"));
    output_text(out, "address", span_of(address));
    output_number(out, "frontd", options->scale.frontd);
    output_number(out, "routerd", options->scale.routerd);
    output_text(out, "dir", span_of(dir));
    output_number(out, "pid", (uint64_t) node_owner(dir));
    output_end(out);
    return output_finish(&out) < 0 ? CTL_FAILED : CTL_OK;
}

static int run_detached(struct ctl *ctl, struct supervisor_options *options, int lock_fd)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) {
        return ctl_fail(ctl, err_from_errno(errno), NULL, "cannot make a pipe");
    }
    (void) fflush(stdout);
    pid_t pid = fork();
    if (pid < 0) {
        return ctl_fail(ctl, err_from_errno(errno), NULL, "cannot fork");
    }
    if (pid > 0) {
        (void) close(ends[1]);
        (void) close(lock_fd);
        return wait_ready(ctl, options, ends[0]);
    }
    char path[NODE_PATH_MAX];
    char text[32];
    int log_fd = node_path(options->dir, "log/up.log", path) < 0
                     ? -1
                     : open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    (void) close(ends[0]);
    (void) setsid();
    (void) dup2(null_fd, STDIN_FILENO);
    (void) dup2(log_fd >= 0 ? log_fd : null_fd, STDOUT_FILENO);
    (void) dup2(log_fd >= 0 ? log_fd : null_fd, STDERR_FILENO);
    /* The lock came over with the descriptor; the pid in it must be ours. */
    int length = snprintf(text, sizeof(text), "%d\n", (int) getpid());
    struct iovec part = {text, (size_t) length};
    if (ftruncate(lock_fd, 0) < 0 || fs_pwritev_all(NULL, lock_fd, &part, 1, 0) < 0) {
        log_warn("cannot write the pid",
                 "file=%s/lock action=\"adminctl down will not find the node\"", options->dir);
    }
    options->report_fd = ends[1];
    _exit(supervisor_run(options));
}

/* --- on a node that runs --- */

/* What its supervisor says; it may be about to begin. */
static int wait_state(const char *dir, struct scale_state *ret_state)
{
    uint64_t until = timesource_monotonic_ms(timesource_system()) + MEET_TIMEOUT_MS;
    int result = scale_state_read(dir, ret_state);
    while ((result < 0 || ret_state->pid != node_owner(dir)) &&
           timesource_monotonic_ms(timesource_system()) < until) {
        (void) poll(NULL, 0, LOOK_MS);
        result = scale_state_read(dir, ret_state);
    }
    return result < 0 ? result : ret_state->pid == node_owner(dir) ? 0 : ERR_NOT_FOUND;
}

static bool scale_equal(const struct scale *a, const struct scale *b)
{
    return a->frontd == b->frontd && a->routerd == b->routerd;
}

/* Until the supervisor has made the wish true. */
static int wait_scaled(struct ctl *ctl, const char *dir, const struct scale *wish)
{
    uint64_t until = timesource_monotonic_ms(timesource_system()) + SCALE_TIMEOUT_MS;
    struct scale_state state = {0};
    struct scale now = {0};
    struct buf problem = {0};
    while (scale_state_read(dir, &state) < 0 || !state.is_settled ||
           !scale_equal(&state.wish, wish)) {
        if (state.failing[0] != 0 && scale_equal(&state.wish, wish)) {
            (void) fprintf(stderr, "adminctl: %s; the node goes on without it, it is tried again\n",
                           state.failing);
            return CTL_FAILED;
        }
        if (node_owner(dir) == 0) {
            return ctl_fail(ctl, ERR_CLOSED, NULL, "the node in %s has ended", dir);
        }
        int result = scale_read(dir, &now, &problem);
        buf_release(&problem);
        if (result == 0 && !scale_equal(&now, wish)) {
            (void) fprintf(stderr,
                           "adminctl: somebody else has asked for %u frontd and %u routerd "
                           "meanwhile\n",
                           now.frontd, now.routerd);
            return CTL_CONFLICT;
        }
        if (timesource_monotonic_ms(timesource_system()) > until) {
            return ctl_fail(ctl, ERR_TIMEOUT, "it goes on in the background; see DIR/state",
                            "the node in %s has not scaled", dir);
        }
        (void) poll(NULL, 0, LOOK_MS);
    }
    return CTL_OK;
}

/* The wish in the file with what was asked for now. */
static int read_wish(struct ctl *ctl, const char *dir, const struct scale *asked,
                     struct scale *ret_wish)
{
    struct buf problem = {0};
    int result = scale_read(dir, ret_wish, &problem);
    if (result < 0) {
        result = ctl_fail(ctl, result, problem.size != 0 ? buf_text(&problem) : NULL,
                          "cannot read %s/etc/scale.conf", dir);
    }
    buf_release(&problem);
    if (asked->frontd != NOT_GIVEN) {
        ret_wish->frontd = asked->frontd;
    }
    if (asked->routerd != NOT_GIVEN) {
        ret_wish->routerd = asked->routerd;
    }
    return result;
}

static int scale_running(struct ctl *ctl, const char *dir, const struct scale *asked)
{
    struct scale_state state = {0};
    struct scale wish = {1, 1};
    if (wait_state(dir, &state) < 0) {
        return ctl_fail(ctl, ERR_UNSUPPORTED, "stop it and start it again with this version",
                        "the supervisor of the node in %s does not say its state", dir);
    }
    int result = read_wish(ctl, dir, asked, &wish);
    if (result != 0) {
        return result;
    }
    result = scale_write(dir, &wish);
    if (result < 0) {
        return ctl_fail(ctl, result, NULL, "cannot write %s/etc/scale.conf", dir);
    }
    if (kill(state.pid, SIGHUP) < 0) {
        return ctl_fail(ctl, errno == EPERM ? ERR_DENIED : ERR_IO, NULL, "cannot tell pid %d",
                        (int) state.pid);
    }
    result = wait_scaled(ctl, dir, &wish);
    if (result != CTL_OK) {
        return result;
    }
    struct output *out = output_new(ctl->format);
    output_object(out, NULL);
    output_text(out, "node", span_of("scaled"));
    output_number(out, "frontd", wish.frontd);
    output_number(out, "routerd", wish.routerd);
    output_text(out, "dir", span_of(dir));
    output_number(out, "pid", (uint64_t) state.pid);
    output_end(out);
    return output_finish(&out) < 0 ? CTL_FAILED : CTL_OK;
}

/* --- the commands --- */

struct up_options {
    bool detach;
    const char *port;
    const char *frontd; /* NULL: as before */
    const char *routerd;
};

/* 0, or the exit code after having said what is wrong. */
static int read_count(const char *name, const char *text, unsigned *ret_count)
{
    uint64_t number = 0;
    if (text == NULL) {
        *ret_count = NOT_GIVEN;
        return 0;
    }
    if (str_to_u64(span_of(text), &number) < 0 || number < 1 || number > SCALE_MAX) {
        return ctl_usage("up: --%s is 1 to %d, not '%s'", name, SCALE_MAX, text);
    }
    *ret_count = (unsigned) number;
    return 0;
}

static int check_options(const struct ctl *ctl, const struct up_options *options,
                         struct scale *ret_asked)
{
    uint64_t port = 0;
    if (options->port != NULL && (str_to_u64(span_of(options->port), &port) < 0 || port > 65535)) {
        return ctl_usage("up: --port is 0 to 65535, not '%s'", options->port);
    }
    if (ctl->dir != NULL && ctl->dir[0] == 0) {
        return ctl_usage("up: --dir is empty");
    }
    int result = read_count("frontd", options->frontd, &ret_asked->frontd);
    return result != 0 ? result : read_count("routerd", options->routerd, &ret_asked->routerd);
}

/* The folder's lock is ours. */
static int run(struct ctl *ctl, const char *dir, const struct up_options *up,
               const struct scale *asked, int lock_fd)
{
    struct scale wish = {1, 1};
    int result = lay_out(dir);
    if (result < 0) {
        return ctl_fail(ctl, result, NULL, "cannot lay out '%s'", dir);
    }
    result = read_wish(ctl, dir, asked, &wish);
    if (result != 0) {
        return result;
    }
    if (asked->frontd != NOT_GIVEN || asked->routerd != NOT_GIVEN) {
        result = scale_write(dir, &wish);
        if (result < 0) {
            return ctl_fail(ctl, result, NULL, "cannot write %s/etc/scale.conf", dir);
        }
    }
    log_setup("up", LOG_LEVEL_INFO);
    struct supervisor_options options = {
        .dir = dir, .port = up->port, .scale = wish, .to_files = up->detach, .report_fd = -1};
    return up->detach ? run_detached(ctl, &options, lock_fd) : supervisor_run(&options);
}

int cmd_up(struct ctl *ctl, int argc, char **argv)
{
    struct up_options up = {0};
    const struct option_spec specs[] = {
        {"dir", 'd', OPTION_TEXT, &ctl->dir, "DIR",
         "folder of the node: etc, run, data, log (default ./run)"},
        {"port", 'p', OPTION_TEXT, &up.port, "PORT",
         "client port on loopback (default 7470; 0: any free one)"},
        {"frontd", 0, OPTION_TEXT, &up.frontd, "N",
         "how many frontds share the port, 1 to 16 (default: as last time, at first 1)"},
        {"routerd", 0, OPTION_TEXT, &up.routerd, "N",
         "how many routerds, 1 to 16 (default: as last time, at first 1)"},
        {"detach", 'D', OPTION_FLAG, &up.detach, NULL,
         "run in the background; return when the node is ready"},
    };
    const struct command_help help = {
        "adminctl up [--dir DIR] [--port PORT] [--frontd N] [--routerd N] [--detach]",
        "Start a node on this machine: frontd, routerd, logd, raftd. What dies is started again.\n"
        "Without --detach it runs until Ctrl-C. Configuration files are written to DIR/etc once "
        "and "
        "then are yours.\n"
        "On a node that runs, --frontd and --routerd start more of them or stop the last ones, and "
        "return when that is done."};
    struct options_result args;
    struct scale asked = {0};
    int exit_code = 0;
    char dir[NODE_PATH_MAX];
    int owner = 0;

    if (options_parse(&help, specs, OPTIONS_COUNT(specs), argc, argv, 0, 0, &args, &exit_code) <
        0) {
        return exit_code;
    }
    exit_code = check_options(ctl, &up, &asked);
    if (exit_code != 0) {
        return exit_code;
    }
    if (node_absolute(ctl->dir != NULL ? ctl->dir : dir_default, dir) < 0) {
        return ctl_usage("up: --dir: the path is too long");
    }
    if (fs_make_dirs(dir) < 0) {
        bool is_denied = errno == EACCES || errno == EPERM;
        return ctl_fail(ctl, is_denied ? ERR_DENIED : ERR_IO, strerror(errno),
                        "cannot make the folder '%s', choose another with --dir", dir);
    }
    int lock_fd = dirlock_take(dir, &owner);
    if (lock_fd == ERR_LOCKED && (up.frontd != NULL || up.routerd != NULL) && up.port == NULL) {
        return scale_running(ctl, dir, &asked);
    }
    if (lock_fd == ERR_LOCKED) {
        (void) fprintf(stderr,
                       "adminctl: a node runs in %s already (pid %d): use it, or stop it with: "
                       "adminctl down --dir %s\n",
                       dir, owner, dir);
        return CTL_CONFLICT;
    }
    if (lock_fd < 0) {
        return ctl_fail(ctl, lock_fd, NULL, "cannot lay out '%s'", dir);
    }
    return run(ctl, dir, &up, &asked, lock_fd);
}

int cmd_down(struct ctl *ctl, int argc, char **argv)
{
    const struct option_spec specs[] = {
        {"dir", 'd', OPTION_TEXT, &ctl->dir, "DIR", "folder of the node (default ./run)"},
    };
    const struct command_help help = {"adminctl down [--dir DIR]",
                                      "Stop the node that `adminctl up` started in DIR: open work "
                                      "is finished first (at most 30 s a daemon)."};
    struct options_result args;
    int exit_code = 0;
    char dir[NODE_PATH_MAX];

    if (options_parse(&help, specs, OPTIONS_COUNT(specs), argc, argv, 0, 0, &args, &exit_code) <
        0) {
        return exit_code;
    }
    int result = node_absolute(ctl->dir != NULL ? ctl->dir : dir_default, dir);
    if (result < 0) {
        return ctl_fail(ctl, result, NULL, "bad folder");
    }
    pid_t owner = node_owner(dir);
    if (owner == 0) {
        (void) fprintf(stderr, "adminctl: no node runs in %s\n", dir);
        return CTL_NOT_FOUND;
    }
    if (kill(owner, SIGTERM) < 0) {
        return ctl_fail(ctl, errno == EPERM ? ERR_DENIED : ERR_IO, NULL, "cannot stop pid %d",
                        (int) owner);
    }
    uint64_t until = timesource_monotonic_ms(timesource_system()) + DOWN_TIMEOUT_MS;
    while (node_owner(dir) != 0) { /* the lock goes with the process, however it ends */
        if (timesource_monotonic_ms(timesource_system()) > until) {
            return ctl_fail(ctl, ERR_TIMEOUT, "see its logs, or kill it", "pid %d has not stopped",
                            (int) owner);
        }
        (void) poll(NULL, 0, 20);
    }
    struct output *out = output_new(ctl->format);
    output_object(out, NULL);
    output_text(out, "node", span_of("stopped"));
    output_text(out, "dir", span_of(dir));
    output_end(out);
    return output_finish(&out) < 0 ? CTL_FAILED : CTL_OK;
}
