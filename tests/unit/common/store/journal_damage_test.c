/* The journal over damaged files: what was promised is there or reported as corrupt, wrong data never, and only what was
 * never promised is cut. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/bytes.h"
#include "common/base/crc32c.h"
#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/store/journal.h"
#include "common/store/journal_format.h"
#include "tests/lib/test.h"
#include "tests/unit/common/store/journal_lib.h"

static struct seen seen;
static struct seen again;

enum { FRAME_100 = 184, FIRST = JOURNAL_FILE_HEADER_BYTES };

/* Change bytes of a file. */
static void damage(const char *dir, const char *name, size_t at, const void *data, size_t size)
{
    size_t total = 0;
    uint8_t *bytes = lib_load(dir, name, &total);
    ck_assert_uint_le(at + size, total);
    memcpy(bytes + at, data, size);
    lib_save(dir, name, bytes, total);
    mem_free(bytes);
}

static void flip(const char *dir, const char *name, size_t at)
{
    size_t total = 0;
    uint8_t *bytes = lib_load(dir, name, &total);
    bytes[at] ^= 0x10;
    lib_save(dir, name, bytes, total);
    mem_free(bytes);
}

/* Ten entries of 100 bytes in file 1, cleanly closed. */
static void make_ten(const char *dir)
{
    struct journal *journal = lib_open(dir, NULL);
    lib_fill(journal, 1, 1, 10, 100);
    journal_close(&journal);
}

TEST(damage_below_durable_upto_is_reported_and_read_around)
{
    const char *dir = test_folder();
    make_ten(dir);
    flip(dir, "0000000001.jnl", FIRST + 3 * FRAME_100 + 100); /* payload of index 4 */
    struct journal *journal = lib_open(dir, &seen);
    ck_assert_uint_eq(seen.corrupt_count, 1);
    ck_assert(seen.corrupt[0].is_known);
    ck_assert_uint_eq(seen.corrupt[0].group, 1);
    ck_assert_uint_eq(seen.corrupt[0].index, 4);
    ck_assert_uint_eq(seen.corrupt[0].position, UINT64_C(1) << 32 | (FIRST + 3 * FRAME_100));
    ck_assert_uint_eq(seen.corrupt[0].bytes, FRAME_100);
    ck_assert_uint_eq(seen.recovery.torn_bytes, 0);
    ck_assert_uint_eq(lib_count_group(journal, &seen, 1), 9);
    /* Writing goes on in another file, and the damage is told again at the next start. */
    lib_fill(journal, 1, 11, 1, 100);
    journal_close(&journal);
    journal = lib_open(dir, &again);
    ck_assert_uint_eq(again.corrupt_count, 1);
    ck_assert_uint_eq(again.corrupt[0].position, seen.corrupt[0].position);
    ck_assert_uint_eq(lib_count_group(journal, &again, 1), 10);
    ck_assert_uint_eq(again.extents[again.extent_count - 1].position >> 32, 2);
    journal_close(&journal);
}

TEST(the_last_acknowledged_entry_is_covered_by_the_closing_mark)
{
    for (size_t at = 0; at < 2; at++) {
        const char *dir = test_folder();
        make_ten(dir);
        flip(dir, "0000000001.jnl", FIRST + 9 * FRAME_100 + (at == 0 ? 20 : 100));
        struct journal *journal = lib_open(dir, &seen);
        ck_assert_uint_eq(seen.corrupt_count, 1);
        ck_assert_int_eq(seen.corrupt[0].is_known, at == 1);
        ck_assert_uint_eq(seen.recovery.torn_bytes, 0);
        ck_assert_uint_eq(lib_count_group(journal, &seen, 1), 9);
        journal_close(&journal);
    }
}

/* Where the closing mark lies. */
static const size_t MARK = FIRST + 10 * FRAME_100;

static bool marked(void *ud)
{
    size_t size = 0;
    uint8_t *bytes = lib_load(ud, "0000000001.jnl", &size);
    bool is_there = bytes[MARK + 5] == JOURNAL_MARK;
    mem_free(bytes);
    return is_there;
}

TEST(going_idle_writes_one_mark_and_no_more)
{
    char dir[128];
    (void) snprintf(dir, sizeof(dir), "%s", test_folder());
    struct journal *journal = lib_open(dir, NULL);
    lib_fill(journal, 1, 1, 10, 100);
    ck_assert(lib_eventually(marked, dir));
    /* Reads of the clock would prove little: what counts is that nothing follows the mark after another round. */
    lib_fill(journal, 1, 11, 1, 100);
    size_t size = 0;
    uint8_t *bytes = lib_load(dir, "0000000001.jnl", &size);
    ck_assert_int_eq(bytes[MARK + JOURNAL_FRAME_BYTES + 5], JOURNAL_ENTRY);
    mem_free(bytes);
    journal_close(&journal);
}

TEST(a_torn_tail_is_cut_and_kept_in_trash)
{
    const char *dir = test_folder();
    make_ten(dir);
    /* As if the tenth entry had never been synced: no mark behind it, its end not written. */
    uint8_t zeros[200] = {0};
    damage(dir, "0000000001.jnl", MARK, zeros, JOURNAL_FRAME_BYTES);
    damage(dir, "0000000001.jnl", MARK - 50, zeros, 50);
    struct journal *journal = lib_open(dir, &seen);
    ck_assert_uint_eq(seen.corrupt_count, 0);
    ck_assert_uint_ge(seen.recovery.torn_bytes, FRAME_100);
    ck_assert_uint_eq(lib_count_group(journal, &seen, 1), 9);
    char name[64];
    (void) snprintf(name, sizeof(name), "trash/torn-0000000001-%d", FIRST + 9 * FRAME_100);
    ck_assert(lib_exists(dir, name));
    lib_fill(journal, 1, 10, 1, 100);
    journal_close(&journal);
    journal = lib_open(dir, &again);
    ck_assert_uint_eq(again.recovery.torn_bytes, 0);
    ck_assert_uint_eq(again.corrupt_count, 0);
    ck_assert_uint_eq(lib_count_group(journal, &again, 1), 10);
    journal_close(&journal);
}

TEST(intact_frames_behind_a_torn_one_go_with_it)
{
    const char *dir = test_folder();
    struct journal *journal = lib_open(dir, NULL);
    /* one round: none of its frames knows of another being durable */
    lib_fill(journal, 1, 1, 10, 100);
    journal_close(&journal);
    uint8_t zeros[JOURNAL_FRAME_BYTES] = {0};
    damage(dir, "0000000001.jnl", MARK, zeros, sizeof(zeros));
    flip(dir, "0000000001.jnl", FIRST + 4 * FRAME_100 + 100);
    journal = lib_open(dir, &seen);
    ck_assert_uint_eq(seen.corrupt_count, 0);
    ck_assert_uint_ge(seen.recovery.torn_bytes, (size_t) 6 * FRAME_100);
    ck_assert_uint_eq(lib_count_group(journal, &seen, 1), 4);
    journal_close(&journal);
    /* What was cut does not come back: not without the index, and not when the end mark is damaged. */
    lib_remove(dir, "0000000001.idx");
    journal = lib_open(dir, &again);
    ck_assert_uint_eq(lib_count_group(journal, &again, 1), 4);
    ck_assert_uint_eq(again.recovery.torn_bytes, 0);
    lib_fill(journal, 1, 5, 1, 100);
    journal_close(&journal);
    lib_remove(dir, "0000000001.idx");
    flip(dir, "0000000001.jnl", FIRST + 4 * FRAME_100 + 20);
    journal = lib_open(dir, &again);
    ck_assert_uint_eq(lib_count_group(journal, &again, 1), 5);
    ck_assert_uint_eq(again.corrupt_count, 1);
    journal_close(&journal);
}

TEST(one_damaged_file_header_is_replaced_by_its_copy)
{
    const char *dir = test_folder();
    make_ten(dir);
    flip(dir, "0000000001.jnl", 20);
    struct journal *journal = lib_open(dir, &seen);
    ck_assert_uint_eq(seen.corrupt_count, 0);
    ck_assert_uint_eq(lib_count_group(journal, &seen, 1), 10);
    journal_close(&journal);
}

TEST(without_both_headers_the_frames_tell_the_salt)
{
    const char *dir = test_folder();
    make_ten(dir);
    flip(dir, "0000000001.jnl", 20);
    flip(dir, "0000000001.jnl", JOURNAL_HEADER_COPY_AT + 30);
    struct journal *journal = lib_open(dir, &seen);
    ck_assert_uint_eq(seen.corrupt_count, 1);
    ck_assert_uint_eq(seen.corrupt[0].position, UINT64_C(1) << 32);
    ck_assert_uint_eq(lib_count_group(journal, &seen, 1), 10);
    lib_fill(journal, 1, 11, 1, 100);
    journal_close(&journal);
    journal = lib_open(dir, &again);
    ck_assert_uint_eq(again.corrupt_count, 1);
    ck_assert_uint_eq(lib_count_group(journal, &again, 1), 11);
    journal_close(&journal);
}

TEST(a_file_of_garbage_is_reported_whole_and_stays)
{
    const char *dir = test_folder();
    make_ten(dir);
    size_t size = 0;
    uint8_t *bytes = lib_load(dir, "0000000001.jnl", &size);
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t) (i * 31 + (i >> 7));
    }
    lib_save(dir, "0000000001.jnl", bytes, size);
    struct journal *journal = lib_open(dir, &seen);
    ck_assert_uint_eq(seen.corrupt_count, 1);
    ck_assert_uint_eq(seen.corrupt[0].position, UINT64_C(1) << 32);
    ck_assert_uint_eq(seen.corrupt[0].bytes, size);
    lib_fill(journal, 1, 1, 1, 100);
    journal_close(&journal);
    size_t size_after = 0;
    uint8_t *after = lib_load(dir, "0000000001.jnl", &size_after);
    ck_assert_uint_eq(size_after, size);
    ck_assert_int_eq(memcmp(bytes, after, size), 0);
    mem_free(bytes);
    mem_free(after);
}

/* Three files' worth of one group. */
static void make_three_files(const char *dir)
{
    struct journal *journal = lib_open(dir, NULL);
    lib_fill(journal, 1, 1, 300, 9000);
    journal_close(&journal);
    ck_assert(lib_exists(dir, "0000000003.jnl"));
}

TEST(a_file_that_vanished_is_reported)
{
    const char *dir = test_folder();
    make_three_files(dir);
    lib_remove(dir, "0000000002.jnl");
    struct journal *journal = lib_open(dir, &seen);
    ck_assert_uint_eq(seen.corrupt_count, 1);
    ck_assert_uint_eq(seen.corrupt[0].position, UINT64_C(2) << 32);
    ck_assert_uint_eq(seen.corrupt[0].bytes, LIB_FILE_BYTES);
    ck_assert_uint_gt(lib_count_group(journal, &seen, 1), 150);
    lib_fill(journal, 1, 301, 1, 100);
    journal_close(&journal);
}

TEST(a_lone_file_with_a_far_number_is_one_gap)
{
    const char *dir = test_folder();
    make_ten(dir);
    size_t size = 0;
    uint8_t *bytes = lib_load(dir, "0000000001.jnl", &size);
    lib_save(dir, "4000000000.jnl", bytes, size);
    mem_free(bytes);
    struct journal *journal = lib_open(dir, &seen);
    ck_assert_uint_eq(lib_count_group(journal, &seen, 1), 10);
    ck_assert_uint_ge(seen.corrupt_count, 2);
    lib_fill(journal, 1, 11, 1, 100);
    journal_close(&journal);
}

TEST(a_released_file_of_garbage_leaves_no_gap)
{
    const char *dir = test_folder();
    make_three_files(dir);
    size_t size = 0;
    uint8_t *bytes = lib_load(dir, "0000000002.jnl", &size);
    memset(bytes, 0x77, size);
    lib_save(dir, "0000000002.jnl", bytes, size);
    lib_remove(dir, "0000000002.idx");
    mem_free(bytes);
    struct journal *journal = lib_open(dir, &seen);
    ck_assert_uint_eq(seen.corrupt_count, 1);
    struct extent extent = {.group = 1,
                            .position = UINT64_C(2) << 32 | FIRST,
                            .bytes = 9080,
                            .first_index = 1,
                            .last_index = 1};
    uint64_t at = 0;
    ck_assert_int_eq(lib_read_extent(journal, &extent, &at), ERR_CORRUPT);
    journal_release_before(journal, journal_durable_upto(journal));
    journal_close(&journal);
    ck_assert(!lib_exists(dir, "0000000001.jnl"));
    ck_assert(!lib_exists(dir, "0000000002.jnl"));
    journal = lib_open(dir, &seen);
    ck_assert_uint_eq(seen.corrupt_count, 0);
    journal_close(&journal);
}

TEST(the_last_number_of_all_files_is_an_error_not_a_crash)
{
    const char *dir = test_folder();
    struct journal_options options = lib_options(dir);
    struct journal *journal = NULL;
    lib_save(dir, "4294967295.jnl", "x", 1);
    ck_assert_int_eq(lib_try_open(&options, &seen, &journal), ERR_STORAGE_FULL);
    ck_assert_uint_eq(seen.corrupt_count, 1);
}

TEST(damage_behind_an_index_is_found_when_reading)
{
    const char *dir = test_folder();
    make_three_files(dir);
    flip(dir, "0000000001.jnl", FIRST + 5 * 9080 + 4000);
    struct journal *journal = lib_open(dir, &seen);
    ck_assert_uint_eq(seen.corrupt_count, 0);
    uint64_t corrupt_at = 0;
    ck_assert_int_eq(lib_read_extent(journal, &seen.extents[0], &corrupt_at), ERR_CORRUPT);
    ck_assert_uint_eq(corrupt_at, UINT64_C(1) << 32 | (FIRST + 5 * 9080));
    journal_close(&journal);
    /* And when the file is scanned. */
    lib_remove(dir, "0000000001.idx");
    journal = lib_open(dir, &seen);
    ck_assert_uint_eq(seen.corrupt_count, 1);
    ck_assert_uint_eq(seen.corrupt[0].index, 6);
    ck_assert_uint_eq(lib_count_group(journal, &seen, 1), 299);
    journal_close(&journal);
    ck_assert(!lib_exists(dir, "0000000001.idx"));
}

TEST(a_damaged_end_of_a_full_file_is_corruption)
{
    const char *dir = test_folder();
    make_three_files(dir);
    size_t size = 0;
    uint8_t *bytes = lib_load(dir, "0000000001.jnl", &size);
    memset(bytes + size / 2, 0, size - size / 2);
    lib_save(dir, "0000000001.jnl", bytes, size);
    mem_free(bytes);
    lib_remove(dir, "0000000001.idx");
    struct journal *journal = lib_open(dir, &seen);
    const struct seen_corrupt *last = &seen.corrupt[seen.corrupt_count - 1];
    ck_assert_uint_ge(seen.corrupt_count, 1);
    ck_assert_uint_eq(last->position >> 32, 1);
    ck_assert_uint_eq(last->position + last->bytes, (UINT64_C(1) << 32) + size);
    journal_close(&journal);
}

TEST(a_file_cut_short_is_corruption)
{
    const char *dir = test_folder();
    make_three_files(dir);
    size_t size = 0;
    uint8_t *bytes = lib_load(dir, "0000000002.jnl", &size);
    lib_save(dir, "0000000002.jnl", bytes, size / 3);
    mem_free(bytes);
    struct journal *journal = lib_open(dir, &seen);
    ck_assert_uint_ge(seen.corrupt_count, 1);
    ck_assert_uint_eq(seen.corrupt[0].position >> 32, 2);
    journal_close(&journal);
}

TEST(a_newer_version_is_refused)
{
    const char *dir = test_folder();
    make_ten(dir);
    uint8_t block[JOURNAL_FILE_HEADER_BYTES];
    struct journal_file_header header = {.seq = 1, .salt = 5, .file_bytes = LIB_FILE_BYTES};
    journal_file_header_put(&header, block);
    ck_assert_int_eq(journal_file_header_get(block, &header), 0);
    /* The version with a checksum that agrees. */
    bytes_put_u32(block + 8, JOURNAL_VERSION + 1);
    bytes_put_u32(block + 52, crc32c_extend(0, span_make(block, 52)));
    damage(dir, "0000000001.jnl", 0, block, 2048);
    struct journal_options options = lib_options(dir);
    struct journal *journal = NULL;
    ck_assert_int_eq(lib_try_open(&options, &seen, &journal), ERR_BAD_FORMAT);
    ck_assert_ptr_null(journal);
}

/* --- every single bit --- */

enum { SMALL_BYTES = 8192, SMALL_ENTRIES = 12, SMALL_CONTROLS = 2 };

/* A journal of one small file: two groups, controls, several rounds. `is_fresh`: whether it is in its first life. */
static void make_small(const char *dir, bool is_fresh)
{
    struct journal *journal = lib_open(dir, NULL);
    for (uint64_t i = 1; i <= 6; i++) {
        struct lib_done done = {0};
        ck_assert_int_eq(lib_append(journal, 1, i, (size_t) i * 9), 0);
        ck_assert_int_eq(lib_append(journal, 2, i, 40), 0);
        unsigned count = 2;
        if (i == 2 || i == 5) {
            ck_assert_int_eq(lib_append_control(journal, JOURNAL_HARD_STATE, 2, 0, 20), 0);
            count++;
        }
        journal_submit(journal);
        lib_wait(journal, &done, count);
    }
    journal_close(&journal);
    size_t size = 0;
    uint8_t *bytes = lib_load(dir, "0000000001.jnl", &size);
    struct journal_file_header header;
    ck_assert_int_eq(journal_file_header_get(bytes, &header), 0);
    header.file_bytes = SMALL_BYTES;
    header.is_fresh = is_fresh;
    journal_file_header_put(&header, bytes);
    if (!is_fresh) {
        memset(bytes + 7000, 0x5a, SMALL_BYTES - 7000); /* of an earlier life */
    }
    lib_save(dir, "0000000001.jnl", bytes, SMALL_BYTES);
    mem_free(bytes);
    lib_remove(dir, "reserve");
}

/* Open and count what comes back; every payload is compared. */
static void look(const char *dir, unsigned *ret_entries)
{
    struct journal_options options = lib_options(dir);
    struct journal *journal = NULL;
    options.read_only = true;
    TEST_ASSERT_FAST(lib_try_open(&options, &seen, &journal) == 0);
    *ret_entries = 0;
    for (size_t i = 0; i < seen.extent_count; i++) {
        uint64_t at = 0;
        int result = lib_read_extent(journal, &seen.extents[i], &at);
        TEST_ASSERT_FAST(result > 0);
        *ret_entries += (unsigned) result;
    }
    journal_close(&journal);
}

static void flip_every_bit(const char *dir)
{
    char path[300];
    uint8_t bytes[SMALL_BYTES];
    (void) snprintf(path, sizeof(path), "%s/0000000001.jnl", dir);
    int fd = open(path, O_RDWR);
    TEST_ASSERT_FAST(fd >= 0);
    TEST_ASSERT_FAST(pread(fd, bytes, sizeof(bytes), 0) == SMALL_BYTES);
    unsigned entries = 0;
    look(dir, &entries);
    TEST_ASSERT_FAST(entries == SMALL_ENTRIES);
    TEST_ASSERT_FAST(seen.control_count == SMALL_CONTROLS);
    TEST_ASSERT_FAST(seen.corrupt_count == 0);
    unsigned reported = 0;
    for (unsigned bit = 0; bit < SMALL_BYTES * 8; bit++) {
        uint8_t flipped = (uint8_t) (bytes[bit / 8] ^ 1u << bit % 8);
        TEST_ASSERT_FAST(pwrite(fd, &flipped, 1, bit / 8) == 1);
        look(dir, &entries);
        if (seen.corrupt_count == 0 &&
            (entries != SMALL_ENTRIES || seen.control_count != SMALL_CONTROLS)) {
            ck_abort_msg("bit %u lost something silently", bit);
        }
        reported += seen.corrupt_count != 0;
        TEST_ASSERT_FAST(pwrite(fd, &bytes[bit / 8], 1, bit / 8) == 1);
    }
    /* All frames but the closing mark, without their padding. */
    TEST_ASSERT_FAST(reported > (SMALL_ENTRIES + SMALL_CONTROLS) * JOURNAL_FRAME_BYTES * 8);
    (void) close(fd);
}

TEST_WITHIN(every_flipped_bit_is_harmless_or_reported, 60)
{
    const char *dir = test_folder();
    make_small(dir, true);
    flip_every_bit(dir);
}

TEST_WITHIN(every_flipped_bit_of_a_recycled_file_is_harmless_or_reported, 60)
{
    const char *dir = test_folder();
    make_small(dir, false);
    flip_every_bit(dir);
}

TEST_WITHIN(every_flipped_bit_of_an_index_is_harmless, 60)
{
    const char *dir = test_folder();
    struct journal *journal = lib_open(dir, NULL);
    lib_fill(journal, 1, 1, 200, 9000);
    journal_close(&journal);
    journal = lib_open(dir, &seen);
    uint64_t expected = lib_count_group(journal, &seen, 1);
    ck_assert_uint_eq(expected, 200);
    journal_close(&journal);
    size_t size = 0;
    uint8_t *bytes = lib_load(dir, "0000000001.idx", &size);
    struct journal_options options = lib_options(dir);
    options.read_only = true;
    for (size_t bit = 0; bit < size * 8; bit += 7) {
        bytes[bit / 8] ^= (uint8_t) (1u << bit % 8);
        lib_save(dir, "0000000001.idx", bytes, size);
        bytes[bit / 8] ^= (uint8_t) (1u << bit % 8);
        ck_assert_int_eq(lib_try_open(&options, &again, &journal), 0);
        ck_assert_uint_eq(again.extent_count, seen.extent_count);
        ck_assert_uint_eq(again.corrupt_count, 0);
        ck_assert_uint_ge(again.recovery.files_scanned, 2);
        journal_close(&journal);
    }
    mem_free(bytes);
}
