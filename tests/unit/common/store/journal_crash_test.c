/* The journal over power losses: the calls of a run are recorded; then, for every point of the run, the disk is rebuilt as it may
 * look when the power goes there (un-synced calls done, dropped, or torn at sector borders), and recovered. What was
 * acknowledged must be there, what is there must be a prefix of what was appended, nothing may be called corrupt, and
 * recovering twice must give the same. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/base/rand.h"
#include "common/store/journal.h"
#include "tests/lib/test.h"
#include "tests/unit/common/store/journal_lib.h"

enum {
    FILES_MAX = 64,
    OPS_MAX = 2000,
    NAME_BYTES = 40,
    SECTOR_BYTES = 512,
    IMAGE_BYTES = LIB_FILE_BYTES,
    ENTRIES_MAX = 500,
};

enum op_type {
    OP_CREATE,
    OP_WRITE,
    OP_ALLOCATE,
    OP_SYNC,
    OP_RENAME,
    OP_UNLINK,
    OP_SYNC_DIR,
    OP_ACKED
};

struct op {
    enum op_type type;
    int file;
    uint64_t position;
    uint8_t *data; /* NULL: zeros */
    size_t size;
    char from[NAME_BYTES], to[NAME_BYTES];
    unsigned acked;
};

/* A run as it was seen by the file system. The trash folder is left out: nothing depends on it. */
struct tape {
    pthread_mutex_t lock;
    struct op *ops;
    size_t count;
    int file_count;
    int fds[1024]; /* descriptor -> file, -1: none */
    int dir_fd;    /* the journal's folder, as the calls name it */
    struct {
        char name[NAME_BYTES]; /* "" when it has none */
    } files[FILES_MAX];
    /* What was there when the tape began: names and contents, all durable. */
    uint8_t *images[FILES_MAX];
    size_t image_sizes[FILES_MAX];
    int base_count;
    char base_names[FILES_MAX][NAME_BYTES];
};

static struct tape *tape_new(void)
{
    struct tape *self = mem_new(sizeof(*self));
    self->ops = mem_new_array(OPS_MAX, sizeof(*self->ops));
    memset(self->fds, -1, sizeof(self->fds));
    self->dir_fd = -1;
    (void) pthread_mutex_init(&self->lock, NULL);
    return self;
}

static void tape_free(struct tape *self)
{
    for (size_t i = 0; i < self->count; i++) {
        mem_free(self->ops[i].data);
    }
    for (int i = 0; i < FILES_MAX; i++) {
        mem_free(self->images[i]);
    }
    mem_free(self->ops);
    mem_free(self);
}

static struct op *tape_add(struct tape *self, enum op_type type)
{
    TEST_ASSERT_FAST(self->count < OPS_MAX);
    struct op *op = &self->ops[self->count++];
    op->type = type;
    op->file = -1;
    return op;
}

static int file_named(const struct tape *self, const char *name)
{
    for (int i = 0; i < self->file_count; i++) {
        if (strcmp(self->files[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

/* --- recording --- */

static int record_open(void *ud, int dir_fd, const char *name, int flags, unsigned mode)
{
    struct tape *self = ud;
    int fd = openat(dir_fd, name, flags, mode);
    int before = errno;
    bool is_trash = strncmp(name, "torn-", 5) == 0;
    pthread_mutex_lock(&self->lock);
    if (fd >= 0 && (flags & O_ACCMODE) != O_RDONLY && !is_trash) {
        int file = file_named(self, name);
        self->dir_fd = dir_fd;
        if (file < 0) {
            TEST_ASSERT_FAST((flags & O_CREAT) != 0 && self->file_count < FILES_MAX);
            file = self->file_count++;
            (void) snprintf(self->files[file].name, NAME_BYTES, "%s", name);
            struct op *op = tape_add(self, OP_CREATE);
            op->file = file;
            (void) snprintf(op->to, NAME_BYTES, "%s", name);
        }
        self->fds[fd] = file;
    } else if (fd >= 0) {
        self->fds[fd] = -1;
    }
    pthread_mutex_unlock(&self->lock);
    errno = before;
    return fd;
}

static ssize_t record_pwritev(void *ud, int fd, const struct iovec *parts, int count,
                              uint64_t position)
{
    struct tape *self = ud;
    ssize_t written = pwritev(fd, parts, count, (off_t) position);
    pthread_mutex_lock(&self->lock);
    if (written > 0 && self->fds[fd] >= 0) {
        struct op *op = tape_add(self, OP_WRITE);
        op->file = self->fds[fd];
        op->position = position;
        op->size = (size_t) written;
        op->data = mem_new(op->size);
        size_t done = 0;
        for (int i = 0; i < count && done < op->size; i++) {
            size_t some = parts[i].iov_len < op->size - done ? parts[i].iov_len : op->size - done;
            memcpy(op->data + done, parts[i].iov_base, some);
            done += some;
        }
        if (op->data[0] == 0 && memcmp(op->data, op->data + 1, op->size - 1) == 0) {
            mem_free(op->data);
            op->data = NULL;
        }
    }
    pthread_mutex_unlock(&self->lock);
    return written;
}

static int record_sync(void *ud, int fd)
{
    struct tape *self = ud;
    pthread_mutex_lock(&self->lock);
    if (self->fds[fd] >= 0) {
        tape_add(self, OP_SYNC)->file = self->fds[fd];
    } else if (fd == self->dir_fd) {
        (void) tape_add(self, OP_SYNC_DIR);
    }
    pthread_mutex_unlock(&self->lock);
    return 0; /* the real one would only cost time */
}

static int record_fallocate(void *ud, int fd, uint64_t position, uint64_t size)
{
    struct tape *self = ud;
    int result = fallocate(fd, 0, (off_t) position, (off_t) size);
    pthread_mutex_lock(&self->lock);
    if (result == 0 && self->fds[fd] >= 0) {
        struct op *op = tape_add(self, OP_ALLOCATE);
        op->file = self->fds[fd];
        op->size = (size_t) (position + size);
    }
    pthread_mutex_unlock(&self->lock);
    return result;
}

static int record_renameat(void *ud, int dir_fd, const char *from, const char *to)
{
    struct tape *self = ud;
    pthread_mutex_lock(&self->lock);
    int result = renameat(dir_fd, from, dir_fd, to);
    if (result == 0) {
        struct op *op = tape_add(self, OP_RENAME);
        (void) snprintf(op->from, NAME_BYTES, "%s", from);
        (void) snprintf(op->to, NAME_BYTES, "%s", to);
        int replaced = file_named(self, to);
        if (replaced >= 0) {
            self->files[replaced].name[0] = '\0';
        }
        (void) snprintf(self->files[file_named(self, from)].name, NAME_BYTES, "%s", to);
    }
    pthread_mutex_unlock(&self->lock);
    return result;
}

static int record_unlinkat(void *ud, int dir_fd, const char *name)
{
    struct tape *self = ud;
    pthread_mutex_lock(&self->lock);
    int result = unlinkat(dir_fd, name, 0);
    int before = errno;
    if (result == 0) {
        (void) snprintf(tape_add(self, OP_UNLINK)->from, NAME_BYTES, "%s", name);
        self->files[file_named(self, name)].name[0] = '\0';
    }
    pthread_mutex_unlock(&self->lock);
    errno = before;
    return result;
}

static struct fs_ops recorder(struct tape *self)
{
    return (struct fs_ops){.open = record_open,
                           .pwritev = record_pwritev,
                           .fdatasync = record_sync,
                           .fsync = record_sync,
                           .fallocate = record_fallocate,
                           .renameat = record_renameat,
                           .unlinkat = record_unlinkat,
                           .ud = self};
}

/* --- rebuilding a disk --- */

/* One way the power can go: the ops before `cut`, of which un-synced ones may be missing. */
struct loss {
    size_t cut;
    size_t dropped;   /* this op is missing (SIZE_MAX: none) */
    bool drop_all;    /* every op that was not synced is missing */
    size_t torn;      /* of this op only some sectors arrived (SIZE_MAX: none) */
    uint64_t torn_at; /* and that is: all before this sector... */
    bool torn_other;  /* ... or all from it on */
    uint64_t random;  /* != 0: each un-synced sector and op by lot */
};

struct disk {
    char names[FILES_MAX][NAME_BYTES];
    uint8_t *images[FILES_MAX];
    size_t sizes[FILES_MAX];
};

static bool is_synced(const struct tape *tape, size_t at, size_t cut)
{
    const struct op *op = &tape->ops[at];
    bool is_dir_op = op->type == OP_CREATE || op->type == OP_RENAME || op->type == OP_UNLINK;
    for (size_t i = at + 1; i < cut; i++) {
        const struct op *later = &tape->ops[i];
        if (is_dir_op ? later->type == OP_SYNC_DIR
                      : later->type == OP_SYNC && later->file == op->file) {
            return true;
        }
    }
    return false;
}

static void disk_write(struct disk *disk, const struct op *op, const struct loss *loss, size_t at,
                       struct prng *lot, bool synced)
{
    for (uint64_t done = 0; done < op->size;) {
        uint64_t byte = op->position + done;
        uint64_t step = SECTOR_BYTES - byte % SECTOR_BYTES;
        step = step < op->size - done ? step : op->size - done;
        bool arrives = true;
        if (!synced && loss->torn == at) {
            arrives = (byte / SECTOR_BYTES < loss->torn_at) != loss->torn_other;
        }
        if (!synced && loss->random != 0) {
            arrives = prng_below(lot, 2) == 0;
        }
        if (arrives && byte + step <= IMAGE_BYTES) {
            if (op->data != NULL) {
                memcpy(disk->images[op->file] + byte, op->data + done, step);
            } else {
                memset(disk->images[op->file] + byte, 0, step);
            }
            if (disk->sizes[op->file] < byte + step) {
                disk->sizes[op->file] = byte + step;
            }
        }
        done += step;
    }
}

static void disk_rename(struct disk *disk, const char *from, const char *to)
{
    for (int i = 0; i < FILES_MAX; i++) {
        if (strcmp(disk->names[i], to) == 0) {
            disk->names[i][0] = '\0';
        }
    }
    for (int i = 0; i < FILES_MAX; i++) {
        if (strcmp(disk->names[i], from) == 0) {
            (void) snprintf(disk->names[i], NAME_BYTES, "%s", to);
        }
    }
}

static void disk_apply(struct disk *disk, const struct tape *tape, size_t at,
                       const struct loss *loss, struct prng *lot)
{
    const struct op *op = &tape->ops[at];
    bool synced = is_synced(tape, at, loss->cut);
    bool is_dir_op = op->type == OP_CREATE || op->type == OP_RENAME || op->type == OP_UNLINK;
    if (!synced && (loss->drop_all || loss->dropped == at)) {
        return;
    }
    /* A journaling file system keeps the order within one folder, so a lot is drawn for file data only. */
    (void) is_dir_op;
    switch (op->type) {
    case OP_CREATE:
        (void) snprintf(disk->names[op->file], NAME_BYTES, "%s", op->to);
        break;
    case OP_WRITE:
        disk_write(disk, op, loss, at, lot, synced);
        break;
    case OP_ALLOCATE:
        if (disk->sizes[op->file] < op->size) {
            disk->sizes[op->file] = op->size;
        }
        break;
    case OP_RENAME:
        disk_rename(disk, op->from, op->to);
        break;
    case OP_UNLINK:
        disk_rename(disk, op->from, "");
        break;
    case OP_SYNC:
    case OP_SYNC_DIR:
    case OP_ACKED:
        break;
    }
}

/* Only blocks that hold something: the rest are holes. */
static void save_sparse(const char *dir, const char *name, const uint8_t *image, size_t size)
{
    static const uint8_t zeros[4096];
    char path[400];
    (void) snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    TEST_ASSERT_FAST(fd >= 0);
    TEST_ASSERT_FAST(ftruncate(fd, (off_t) size) == 0);
    for (size_t at = 0; at < size; at += sizeof(zeros)) {
        size_t some = size - at < sizeof(zeros) ? size - at : sizeof(zeros);
        if (memcmp(image + at, zeros, some) != 0) {
            TEST_ASSERT_FAST(pwrite(fd, image + at, some, (off_t) at) == (ssize_t) some);
        }
    }
    (void) close(fd);
}

static void build_disk(const struct tape *tape, const struct loss *loss, const char *dir)
{
    static struct disk disk;
    struct prng lot;
    prng_init(&lot, loss->random);
    for (int i = 0; i < FILES_MAX; i++) {
        bool is_base = i < tape->base_count;
        disk.names[i][0] = '\0';
        disk.sizes[i] = 0;
        if (i >= tape->file_count && !is_base) {
            continue;
        }
        if (disk.images[i] == NULL) {
            disk.images[i] = mem_new(IMAGE_BYTES);
        }
        memset(disk.images[i], 0, IMAGE_BYTES);
        if (is_base) {
            (void) snprintf(disk.names[i], NAME_BYTES, "%s", tape->base_names[i]);
            memcpy(disk.images[i], tape->images[i], tape->image_sizes[i]);
            disk.sizes[i] = tape->image_sizes[i];
        }
    }
    for (size_t i = 0; i < loss->cut; i++) {
        disk_apply(&disk, tape, i, loss, &lot);
    }
    lib_empty_dir(dir);
    for (int i = 0; i < FILES_MAX; i++) {
        if (disk.names[i][0] != '\0') {
            save_sparse(dir, disk.names[i], disk.images[i], disk.sizes[i]);
        }
    }
}

/* --- the run --- */

struct appended {
    uint64_t group, index;
};

static struct appended order[ENTRIES_MAX]; /* what was appended, oldest first */
static unsigned order_count;
static struct seen seen;
static struct seen again;

static void run_append(struct journal *journal, uint64_t group, size_t size)
{
    static uint64_t next[4];
    if (order_count == 0) {
        memset(next, 0, sizeof(next));
    }
    order[order_count++] = (struct appended){group, ++next[group]};
    TEST_ASSERT_FAST(lib_append(journal, group, next[group], size) == 0);
}

static void note_acked(struct tape *tape, unsigned acked)
{
    pthread_mutex_lock(&tape->lock);
    tape_add(tape, OP_ACKED)->acked = acked;
    pthread_mutex_unlock(&tape->lock);
}

/* Rounds of one to five entries of all sizes, over more than two files, some of them recycled. */
static struct tape *run_and_record(const char *dir, bool with_recycling)
{
    struct tape *tape = tape_new();
    struct fs_ops ops = recorder(tape);
    struct journal_options options = lib_options(dir);
    struct journal *journal = NULL;
    struct lib_done done = {0};
    struct prng lot;
    prng_init(&lot, 42);
    options.ops = &ops;
    order_count = 0;
    TEST_ASSERT_FAST(lib_try_open(&options, NULL, &journal) == 0);
    for (unsigned round = 0; round < 40; round++) {
        unsigned count = 1 + (unsigned) prng_below(&lot, 5);
        for (unsigned i = 0; i < count; i++) {
            bool is_large = prng_below(&lot, 6) == 0;
            run_append(journal, 1 + prng_below(&lot, 3),
                       (size_t) (is_large ? prng_below(&lot, 300000) : prng_below(&lot, 900)));
        }
        journal_submit(journal);
        lib_wait(journal, &done, order_count);
        note_acked(tape, order_count);
        if (with_recycling && round % 8 == 7) {
            /* Only acknowledged entries of whole files go; the checks below know. */
            journal_release_before(journal, journal_durable_upto(journal));
        }
    }
    journal_close(&journal);
    return tape;
}

static unsigned acked_before(const struct tape *tape, size_t cut)
{
    unsigned acked = 0;
    for (size_t i = 0; i < cut; i++) {
        if (tape->ops[i].type == OP_ACKED) {
            acked = tape->ops[i].acked;
        }
    }
    return acked;
}

/* Which of the appended entries are there? Contents are compared while reading. */
static void mark_found(struct journal *journal, const struct seen *from, bool *found)
{
    memset(found, 0, ENTRIES_MAX * sizeof(*found));
    for (size_t i = 0; i < from->extent_count; i++) {
        const struct extent *extent = &from->extents[i];
        uint64_t at = 0;
        TEST_ASSERT_FAST(lib_read_extent(journal, extent, &at) > 0);
        unsigned matched = 0;
        for (unsigned j = 0; j < order_count; j++) {
            if (order[j].group == extent->group && order[j].index >= extent->first_index &&
                order[j].index <= extent->last_index) {
                found[j] = true;
                matched++;
            }
        }
        TEST_ASSERT_FAST(matched == extent->last_index - extent->first_index + 1);
    }
}

/* A stretch of what was appended, from its beginning unless files were released, at least up to what was acked. */
static unsigned check_found(const bool *found, unsigned acked, bool from_beginning)
{
    unsigned first = 0;
    while (first < order_count && !found[first]) {
        first++;
    }
    if (first == order_count) {
        TEST_ASSERT_FAST(acked == 0 || !from_beginning);
        return 0;
    }
    TEST_ASSERT_FAST(!from_beginning || first == 0);
    unsigned end = first;
    while (end < order_count && found[end]) {
        end++;
    }
    for (unsigned i = end; i < order_count; i++) {
        TEST_ASSERT_FAST(!found[i]);
    }
    TEST_ASSERT_FAST(end >= acked);
    return end;
}

/* Look without changing anything. */
static void check_disk(const char *dir, unsigned acked, bool from_beginning)
{
    static bool found[ENTRIES_MAX];
    struct journal_options options = lib_options(dir);
    struct journal *journal = NULL;
    options.read_only = true;
    TEST_ASSERT_FAST(lib_try_open(&options, &seen, &journal) == 0);
    TEST_ASSERT_FAST(seen.corrupt_count == 0);
    mark_found(journal, &seen, found);
    (void) check_found(found, acked, from_beginning);
    journal_close(&journal);
}

/* Recover in earnest, append, and recover again. */
static void check_recovery(const char *dir, unsigned acked, bool from_beginning)
{
    static bool found[ENTRIES_MAX];
    static bool found_again[ENTRIES_MAX];
    struct journal *journal = lib_open(dir, &seen);
    TEST_ASSERT_FAST(seen.corrupt_count == 0);
    mark_found(journal, &seen, found);
    unsigned end = check_found(found, acked, from_beginning);
    lib_fill(journal, 9, 1, 1, 700);
    journal_close(&journal);
    journal = lib_open(dir, &again);
    TEST_ASSERT_FAST(again.corrupt_count == 0);
    TEST_ASSERT_FAST(again.recovery.torn_bytes == 0);
    unsigned nines = 0;
    for (size_t i = 0; i < again.extent_count; i++) {
        nines += again.extents[i].group == 9;
        if (again.extents[i].group == 9) {
            again.extents[i] = again.extents[--again.extent_count];
            i--;
        }
    }
    TEST_ASSERT_FAST(nines == 1);
    mark_found(journal, &again, found_again);
    TEST_ASSERT_FAST(check_found(found_again, acked, from_beginning) == end);
    TEST_ASSERT_FAST(memcmp(found, found_again, sizeof(found)) == 0);
    journal_close(&journal);
}

/* A folder in memory where there is one: thousands of disks are built in it. */
static const char *fast_folder(void)
{
    static char path[64];
    (void) snprintf(path, sizeof(path), "/dev/shm/rgt-journal-%d", (int) getpid());
    return mkdir(path, 0700) == 0 ? path : test_folder();
}

static void drop_folder(const char *dir)
{
    lib_empty_dir(dir);
    (void) rmdir(dir);
}

static const struct loss NO_LOSS = {.dropped = SIZE_MAX, .torn = SIZE_MAX};

/* Every way of one cut; returns how many. */
static unsigned check_cut(const struct tape *tape, size_t cut, const char *dir, bool from_beginning)
{
    unsigned acked = acked_before(tape, cut);
    unsigned states = 0;
    struct loss loss = NO_LOSS;
    loss.cut = cut;
    build_disk(tape, &loss, dir);
    check_disk(dir, acked, from_beginning);
    check_recovery(dir, acked, from_beginning);
    loss.drop_all = true;
    build_disk(tape, &loss, dir);
    check_disk(dir, acked, from_beginning);
    check_recovery(dir, acked, from_beginning);
    states += 2;
    for (size_t i = 0; i < cut; i++) {
        const struct op *op = &tape->ops[i];
        if (is_synced(tape, i, cut) || op->type == OP_SYNC || op->type == OP_SYNC_DIR ||
            op->type == OP_ACKED) {
            continue;
        }
        loss = NO_LOSS;
        loss.cut = cut;
        loss.dropped = i;
        build_disk(tape, &loss, dir);
        check_disk(dir, acked, from_beginning);
        states++;
        if (op->type != OP_WRITE || op->data == NULL) {
            continue;
        }
        loss.dropped = SIZE_MAX;
        loss.torn = i;
        uint64_t first = op->position / SECTOR_BYTES;
        uint64_t last = (op->position + op->size) / SECTOR_BYTES;
        uint64_t step = 1 + (last - first) / 12;
        for (uint64_t sector = first + 1; sector <= last; sector += step) {
            loss.torn_at = sector;
            loss.torn_other = !loss.torn_other;
            build_disk(tape, &loss, dir);
            check_disk(dir, acked, from_beginning);
            states++;
            if (sector == first + 1) {
                check_recovery(dir, acked, from_beginning);
            }
        }
    }
    for (uint64_t seed = 1; seed <= 4; seed++) {
        loss = NO_LOSS;
        loss.cut = cut;
        loss.random = seed * 1000 + cut;
        build_disk(tape, &loss, dir);
        check_disk(dir, acked, from_beginning);
        states++;
    }
    check_recovery(dir, acked, from_beginning);
    return states;
}

TEST_WITHIN(power_may_go_at_any_point, 120)
{
    struct tape *tape = run_and_record(test_folder(), false);
    const char *dir = fast_folder();
    unsigned states = 0;
    for (size_t cut = 0; cut <= tape->count; cut++) {
        states += check_cut(tape, cut, dir, true);
    }
    ck_assert_uint_gt(states, 500);
    drop_folder(dir);
    tape_free(tape);
}

TEST_WITHIN(power_may_go_at_any_point_with_recycled_files, 120)
{
    struct tape *tape = run_and_record(test_folder(), true);
    const char *dir = fast_folder();
    unsigned states = 0;
    for (size_t cut = 0; cut <= tape->count; cut++) {
        states += check_cut(tape, cut, dir, false);
    }
    ck_assert_uint_gt(states, 500);
    drop_folder(dir);
    tape_free(tape);
}

/* Begin a tape on what lies in a folder. */
static void tape_base(struct tape *self, const char *dir, const char *const *names, int count)
{
    for (int i = 0; i < count; i++) {
        if (!lib_exists(dir, names[i])) {
            continue;
        }
        int file = self->file_count++;
        (void) snprintf(self->files[file].name, NAME_BYTES, "%s", names[i]);
        (void) snprintf(self->base_names[file], NAME_BYTES, "%s", names[i]);
        self->images[file] = lib_load(dir, names[i], &self->image_sizes[file]);
    }
    self->base_count = self->file_count;
}

TEST_WITHIN(power_may_go_during_recovery, 120)
{
    static const char *const names[] = {
        "0000000001.jnl", "0000000001.idx", "0000000002.jnl", "0000000002.idx", "0000000003.jnl",
        "0000000003.idx", "0000000004.jnl", "reserve",        "prepare.tmp",    "reserve.tmp"};
    struct tape *run = run_and_record(test_folder(), false);
    const char *dir = fast_folder();
    const char *torn_dir = test_folder();
    unsigned torn_runs = 0;
    for (size_t cut = 1; cut < run->count && torn_runs < 12; cut++) {
        const struct op *last = &run->ops[cut - 1];
        if (last->type != OP_WRITE || last->data == NULL || last->size / SECTOR_BYTES < 3) {
            continue;
        }
        struct loss loss = NO_LOSS;
        loss.cut = cut;
        loss.random = cut;
        unsigned acked = acked_before(run, cut);
        build_disk(run, &loss, torn_dir);
        struct tape *tape = tape_new();
        tape_base(tape, torn_dir, names, (int) (sizeof(names) / sizeof(names[0])));
        struct fs_ops ops = recorder(tape);
        struct journal_options options = lib_options(torn_dir);
        struct journal *journal = NULL;
        options.ops = &ops;
        TEST_ASSERT_FAST(lib_try_open(&options, &seen, &journal) == 0);
        torn_runs += seen.recovery.torn_bytes != 0;
        journal_close(&journal);
        for (size_t second = 0; second <= tape->count; second++) {
            for (unsigned way = 0; way < 4; way++) {
                loss = NO_LOSS;
                loss.cut = second;
                loss.drop_all = way == 1;
                loss.random = way >= 2 ? (size_t) way * 100 + second : 0;
                build_disk(tape, &loss, dir);
                check_disk(dir, acked, true);
                if (way == 2) {
                    check_recovery(dir, acked, true);
                }
            }
        }
        tape_free(tape);
    }
    ck_assert_uint_ge(torn_runs, 5);
    drop_folder(dir);
    tape_free(run);
}

/* The tape up to a point, to be gone on with: nothing on it becomes durable by that. */
static struct tape *tape_continue(const struct tape *from, size_t cut)
{
    struct tape *self = tape_new();
    self->file_count = from->file_count;
    for (size_t i = 0; i < cut; i++) {
        struct op *op = tape_add(self, from->ops[i].type);
        *op = from->ops[i];
        if (op->data != NULL) {
            op->data = mem_new(op->size);
            memcpy(op->data, from->ops[i].data, op->size);
        }
        if (op->type == OP_CREATE) {
            (void) snprintf(self->files[op->file].name, NAME_BYTES, "%s", op->to);
        } else if (op->type == OP_UNLINK) {
            self->files[file_named(self, op->from)].name[0] = '\0';
        } else if (op->type == OP_RENAME) {
            int replaced = file_named(self, op->to);
            if (replaced >= 0) {
                self->files[replaced].name[0] = '\0';
            }
            (void) snprintf(self->files[file_named(self, op->from)].name, NAME_BYTES, "%s", op->to);
        }
    }
    return self;
}

TEST_WITHIN(what_recovery_reports_after_a_kill_survives_a_power_loss, 120)
{
    static bool found[ENTRIES_MAX];
    struct tape *run = run_and_record(test_folder(), false);
    const char *dir = fast_folder();
    unsigned more = 0;
    for (size_t cut = 1; cut <= run->count; cut++) {
        /* The process is killed: all it wrote is in the page cache, and not all of it on the disk. */
        struct loss loss = NO_LOSS;
        loss.cut = cut;
        build_disk(run, &loss, dir);
        struct tape *tape = tape_continue(run, cut);
        struct fs_ops ops = recorder(tape);
        struct journal_options options = lib_options(dir);
        struct journal *journal = NULL;
        options.ops = &ops;
        TEST_ASSERT_FAST(lib_try_open(&options, &seen, &journal) == 0);
        size_t opened = tape->count;
        mark_found(journal, &seen, found);
        unsigned end = check_found(found, acked_before(run, cut), true);
        more += end > acked_before(run, cut);
        journal_close(&journal);
        loss.cut = opened;
        loss.drop_all = true;
        build_disk(tape, &loss, dir);
        check_disk(dir, end, true);
        tape_free(tape);
    }
    ck_assert_uint_gt(more, 10);
    drop_folder(dir);
    tape_free(run);
}
