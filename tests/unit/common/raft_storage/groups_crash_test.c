/* Many groups over one journal when the power goes: what was written and not synced is lost, or half of it is there. Each group must come back with a hard state and entries that one
 * of its writes made, none older than what it was told is durable; and all of them by reading the journal once, however many they are. */
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "tests/unit/common/raft_storage/disk.h"

enum { GROUPS = 4, ROUNDS = 8, FIRST_GROUP = 20, PENDING = 256 };

/* --- a disk that keeps nothing before it is synced --- */

static struct pending {
    int fd;
    uint64_t position;
    uint8_t *bytes;
    size_t size;
} pending[PENDING];
static unsigned pending_count;
static unsigned syncs;
static unsigned die_at; /* the how manyth sync */
static bool die_torn;   /* half of what it should have made durable is there */
static pthread_mutex_t pending_lock = PTHREAD_MUTEX_INITIALIZER;

static ssize_t late_pwritev(void *ud, int fd, const struct iovec *parts, int count,
                            uint64_t position)
{
    (void) ud;
    pthread_mutex_lock(&pending_lock);
    ck_assert_uint_lt(pending_count, PENDING);
    struct pending *own = &pending[pending_count++];
    *own = (struct pending){.fd = fd, .position = position};
    for (int i = 0; i < count; i++) {
        own->size += parts[i].iov_len;
    }
    own->bytes = mem_new(own->size);
    size_t at = 0;
    for (int i = 0; i < count; i++) {
        memcpy(own->bytes + at, parts[i].iov_base, parts[i].iov_len);
        at += parts[i].iov_len;
    }
    pthread_mutex_unlock(&pending_lock);
    return (ssize_t) own->size;
}

static int late_sync(void *ud, int fd)
{
    (void) ud;
    pthread_mutex_lock(&pending_lock);
    bool dies = ++syncs == die_at;
    if (dies && !die_torn) {
        _exit(9);
    }
    unsigned kept = 0;
    for (unsigned i = 0; i < pending_count; i++) {
        struct pending *own = &pending[i];
        if (own->fd != fd) {
            pending[kept++] = *own;
            continue;
        }
        size_t size = dies ? own->size / 2 : own->size;
        ck_assert_int_eq(pwrite(fd, own->bytes, size, (off_t) own->position), (ssize_t) size);
        if (dies) {
            _exit(9);
        }
        mem_free(own->bytes);
    }
    if (dies) {
        _exit(9);
    }
    pending_count = kept;
    pthread_mutex_unlock(&pending_lock);
    return fdatasync(fd);
}

static const struct fs_ops late_ops = {
    .pwritev = late_pwritev, .fdatasync = late_sync, .fsync = late_sync};

/* --- groups that write --- */

/* Shared with the child that dies. */
static struct shared {
    uint64_t begun[GROUPS];
    uint64_t durable[GROUPS];
    bool finished;
} * shared;

/* Write number k of a group: its term, its vote and entry k follow from it. */
static void write_number(struct raft_storage *storage, unsigned group, uint64_t k)
{
    char text[64];
    (void) snprintf(text, sizeof(text), "entry %u of group %u", (unsigned) k, group);
    struct slice payload = disk_slice(text);
    struct raft_entry entry = {.term = k, .bytes = (uint32_t) payload.bytes.size};
    struct raft_write write = {.wseq = k,
                               .flags = RAFT_WRITE_HARD | RAFT_WRITE_APPEND,
                               .term = k,
                               .vote = {(uint32_t) (100 * k + group), (uint32_t) k},
                               .commit = k - 1,
                               .first = k,
                               .last = k};
    ck_assert_int_eq(raft_storage_put(storage, k, &entry, 1, &payload), 0);
    ck_assert_int_eq(storage->ops->write(storage, &write), 0);
    slice_release(&payload);
}

static void no_news(void *ud)
{
    (void) ud;
}

static void child(const char *dir)
{
    struct disk disk;
    struct raft_storage *storage[GROUPS];
    memset(&disk, 0, sizeof(disk));
    disk.options.journal.ops = &late_ops;
    ck_assert_int_eq(disk_open_at(&disk, dir), 0);
    for (unsigned i = 0; i < GROUPS; i++) {
        ck_assert_int_eq(
            raft_journal_open_group(disk.journal, FIRST_GROUP + i, true, NULL, &storage[i]), 0);
    }
    for (uint64_t k = 1; k <= ROUNDS; k++) {
        for (unsigned i = 0; i < GROUPS; i++) { /* the last one lags: it writes every other round */
            if (i + 1 < GROUPS || k % 2 == 0) {
                shared->begun[i]++;
                write_number(storage[i], i, shared->begun[i]);
            }
        }
        raft_journal_submit(disk.journal);
        for (bool done = false; !done;) {
            struct pollfd fd = {raft_journal_fd(disk.journal), POLLIN, 0};
            (void) poll(&fd, 1, 100);
            (void) raft_journal_poll(disk.journal, no_news);
            done = true;
            for (unsigned i = 0; i < GROUPS; i++) {
                ck_assert_int_eq(storage[i]->ops->durable(storage[i], &shared->durable[i]), 0);
                done &= shared->durable[i] == shared->begun[i];
            }
        }
    }
    shared->finished = true;
    _exit(0);
}

/* --- what comes back --- */

static void expect_group(struct disk *disk, unsigned i)
{
    struct raft_storage *storage = NULL;
    struct raft_boot boot;
    int error = raft_journal_open_group(disk->journal, FIRST_GROUP + i, false, NULL, &storage);
    ck_assert_msg(error == 0, "dead at sync %u: group %u: %s", die_at, i, err_name(error));
    storage->ops->boot(storage, 0, &boot);
    ck_assert_msg(boot.term >= shared->durable[i] && boot.term <= shared->begun[i],
                  "dead at sync %u: group %u is at term %u of [%u, %u]", die_at, i,
                  (unsigned) boot.term, (unsigned) shared->durable[i], (unsigned) shared->begun[i]);
    ck_assert_uint_eq(boot.suspect_from, 0);
    ck_assert_uint_eq(boot.suspect_last, 0);
    ck_assert_uint_eq(boot.vote.node, boot.term == 0 ? 0 : 100 * boot.term + i);
    ck_assert_uint_eq(boot.vote.incarnation, boot.term);
    /* a hard state goes before the entry of its write */
    ck_assert(boot.last == boot.term || boot.last + 1 == boot.term);
    ck_assert_uint_ge(boot.last, shared->durable[i]);
    for (raft_index k = 1; k <= boot.last; k++) {
        char text[64];
        struct slice read;
        (void) snprintf(text, sizeof(text), "entry %u of group %u", (unsigned) k, i);
        ck_assert_uint_eq(raft_trail_reads.term_at(&storage->trail, k), k);
        ck_assert_int_eq(storage->ops->read(storage, k, &read), 0);
        ck_assert(span_equal(read.bytes, span_of(text)));
        slice_release(&read);
    }
    raft_journal_close_group(disk->journal, FIRST_GROUP + i);
}

TEST_WITHIN(every_group_comes_back_when_the_power_goes_at_any_sync, 300)
{
    unsigned in_the_middle = 0;
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (unsigned way = 2;; way++) {
        die_at = way / 2;
        die_torn = way % 2 != 0;
        memset(shared, 0, sizeof(*shared));
        const char *dir = test_folder();
        pid_t pid = fork();
        if (pid == 0) {
            child(dir);
        }
        int status = 0;
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        if (shared->finished) {
            break;
        }
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 9);
        struct disk *disk = MEM_NEW(struct disk);
        ck_assert_int_eq(disk_open_at(disk, dir), 0);
        for (unsigned i = 0; i < GROUPS; i++) {
            expect_group(disk, i);
        }
        in_the_middle += shared->begun[0] > shared->durable[0];
        disk_free(&disk);
    }
    ck_assert_uint_ge(in_the_middle, 2 * ROUNDS); /* each round was interrupted both ways */
}

/* --- one pass --- */

static uint64_t read_bytes;

static ssize_t counting_pread(void *ud, int fd, void *data, size_t size, uint64_t position)
{
    (void) ud;
    ssize_t got = pread(fd, data, size, (off_t) position);
    __atomic_add_fetch(&read_bytes, got > 0 ? (uint64_t) got : 0, __ATOMIC_SEQ_CST);
    return got;
}

static const struct fs_ops counting_ops = {.pread = counting_pread};

/* Bytes read until all groups of a journal of three files are there. */
static uint64_t bytes_to_recover(unsigned groups)
{
    struct disk *disk = MEM_NEW(struct disk);
    uint64_t upto = 0;
    disk->options.journal.ops = &counting_ops;
    ck_assert_int_eq(disk_open_at(disk, test_folder()), 0);
    struct raft_storage **storage = mem_new(groups * sizeof(struct raft_storage *));
    for (unsigned i = 0; i < groups; i++) {
        ck_assert_int_eq(
            raft_journal_open_group(disk->journal, FIRST_GROUP + i, true, NULL, &storage[i]), 0);
    }
    for (uint64_t k = 1; upto >> 32 < 3; k++) {
        for (unsigned i = 0; i < 1000; i++) { /* as many writes, of whomever */
            write_number(storage[i % groups], i % groups,
                         (k - 1) * (1000 / groups) + 1 + i / groups);
        }
        for (uint64_t durable = 0; durable != k * (1000 / groups);) {
            disk_turn(disk);
            ck_assert_int_eq(storage[groups - 1]->ops->durable(storage[groups - 1], &durable), 0);
        }
        upto = journal_durable_upto(raft_journal_journal(disk->journal));
    }
    for (unsigned i = 0; i < groups; i++) {
        raft_journal_close_group(disk->journal, FIRST_GROUP + i);
    }
    raft_journal_close_group(disk->journal, DISK_GROUP);
    raft_journal_close(&disk->journal);
    read_bytes = 0;
    ck_assert_int_eq(disk_open_at(disk, disk->dir), 0);
    for (unsigned i = 0; i < groups; i++) {
        ck_assert_int_eq(
            raft_journal_open_group(disk->journal, FIRST_GROUP + i, false, NULL, &storage[i]), 0);
        ck_assert_uint_ge(storage[i]->trail.last, 1000 / groups);
        raft_journal_close_group(disk->journal, FIRST_GROUP + i);
    }
    uint64_t bytes = read_bytes;
    mem_free(storage);
    disk_free(&disk);
    return bytes;
}

TEST_WITHIN(a_thousand_groups_are_recovered_by_reading_as_much_as_one, 120)
{
    uint64_t one = bytes_to_recover(1);
    uint64_t thousand = bytes_to_recover(1000);
    /* The two full files once; of the newest, which has no index yet, and the one made ready behind it, recovery looks for the end first. A second pass would be two files more. */
    ck_assert_uint_lt(one, 5 * (uint64_t) DISK_FILE_BYTES);
    ck_assert_uint_lt(thousand, 5 * (uint64_t) DISK_FILE_BYTES);
    ck_assert_uint_gt(one, 2 * (uint64_t) DISK_FILE_BYTES); /* the count counts */
}
