/* Tests of adminctl/start: places in a stream as people write them. */
#include "adminctl/ctl.h"

#include "common/base/clock.h"
#include "common/base/err.h"
#include "tests/lib/test.h"

static struct rg_start parse(const char *text)
{
    struct rg_start start = {0};
    ck_assert_msg(ctl_start_parse(text, &start) == 0, "'%s' is not understood", text);
    return start;
}

TEST(places_by_offset_are_understood)
{
    ck_assert_int_eq(parse("first").at, RG_START_FIRST);
    ck_assert_int_eq(parse("latest").at, RG_START_LATEST);
    ck_assert_int_eq(parse("17").at, RG_START_OFFSET);
    ck_assert_uint_eq(parse("17").value, 17);
    ck_assert_int_eq(parse("-10").at, RG_START_LAST_N);
    ck_assert_uint_eq(parse("-10").value, 10);
}

TEST(places_by_time_are_understood)
{
    static const struct {
        const char *text;
        uint64_t us;
    } times[] = {
        {"@1795000000", UINT64_C(1795000000000000)},
        {"@1795000000.25", UINT64_C(1795000000250000)},
        {"@2026-11-18T16:26:40Z", UINT64_C(1795019200000000)},
        {"@2026-11-18T16:26:40", UINT64_C(1795019200000000)},
        {"@2026-11-18 16:26:40.000001Z", UINT64_C(1795019200000001)},
        {"@2026-11-18T16:26", UINT64_C(1795019160000000)},
        {"@2026-11-18", UINT64_C(1794960000000000)},
    };
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        ck_assert_int_eq(parse(times[i].text).at, RG_START_TIME);
        ck_assert_msg(parse(times[i].text).value == times[i].us, "%s: %llu", times[i].text,
                      (unsigned long long) parse(times[i].text).value);
    }
}

TEST(so_long_ago_is_understood)
{
    uint64_t now_us = timesource_real_us(timesource_system());
    struct rg_start start = parse("@-10m");
    ck_assert_int_eq(start.at, RG_START_TIME);
    ck_assert_uint_ge(start.value, now_us - UINT64_C(600000000));
    ck_assert_uint_le(start.value, timesource_real_us(timesource_system()) - UINT64_C(600000000));
    ck_assert_uint_eq(parse("@-36500000d").value, 1); /* before 1970: the beginning */
}

TEST(anything_else_is_refused)
{
    static const char *const texts[] = {"",
                                        "0",
                                        "-0",
                                        "-",
                                        "last",
                                        "@",
                                        "@x",
                                        "@17x",
                                        "@1.",
                                        "@-",
                                        "@-10x",
                                        "@2026-13-01",
                                        "@2026-11-18T16:26:40+01:00",
                                        "17 ",
                                        "@99999999999999999999",
                                        "1e3"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct rg_start start = {0};
        ck_assert_msg(ctl_start_parse(texts[i], &start) == ERR_BAD_FORMAT, "'%s' is understood",
                      texts[i]);
    }
}
