/* Retention: what a look decides, that clocks which jump remove nothing, and a long random life against a model. */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/rand.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/pb.h"
#include "logd/release.h"
#include "logd/retention.h"
#include "logd/trim.h"
#include "tests/lib/test.h"
#include "tests/unit/logd/node_lib.h"

#define MINUTE_US UINT64_C(60000000)
#define HOUR_US   (60 * MINUTE_US)
#define YEAR_US   (365 * 24 * HOUR_US)

/* --- deciding --- */

TEST(a_look_decides_by_any_of_the_limits)
{
    static const struct {
        struct retention_limits limits;
        struct retention_facts facts;
        uint64_t first;
    } table[] = {
        {{0}, {.first_offset = 1, .next_offset = 100, .bytes = 1000}, 1},
        {{.max_records = 100}, {.first_offset = 1, .next_offset = 100}, 1},
        {{.max_records = 99}, {.first_offset = 1, .next_offset = 100}, 1},
        {{.max_records = 98}, {.first_offset = 1, .next_offset = 100}, 2},
        {{.max_records = 1}, {.first_offset = 1, .next_offset = 100}, 99},
        {{.max_records = 1}, {.first_offset = 100, .next_offset = 100}, 100},
        {{.max_records = 1}, {.first_offset = 1, .next_offset = 1}, 1},
        {{.max_bytes = 1000},
         {.first_offset = 1, .next_offset = 9, .bytes = 1000, .bytes_cut = 5},
         1},
        {{.max_bytes = 999},
         {.first_offset = 1, .next_offset = 9, .bytes = 1000, .bytes_cut = 5},
         5},
        /* the newest record stays, however large */
        {{.max_bytes = 1}, {.first_offset = 1, .next_offset = 9, .bytes = 1000, .bytes_cut = 9}, 8},
        {{.max_bytes = 1}, {.first_offset = 8, .next_offset = 9, .bytes = 1000, .bytes_cut = 9}, 8},
        /* by age all may go */
        {{.max_age_ms = 1}, {.first_offset = 1, .next_offset = 9, .age_cut = 4}, 4},
        {{.max_age_ms = 1}, {.first_offset = 1, .next_offset = 9, .age_cut = 9}, 9},
        {{.max_age_ms = 1}, {.first_offset = 1, .next_offset = 9, .age_cut = 20}, 9},
        /* whichever asks for most */
        {{.max_records = 5, .max_age_ms = 1},
         {.first_offset = 1, .next_offset = 9, .age_cut = 2},
         4},
        {{.max_records = 5, .max_age_ms = 1},
         {.first_offset = 1, .next_offset = 9, .age_cut = 7},
         7},
        /* acked: the groups decide, and without groups nothing goes */
        {{.acked = true}, {.first_offset = 1, .next_offset = 9}, 1},
        {{.acked = true},
         {.first_offset = 1, .next_offset = 9, .has_groups = true, .settled_upto = 0},
         1},
        {{.acked = true},
         {.first_offset = 1, .next_offset = 9, .has_groups = true, .settled_upto = 3},
         4},
        {{.acked = true},
         {.first_offset = 1, .next_offset = 9, .has_groups = true, .settled_upto = 8},
         9},
        {{.acked = true}, /* a group that starts in the future */
         {.first_offset = 1, .next_offset = 9, .has_groups = true, .settled_upto = 70},
         9},
        {{.acked = true},
         {.first_offset = 5, .next_offset = 9, .has_groups = true, .settled_upto = 2},
         5},
        {{.acked = true, .max_records = 1},
         {.first_offset = 1, .next_offset = 9, .has_groups = true, .settled_upto = 3},
         4},
        {{.acked = true, .max_records = 1, .force = true},
         {.first_offset = 1, .next_offset = 9, .has_groups = true, .settled_upto = 3},
         8},
        {{.acked = true, .max_records = 6, .force = true},
         {.first_offset = 1, .next_offset = 9, .has_groups = true, .settled_upto = 5},
         6},
        {{.acked = true, .max_age_ms = 1, .force = true},
         {.first_offset = 1, .next_offset = 9, .age_cut = 3},
         3},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        uint64_t first = retention_decide(&table[i].limits, &table[i].facts);
        ck_assert_msg(first == table[i].first, "row %zu: %lu, not %lu", i, first, table[i].first);
    }
}

/* --- clocks --- */

struct timed {
    struct node node;
    struct timesource_manual hands;
    struct timesource time;
};

static void spec_set(struct node *node, uint32_t field, uint64_t value)
{
    struct buf spec = {0};
    pb_append_varint(&spec, field, value);
    snapshot_begin(&node->changes, node->revision, false);
    catalog_stream_append(&node->changes, NODE_STREAM, 1, buf_span(&spec));
    buf_release(&spec);
}

static void timed_start(struct timed *timed, uint64_t max_age_ms)
{
    node_init(&timed->node);
    timed->hands =
        (struct timesource_manual){.monotonic_us = 50 * MINUTE_US, .real_us = 55 * YEAR_US};
    timed->time = timesource_manual_make(&timed->hands);
    timed->node.options.time = &timed->time;
    spec_set(&timed->node, 2, max_age_ms);
    node_start(&timed->node);
}

static void pass(struct timed *timed, uint64_t us)
{
    timed->hands.monotonic_us += us;
    timed->hands.real_us += us;
}

/* Look, and let what was proposed be applied. */
static uint64_t look_and_apply(struct timed *timed)
{
    struct stream *stream = node_stream(&timed->node, NODE_STREAM);
    retention_look(stream);
    struct answer info;
    for (unsigned i = 0; i < 2; i++) { /* a round trip through the loop, and one for the sync */
        node_ask(&timed->node, RAILGUN__BUS_TYPE__BUS_LOG_STREAM_INFO, NODE_STREAM,
                 (struct span){0}, NULL, &info);
        answer_clear(&info);
    }
    while (replica_in_flight(stream->replica) != 0) {
        node_ask(&timed->node, RAILGUN__BUS_TYPE__BUS_LOG_STREAM_INFO, NODE_STREAM,
                 (struct span){0}, NULL, &info);
        answer_clear(&info);
    }
    return stream->first_offset;
}

TEST(records_go_when_they_are_old_enough_and_not_before)
{
    struct timed timed;
    timed_start(&timed, 60000);
    (void) node_publish(&timed.node, NODE_STREAM, 1, 10, 100);
    pass(&timed, MINUTE_US / 2);
    (void) node_publish(&timed.node, NODE_STREAM, 11, 10, 100);
    ck_assert_uint_eq(look_and_apply(&timed), 1);
    pass(&timed, MINUTE_US / 2 - 1000);
    ck_assert_uint_eq(look_and_apply(&timed), 1);
    pass(&timed, 2000);
    ck_assert_uint_eq(look_and_apply(&timed), 11); /* at the border of a batch */
    pass(&timed, MINUTE_US);
    ck_assert_uint_eq(look_and_apply(&timed), 21);
    node_end(&timed.node);
}

TEST(a_clock_that_jumps_ten_years_removes_nothing)
{
    struct timed timed;
    timed_start(&timed, 3600000);
    (void) node_publish(&timed.node, NODE_STREAM, 1, 100, 100);
    pass(&timed, 30 * MINUTE_US);
    ck_assert_uint_eq(look_and_apply(&timed), 1);
    timed.hands.real_us += 10 * YEAR_US;
    ck_assert_uint_eq(look_and_apply(&timed), 1);
    (void) node_publish(&timed.node, NODE_STREAM, 101, 1, 100);
    for (unsigned i = 0; i < 59; i++) {
        pass(&timed, MINUTE_US);
        ck_assert_uint_eq(look_and_apply(&timed), 1);
    }
    ck_assert_uint_eq(*metrics_counter(timed.node.metrics, "railgun_retention_clock_jumps_total"),
                      1);
    timed.hands.real_us -= 10 * YEAR_US; /* somebody has noticed */
    ck_assert_uint_eq(look_and_apply(&timed), 1);
    pass(&timed, MINUTE_US / 2);
    ck_assert_uint_eq(look_and_apply(&timed), 1); /* not trusted at once */
    pass(&timed, MINUTE_US);
    ck_assert_uint_eq(look_and_apply(&timed), 17); /* a little in a minute */
    ck_assert_uint_eq(look_and_apply(&timed), 17);
    node_end(&timed.node);
}

TEST(a_clock_that_jumps_back_and_forth_removes_nothing)
{
    struct timed timed;
    timed_start(&timed, 3600000);
    (void) node_publish(&timed.node, NODE_STREAM, 1, 100, 100);
    for (unsigned i = 0; i < 200; i++) {
        timed.hands.real_us += i % 2 == 0 ? 10 * YEAR_US : 0;
        timed.hands.real_us -= i % 2 == 1 ? 10 * YEAR_US : 0;
        ck_assert_uint_eq(look_and_apply(&timed), 1);
        timed.hands.monotonic_us += 1000000;
        timed.hands.real_us += 1000000;
    }
    node_end(&timed.node);
}

TEST(a_new_time_that_stands_is_taken)
{
    struct timed timed;
    timed_start(&timed, 3600000);
    (void) node_publish(&timed.node, NODE_STREAM, 1, 100, 100);
    timed.hands.real_us += 3 * HOUR_US;
    ck_assert_uint_eq(look_and_apply(&timed), 1);
    pass(&timed, 59 * MINUTE_US);
    ck_assert_uint_eq(look_and_apply(&timed), 1);
    pass(&timed, 2 * MINUTE_US);
    ck_assert_uint_eq(look_and_apply(&timed), 17);
    node_end(&timed.node);
}

TEST(small_steps_of_the_clock_do_no_harm)
{
    struct timed timed;
    timed_start(&timed, 60000);
    (void) node_publish(&timed.node, NODE_STREAM, 1, 10, 100);
    timed.hands.real_us += 59000000;
    ck_assert_uint_eq(look_and_apply(&timed), 1);
    ck_assert_uint_eq(*metrics_counter(timed.node.metrics, "railgun_retention_clock_jumps_total"),
                      0);
    timed.hands.real_us -= 30000000;
    ck_assert_uint_eq(look_and_apply(&timed), 1);
    pass(&timed, MINUTE_US);
    ck_assert_uint_eq(look_and_apply(&timed), 11);
    node_end(&timed.node);
}

TEST(old_records_of_a_large_stream_go_in_ten_minutes)
{
    struct timed timed;
    timed_start(&timed, 3600000);
    for (uint64_t i = 0; i < 10; i++) {
        (void) node_publish(&timed.node, NODE_STREAM, 1 + i * 100, 100, 10);
    }
    pass(&timed, 2 * HOUR_US);
    ck_assert_uint_eq(look_and_apply(&timed), 101);
    ck_assert_uint_eq(look_and_apply(&timed), 101);
    node_end(&timed.node);
}

/* --- a long life --- */

struct model {
    uint64_t first;
    uint64_t next;
};

static void random_purge(struct node *node, struct prng *rand, struct model *model)
{
    uint64_t kept = model->next - model->first;
    uint64_t before = model->first + prng_below(rand, kept + 1);
    struct buf meta = {0};
    pb_append_varint(&meta, 2, before);
    struct answer answer;
    node_ask(node, RAILGUN__BUS_TYPE__BUS_LOG_PURGE, NODE_STREAM, buf_span(&meta), NULL, &answer);
    ck_assert_int_eq(answer.status, 0);
    ck_assert_uint_eq(meta_number(buf_span(&answer.meta), 1), before - model->first);
    answer_clear(&answer);
    buf_release(&meta);
    model->first = before;
}

static void random_restart(struct node *node, struct prng *rand)
{
    node_stop(node);
    if (prng_below(rand, 2) == 0) {
        node_remove_db(node);
    }
    node_start(node);
}

TEST_WITHIN(a_random_life_is_as_the_model_says, 120)
{
    struct node node;
    node_init(&node);
    struct prng rand;
    const char *seed_text = getenv("TRIM_SEED");
    uint64_t seed = seed_text != NULL ? strtoull(seed_text, NULL, 10) : entropy_u64();
    printf("TRIM_SEED=%lu\n", seed);
    prng_init(&rand, seed);
    node.options.journal.file_bytes = 1 << 20;
    node.options.limits.batch_bytes_max = 256 << 10;
    node.options.release_ms = 1;
    node.options.checkpoint_ms = 20;
    node_start(&node);
    struct model model = {1, 1};
    for (unsigned step = 0; step < 400; step++) {
        uint64_t dice = prng_below(&rand, 100);
        if (dice < 75) {
            uint32_t count = (uint32_t) (1 + prng_below(&rand, 40));
            ck_assert_uint_eq(node_publish(&node, NODE_STREAM, model.next, count,
                                           10 + (size_t) prng_below(&rand, 3000)),
                              model.next);
            model.next += count;
        } else if (dice < 95) {
            random_purge(&node, &rand, &model);
        } else {
            random_restart(&node, &rand);
        }
        struct stream *stream = node_stream(&node, NODE_STREAM);
        ck_assert_uint_eq(stream->first_offset, model.first);
        ck_assert_uint_eq(stream->next_offset, model.next);
        ck_assert_ptr_null(stream->corrupt);
        if (step % 20 == 0 && model.first < model.next) {
            node_check_records(&node, NODE_STREAM, model.first, model.next, 0);
        }
    }
    struct journal_stats stats;
    journal_stats_read(node.logd->journal, &stats);
    ck_assert_uint_gt(stats.first_seq, 1);
    node_end(&node);
}
