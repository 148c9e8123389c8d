/* str: strict numbers, sizes and durations; escaped and cut text. */
#include "common/base/str.h"

#include <string.h>

#include "common/base/err.h"

#include "tests/lib/test.h"

typedef int parse_fn(struct span text, uint64_t *ret_value);

static void check_value(parse_fn *parse, const char *text, uint64_t expected)
{
    uint64_t value = expected + 1;
    ck_assert_msg(parse(span_of(text), &value) == 0, "'%s' is refused", text);
    ck_assert_uint_eq(value, expected);
}

static void check_refused(parse_fn *parse, const char *text)
{
    uint64_t value = 77;
    ck_assert_msg(parse(span_of(text), &value) == ERR_BAD_FORMAT, "'%s' is accepted", text);
    ck_assert_uint_eq(value, 77);
}

TEST(a_number_is_digits_alone)
{
    check_value(str_to_u64, "0", 0);
    check_value(str_to_u64, "42", 42);
    check_value(str_to_u64, "0042", 42);
    check_value(str_to_u64, "18446744073709551615", UINT64_MAX);
    static const char *const bad[] = {"",
                                      " 1",
                                      "1 ",
                                      "+1",
                                      "-1",
                                      "1a",
                                      "0x1",
                                      "1.0",
                                      "18446744073709551616",
                                      "99999999999999999999"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        check_refused(str_to_u64, bad[i]);
    }
    uint64_t value = 77;
    ck_assert_int_eq(str_to_u64(span_make("1\0", 2), &value), ERR_BAD_FORMAT);
    ck_assert_int_eq(str_to_u64(span_make("123", 2), &value), 0);
    ck_assert_uint_eq(value, 12);
}

TEST(a_size_has_a_unit_of_a_power_of_1024)
{
    check_value(str_to_size, "4096", 4096);
    check_value(str_to_size, "64k", 65536);
    check_value(str_to_size, "64K", 65536);
    check_value(str_to_size, "64KiB", 65536);
    check_value(str_to_size, "8M", 8u << 20);
    check_value(str_to_size, "8MiB", 8u << 20);
    check_value(str_to_size, "2G", UINT64_C(2) << 30);
    check_value(str_to_size, "3TiB", UINT64_C(3) << 40);
    check_value(str_to_size, "16777215T", UINT64_C(16777215) << 40);
    static const char *const bad[] = {"",    "k",   "8 M",  "8m",        "8MB",
                                      "-1k", "8Mi", "1.5G", "16777216T", "8MM"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        check_refused(str_to_size, bad[i]);
    }
}

TEST(a_duration_is_in_milliseconds)
{
    check_value(str_to_duration_ms, "250ms", 250);
    check_value(str_to_duration_ms, "250", 250);
    check_value(str_to_duration_ms, "5s", 5000);
    check_value(str_to_duration_ms, "10m", 600000);
    check_value(str_to_duration_ms, "1h", 3600000);
    check_value(str_to_duration_ms, "30d", UINT64_C(2592000000));
    check_value(str_to_duration_ms, "0s", 0);
    static const char *const bad[] = {
        "", "s", "5 s", "5S", "5sec", "5us", "1h30m", "-5s", "18446744073709552s", "999999999999d"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        check_refused(str_to_duration_ms, bad[i]);
    }
}

TEST(foreign_text_is_printed_harmlessly)
{
    char out[64];
    ck_assert_str_eq(str_escape(span_of("orders.eu ~"), out, sizeof(out)), "orders.eu ~");
    ck_assert_str_eq(str_escape(span_of(""), out, sizeof(out)), "");
    ck_assert_str_eq(str_escape(span_make("a\0\n\x7f\xff", 5), out, sizeof(out)),
                     "a\\x00\\x0a\\x7f\\xff");
    ck_assert_str_eq(str_escape(span_of("\"'\\"), out, sizeof(out)), "\\x22\\x27\\x5c");
    ck_assert_ptr_eq(str_escape(span_of("x"), out, sizeof(out)), out);
}

TEST(foreign_text_is_cut_with_dots)
{
    char out[16];
    ck_assert_str_eq(str_escape(span_of("0123456789"), out, 11), "0123456789");
    ck_assert_str_eq(str_escape(span_of("0123456789"), out, 10), "012345...");
    ck_assert_str_eq(str_escape(span_of("\n\n\n"), out, 13), "\\x0a\\x0a\\x0a");
    ck_assert_str_eq(str_escape(span_of("\n\n\n"), out, 12), "\\x0a\\x0a...");
    ck_assert_str_eq(str_escape(span_of("\n\n\n"), out, 11), "\\x0a...");
    ck_assert_str_eq(str_escape(span_of("01234"), out, 3), "..");
    ck_assert_str_eq(str_escape(span_of("01234"), out, 1), "");
}

TEST(escaping_stays_inside_its_room)
{
    char out[40];
    char text[30];
    for (size_t capacity = 1; capacity < sizeof(out); capacity++) {
        for (size_t size = 0; size < sizeof(text); size++) {
            memset(out, '#', sizeof(out));
            memset(text, size % 2 == 0 ? 'a' : '\t', sizeof(text));
            (void) str_escape(span_make(text, size), out, capacity);
            ck_assert_ptr_nonnull(memchr(out, '\0', capacity));
            for (size_t i = capacity; i < sizeof(out); i++) {
                ck_assert_int_eq(out[i], '#');
            }
        }
    }
}

TEST(a_copy_fits_or_is_refused)
{
    char out[5] = "####";
    ck_assert_int_eq(str_copy(out, sizeof(out), span_of("abcd")), 0);
    ck_assert_str_eq(out, "abcd");
    ck_assert_int_eq(str_copy(out, sizeof(out), span_of("abcde")), ERR_TOO_LARGE);
    ck_assert_str_eq(out, "");
    ck_assert_int_eq(str_copy(out, sizeof(out), span_make(NULL, 0)), 0);
    ck_assert_str_eq(out, "");
    ck_assert_int_eq(str_copy(out, 1, span_of("a")), ERR_TOO_LARGE);
}
