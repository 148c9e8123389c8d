/* What is on its way to the disk when a group is closed, or its entries are replaced. */
#include "tests/unit/common/raft_storage/disk.h"

TEST(a_write_of_an_earlier_opening_tells_the_next_owner_nothing)
{
    struct disk *disk = disk_journal();
    disk_hard(disk, 1, 1, 0);
    for (raft_index i = 1; i <= 6; i++) {
        ck_assert_int_eq(disk_queue(disk, 1, i, i), 0); /* not durable yet */
    }
    raft_journal_close_group(disk->journal, DISK_GROUP);
    ck_assert_int_eq(
        raft_journal_open_group(disk->journal, DISK_GROUP, false, disk, &disk->storage), 0);
    uint64_t wseq = 0;
    struct journal_stats stats = {0};
    while (stats.frames < 7) {
        disk_turn(disk);
        journal_stats_read(raft_journal_journal(disk->journal), &stats);
        ck_assert_int_eq(disk->storage->ops->durable(disk->storage, &wseq), 0);
        ck_assert_uint_eq(wseq, 0);
    }
    disk_turn(disk);
    ck_assert_int_eq(disk->storage->ops->durable(disk->storage, &wseq), 0);
    ck_assert_uint_eq(wseq, 0);
    disk->wseq = 0;
    disk_append(disk, 1, 7, 7);
    disk_expect(disk, 1, 1, 7);
    disk_free(&disk);
}

TEST(what_was_replaced_on_its_way_to_the_disk_is_not_read_from_there)
{
    struct disk *disk = disk_journal();
    disk_hard(disk, 1, 1, 0);
    ck_assert_int_eq(disk_queue(disk, 1, 1, 60), 0);
    ck_assert_int_eq(disk_queue(disk, 2, 20, 60), 0); /* before the first are anywhere */
    disk_settle(disk);
    disk_append(disk, 2, 61, 120); /* their payloads leave memory */
    disk_expect(disk, 1, 1, 19);
    disk_expect(disk, 2, 20, 120);
    disk_free(&disk);
}
