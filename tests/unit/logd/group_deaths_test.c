/* Who dies in a group: the four ways at their edges, the breaker, replaying, and what all that does to a group that is delivered to. */
#include "logd/group.h"

#include <string.h>

#include "common/base/err.h"
#include "common/base/rand.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/log.pb-c.h"
#include "tests/lib/test.h"

enum { RECORD_BYTES = 10 };

static struct group *group_make(Railgun__DlqSpec *dlq, bool is_strict)
{
    Railgun__GroupSpec spec = RAILGUN__GROUP_SPEC__INIT;
    char stream[] = "dead";
    struct group_state state;
    struct buf bytes = {0};
    dlq->stream = stream;
    spec.dlq = dlq;
    spec.has_mode = is_strict;
    spec.mode = RAILGUN__GROUP_SPEC__MODE__MODE_EXCLUSIVE;
    uint8_t *room = buf_reserve(&bytes, railgun__group_spec__get_packed_size(&spec));
    buf_advance(&bytes, railgun__group_spec__pack(&spec, room));
    group_state_init(&state, 5);
    ck_assert_int_eq(group_state_configure(&state, span_of("g"), buf_span(&bytes)), 0);
    buf_release(&bytes);
    return group_new(&state);
}

/* What waits, proposed and applied at once. */
static void commit(struct group *group)
{
    struct group_changes changes;
    uint64_t id;
    while (group_has_changes(group)) {
        struct buf bytes = {0};
        group_changes_encode(group, &bytes, 64, &changes); /* in small pieces */
        ck_assert(!changes.is_empty);
        group_changes_proposed(group, &changes);
        ck_assert_int_eq(group_state_check_acks(buf_span(&bytes), &id), 0);
        group_state_apply_acks(group_replicated(group), buf_span(&bytes));
        group_changes_applied(group);
        (void) group_take_reopened(group);
        ck_assert(group_invariant(group));
        buf_release(&bytes);
    }
}

static void join(struct group *group, struct group_member *member)
{
    group_join(group, member, 1);
    group_grant(group, member, 1000, 1000 * RECORD_BYTES);
    if (group_choose_active(group)) {
        commit(group);
    }
}

static bool deliver(struct group *group, uint64_t end, struct group_page *ret_page)
{
    if (!group_next(group, end, ret_page)) {
        return false;
    }
    group_delivered(group, ret_page, ret_page->records_max,
                    (uint64_t) ret_page->records_max * RECORD_BYTES);
    ck_assert(group_invariant(group));
    return true;
}

static void expect_page(struct group *group, uint64_t end, uint64_t first, uint64_t last)
{
    struct group_page page;
    ck_assert(deliver(group, end, &page));
    ck_assert_uint_eq(page.first, first);
    ck_assert_uint_eq(page.records_max, last - first + 1);
}

static void expect_nothing(struct group *group, uint64_t end)
{
    struct group_page page;
    ck_assert(!group_next(group, end, &page));
}

/* The code of the first result; 0: none. */
static int handle(struct group *group, struct group_member *member, enum group_verb verb,
                  uint64_t first, uint64_t last)
{
    struct ack_results results = {0};
    group_handle_range(group, member, verb, first, last, &results);
    int error = results.count > 0 ? results.items[0].error : 0;
    ack_results_release(&results);
    ck_assert(group_invariant(group));
    return error;
}

static void expect_dying(struct group *group, uint64_t first, uint64_t last, int reason,
                         uint32_t failed, uint32_t attempts)
{
    commit(group);
    const struct group_graves *dying = &group_replicated(group)->dead.dying;
    ck_assert_uint_eq(group_graves_count_in(dying, first, last), last - first + 1);
    const struct group_grave *grave = group_graves_find(dying, first);
    ck_assert_int_eq((int) grave->reason, reason);
    ck_assert_uint_eq(grave->failed, failed);
    ck_assert_uint_eq(grave->attempts, attempts);
}

static void end(struct group **group)
{
    struct group_member *member;
    while ((member = group_member_next(*group, NULL)) != NULL) {
        group_leave(*group, member, false);
    }
    group_destroy(group);
}

TEST(the_last_failure_kills_and_the_one_before_does_not)
{
    Railgun__DlqSpec dlq = RAILGUN__DLQ_SPEC__INIT;
    dlq.has_max_failed = 1;
    dlq.max_failed = 2;
    struct group *group = group_make(&dlq, false);
    struct group_member a;
    join(group, &a);
    expect_page(group, 4, 1, 3);
    group_blame(group, span_of("first"), span_of("a"));
    ck_assert_int_eq(handle(group, &a, GROUP_NACK, 2, 2), 0);
    expect_page(group, 4, 2, 2);
    ck_assert_int_eq(handle(group, &a, GROUP_RELEASE, 2, 2), 0); /* not counted */
    expect_page(group, 4, 2, 2);
    group_blame(group, span_of("second"), span_of("a"));
    ck_assert_int_eq(handle(group, &a, GROUP_NACK, 1, 3), 0);
    expect_dying(group, 2, 2, RAILGUN__DEAD__REASON__MAX_FAILED, 2, 3);
    ck_assert_str_eq(group_replicated(group)->dead.dying.items[0].error, "second");
    ck_assert_str_eq(group_replicated(group)->dead.dying.items[0].consumer, "a");
    ck_assert_int_eq(handle(group, &a, GROUP_ACK, 2, 2), ERR_ALREADY);
    expect_page(group, 4, 1, 1);
    expect_page(group, 4, 3, 3);
    expect_nothing(group, 4);
    /* With a delay, and by leaving. */
    const struct group_nack delay = {.has_delay = true, .delay_ms = 1000};
    struct ack_results results = {0};
    group_handle_nack(group, &a, &delay, 1, 1, &results);
    expect_dying(group, 1, 1, RAILGUN__DEAD__REASON__MAX_FAILED, 2, 2);
    group_leave(group, &a, true);
    expect_dying(group, 3, 3, RAILGUN__DEAD__REASON__MAX_FAILED, 2, 2);
    ck_assert_uint_eq(group_replicated(group)->floor, 3);
    ack_results_release(&results);
    end(&group);
}

TEST(without_a_limit_nothing_dies_of_failures)
{
    Railgun__DlqSpec dlq = RAILGUN__DLQ_SPEC__INIT;
    dlq.has_max_failed = 1;
    struct group *group = group_make(&dlq, false);
    struct group_member a;
    join(group, &a);
    expect_page(group, 2, 1, 1);
    for (unsigned i = 0; i < 50; i++) {
        ck_assert_int_eq(handle(group, &a, GROUP_NACK, 1, 1), 0);
        expect_page(group, 2, 1, 1);
    }
    commit(group);
    ck_assert_uint_eq(group_replicated(group)->dead.dying.count, 0);
    end(&group);
}

TEST(the_distance_is_exact_and_is_from_what_was_acknowledged)
{
    Railgun__DlqSpec dlq = RAILGUN__DLQ_SPEC__INIT;
    dlq.has_max_distance = 1;
    dlq.max_distance = 5;
    struct group *group = group_make(&dlq, false);
    struct group_member a;
    join(group, &a);
    expect_page(group, 21, 1, 20);
    ck_assert_int_eq(handle(group, &a, GROUP_NACK, 2, 2), 0); /* one waits, others are held */
    ck_assert_int_eq(handle(group, &a, GROUP_ACK, 5, 5), 0);
    group_check_distance(group);
    commit(group);
    ck_assert_uint_eq(group_replicated(group)->dead.dying.count, 0);
    ck_assert_int_eq(handle(group, &a, GROUP_ACK, 7, 7), 0);
    group_check_distance(group);
    expect_dying(group, 1, 1, RAILGUN__DEAD__REASON__DISTANCE, 0, 1);
    expect_dying(group, 2, 2, RAILGUN__DEAD__REASON__DISTANCE, 1, 1);
    ck_assert_uint_eq(group_replicated(group)->dead.dying.total, 2);
    /* What died does not count as acknowledged: 20 is rejected, and nothing else dies. */
    ck_assert_int_eq(handle(group, &a, GROUP_REJECT, 20, 20), 0);
    group_check_distance(group);
    commit(group);
    ck_assert_uint_eq(group_replicated(group)->dead.dying.total, 3);
    end(&group);
}

TEST(in_strict_order_nothing_dies_of_distance)
{
    Railgun__DlqSpec dlq = RAILGUN__DLQ_SPEC__INIT;
    dlq.has_max_distance = 1;
    dlq.max_distance = 1;
    struct group *group = group_make(&dlq, true);
    struct group_member a;
    join(group, &a);
    expect_page(group, 21, 1, 20);
    ck_assert_int_eq(handle(group, &a, GROUP_REJECT, 1, 1), 0);
    ck_assert_int_eq(handle(group, &a, GROUP_ACK, 3, 3), 0);
    group_check_distance(group);
    commit(group);
    ck_assert_uint_eq(group_replicated(group)->dead.dying.total, 1);
    ck_assert_uint_eq(group_replicated(group)->floor, 3);
    ck_assert_uint_eq(group_exclusive_faults(group), 0);
    end(&group);
}

TEST(what_is_too_old_dies_before_it_is_delivered)
{
    Railgun__DlqSpec dlq = RAILGUN__DLQ_SPEC__INIT;
    struct group *group = group_make(&dlq, false);
    struct group_member a;
    struct group_page page;
    join(group, &a);
    ck_assert(group_next(group, 11, &page));
    ck_assert_uint_eq(group_die_of_age(group, 1, 4, page.is_again), 4);
    expect_dying(group, 1, 4, RAILGUN__DEAD__REASON__MAX_AGE, 0, 0);
    expect_page(group, 11, 5, 10);
    ck_assert_int_eq(handle(group, &a, GROUP_NACK, 5, 10), 0);
    ck_assert(group_next(group, 11, &page) && page.is_again);
    ck_assert_uint_eq(group_die_of_age(group, 5, 2, true), 2);
    expect_dying(group, 5, 6, RAILGUN__DEAD__REASON__MAX_AGE, 1, 1);
    expect_page(group, 11, 7, 10);
    end(&group);
}

TEST(what_is_replayed_is_delivered_again_and_spared_of_distance_and_age)
{
    Railgun__DlqSpec dlq = RAILGUN__DLQ_SPEC__INIT;
    dlq.has_max_distance = 1;
    dlq.max_distance = 3;
    struct group *group = group_make(&dlq, false);
    struct group_member a;
    struct group_page page;
    join(group, &a);
    expect_page(group, 11, 1, 10);
    ck_assert_int_eq(handle(group, &a, GROUP_REJECT, 2, 3), 0);
    ck_assert_int_eq(handle(group, &a, GROUP_ACK, 1, 1), 0);
    ck_assert_int_eq(handle(group, &a, GROUP_ACK, 4, 9), 0);
    commit(group);
    group_note_buried(group, 2, 3, 50, 7);
    commit(group);
    group_note_replayed(group, 1, 10);
    commit(group);
    ck_assert_uint_eq(group_replicated(group)->floor, 1);
    ck_assert(group_next(group, 11, &page));
    ck_assert_uint_eq(group_die_of_age(group, page.first, 2, page.is_again), 0);
    expect_page(group, 11, 2, 3);
    ck_assert_int_eq(handle(group, &a, GROUP_ACK, 10, 10), 0);
    group_check_distance(group);
    commit(group);
    ck_assert_uint_eq(group_replicated(group)->dead.dying.count, 0);
    ck_assert_int_eq(handle(group, &a, GROUP_ACK, 2, 3), 0);
    commit(group);
    ck_assert_uint_eq(group_replicated(group)->floor, 10);
    ck_assert_uint_eq(group_replicated(group)->dead.reopened.count, 0);
    end(&group);
}

TEST(a_replay_in_strict_order_takes_back_what_is_ahead)
{
    Railgun__DlqSpec dlq = RAILGUN__DLQ_SPEC__INIT;
    struct group *group = group_make(&dlq, true);
    struct group_member a;
    join(group, &a);
    expect_page(group, 11, 1, 10);
    ck_assert_int_eq(handle(group, &a, GROUP_REJECT, 2, 2), 0);
    ck_assert_int_eq(handle(group, &a, GROUP_ACK, 5, 5), 0);
    commit(group);
    ck_assert_uint_eq(group_replicated(group)->floor, 5);
    group_note_buried(group, 2, 2, 1, 7);
    group_note_replayed(group, 2, 2);
    commit(group);
    ck_assert_uint_eq(a.standing.rewound, 2);
    expect_page(group, 11, 2, 2);
    expect_page(group, 11, 6, 10);
    ck_assert_int_eq(handle(group, &a, GROUP_ACK, 10, 10), 0);
    commit(group);
    ck_assert_uint_eq(group_replicated(group)->floor, 10);
    ck_assert_uint_eq(group_exclusive_faults(group), 0);
    end(&group);
}

TEST(a_replay_in_strict_order_says_nothing_to_who_is_not_active_yet)
{
    Railgun__DlqSpec dlq = RAILGUN__DLQ_SPEC__INIT;
    struct group *group = group_make(&dlq, true);
    struct group_member a;
    struct group_changes changes;
    struct buf bytes = {0};
    join(group, &a);
    expect_page(group, 11, 1, 10);
    ck_assert_int_eq(handle(group, &a, GROUP_REJECT, 2, 2), 0);
    ck_assert_int_eq(handle(group, &a, GROUP_ACK, 5, 5), 0);
    commit(group);
    group_note_buried(group, 2, 2, 1, 7);
    commit(group);
    group_leave(group, &a, false);
    group_note_replayed(group, 2, 2);
    group_changes_encode(group, &bytes, 4096, &changes);
    group_changes_proposed(group, &changes);
    group_join(group, &a, 1);
    group_grant(group, &a, 1000, 1000 * RECORD_BYTES);
    ck_assert(group_choose_active(group)); /* its epoch comes after the replay */
    group_state_apply_acks(group_replicated(group), buf_span(&bytes));
    group_changes_applied(group);
    ck_assert(group_take_reopened(group));
    ck_assert_uint_eq(a.standing.rewound, 0);
    commit(group);
    ck_assert(group_member_is_active(group, &a));
    expect_page(group, 11, 2, 2);
    expect_page(group, 11, 6, 10);
    ck_assert_uint_eq(group_exclusive_faults(group), 0);
    buf_release(&bytes);
    end(&group);
}

TEST(a_replay_that_a_seek_overtakes_changes_nothing)
{
    Railgun__DlqSpec dlq = RAILGUN__DLQ_SPEC__INIT;
    struct group *group = group_make(&dlq, false);
    struct group_member a;
    struct group_changes changes;
    struct buf bytes = {0};
    join(group, &a);
    expect_page(group, 11, 1, 10);
    ck_assert_int_eq(handle(group, &a, GROUP_REJECT, 2, 2), 0);
    commit(group);
    group_note_buried(group, 2, 2, 1, 7);
    commit(group);
    group_note_replayed(group, 2, 2);
    group_changes_encode(group, &bytes, 1 << 20, &changes);
    group_changes_proposed(group, &changes);
    group_seek(group, 8); /* before the entry comes back */
    group_state_apply_acks(group_replicated(group), buf_span(&bytes));
    group_changes_applied(group);
    ck_assert(!group_take_reopened(group));
    commit(group);
    ck_assert_uint_eq(group_replicated(group)->floor, 8);
    ck_assert(group_invariant(group));
    expect_page(group, 11, 9, 10);
    buf_release(&bytes);
    end(&group);
}

TEST(trimmed_records_end_what_is_held_but_not_what_was_replayed)
{
    Railgun__DlqSpec dlq = RAILGUN__DLQ_SPEC__INIT;
    struct group *group = group_make(&dlq, false);
    struct group_member a;
    join(group, &a);
    expect_page(group, 11, 1, 10);
    ck_assert_int_eq(handle(group, &a, GROUP_REJECT, 3, 4), 0);
    commit(group);
    group_note_buried(group, 3, 4, 1, 7);
    group_note_replayed(group, 4, 4);
    commit(group);
    expect_page(group, 11, 4, 4);
    ck_assert_uint_eq(group_trim(group, 8), 5); /* 1, 2 and 5 to 7 */
    ck_assert(group_invariant(group));
    ck_assert_uint_eq(group_replicated(group)->floor, 3);
    ck_assert_int_eq(handle(group, &a, GROUP_ACK, 4, 4), 0);
    commit(group);
    ck_assert_uint_eq(group_replicated(group)->floor, 7);
    group_note_replayed(group, 3, 3);
    commit(group);
    struct group_page page;
    ck_assert(group_next(group, 11, &page));
    ck_assert_uint_eq(page.first, 3);
    group_die_unread(group, 3); /* its copy is gone as well */
    commit(group);
    ck_assert_uint_eq(group_replicated(group)->floor, 7);
    ck_assert_uint_eq(group_replicated(group)->gap_records, 6);
    end(&group);
}

TEST(a_group_that_is_blocked_or_has_too_many_dying_delivers_nothing_new)
{
    Railgun__DlqSpec dlq = RAILGUN__DLQ_SPEC__INIT;
    struct group *group = group_make(&dlq, false);
    struct group_member a;
    join(group, &a);
    group_block_dead(group, true);
    expect_nothing(group, 11);
    group_block_dead(group, false);
    expect_page(group, 11, 1, 10);
    group_replicated(group)->limits.holes_max = 2;
    ck_assert_int_eq(handle(group, &a, GROUP_REJECT, 1, 1), 0);
    ck_assert_int_eq(handle(group, &a, GROUP_ACK, 2, 2), 0);
    ck_assert_int_eq(handle(group, &a, GROUP_REJECT, 3, 3), 0);
    commit(group);
    expect_nothing(group, 21);
    ck_assert_int_eq(handle(group, &a, GROUP_RELEASE, 5, 5), 0);
    expect_page(group, 21, 5, 5); /* what came back goes on */
    group_note_buried(group, 1, 1, 1, 7);
    commit(group);
    expect_page(group, 21, 11, 20);
    end(&group);
}

/* --- breaker --- */

TEST(the_breaker_opens_at_its_ratio_and_not_before_so_many_are_settled)
{
    const struct group_dlq_limits limits = {
        .breaker_ratio_percent = 25, .breaker_window_ms = 1600, .breaker_min = 8};
    struct group_breaker breaker = {0};
    group_breaker_note(&breaker, &limits, 1000, 1, 1);
    group_breaker_note(&breaker, &limits, 1000, 1, 1);
    ck_assert(!group_breaker_is_open(&breaker, &limits, 1000)); /* all, but of two */
    group_breaker_note(&breaker, &limits, 1000, 6, 0);
    ck_assert(group_breaker_is_open(&breaker, &limits, 1000)); /* two of eight */
    group_breaker_note(&breaker, &limits, 1100, 1, 0);
    ck_assert(!group_breaker_is_open(&breaker, &limits, 1100)); /* two of nine */
    group_breaker_note(&breaker, &limits, 1100, 3, 1);
    ck_assert(group_breaker_is_open(&breaker, &limits, 1100));  /* three of twelve */
    ck_assert(!group_breaker_is_open(&breaker, &limits, 2699)); /* one of four is left */
    ck_assert(!group_breaker_is_open(&breaker, &limits, 5000));
    const struct group_dlq_limits off = {.breaker_window_ms = 1600, .breaker_min = 1};
    group_breaker_note(&breaker, &off, 1000, 1, 1);
    ck_assert(!group_breaker_is_open(&breaker, &off, 1000));
}

TEST(an_open_breaker_is_told_once_and_begins_anew_after_the_pause)
{
    Railgun__DlqSpec dlq = RAILGUN__DLQ_SPEC__INIT;
    dlq.has_breaker_ratio_percent = dlq.has_breaker_min = 1;
    dlq.breaker_ratio_percent = 50;
    dlq.breaker_min = 4;
    struct group *group = group_make(&dlq, false);
    struct group_member a;
    join(group, &a);
    group_tick(group, 1000000, 1000000);
    expect_page(group, 11, 1, 10);
    ck_assert_int_eq(handle(group, &a, GROUP_REJECT, 1, 2), 0);
    ck_assert(!group_breaker_opened(group));
    ck_assert_int_eq(handle(group, &a, GROUP_ACK, 3, 4), 0);
    ck_assert(group_breaker_opened(group));
    ck_assert(group_pause(group, RAILGUN__GROUP_PAUSE__PAUSED_BY_BREAKER));
    ck_assert(!group_breaker_opened(group));
    ck_assert_int_eq(handle(group, &a, GROUP_REJECT, 5, 10), 0);
    ck_assert(!group_breaker_opened(group)); /* it is paused */
    ck_assert(group_pause(group, RAILGUN__GROUP_PAUSE__NOT_PAUSED));
    ck_assert(!group_breaker_opened(group));
    end(&group);
}
