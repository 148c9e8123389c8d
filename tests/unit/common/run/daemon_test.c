/* daemon: a small daemon forked by each test: exit codes, readiness as a service manager sees it, signals, status over the
 * bus. */
#include "common/run/daemon.h"

#include <errno.h>
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

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/run/log.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/client.pb-c.h"

#include "tests/lib/test.h"
#include "tests/unit/common/run/bus_lib.h"

/* --- the small daemon --- */

struct tiny_conf {
    struct daemon_conf daemon;
    uint64_t number;
    bool fails;
    bool hangs; /* in its drain */
    bool breaks;
};

#define AT(member) offsetof(struct tiny_conf, member)
static const struct conf_key tiny_keys[] = {
    DAEMON_KEYS(struct tiny_conf, "/var/lib/railgun/tinyd"),
    {"number", CONF_NUMBER, AT(number), "1", 0, 10, true, "A number."},
    {"fails", CONF_BOOL, AT(fails), "false", 0, 0, false, "Do not start."},
    {"hangs", CONF_BOOL, AT(hangs), "false", 0, 0, false, "Never finish draining."},
    {"breaks", CONF_BOOL, AT(breaks), "false", 0, 0, false, "Fail in the middle."},
};
static const struct conf_table tiny_table = {
    "tinyd", tiny_keys, sizeof(tiny_keys) / sizeof(tiny_keys[0]), sizeof(struct tiny_conf)};

struct tiny {
    struct daemon_context *context;
    uint64_t *published;
    struct wheel_timer timer;
};

static void tiny_break(struct wheel_timer *timer, void *ud)
{
    struct tiny *tiny = ud;
    (void) timer;
    daemon_fail(tiny->context, "disk is broken", "EIO");
}

static int tiny_start(struct daemon_context *context, void **ret_self)
{
    static struct tiny tiny;
    const struct tiny_conf *conf = daemon_values(context);
    tiny.context = context;
    tiny.published = metrics_counter(daemon_metrics(context), "published");
    *tiny.published = 42;
    *ret_self = &tiny;
    if (conf->fails) {
        log_error("cannot start", "reason=\"%s\"", "asked to");
        return ERR_IO;
    }
    int rc = bus_bind(daemon_bus(context));
    if (rc < 0) {
        return rc;
    }
    daemon_not_ready(context, "still waking up");
    daemon_ready(context);
    if (conf->breaks) {
        wheel_timer_init(&tiny.timer, tiny_break, &tiny);
        loop_timer_start(daemon_loop(context), &tiny.timer, 10);
    }
    return 0;
}

static void tiny_drain(void *self)
{
    struct tiny *tiny = self;
    const struct tiny_conf *conf = daemon_values(tiny->context);
    if (!conf->hangs) {
        daemon_drained(tiny->context);
    }
}

static void tiny_stop(void *self)
{
    log_info("program stopped", "self=%s", self != NULL ? "set" : "none");
}

static void tiny_reload(void *self)
{
    struct tiny *tiny = self;
    const struct tiny_conf *conf = daemon_values(tiny->context);
    log_info("program reloaded", "number=%u", (unsigned) conf->number);
}

static const struct daemon_program tiny_program = {
    .name = "tinyd",
    .purpose = "Does nothing, for tests.",
    .table = &tiny_table,
    .start = tiny_start,
    .drain = tiny_drain,
    .stop = tiny_stop,
    .reload = tiny_reload,
};

/* --- the other side --- */

struct running {
    pid_t pid;
    int output; /* its standard output and error */
    int notify; /* the service manager's socket */
    char dir[200];
    char text[20000]; /* what it has written so far */
    size_t used;
};

static int make_notify_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    size_t size = strlen(path);
    memcpy(address.sun_path, path, size);
    if (path[0] == '@') {
        address.sun_path[0] = '\0';
    }
    ck_assert_int_eq(bind(fd, (const struct sockaddr *) &address,
                          (socklen_t) (offsetof(struct sockaddr_un, sun_path) + size)),
                     0);
    ck_assert_int_eq(setenv("NOTIFY_SOCKET", path, 1), 0);
    return fd;
}

/* Up to 6 arguments behind the name, run_dir is always set. */
static void start(struct running *self, const char *const *arguments)
{
    char run_dir[300];
    char *argv[12] = {mem_strdup("tinyd"), mem_strdup("--set"), run_dir};
    int argc = 3;
    int pipes[2];

    (void) snprintf(run_dir, sizeof(run_dir), "run_dir=%s/run", self->dir);
    for (; *arguments != NULL; arguments++) {
        argv[argc++] = mem_strdup(*arguments);
    }
    ck_assert_int_eq(pipe(pipes), 0);
    self->pid = fork();
    ck_assert_int_ge(self->pid, 0);
    if (self->pid == 0) {
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void) dup2(pipes[1], STDOUT_FILENO);
        (void) dup2(pipes[1], STDERR_FILENO);
        (void) close(pipes[0]);
        (void) close(pipes[1]);
        exit(daemon_main(argc, argv, &tiny_program));
    }
    (void) close(pipes[1]);
    self->output = pipes[0];
    for (int i = 0; i < argc; i++) {
        if (i != 2) {
            mem_free(argv[i]);
        }
    }
}

static void read_more(struct running *self)
{
    struct pollfd wait = {.fd = self->output, .events = POLLIN};
    ck_assert_int_eq(poll(&wait, 1, (int) (8000 * test_slowness())), 1);
    ssize_t got = read(self->output, self->text + self->used, sizeof(self->text) - 1 - self->used);
    ck_assert_int_gt((int) got, 0);
    self->used += (size_t) got;
    self->text[self->used] = '\0';
}

static void await_output(struct running *self, const char *text)
{
    while (strstr(self->text, text) == NULL) {
        read_more(self);
    }
}

/* Its exit code, when all it wrote has been read. */
static int await_end(struct running *self)
{
    ssize_t got;
    int status = 0;
    while ((got = read(self->output, self->text + self->used,
                       sizeof(self->text) - 1 - self->used)) > 0) {
        self->used += (size_t) got;
        self->text[self->used] = '\0';
    }
    ck_assert_int_eq(waitpid(self->pid, &status, 0), self->pid);
    ck_assert_msg(WIFEXITED(status), "%s", self->text);
    (void) close(self->output);
    return WEXITSTATUS(status);
}

static const char *await_notice(struct running *self, const char *text)
{
    static char notice[2000];
    struct pollfd wait = {.fd = self->notify, .events = POLLIN};
    do {
        ck_assert_int_eq(poll(&wait, 1, (int) (8000 * test_slowness())), 1);
        ssize_t got = recv(self->notify, notice, sizeof(notice) - 1, 0);
        ck_assert_int_gt((int) got, 0);
        notice[got] = '\0';
    } while (strstr(notice, text) == NULL);
    return notice;
}

static struct running *prepare(void)
{
    static struct running self;
    memset(&self, 0, sizeof(self));
    (void) snprintf(self.dir, sizeof(self.dir), "%s", test_folder());
    return &self;
}

#define ARGUMENTS(...) ((const char *const[]){__VA_ARGS__, NULL})

TEST(a_daemon_tells_when_it_is_ready_and_when_it_stops)
{
    struct running *self = prepare();
    char path[300];
    (void) snprintf(path, sizeof(path), "%s/notify", self->dir);
    self->notify = make_notify_socket(path);
    start(self, ARGUMENTS("--instance", "3"));
    ck_assert_ptr_nonnull(strstr(await_notice(self, "STATUS=not ready"), "still waking up"));
    ck_assert_ptr_nonnull(strstr(await_notice(self, "READY=1"), "MAINPID="));
    ck_assert_int_eq(kill(self->pid, SIGTERM), 0);
    (void) await_notice(self, "STOPPING=1");
    ck_assert_int_eq(await_end(self), 0);
    ck_assert_ptr_nonnull(strstr(self->text, "level=info daemon=tinyd-3 event=\"ready\""));
    ck_assert_ptr_nonnull(strstr(self->text, "event=\"program stopped\" self=set"));
    ck_assert_ptr_nonnull(strstr(self->text, "event=\"stopped\" exit=0"));
}

TEST(an_abstract_notify_socket_works_and_the_watchdog_is_fed)
{
    struct running *self = prepare();
    char path[100];
    (void) snprintf(path, sizeof(path), "@railgun-test-%ld", (long) getpid());
    self->notify = make_notify_socket(path);
    ck_assert_int_eq(setenv("WATCHDOG_USEC", "40000", 1), 0);
    start(self, ARGUMENTS("--set", "number=2"));
    (void) await_notice(self, "READY=1");
    (void) await_notice(self, "WATCHDOG=1");
    (void) await_notice(self, "WATCHDOG=1");
    ck_assert_int_eq(kill(self->pid, SIGINT), 0);
    ck_assert_int_eq(await_end(self), 0);
}

TEST(a_watchdog_meant_for_another_process_is_left_alone)
{
    struct running *self = prepare();
    char path[300];
    (void) snprintf(path, sizeof(path), "%s/notify", self->dir);
    self->notify = make_notify_socket(path);
    ck_assert_int_eq(setenv("WATCHDOG_USEC", "2000", 1), 0);
    ck_assert_int_eq(setenv("WATCHDOG_PID", "1", 1), 0);
    start(self, ARGUMENTS("--set", "number=2"));
    await_output(self, "event=\"ready\"");
    struct pollfd quiet = {.fd = self->output, .events = POLLIN};
    ck_assert_int_eq(poll(&quiet, 1, 30), 0); /* thirty times what it would tell the watchdog in */
    ck_assert_int_eq(kill(self->pid, SIGTERM), 0);
    const char *notice;
    do {
        notice = await_notice(self, "=");
        ck_assert_ptr_null(strstr(notice, "WATCHDOG"));
    } while (strstr(notice, "STOPPING") == NULL);
    ck_assert_int_eq(await_end(self), 0);
}

TEST(a_drain_that_does_not_end_is_cut_by_its_timeout)
{
    struct running *self = prepare();
    start(self, ARGUMENTS("--set", "hangs=true", "--set", "drain_timeout=50ms"));
    await_output(self, "event=\"ready\"");
    ck_assert_int_eq(kill(self->pid, SIGTERM), 0);
    ck_assert_int_eq(await_end(self), 0);
    ck_assert_ptr_nonnull(strstr(self->text, "event=\"drain took too long\""));
}

TEST(a_second_signal_stops_at_once)
{
    struct running *self = prepare();
    start(self, ARGUMENTS("--set", "hangs=true"));
    await_output(self, "event=\"ready\"");
    ck_assert_int_eq(kill(self->pid, SIGTERM), 0);
    await_output(self, "event=\"draining\"");
    ck_assert_int_eq(kill(self->pid, SIGTERM), 0);
    ck_assert_int_eq(await_end(self), 0);
    ck_assert_ptr_nonnull(strstr(self->text, "event=\"second signal to stop\""));
}

TEST(a_start_that_fails_and_a_failure_later_exit_with_one)
{
    struct running *self = prepare();
    start(self, ARGUMENTS("--set", "fails=true"));
    ck_assert_int_eq(await_end(self), 1);
    ck_assert_ptr_nonnull(strstr(self->text, "event=\"cannot start\""));
    ck_assert_ptr_null(strstr(self->text, "event=\"ready\""));
    self = prepare();
    start(self, ARGUMENTS("--set", "breaks=true"));
    ck_assert_int_eq(await_end(self), 1);
    ck_assert_ptr_nonnull(
        strstr(self->text, "level=error daemon=tinyd-0 event=\"disk is broken\""));
}

TEST(a_second_process_of_the_same_name_is_refused)
{
    struct running *first = prepare();
    start(first, ARGUMENTS("--set", "number=2"));
    await_output(first, "event=\"ready\"");
    struct running second = {0};
    (void) snprintf(second.dir, sizeof(second.dir), "%s", first->dir);
    start(&second, ARGUMENTS("--set", "number=2"));
    ck_assert_int_eq(await_end(&second), 1);
    ck_assert_ptr_nonnull(strstr(second.text, "event=\"already running\""));
    struct running third = {0}; /* another instance is another name */
    (void) snprintf(third.dir, sizeof(third.dir), "%s", first->dir);
    start(&third, ARGUMENTS("--instance", "1"));
    await_output(&third, "event=\"ready\"");
    ck_assert_int_eq(kill(third.pid, SIGTERM), 0);
    ck_assert_int_eq(await_end(&third), 0);
    ck_assert_int_eq(kill(first->pid, SIGKILL), 0);
    (void) waitpid(first->pid, NULL, 0);
    struct running fourth = {0}; /* a dead process owns nothing */
    (void) snprintf(fourth.dir, sizeof(fourth.dir), "%s", first->dir);
    start(&fourth, ARGUMENTS("--set", "number=2"));
    await_output(&fourth, "event=\"ready\"");
    ck_assert_int_eq(kill(fourth.pid, SIGTERM), 0);
    ck_assert_int_eq(await_end(&fourth), 0);
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    (void) fputs(text, file);
    (void) fclose(file);
}

TEST(sighup_takes_new_values_and_keeps_the_old_ones_when_they_are_wrong)
{
    struct running *self = prepare();
    char path[300];
    (void) snprintf(path, sizeof(path), "%s/tinyd.conf", self->dir);
    write_file(path, "number = 2;");
    start(self, ARGUMENTS("--config", path));
    await_output(self, "event=\"ready\"");
    write_file(path, "number = 3;\ndata_dir = \"/elsewhere\";");
    ck_assert_int_eq(kill(self->pid, SIGHUP), 0);
    await_output(self, "event=\"program reloaded\" number=3");
    ck_assert_ptr_nonnull(strstr(self->text, "change=\"number: 2 -> 3\""));
    ck_assert_ptr_nonnull(strstr(self->text, "(needs a restart)"));
    write_file(path, "number = 4;\nnonsense = 1;");
    ck_assert_int_eq(kill(self->pid, SIGHUP), 0);
    await_output(self, "the old one stays\" problem=");
    ck_assert_ptr_nonnull(strstr(self->text, "tinyd.conf:2: nonsense: unknown key"));
    write_file(path, "number = 3;\nlog_level = \"debug\";");
    ck_assert_int_eq(kill(self->pid, SIGHUP), 0);
    await_output(self, "log_level");
    ck_assert_ptr_null(strstr(self->text, "number=4"));
    ck_assert_int_eq(kill(self->pid, SIGTERM), 0);
    ck_assert_int_eq(await_end(self), 0);
}

TEST(questions_that_need_no_daemon_have_their_exit_codes)
{
    struct running *self = prepare();
    char path[300];
    static const struct {
        const char *arguments[3];
        int code;
        const char *says;
    } questions[] = {
        {{"--help"}, 0, "usage: tinyd"},
        {{"--version"}, 0, "tinyd (railgun) "},
        {{"--print-config"}, 0, "run_dir = \"/run/railgun\";"},
        {{"--check-config"}, 0, "configuration ok"},
        {{"--check-config", "--set", "number=11"}, 2, "out of limits: 0 to 10"},
        {{"--set", "log_level=loud"}, 2, "log_level: must be debug"},
        {{"--nonsense"}, 2, "--help"},
        {{"word"}, 2, "unexpected argument 'word'"},
        {{"--instance", "64"}, 2, "out of limits"},
        {{"--config", "/nonexistent"}, 2, "No such file"},
    };
    for (size_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++) {
        self->used = 0;
        start(self,
              (const char *const[]){
                  questions[i].arguments[0], questions[i].arguments[1],
                  questions[i].arguments[1] != NULL ? questions[i].arguments[2] : NULL, NULL});
        int code = await_end(self);
        ck_assert_msg(code == questions[i].code, "%s: %d %s", questions[i].arguments[0], code,
                      self->text);
        ck_assert_msg(strstr(self->text, questions[i].says) != NULL, "%s", self->text);
    }
    (void) snprintf(path, sizeof(path), "%s/run", self->dir);
    ck_assert_int_ne(access(path, F_OK), 0); /* asking changes nothing */
}

static void take_status(void *ud, enum bus_outcome outcome, const struct bus_message *reply)
{
    ck_assert_int_eq(outcome, BUS_OK);
    ck_assert_int_eq(reply->status, 0);
    *(Railgun__DaemonInfo **) ud =
        railgun__daemon_info__unpack(NULL, reply->meta.size, reply->meta.data);
}

static bool status_is_there(void *ud)
{
    return *(Railgun__DaemonInfo **) ud != NULL;
}

static uint64_t counter_of(const Railgun__DaemonInfo *info, const char *name)
{
    for (size_t i = 0; i < info->n_counters; i++) {
        if (strcmp(info->counters[i]->name, name) == 0) {
            return info->counters[i]->value;
        }
    }
    ck_abort_msg("no counter %s", name);
    return 0;
}

TEST(a_daemon_tells_its_status_over_the_bus)
{
    struct running *self = prepare();
    char dir[300];
    start(self, ARGUMENTS("--set", "number=2"));
    await_output(self, "event=\"ready\"");
    struct loop *loop = loop_new();
    struct side asker = {0};
    (void) snprintf(dir, sizeof(dir), "%s/run", self->dir);
    side_open(&asker, loop, dir, "asker", NULL);
    (void) bus_connect(asker.bus, "tinyd-0");
    run_until(loop, side_is_up, &asker);
    struct bus_outgoing out = {.type = RAILGUN__BUS_TYPE__BUS_STATUS};
    Railgun__DaemonInfo *info = NULL;
    ck_assert_int_eq(bus_request(asker.link, &out, 5000, take_status, &info, NULL), 0);
    run_until(loop, status_is_there, &info);
    ck_assert_str_eq(info->daemon, "tinyd-0");
    ck_assert_str_eq(info->state, "ready");
    ck_assert_str_eq(info->version, RAILGUN_VERSION);
    ck_assert_uint_eq(info->pid, (uint32_t) self->pid);
    ck_assert(info->epoch == bus_link_epoch(asker.link));
    ck_assert_uint_gt(info->rss_bytes, 500000);
    ck_assert_uint_eq(counter_of(info, "published"), 42);
    ck_assert_uint_eq(counter_of(info, "railgun_bus_sessions_total"), 1);
    railgun__daemon_info__free_unpacked(info, NULL);
    out.type = 60000; /* what the program does not know */
    ck_assert_int_eq(bus_request(asker.link, &out, 5000, side_done, &asker, NULL), 0);
    while (asker.answered == 0) {
        loop_turn(loop);
    }
    ck_assert_int_eq(asker.last_status, ERR_UNSUPPORTED);
    ck_assert_int_eq(kill(self->pid, SIGTERM), 0);
    run_until(loop, side_is_down, &asker);
    ck_assert_int_eq(await_end(self), 0);
    side_close(&asker);
    loop_destroy(&loop);
}
