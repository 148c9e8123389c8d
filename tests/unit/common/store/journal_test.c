/* The journal without faults: what goes in becomes durable in order, and comes out again. */
#include "common/store/journal.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "tests/lib/test.h"
#include "tests/unit/common/store/journal_lib.h"

static struct seen seen;
static struct seen again;

static void assert_same_reports(const struct seen *a, const struct seen *b)
{
    ck_assert_uint_eq(a->extent_count, b->extent_count);
    ck_assert_uint_eq(a->control_count, b->control_count);
    for (size_t i = 0; i < a->extent_count; i++) {
        const struct extent *x = &a->extents[i];
        const struct extent *y = &b->extents[i];
        ck_assert_uint_eq(x->group, y->group);
        ck_assert_uint_eq(x->position, y->position);
        ck_assert_uint_eq(x->bytes, y->bytes);
        ck_assert_uint_eq(x->own_bytes, y->own_bytes);
        ck_assert_uint_eq(x->first_index, y->first_index);
        ck_assert_uint_eq(x->last_index, y->last_index);
        ck_assert_uint_eq(x->term, y->term);
        ck_assert_uint_eq(x->base, y->base);
        ck_assert_uint_eq(x->records, y->records);
        ck_assert_uint_eq(x->first_ts_us, y->first_ts_us);
        ck_assert_uint_eq(x->last_ts_us, y->last_ts_us);
        ck_assert_int_eq(x->has_control, y->has_control);
    }
    for (size_t i = 0; i < a->control_count; i++) {
        ck_assert_int_eq(a->controls[i].type, b->controls[i].type);
        ck_assert_uint_eq(a->controls[i].group, b->controls[i].group);
        ck_assert_uint_eq(a->controls[i].index, b->controls[i].index);
        ck_assert_uint_eq(a->controls[i].payload_bytes, b->controls[i].payload_bytes);
    }
}

TEST(a_new_journal_is_empty_and_can_be_closed)
{
    struct journal *journal = lib_open(test_folder(), &seen);
    ck_assert_uint_eq(seen.extent_count, 0);
    ck_assert_uint_eq(seen.recovery.files, 0);
    ck_assert(!journal_is_full(journal));
    ck_assert(!journal_is_poisoned(journal));
    journal_close(&journal);
    ck_assert_ptr_null(journal);
    journal_close(&journal);
}

TEST(an_entry_is_durable_and_comes_back_after_reopening)
{
    const char *dir = test_folder();
    struct journal *journal = lib_open(dir, NULL);
    lib_fill(journal, 5, 1, 3, 100);
    ck_assert_uint_eq(journal_queued_bytes(journal), 0);
    journal_close(&journal);

    journal = lib_open(dir, &seen);
    ck_assert_uint_eq(seen.extent_count, 1);
    ck_assert_uint_eq(seen.extents[0].first_index, 1);
    ck_assert_uint_eq(seen.extents[0].last_index, 3);
    ck_assert_uint_eq(seen.extents[0].records, 3);
    ck_assert_uint_eq(seen.recovery.torn_bytes, 0);
    ck_assert_uint_eq(seen.recovery.corrupt_ranges, 0);
    ck_assert_uint_eq(lib_count_group(journal, &seen, 5), 3);

    /* The same file goes on after a clean end. */
    lib_fill(journal, 5, 4, 2, 5000);
    journal_close(&journal);
    journal = lib_open(dir, &seen);
    ck_assert_uint_eq(seen.extents[0].position >> 32, 1);
    ck_assert_uint_eq(lib_count_group(journal, &seen, 5), 5);
    journal_close(&journal);
}

TEST(completions_come_in_order_with_positions_below_durable_upto)
{
    struct journal *journal = lib_open(test_folder(), NULL);
    struct lib_done done = {0};
    for (unsigned i = 1; i <= 1000; i++) {
        ck_assert_int_eq(lib_append(journal, 1 + i % 3, i / 3 + 1, i % 97), 0);
        if (i % 10 == 0) {
            journal_submit(journal);
        }
    }
    lib_wait(journal, &done, 1000);
    ck_assert_uint_eq(done.good, 1000);
    ck_assert_uint_eq(done.last_wseq, 1000);
    ck_assert_uint_gt(journal_durable_upto(journal), done.last_position);
    struct journal_stats stats;
    journal_stats_read(journal, &stats);
    ck_assert_uint_eq(stats.frames, 1000);
    ck_assert_uint_le(stats.rounds, 101);
    journal_close(&journal);
}

TEST(payloads_of_all_sizes_come_back)
{
    static const size_t sizes[] = {0,      1,      7,   8,    9,    79,    80,
                                   511,    512,    513, 4095, 4096, 65536, 100000,
                                   300000, 500000, 3,   1000, 2,    30000, 200000};
    const char *dir = test_folder();
    unsigned count = sizeof(sizes) / sizeof(sizes[0]);
    struct journal *journal = lib_open(dir, NULL);
    for (unsigned i = 0; i < count; i++) {
        lib_fill(journal, 9, i + 1, 1, sizes[i]);
    }
    journal_close(&journal);
    journal = lib_open(dir, &seen);
    ck_assert_uint_eq(lib_count_group(journal, &seen, 9), count);
    journal_close(&journal);
}

TEST(a_frame_over_half_a_file_is_refused)
{
    struct journal *journal = lib_open(test_folder(), NULL);
    ck_assert_int_eq(lib_append(journal, 1, 1, LIB_FILE_BYTES / 2), ERR_TOO_LARGE);
    ck_assert_int_eq(lib_append(journal, 1, 1, LIB_FILE_BYTES / 2 - 4096 - 79), ERR_TOO_LARGE);
    lib_fill(journal, 1, 1, 1, LIB_FILE_BYTES / 2 - 4096 - 80);
    journal_close(&journal);
}

TEST(the_queue_has_a_limit)
{
    struct journal_options options = lib_options(test_folder());
    options.queue_bytes_max = 10000;
    struct journal *journal = NULL;
    struct lib_done done = {0};
    ck_assert_int_eq(lib_try_open(&options, NULL, &journal), 0);
    ck_assert_int_eq(lib_append(journal, 1, 1, 5000), 0);
    ck_assert_int_eq(lib_append(journal, 1, 2, 5000), ERR_AGAIN);
    ck_assert_uint_eq(journal_queued_bytes(journal), 5080);
    journal_submit(journal);
    lib_wait(journal, &done, 1);
    /* One that is larger than the whole queue still gets through when it is alone. */
    ck_assert_int_eq(lib_append(journal, 1, 2, 20000), 0);
    journal_submit(journal);
    lib_wait(journal, &done, 2);
    ck_assert_uint_eq(done.good, 2);
    journal_close(&journal);
}

TEST(hard_states_and_truncations_are_reported_in_order)
{
    const char *dir = test_folder();
    struct journal *journal = lib_open(dir, NULL);
    struct lib_done done = {0};
    ck_assert_int_eq(lib_append_control(journal, JOURNAL_HARD_STATE, 2, 0, 17), 0);
    ck_assert_int_eq(lib_append(journal, 2, 1, 50), 0);
    ck_assert_int_eq(lib_append(journal, 2, 2, 50), 0);
    ck_assert_int_eq(lib_append_control(journal, JOURNAL_TRUNCATE, 2, 3, 0), 0);
    /* This one would continue the extent, but the truncation lies in between. */
    ck_assert_int_eq(lib_append(journal, 2, 3, 50), 0);
    ck_assert_int_eq(lib_append_control(journal, JOURNAL_ENTRY, 2, 4, 20), 0);
    journal_submit(journal);
    lib_wait(journal, &done, 6);
    journal_close(&journal);

    journal = lib_open(dir, &seen);
    ck_assert_uint_eq(seen.control_count, 2);
    ck_assert_int_eq(seen.controls[0].type, JOURNAL_HARD_STATE);
    ck_assert_uint_eq(seen.controls[0].payload_bytes, 17);
    ck_assert_uint_eq(seen.controls[1].index, 3);
    ck_assert_uint_eq(seen.extent_count, 2);
    ck_assert_uint_eq(seen.extents[0].last_index, 2);
    ck_assert(!seen.extents[0].has_control);
    ck_assert_uint_eq(seen.extents[1].first_index, 3);
    ck_assert(seen.extents[1].has_control);
    ck_assert_uint_eq(seen.extents[1].records, 1);
    ck_assert_uint_eq(lib_count_group(journal, &seen, 2), 4);
    journal_close(&journal);
}

/* Some groups, interleaved, over several files. */
static void write_several_files(const char *dir, unsigned count, size_t size)
{
    struct journal *journal = lib_open(dir, NULL);
    struct lib_done done = {0};
    unsigned total = 0;
    for (unsigned i = 0; i < count; i++) {
        for (uint64_t group = 1; group <= 3; group++) {
            ck_assert_int_eq(lib_append(journal, group, i + 1, size * group), 0);
            total++;
        }
        if (i % 50 == 0) {
            ck_assert_int_eq(lib_append_control(journal, JOURNAL_HARD_STATE, 2, i, 9), 0);
            total++;
        }
        journal_submit(journal);
        if (i % 8 == 0) {
            lib_wait(journal, &done, total);
        }
    }
    lib_wait(journal, &done, total);
    ck_assert_uint_eq(done.good, total);
    journal_close(&journal);
}

TEST_WITHIN(a_restart_reads_indexes_and_finds_the_same_without_them, 30)
{
    const char *dir = test_folder();
    write_several_files(dir, 300, 2000);
    struct journal *journal = lib_open(dir, &seen);
    ck_assert_uint_ge(seen.recovery.files, 4);
    ck_assert_uint_le(seen.recovery.files_scanned, 2);
    for (uint64_t group = 1; group <= 3; group++) {
        ck_assert_uint_eq(lib_count_group(journal, &seen, group), 300);
    }
    ck_assert_uint_eq(seen.control_count, 6);
    journal_close(&journal);

    lib_remove(dir, "0000000001.idx");
    size_t size = 0;
    uint8_t *bytes = lib_load(dir, "0000000002.idx", &size);
    bytes[size / 2] ^= 4;
    lib_save(dir, "0000000002.idx", bytes, size);
    lib_save(dir, "0000000003.idx", bytes, 0);
    mem_free(bytes);
    journal = lib_open(dir, &again);
    ck_assert_uint_ge(again.recovery.files_scanned, 4);
    ck_assert_uint_eq(again.recovery.corrupt_ranges, 0);
    ck_assert_uint_eq(again.recovery.torn_bytes, 0);
    assert_same_reports(&seen, &again);
    journal_close(&journal);

    /* They were written again. */
    journal = lib_open(dir, &again);
    ck_assert_uint_eq(again.recovery.files_scanned, 1);
    assert_same_reports(&seen, &again);
    journal_close(&journal);
}

TEST(reading_goes_on_while_the_writer_appends)
{
    struct journal *journal = lib_open(test_folder(), NULL);
    struct lib_done done = {0};
    for (unsigned i = 1; i <= 200; i++) {
        ck_assert_int_eq(lib_append(journal, 1, i, 9000), 0);
        journal_submit(journal);
        lib_wait(journal, &done, i);
        struct extent extent = {.group = 1,
                                .position = done.last_position,
                                .bytes = 9080,
                                .first_index = i,
                                .last_index = i};
        ck_assert_int_eq(lib_append(journal, 2, i, 9000), 0);
        journal_submit(journal);
        uint64_t corrupt_at = 0;
        ck_assert_int_eq(lib_read_extent(journal, &extent, &corrupt_at), 1);
        done.count--; /* the second one is waited for in the next turn */
        lib_wait(journal, &done, i);
    }
    journal_close(&journal);
}

static int count_and_stop(void *ud, const struct journal_entry *entry, uint64_t position,
                          uint32_t frame_bytes)
{
    (void) entry;
    (void) position;
    (void) frame_bytes;
    return ++*(int *) ud == 2;
}

TEST(a_read_stops_when_told_and_refuses_what_is_not_there)
{
    struct journal *journal = lib_open(test_folder(), NULL);
    lib_fill(journal, 1, 1, 5, 64);
    int count = 0;
    uint64_t at = 0;
    ck_assert_int_eq(
        journal_read(journal, 1, UINT64_C(1) << 32 | 4096, 720, count_and_stop, &count, &at), 0);
    ck_assert_int_eq(count, 2);
    ck_assert_int_eq(
        journal_read(journal, 1, UINT64_C(2) << 32 | 4096, 144, count_and_stop, &count, &at),
        ERR_NOT_FOUND);
    ck_assert_int_eq(journal_read(journal, 1, UINT64_C(1) << 32, 144, count_and_stop, &count, &at),
                     ERR_OUT_OF_RANGE);
    ck_assert_int_eq(
        journal_read(journal, 1, UINT64_C(1) << 32 | 4096, UINT64_MAX, count_and_stop, &count, &at),
        ERR_OUT_OF_RANGE);
    ck_assert_int_eq(
        journal_read(journal, 1, UINT64_C(1) << 32 | 4104, 144, count_and_stop, &count, &at),
        ERR_CORRUPT);
    ck_assert_uint_eq(at, UINT64_C(1) << 32 | 4104);
    journal_close(&journal);
}

struct recycled {
    struct journal *journal;
    uint64_t count;
};

static bool were_recycled(void *ud)
{
    const struct recycled *self = ud;
    struct journal_stats stats;
    journal_stats_read(self->journal, &stats);
    return stats.files_recycled >= self->count;
}

TEST_WITHIN(released_files_are_used_again_and_their_old_bytes_never_validate, 30)
{
    const char *dir = test_folder();
    struct journal *journal = lib_open(dir, NULL);
    /* Frames of one size, so that those of the old and the new life lie at the same places. */
    for (unsigned life = 0; life < 4; life++) {
        lib_fill(journal, 1, life * 500 + 1, 500, 8000);
        struct recycled wanted = {journal, 0};
        struct journal_stats stats;
        journal_stats_read(journal, &stats);
        wanted.count = stats.files_recycled + stats.files - 1;
        journal_release_before(journal, journal_durable_upto(journal));
        ck_assert(lib_eventually(were_recycled, &wanted));
    }
    ck_assert(lib_exists(dir, "spare-0") || lib_exists(dir, "spare-1"));
    journal_close(&journal);

    journal = lib_open(dir, &seen);
    uint64_t left = lib_count_group(journal, &seen, 1);
    ck_assert_uint_lt(left, 500);
    for (size_t i = 0; i < seen.extent_count; i++) {
        ck_assert_uint_gt(seen.extents[i].first_index, 1500);
    }
    ck_assert_uint_eq(seen.recovery.torn_bytes, 0);
    ck_assert_uint_eq(seen.recovery.corrupt_ranges, 0);
    journal_close(&journal);
}

TEST(a_released_file_cannot_be_read)
{
    struct journal *journal = lib_open(test_folder(), NULL);
    lib_fill(journal, 1, 1, 200, 8000);
    int count = 0;
    uint64_t at = 0;
    uint64_t first = UINT64_C(1) << 32 | 4096;
    ck_assert_int_eq(journal_read(journal, 1, first, 8080, count_and_stop, &count, &at), 0);
    journal_release_before(journal, journal_durable_upto(journal));
    ck_assert_int_eq(journal_read(journal, 1, first, 8080, count_and_stop, &count, &at),
                     ERR_NOT_FOUND);
    journal_close(&journal);
}

TEST(read_only_changes_nothing)
{
    const char *dir = test_folder();
    struct journal *journal = lib_open(dir, NULL);
    lib_fill(journal, 1, 1, 10, 100);
    journal_close(&journal);
    size_t size = 0;
    uint8_t *before = lib_load(dir, "0000000001.jnl", &size);
    before[4096 + 200] ^= 1;
    lib_save(dir, "0000000001.jnl", before, size);

    struct journal_options options = lib_options(dir);
    options.read_only = true;
    ck_assert_int_eq(lib_try_open(&options, &seen, &journal), 0);
    ck_assert_uint_eq(seen.corrupt_count, 1);
    ck_assert_uint_eq(lib_count_group(journal, &seen, 1), 9);
    ck_assert_int_eq(lib_append(journal, 1, 11, 10), ERR_READ_ONLY);
    journal_close(&journal);
    uint8_t *after = lib_load(dir, "0000000001.jnl", &size);
    ck_assert_int_eq(memcmp(before, after, size), 0);
    ck_assert(!lib_exists(dir, "0000000002.jnl"));
    mem_free(before);
    mem_free(after);
}

TEST(sizes_outside_their_range_are_refused)
{
    struct journal_options options = lib_options(test_folder());
    struct journal *journal = NULL;
    options.file_bytes = 4096;
    ck_assert_int_eq(lib_try_open(&options, NULL, &journal), ERR_USAGE);
    options.file_bytes = (UINT64_C(1) << 30) + 1;
    ck_assert_int_eq(lib_try_open(&options, NULL, &journal), ERR_USAGE);
}

/* One entry, handed over by journal_submit_now until its completion is there; true if that ran the round itself. */
static bool submit_one_now(struct journal *journal, uint64_t index)
{
    struct lib_done done = {0};
    ck_assert_int_eq(lib_append(journal, 1, index, 100), 0);
    bool is_done = journal_submit_now(journal);
    if (is_done) {
        ck_assert_uint_eq(journal_poll(journal, lib_note_done, &done), 1);
    }
    lib_wait(journal, &done, 1);
    ck_assert_uint_eq(done.good, 1);
    return is_done;
}

static int sync_at_once(void *ud, int fd)
{
    (void) ud;
    (void) fd;
    return 0;
}

TEST(a_single_entry_may_be_made_durable_by_the_owner_itself)
{
    /* A slow disk is not for the owner's thread, so this one is quick. */
    static const struct fs_ops quick = {.fdatasync = sync_at_once};
    const char *dir = test_folder();
    struct journal_options options = lib_options(dir);
    struct journal *journal = NULL;
    uint64_t index = 0;
    unsigned own = 0;
    options.ops = &quick;
    ck_assert_int_eq(lib_try_open(&options, NULL, &journal), 0);
    /* In turn with the writer's rounds and its marks, over more than one file; longer when the machine was slow. */
    for (unsigned i = 0; i < 3000 || (own == 0 && i < 50000); i++) {
        own += submit_one_now(journal, ++index);
        if (i % 10 == 0) {
            lib_fill(journal, 1, index + 1, 20, 700);
            index += 20;
        }
    }
    ck_assert_uint_gt(own, 0);
    ck_assert_uint_gt(journal_durable_upto(journal), 0);
    journal_close(&journal);
    journal = lib_open(dir, &seen);
    ck_assert_uint_eq(lib_count_group(journal, &seen, 1), index);
    ck_assert_uint_eq(seen.corrupt_count, 0);
    journal_close(&journal);
}

TEST(two_entries_go_to_the_writer)
{
    struct journal *journal = lib_open(test_folder(), NULL);
    struct lib_done done = {0};
    ck_assert_int_eq(lib_append(journal, 1, 1, 100), 0);
    ck_assert_int_eq(lib_append(journal, 1, 2, 100), 0);
    ck_assert(!journal_submit_now(journal));
    lib_wait(journal, &done, 2);
    ck_assert_uint_eq(done.good, 2);
    journal_close(&journal);
}
