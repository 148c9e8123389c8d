/* What is the journal's own: many groups in one pass, damage, room that is given back, groups that go, a journal that is full for a moment. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "tests/unit/common/raft_storage/disk.h"

/* --- the bytes of the journal --- */

/* Change a byte `offset` behind the first place in this file where the text lies. */
static bool damage(const char *path, const char *text, long offset)
{
    FILE *file = fopen(path, "r+b");
    ck_assert_ptr_nonnull(file);
    char *bytes = mem_new(4 << 20);
    size_t size = fread(bytes, 1, 4 << 20, file);
    char *at = memmem(bytes, size, text, strlen(text));
    if (at != NULL) {
        ck_assert_int_eq(fseek(file, at - bytes + offset, SEEK_SET), 0);
        ck_assert_int_eq(fputc(at[offset] ^ 0x55, file), (at[offset] ^ 0x55) & 255);
    }
    ck_assert_int_eq(fclose(file), 0);
    mem_free(bytes);
    return at != NULL;
}

/* In whichever file of the journal it lies. */
static void damage_journal(const struct disk *disk, const char *text, long offset)
{
    char path[800];
    bool done = false;
    (void) snprintf(path, sizeof(path), "%s/journal", disk->dir);
    DIR *list = opendir(path);
    ck_assert_ptr_nonnull(list);
    for (struct dirent *item = readdir(list); item != NULL; item = readdir(list)) {
        if (strstr(item->d_name, ".jnl") != NULL) {
            (void) snprintf(path, sizeof(path), "%s/journal/%s", disk->dir, item->d_name);
            done |= damage(path, text, offset);
        }
    }
    (void) closedir(list);
    ck_assert(done);
}

static int reopen_damaged(struct disk *disk, const char *text, long offset)
{
    raft_journal_close_group(disk->journal, DISK_GROUP);
    raft_journal_close(&disk->journal);
    damage_journal(disk, text, offset);
    disk->wseq = 0;
    disk->storage = NULL;
    return disk_open_at(disk, disk->dir);
}

/* --- damage --- */

TEST(a_damaged_payload_makes_its_group_suspect_from_there)
{
    struct disk *disk = disk_journal();
    disk_hard(disk, 3, 1, 0);
    disk_append(disk, 3, 1, 20);
    ck_assert_int_eq(reopen_damaged(disk, "entry 12 of", 2), 0);
    struct raft_boot boot = disk_boot(disk);
    ck_assert_uint_eq(boot.suspect_from, 12);
    ck_assert_uint_eq(boot.last, 20);
    ck_assert_uint_eq(boot.term, 3);
    disk_expect(disk, 3, 1, 11);
    disk_free(&disk);
}

TEST(what_was_cut_or_compacted_may_be_damaged)
{
    struct disk *disk = disk_journal();
    disk_hard(disk, 3, 1, 0);
    disk_append(disk, 3, 1, 20);
    disk_hard(disk, 4, 1, 0);
    disk_append(disk, 4, 11, 20);
    ck_assert_int_eq(disk->storage->ops->compact(disk->storage, 5), 0);
    disk_append(disk, 4, 21, 21);
    ck_assert_int_eq(reopen_damaged(disk, "entry 12 of term 3", 2), 0);
    ck_assert_uint_eq(disk_boot(disk).suspect_from, 0);
    ck_assert_int_eq(reopen_damaged(disk, "entry 4 of term 3", 2), 0);
    ck_assert_uint_eq(disk_boot(disk).suspect_from, 0);
    ck_assert_uint_eq(disk_boot(disk).last, 21);
    disk_expect(disk, 4, 11, 21);
    disk_free(&disk);
}

TEST(a_repair_ends_the_suspicion_for_good)
{
    struct disk *disk = disk_journal();
    disk_hard(disk, 3, 1, 0);
    disk_append(disk, 3, 1, 20);
    ck_assert_int_eq(reopen_damaged(disk, "entry 12 of", 2), 0);
    ck_assert_uint_eq(disk_boot(disk).suspect_from, 12);
    struct raft_write write = {.wseq = ++disk->wseq,
                               .flags = RAFT_WRITE_HARD | RAFT_WRITE_TRUNCATE | RAFT_WRITE_APPEND,
                               .term = 5,
                               .suspect_last = 20,
                               .truncate_from = 12,
                               .first = 12,
                               .last = 12};
    struct slice payload = disk_slice("entry 12 of term 5");
    struct raft_entry entry = {.term = 5, .bytes = 18};
    ck_assert_int_eq(raft_storage_put(disk->storage, 12, &entry, 1, &payload), 0);
    ck_assert_int_eq(disk->storage->ops->write(disk->storage, &write), 0);
    disk_settle(disk);
    slice_release(&payload);
    disk_reopen(disk);
    ck_assert_uint_eq(disk_boot(disk).suspect_from, 0);
    ck_assert_uint_eq(disk_boot(disk).suspect_last, 20);
    ck_assert_uint_eq(disk_boot(disk).last, 12);
    disk_expect(disk, 5, 12, 12);
    disk_free(&disk);
}

/* The header is gone: whose frame it was, nobody knows. Headers are 80 bytes. */
TEST(an_unknown_frame_makes_the_group_suspect_behind_its_commit_index)
{
    struct disk *disk = disk_journal();
    disk_hard(disk, 3, 1, 0);
    disk_append(disk, 3, 1, 10);
    disk_hard(disk, 3, 1, 8);
    disk_append(disk, 3, 11, 20);
    disk_hard(disk, 3, 1, 9); /* a vote can't be lost: this is newer than the damage */
    ck_assert_int_eq(reopen_damaged(disk, "entry 15 of", -40), 0);
    struct raft_boot boot = disk_boot(disk);
    ck_assert_uint_eq(boot.suspect_from, 9);
    ck_assert_uint_eq(boot.last, 20);
    ck_assert_uint_eq(boot.suspect_last, UINT64_MAX);
    disk_expect(disk, 3, 1, 8);
    disk_free(&disk);
}

TEST(a_group_that_may_have_lost_a_vote_is_not_opened_until_it_is_dropped)
{
    struct disk *disk = disk_journal();
    struct raft_storage *storage = NULL;
    disk_hard(disk, 3, 1, 0);
    disk_append(disk, 3, 1, 20);
    ck_assert_int_eq(reopen_damaged(disk, "entry 15 of", -40), ERR_CORRUPT);
    ck_assert_int_eq(raft_journal_open_group(disk->journal, 99, false, NULL, &storage),
                     ERR_CORRUPT); /* all of it may have been there */
    ck_assert_int_eq(raft_journal_open_group(disk->journal, 100, true, NULL, &storage), 0);
    raft_journal_close_group(disk->journal, 100);
    ck_assert_int_eq(raft_journal_drop(disk->journal, DISK_GROUP), 0);
    ck_assert_int_eq(raft_journal_open_group(disk->journal, DISK_GROUP, true, disk, &disk->storage),
                     0);
    ck_assert_uint_eq(disk_boot(disk).term, 0);
    disk_hard(disk, 7, 1, 0);
    disk_append(disk, 7, 1, 2);
    disk_reopen(disk);
    ck_assert_uint_eq(disk_boot(disk).last, 2);
    ck_assert_uint_eq(disk_boot(disk).suspect_from, 0);
    disk_free(&disk);
}

TEST(a_repair_of_what_nobody_knows_ends_the_suspicion_until_there_is_new_damage)
{
    struct disk *disk = disk_journal();
    disk_hard(disk, 3, 1, 0);
    disk_append(disk, 3, 1, 10);
    disk_hard(disk, 3, 1, 10);
    disk_append(disk, 3, 11, 20);
    disk_hard(disk, 4, 1, 10);
    ck_assert_int_eq(reopen_damaged(disk, "entry 15 of", -40), 0);
    ck_assert_uint_eq(disk_boot(disk).suspect_last, UINT64_MAX);
    ck_assert_uint_eq(disk_boot(disk).suspect_from, 11);
    disk_reopen(disk); /* nothing was repaired yet */
    ck_assert_uint_eq(disk_boot(disk).suspect_last, UINT64_MAX);
    raft_trail_cut(&disk->storage->trail, 11);
    struct raft_write write = {.wseq = ++disk->wseq,
                               .flags = RAFT_WRITE_HARD | RAFT_WRITE_TRUNCATE,
                               .term = 5,
                               .suspect_last = UINT64_MAX,
                               .truncate_from = 11};
    ck_assert_int_eq(disk->storage->ops->write(disk->storage, &write), 0);
    disk_append(disk, 5, 11, 20);
    disk_hard(disk, 5, 1, 20); /* suspect_last is 0: all is there again */
    disk_append(disk, 5, 21, 30);
    disk_hard(disk, 5, 2, 20);
    disk_reopen(disk);
    ck_assert_uint_eq(disk_boot(disk).suspect_last, 0);
    ck_assert_uint_eq(disk_boot(disk).suspect_from, 0);
    disk_expect(disk, 5, 11, 30);
    ck_assert_int_eq(reopen_damaged(disk, "entry 25 of", -40), 0);
    ck_assert_uint_eq(disk_boot(disk).suspect_last, UINT64_MAX);
    ck_assert_uint_eq(disk_boot(disk).suspect_from, 21);
    disk_free(&disk);
}

TEST(a_lost_vote_of_a_known_term_counts_as_given)
{
    struct disk *disk = disk_journal();
    disk_hard(disk, 3, 1, 0);
    disk_append(disk, 3, 1, 2);
    disk_hard(disk, 6, 0x41424344, 0); /* "DCBA" in the payload */
    disk_append(disk, 6, 3, 3);
    ck_assert_int_eq(reopen_damaged(disk, "DCBA", 0), 0);
    struct raft_boot boot = disk_boot(disk);
    ck_assert_uint_eq(boot.term, 6);
    ck_assert_uint_eq(boot.vote.node, UINT32_MAX);
    ck_assert_uint_eq(boot.suspect_from, 0);
    ck_assert_uint_eq(boot.last, 3);
    disk_free(&disk);
}

TEST(damage_that_is_found_when_reading_is_told)
{
    struct disk *disk = disk_journal();
    struct slice read;
    disk_hard(disk, 3, 1, 0);
    disk_append(disk, 3, 1, 60); /* more than memory keeps: the first ones are on disk only */
    damage_journal(disk, "entry 2 of", 2);
    ck_assert_int_eq(disk->storage->ops->read(disk->storage, 2, &read), ERR_CORRUPT);
    disk_free(&disk);
}

TEST(young_entries_are_applied_without_reading_the_file)
{
    struct disk *disk = disk_journal();
    struct slice read;
    disk_hard(disk, 1, 1, 0);
    disk_append(disk, 1, 1, 60); /* memory keeps 256 bytes of them */
    disk_break(disk);
    disk_expect(disk, 1, 55, 60);
    ck_assert_int_eq(disk->storage->ops->read(disk->storage, 1, &read), ERR_IO);
    disk_free(&disk);
}

TEST(a_damaged_snapshot_does_not_pass)
{
    struct disk *disk = disk_journal();
    struct slice state = disk_slice("the state");
    char path[700];
    disk_hard(disk, 1, 1, 0);
    disk_append(disk, 1, 1, 5);
    ck_assert_int_eq(disk->storage->ops->snapshot_save(disk->storage, 5, &state), 0);
    disk_append(disk, 1, 6, 6);
    slice_release(&state);
    (void) snprintf(path, sizeof(path), "%s/snapshots/%016x-%016x-1.snapshot", disk->dir,
                    DISK_GROUP, 5);
    raft_journal_close_group(disk->journal, DISK_GROUP);
    raft_journal_close(&disk->journal);
    ck_assert(damage(path, "the state", 1));
    disk->storage = NULL;
    ck_assert_int_eq(disk_open_at(disk, disk->dir), ERR_CORRUPT);
    disk_free(&disk);
}

/* --- many groups --- */

static void write_one(struct raft_storage *storage, uint64_t wseq, raft_term term, raft_index index,
                      uint64_t group)
{
    char text[64];
    (void) snprintf(text, sizeof(text), "group %u entry %u", (unsigned) group, (unsigned) index);
    struct slice payload = disk_slice(text);
    struct raft_entry entry = {.term = term, .bytes = (uint32_t) payload.bytes.size};
    struct raft_write write = {.wseq = wseq,
                               .flags = RAFT_WRITE_HARD | RAFT_WRITE_APPEND,
                               .term = term,
                               .vote = {(uint32_t) group, 1},
                               .first = index,
                               .last = index};
    ck_assert_int_eq(raft_storage_put(storage, index, &entry, 1, &payload), 0);
    ck_assert_int_eq(storage->ops->write(storage, &write), 0);
    slice_release(&payload);
}

static unsigned told;

static void count_news(void *ud)
{
    (void) ud;
    told++;
}

static void all_durable(struct disk *disk, struct raft_storage **storages, unsigned count,
                        uint64_t wseq)
{
    for (unsigned i = 0; i < count;) {
        uint64_t durable = 0;
        ck_assert_int_eq(storages[i]->ops->durable(storages[i], &durable), 0);
        if (durable == wseq) {
            i++;
            continue;
        }
        raft_journal_submit(disk->journal);
        (void) raft_journal_poll(disk->journal, count_news);
    }
}

enum { MANY = 1000, EACH = 5 };

TEST_WITHIN(a_thousand_groups_share_syncs_and_come_back_in_one_pass, 120)
{
    struct disk *disk = disk_journal();
    struct raft_storage *storages[MANY];
    struct journal_stats stats;
    for (uint64_t i = 0; i < MANY; i++) {
        ck_assert_int_eq(raft_journal_open_group(disk->journal, 100 + i, true, NULL, &storages[i]),
                         0);
    }
    for (uint64_t k = 1; k <= EACH; k++) {
        for (uint64_t i = 0; i < MANY; i++) {
            write_one(storages[i], k, k, k, 100 + i);
        }
        all_durable(disk, storages, MANY, k);
    }
    journal_stats_read(raft_journal_journal(disk->journal), &stats);
    ck_assert_uint_lt(stats.rounds, MANY); /* of 5000 writes */
    ck_assert_uint_ge(told, MANY);
    for (uint64_t i = 0; i < MANY; i++) {
        raft_journal_close_group(disk->journal, 100 + i);
    }
    disk_reopen(disk);
    size_t cursor = 0;
    unsigned found = 0;
    for (uint64_t group; (group = raft_journal_next_group(disk->journal, &cursor)) != 0;) {
        struct raft_storage *storage = NULL;
        struct raft_boot boot;
        struct slice read;
        char text[64];
        if (group < 100) {
            continue;
        }
        ck_assert_int_eq(raft_journal_open_group(disk->journal, group, false, NULL, &storage), 0);
        storage->ops->boot(storage, 0, &boot);
        ck_assert_uint_eq(boot.last, EACH);
        ck_assert_uint_eq(boot.vote.node, group);
        ck_assert_int_eq(storage->ops->read(storage, 3, &read), 0);
        (void) snprintf(text, sizeof(text), "group %u entry 3", (unsigned) group);
        ck_assert(span_equal(read.bytes, span_of(text)));
        slice_release(&read);
        raft_journal_close_group(disk->journal, group);
        found++;
    }
    ck_assert_uint_eq(found, MANY);
    disk_free(&disk);
}

TEST_WITHIN(files_that_nobody_needs_are_given_back_and_nothing_is_lost, 120)
{
    struct disk *disk = disk_journal();
    struct raft_storage *idle = NULL;
    struct raft_members members;
    struct raft_members three = disk_members(3);
    ck_assert_int_eq(raft_journal_open_group(disk->journal, 50, true, NULL, &idle), 0);
    write_one(idle, 1, 4, 1,
              50); /* and then sleeps: its entry and hard state hold the first file */
    disk_hard(disk, 1, 1, 0);
    disk_config(disk, 1, 1, 3);
    struct journal_stats stats;
    raft_index last = 1;
    for (unsigned round = 0; round < 40; round++) {
        disk_append(disk, 1, last + 1, last + 400);
        last += 400;
        ck_assert_int_eq(disk->storage->ops->compact(disk->storage, last - 10), 0);
        if (round == 20) {
            struct raft_storage *storage = idle;
            ck_assert_int_eq(storage->ops->compact(storage, 1), 0);
        }
        raft_journal_tidy(disk->journal);
    }
    for (unsigned i = 0; i < 3; i++) { /* what was written anew is durable, then the old may go */
        disk_append(disk, 1, last + 1, last + 1);
        last++;
        raft_journal_tidy(disk->journal);
    }
    journal_stats_read(raft_journal_journal(disk->journal), &stats);
    ck_assert_uint_le(stats.files, 2);
    raft_journal_close_group(disk->journal, 50);
    disk_reopen(disk);
    struct raft_boot boot = disk_boot(disk);
    ck_assert_uint_eq(boot.last, last);
    ck_assert_uint_eq(boot.compacted, last - 13);
    ck_assert_uint_eq(boot.suspect_from, 0);
    ck_assert_uint_eq(raft_trail_reads.members_at(&disk->storage->trail, last, &members), 1);
    ck_assert(raft_members_equal(&members, &three));
    disk_expect(disk, 1, last - 12, last);
    ck_assert_int_eq(raft_journal_open_group(disk->journal, 50, false, NULL, &idle), 0);
    idle->ops->boot(idle, 0, &boot);
    ck_assert_uint_eq(boot.term, 4);
    ck_assert_uint_eq(boot.vote.node, 50);
    ck_assert_uint_eq(boot.compacted, 1);
    raft_journal_close_group(disk->journal, 50);
    disk_free(&disk);
}

TEST_WITHIN(a_log_whose_beginning_was_given_back_may_have_been_cut_below_it, 120)
{
    struct disk *disk = disk_journal();
    struct raft_storage *other = NULL;
    disk_hard(disk, 1, 1, 0);
    disk_append(disk, 1, 1, 50);
    raft_index last = 50;
    uint64_t first_file = journal_durable_upto(raft_journal_journal(disk->journal)) >> 32;
    while (journal_durable_upto(raft_journal_journal(disk->journal)) >> 32 == first_file) {
        disk_append(disk, 1, last + 1, last + 100); /* into the second file */
        last += 100;
    }
    ck_assert_int_eq(raft_journal_open_group(disk->journal, 50, true, NULL, &other), 0);
    write_one(other, 1, 1, 1, 50); /* holds the second file */
    disk_hard(disk, 2, 1, 0);
    disk_append(disk, 2, 40, 60); /* cuts into the first */
    disk_append(disk, 2, 61, last + 20);
    ck_assert_int_eq(disk->storage->ops->compact(disk->storage, last), 0);
    disk_hard(disk, 2, 1, last);
    raft_journal_tidy(disk->journal);
    disk_append(disk, 2, last + 21, last + 21);
    raft_journal_tidy(disk->journal);
    raft_journal_close_group(disk->journal, 50);
    disk_reopen(disk);
    ck_assert_uint_eq(disk_boot(disk).suspect_from, 0);
    ck_assert_uint_eq(disk_boot(disk).suspect_last, 0);
    ck_assert_uint_eq(disk_boot(disk).compacted, last);
    disk_expect(disk, 2, last + 1, last + 21);
    disk_free(&disk);
}

TEST(a_dropped_group_stays_gone)
{
    struct disk *disk = disk_journal();
    struct slice state = disk_slice("state");
    disk_hard(disk, 1, 1, 0);
    disk_append(disk, 1, 1, 5);
    ck_assert_int_eq(disk->storage->ops->snapshot_save(disk->storage, 5, &state), 0);
    disk_append(disk, 1, 6, 6);
    slice_release(&state);
    raft_journal_close_group(disk->journal, DISK_GROUP);
    ck_assert_int_eq(raft_journal_drop(disk->journal, DISK_GROUP), 0);
    raft_journal_close(&disk->journal);
    disk->storage = NULL;
    disk->wseq = 0;
    ck_assert_int_eq(disk_open_at(disk, disk->dir), 0);
    ck_assert_uint_eq(disk_boot(disk).term, 0);
    ck_assert_uint_eq(disk_boot(disk).last, 0);
    disk_free(&disk);
}

TEST(an_old_snapshot_file_goes)
{
    struct disk *disk = disk_journal();
    char path[700];
    unsigned files = 0;
    disk_hard(disk, 1, 1, 0);
    disk_append(disk, 1, 1, 30);
    for (raft_index i = 10; i <= 30; i += 10) {
        struct slice state = disk_slice("state");
        ck_assert_int_eq(disk->storage->ops->snapshot_save(disk->storage, i, &state), 0);
        slice_release(&state);
        disk_hard(disk, 1, 1, i);
    }
    (void) snprintf(path, sizeof(path), "%s/snapshots", disk->dir);
    DIR *list = opendir(path);
    for (struct dirent *item = readdir(list); item != NULL; item = readdir(list)) {
        files += item->d_name[0] != '.';
    }
    (void) closedir(list);
    ck_assert_uint_eq(files, 1);
    disk_free(&disk);
}

TEST_WITHIN(more_than_the_journal_takes_at_once_waits_in_order, 120)
{
    struct disk *disk = disk_journal();
    disk->options.journal.queue_bytes_max = 64 << 10;
    disk_reopen(disk);
    disk_hard(disk, 1, 1, 0);
    bool was_busy = false;
    for (raft_index i = 1; i <= 2000; i++) {
        ck_assert_int_eq(disk_queue(disk, 1, i, i), 0);
        was_busy |= raft_journal_is_busy(disk->journal);
    }
    ck_assert(was_busy);
    disk_settle(disk);
    ck_assert(!raft_journal_is_busy(disk->journal));
    disk_reopen(disk);
    ck_assert_uint_eq(disk_boot(disk).last, 2000);
    disk_expect(disk, 1, 1, 2000);
    disk_free(&disk);
}

TEST(a_journal_without_room_says_so_and_hard_states_go_on)
{
    struct disk *disk = disk_journal();
    ck_assert(!raft_journal_is_full(disk->journal));
    disk->options.journal.disk_free_min = UINT64_MAX / 2;
    disk_reopen(disk);
    disk_hard(disk, 3, 1, 0);
    ck_assert(raft_journal_is_full(disk->journal));
    disk_reopen(disk);
    ck_assert_uint_eq(disk_boot(disk).term, 3);
    disk_free(&disk);
}

static uint64_t files_of(struct disk *disk)
{
    struct journal_stats stats;
    journal_stats_read(raft_journal_journal(disk->journal), &stats);
    return stats.files;
}

TEST_WITHIN(no_file_goes_before_what_was_in_it_is_durable_elsewhere, 120)
{
    for (unsigned which = 0; which < 4; which++) {
        struct disk *disk = disk_journal();
        struct raft_storage *idle = NULL;
        ck_assert_int_eq(raft_journal_open_group(disk->journal, 50, true, NULL, &idle), 0);
        write_one(idle, 1, 4, 1, 50);
        all_durable(disk, &idle, 1, 1);
        if (which != 0) { /* else its entry holds the file */
            ck_assert_int_eq(idle->ops->compact(idle, 1), 0);
        }
        raft_index last = 0;
        disk_hard(disk, 1, 1, 0);
        uint64_t first = journal_durable_upto(raft_journal_journal(disk->journal)) >> 32;
        while (journal_durable_upto(raft_journal_journal(disk->journal)) >> 32 == first) {
            disk_append(disk, 1, last + 1, last + 100);
            last += 100;
        }
        disk_append(disk, 1, last + 1, last + 10);
        ck_assert_int_eq(disk->storage->ops->compact(disk->storage, last + 5), 0);
        disk_hard(disk, 1, 1, last);
        if (which == 2) { /* its hard state is young, its base is not */
            struct raft_write hard = {.wseq = 2, .flags = RAFT_WRITE_HARD, .term = 4};
            ck_assert_int_eq(idle->ops->write(idle, &hard), 0);
            all_durable(disk, &idle, 1, 2);
        } else if (which == 3) { /* the other way round */
            ck_assert_int_eq(idle->ops->compact(idle, 1), 0);
            disk_hard(disk, 1, 2, last);
        }
        uint64_t before = files_of(disk);
        raft_journal_tidy(disk->journal); /* written anew, but not even handed to the disk */
        ck_assert_uint_eq(files_of(disk), before);
        disk_append(disk, 1, last + 11, last + 11);
        raft_journal_tidy(disk->journal);
        ck_assert_uint_eq(files_of(disk), which == 0 ? before : before - 1);
        raft_journal_close_group(disk->journal, 50);
        disk_free(&disk);
    }
}

/* One entry of that many bytes. */
static void put_large(struct disk *disk, raft_index index, size_t size)
{
    struct payload *payload = payload_new(size);
    memset(payload_data(payload), 'x', size);
    struct slice slice = {payload, payload_span(payload)};
    struct raft_entry entry = {.term = 1, .bytes = (uint32_t) size};
    ck_assert_int_eq(raft_storage_put(disk->storage, index, &entry, 1, &slice), 0);
    slice_release(&slice);
}

TEST_WITHIN(a_write_is_durable_with_its_last_frame_and_frames_keep_their_order, 120)
{
    struct disk *disk = disk_journal();
    disk->options.journal.queue_bytes_max = 64 << 10;
    disk_reopen(disk);
    for (raft_index i = 1; i <= 100; i++) { /* small ones would fit where large ones do not */
        put_large(disk, i, i % 2 == 0 ? 30000 : 10);
    }
    struct raft_write write = {.wseq = ++disk->wseq,
                               .flags = RAFT_WRITE_HARD | RAFT_WRITE_APPEND,
                               .term = 1,
                               .first = 1,
                               .last = 100};
    ck_assert_int_eq(disk->storage->ops->write(disk->storage, &write), 0);
    ck_assert(raft_journal_is_busy(disk->journal));
    for (uint64_t wseq = 0; wseq != disk->wseq;) {
        ck_assert_int_eq(disk->storage->ops->durable(disk->storage, &wseq), 0);
        ck_assert(wseq == 0 || !raft_journal_is_busy(disk->journal));
        disk_turn(disk);
    }
    disk_reopen(disk);
    ck_assert_uint_eq(disk_boot(disk).last, 100);
    ck_assert_uint_eq(disk_boot(disk).suspect_from, 0);
    disk_free(&disk);
}
