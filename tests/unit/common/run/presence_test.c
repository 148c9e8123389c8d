/* presence: with real processes that hold the lock of their name, are killed, stand still and come again. */
#include "common/run/presence.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/run/bus_dir.h"

#include "tests/lib/test.h"
#include "tests/unit/common/run/bus_lib.h"

struct view {
    struct loop *loop;
    struct presence *presence;
    unsigned born;
    unsigned died;
    unsigned last;
    uint64_t wanted; /* what until_mask waits for */
};

static void on_change(void *ud, unsigned instance, bool is_live)
{
    struct view *view = ud;
    view->last = instance;
    if (is_live) {
        view->born++;
    } else {
        view->died++;
    }
    ck_assert_int_eq(presence_is_live(view->presence, instance), is_live);
    presence_look(view->presence); /* does nothing in here */
}

static void view_open(struct view *view, const char *dir)
{
    *view = (struct view){.loop = loop_new()};
    view->presence = presence_new(view->loop, dir, "frontd", on_change, view);
    ck_assert_ptr_nonnull(view->presence);
    ck_assert_uint_eq(presence_mask(view->presence), 0); /* not yet looked */
}

static void view_close(struct view *view)
{
    presence_destroy(&view->presence);
    loop_destroy(&view->loop);
}

static bool is_mask(void *ud)
{
    struct view *view = ud;
    return presence_mask(view->presence) == view->wanted;
}

static void until_mask(struct view *view, uint64_t mask)
{
    view->wanted = mask;
    run_until(view->loop, is_mask, view);
}

/* A process that holds the name; it does when this returns. */
static pid_t hold(const char *dir, const char *name)
{
    int ready[2];
    char byte = 0;
    ck_assert_int_eq(pipe(ready), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct bus_dir own;
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (bus_dir_open(&own, dir) != 0 || bus_dir_lock(&own, name) < 0 ||
            write(ready[1], "", 1) != 1) {
            _exit(1);
        }
        for (;;) {
            (void) pause();
        }
    }
    (void) close(ready[1]);
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    (void) close(ready[0]);
    return pid;
}

static void end(pid_t pid)
{
    int status;
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
}

TEST(names_of_instances_are_read_strictly)
{
    ck_assert_int_eq(presence_instance("frontd", "frontd-0"), 0);
    ck_assert_int_eq(presence_instance("frontd", "frontd-63"), 63);
    static const char *const others[] = {"frontd-64", "frontd-", "frontd",    "frontd-01",
                                         "routerd-0", "",        "frontd-1x", "frontd--1",
                                         "frontd-99", "frontdx0"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        ck_assert_msg(presence_instance("frontd", others[i]) == -1, "%s", others[i]);
    }
}

TEST(a_daemon_is_live_from_its_lock_to_its_death)
{
    struct view view;
    const char *dir = test_folder();
    pid_t early = hold(dir, "frontd-2");
    view_open(&view, dir);
    until_mask(&view, 1 << 2);
    ck_assert_uint_eq(view.last, 2);

    pid_t late = hold(dir, "frontd-0");
    until_mask(&view, 1 << 2 | 1 << 0);
    end(early);
    until_mask(&view, 1 << 0);
    end(late);
    until_mask(&view, 0);
    ck_assert_uint_eq(view.born, 2);
    ck_assert_uint_eq(view.died, 2);

    late = hold(dir, "frontd-0"); /* restarted */
    until_mask(&view, 1 << 0);
    ck_assert_uint_eq(view.born, 3);
    end(late);
    view_close(&view);
}

TEST(a_daemon_that_stands_still_is_live)
{
    struct view view;
    int status;
    const char *dir = test_folder();
    pid_t pid = hold(dir, "frontd-1");
    view_open(&view, dir);
    until_mask(&view, 1 << 1);

    ck_assert_int_eq(kill(pid, SIGSTOP), 0);
    ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
    run_for(view.loop, 600); /* two looks by the timer and more */
    presence_look(view.presence);
    ck_assert_uint_eq(presence_mask(view.presence), 1 << 1);
    ck_assert_uint_eq(view.died, 0);
    end(pid); /* a stopped process can be killed */
    until_mask(&view, 0);
    view_close(&view);
}

TEST(other_kinds_and_files_without_a_holder_are_nobody)
{
    struct view view;
    const char *dir = test_folder();
    char path[512];
    pid_t other = hold(dir, "routerd-4");
    pid_t gone = hold(dir, "frontd-5");
    end(gone); /* its file stays */
    (void) snprintf(path, sizeof(path), "%s/frontd-6.lock", dir);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    (void) snprintf(path, sizeof(path), "%s/frontd-7.lock", dir);
    ck_assert_int_eq(symlink("routerd-4.lock", path), 0);
    (void) snprintf(path, sizeof(path), "%s/frontd-8.lock", dir);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    pid_t pid = hold(dir, "frontd-63");
    view_open(&view, dir);
    until_mask(&view, (uint64_t) 1 << 63);
    run_for(view.loop, 300);
    ck_assert_uint_eq(presence_mask(view.presence), (uint64_t) 1 << 63);
    ck_assert_uint_eq(view.born, 1);
    end(other);
    end(pid);
    view_close(&view);
}

TEST(a_process_sees_itself)
{
    struct view view;
    struct bus_dir own;
    const char *dir = test_folder();
    ck_assert_int_eq(bus_dir_open(&own, dir), 0);
    int fd = bus_dir_lock(&own, "frontd-0");
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bus_dir_lock(&own, "frontd-0"), ERR_LOCKED);
    view_open(&view, dir);
    until_mask(&view, 1 << 0);
    presence_look(view.presence); /* opening and closing the file must not lose our lock */
    ck_assert_int_eq(bus_dir_lock(&own, "frontd-0"), ERR_LOCKED);
    (void) close(fd);
    until_mask(&view, 0);
    bus_dir_close(&own);
    view_close(&view);
}

TEST(what_cannot_be_told_stays_as_it_was)
{
    struct bus_dir own;
    const char *dir = test_folder();
    ck_assert_int_eq(bus_dir_open(&own, dir), 0);
    ck_assert(!bus_dir_is_locked(&own, "frontd-0", true)); /* no file: nobody */
    int fd = bus_dir_lock(&own, "frontd-0");
    ck_assert(bus_dir_is_locked(&own, "frontd-0", false));
    struct rlimit usual;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &usual), 0);
    struct rlimit none = {.rlim_cur = 0, .rlim_max = usual.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0); /* of this test's process */
    ck_assert(bus_dir_is_locked(&own, "frontd-0", true));
    ck_assert(!bus_dir_is_locked(&own, "frontd-0", false));
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &usual), 0);
    (void) close(fd);
    bus_dir_close(&own);
}

TEST(asking_never_stands_in_the_way_of_a_daemon_that_starts)
{
    struct bus_dir own;
    const char *dir = test_folder();
    ck_assert_int_eq(bus_dir_open(&own, dir), 0);
    int fd = bus_dir_lock(&own, "frontd-0");
    ck_assert_int_ge(fd, 0);
    (void) close(fd);
    pid_t asker = fork();
    if (asker == 0) {
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) {
            (void) bus_dir_is_locked(&own, "frontd-0", false);
        }
    }
    ck_assert_int_gt(asker, 0);
    for (int i = 0; i < 20000; i++) {
        fd = bus_dir_lock(&own, "frontd-0");
        TEST_ASSERT_FAST(fd >= 0);
        (void) close(fd);
    }
    end(asker);
    bus_dir_close(&own);
}
