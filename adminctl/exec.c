/* exec: a child with pipes for its input and, if wanted, its output. Both are served at once, so that neither side waits for the other for ever. Owns nothing. */
#include "adminctl/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXEC_READ_BYTES = 16 << 10 };

struct child {
    pid_t pid;
    int in;  /* our end of its input; -1: closed */
    int out; /* our end of its output; -1: none or closed */
};

static void close_end(int *fd)
{
    if (*fd >= 0) {
        (void) close(*fd); /* a pipe: there is nothing to lose */
        *fd = -1;
    }
}

static void run_in_child(const char *command, const struct exec_variable *variables,
                         size_t variable_count, int in, int out)
{
    (void) dup2(in, STDIN_FILENO);
    if (out >= 0) {
        (void) dup2(out, STDOUT_FILENO);
    }
    for (size_t i = 0; i < variable_count; i++) {
        (void) setenv(variables[i].name, variables[i].value, 1);
    }
    (void) signal(SIGPIPE, SIG_DFL);
    (void) execl("/bin/sh", "sh", "-c", command, (char *) NULL);
    _exit(127);
}

static bool start(struct child *child, const char *command, const struct exec_variable *variables,
                  size_t variable_count, bool wants_output)
{
    int in[2] = {-1, -1};
    int out[2] = {-1, -1};
    if (pipe2(in, O_CLOEXEC | O_NONBLOCK) < 0 ||
        (wants_output && pipe2(out, O_CLOEXEC | O_NONBLOCK) < 0)) {
        close_end(&in[0]);
        close_end(&in[1]);
        return false;
    }
    /* Non-blocking is for our ends only. */
    (void) fcntl(in[0], F_SETFL, 0);
    if (wants_output) {
        (void) fcntl(out[1], F_SETFL, 0);
    }
    child->pid = fork();
    if (child->pid == 0) {
        run_in_child(command, variables, variable_count, in[0], out[1]);
    }
    close_end(&in[0]);
    close_end(&out[1]);
    child->in = in[1];
    child->out = out[0];
    return child->pid > 0;
}

/* Give it what it takes. A command need not read its input. */
static void feed(struct child *child, struct rg_bytes *input)
{
    ssize_t size = write(child->in, input->data, input->size);
    if (size > 0) {
        input->data = (const char *) input->data + size;
        input->size -= (size_t) size;
    }
    if (input->size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR)) {
        close_end(&child->in);
    }
}

/* Take what it prints. false: more than is allowed. */
static bool drain(struct child *child, struct buf *output, size_t output_max)
{
    uint8_t *room = buf_reserve(output, EXEC_READ_BYTES);
    ssize_t size = read(child->out, room, EXEC_READ_BYTES);
    if (size > 0) {
        buf_advance(output, (size_t) size);
    } else if (size == 0 || (errno != EAGAIN && errno != EINTR)) {
        close_end(&child->out);
    }
    return output->size <= output_max;
}

bool exec_run(const char *command, struct rg_bytes input, const struct exec_variable *variables,
              size_t variable_count, struct buf *output, size_t output_max)
{
    struct child child = {.in = -1, .out = -1};
    int status = 0;
    bool is_ok = start(&child, command, variables, variable_count, output != NULL);
    if (input.size == 0) {
        close_end(&child.in);
    }
    while (is_ok && (child.in >= 0 || child.out >= 0)) {
        struct pollfd ends[2] = {{.fd = child.in, .events = POLLOUT},
                                 {.fd = child.out, .events = POLLIN}};
        if (poll(ends, 2, -1) < 0) {
            continue; /* a signal: the command gets it too, and ends or not */
        }
        if (ends[0].revents != 0) {
            feed(&child, &input);
        }
        if (output != NULL && ends[1].revents != 0) {
            is_ok = drain(&child, output, output_max);
        }
    }
    close_end(&child.in);
    close_end(&child.out);
    while (child.pid > 0 && waitpid(child.pid, &status, 0) < 0 && errno == EINTR) {
    }
    return is_ok && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
