/* child: see the header. Owns the notification socket. What runs between fork and exec calls only what is safe there: no other thread exists in this process. */
#include "adminctl/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/err.h"

#include "adminctl/node.h"

enum { LOG_TAIL_BYTES = 4096 };

void child_init(struct child *self, const char *daemon, unsigned instance)
{
    *self = (struct child){.daemon = daemon, .instance = instance, .notify_fd = -1};
    (void) snprintf(self->name, sizeof(self->name), "%s-%u", daemon, instance);
}

void child_release(struct child *self)
{
    if (self->notify_fd >= 0) {
        (void) close(self->notify_fd);
        self->notify_fd = -1;
    }
}

/* --- readiness --- */

/* The abstract name that it sends to, without the first NUL or '@'; nothing of it lies on disk. */
static int notify_name(const struct child *self, pid_t supervisor, char *out, size_t capacity)
{
    return snprintf(out, capacity, "railgun-up-%d-%s", (int) supervisor, self->name);
}

static int notify_open(struct child *self)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int length = notify_name(self, getpid(), address.sun_path + 1, sizeof(address.sun_path) - 1);
    socklen_t size = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + 1 + (size_t) length);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *) &address, size) < 0) {
        int error = err_from_errno(errno);
        if (fd >= 0) {
            (void) close(fd);
        }
        return error;
    }
    self->notify_fd = fd;
    return 0;
}

bool child_hear(struct child *self)
{
    char text[512];
    ssize_t size = 0;
    bool was_ready = self->ready;
    while ((size = recv(self->notify_fd, text, sizeof(text) - 1, 0)) > 0) {
        text[size] = 0;
        if (strstr(text, "READY=1") != NULL && self->pid != 0) {
            self->ready = true;
            self->was_ready = true;
        }
    }
    return self->ready && !was_ready;
}

/* --- the process --- */

const char *child_log_name(const struct child *self, char out[CHILD_NAME_SIZE + 8])
{
    (void) snprintf(out, CHILD_NAME_SIZE + 8, "%s.log",
                    self->instance == 0 ? self->daemon : self->name);
    return out;
}

static int log_path(const struct child *self, const struct child_place *place,
                    char ret_path[NODE_PATH_MAX])
{
    char name[CHILD_NAME_SIZE + 8];
    char part[CHILD_NAME_SIZE + 16];
    (void) snprintf(part, sizeof(part), "log/%s", child_log_name(self, name));
    return node_path(place->dir, part, ret_path);
}

static void child_exec(const struct child *self, const struct child_place *place, const char *port)
{
    char program[NODE_PATH_MAX];
    char config[NODE_PATH_MAX];
    char path[NODE_PATH_MAX];
    char part[64];
    char instance[16];
    char set[64];
    char notify[128] = "@";
    sigset_t none;

    (void) prctl(PR_SET_PDEATHSIG, SIGTERM); /* no orphans should we be killed with -9 */
    (void) sigemptyset(&none);
    (void) sigprocmask(SIG_SETMASK, &none, NULL);
    (void) setpgid(0, 0); /* Ctrl-C reaches the supervisor alone: it stops them in order */
    (void) snprintf(part, sizeof(part), "etc/%s.conf", self->daemon);
    if (node_path(place->programs, self->daemon, program) < 0 ||
        node_path(place->dir, part, config) < 0) {
        _exit(CHILD_EXIT_USAGE);
    }
    if (place->to_files) {
        int fd = log_path(self, place, path) < 0
                     ? -1
                     : open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (fd >= 0) {
            (void) dup2(fd, STDOUT_FILENO);
            (void) dup2(fd, STDERR_FILENO);
        }
    }
    (void) notify_name(self, getppid(), notify + 1, sizeof(notify) - 1);
    (void) setenv("NOTIFY_SOCKET", notify, 1);
    (void) unsetenv("WATCHDOG_USEC");
    (void) snprintf(instance, sizeof(instance), "%u", self->instance);
    char option_config[] = "--config"; /* execv has no const */
    char option_instance[] = "--instance";
    char option_set[] = "--set";
    char *arguments[] = {program,  option_config, config, option_instance,
                         instance, NULL,          NULL,   NULL};
    if (strcmp(self->daemon, "frontd") == 0 && port != NULL) {
        (void) snprintf(set, sizeof(set), "listen.port=%s", port);
        arguments[5] = option_set;
        arguments[6] = set;
    }
    (void) execv(program, arguments);
    (void) fprintf(stderr, "adminctl: cannot start %s: %s: build or install it beside adminctl\n",
                   program, strerror(errno));
    _exit(CHILD_EXIT_USAGE);
}

int child_start(struct child *self, const struct child_place *place, const char *port)
{
    int result = self->notify_fd < 0 ? notify_open(self) : 0;
    if (result < 0) {
        return result;
    }
    self->ready = false;
    self->is_stopping = false;
    self->owes_reload = false; /* it reads its configuration now */
    self->started_ms = timesource_monotonic_ms(timesource_system());
    self->restart_at_ms = 0;
    pid_t pid = fork();
    if (pid == 0) {
        child_exec(self, place, port);
    }
    if (pid < 0) {
        return err_from_errno(errno);
    }
    self->pid = pid;
    return 0;
}

void child_last_error(const struct child *self, const struct child_place *place,
                      char out[CHILD_ERROR_SIZE])
{
    char text[LOG_TAIL_BYTES + 1];
    char path[NODE_PATH_MAX];
    out[0] = 0;
    int fd =
        !place->to_files || log_path(self, place, path) < 0 ? -1 : open(path, O_RDONLY | O_CLOEXEC);
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
            (void) snprintf(out, CHILD_ERROR_SIZE, "%.900s", line);
        }
    }
}
