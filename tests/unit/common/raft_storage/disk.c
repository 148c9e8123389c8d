/* disk: both drivers behind one face. */
#include "tests/unit/common/raft_storage/disk.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/mem.h"

static bool is_broken;

static ssize_t broken_pwritev(void *ud, int fd, const struct iovec *parts, int count,
                              uint64_t position)
{
    (void) ud;
    if (is_broken) {
        errno = EIO;
        return -1;
    }
    return pwritev(fd, parts, count, (off_t) position);
}

static ssize_t broken_pread(void *ud, int fd, void *data, size_t size, uint64_t position)
{
    (void) ud;
    if (is_broken) {
        errno = EIO;
        return -1;
    }
    return pread(fd, data, size, (off_t) position);
}

static const struct fs_ops broken_ops = {.pread = broken_pread, .pwritev = broken_pwritev};

struct disk *disk_memory(void)
{
    struct disk *self = MEM_NEW(struct disk);
    self->memory = raft_memory_new();
    self->storage = raft_memory_storage(self->memory);
    return self;
}

int disk_open_at(struct disk *self, const char *dir)
{
    char path[512];
    struct journal_recovery recovery;
    if (self->dir == NULL) {
        self->dir = mem_strdup(dir);
    }
    (void) snprintf(path, sizeof(path), "%s/journal", self->dir);
    char *journal_dir = mem_strdup(path);
    (void) snprintf(path, sizeof(path), "%s/snapshots", self->dir);
    self->options.journal.dir = journal_dir;
    self->options.journal.file_bytes = DISK_FILE_BYTES;
    self->options.journal.reserve_bytes = DISK_FILE_BYTES;
    if (self->options.journal.ops == NULL) {
        self->options.journal.ops = &broken_ops;
    }
    self->options.snapshot_dir = path;
    self->options.tail_bytes_max = 256; /* most payloads come back from the file */
    int error = raft_journal_open(&self->options, &recovery, &self->journal);
    mem_free(journal_dir);
    if (error == 0) {
        error = raft_journal_open_group(self->journal, DISK_GROUP, false, self, &self->storage);
    }
    return error;
}

struct disk *disk_journal(void)
{
    struct disk *self = MEM_NEW(struct disk);
    is_broken = false;
    ck_assert_int_eq(disk_open_at(self, test_folder()), 0);
    return self;
}

void disk_free(struct disk **self)
{
    raft_memory_destroy(&(*self)->memory);
    if ((*self)->journal != NULL && (*self)->storage != NULL) {
        raft_journal_close_group((*self)->journal, DISK_GROUP);
    }
    raft_journal_close(&(*self)->journal);
    mem_free((*self)->dir);
    MEM_FREE(*self);
}

static void no_news(void *ud)
{
    (void) ud;
}

void disk_turn(struct disk *self)
{
    if (self->journal != NULL) {
        struct pollfd fd = {raft_journal_fd(self->journal), POLLIN, 0};
        raft_journal_submit(self->journal);
        (void) poll(&fd, 1, 5);
        (void) raft_journal_poll(self->journal, no_news);
    }
}

void disk_settle(struct disk *self)
{
    uint64_t wseq = 0;
    for (unsigned i = 0; i < 5000; i++) {
        ck_assert_int_eq(self->storage->ops->durable(self->storage, &wseq), 0);
        if (wseq == self->wseq) {
            break;
        }
        disk_turn(self);
    }
    ck_assert_uint_eq(wseq, self->wseq);
}

void disk_reopen(struct disk *self)
{
    self->wseq = 0;
    if (self->memory != NULL) {
        raft_memory_crash(self->memory);
        return;
    }
    raft_journal_close_group(self->journal, DISK_GROUP);
    raft_journal_close(&self->journal);
    self->storage = NULL;
    ck_assert_int_eq(disk_open_at(self, self->dir), 0);
}

void disk_break(struct disk *self)
{
    if (self->memory != NULL) {
        raft_memory_fail(self->memory, 0);
    }
    is_broken = true;
}

struct raft_boot disk_boot(const struct disk *self)
{
    struct raft_boot boot;
    self->storage->ops->boot(self->storage, 0, &boot);
    return boot;
}

static int disk_write(struct disk *self, struct raft_write *write)
{
    write->wseq = ++self->wseq;
    write->term = self->term;
    return self->storage->ops->write(self->storage, write);
}

void disk_hard(struct disk *self, raft_term term, uint32_t vote, raft_index commit)
{
    struct raft_write hard = {.flags = RAFT_WRITE_HARD, .vote = {vote, 1}, .commit = commit};
    self->term = term;
    ck_assert_int_eq(disk_write(self, &hard), 0);
    disk_settle(self);
}

static struct slice payload_for(raft_term term, raft_index index)
{
    char text[64];
    (void) snprintf(text, sizeof(text), "entry %u of term %u", (unsigned) index, (unsigned) term);
    return disk_slice(text);
}

struct slice disk_slice(const char *text)
{
    struct payload *payload = payload_copy(span_of(text));
    return (struct slice){payload, payload_span(payload)};
}

int disk_queue(struct disk *self, raft_term term, raft_index first, raft_index last)
{
    struct raft_write append = {.flags = RAFT_WRITE_APPEND, .first = first, .last = last};
    if (first <= self->storage->trail.last) {
        append.flags |= RAFT_WRITE_TRUNCATE;
        append.truncate_from = first;
    }
    self->term = term > self->term ? term : self->term;
    for (raft_index i = first; i <= last; i++) {
        struct slice payload = payload_for(term, i);
        struct raft_entry entry = {.term = term, .bytes = (uint32_t) payload.bytes.size};
        ck_assert_int_eq(raft_storage_put(self->storage, i, &entry, 1, &payload), 0);
        slice_release(&payload);
    }
    return disk_write(self, &append);
}

void disk_append(struct disk *self, raft_term term, raft_index first, raft_index last)
{
    ck_assert_int_eq(disk_queue(self, term, first, last), 0);
    disk_settle(self);
}

struct raft_members disk_members(uint32_t voters)
{
    struct raft_members members;
    memset(&members, 0, sizeof(members));
    for (uint32_t node = 1; node <= voters; node++) {
        (void) raft_members_put(&members, (struct raft_id){node, 1}, RAFT_VOTER, 1);
    }
    return members;
}

void disk_config(struct disk *self, raft_term term, raft_index index, uint32_t voters)
{
    struct raft_members members = disk_members(voters);
    struct raft_entry entry = {.term = term, .type = RAFT_ENTRY_CONFIG, .members = &members};
    struct raft_write append = {.flags = RAFT_WRITE_APPEND, .first = index, .last = index};
    if (index <= self->storage->trail.last) {
        append.flags |= RAFT_WRITE_TRUNCATE;
        append.truncate_from = index;
    }
    ck_assert_int_eq(raft_storage_put(self->storage, index, &entry, 1, NULL), 0);
    ck_assert_int_eq(disk_write(self, &append), 0);
    disk_settle(self);
}

void disk_expect(const struct disk *self, raft_term term, raft_index first, raft_index last)
{
    for (raft_index i = first; i <= last; i++) {
        struct slice read;
        struct slice right = payload_for(term, i);
        ck_assert_uint_eq(raft_trail_reads.term_at(&self->storage->trail, i), term);
        ck_assert_int_eq(self->storage->ops->read(self->storage, i, &read), 0);
        ck_assert(span_equal(read.bytes, right.bytes));
        slice_release(&read);
        slice_release(&right);
    }
}
