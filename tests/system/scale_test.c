/* Several frontds and routerds in one node: `adminctl up --frontd N --routerd M`, more and fewer of them while the node runs, and what happens when one dies or never
 * comes up. */
#include "tests/lib/test.h"
#include "tests/system/home.h"
#include "tests/system/process.h"
#include "tests/system/raw.h"

#include <dirent.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/run/bus_dir.h"

enum { LONG = 60, OK = 0, FAILED = 1, USAGE = 2, CONFLICT = 4 };

#define CTL(home, said, ...) home_ctl((home), (said), (const char *const[]){__VA_ARGS__, NULL})

/* adminctl --dir DIR -o json <words> */
static int home_ctl(const struct home *home, struct process *said, const char *const *words)
{
    char program[4096];
    const char *all[24] = {program_path("bin/adminctl", program), "--dir", home->dir, "-o", "json"};
    for (size_t i = 0; words[i] != NULL; i++) {
        ck_assert_uint_lt(i, 18);
        all[i + 5] = words[i];
    }
    return process_run(said, LONG, all, NULL);
}

/* The number in DIR/run/<part>; 0: there is none. */
static long read_run(const struct home *home, const char *part)
{
    char path[400];
    long number = 0;
    (void) snprintf(path, sizeof(path), "%s/run/%s", home->dir, part);
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        if (fscanf(file, "%ld", &number) != 1) {
            number = 0;
        }
        (void) fclose(file);
    }
    return number;
}

static bool is_live(const struct home *home, const char *name)
{
    struct bus_dir dir;
    char path[300];
    (void) snprintf(path, sizeof(path), "%s/run", home->dir);
    ck_assert_int_eq(bus_dir_open(&dir, path), 0);
    bool live = bus_dir_is_locked(&dir, name, false);
    bus_dir_close(&dir);
    return live;
}

static pid_t pid_of(const struct home *home, const char *name)
{
    char part[64];
    (void) snprintf(part, sizeof(part), "%s.lock", name);
    return is_live(home, name) ? (pid_t) read_run(home, part) : 0;
}

/* Exactly these run. */
static void check_runs(const struct home *home, unsigned frontds, unsigned routerds)
{
    for (unsigned i = 0; i < 4; i++) {
        char name[32];
        (void) snprintf(name, sizeof(name), "frontd-%u", i);
        ck_assert_msg(is_live(home, name) == (i < frontds), "%s", name);
        (void) snprintf(name, sizeof(name), "routerd-%u", i);
        ck_assert_msg(is_live(home, name) == (i < routerds), "%s", name);
    }
}

static bool state_says(const struct home *home, const char *text)
{
    char path[300];
    char content[4096] = "";
    (void) snprintf(path, sizeof(path), "%s/state", home->dir);
    FILE *file = fopen(path, "re");
    size_t size = file != NULL ? fread(content, 1, sizeof(content) - 1, file) : 0;
    if (file != NULL) {
        (void) fclose(file);
    }
    content[size] = 0;
    return strstr(content, text) != NULL;
}

/* --- who has taken a connection --- */

/* The server's end of our connection; 0: not there. */
static unsigned long inode_of(uint16_t server_port, uint16_t client_port)
{
    char line[512];
    unsigned long found = 0;
    FILE *file = fopen("/proc/net/tcp", "re");
    ck_assert_ptr_nonnull(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        unsigned local = 0;
        unsigned remote = 0;
        unsigned long inode = 0;
        if (sscanf(line, " %*d: %*8x:%x %*8x:%x %*x %*s %*s %*s %*d %*d %lu", &local, &remote,
                   &inode) == 3 &&
            local == server_port && remote == client_port) {
            found = inode;
        }
    }
    (void) fclose(file);
    return found;
}

static bool process_has(pid_t pid, unsigned long inode)
{
    char path[64];
    char wanted[64];
    bool has = false;
    (void) snprintf(path, sizeof(path), "/proc/%d/fd", (int) pid);
    (void) snprintf(wanted, sizeof(wanted), "socket:[%lu]", inode);
    DIR *fds = opendir(path);
    struct dirent *entry;
    while (fds != NULL && (entry = readdir(fds)) != NULL) {
        char target[64];
        ssize_t size = readlinkat(dirfd(fds), entry->d_name, target, sizeof(target) - 1);
        if (size > 0) {
            target[size] = 0;
            has = has || strcmp(target, wanted) == 0;
        }
    }
    if (fds != NULL) {
        (void) closedir(fds);
    }
    return has;
}

/* A connection that this frontd has taken: the kernel deals them out. */
static struct raw *open_at(const struct home *home, const char *name)
{
    uint16_t port = (uint16_t) read_run(home, "frontd-0.port");
    pid_t pid = pid_of(home, name);
    ck_assert_int_gt(pid, 1);
    for (unsigned i = 0; i < 500; i++) {
        struct raw *raw = raw_open_port(port);
        ck_assert_ptr_nonnull(raw);
        if (process_has(pid, inode_of(port, raw_local_port(raw)))) {
            return raw;
        }
        raw_close(&raw);
    }
    ck_abort_msg("%s takes no connection", name);
    return NULL;
}

/* --- tests --- */

TEST_WITHIN(a_node_starts_with_several_frontds_and_routerds_and_scales_while_it_runs, 120)
{
    struct home home;
    struct process said = {0};
    home_open(&home);
    ck_assert_int_eq(CTL(&home, &said, "up", "-p", "0", "-D", "--frontd", "2", "--routerd", "2"),
                     OK);
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "frontd"), 2);
    check_runs(&home, 2, 2);
    long port = read_run(&home, "frontd-0.port");
    ck_assert_int_eq(read_run(&home, "frontd-1.port"), port);
    pid_t kept = pid_of(&home, "frontd-1");

    ck_assert_msg(CTL(&home, &said, "up", "--frontd", "3", "--routerd", "1") == OK, "%s",
                  buf_text(&said.err));
    ck_assert(json_has_text(buf_text(&said.out), "node", "scaled"));
    check_runs(&home, 3, 1);
    ck_assert_int_eq(read_run(&home, "frontd-2.port"), port);
    ck_assert_int_eq(pid_of(&home, "frontd-1"), kept); /* nobody else was touched */
    ck_assert(state_says(&home, "settled = true"));

    ck_assert_int_eq(CTL(&home, &said, "up"), CONFLICT); /* as ever */
    ck_assert_int_eq(CTL(&home, &said, "up", "-p", "0", "--frontd", "2"), CONFLICT);
    ck_assert_int_eq(CTL(&home, &said, "up", "--frontd", "0"), USAGE);
    ck_assert_int_eq(CTL(&home, &said, "up", "--routerd", "17"), USAGE);
    check_runs(&home, 3, 1);

    ck_assert_int_eq(CTL(&home, &said, "down"), OK);
    check_runs(&home, 0, 0);
    ck_assert_int_eq(CTL(&home, &said, "up", "-p", "0", "-D"), OK); /* the wish is remembered */
    check_runs(&home, 3, 1);
    ck_assert_int_eq(CTL(&home, &said, "up", "--frontd", "1"), OK);
    check_runs(&home, 1, 1);
    ck_assert_int_eq(CTL(&home, &said, "down"), OK);
    process_release(&said);
    home_close(&home);
}

TEST_WITHIN(a_killed_frontd_comes_back_on_the_port_of_all, 120)
{
    struct home home;
    struct process said = {0};
    home_open(&home);
    ck_assert_int_eq(CTL(&home, &said, "up", "-p", "0", "-D", "--frontd", "2"), OK);
    long port = read_run(&home, "frontd-0.port");
    static const char *const names[] = {"frontd-0", "frontd-1"};
    for (unsigned round = 0; round < 4; round++) {
        const char *name = names[round % 2];
        pid_t other = pid_of(&home, names[(round + 1) % 2]);
        pid_t old = pid_of(&home, name);
        ck_assert_int_eq(kill(old, SIGKILL), 0);
        ck_assert(WAIT_FOR(pid_of(&home, name) != old && pid_of(&home, name) != 0, LONG));
        ck_assert(WAIT_FOR(state_says(&home, "settled = true"), LONG));
        ck_assert_int_eq(read_run(&home, "frontd-0.port"), port);
        ck_assert_int_eq(read_run(&home, "frontd-1.port"), port);
        ck_assert_int_eq(pid_of(&home, names[(round + 1) % 2]), other);
        struct raw *raw = open_at(&home, name);
        raw_close(&raw);
    }
    ck_assert_int_eq(CTL(&home, &said, "down"), OK);
    process_release(&said);
    home_close(&home);
}

TEST_WITHIN(a_stream_is_the_same_through_every_frontd, 120)
{
    enum { FRONTDS = 3, EACH = 20 };
    struct home home;
    struct process said = {0};
    struct raw *raws[FRONTDS];
    int code = 0;
    home_open(&home);
    ck_assert_int_eq(CTL(&home, &said, "up", "-p", "0", "-D", "--frontd", "3"), OK);
    for (unsigned i = 0; i < FRONTDS; i++) {
        char name[32];
        (void) snprintf(name, sizeof(name), "frontd-%u", i);
        raws[i] = open_at(&home, name);
    }
    raw_ensure(raws[0], "orders", "workers", 0);
    for (uint64_t n = 0; n < FRONTDS * EACH; n++) {
        char payload[32];
        (void) snprintf(payload, sizeof(payload), "message %" PRIu64, n);
        /* The first through another one may be earlier than its news of the stream. */
        uint64_t offset = 0;
        ck_assert(WAIT_FOR((offset = raw_publish(raws[n % FRONTDS], "orders", payload, &code)) != 0,
                           LONG));
        ck_assert_uint_eq(offset, n + 1);
    }
    for (unsigned i = 0; i < FRONTDS; i++) {
        struct raw_page page = {0};
        raw_read(raws[i], "orders", 1, &page);
        ck_assert_int_eq(page.code, 0);
        ck_assert_uint_eq(page.count, FRONTDS * EACH);
        buf_release(&page.batch);
    }
    /* A group's members may be connected to any of them. */
    for (unsigned i = 0; i < FRONTDS; i++) {
        struct raw_delivery delivery;
        raw_consume(raws[i], 1, "orders", "workers", 10);
        ck_assert(raw_deliver(raws[i], 1, LONG, &delivery));
        ck_assert_int_eq(
            raw_ack(raws[i], 1, delivery.base, delivery.base + delivery.count - 1, true), 0);
    }
    /* Who is left without its frontd is told to go, and finds all of it elsewhere. */
    struct process scaling = {0};
    ck_assert_int_eq(CTL(&home, &scaling, "up", "--frontd", "1"), OK);
    struct raw_frame frame;
    enum raw_got got = RAW_FRAME;
    bool is_told = false;
    while ((got = raw_receive(raws[2], LONG, &frame)) == RAW_FRAME) {
        is_told = is_told || frame.field == RAW_GO_AWAY;
    }
    ck_assert(is_told && got == RAW_CLOSED);
    raw_close(&raws[2]);
    raws[2] = open_at(&home, "frontd-0");
    ck_assert_uint_eq(raw_publish(raws[2], "orders", "last", &code), FRONTDS * EACH + 1);
    for (unsigned i = 0; i < FRONTDS; i++) {
        raw_close(&raws[i]);
    }
    ck_assert_int_eq(CTL(&home, &said, "down"), OK);
    process_release(&scaling);
    process_release(&said);
    home_close(&home);
}

TEST_WITHIN(one_that_never_comes_up_is_told_of_and_disturbs_nobody, 120)
{
    struct home home;
    struct process said = {0};
    char path[300];
    home_open(&home);
    ck_assert_int_eq(CTL(&home, &said, "up", "-p", "0", "-D"), OK);
    pid_t first = pid_of(&home, "frontd-0");
    (void) snprintf(path, sizeof(path), "%s/run/frontd-1.lock", home.dir);
    ck_assert_int_eq(mkdir(path, 0700), 0); /* it cannot own its name */
    ck_assert_int_eq(CTL(&home, &said, "up", "--frontd", "3"), FAILED);
    ck_assert_msg(process_complained(&said, "frontd-1 does not start"), "%s", buf_text(&said.err));
    ck_assert_int_eq(pid_of(&home, "frontd-0"), first);
    ck_assert(WAIT_FOR(is_live(&home, "frontd-2"), LONG));
    struct raw *raw = open_at(&home, "frontd-2");
    raw_close(&raw);
    ck_assert_int_eq(rmdir(path), 0);
    ck_assert(WAIT_FOR(state_says(&home, "settled = true"), LONG)); /* it is tried again */
    check_runs(&home, 3, 1);

    ck_assert_int_eq(CTL(&home, &said, "down"), OK);
    (void) unlink(path);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    ck_assert_int_eq(CTL(&home, &said, "up", "-p", "0", "-D"), FAILED); /* also from the start */
    ck_assert(process_complained(&said, "the node goes on without it"));
    ck_assert(is_live(&home, "frontd-0"));
    ck_assert_int_eq(CTL(&home, &said, "up", "--frontd", "1"), OK); /* no more of it */
    check_runs(&home, 1, 1);
    ck_assert_int_eq(CTL(&home, &said, "down"), OK);
    process_release(&said);
    home_close(&home);
}
