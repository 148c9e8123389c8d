/* process: fork, exec, wait with a deadline, and what was printed, kept in memory files. Owns nothing global. */
#include "tests/system/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/base/str.h"
#include "tests/lib/test.h"

enum { TURN_MS = 2, PATH_BYTES = 4096 };

uint64_t now_ns(void)
{
    struct timespec time;
    (void) clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t) time.tv_sec * 1000000000 + (uint64_t) time.tv_nsec;
}

uint64_t now_ms(void)
{
    return now_ns() / 1000000;
}

uint64_t deadline_in(double seconds)
{
    return now_ms() + (uint64_t) (seconds * 1000 * test_slowness());
}

bool deadline_turn(uint64_t deadline_ms)
{
    if (now_ms() >= deadline_ms) {
        return false;
    }
    (void) poll(NULL, 0, TURN_MS);
    return true;
}

bool child_wait(pid_t pid, uint64_t deadline_ms, int *ret_status)
{
    int fd = pidfd_open(pid, 0);
    ck_assert_msg(fd >= 0, "no child %d to wait for", (int) pid);
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    int ready = 0;
    do {
        uint64_t now = now_ms();
        ready = poll(&wait, 1, now < deadline_ms ? (int) (deadline_ms - now) : 0);
    } while (ready < 0 && errno == EINTR);
    (void) close(fd);
    if (ready <= 0) {
        return false;
    }
    ck_assert_int_eq(waitpid(pid, ret_status, 0), pid);
    return true;
}

const char *child_status_text(int status, char out[32])
{
    bool by_signal = WIFSIGNALED(status);
    (void) snprintf(out, 32, "%s %d", by_signal ? "signal" : "exit",
                    by_signal ? WTERMSIG(status) : WEXITSTATUS(status));
    return out;
}

/* Asked once, before any test: in a mount namespace of its own a test that runs in a chroot is told another path. */
static char own_program[PATH_BYTES];

__attribute__((constructor)) static void find_own_program(void)
{
    ssize_t size = readlink("/proc/self/exe", own_program, sizeof(own_program) - 64);
    own_program[size > 0 ? size : 0] = 0;
}

/* build/debug/tests/system/system: the programs are in build/debug/bin. */
const char *program_path(const char *name, char *out)
{
    memcpy(out, own_program, sizeof(own_program));
    for (int up = 0; up < 3; up++) {
        char *slash = strrchr(out, '/');
        ck_assert_ptr_nonnull(slash);
        *slash = 0;
    }
    size_t length = strlen(out);
    (void) snprintf(out + length, PATH_BYTES - length, "/%s", name);
    return out;
}

static int memory_file(const char *content)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    if (content != NULL) {
        size_t size = strlen(content);
        ck_assert_int_eq(write(fd, content, size), (ssize_t) size);
        ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
    }
    return fd;
}

void process_start(struct process *self, const char *const *words, const char *input)
{
    int in_fd = memory_file(input);
    process_release(self);
    *self = (struct process){.out_fd = memory_file(NULL), .err_fd = memory_file(NULL)};
    /* Between fork and exec a process of several threads may neither allocate nor assert. */
    self->pid = fork();
    if (self->pid == 0) {
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void) dup2(in_fd, STDIN_FILENO);
        (void) dup2(self->out_fd, STDOUT_FILENO);
        (void) dup2(self->err_fd, STDERR_FILENO);
        char *arguments[64];
        size_t count = 0;
        for (; words[count] != NULL && count < 63; count++) {
            memcpy(&arguments[count], &words[count], sizeof(char *)); /* exec wants no const */
        }
        arguments[count] = NULL;
        (void) execvp(words[0], arguments);
        _exit(127);
    }
    ck_assert_int_ge(self->pid, 0);
    (void) close(in_fd);
}

static void read_all(int fd, struct buf *out)
{
    buf_reset(out);
    for (;;) {
        uint8_t *at = buf_reserve(out, 4096);
        ssize_t size = pread(fd, at, 4096, (off_t) out->size);
        if (size <= 0) {
            break;
        }
        buf_advance(out, (size_t) size);
    }
    (void) buf_text(out);
}

void process_look(struct process *self)
{
    read_all(self->out_fd, &self->out);
    read_all(self->err_fd, &self->err);
}

bool process_wait(struct process *self, double seconds)
{
    int status = 0;
    if (self->pid != 0) {
        if (!child_wait(self->pid, deadline_in(seconds), &status)) {
            return false;
        }
        self->pid = 0;
        self->exit = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    }
    process_look(self);
    return true;
}

int process_run(struct process *self, double seconds, const char *const *words, const char *input)
{
    process_start(self, words, input);
    if (!process_wait(self, seconds)) {
        process_look(self);
        ck_abort_msg("%s %s has not ended after %.0f s; it printed:\n%s%s", words[0],
                     words[1] != NULL ? words[1] : "", seconds, buf_text(&self->out),
                     buf_text(&self->err));
    }
    return self->exit;
}

void process_release(struct process *self)
{
    if (self->pid > 0) {
        (void) kill(self->pid, SIGKILL);
        (void) waitpid(self->pid, NULL, 0);
    }
    if (self->out_fd > 0) {
        (void) close(self->out_fd);
        (void) close(self->err_fd);
    }
    buf_release(&self->out);
    buf_release(&self->err);
    *self = (struct process){0};
}

bool process_said(struct process *self, const char *text)
{
    return strstr(buf_text(&self->out), text) != NULL;
}

bool process_complained(struct process *self, const char *text)
{
    return strstr(buf_text(&self->err), text) != NULL;
}

/* Behind the first "name": and spaces; NULL: none. */
static const char *json_value(const char *text, const char *name)
{
    char key[128];
    (void) snprintf(key, sizeof(key), "\"%s\":", name);
    const char *found = strstr(text, key);
    if (found == NULL) {
        return NULL;
    }
    found += strlen(key);
    return found + strspn(found, " \n");
}

uint64_t json_number(const char *text, const char *after, const char *name)
{
    if (after != NULL) {
        text = strstr(text, after);
    }
    const char *value = text != NULL ? json_value(text, name) : NULL;
    uint64_t number = 0;
    if (value == NULL || str_to_u64(span_make(value, strspn(value, "0123456789")), &number) != 0) {
        return UINT64_MAX;
    }
    return number;
}

bool json_has_text(const char *text, const char *name, const char *value)
{
    size_t size = strlen(value);
    for (const char *at = json_value(text, name); at != NULL; at = json_value(at, name)) {
        if (at[0] == '"' && strncmp(at + 1, value, size) == 0 && at[size + 1] == '"') {
            return true;
        }
    }
    return false;
}
