/* The journal over failing calls: after the first failed write or sync nothing is acknowledged and nothing is written; a full
 * disk refuses data, lets control entries go on, and recovers by itself. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/store/journal.h"
#include "tests/lib/test.h"
#include "tests/unit/common/store/journal_lib.h"

static struct seen seen;

enum call {
    CALL_OPEN,
    CALL_PREAD,
    CALL_PWRITEV,
    CALL_FDATASYNC,
    CALL_FSYNC,
    CALL_FALLOCATE,
    CALL_RENAME,
    CALL_UNLINK,
    CALL_COUNT,
};

/* Fails the n-th call of one kind, and `more` behind it. Counted on whichever thread calls. */
struct faults {
    enum call kind;
    unsigned nth; /* from 1 */
    unsigned more;
    int error;
    bool is_short; /* not a failure: only half is written */
    atomic_uint counts[CALL_COUNT];
    atomic_uint fired;
    atomic_uint writes_after; /* by the thread that saw a write or sync fail */
    atomic_bool is_full;      /* no new room */
    atomic_bool has_failed;
    pthread_t failed_on;
};

static bool fault_now(struct faults *self, enum call kind)
{
    unsigned count = atomic_fetch_add(&self->counts[kind], 1) + 1;
    if (kind != self->kind || self->nth == 0 || count < self->nth ||
        count > self->nth + self->more) {
        return false;
    }
    atomic_fetch_add(&self->fired, 1);
    errno = self->error;
    return true;
}

static int fault_open(void *ud, int dir_fd, const char *name, int flags, unsigned mode)
{
    return fault_now(ud, CALL_OPEN) ? -1 : openat(dir_fd, name, flags, mode);
}

static ssize_t fault_pread(void *ud, int fd, void *data, size_t size, uint64_t position)
{
    return fault_now(ud, CALL_PREAD) ? -1 : pread(fd, data, size, (off_t) position);
}

static ssize_t fault_pwritev(void *ud, int fd, const struct iovec *parts, int count,
                             uint64_t position)
{
    struct faults *self = ud;
    if (fault_now(self, CALL_PWRITEV)) {
        if (self->is_short && parts->iov_len > 1) {
            return pwrite(fd, parts->iov_base, parts->iov_len / 2, (off_t) position);
        }
        if (!self->is_short) {
            self->failed_on = pthread_self();
            atomic_store(&self->has_failed, true);
            return -1;
        }
    }
    if (atomic_load(&self->has_failed) && pthread_equal(self->failed_on, pthread_self())) {
        atomic_fetch_add(&self->writes_after, 1);
    }
    return pwritev(fd, parts, count, (off_t) position);
}

static int fault_fdatasync(void *ud, int fd)
{
    struct faults *self = ud;
    if (fault_now(self, CALL_FDATASYNC)) {
        self->failed_on = pthread_self();
        atomic_store(&self->has_failed, true);
        return -1;
    }
    return fdatasync(fd);
}

static int fault_fsync(void *ud, int fd)
{
    return fault_now(ud, CALL_FSYNC) ? -1 : fsync(fd);
}

static int fault_fallocate(void *ud, int fd, uint64_t position, uint64_t size)
{
    struct faults *self = ud;
    if (atomic_load(&self->is_full)) {
        errno = ENOSPC;
        return -1;
    }
    return fault_now(self, CALL_FALLOCATE) ? -1 : fallocate(fd, 0, (off_t) position, (off_t) size);
}

static int fault_rename(void *ud, int dir_fd, const char *from, const char *to)
{
    return fault_now(ud, CALL_RENAME) ? -1 : renameat(dir_fd, from, dir_fd, to);
}

static int fault_unlink(void *ud, int dir_fd, const char *name)
{
    return fault_now(ud, CALL_UNLINK) ? -1 : unlinkat(dir_fd, name, 0);
}

static struct fs_ops fault_ops(struct faults *self)
{
    return (struct fs_ops){.open = fault_open,
                           .pread = fault_pread,
                           .pwritev = fault_pwritev,
                           .fdatasync = fault_fdatasync,
                           .fsync = fault_fsync,
                           .fallocate = fault_fallocate,
                           .renameat = fault_rename,
                           .unlinkat = fault_unlink,
                           .ud = self};
}

static const char *fast_folder(void)
{
    static char path[64];
    static unsigned number;
    (void) snprintf(path, sizeof(path), "/dev/shm/rgt-faults-%d-%u", (int) getpid(), number++);
    return mkdir(path, 0700) == 0 ? path : test_folder();
}

static void drop_folder(const char *dir)
{
    lib_empty_dir(dir);
    (void) rmdir(dir);
}

/* --- what a run acknowledged --- */

enum { RUN_ENTRIES = 60, RUN_BYTES = 60000 };

struct run {
    bool opened;
    int open_error;
    bool acked[RUN_ENTRIES + 1]; /* by index */
    bool poisoned;
    unsigned completed, appended;
    bool saw_error;
};

static void run_done(void *ud, const struct journal_done *done)
{
    struct run *self = ud;
    self->completed++;
    if (done->error == 0) {
        /* After the first failure nothing more is acknowledged. */
        TEST_ASSERT_FAST(!self->saw_error);
        self->acked[done->index] = true;
    } else {
        TEST_ASSERT_FAST(done->error == ERR_POISONED);
        self->saw_error = true;
    }
}

/* Open, append over several files with a release in between, wait for every completion, close. */
static struct run do_run(const char *dir, struct faults *faults)
{
    struct fs_ops ops = fault_ops(faults);
    struct journal_options options = lib_options(dir);
    struct journal *journal = NULL;
    struct run run = {0};
    options.ops = &ops;
    run.open_error = lib_try_open(&options, NULL, &journal);
    if (run.open_error != 0) {
        TEST_ASSERT_FAST(journal == NULL);
        return run;
    }
    run.opened = true;
    for (uint64_t i = 1; i <= RUN_ENTRIES; i++) {
        int error = lib_append(journal, 1, i, RUN_BYTES);
        if (error == ERR_STORAGE_FULL) {
            break; /* a data entry left out would be a hole in the group's order */
        }
        if (error != 0) {
            TEST_ASSERT_FAST(error == ERR_POISONED && journal_is_poisoned(journal));
            break;
        }
        run.appended++;
        journal_submit(journal);
        while (run.completed < run.appended) {
            (void) journal_poll(journal, run_done, &run);
        }
    }
    run.poisoned = journal_is_poisoned(journal);
    TEST_ASSERT_FAST(!run.saw_error || run.poisoned);
    journal_close(&journal);
    return run;
}

static void check_run(const char *dir, const struct run *run)
{
    struct journal *journal = lib_open(dir, &seen);
    TEST_ASSERT_FAST(seen.corrupt_count == 0);
    uint64_t last = 0;
    for (size_t i = 0; i < seen.extent_count; i++) {
        uint64_t at = 0;
        TEST_ASSERT_FAST(lib_read_extent(journal, &seen.extents[i], &at) > 0);
        TEST_ASSERT_FAST(seen.extents[i].first_index == last + 1);
        last = seen.extents[i].last_index;
    }
    for (uint64_t i = 1; i <= RUN_ENTRIES; i++) {
        TEST_ASSERT_FAST(!run->acked[i] || i <= last);
    }
    TEST_ASSERT_FAST(last <= run->appended);
    lib_fill(journal, 1, last + 1, 1, 500);
    journal_close(&journal);
}

/* Fail each call of a kind in turn, until the run has fewer of them. Returns how many runs failed something. */
static unsigned fail_each(enum call kind, int error, unsigned more)
{
    unsigned failed = 0;
    for (unsigned nth = 1;; nth++) {
        struct faults faults = {.kind = kind, .nth = nth, .error = error, .more = more};
        const char *dir = fast_folder();
        struct run run = do_run(dir, &faults);
        TEST_ASSERT_FAST(atomic_load(&faults.writes_after) == 0);
        bool has_fired = atomic_load(&faults.fired) != 0;
        check_run(dir, &run);
        drop_folder(dir);
        if (!has_fired) {
            return failed;
        }
        failed += !run.opened || run.poisoned;
        TEST_ASSERT_FAST(nth < 1000);
    }
}

TEST_WITHIN(each_failing_write_is_survived, 60)
{
    ck_assert_uint_gt(fail_each(CALL_PWRITEV, EIO, 0), RUN_ENTRIES);
}

TEST_WITHIN(each_write_without_room_is_survived, 60)
{
    ck_assert_uint_gt(fail_each(CALL_PWRITEV, ENOSPC, 1000), RUN_ENTRIES / 2);
}

TEST_WITHIN(each_failing_data_sync_is_survived, 60)
{
    ck_assert_uint_gt(fail_each(CALL_FDATASYNC, EIO, 0), RUN_ENTRIES);
}

TEST_WITHIN(each_failing_sync_of_a_folder_or_an_index_is_survived, 60)
{
    ck_assert_uint_gt(fail_each(CALL_FSYNC, EIO, 0), 5);
}

TEST_WITHIN(each_failing_allocation_is_survived, 60)
{
    ck_assert_uint_gt(fail_each(CALL_FALLOCATE, EIO, 0), 3);
    (void) fail_each(CALL_FALLOCATE, ENOSPC, 0);
    (void) fail_each(CALL_FALLOCATE, EOPNOTSUPP, 1000);
}

TEST_WITHIN(each_failing_rename_is_survived, 60)
{
    ck_assert_uint_gt(fail_each(CALL_RENAME, EIO, 0), 5);
    (void) fail_each(CALL_RENAME, ENOSPC, 0);
}

TEST_WITHIN(each_failing_open_is_survived, 60)
{
    ck_assert_uint_gt(fail_each(CALL_OPEN, EIO, 0), 3);
    (void) fail_each(CALL_OPEN, EMFILE, 0);
}

TEST_WITHIN(short_writes_are_completed, 60)
{
    for (unsigned nth = 1; nth < 20; nth++) {
        struct faults faults = {.kind = CALL_PWRITEV, .nth = nth, .is_short = true, .more = 5};
        const char *dir = fast_folder();
        struct run run = do_run(dir, &faults);
        ck_assert(run.opened && !run.poisoned);
        check_run(dir, &run);
        drop_folder(dir);
    }
}

/* The same for recovery: a directory with a torn tail and an index missing. */
TEST_WITHIN(each_failing_call_of_a_recovery_is_survived, 60)
{
    const char *origin = test_folder();
    struct journal *journal = lib_open(origin, NULL);
    lib_fill(journal, 1, 1, 40, RUN_BYTES);
    journal_close(&journal);
    lib_remove(origin, "0000000001.idx");
    size_t size = 0;
    const char *name = "0000000004.jnl"; /* it may be there, not used yet */
    uint8_t *bytes = lib_exists(origin, name) ? lib_load(origin, name, &size) : NULL;
    if (bytes == NULL || bytes[4096] == 0) {
        mem_free(bytes);
        name = "0000000003.jnl";
        bytes = lib_load(origin, name, &size);
    }
    /* Whatever the last file holds: the closing mark goes, and its last frame is torn. */
    size_t end = size;
    while (end > 8 && memcmp(bytes + end - 8, "\0\0\0\0\0\0\0\0", 8) == 0) {
        end -= 8;
    }
    memset(bytes + end - 200, 0, 200);
    lib_save(origin, name, bytes, size);
    mem_free(bytes);
    for (int kind = 0; kind < CALL_COUNT; kind++) {
        for (unsigned nth = 1;; nth++) {
            const char *dir = fast_folder();
            lib_copy_dir(origin, dir);
            struct faults faults = {.kind = (enum call) kind, .nth = nth, .error = EIO};
            struct fs_ops ops = fault_ops(&faults);
            struct journal_options options = lib_options(dir);
            options.ops = &ops;
            int error = lib_try_open(&options, &seen, &journal);
            if (error == 0) {
                TEST_ASSERT_FAST(seen.corrupt_count == 0);
                journal_close(&journal);
            }
            bool has_fired = atomic_load(&faults.fired) != 0;
            journal = lib_open(dir, &seen);
            TEST_ASSERT_FAST(seen.corrupt_count == 0);
            TEST_ASSERT_FAST(lib_count_group(journal, &seen, 1) == 39);
            journal_close(&journal);
            drop_folder(dir);
            if (!has_fired) {
                break;
            }
        }
    }
}

TEST(a_poisoned_journal_completes_and_refuses_everything)
{
    struct faults faults = {.kind = CALL_FDATASYNC, .error = EIO};
    struct fs_ops ops = fault_ops(&faults);
    struct journal_options options = lib_options(test_folder());
    struct journal *journal = NULL;
    struct lib_done done = {0};
    options.ops = &ops;
    ck_assert_int_eq(lib_try_open(&options, NULL, &journal), 0);
    lib_fill(journal, 1, 1, 3, 100);
    uint64_t durable = journal_durable_upto(journal);
    faults.nth = atomic_load(&faults.counts[CALL_FDATASYNC]) + 1;
    for (uint64_t i = 4; i < 300; i++) {
        ck_assert_int_eq(lib_append(journal, 1, i, 100), 0);
    }
    journal_submit(journal);
    lib_wait(journal, &done, 296);
    ck_assert_uint_eq(done.good, 0);
    ck_assert_int_eq(done.last_error, ERR_POISONED);
    ck_assert(journal_is_poisoned(journal));
    ck_assert_uint_eq(journal_durable_upto(journal), durable);
    ck_assert_uint_eq(journal_queued_bytes(journal), 0);
    ck_assert_int_eq(lib_append(journal, 1, 300, 100), ERR_POISONED);
    ck_assert_int_eq(lib_append_control(journal, JOURNAL_HARD_STATE, 1, 0, 9), ERR_POISONED);
    unsigned syncs = atomic_load(&faults.counts[CALL_FDATASYNC]);
    journal_close(&journal);
    ck_assert_uint_eq(atomic_load(&faults.counts[CALL_FDATASYNC]), syncs);
    ck_assert_uint_eq(atomic_load(&faults.writes_after), 0);
}

/* --- a full disk --- */

static bool is_not_full(void *ud)
{
    return !journal_is_full(ud);
}

static bool is_full(void *ud)
{
    return journal_is_full(ud);
}

/* Append data until it is refused; returns the next index. */
static uint64_t fill_up(struct journal *journal, uint64_t index)
{
    for (;;) {
        int error = lib_append(journal, 1, index, RUN_BYTES);
        if (error == ERR_STORAGE_FULL) {
            ck_assert(journal_is_full(journal));
            return index;
        }
        ck_assert_int_eq(error, 0);
        struct lib_done done = {0};
        journal_submit(journal);
        lib_wait(journal, &done, 1);
        ck_assert_uint_eq(done.good, 1); /* accepted is promised */
        index++;
        ck_assert_uint_lt(index, 10000);
    }
}

static void append_controls(struct journal *journal, unsigned count, size_t size)
{
    struct lib_done done = {0};
    for (unsigned i = 0; i < count; i++) {
        ck_assert_int_eq(lib_append_control(journal, JOURNAL_HARD_STATE, 2, i, size), 0);
        journal_submit(journal);
        lib_wait(journal, &done, i + 1);
    }
    ck_assert_uint_eq(done.good, count);
}

TEST_WITHIN(a_full_disk_refuses_data_lets_control_go_on_and_recovers, 30)
{
    const char *dir = test_folder();
    struct faults faults = {0};
    struct fs_ops ops = fault_ops(&faults);
    struct journal_options options = lib_options(dir);
    struct journal *journal = NULL;
    options.ops = &ops;
    ck_assert_int_eq(lib_try_open(&options, NULL, &journal), 0);
    atomic_store(&faults.is_full, true);
    uint64_t next = fill_up(journal, 1);
    ck_assert_uint_gt(next, 3);
    ck_assert(!journal_is_poisoned(journal));
    /* More than what is left of the file (how much that is depends on when the preparer saw that the disk is full): into the reserve,
     * of which data took half at most. */
    unsigned controls = 0;
    for (; lib_exists(dir, "reserve"); controls++) {
        append_controls(journal, 1, RUN_BYTES);
        ck_assert_uint_lt(controls, 40);
    }
    append_controls(journal, 7, RUN_BYTES);
    controls += 7;
    ck_assert_int_eq(lib_append(journal, 1, next, 10), ERR_STORAGE_FULL);
    /* When even that is used up, control entries are refused too, one by one and without harm. */
    struct lib_done done = {0};
    unsigned accepted = 0;
    int error = 0;
    while ((error = lib_append_control(journal, JOURNAL_HARD_STATE, 2, accepted, RUN_BYTES)) == 0) {
        accepted++;
        ck_assert_uint_lt(accepted, 40);
    }
    ck_assert_int_eq(error, ERR_STORAGE_FULL);
    journal_submit(journal);
    lib_wait(journal, &done, accepted);
    ck_assert_uint_eq(done.good, accepted);
    ck_assert(!journal_is_poisoned(journal));

    atomic_store(&faults.is_full, false);
    ck_assert(lib_eventually(is_not_full, journal));
    ck_assert(lib_exists(dir, "reserve"));
    lib_fill(journal, 1, next, 40, RUN_BYTES);
    journal_close(&journal);
    journal = lib_open(dir, &seen);
    ck_assert_uint_eq(lib_count_group(journal, &seen, 1), next - 1 + 40);
    ck_assert_uint_eq(seen.control_count, controls + done.good);
    ck_assert_uint_eq(seen.corrupt_count, 0);
    journal_close(&journal);
}

TEST(what_was_accepted_is_kept_although_the_disk_fills_up_behind_it)
{
    const char *dir = test_folder();
    struct faults faults = {0};
    struct fs_ops ops = fault_ops(&faults);
    struct journal_options options = lib_options(dir);
    struct journal *journal = NULL;
    struct lib_done done = {0};
    options.ops = &ops;
    ck_assert_int_eq(lib_try_open(&options, NULL, &journal), 0);
    atomic_store(&faults.is_full, true);
    unsigned accepted = 0;
    /* Two groups in turn, data and control: a refusal later would leave a hole in one of them. */
    for (int error = 0; error == 0; accepted += error == 0) {
        error = lib_append(journal, 1 + accepted % 2, 1 + accepted / 2, RUN_BYTES);
    }
    ck_assert_uint_gt(accepted, 10);
    journal_submit(journal);
    lib_wait(journal, &done, accepted);
    ck_assert_uint_eq(done.good, accepted);
    uint64_t next = 1 + accepted / 2;
    while (lib_append(journal, 2, next, RUN_BYTES) == 0) { /* on, to the very end */
        journal_submit(journal);
        lib_wait(journal, &done, ++accepted);
        next++;
        ck_assert_uint_lt(next, 1000);
    }
    ck_assert_uint_eq(done.good, accepted);
    ck_assert(journal_is_full(journal));
    journal_close(&journal);
    atomic_store(&faults.is_full, false);
    journal = lib_open(dir, &seen);
    ck_assert_uint_eq(lib_count_group(journal, &seen, 1) + lib_count_group(journal, &seen, 2),
                      accepted);
    ck_assert_uint_eq(seen.corrupt_count, 0);
    journal_close(&journal);
}

TEST(a_new_journal_needs_room_for_its_reserve_and_an_old_one_opens_full)
{
    const char *dir = test_folder();
    struct faults faults = {0};
    struct fs_ops ops = fault_ops(&faults);
    struct journal_options options = lib_options(dir);
    struct journal *journal = NULL;
    options.ops = &ops;
    atomic_store(&faults.is_full, true);
    ck_assert_int_eq(lib_try_open(&options, NULL, &journal), ERR_STORAGE_FULL);
    atomic_store(&faults.is_full, false);
    ck_assert_int_eq(lib_try_open(&options, NULL, &journal), 0);
    lib_fill(journal, 1, 1, 3, 100);
    journal_close(&journal);
    lib_remove(dir, "reserve");
    atomic_store(&faults.is_full, true);
    ck_assert_int_eq(lib_try_open(&options, &seen, &journal), 0);
    ck_assert(journal_is_full(journal));
    ck_assert_uint_eq(lib_count_group(journal, &seen, 1), 3);
    append_controls(journal, 2, 100);
    atomic_store(&faults.is_full, false);
    ck_assert(lib_eventually(is_not_full, journal));
    lib_fill(journal, 1, 4, 1, 100);
    journal_close(&journal);
}

TEST(less_free_than_disk_free_min_is_full)
{
    struct journal_options options = lib_options(test_folder());
    struct journal *journal = NULL;
    options.disk_free_min = UINT64_C(1) << 60;
    ck_assert_int_eq(lib_try_open(&options, NULL, &journal), 0);
    ck_assert(journal_is_full(journal));
    ck_assert_int_eq(lib_append(journal, 1, 1, 10), ERR_STORAGE_FULL);
    append_controls(journal, 3, 100);
    journal_close(&journal);
}

/* A real small file system, in a mount namespace of this test's own. */
TEST_WITHIN(a_small_file_system_fills_up_and_recovers, 60)
{
    const char *dir = test_folder();
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", dir, "tmpfs", 0, "size=16m") != 0) {
        return; /* not permitted here: the fault table above does the same work */
    }
    char path[300];
    char ballast[300];
    (void) snprintf(path, sizeof(path), "%s/journal", dir);
    (void) snprintf(ballast, sizeof(ballast), "%s/ballast", dir);
    int fd = open(ballast, O_CREAT | O_WRONLY, 0600);
    ck_assert_int_eq(fallocate(fd, 0, 0, 8 << 20), 0);
    (void) close(fd);
    struct journal_options options = lib_options(path);
    struct journal *journal = NULL;
    ck_assert_int_eq(lib_try_open(&options, NULL, &journal), 0);
    uint64_t next = fill_up(journal, 1);
    ck_assert_uint_gt(next, 50);
    ck_assert(lib_eventually(is_full, journal));
    ck_assert(!journal_is_poisoned(journal));
    append_controls(journal, 12, 60000);
    ck_assert_int_eq(unlink(ballast), 0);
    ck_assert(lib_eventually(is_not_full, journal));
    lib_fill(journal, 1, next, 40, RUN_BYTES);
    journal_close(&journal);
    ck_assert_int_eq(lib_try_open(&options, &seen, &journal), 0);
    ck_assert_uint_eq(lib_count_group(journal, &seen, 1), next - 1 + 40);
    ck_assert_uint_eq(seen.corrupt_count, 0);
    journal_close(&journal);
}
