/* node: four daemons by fork and exec. Owns their processes, the folder's layout and a witness: a process of its own session that prints the ends
 * of the logs when the test process goes away without saying that all was well. */
#include "tests/system/node.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "common/base/rand.h"
#include "tests/lib/test.h"

enum {
    PATH_BYTES = 4096,
    SETTINGS_MAX = 16,
    ENVIRONMENT_MAX = 256,
    START_SECONDS = 20,
    LOGD_START_SECONDS = 30, /* it may have a database to rebuild */
    STOP_SECONDS = 30,
    LOG_TAIL_BYTES = 6000,
    PORT_MIN =
        20000, /* below the system's own choice, so that no client's end of a connection takes it while frontd is down */
    PORT_MAX = 32000,
};

static const char *const daemon_names[NODE_PROCESSES] = {
    "raftd", "logd", "routerd", "frontd", "routerd-1", "frontd-1", "frontd-2"};
static const char *const daemon_programs[NODE_PROCESSES] = {
    "raftd", "logd", "routerd", "frontd", "routerd", "frontd", "frontd"};
static const char *const daemon_instances[NODE_PROCESSES] = {"0", "0", "0", "0", "1", "1", "2"};

struct daemon_process {
    pid_t pid;        /* 0: not running */
    pid_t tracer_pid; /* a strace attached to it; 0: none */
    int tracer_fd;    /* what it says; open as long as it lives, or it would end by SIGPIPE */
    int notify_fd;
    int log_fd;
    off_t log_start; /* where the log of this start begins */
    char *settings[SETTINGS_MAX];
    size_t setting_count;
    char *injection;  /* of the next start */
    char address[32]; /* of a frontd, for clients */
};

struct node {
    char dir[256];
    uint16_t port; /* of the first frontd */
    pid_t test_pid;
    struct daemon_process daemons[NODE_PROCESSES];
    int witness_fd;
    pid_t witness_pid;
};

const char *node_daemon_name(enum node_daemon daemon)
{
    return daemon_names[daemon];
}

const char *node_path(const struct node *self, const char *part, char *out)
{
    int length = snprintf(out, PATH_BYTES, "%s/%s", self->dir, part);
    ck_assert_int_lt(length, PATH_BYTES);
    return out;
}

const char *node_address(const struct node *self)
{
    return self->daemons[NODE_FRONTD].address;
}

const char *node_address_of(const struct node *self, enum node_daemon frontd)
{
    return self->daemons[frontd].address;
}

uint16_t node_port(const struct node *self)
{
    return self->port;
}

/* --- the witness --- */

static void print_tail(const char *name, int fd)
{
    char text[LOG_TAIL_BYTES + 1];
    struct stat info;
    if (fstat(fd, &info) != 0 || info.st_size == 0) {
        return;
    }
    off_t from = info.st_size > LOG_TAIL_BYTES ? info.st_size - LOG_TAIL_BYTES : 0;
    ssize_t size = pread(fd, text, LOG_TAIL_BYTES, from);
    if (size > 0) {
        text[size] = 0;
        (void) fprintf(stderr, "--- end of %s.log ---\n%s", name, text);
    }
}

/* Runs in its own session: neither the end of the test nor of its process group ends it. */
static void witness_run(const struct node *self, int fd)
{
    char byte = 0;
    ssize_t size = 0;
    (void) setsid();
    do {
        size = read(fd, &byte, 1);
    } while (size < 0 && errno == EINTR);
    for (int i = 0; size != 1 && i < NODE_PROCESSES; i++) {
        print_tail(daemon_names[i], self->daemons[i].log_fd);
    }
    _exit(0);
}

static void witness_start(struct node *self)
{
    int ends[2];
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    (void) fflush(NULL);
    self->witness_pid = fork();
    ck_assert_int_ge(self->witness_pid, 0);
    if (self->witness_pid == 0) {
        (void) close(ends[1]);
        witness_run(self, ends[0]);
    }
    (void) close(ends[0]);
    self->witness_fd = ends[1];
}

/* --- making a node --- */

static uint16_t free_port(void)
{
    for (int i = 0; i < 1000; i++) {
        uint16_t port = (uint16_t) (PORT_MIN + entropy_u64() % (PORT_MAX - PORT_MIN));
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_port = htons(port),
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int result = bind(fd, (const struct sockaddr *) &address, sizeof(address));
        (void) close(fd);
        if (result == 0) {
            return port;
        }
    }
    ck_abort_msg("no free port");
}

static socklen_t notify_address(const struct node *self, int daemon, struct sockaddr_un *address)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    int length =
        snprintf(address->sun_path + 1, sizeof(address->sun_path) - 1, "railgun-test-%d-%u-%s",
                 (int) self->test_pid, self->port, daemon_names[daemon]);
    return (socklen_t) (offsetof(struct sockaddr_un, sun_path) + 1 + (size_t) length);
}

static void make_dir(const struct node *self, const char *part)
{
    char path[PATH_BYTES];
    ck_assert_int_eq(mkdir(node_path(self, part, path), 0700), 0);
}

static void daemon_lay_out(struct node *self, int daemon)
{
    char path[PATH_BYTES];
    char part[64];
    struct sockaddr_un address;
    struct daemon_process *own = &self->daemons[daemon];

    (void) snprintf(part, sizeof(part), "data/%s", daemon_names[daemon]);
    make_dir(self, part);
    (void) snprintf(part, sizeof(part), "etc/%s.conf", daemon_names[daemon]);
    FILE *file = fopen(node_path(self, part, path), "we");
    ck_assert_ptr_nonnull(file);
    (void) fprintf(file, "run_dir = \"%s/run\";\ndata_dir = \"%s/data/%s\";\n", self->dir,
                   self->dir, daemon_names[daemon]);
    if (strcmp(daemon_programs[daemon], "frontd") == 0) {
        uint16_t port = daemon == NODE_FRONTD ? self->port : free_port();
        (void) fprintf(file, "listen = { port = %u; };\n", port);
        (void) snprintf(own->address, sizeof(own->address), "127.0.0.1:%u", port);
    }
    ck_assert_int_eq(fclose(file), 0);
    (void) snprintf(part, sizeof(part), "log/%s.log", daemon_names[daemon]);
    own->log_fd = open(node_path(self, part, path), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    ck_assert_int_ge(own->log_fd, 0);
    own->notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t size = notify_address(self, daemon, &address);
    ck_assert_int_eq(bind(own->notify_fd, (const struct sockaddr *) &address, size), 0);
}

/* For the leak checker of the asan build: Berkeley DB forgets some memory when it cannot be opened. */
static void write_leak_suppressions(const struct node *self)
{
    char path[PATH_BYTES];
    FILE *file = fopen(node_path(self, "etc/leaks", path), "we");
    ck_assert_ptr_nonnull(file);
    (void) fputs("leak:libdb-\n", file);
    ck_assert_int_eq(fclose(file), 0);
}

struct node *node_new(void)
{
    struct node *self = MEM_NEW(struct node);
    /* A folder that stays, to look at afterwards, when the environment names one. */
    const char *keep = getenv("RAILGUN_TEST_KEEP");
    if (keep != NULL) {
        (void) snprintf(self->dir, sizeof(self->dir), "%s/XXXXXX", keep);
        ck_assert_ptr_nonnull(mkdtemp(self->dir));
    } else {
        (void) snprintf(self->dir, sizeof(self->dir), "%s", test_folder());
    }
    self->test_pid = getpid();
    self->port = free_port();
    make_dir(self, "etc");
    make_dir(self, "run");
    make_dir(self, "log");
    make_dir(self, "data");
    for (int i = 0; i < NODE_PROCESSES; i++) {
        daemon_lay_out(self, i);
    }
    write_leak_suppressions(self);
    witness_start(self);
    return self;
}

void node_set(struct node *self, enum node_daemon daemon, const char *assignment)
{
    struct daemon_process *own = &self->daemons[daemon];
    ck_assert_uint_lt(own->setting_count, SETTINGS_MAX);
    own->settings[own->setting_count++] = mem_strdup(assignment);
}

void node_destroy(struct node **self)
{
    struct node *node = *self;
    *self = NULL;
    if (node == NULL) {
        return;
    }
    node_kill_all(node);
    ck_assert_int_eq(write(node->witness_fd, "x", 1), 1);
    (void) close(node->witness_fd);
    (void) waitpid(node->witness_pid, NULL, 0);
    for (int i = 0; i < NODE_PROCESSES; i++) {
        struct daemon_process *own = &node->daemons[i];
        (void) close(own->notify_fd);
        (void) close(own->log_fd);
        mem_free(own->injection);
        for (size_t s = 0; s < own->setting_count; s++) {
            mem_free(own->settings[s]);
        }
    }
    mem_free(node);
}

/* --- starting --- */

enum { WORDS_MAX = 64 };
struct words {
    const char *at[WORDS_MAX];
    size_t count;
};

static void words_add(struct words *self, const char *word)
{
    ck_assert_uint_lt(self->count, WORDS_MAX - 1);
    self->at[self->count++] = word;
}

static void trace_path(const struct node *self, int daemon, char out[PATH_BYTES])
{
    char part[64];
    (void) snprintf(part, sizeof(part), "log/%s.trace", daemon_names[daemon]);
    (void) node_path(self, part, out);
}

/* strace -f -o FILE -e trace=<calls> -e inject=<injection>. No --seccomp-bpf: injections are silently lost with it. */
static void words_add_strace(struct words *self, const char *injection, const char *output,
                             char trace[128], char inject[256])
{
    (void) snprintf(trace, 128, "trace=%.*s", (int) strcspn(injection, ":"), injection);
    (void) snprintf(inject, 256, "inject=%s", injection);
    words_add(self, "strace");
    words_add(self, "-f");
    words_add(self, "-o");
    words_add(self, output);
    words_add(self, "-e");
    words_add(self, trace);
    words_add(self, "-e");
    words_add(self, inject);
}

/* All that a start needs, made before the fork: between it and exec a process of several threads may neither allocate nor assert. */
struct launch {
    struct words words;
    char *arguments[WORDS_MAX];
    char *environment[ENVIRONMENT_MAX];
    char program[PATH_BYTES];
    char config[PATH_BYTES];
    char trace_file[PATH_BYTES];
    char trace[128];
    char inject[256];
    char notify[160];
    char sanitizer[64];
    char leaks[PATH_BYTES];
};

static void launch_make_environment(struct launch *self, const struct node *node,
                                    const struct daemon_process *own, const char *notify_path)
{
    char path[PATH_BYTES / 2];
    size_t count = 0;
    for (char **at = environ; *at != NULL && count < ENVIRONMENT_MAX - 4; at++) {
        if (strncmp(*at, "NOTIFY_SOCKET=", 14) != 0 && strncmp(*at, "WATCHDOG_", 9) != 0) {
            self->environment[count++] = *at;
        }
    }
    (void) snprintf(self->notify, sizeof(self->notify), "NOTIFY_SOCKET=@%s", notify_path);
    self->environment[count++] = self->notify;
    (void) snprintf(path, sizeof(path), "%s/etc/leaks", node->dir);
    (void) snprintf(self->leaks, sizeof(self->leaks),
                    "LSAN_OPTIONS=suppressions=%s:print_suppressions=0", path);
    self->environment[count++] = self->leaks;
    if (own->injection != NULL) {
        (void) snprintf(self->sanitizer, sizeof(self->sanitizer), "ASAN_OPTIONS=detect_leaks=0");
        self->environment[count++] = self->sanitizer; /* impossible under ptrace */
    }
    self->environment[count] = NULL;
}

static struct launch *launch_new(const struct node *self, int daemon)
{
    const struct daemon_process *own = &self->daemons[daemon];
    struct launch *launch = MEM_NEW(struct launch);
    struct words *words = &launch->words;
    struct sockaddr_un address;
    char part[64];

    (void) notify_address(self, daemon, &address);
    launch_make_environment(launch, self, own, address.sun_path + 1);
    (void) snprintf(part, sizeof(part), "bin/%s", daemon_programs[daemon]);
    (void) program_path(part, launch->program);
    (void) snprintf(part, sizeof(part), "etc/%s.conf", daemon_names[daemon]);
    (void) node_path(self, part, launch->config);
    if (own->injection != NULL) {
        trace_path(self, daemon, launch->trace_file);
        (void) unlink(launch->trace_file);
        words_add_strace(words, own->injection, launch->trace_file, launch->trace, launch->inject);
        words_add(words, "-D"); /* the daemon stays our child */
    }
    words_add(words, launch->program);
    words_add(words, "--config");
    words_add(words, launch->config);
    words_add(words, "--instance");
    words_add(words, daemon_instances[daemon]);
    for (size_t i = 0; i < own->setting_count; i++) {
        words_add(words, "--set");
        words_add(words, own->settings[i]);
    }
    memcpy(launch->arguments, words->at, words->count * sizeof(char *)); /* exec wants no const */
    return launch;
}

static void launch_exec(const struct launch *self, int log_fd)
{
    (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void) dup2(log_fd, STDOUT_FILENO);
    (void) dup2(log_fd, STDERR_FILENO);
    (void) execvpe(self->arguments[0], self->arguments, self->environment);
    _exit(127);
}

/* What an earlier process said does not count. */
static bool notify_take_ready(struct daemon_process *own)
{
    char text[1024];
    ssize_t size = 0;
    bool ready = false;
    while ((size = recv(own->notify_fd, text, sizeof(text) - 1, 0)) > 0) {
        text[size] = 0;
        ready = ready || strstr(text, "READY=1") != NULL;
    }
    return ready;
}

void node_start(struct node *self, enum node_daemon daemon)
{
    struct daemon_process *own = &self->daemons[daemon];
    struct stat info;
    ck_assert_int_eq(own->pid, 0);
    (void) notify_take_ready(own);
    ck_assert_int_eq(fstat(own->log_fd, &info), 0);
    own->log_start = info.st_size;
    (void) fflush(NULL);
    struct launch *launch = launch_new(self, (int) daemon);
    own->pid = fork();
    if (own->pid == 0) {
        launch_exec(launch, own->log_fd);
    }
    ck_assert_int_ge(own->pid, 0);
    mem_free(launch);
    MEM_FREE(own->injection);
}

void node_wait_ready(struct node *self, enum node_daemon daemon, double seconds)
{
    struct daemon_process *own = &self->daemons[daemon];
    uint64_t deadline = deadline_in(seconds);
    char text[32];
    int status = 0;
    ck_assert_int_ne(own->pid, 0);
    while (!notify_take_ready(own)) {
        if (waitpid(own->pid, &status, WNOHANG) == own->pid) {
            own->pid = 0;
            ck_abort_msg("%s ended instead of becoming ready: %s", daemon_names[daemon],
                         child_status_text(status, text));
        }
        struct pollfd wait = {.fd = own->notify_fd, .events = POLLIN};
        (void) poll(&wait, 1, 20);
        ck_assert_msg(now_ms() < deadline, "%s is not ready after %.0f s", daemon_names[daemon],
                      seconds);
    }
}

void node_start_all(struct node *self)
{
    for (int i = 0; i < NODE_DAEMONS; i++) {
        node_start(self, (enum node_daemon) i);
    }
    for (int i = 0; i < NODE_DAEMONS; i++) {
        node_wait_ready(self, (enum node_daemon) i, START_SECONDS);
    }
}

/* --- ending --- */

static void reap_tracer(struct daemon_process *own)
{
    int status = 0;
    if (own->tracer_pid != 0) {
        ck_assert_msg(child_wait(own->tracer_pid, deadline_in(10), &status),
                      "strace outlives what it traced");
        own->tracer_pid = 0;
        (void) close(own->tracer_fd);
    }
}

bool node_wait_end(struct node *self, enum node_daemon daemon, double seconds, int *ret_status)
{
    struct daemon_process *own = &self->daemons[daemon];
    ck_assert_int_ne(own->pid, 0);
    if (!child_wait(own->pid, deadline_in(seconds), ret_status)) {
        return false;
    }
    own->pid = 0;
    reap_tracer(own);
    return true;
}

void node_signal(struct node *self, enum node_daemon daemon, int signal_number)
{
    ck_assert_int_ne(self->daemons[daemon].pid, 0);
    ck_assert_int_eq(kill(self->daemons[daemon].pid, signal_number), 0);
}

void node_kill(struct node *self, enum node_daemon daemon)
{
    struct daemon_process *own = &self->daemons[daemon];
    if (own->pid != 0) {
        (void) kill(own->pid, SIGKILL);
        (void) waitpid(own->pid, NULL, 0);
        own->pid = 0;
    }
    reap_tracer(own);
}

void node_kill_all(struct node *self)
{
    for (int i = 0; i < NODE_PROCESSES; i++) {
        if (self->daemons[i].pid != 0) {
            (void) kill(self->daemons[i].pid, SIGKILL);
        }
    }
    for (int i = 0; i < NODE_PROCESSES; i++) {
        node_kill(self, (enum node_daemon) i);
    }
}

void node_restart(struct node *self, enum node_daemon daemon)
{
    node_kill(self, daemon);
    node_start(self, daemon);
    node_wait_ready(self, daemon, START_SECONDS);
}

void node_restart_logd(struct node *self, bool loses_database)
{
    char path[PATH_BYTES];
    struct process removed = {0};
    node_kill(self, NODE_LOGD);
    if (loses_database) {
        const char *const words[] = {"/bin/rm", "-r", node_path(self, "data/logd/db", path), NULL};
        ck_assert_int_eq(process_run(&removed, START_SECONDS, words, NULL), 0);
        process_release(&removed);
    }
    node_start(self, NODE_LOGD);
    node_wait_ready(self, NODE_LOGD, LOGD_START_SECONDS);
}

void node_stop_all(struct node *self)
{
    char text[32];
    for (int i = NODE_PROCESSES - 1; i >= 0; i--) {
        int status = 0;
        if (self->daemons[i].pid == 0) {
            continue;
        }
        node_signal(self, (enum node_daemon) i, SIGTERM);
        ck_assert_msg(node_wait_end(self, (enum node_daemon) i, STOP_SECONDS, &status),
                      "%s runs on %d s after SIGTERM", daemon_names[i], STOP_SECONDS);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s ended with %s",
                      daemon_names[i], child_status_text(status, text));
    }
}

/* --- looking --- */

pid_t node_pid(const struct node *self, enum node_daemon daemon)
{
    return self->daemons[daemon].pid;
}

bool node_is_running(const struct node *self, enum node_daemon daemon)
{
    siginfo_t info = {0};
    pid_t pid = self->daemons[daemon].pid;
    return pid != 0 && waitid(P_PID, (id_t) pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == 0;
}

uint64_t node_rss_bytes(const struct node *self, enum node_daemon daemon)
{
    char path[64];
    unsigned long pages = 0;
    (void) snprintf(path, sizeof(path), "/proc/%d/statm", (int) self->daemons[daemon].pid);
    FILE *file = fopen(path, "re");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fscanf(file, "%*u %lu", &pages), 1);
    (void) fclose(file);
    return pages * (uint64_t) sysconf(_SC_PAGESIZE);
}

/* Does the file hold the text at or behind `from`? How many times. */
static unsigned count_in_file(int fd, off_t from, const char *text)
{
    struct buf content = {0};
    unsigned found = 0;
    for (;;) {
        uint8_t *at = buf_reserve(&content, 65536);
        ssize_t size = pread(fd, at, 65536, from + (off_t) content.size);
        if (size <= 0) {
            break;
        }
        buf_advance(&content, (size_t) size);
    }
    for (const char *at = strstr(buf_text(&content), text); at != NULL; at = strstr(at + 1, text)) {
        found++;
    }
    buf_release(&content);
    return found;
}

bool node_logged(const struct node *self, enum node_daemon daemon, const char *text)
{
    const struct daemon_process *own = &self->daemons[daemon];
    return count_in_file(own->log_fd, own->log_start, text) > 0;
}

/* --- faults by strace --- */

bool node_can_trace(void)
{
    static const char *const words[] = {"strace", "-D", "-o", "/dev/null", "true", NULL};
    struct process strace = {0};
    bool can = process_run(&strace, 10, words, NULL) == 0 && strace.err.size == 0;
    if (!can) {
        (void) fprintf(stderr, "SKIPPED: strace cannot trace here: %s\n", buf_text(&strace.err));
    }
    process_release(&strace);
    return can;
}

void node_inject_at_start(struct node *self, enum node_daemon daemon, const char *injection)
{
    MEM_FREE(self->daemons[daemon].injection);
    self->daemons[daemon].injection = mem_strdup(injection);
}

void node_inject(struct node *self, enum node_daemon daemon, const char *injection)
{
    struct daemon_process *own = &self->daemons[daemon];
    char file[PATH_BYTES];
    char trace[128];
    char inject[256];
    char pid[16];
    char said[512] = "";
    size_t size = 0;
    struct words words = {.count = 0};
    int ends[2];

    ck_assert_int_ne(own->pid, 0);
    ck_assert_int_eq(own->tracer_pid, 0);
    trace_path(self, (int) daemon, file);
    (void) unlink(file);
    words_add_strace(&words, injection, file, trace, inject);
    (void) snprintf(pid, sizeof(pid), "%d", (int) own->pid);
    words_add(&words, "-p");
    words_add(&words, pid);
    char *arguments[WORDS_MAX] = {NULL};
    memcpy(arguments, words.at, words.count * sizeof(char *));
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    own->tracer_pid = fork();
    if (own->tracer_pid == 0) {
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void) dup2(ends[1], STDERR_FILENO);
        (void) execvp(arguments[0], arguments);
        _exit(127);
    }
    ck_assert_int_ge(own->tracer_pid, 0);
    (void) close(ends[1]);
    uint64_t deadline = deadline_in(10);
    while (strstr(said, "attached") == NULL) {
        struct pollfd wait = {.fd = ends[0], .events = POLLIN};
        (void) poll(&wait, 1, 20);
        ssize_t more =
            (wait.revents & POLLIN) != 0 ? read(ends[0], said + size, sizeof(said) - 1 - size) : 0;
        size += more > 0 ? (size_t) more : 0;
        said[size] = 0;
        ck_assert_msg(now_ms() < deadline && (wait.revents & POLLHUP) == 0,
                      "strace does not attach: %s", said);
    }
    own->tracer_fd = ends[0];
}

unsigned node_injected(const struct node *self, enum node_daemon daemon)
{
    char path[PATH_BYTES];
    trace_path(self, (int) daemon, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    unsigned count = count_in_file(fd, 0, "(INJECTED)") + count_in_file(fd, 0, "(DELAYED)");
    if (count == 0) {
        count = count_in_file(fd, 0, "killed by SIGKILL");
    }
    (void) close(fd);
    return count;
}

/* --- adminctl --- */

void node_ctl_start(const struct node *self, struct process *ret, const char *input,
                    const char *const *words)
{
    char program[PATH_BYTES];
    struct words all = {.count = 0};
    process_release(ret);
    words_add(&all, program_path("bin/adminctl", program));
    words_add(&all, "--dir");
    words_add(&all, self->dir);
    words_add(&all, "-o");
    words_add(&all, "json");
    for (size_t i = 0; words[i] != NULL; i++) {
        words_add(&all, words[i]);
    }
    all.at[all.count] = NULL;
    process_start(ret, all.at, input);
}

int node_ctl(const struct node *self, struct process *ret, const char *input,
             const char *const *words)
{
    node_ctl_start(self, ret, input, words);
    ck_assert_msg(process_wait(ret, 60), "adminctl %s %s does not end", words[0],
                  words[1] != NULL ? words[1] : "");
    return ret->exit;
}

void node_ensure(const struct node *self, const char *stream)
{
    struct process said = {0};
    ck_assert_msg(NODE_CTL(self, &said, "stream", "ensure", stream) == 0, "cannot ensure %s: %s",
                  stream, buf_text(&said.err));
    process_release(&said);
}
