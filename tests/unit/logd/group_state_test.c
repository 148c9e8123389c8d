/* The replicated state of a group: what entries do to it, and its value in the database. */
#include "logd/group_state.h"

#include "common/base/err.h"
#include "common/base/rand.h"
#include "common/wire/log.pb-c.h"
#include "common/wire/pb.h"
#include "tests/lib/test.h"

/* An EntryAcks.OfGroup, built by protobuf-c. */
static struct buf of_group(uint64_t id, const uint64_t (*acked)[2], size_t acked_count,
                           const uint64_t (*tried)[4], size_t tried_count)
{
    Railgun__EntryAcks__OfGroup group = RAILGUN__ENTRY_ACKS__OF_GROUP__INIT;
    Railgun__OffsetRange ranges[16];
    Railgun__OffsetRange *range_pointers[16];
    Railgun__Attempt attempts[16];
    Railgun__Attempt *attempt_pointers[16];
    group.has_group_id = 1;
    group.group_id = id;
    for (size_t i = 0; i < acked_count; i++) {
        ranges[i] = (Railgun__OffsetRange) RAILGUN__OFFSET_RANGE__INIT;
        ranges[i].has_first = ranges[i].has_last = 1;
        ranges[i].first = acked[i][0];
        ranges[i].last = acked[i][1];
        range_pointers[i] = &ranges[i];
    }
    for (size_t i = 0; i < tried_count; i++) {
        attempts[i] = (Railgun__Attempt) RAILGUN__ATTEMPT__INIT;
        attempts[i].has_first = attempts[i].has_last = 1;
        attempts[i].has_attempt = attempts[i].has_failed = 1;
        attempts[i].first = tried[i][0];
        attempts[i].last = tried[i][1];
        attempts[i].attempt = (uint32_t) tried[i][2];
        attempts[i].failed = (uint32_t) tried[i][3];
        attempt_pointers[i] = &attempts[i];
    }
    group.n_acked = acked_count;
    group.acked = range_pointers;
    group.n_attempts = tried_count;
    group.attempts = attempt_pointers;
    struct buf bytes = {0};
    uint8_t *room = buf_reserve(&bytes, protobuf_c_message_get_packed_size(&group.base));
    buf_advance(&bytes, protobuf_c_message_pack(&group.base, room));
    return bytes;
}

static void apply(struct group_state *state, struct buf *entry)
{
    uint64_t id;
    ck_assert_int_eq(group_state_check_acks(buf_span(entry), &id), 0);
    ck_assert_uint_eq(id, state->id);
    group_state_apply_acks(state, buf_span(entry));
    ck_assert(group_state_invariant(state));
    buf_release(entry);
}

TEST(acknowledgements_raise_the_floor_when_they_meet_it)
{
    struct group_state state;
    group_state_init(&state, 7);
    group_state_seek(&state, 10);
    struct buf entry = of_group(7, (const uint64_t[][2]){{15, 20}, {30, 30}, {5, 8}}, 3, NULL, 0);
    apply(&state, &entry);
    ck_assert_uint_eq(state.floor, 10);
    ck_assert_uint_eq(ranges_count(state.acked), 2);
    entry = of_group(7, (const uint64_t[][2]){{9, 16}}, 1, NULL, 0);
    apply(&state, &entry);
    ck_assert_uint_eq(state.floor, 20);
    entry = of_group(7, (const uint64_t[][2]){{21, 29}}, 1, NULL, 0);
    apply(&state, &entry);
    ck_assert_uint_eq(state.floor, 30);
    ck_assert_uint_eq(ranges_count(state.acked), 0);
    group_state_release(&state);
}

TEST(counters_are_kept_for_what_is_not_acknowledged)
{
    struct group_state state;
    group_state_init(&state, 7);
    struct buf entry = of_group(7, (const uint64_t[][2]){{3, 4}}, 1,
                                (const uint64_t[][4]){{1, 9, 2, 1}, {8, 8, 5, 4}}, 2);
    apply(&state, &entry);
    struct range range;
    ck_assert(ranges_find(state.attempts, 1, &range));
    ck_assert_uint_eq(range.last, 2);
    ck_assert_uint_eq(group_tries_unpack(range.value).attempt, 2);
    ck_assert_uint_eq(group_tries_unpack(range.value).failed, 1);
    ck_assert(!ranges_find(state.attempts, 3, &range));
    ck_assert(ranges_find(state.attempts, 8, &range));
    ck_assert_uint_eq(group_tries_unpack(range.value).attempt, 5);
    entry = of_group(7, (const uint64_t[][2]){{1, 2}, {5, 9}}, 2, NULL, 0);
    apply(&state, &entry);
    ck_assert_uint_eq(state.floor, 9);
    ck_assert_uint_eq(ranges_count(state.attempts), 0);
    entry = of_group(7, NULL, 0, (const uint64_t[][4]){{1, 12, 3, 0}}, 1);
    apply(&state, &entry);
    ck_assert(ranges_lowest(state.attempts, &range));
    ck_assert_uint_eq(range.first, 10); /* nothing below the floor */
    entry = of_group(7, (const uint64_t[][2]){{14, 15}, {18, 18}}, 2, NULL, 0);
    apply(&state, &entry);
    entry = of_group(7, NULL, 0, (const uint64_t[][4]){{12, 20, 4, 0}}, 1);
    apply(&state, &entry);
    ck_assert_uint_eq(ranges_count(state.attempts), 4); /* 10, 12, 16 and 19: around what is done */
    ck_assert(ranges_find(state.attempts, 20, &range));
    ck_assert_uint_eq(range.first, 19);
    ck_assert(!ranges_find(state.attempts, 15, &range));
    group_state_release(&state);
}

TEST(damaged_entries_are_refused)
{
    static const uint64_t bad[][2] = {{0, 4}, {5, 4}, {1, GROUP_OFFSET_MAX + 1}, {0, 0}};
    uint64_t id;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct buf entry = of_group(7, &bad[i], 1, NULL, 0);
        ck_assert_int_eq(group_state_check_acks(buf_span(&entry), &id), ERR_BAD_FORMAT);
        buf_release(&entry);
        entry = of_group(7, NULL, 0, (const uint64_t[][4]){{bad[i][0], bad[i][1], 1, 1}}, 1);
        ck_assert_int_eq(group_state_check_acks(buf_span(&entry), &id), ERR_BAD_FORMAT);
        buf_release(&entry);
    }
    struct buf entry = of_group(0, (const uint64_t[][2]){{1, 2}}, 1, NULL, 0);
    ck_assert_int_eq(group_state_check_acks(buf_span(&entry), &id), ERR_BAD_FORMAT);
    struct span cut = buf_span(&entry);
    cut.size--;
    ck_assert_int_eq(group_state_check_acks(cut, &id), ERR_BAD_FORMAT);
    buf_release(&entry);
}

static struct buf encoded(const struct group_state *state)
{
    struct buf bytes = {0};
    group_state_encode(state, &bytes);
    return bytes;
}

TEST(a_state_is_the_same_after_saving_and_loading)
{
    Railgun__GroupSpec spec = RAILGUN__GROUP_SPEC__INIT;
    spec.has_max_in_flight = spec.has_max_holes = 1;
    spec.max_in_flight = 500;
    spec.max_holes = 33;
    uint8_t spec_bytes[64];
    size_t spec_size = railgun__group_spec__pack(&spec, spec_bytes);

    struct group_state state;
    group_state_init(&state, 12345678901ULL);
    ck_assert_int_eq(
        group_state_configure(&state, span_of("invoices"), span_make(spec_bytes, spec_size)), 0);
    group_state_ack(&state, 1, 100);
    group_state_ack(&state, 200, 300);
    group_state_try(&state, 101, 150, (struct group_tries){3, 2});
    struct buf bytes = encoded(&state);

    struct group_state loaded;
    ck_assert_int_eq(group_state_decode(&loaded, buf_span(&bytes)), 0);
    ck_assert_uint_eq(loaded.id, 12345678901ULL);
    ck_assert_str_eq(loaded.name, "invoices");
    ck_assert_uint_eq(loaded.limits.in_flight_max, 500);
    ck_assert_uint_eq(loaded.limits.member_in_flight_max, 500);
    ck_assert_uint_eq(loaded.limits.holes_max, 33);
    struct buf again = encoded(&loaded);
    ck_assert(span_equal(buf_span(&bytes), buf_span(&again)));

    /* protobuf-c agrees about what was written, and every cut is refused or a state without its end. */
    Railgun__GroupState *message = railgun__group_state__unpack(NULL, bytes.size, bytes.data);
    ck_assert_ptr_nonnull(message);
    ck_assert_uint_eq(message->floor, 100);
    ck_assert_uint_eq(message->n_acked, 1);
    ck_assert_uint_eq(message->attempts[0]->failed, 2);
    railgun__group_state__free_unpacked(message, NULL);
    for (size_t size = 0; size < bytes.size; size++) {
        struct group_state cut;
        if (group_state_decode(&cut, span_make(bytes.data, size)) == 0) {
            ck_assert(group_state_invariant(&cut));
            group_state_release(&cut);
        }
    }
    buf_release(&bytes);
    buf_release(&again);
    group_state_release(&state);
    group_state_release(&loaded);
}

TEST(a_bad_configuration_changes_nothing)
{
    struct group_state state;
    group_state_init(&state, 1);
    ck_assert_int_eq(group_state_configure(&state, span_of("a"), span_make("\x10", 1)),
                     ERR_BAD_FORMAT);
    ck_assert_int_eq(group_state_configure(&state, span_make("\xff", 1), span_make(NULL, 0)),
                     ERR_BAD_FORMAT);
    ck_assert_str_eq(state.name, "");
    ck_assert_uint_eq(state.limits.in_flight_max, GROUP_IN_FLIGHT_DEFAULT);
    group_state_release(&state);
}

/* The same entries, with a save and load at a random place, give the same bytes. */
TEST(replay_gives_the_same_state_wherever_it_begins)
{
    struct prng prng;
    prng_init(&prng, 20240607);
    for (unsigned round = 0; round < 200; round++) {
        struct group_state straight;
        struct group_state broken;
        group_state_init(&straight, 9);
        group_state_init(&broken, 9);
        uint64_t saved_at = prng_below(&prng, 40);
        for (unsigned step = 0; step < 40; step++) {
            uint64_t acked[4][2];
            uint64_t tried[4][4];
            for (unsigned i = 0; i < 4; i++) {
                acked[i][0] = 1 + prng_below(&prng, 300);
                acked[i][1] = acked[i][0] + prng_below(&prng, 10);
                tried[i][0] = 1 + prng_below(&prng, 300);
                tried[i][1] = tried[i][0] + prng_below(&prng, 10);
                tried[i][2] = 1 + prng_below(&prng, 3);
                tried[i][3] = prng_below(&prng, 3);
            }
            struct buf entry = of_group(9, acked, 4, tried, 4);
            struct buf copy = {0};
            buf_append(&copy, buf_span(&entry));
            apply(&straight, &entry);
            apply(&broken, &copy);
            if (step == saved_at) {
                struct buf bytes = encoded(&broken);
                group_state_release(&broken);
                ck_assert_int_eq(group_state_decode(&broken, buf_span(&bytes)), 0);
                buf_release(&bytes);
            }
        }
        struct buf left = encoded(&straight);
        struct buf right = encoded(&broken);
        ck_assert(span_equal(buf_span(&left), buf_span(&right)));
        buf_release(&left);
        buf_release(&right);
        group_state_release(&straight);
        group_state_release(&broken);
    }
}

/* --- delays, seek, trim --- */

TEST(a_value_of_the_version_before_is_delivered_up_to_what_it_knows)
{
    struct group_state state;
    struct buf bytes = {0};
    pb_append_varint(&bytes, 1, 7); /* only the fields there were: id, floor, acked, attempts */
    pb_append_bytes(&bytes, 2, span_of("g"));
    pb_append_varint(&bytes, 4, 10);
    group_range_append(&bytes, 5, 15, 20);
    group_attempt_append(&bytes, 6, 22, 22, (struct group_tries){3, 1});
    pb_append_varint(&bytes, 99, 5); /* and one that nobody knows */
    ck_assert_int_eq(group_state_decode(&state, buf_span(&bytes)), 0);
    ck_assert(group_state_invariant(&state));
    ck_assert_uint_eq(state.delivered, 22);
    ck_assert_uint_eq(ranges_count(state.delayed), 0);
    ck_assert_uint_eq(state.paused, 0);
    buf_release(&bytes);
    group_state_release(&state);
}

TEST(a_counter_ends_a_delay_and_an_acknowledgement_both)
{
    struct group_state state;
    struct buf entry = {0};
    group_state_init(&state, 7);
    pb_append_varint(&entry, 1, 7);
    group_delayed_append(&entry, 5, 2, 6, 5000);
    group_attempt_append(&entry, 3, 2, 6, (struct group_tries){1, 1}); /* of the same nack */
    apply(&state, &entry);
    ck_assert_uint_eq(ranges_total(state.delayed), 5);
    ck_assert_uint_eq(state.delivered, 6);
    buf_reset(&entry);
    pb_append_varint(&entry, 1, 7);
    group_attempt_append(&entry, 3, 3, 3, (struct group_tries){2, 1}); /* it was delivered again */
    group_range_append(&entry, 2, 4, 4);
    group_delayed_append(&entry, 5, 6, 6, 0); /* released */
    apply(&state, &entry);
    struct range range;
    ck_assert(ranges_find(state.delayed, 2, &range));
    ck_assert(!ranges_find(state.delayed, 3, &range));
    ck_assert(!ranges_find(state.delayed, 4, &range));
    ck_assert(ranges_find(state.delayed, 5, &range));
    ck_assert_uint_eq(range.value, 5000);
    ck_assert(!ranges_find(state.delayed, 6, &range));
    /* The same after saving and loading. */
    struct group_state loaded;
    buf_reset(&entry);
    group_state_encode(&state, &entry);
    ck_assert_int_eq(group_state_decode(&loaded, buf_span(&entry)), 0);
    ck_assert_uint_eq(ranges_total(loaded.delayed), 2);
    ck_assert_uint_eq(loaded.delivered, 6);
    buf_release(&entry);
    group_state_release(&loaded);
    group_state_release(&state);
}

TEST(a_seek_comes_first_in_its_entry_and_a_trim_counts_what_was_not_settled)
{
    struct group_state state;
    struct buf entry = {0};
    group_state_init(&state, 7);
    group_state_ack(&state, 1, 50);
    pb_append_varint(&entry, 1, 7);
    group_range_append(&entry, 2, 12, 13); /* at the new position */
    pb_append_varint(&entry, 11, 1);
    pb_append_varint(&entry, 12, 11); /* position 10 */
    apply(&state, &entry);
    ck_assert_uint_eq(state.floor, 10);
    ck_assert_uint_eq(state.delivered, 13);
    ck_assert_uint_eq(state.paused, 1);
    ck_assert_uint_eq(group_state_trim(&state, 16), 3); /* 11, 14, 15 */
    ck_assert_uint_eq(group_state_trim(&state, 16), 0);
    ck_assert_uint_eq(state.floor, 15);
    ck_assert_uint_eq(state.gap_records, 3);
    ck_assert(group_state_invariant(&state));
    buf_release(&entry);
    group_state_release(&state);
}

TEST(damaged_delays_and_seeks_are_refused)
{
    struct buf entry = {0};
    uint64_t id;
    pb_append_varint(&entry, 1, 7);
    group_delayed_append(&entry, 5, 6, 2, 5000);
    ck_assert_int_eq(group_state_check_acks(buf_span(&entry), &id), ERR_BAD_FORMAT);
    buf_reset(&entry);
    pb_append_varint(&entry, 1, 7);
    pb_append_varint(&entry, 12, UINT64_MAX);
    ck_assert_int_eq(group_state_check_acks(buf_span(&entry), &id), ERR_BAD_FORMAT);
    buf_reset(&entry);
    pb_append_varint(&entry, 1, 7);
    pb_append_bytes(&entry, 4, span_of("x"));
    ck_assert_int_eq(group_state_check_acks(buf_span(&entry), &id), ERR_BAD_FORMAT);
    buf_release(&entry);
}
