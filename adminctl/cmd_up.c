/* up and down: a node in one folder. `up` lays out DIR/{etc,run,data,log}, writes the configuration files that are missing and supervises the daemons, here or in the
 * background; `down` asks the supervisor to stop and waits. */
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

enum { READY_TIMEOUT_MS = 60000, DOWN_TIMEOUT_MS = 150000, MEET_TIMEOUT_MS = 10000 };

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
    /* The port of an earlier run must not be taken for this one's. */
    if (node_path(dir, "run/frontd-0.port", path) == 0) {
        (void) unlink(path);
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
static int wait_ready(struct ctl *ctl, const char *dir, int fd)
{
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
        (void) poll(NULL, 0, 20);
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
        return wait_ready(ctl, options->dir, ends[0]);
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

int cmd_up(struct ctl *ctl, int argc, char **argv)
{
    bool detach = false;
    const char *port = NULL;
    const struct option_spec specs[] = {
        {"dir", 'd', OPTION_TEXT, &ctl->dir, "DIR",
         "folder of the node: etc, run, data, log (default ./run)"},
        {"port", 'p', OPTION_TEXT, &port, "PORT",
         "client port on loopback (default 7470; 0: any free one)"},
        {"detach", 'D', OPTION_FLAG, &detach, NULL,
         "run in the background; return when the node is ready"},
    };
    const struct command_help help = {"adminctl up [--dir DIR] [--port PORT] [--detach]",
                                      "Start a node of four daemons on this machine: frontd, "
                                      "routerd, logd, raftd. What dies is started again.\n"
                                      "Without --detach it runs until Ctrl-C. Configuration files "
                                      "are written to DIR/etc once and then are yours."};
    struct options_result args;
    int exit_code = 0;
    char dir[NODE_PATH_MAX];
    int owner = 0;
    uint64_t port_number = 0;

    if (options_parse(&help, specs, OPTIONS_COUNT(specs), argc, argv, 0, 0, &args, &exit_code) <
        0) {
        return exit_code;
    }
    if (port != NULL && (str_to_u64(span_of(port), &port_number) < 0 || port_number > 65535)) {
        return ctl_usage("up: --port is 0 to 65535, not '%s'", port);
    }
    if (ctl->dir != NULL && ctl->dir[0] == 0) {
        return ctl_usage("up: --dir is empty");
    }
    int result = node_absolute(ctl->dir != NULL ? ctl->dir : dir_default, dir);
    if (result < 0) {
        return ctl_usage("up: --dir: the path is too long");
    }
    if (fs_make_dirs(dir) < 0) {
        bool is_denied = errno == EACCES || errno == EPERM;
        return ctl_fail(ctl, is_denied ? ERR_DENIED : ERR_IO, strerror(errno),
                        "cannot make the folder '%s', choose another with --dir", dir);
    }
    int lock_fd = dirlock_take(dir, &owner);
    if (lock_fd == ERR_LOCKED) {
        (void) fprintf(stderr,
                       "adminctl: a node runs in %s already (pid %d): use it, or stop it with: "
                       "adminctl down --dir %s\n",
                       dir, owner, dir);
        return CTL_CONFLICT;
    }
    result = lock_fd < 0 ? lock_fd : lay_out(dir);
    if (result < 0) {
        return ctl_fail(ctl, result, NULL, "cannot lay out '%s'", dir);
    }
    log_setup("up", LOG_LEVEL_INFO);
    struct supervisor_options options = {
        .dir = dir, .port = port, .to_files = detach, .report_fd = -1};
    return detach ? run_detached(ctl, &options, lock_fd) : supervisor_run(&options);
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
