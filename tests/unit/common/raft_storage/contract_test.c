/* What every storage must do: the contracts of async-raft's reference store, and what the core needs besides. Each runs over each driver. */
#include <string.h>

#include "common/base/err.h"
#include "tests/unit/common/raft_storage/disk.h"

OVER_EACH_DISK(a_fresh_storage_is_pristine)
{
    struct raft_boot zero;
    memset(&zero, 0, sizeof(zero));
    struct raft_boot boot = disk_boot(disk);
    ck_assert_mem_eq(&boot, &zero, sizeof(zero));
}

OVER_EACH_DISK(a_fresh_storage_has_no_members)
{
    struct raft_members members;
    ck_assert_uint_eq(raft_trail_reads.members_at(&disk->storage->trail, 0, &members), 0);
    ck_assert_uint_eq(members.count, 0);
}

OVER_EACH_DISK(members_come_back_from_the_log)
{
    disk_hard(disk, 1, 1, 0);
    disk_config(disk, 1, 1, 3);
    disk_append(disk, 1, 2, 4);
    disk_config(disk, 1, 5, 5);
    disk_reopen(disk);
    struct raft_members members;
    struct raft_members three = disk_members(3);
    struct raft_members five = disk_members(5);
    ck_assert_uint_eq(raft_trail_reads.members_at(&disk->storage->trail, 4, &members), 1);
    ck_assert(raft_members_equal(&members, &three));
    ck_assert_uint_eq(raft_trail_reads.members_at(&disk->storage->trail, 5, &members), 5);
    ck_assert(raft_members_equal(&members, &five));
}

OVER_EACH_DISK(addresses_come_back_with_the_members)
{
    struct raft_members members = disk_members(3);
    struct raft_members found;
    struct raft_entry entry = {.term = 1, .type = RAFT_ENTRY_CONFIG, .members = &members};
    ck_assert_int_eq(raft_members_set_address(&members, (struct raft_id){2, 1}, "somewhere", 9), 0);
    disk_hard(disk, 1, 1, 0);
    disk_append(disk, 1, 1, 2);
    ck_assert_int_eq(raft_storage_put(disk->storage, 3, &entry, 1, NULL), 0);
    struct raft_write write = {
        .wseq = ++disk->wseq, .flags = RAFT_WRITE_APPEND, .term = 1, .first = 3, .last = 3};
    ck_assert_int_eq(disk->storage->ops->write(disk->storage, &write), 0);
    disk_append(disk, 1, 4, 9);
    disk_reopen(disk);
    ck_assert_uint_eq(raft_trail_reads.members_at(&disk->storage->trail, 9, &found), 3);
    ck_assert(raft_members_equal(&found, &members));
    ck_assert_int_eq(disk->storage->ops->compact(disk->storage, 6), 0); /* now it is the base's */
    disk_append(disk, 1, 10, 10);
    disk_reopen(disk);
    ck_assert_uint_eq(raft_trail_reads.members_at(&disk->storage->trail, 9, &found), 3);
    ck_assert(raft_members_equal(&found, &members));
}

OVER_EACH_DISK(members_that_were_cut_are_forgotten)
{
    disk_hard(disk, 1, 1, 0);
    disk_config(disk, 1, 1, 3);
    disk_config(disk, 1, 2, 5);
    disk_config(disk, 1, 3, 4); /* two at once */
    disk_hard(disk, 2, 1, 0);
    disk_append(disk, 2, 2, 3);
    disk_reopen(disk);
    struct raft_members members;
    struct raft_members three = disk_members(3);
    ck_assert_uint_eq(raft_trail_reads.members_at(&disk->storage->trail, 3, &members), 1);
    ck_assert(raft_members_equal(&members, &three));
}

OVER_EACH_DISK(hard_state_comes_back)
{
    disk_hard(disk, 3, 2, 0);
    disk_hard(disk, 4, 5, 0);
    disk_reopen(disk);
    struct raft_boot boot = disk_boot(disk);
    ck_assert_uint_eq(boot.term, 4);
    ck_assert_uint_eq(boot.vote.node, 5);
    ck_assert_uint_eq(boot.vote.incarnation, 1);
    ck_assert_uint_eq(boot.last, 0);
}

OVER_EACH_DISK(the_initial_state_is_what_was_written_last)
{
    disk_hard(disk, 2, 1, 0);
    disk_append(disk, 2, 1, 20);
    disk_hard(disk, 2, 1, 15);
    disk_reopen(disk);
    struct raft_boot boot = disk_boot(disk);
    ck_assert_uint_eq(boot.term, 2);
    ck_assert_uint_eq(boot.last, 20);
    ck_assert_uint_eq(boot.commit, 15);
    ck_assert_uint_eq(boot.compacted, 0);
    ck_assert_uint_eq(boot.applied, 0);
    disk->storage->ops->boot(disk->storage, 12, &boot);
    ck_assert_uint_eq(boot.applied, 12);
}

OVER_EACH_DISK(entries_outside_the_log_are_not_found)
{
    struct slice read;
    disk_hard(disk, 1, 1, 0);
    disk_append(disk, 1, 1, 3);
    ck_assert_int_eq(disk->storage->ops->read(disk->storage, 0, &read), ERR_NOT_FOUND);
    ck_assert_int_eq(disk->storage->ops->read(disk->storage, 4, &read), ERR_NOT_FOUND);
}

OVER_EACH_DISK(entries_come_back_in_order)
{
    disk_hard(disk, 1, 1, 0);
    disk_append(disk, 1, 1, 100);
    disk_expect(disk, 1, 1, 100);
    disk_reopen(disk);
    ck_assert_uint_eq(disk_boot(disk).last, 100);
    disk_expect(disk, 1, 1, 100);
}

OVER_EACH_DISK(one_entry_can_be_appended)
{
    disk_hard(disk, 1, 1, 0);
    disk_append(disk, 1, 1, 1);
    disk_reopen(disk);
    disk_append(disk, 1, 2, 2);
    disk_reopen(disk);
    disk_expect(disk, 1, 1, 2);
    ck_assert_uint_eq(disk_boot(disk).last, 2);
}

OVER_EACH_DISK(a_truncation_cuts_to_the_end)
{
    disk_hard(disk, 1, 1, 0);
    disk_append(disk, 1, 1, 10);
    disk_hard(disk, 2, 1, 0);
    disk_append(disk, 2, 6, 7);
    disk_expect(disk, 1, 1, 5);
    disk_expect(disk, 2, 6, 7);
    disk_reopen(disk);
    ck_assert_uint_eq(disk_boot(disk).last, 7);
    disk_expect(disk, 1, 1, 5);
    disk_expect(disk, 2, 6, 7);
}

OVER_EACH_DISK(a_truncation_behind_the_end_cuts_nothing)
{
    disk_hard(disk, 1, 1, 0);
    disk_append(disk, 1, 1, 10);
    raft_trail_cut(&disk->storage->trail, 11);
    disk_append(disk, 1, 11, 11);
    disk_reopen(disk);
    ck_assert_uint_eq(disk_boot(disk).last, 11);
    disk_expect(disk, 1, 1, 11);
}

OVER_EACH_DISK(entries_can_be_replaced_again_and_again)
{
    for (raft_term term = 1; term <= 20; term++) {
        disk_hard(disk, term, 1, 0);
        disk_append(disk, term, term, term + 5);
    }
    disk_reopen(disk);
    ck_assert_uint_eq(disk_boot(disk).last, 25);
    for (raft_index i = 1; i < 20; i++) {
        disk_expect(disk, i, i, i);
    }
    disk_expect(disk, 20, 20, 25);
}

OVER_EACH_DISK(an_empty_entry_is_an_entry)
{
    struct raft_entry blank = {.term = 1, .type = RAFT_ENTRY_BLANK};
    struct raft_write append = {
        .flags = RAFT_WRITE_APPEND, .first = 1, .last = 1, .term = 1, .wseq = disk->wseq + 2};
    disk_hard(disk, 1, 1, 0);
    ck_assert_int_eq(raft_storage_put(disk->storage, 1, &blank, 1, NULL), 0);
    ck_assert_int_eq(disk->storage->ops->write(disk->storage, &append), 0);
    disk->wseq++;
    disk_settle(disk);
    disk_reopen(disk);
    struct slice read;
    ck_assert_int_eq(disk->storage->ops->read(disk->storage, 1, &read), 0);
    ck_assert_uint_eq(read.bytes.size, 0);
    ck_assert_uint_eq(raft_trail_entry(&disk->storage->trail, 1).type, RAFT_ENTRY_BLANK);
}

OVER_EACH_DISK(a_cut_takes_as_many_entries_as_fit)
{
    uint32_t bytes = 0;
    disk_hard(disk, 1, 1, 0);
    disk_append(disk, 1, 1, 9);
    uint32_t one = raft_trail_entry(&disk->storage->trail, 1).bytes;
    disk_reopen(disk);
    ck_assert_uint_eq(raft_trail_reads.cut(&disk->storage->trail, 2, 9, 3 * one, &bytes), 4);
    ck_assert_uint_eq(bytes, 3 * one);
    ck_assert_uint_eq(raft_trail_reads.cut(&disk->storage->trail, 2, 9, 1, &bytes), 2);
    ck_assert_uint_eq(bytes, one);
}

OVER_EACH_DISK(a_snapshot_comes_back)
{
    struct slice state = disk_slice("all that was applied");
    disk_hard(disk, 1, 1, 0);
    disk_append(disk, 1, 1, 10);
    ck_assert_int_eq(disk->storage->ops->snapshot_save(disk->storage, 8, &state), 0);
    disk_hard(disk, 1, 1, 8);
    disk_reopen(disk);
    struct slice read;
    struct raft_snapshot snapshot = raft_trail_reads.snapshot(&disk->storage->trail);
    ck_assert_uint_eq(snapshot.index, 8);
    ck_assert_uint_eq(snapshot.term, 1);
    ck_assert_uint_eq(snapshot.bytes, state.bytes.size);
    ck_assert_int_eq(disk->storage->ops->snapshot_read(disk->storage, &read), 0);
    ck_assert(span_equal(read.bytes, state.bytes));
    slice_release(&read);
    slice_release(&state);
    disk_expect(disk, 1, 1, 10);
}

OVER_EACH_DISK(there_is_no_snapshot_at_first)
{
    struct slice read;
    ck_assert_int_eq(disk->storage->ops->snapshot_read(disk->storage, &read), ERR_NOT_FOUND);
    ck_assert_uint_eq(raft_trail_reads.snapshot(&disk->storage->trail).index, 0);
}

OVER_EACH_DISK(compaction_keeps_what_follows_and_the_members)
{
    struct slice state = disk_slice("state");
    disk_hard(disk, 1, 1, 0);
    disk_config(disk, 1, 1, 3);
    disk_append(disk, 1, 2, 50);
    ck_assert_int_eq(disk->storage->ops->snapshot_save(disk->storage, 40, &state), 0);
    ck_assert_int_eq(disk->storage->ops->compact(disk->storage, 35), 0);
    slice_release(&state);
    disk_hard(disk, 2, 2, 50);
    for (unsigned i = 0; i < 2; i++) {
        struct raft_members members;
        struct raft_members three = disk_members(3);
        struct raft_boot boot = disk_boot(disk);
        ck_assert_uint_eq(boot.compacted, 35);
        ck_assert_uint_eq(boot.compacted_term, 1);
        ck_assert_uint_eq(boot.last, 50);
        ck_assert_uint_eq(boot.applied, 35);
        ck_assert_uint_eq(raft_trail_reads.members_at(&disk->storage->trail, 36, &members), 1);
        ck_assert(raft_members_equal(&members, &three));
        disk_expect(disk, 1, 36, 50);
        disk_reopen(disk);
    }
}

static void receive(struct disk *disk, raft_index index, const char *text)
{
    struct raft_members members = disk_members(3);
    struct raft_message message = {
        .index = index, .index_term = 2, .total = strlen(text), .members = &members};
    struct raft_taken taken = {.chunk = true};
    for (size_t i = 0; i < strlen(text); i++) { /* one byte a chunk */
        message.offset = i;
        message.bytes = 1;
        taken.install = i + 1 == strlen(text);
        ck_assert_int_eq(
            raft_storage_take(disk->storage, &message, &taken, NULL, span_make(text + i, 1)), 0);
    }
    struct raft_write write = {.wseq = ++disk->wseq,
                               .flags = RAFT_WRITE_SNAPSHOT,
                               .term = 2,
                               .snapshot_index = index,
                               .snapshot_term = 2};
    ck_assert_int_eq(disk->storage->ops->write(disk->storage, &write), 0);
    disk_settle(disk);
}

OVER_EACH_DISK(a_received_snapshot_replaces_the_log)
{
    disk_hard(disk, 1, 1, 0);
    disk_append(disk, 1, 1, 10);
    disk_hard(disk, 2, 0, 0);
    receive(disk, 100, "the leader's state");
    disk_append(disk, 2, 101, 103);
    disk_reopen(disk);
    struct slice read;
    struct raft_boot boot = disk_boot(disk);
    ck_assert_uint_eq(boot.compacted, 100);
    ck_assert_uint_eq(boot.compacted_term, 2);
    ck_assert_uint_eq(boot.last, 103);
    ck_assert_uint_eq(boot.applied, 100);
    ck_assert_int_eq(disk->storage->ops->snapshot_read(disk->storage, &read), 0);
    ck_assert(span_equal(read.bytes, span_of("the leader's state")));
    slice_release(&read);
    disk_expect(disk, 2, 101, 103);
}

OVER_EACH_DISK(a_received_snapshot_behind_the_end_voids_what_lay_there)
{
    disk_hard(disk, 1, 1, 0);
    disk_append(disk, 1, 1, 10);
    disk_hard(disk, 2, 0, 0);
    receive(disk, 5, "state"); /* of another term than our entry 5 */
    disk_reopen(disk);
    struct raft_boot boot = disk_boot(disk);
    ck_assert_uint_eq(boot.compacted, 5);
    ck_assert_uint_eq(boot.last, 5);
}

OVER_EACH_DISK(a_chunk_out_of_place_is_refused)
{
    struct raft_message message = {.index = 5, .index_term = 1, .offset = 3, .bytes = 1};
    ck_assert_int_eq(disk->storage->ops->snapshot_put(disk->storage, &message, span_make("x", 1)),
                     ERR_USAGE);
}

OVER_EACH_DISK(a_storage_that_fails_says_so_and_acknowledges_nothing)
{
    disk_hard(disk, 1, 1, 0);
    uint64_t before = disk->wseq;
    disk_break(disk);
    int error = disk_queue(disk, 1, 1, 1);
    uint64_t wseq = before;
    while (error == 0) { /* the harness ends it if that never comes */
        disk_turn(disk);
        error = disk->storage->ops->durable(disk->storage, &wseq);
        ck_assert_uint_eq(wseq, before);
    }
    ck_assert(error == ERR_IO || error == ERR_POISONED);
}

TEST(a_write_in_memory_can_be_held_and_lost)
{
    uint64_t wseq = 0;
    struct disk *disk = disk_memory();
    disk_hard(disk, 1, 1, 0);
    raft_memory_hold(disk->memory, true);
    ck_assert_int_eq(disk_queue(disk, 1, 1, 2), 0);
    ck_assert_int_eq(disk_queue(disk, 1, 3, 4), 0);
    ck_assert_int_eq(disk->storage->ops->durable(disk->storage, &wseq), 0);
    ck_assert_uint_eq(wseq, 1);
    ck_assert_uint_eq(raft_memory_sync(disk->memory, 1), 1);
    ck_assert_int_eq(disk->storage->ops->durable(disk->storage, &wseq), 0);
    ck_assert_uint_eq(wseq, 2);
    disk_reopen(disk);
    ck_assert_uint_eq(disk_boot(disk).last, 2);
    disk_expect(disk, 1, 1, 2);
    disk_free(&disk);
}
