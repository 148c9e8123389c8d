/* The journal as a raft storage, killed at every write: what comes back is what some prefix of the frames says, and no less than what was called durable. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "tests/unit/common/raft_storage/disk.h"

/* One step is one write, a snapshot, a compaction, or a snapshot from a leader. */
enum kind { HARD, APPEND, SNAPSHOT, COMPACT, INSTALL };
struct step {
    enum kind kind;
    raft_term term;
    raft_index first, last;
};

static const struct step steps[] = {
    {HARD, 1, 0, 0},     {APPEND, 1, 1, 4},   {APPEND, 1, 5, 5},    {HARD, 2, 0, 0},
    {APPEND, 2, 4, 9},   {SNAPSHOT, 2, 0, 6}, {COMPACT, 2, 0, 5},   {APPEND, 2, 10, 12},
    {HARD, 4, 0, 0},     {APPEND, 4, 11, 15}, {COMPACT, 4, 0, 6},   {HARD, 5, 0, 0},
    {APPEND, 5, 13, 13}, {APPEND, 5, 14, 30}, {SNAPSHOT, 5, 0, 28}, {COMPACT, 5, 0, 20},
    {INSTALL, 5, 0, 60}, {APPEND, 5, 61, 63}, {INSTALL, 5, 0, 90},  {APPEND, 5, 91, 92},
};
enum { STEPS = sizeof(steps) / sizeof(steps[0]) };

struct image {
    raft_term term;
    raft_index base, last, snapshot;
    raft_term entry[128];
};

static void image_step(struct image *image, const struct step *step)
{
    switch (step->kind) {
    case HARD:
        image->term = step->term;
        break;
    case APPEND:
        image->last = step->last;
        for (raft_index i = step->first; i <= step->last; i++) {
            image->entry[i] = step->term;
        }
        break;
    case SNAPSHOT:
        image->snapshot = step->last;
        break;
    case INSTALL:
        image->base = image->last = image->snapshot = step->last;
        break;
    case COMPACT:
    default:
        image->base = step->last;
        break;
    }
}

/* Shared with the child that is killed. */
static struct shared {
    unsigned done;  /* steps that are durable */
    unsigned begun; /* steps */
    bool finished;
} * shared;

static unsigned kill_at; /* the how manyth write */
static unsigned writes;

static ssize_t killing_pwritev(void *ud, int fd, const struct iovec *parts, int count,
                               uint64_t position)
{
    (void) ud;
    if (__atomic_add_fetch(&writes, 1, __ATOMIC_SEQ_CST) == kill_at) {
        struct iovec half = {parts[0].iov_base, parts[0].iov_len / 2};
        (void) !pwritev(fd, &half, 1, (off_t) position);
        _exit(9);
    }
    return pwritev(fd, parts, count, (off_t) position);
}

static const struct fs_ops killing_ops = {.pwritev = killing_pwritev};

static void install(struct disk *disk, const struct step *step)
{
    struct raft_members members = disk_members(3);
    struct raft_message message = {
        .index = step->last, .index_term = step->term, .bytes = 7, .total = 7, .members = &members};
    struct raft_taken taken = {.chunk = true, .install = true};
    ck_assert_int_eq(raft_storage_take(disk->storage, &message, &taken, NULL, span_of("a state")),
                     0);
    struct raft_write write = {.wseq = ++disk->wseq,
                               .flags = RAFT_WRITE_SNAPSHOT,
                               .term = step->term,
                               .snapshot_index = step->last,
                               .snapshot_term = step->term};
    ck_assert_int_eq(disk->storage->ops->write(disk->storage, &write), 0);
    disk_settle(disk);
}

static void run_step(struct disk *disk, const struct step *step)
{
    struct slice state = disk_slice("a state");
    switch (step->kind) {
    case HARD:
        disk_hard(disk, step->term, 1, 0);
        break;
    case APPEND:
        disk_append(disk, step->term, step->first, step->last);
        break;
    case INSTALL:
        install(disk, step);
        break;
    case SNAPSHOT: /* durable with the next write */
        ck_assert_int_eq(disk->storage->ops->snapshot_save(disk->storage, step->last, &state), 0);
        break;
    case COMPACT:
    default:
        ck_assert_int_eq(disk->storage->ops->compact(disk->storage, step->last), 0);
        break;
    }
    slice_release(&state);
}

static void child(const char *dir)
{
    struct disk disk;
    memset(&disk, 0, sizeof(disk));
    disk.options.journal.ops = &killing_ops;
    ck_assert_int_eq(disk_open_at(&disk, dir), 0);
    for (unsigned i = 0; i < STEPS; i++) {
        shared->begun = i + 1;
        run_step(&disk, &steps[i]);
        if (steps[i].kind != SNAPSHOT && steps[i].kind != COMPACT) {
            shared->done = i + 1;
        }
    }
    shared->finished = true;
    _exit(0);
}

static bool image_matches(const struct image *image, const struct disk *disk)
{
    struct raft_boot boot = disk_boot(disk);
    const struct raft_trail *trail = &disk->storage->trail;
    if (boot.suspect_from != 0 || boot.suspect_last != 0 || boot.term != image->term ||
        boot.compacted != image->base || boot.last != image->last ||
        trail->snapshot.index != image->snapshot) {
        return false;
    }
    for (raft_index i = boot.compacted + 1; i <= boot.last; i++) {
        if (raft_trail_reads.term_at(&disk->storage->trail, i) != image->entry[i]) {
            return false;
        }
    }
    return true;
}

/* Some prefix of what was begun, at least what was durable; an append may be there in part. */
static void expect_prefix(const struct disk *disk)
{
    struct image image;
    memset(&image, 0, sizeof(image));
    bool found = shared->done == 0 && image_matches(&image, disk);
    for (unsigned i = 0; i < shared->begun && !found; i++) {
        struct step part = steps[i];
        if (part.kind == APPEND && i >= shared->done) {
            struct image cut = image; /* the truncation alone */
            cut.last = part.first - 1 < cut.last ? part.first - 1 : cut.last;
            found = image_matches(&cut, disk);
            for (part.last = part.first; part.last < steps[i].last && !found; part.last++) {
                cut = image;
                image_step(&cut, &part);
                found = image_matches(&cut, disk);
            }
        }
        image_step(&image, &steps[i]);
        found = found || (i + 1 >= shared->done && image_matches(&image, disk));
    }
    ck_assert_msg(found, "killed at write %u: %u done, %u begun, nothing fits", kill_at,
                  shared->done, shared->begun);
    for (raft_index i = disk->storage->trail.base + 1; i <= disk->storage->trail.last; i++) {
        disk_expect(disk, raft_trail_reads.term_at(&disk->storage->trail, i), i, i);
    }
}

TEST_WITHIN(a_journal_killed_at_any_write_has_all_that_was_durable, 300)
{
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (kill_at = 1;; kill_at++) {
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
        expect_prefix(disk);
        disk_hard(disk, 9, 1, 0); /* it goes on */
        disk_append(disk, 9, disk->storage->trail.last + 1, disk->storage->trail.last + 3);
        disk_reopen(disk);
        ck_assert_uint_eq(disk_boot(disk).term, 9);
        disk_free(&disk);
    }
    ck_assert_uint_gt(kill_at, 12); /* as many writes as there are waits */
}
