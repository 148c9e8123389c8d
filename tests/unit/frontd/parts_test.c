/* The small parts of frontd: credit, limits, read buffers, Error frames. */
#include <arpa/inet.h>
#include <netinet/in.h>

#include "common/base/err.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/frame.h"
#include "common/wire/scan.h"
#include "frontd/answer.h"
#include "frontd/chunks.h"
#include "frontd/credit.h"
#include "frontd/limits.h"

#include "tests/lib/test.h"

/* --- credit --- */

static void expect_tell(struct credit *credit, uint64_t share, uint64_t messages, uint64_t bytes)
{
    uint64_t got_messages = 0;
    uint64_t got_bytes = 0;
    bool is_something = credit_tell(credit, share, &got_messages, &got_bytes);
    ck_assert_int_eq(is_something, messages != 0 || bytes != 0);
    ck_assert_uint_eq(got_messages, messages);
    ck_assert_uint_eq(got_bytes, bytes);
}

TEST(credit_tells_all_that_fits_and_nothing_twice)
{
    struct credit credit = {0};
    credit_grant(&credit, 10, 1000);
    expect_tell(&credit, 5000, 10, 1000);
    expect_tell(&credit, 5000, 0, 0);
    credit_grant(&credit, 1, 0);
    expect_tell(&credit, 5000, 1, 0);
    ck_assert(!credit_is_held_back(&credit));
}

TEST(credit_holds_back_bytes_beyond_the_share)
{
    struct credit credit = {0};
    credit_grant(&credit, 10, 100000);
    expect_tell(&credit, 4000, 10, 4000);
    ck_assert(credit_is_held_back(&credit));
    expect_tell(&credit, 4000, 0, 0);
    credit_delivered(&credit, 1, 100);
    expect_tell(&credit, 4000, 0, 0); /* too small a step */
    credit_delivered(&credit, 1, 1900);
    expect_tell(&credit, 4000, 0, 2000);
    credit_delivered(&credit, 1, 4000);
    expect_tell(&credit, 0, 0, 0);
    expect_tell(&credit, 1000000, 0, 94000);
    ck_assert(!credit_is_held_back(&credit));
    ck_assert_uint_eq(credit.told_bytes, credit.granted_bytes);
}

TEST(credit_counts_a_record_larger_than_what_was_told_as_debt)
{
    struct credit credit = {0};
    credit_grant(&credit, 10, 100000);
    expect_tell(&credit, 4000, 10, 4000);
    credit_delivered(&credit, 1, 9000);  /* logd: 5,000 below zero */
    expect_tell(&credit, 4000, 0, 9000); /* so that 4,000 are on the way again */
}

TEST(credit_begins_anew_with_what_is_left_when_logd_has_forgotten)
{
    struct credit credit = {0};
    credit_grant(&credit, 10, 10000);
    expect_tell(&credit, 100000, 10, 10000);
    credit_delivered(&credit, 3, 4000);
    credit_forget_told(&credit);
    expect_tell(&credit, 100000, 7, 6000);

    credit_delivered(&credit, 1, 8000); /* over: nothing is left */
    credit_forget_told(&credit);
    expect_tell(&credit, 100000, 6, 0);
    credit_grant(&credit, 0, 3000); /* 13,000 granted, 12,000 delivered */
    expect_tell(&credit, 100000, 0, 1000);
}

TEST(credit_never_wraps)
{
    struct credit credit = {0};
    for (unsigned i = 0; i < 5; i++) {
        credit_grant(&credit, UINT64_MAX, UINT64_MAX);
    }
    uint64_t messages = 0;
    uint64_t bytes = 0;
    ck_assert(credit_tell(&credit, UINT64_MAX, &messages, &bytes));
    ck_assert_uint_eq(messages, credit.granted_messages);
    ck_assert_uint_eq(bytes, credit.granted_bytes);
    ck_assert_uint_lt(bytes, UINT64_C(1) << 62);
}

TEST(credit_shares_among_the_channels_of_a_connection_and_of_all)
{
    const uint64_t mib = 1 << 20;
    ck_assert_uint_eq(credit_share(8 * mib, 1, 256 * mib, 1), 4 * mib);
    ck_assert_uint_eq(credit_share(8 * mib, 4, 256 * mib, 4), mib);
    ck_assert_uint_eq(credit_share(8 * mib, 1, 256 * mib, 1024), mib / 8);
    ck_assert_uint_eq(credit_share(8 * mib, 100000, 256 * mib, 100000), 4096);
    ck_assert_uint_gt(credit_share(8 * mib, 0, 256 * mib, 0), 0);
}

/* --- limits --- */

static struct limits_address address4(const char *text)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    ck_assert_int_eq(inet_pton(AF_INET, text, &in.sin_addr), 1);
    return limits_address_of((const struct sockaddr *) &in);
}

static struct limits_address address6(const char *text)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    ck_assert_int_eq(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
    return limits_address_of((const struct sockaddr *) &in6);
}

TEST(limits_count_by_address_and_in_all)
{
    struct limits *limits = limits_new(5, 2, 4);
    struct limits_address one = address4("10.0.0.1");
    struct limits_address two = address4("10.0.0.2");
    struct limits_address loop = address4("127.0.0.1");

    ck_assert_int_eq(limits_enter(limits, &one), 0);
    ck_assert_int_eq(limits_enter(limits, &one), 0);
    ck_assert_int_eq(limits_enter(limits, &one), ERR_QUOTA);
    ck_assert_int_eq(limits_enter(limits, &two), 0);
    ck_assert_int_eq(limits_enter(limits, &loop), 0);
    ck_assert_int_eq(limits_enter(limits, &loop), 0);
    ck_assert_uint_eq(limits_count(limits), 5);
    ck_assert_int_eq(limits_enter(limits, &loop), ERR_OVERLOADED);
    limits_leave(limits, &one);
    ck_assert_int_eq(limits_enter(limits, &loop), 0);
    limits_leave(limits, &two);
    ck_assert_int_eq(limits_enter(limits, &one), 0);
    limits_destroy(&limits);
    ck_assert_ptr_null(limits);
}

TEST(limits_know_loopback_in_both_families)
{
    struct limits_address address = address4("127.3.4.5");
    ck_assert(limits_address_is_loopback(&address));
    address = address4("128.0.0.1");
    ck_assert(!limits_address_is_loopback(&address));
    address = address6("::1");
    ck_assert(limits_address_is_loopback(&address));
    address = address6("::ffff:127.0.0.1");
    ck_assert(limits_address_is_loopback(&address));
    address = address6("2001:db8::1");
    ck_assert(!limits_address_is_loopback(&address));
    address = address6("::");
    ck_assert(!limits_address_is_loopback(&address));
    address = address4("0.0.0.0");
    ck_assert(!limits_address_is_loopback(&address));
}

/* --- read buffers --- */

TEST(chunks_read_again_into_what_nobody_refers_to)
{
    struct chunks *chunks = chunks_new();
    uint8_t *first = NULL;
    uint8_t *again = NULL;
    size_t room = 0;
    ck_assert_ptr_nonnull(chunks_room(chunks, &first, &room));
    ck_assert_uint_eq(room, CHUNKS_SIZE);
    chunks_done(chunks, 100);
    ck_assert_ptr_nonnull(chunks_room(chunks, &again, &room));
    ck_assert_ptr_eq(first, again);
    ck_assert_uint_eq(room, CHUNKS_SIZE);
    chunks_destroy(&chunks);
}

TEST(chunks_never_hand_out_bytes_that_a_slice_refers_to)
{
    struct chunks *chunks = chunks_new();
    enum { READS = 40, BYTES = 50000 };
    struct slice slices[READS] = {0};
    for (unsigned i = 0; i < READS; i++) {
        uint8_t *at = NULL;
        size_t room = 0;
        struct payload *chunk = chunks_room(chunks, &at, &room);
        ck_assert_ptr_nonnull(chunk);
        ck_assert_uint_ge(room, CHUNKS_ROOM_MIN);
        memset(at, (int) i, BYTES);
        slices[i] = slice_make(chunk, span_make(at, BYTES));
        chunks_done(chunks, BYTES);
    }
    for (unsigned i = 0; i < READS; i++) {
        for (unsigned k = 0; k < BYTES; k++) {
            TEST_ASSERT_FAST(slices[i].bytes.data[k] == (uint8_t) i);
        }
        slice_release(&slices[i]);
    }
    chunks_destroy(&chunks);
}

TEST(chunks_take_free_ones_again_and_keep_only_so_many)
{
    struct chunks *chunks = chunks_new();
    enum { READS = CHUNKS_KEPT_MAX + 20 };
    struct slice held[READS] = {0};
    uint8_t *at = NULL;
    size_t room = 0;
    for (unsigned i = 0; i < READS; i++) {
        struct payload *chunk = chunks_room(chunks, &at, &room);
        ck_assert_uint_eq(room, CHUNKS_SIZE);
        held[i] = slice_make(chunk, span_make(at, room));
        chunks_done(chunks, room);
    }
    for (unsigned i = 0; i < READS; i++) {
        slice_release(&held[i]);
    }
    /* All are free now: the oldest that was kept comes next. */
    struct payload *chunk = chunks_room(chunks, &at, &room);
    ck_assert_ptr_nonnull(chunk);
    ck_assert(payload_is_sole(chunk));
    chunks_destroy(&chunks);
}

/* --- Error frames --- */

TEST(answer_names_the_code_and_hides_local_ones)
{
    struct buf frame = {0};
    struct span body;
    size_t total = 0;
    Railgun__Frame *message = NULL;
    answer_error_frame(&frame, 3, 7, ERR_NOT_FOUND, "no such stream");
    ck_assert_int_eq(frame_split(buf_span(&frame), 4096, &body, &total), 0);
    ck_assert_int_eq(SCAN_UNPACK(body, railgun__frame, &message), 0);
    ck_assert_uint_eq(message->channel, 3);
    ck_assert_uint_eq(message->corr, 7);
    ck_assert_uint_eq(message->error->code, 404);
    ck_assert_str_eq(message->error->text, err_text(ERR_NOT_FOUND));
    ck_assert_str_eq(message->error->detail, "no such stream");
    SCAN_FREE(&message);
    buf_reset(&frame);
    answer_error_frame(&frame, 0, 0, ERR_IO, NULL);
    ck_assert_int_eq(frame_split(buf_span(&frame), 4096, &body, &total), 0);
    ck_assert_int_eq(SCAN_UNPACK(body, railgun__frame, &message), 0);
    ck_assert_uint_eq(message->error->code, 500);
    ck_assert_ptr_null(message->error->detail);
    SCAN_FREE(&message);
    buf_release(&frame);
}

TEST(answer_leaves_out_fields_that_are_known_better)
{
    const uint8_t message[] = {0x08, 1, 0x12, 2, 'a', 'b', 0x18, 3, 0x12, 0, 0xa0, 0x06, 5};
    const uint8_t expected[] = {0x08, 1, 0x18, 3, 0xa0, 0x06, 5};
    struct buf out = {0};
    answer_append_without(&out, span_make(message, sizeof(message)), UINT64_C(1) << 2);
    ck_assert_uint_eq(out.size, sizeof(expected));
    ck_assert_mem_eq(out.data, expected, sizeof(expected));
    buf_release(&out);
}
