/* disk: what the storage suite asks of a driver besides struct raft_storage: open, die, come back, fail. One test body runs over each. */
#ifndef TESTS_UNIT_COMMON_RAFT_STORAGE_DISK_H
#define TESTS_UNIT_COMMON_RAFT_STORAGE_DISK_H

#include "common/raft/memory.h"
#include "common/run/raft_journal.h"
#include "tests/lib/test.h"

enum { DISK_GROUP = 7, DISK_FILE_BYTES = 1 << 20 };

struct disk {
    struct raft_storage *storage; /* of DISK_GROUP */
    struct raft_memory *memory;   /* one of the two */
    struct raft_journal *journal;
    char *dir;
    struct raft_journal_options options;
    uint64_t wseq;
    raft_term term;
};

struct disk *disk_memory(void);
struct disk *disk_journal(void);
void disk_free(struct disk **self);
/* A journal in this folder, which stays. Returns the error. */
int disk_open_at(struct disk *self, const char *dir);

/* Everything written is durable. */
void disk_settle(struct disk *self);
/* Submit, wait a moment for the disk, poll. */
void disk_turn(struct disk *self);
/* The process ends after that, and another begins. */
void disk_reopen(struct disk *self);
/* From now on reads and writes of files fail. */
void disk_break(struct disk *self);

struct raft_boot disk_boot(const struct disk *self);
/* One write each; settled. */
void disk_hard(struct disk *self, raft_term term, uint32_t vote, raft_index commit);
/* Entries first .. last of this term, with payloads that follow from index and term; what lies there is cut. */
void disk_append(struct disk *self, raft_term term, raft_index first, raft_index last);
/* The same without settling: 0 or the error of write. */
int disk_queue(struct disk *self, raft_term term, raft_index first, raft_index last);
void disk_config(struct disk *self, raft_term term, raft_index index, uint32_t voters);
struct raft_members disk_members(uint32_t voters);
/* Each entry in [first, last] has this term and its payload. */
void disk_expect(const struct disk *self, raft_term term, raft_index first, raft_index last);
struct slice disk_slice(const char *text);

#define OVER_EACH_DISK(name)                                                                       \
    static void body_##name(struct disk *disk);                                                    \
    TEST(name##_in_memory)                                                                         \
    {                                                                                              \
        struct disk *disk = disk_memory();                                                         \
        body_##name(disk);                                                                         \
        disk_free(&disk);                                                                          \
    }                                                                                              \
    TEST(name##_in_the_journal)                                                                    \
    {                                                                                              \
        struct disk *disk = disk_journal();                                                        \
        body_##name(disk);                                                                         \
        disk_free(&disk);                                                                          \
    }                                                                                              \
    static void body_##name(struct disk *disk)

#endif
