/* One group, step by step: what is delivered to whom, and what acknowledgements do. */
#include "logd/group.h"

#include "common/base/err.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/log.pb-c.h"
#include "tests/lib/test.h"

/* A group with these limits (0: default), everything from 1 on to be delivered. */
static struct group *group_make(uint32_t in_flight, uint32_t member_in_flight, uint32_t holes)
{
    Railgun__GroupSpec spec = RAILGUN__GROUP_SPEC__INIT;
    spec.has_max_in_flight = spec.has_max_in_flight_member = spec.has_max_holes = 1;
    spec.max_in_flight = in_flight;
    spec.max_in_flight_member = member_in_flight;
    spec.max_holes = holes;
    uint8_t bytes[64];
    size_t size = railgun__group_spec__pack(&spec, bytes);
    struct group_state state;
    group_state_init(&state, 5);
    ck_assert_int_eq(group_state_configure(&state, span_of("g"), span_make(bytes, size)), 0);
    return group_new(&state);
}

static void join(struct group *group, struct group_member *member, uint64_t number,
                 uint64_t messages, uint64_t bytes)
{
    group_join(group, member, number);
    group_grant(group, member, messages, bytes);
}

enum { RECORD_BYTES = 10 };

/* Deliver one page of records of 10 bytes; false if there is nothing to deliver. */
static bool deliver(struct group *group, uint64_t end, struct group_page *ret_page,
                    uint32_t *ret_count)
{
    if (!group_next(group, end, ret_page)) {
        return false;
    }
    uint64_t count = ret_page->bytes_max / RECORD_BYTES;
    count = count == 0 ? 1 : count;
    *ret_count = count < ret_page->records_max ? (uint32_t) count : ret_page->records_max;
    if (!group_page_fits(group, ret_page, *ret_count, (uint64_t) *ret_count * RECORD_BYTES)) {
        *ret_count = 0;
        return true;
    }
    group_delivered(group, ret_page, *ret_count, (uint64_t) *ret_count * RECORD_BYTES);
    ck_assert(group_invariant(group));
    return true;
}

static void expect_page(struct group *group, uint64_t end, const struct group_member *member,
                        uint64_t first, uint32_t count)
{
    struct group_page page;
    uint32_t delivered;
    ck_assert(deliver(group, end, &page, &delivered));
    ck_assert_uint_eq(page.member->number, member->number);
    ck_assert_uint_eq(page.first, first);
    ck_assert_uint_eq(delivered, count);
}

static void expect_nothing(struct group *group, uint64_t end)
{
    struct group_page page;
    ck_assert(!group_next(group, end, &page));
}

/* The results as text: "5-7:ALREADY 9-9:...". */
static const char *handle(struct group *group, struct group_member *member, enum group_verb verb,
                          uint64_t first, uint64_t last)
{
    static struct buf text;
    struct ack_results results = {0};
    group_handle_range(group, member, verb, first, last, &results);
    ck_assert(group_invariant(group));
    buf_reset(&text);
    for (uint32_t i = 0; i < results.count; i++) {
        buf_printf(&text, "%s%llu-%llu:%s", i > 0 ? " " : "",
                   (unsigned long long) results.items[i].first,
                   (unsigned long long) results.items[i].last, err_name(results.items[i].error));
    }
    ack_results_release(&results);
    return buf_text(&text);
}

static void leave_all(struct group **group)
{
    struct group_member *member;
    while ((member = group_member_next(*group, NULL)) != NULL) {
        group_leave(*group, member, false);
    }
    group_destroy(group);
}

/* What waits, proposed and applied at once. */
static void commit(struct group *group)
{
    struct buf bytes = {0};
    struct group_changes changes;
    uint64_t id;
    group_changes_encode(group, &bytes, 1 << 20, &changes);
    ck_assert(!changes.is_empty);
    ck_assert(changes.is_all);
    group_changes_proposed(group, &changes);
    ck_assert_int_eq(group_state_check_acks(buf_span(&bytes), &id), 0);
    group_state_apply_acks(group_replicated(group), buf_span(&bytes));
    group_changes_applied(group);
    buf_release(&bytes);
}

TEST(nothing_goes_out_without_credit)
{
    struct group *group = group_make(0, 0, 0);
    struct group_member a;
    join(group, &a, 1, 0, 0);
    expect_nothing(group, 11);
    group_grant(group, &a, 3, 0);
    expect_nothing(group, 11);
    group_grant(group, &a, 0, 1000);
    expect_page(group, 11, &a, 1, 3);
    expect_nothing(group, 11);
    group_grant(group, &a, 100, 0);
    expect_page(group, 11, &a, 4, 7);
    expect_nothing(group, 11);
    leave_all(&group);
}

TEST(byte_credit_is_never_exceeded)
{
    struct group *group = group_make(0, 0, 0);
    struct group_member a;
    join(group, &a, 1, 100, 35);
    expect_page(group, 101, &a, 1, 3);
    ck_assert_int_eq(a.credit_bytes, 5);
    /* 5 bytes are left and a record of 10 is next: it waits until there is credit for it. */
    struct group_page page;
    uint32_t count;
    ck_assert(deliver(group, 101, &page, &count));
    ck_assert_uint_eq(count, 0);
    expect_nothing(group, 101);
    group_grant(group, &a, 0, 4);
    expect_nothing(group, 101);
    group_grant(group, &a, 0, 1);
    expect_page(group, 101, &a, 4, 1);
    ck_assert_int_eq(a.credit_bytes, 0);
    leave_all(&group);
}

TEST(a_record_larger_than_all_credit_goes_out_alone_and_leaves_a_debt)
{
    struct group *group = group_make(0, 0, 0);
    struct group_member a;
    join(group, &a, 1, 100, 4);
    expect_page(group, 101, &a, 1, 1);
    ck_assert_int_eq(a.credit_bytes, -6);
    expect_nothing(group, 101);
    ck_assert_str_eq(handle(group, &a, GROUP_ACK, 1, 1), "");
    expect_nothing(group, 101); /* the debt comes first */
    group_grant(group, &a, 1, 10);
    ck_assert_int_eq(a.credit_bytes, 4);
    expect_page(group, 101, &a, 2, 1);
    leave_all(&group);
}

TEST(a_member_waits_for_a_large_record_only_while_it_is_next)
{
    struct group *group = group_make(0, 0, 0);
    struct group_member a;
    struct group_member b;
    struct group_page page;
    join(group, &a, 1, 10, 30);
    expect_page(group, 2, &a, 1, 1);
    ck_assert(group_next(group, 3, &page));
    ck_assert(!group_page_fits(group, &page, 1, 500));
    expect_nothing(group, 3);
    join(group, &b, 2, 1, 1000);
    ck_assert(group_next(group, 3, &page));
    ck_assert_uint_eq(page.member->number, 2);
    ck_assert(group_page_fits(group, &page, 1, 500));
    group_delivered(group, &page, 1, 500);
    expect_page(group, 4, &a, 3, 1); /* the large one is gone, this one is small */
    leave_all(&group);
}

TEST(credit_that_overflows_is_endless)
{
    struct group *group = group_make(0, 0, 0);
    struct group_member a;
    join(group, &a, 1, UINT64_MAX, UINT64_MAX);
    group_grant(group, &a, UINT64_MAX, UINT64_MAX);
    group_grant(group, &a, 1, 1);
    ck_assert_uint_eq(a.credit_messages, UINT64_MAX);
    ck_assert_int_gt(a.credit_bytes, 1LL << 60);
    expect_page(group, 11, &a, 1, 10);
    leave_all(&group);
}

TEST(a_short_backlog_is_shared_and_a_long_one_goes_round)
{
    struct group *group = group_make(100000, 0, 0);
    struct group_member a;
    struct group_member b;
    struct group_member c;
    join(group, &a, 1, 50000, 1 << 30);
    join(group, &b, 2, 50000, 1 << 30);
    join(group, &c, 3, 50000, 1 << 30);
    expect_page(group, 10, &a, 1, 3);
    expect_page(group, 10, &b, 4, 2);
    expect_page(group, 10, &c, 6, 2);
    expect_page(group, 10, &a, 8, 1);
    expect_page(group, 10, &b, 9, 1);
    expect_nothing(group, 10);
    uint32_t full = GROUP_PAGE_BYTES_MAX / RECORD_BYTES;
    expect_page(group, 200000, &c, 10, full);
    expect_page(group, 200000, &a, 10 + full, full);
    leave_all(&group);
}

TEST(limits_of_group_and_member_hold)
{
    struct group *group = group_make(10, 6, 0);
    struct group_member a;
    struct group_member b;
    join(group, &a, 1, 100, 10000);
    expect_page(group, 101, &a, 1, 6);
    expect_nothing(group, 101);
    join(group, &b, 2, 100, 10000);
    expect_page(group, 101, &b, 7, 4);
    expect_nothing(group, 101);
    ck_assert_str_eq(handle(group, &a, GROUP_ACK, 3, 3), "");
    expect_page(group, 101, &b, 11, 1); /* its turn came first */
    expect_nothing(group, 101);
    ck_assert_str_eq(handle(group, &b, GROUP_ACK, 1, 100),
                     "1-2:STALE_DELIVERY 3-3:ALREADY 4-6:STALE_DELIVERY 12-100:NOT_DELIVERED");
    expect_page(group, 101, &a, 12, 1);
    expect_page(group, 101, &b, 13, 4);
    expect_nothing(group, 101);
    leave_all(&group);
}

TEST(each_part_of_a_range_has_its_own_result)
{
    struct group *group = group_make(0, 0, 0);
    struct group_member a;
    struct group_member b;
    join(group, &a, 1, 10, 10000);
    expect_page(group, 101, &a, 1, 10);
    join(group, &b, 2, 10, 10000);
    expect_page(group, 101, &b, 11, 10);
    ck_assert_str_eq(handle(group, &a, GROUP_ACK, 1, 3), "");
    ck_assert_str_eq(handle(group, &a, GROUP_ACK, 6, 6), "");
    ck_assert_str_eq(handle(group, &a, GROUP_NACK, 8, 8), "");
    ck_assert_str_eq(handle(group, &a, GROUP_EXTEND, 1, 12),
                     "1-3:ALREADY 6-6:ALREADY 8-8:STALE_DELIVERY 11-12:STALE_DELIVERY");
    ck_assert_str_eq(handle(group, &a, GROUP_REJECT, 3, 5), "3-3:ALREADY 4-5:BAD_CONFIG");
    ck_assert_str_eq(handle(group, &a, GROUP_ACK, 0, 5), "0-5:BAD_REQUEST");
    ck_assert_str_eq(handle(group, &a, GROUP_ACK, 5, 4), "5-4:BAD_REQUEST");
    ck_assert_str_eq(handle(group, &a, GROUP_ACK, 9, UINT64_MAX),
                     "11-20:STALE_DELIVERY 21-18446744073709551615:NOT_DELIVERED");
    ck_assert_str_eq(handle(group, &a, GROUP_ACK, UINT64_MAX, UINT64_MAX),
                     "18446744073709551615-18446744073709551615:NOT_DELIVERED");
    leave_all(&group);
}

TEST(up_to_covers_what_the_member_holds_and_no_more)
{
    struct group *group = group_make(0, 0, 0);
    struct group_member a;
    struct group_member b;
    join(group, &a, 1, 5, 10000);
    expect_page(group, 101, &a, 1, 5);
    join(group, &b, 2, 5, 10000);
    expect_page(group, 101, &b, 6, 5);
    group_grant(group, &a, 5, 0);
    expect_page(group, 101, &a, 11, 5);
    group_ack_up_to(group, &a, 12);
    ck_assert_uint_eq(a.acked, 7);
    struct group_numbers numbers;
    group_numbers(group, &numbers);
    ck_assert_uint_eq(numbers.floor, 5);
    ck_assert_uint_eq(numbers.acked_above, 2);
    ck_assert_uint_eq(numbers.held, 8);
    group_ack_up_to(group, &b, UINT64_MAX);
    group_numbers(group, &numbers);
    ck_assert_uint_eq(numbers.floor, 12);
    leave_all(&group);
}

TEST(a_nack_comes_back_before_new_ones_and_to_another_member)
{
    struct group *group = group_make(0, 0, 0);
    struct group_member a;
    struct group_member b;
    join(group, &a, 1, 5, 10000);
    expect_page(group, 101, &a, 1, 5);
    ck_assert_str_eq(handle(group, &a, GROUP_NACK, 2, 2), "");
    ck_assert_str_eq(handle(group, &a, GROUP_RELEASE, 4, 4), "");
    group_grant(group, &a, 100, 0);
    join(group, &b, 2, 2, 10000);
    expect_page(group, 101, &b, 2, 1); /* a is first in the round, but has just refused it */
    expect_page(group, 101, &b, 4, 1);
    struct group_again again[8];
    uint64_t last;
    ck_assert_uint_eq(group_tries_of(group, 1, 100, again, 8, &last), 5);
    ck_assert_uint_eq(last, 100);
    ck_assert_uint_eq(again[0].tries.attempt, 1);
    ck_assert_uint_eq(again[1].first, 2);
    ck_assert_uint_eq(again[1].tries.attempt, 2);
    ck_assert_uint_eq(again[1].tries.failed, 1);
    ck_assert_uint_eq(again[3].first, 4);
    ck_assert_uint_eq(again[3].tries.attempt, 2);
    ck_assert_uint_eq(again[3].tries.failed, 0);
    ck_assert_uint_eq(group_tries_of(group, 1, 100, again, 1, &last), 1);
    ck_assert_uint_eq(last, 1);
    /* Nobody else has credit: the nacker gets it again. */
    ck_assert_str_eq(handle(group, &a, GROUP_NACK, 3, 3), "");
    expect_page(group, 101, &a, 3, 1);
    leave_all(&group);
}

TEST(what_a_leaving_member_held_is_ready_at_once)
{
    struct group *group = group_make(0, 0, 0);
    struct group_member a;
    struct group_member b;
    join(group, &a, 1, 5, 10000);
    expect_page(group, 101, &a, 1, 5);
    ck_assert_str_eq(handle(group, &a, GROUP_ACK, 3, 3), "");
    group_leave(group, &a, true);
    ck_assert(group_invariant(group));
    join(group, &b, 2, 10, 10000);
    expect_page(group, 101, &b, 1, 2);
    expect_page(group, 101, &b, 4, 2);
    expect_page(group, 101, &b, 6, 6);
    struct group_again again[4];
    uint64_t last;
    ck_assert_uint_eq(group_tries_of(group, 4, 9, again, 4, &last), 2);
    ck_assert_uint_eq(again[0].first, 4);
    ck_assert_uint_eq(again[0].last, 5);
    ck_assert_uint_eq(again[0].tries.attempt, 2);
    ck_assert_uint_eq(again[0].tries.failed, 1);
    ck_assert_uint_eq(again[1].tries.attempt, 1);
    leave_all(&group);
}

TEST(too_many_holes_stop_new_messages_but_not_old_ones)
{
    struct group *group = group_make(0, 0, 4);
    struct group_member a;
    join(group, &a, 1, 1000, 100000);
    expect_page(group, 21, &a, 1, 20);
    for (uint64_t offset = 2; offset <= 8; offset += 2) {
        ck_assert_str_eq(handle(group, &a, GROUP_ACK, offset, offset), "");
    }
    ck_assert(!group_became_full(group));
    expect_nothing(group, 101);
    ck_assert(group_became_full(group));
    ck_assert(!group_became_full(group));
    ck_assert_str_eq(handle(group, &a, GROUP_NACK, 1, 1), "");
    expect_page(group, 101, &a, 1, 1);
    expect_nothing(group, 101);
    ck_assert_str_eq(handle(group, &a, GROUP_ACK, 1, 1), "");
    expect_nothing(group, 101); /* three holes: it goes on at half */
    ck_assert_str_eq(handle(group, &a, GROUP_ACK, 3, 3), "");
    expect_page(group, 101, &a, 21, 80);
    ck_assert(!group_became_full(group));
    leave_all(&group);
}

TEST(damaged_offsets_are_skipped_and_stay_unacknowledged)
{
    struct group *group = group_make(0, 0, 0);
    struct group_member a;
    struct group_page page;
    join(group, &a, 1, 1000, 100000);
    expect_page(group, 6, &a, 1, 5);
    ck_assert(group_next(group, 101, &page));
    group_skip(group, &page, 9);
    expect_page(group, 21, &a, 10, 11);
    ck_assert_str_eq(handle(group, &a, GROUP_ACK, 1, 20), "6-9:NOT_DELIVERED");
    ck_assert_str_eq(handle(group, &a, GROUP_ACK, 1, 20),
                     "1-5:ALREADY 6-9:NOT_DELIVERED 10-20:ALREADY");
    struct group_numbers numbers;
    group_numbers(group, &numbers);
    ck_assert_uint_eq(numbers.floor, 5);
    ck_assert_uint_eq(numbers.skipped, 4);
    leave_all(&group);
}

TEST(damage_found_at_redelivery_takes_only_what_was_ready)
{
    struct group *group = group_make(0, 0, 0);
    struct group_member a;
    struct group_page page;
    join(group, &a, 1, 1000, 100000);
    expect_page(group, 11, &a, 1, 10);
    ck_assert_str_eq(handle(group, &a, GROUP_NACK, 3, 4), "");
    ck_assert(group_next(group, 11, &page));
    ck_assert_uint_eq(group_skip_end(group, &page, 8), 4);
    group_skip(group, &page, 8);
    struct group_numbers numbers;
    group_numbers(group, &numbers);
    ck_assert_uint_eq(numbers.skipped, 2);
    ck_assert_uint_eq(numbers.held, 8);
    leave_all(&group);
}

TEST(a_blocked_member_is_passed_over)
{
    struct group *group = group_make(0, 0, 0);
    struct group_member a;
    struct group_member b;
    join(group, &a, 1, 10, 10000);
    join(group, &b, 2, 3, 10000);
    group_block(group, &a, true);
    expect_page(group, 101, &b, 1, 3);
    expect_nothing(group, 101);
    group_grant(group, &a, 10, 10);
    expect_nothing(group, 101);
    group_block(group, &a, false);
    expect_page(group, 101, &a, 4, 20);
    leave_all(&group);
}

TEST(a_new_life_delivers_again_what_was_not_committed)
{
    struct group *group = group_make(0, 0, 0);
    struct group_member a;
    join(group, &a, 1, 10, 10000);
    expect_page(group, 101, &a, 1, 10);
    ck_assert_str_eq(handle(group, &a, GROUP_ACK, 1, 2), "");
    ck_assert_str_eq(handle(group, &a, GROUP_ACK, 6, 7), "");
    ck_assert_str_eq(handle(group, &a, GROUP_NACK, 4, 4), "");
    commit(group);
    ck_assert_str_eq(handle(group, &a, GROUP_ACK, 3, 3), ""); /* never proposed */
    struct buf bytes = {0};
    group_state_encode(group_replicated(group), &bytes);
    leave_all(&group);

    struct group_state state;
    ck_assert_int_eq(group_state_decode(&state, buf_span(&bytes)), 0);
    buf_release(&bytes);
    group = group_new(&state);
    join(group, &a, 1, 100, 10000);
    expect_page(group, 12, &a, 3, 3); /* 3 to 5 again, then what was never answered */
    struct group_again again[4];
    uint64_t last;
    ck_assert_uint_eq(group_tries_of(group, 3, 12, again, 4, &last), 4);
    ck_assert_uint_eq(again[0].tries.attempt, 2);
    ck_assert_uint_eq(again[0].tries.failed, 0);
    ck_assert_uint_eq(again[1].first, 4);
    ck_assert_uint_eq(again[1].tries.failed, 1);
    expect_page(group, 12, &a, 8, 3); /* delivered before, that is known */
    expect_page(group, 12, &a, 11, 1);
    expect_nothing(group, 12);
    leave_all(&group);
}

TEST(a_group_at_rest_wakes_with_what_it_knew)
{
    struct group *group = group_make(0, 0, 0);
    struct group_member a;
    join(group, &a, 1, 10, 10000);
    expect_page(group, 101, &a, 1, 10);
    ck_assert_str_eq(handle(group, &a, GROUP_ACK, 1, 4), "");
    group_leave(group, &a, false);
    group_rest(group); /* not yet: something is still to be proposed */
    struct group_numbers numbers;
    group_numbers(group, &numbers);
    ck_assert_uint_eq(numbers.floor, 4);
    ck_assert_uint_eq(numbers.ready, 6);
    commit(group);
    group_rest(group);
    group_numbers(group, &numbers);
    ck_assert_uint_eq(numbers.floor, 4);
    ck_assert_uint_eq(numbers.ready, 6); /* known from the replicated part */
    join(group, &a, 2, 3, 10000);
    expect_page(group, 101, &a, 5, 3);
    leave_all(&group);
}

TEST(changes_are_split_when_they_are_many)
{
    struct group *group = group_make(0, 0, 0);
    struct group_member a;
    join(group, &a, 1, 2000, 100000);
    expect_page(group, 1001, &a, 1, 1000);
    for (uint64_t offset = 2; offset < 1000; offset += 2) {
        ck_assert_str_eq(handle(group, &a, GROUP_ACK, offset, offset), "");
    }
    ck_assert_uint_eq(group_changes_count(group), 499);
    unsigned entries = 0;
    while (group_has_changes(group)) {
        struct buf bytes = {0};
        struct group_changes changes;
        group_changes_encode(group, &bytes, 1000, &changes);
        ck_assert(!changes.is_empty);
        ck_assert_uint_lt(bytes.size, 1100);
        group_changes_proposed(group, &changes);
        ck_assert_int_eq(changes.is_all, !group_has_changes(group));
        group_state_apply_acks(group_replicated(group), buf_span(&bytes));
        group_changes_applied(group);
        buf_release(&bytes);
        entries++;
    }
    ck_assert_uint_gt(entries, 2);
    ck_assert_uint_eq(ranges_total(group_replicated(group)->acked), 499);
    leave_all(&group);
}

static void pending_print(void *ud, const struct group_pending *pending)
{
    static const char *const where[] = {"held", "ready", "delayed", "skipped"};
    buf_printf(ud, "%llu-%llu:%s/%u/%u ", (unsigned long long) pending->first,
               (unsigned long long) pending->last, where[pending->where], pending->tries.attempt,
               pending->tries.failed);
}

TEST(pending_lists_what_is_not_acknowledged_in_order)
{
    struct group *group = group_make(0, 0, 0);
    struct group_member a;
    struct group_member b;
    struct group_page page;
    struct buf text = {0};
    join(group, &a, 1, 10, 10000);
    expect_page(group, 11, &a, 1, 10);
    ck_assert_str_eq(handle(group, &a, GROUP_NACK, 3, 4), "");
    join(group, &b, 2, 1, 10000);
    expect_page(group, 11, &b, 3, 1);
    ck_assert_str_eq(handle(group, &a, GROUP_ACK, 7, 8), "");
    group_grant(group, &b, 1, 0);
    ck_assert(group_next(group, 11, &page));
    group_skip(group, &page, page.first);
    ck_assert_str_eq(handle(group, &a, GROUP_RELEASE, 10, 10), "");
    ck_assert(group_pending_list(group, 0, 100, pending_print, &text));
    ck_assert_str_eq(buf_text(&text), "1-2:held/1/0 3-3:held/2/1 4-4:skipped/1/1 5-6:held/1/0 "
                                      "9-9:held/1/0 10-10:ready/1/0 ");
    buf_reset(&text);
    ck_assert(!group_pending_list(group, 1, 3, pending_print, &text));
    ck_assert_str_eq(buf_text(&text), "2-2:held/1/0 3-3:held/2/1 4-4:skipped/1/1 ");
    buf_reset(&text);
    ck_assert(group_pending_list(group, 4, 3, pending_print, &text));
    ck_assert_str_eq(buf_text(&text), "5-6:held/1/0 9-9:held/1/0 10-10:ready/1/0 ");
    buf_release(&text);
    leave_all(&group);
}
