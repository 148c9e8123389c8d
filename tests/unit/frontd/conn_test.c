/* conn: frames out of bytes however they come, bounds, deadlines and the way a connection ends; over a socket pair. */
#include "frontd/conn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/base/bytes.h"
#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/rand.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/frame.h"
#include "common/wire/scan.h"

#include "tests/lib/test.h"

enum { KIB = 1 << 10, MIB = 1 << 20 };

/* --- time, of which a test may skip some: then it need not wait, nor hope that the machine is quick --- */

static uint64_t skipped_us;

static uint64_t clock_us(clockid_t id)
{
    struct timespec now;
    (void) clock_gettime(id, &now);
    return (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000;
}

static uint64_t monotonic_us(void *ud)
{
    (void) ud;
    return clock_us(CLOCK_MONOTONIC) + skipped_us;
}

static uint64_t real_us(void *ud)
{
    (void) ud;
    return clock_us(CLOCK_REALTIME);
}

const struct timesource *timesource_system(void)
{
    static const struct timesource source = {monotonic_us, real_us, NULL};
    return &source;
}

/* --- a connection and its peer --- */

struct fixture {
    struct loop *loop;
    struct conn_set *set;
    struct conn *conn; /* NULL: closed */
    int peer;
    struct buf sent;     /* what the peer still has to send */
    struct buf received; /* what came to the peer */
    bool peer_ended;     /* the peer has read the end */
    /* what the session saw */
    struct buf frames; /* all frames taken, one after the other */
    unsigned frame_count;
    unsigned again_every; /* 0: never; n: every n-th is answered with ERR_AGAIN once */
    unsigned shown;
    unsigned rooms;
    int answer; /* to each frame otherwise */
};

static int fixture_frame(void *ud, struct span frame, struct payload *owner)
{
    struct fixture *f = ud;
    struct span all = payload_span(owner);
    TEST_ASSERT_FAST(frame.data >= all.data);
    TEST_ASSERT_FAST(frame.data + frame.size <= all.data + all.size);
    f->shown++;
    if (f->again_every != 0 && f->shown % f->again_every == 0) {
        return ERR_AGAIN;
    }
    if (f->answer != 0) {
        return f->answer;
    }
    buf_append(&f->frames, frame);
    f->frame_count++;
    return 0;
}

static void fixture_room(void *ud)
{
    ((struct fixture *) ud)->rooms++;
}

static void fixture_closed(void *ud)
{
    struct fixture *f = ud;
    ck_assert_int_eq(conn_state(f->conn), CONN_CLOSED);
    f->conn = NULL;
}

static const struct conn_events events = {fixture_frame, fixture_room, fixture_closed};

static const struct conn_options options_default = {
    .hello_timeout_ms = 60000,
    .heartbeat_ms = 60000,
    .frame_grace_ms = 60000,
    .frame_bytes_max = 8 * MIB,
    .inbound_total_bytes_max = 64 * MIB,
    .outbound_bytes_max = 1 * MIB,
    .outbound_total_bytes_max = 64 * MIB,
};

static void fixture_open(struct fixture *f, const struct conn_options *options)
{
    int fds[2];
    *f = (struct fixture){.loop = loop_new()};
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    f->set = conn_set_new(f->loop, options != NULL ? options : &options_default);
    f->conn = conn_new(f->set, fds[0], &events, f);
    ck_assert_ptr_nonnull(f->conn);
    f->peer = fds[1];
}

static void fixture_close(struct fixture *f)
{
    if (f->peer >= 0) {
        (void) close(f->peer);
    }
    conn_set_destroy(&f->set);
    ck_assert_ptr_null(f->conn);
    loop_destroy(&f->loop);
    buf_release(&f->sent);
    buf_release(&f->received);
    buf_release(&f->frames);
}

/* The peer sends and receives what it can; then a turn. */
static void fixture_turn(struct fixture *f)
{
    uint8_t piece[65536];
    ssize_t size = 0;
    if (f->sent.size != 0) {
        size = send(f->peer, f->sent.data, f->sent.size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (size > 0) {
            buf_consume(&f->sent, (size_t) size);
        }
    }
    while (!f->peer_ended && (size = recv(f->peer, piece, sizeof(piece), MSG_DONTWAIT)) >= 0) {
        f->peer_ended = size == 0;
        buf_append(&f->received, span_make(piece, (size_t) size));
    }
    loop_wake(f->loop); /* a turn, also when nothing came */
    loop_turn(f->loop);
}

#define TURN_UNTIL(f, fact)                                                                        \
    while (!(fact)) {                                                                              \
        fixture_turn(f);                                                                           \
    }

/* A frame of `size` bytes that can be told from others, for the peer to send. */
static void send_frame(struct fixture *f, size_t size, uint32_t seed, struct buf *expected)
{
    uint8_t prefix[4];
    struct buf body = {0};
    uint8_t *at = buf_reserve(&body, size);
    for (size_t i = 0; i < size; i++) {
        at[i] = (uint8_t) (seed + i * 31 + i / 256);
    }
    buf_advance(&body, size);
    bytes_put_u32(prefix, (uint32_t) size);
    buf_append(&f->sent, span_make(prefix, 4));
    buf_append(&f->sent, buf_span(&body));
    if (expected != NULL) {
        buf_append(expected, buf_span(&body));
    }
    buf_release(&body);
}

static void expect_frames(const struct fixture *f, unsigned count, const struct buf *expected)
{
    ck_assert_uint_eq(f->frame_count, count);
    ck_assert_uint_eq(f->frames.size, expected->size);
    ck_assert_int_eq(memcmp(f->frames.data, expected->data, expected->size), 0);
}

/* The last frame that came to the peer, which must be an Error. Returns its code. */
static unsigned received_error(struct fixture *f)
{
    struct span rest = buf_span(&f->received);
    struct span body = {0};
    size_t total = 0;
    unsigned code = 0;
    while (frame_split(rest, 64 * MIB, &body, &total) == 0) {
        rest = span_make(rest.data + total, rest.size - total);
    }
    ck_assert_uint_eq(rest.size, 0);
    Railgun__Frame *frame = NULL;
    ck_assert_int_eq(SCAN_UNPACK(body, railgun__frame, &frame), 0);
    ck_assert_int_eq(frame->body_case, RAILGUN__FRAME__BODY_ERROR);
    ck_assert_uint_eq(frame->corr, 0);
    code = frame->error->code;
    SCAN_FREE(&frame);
    return code;
}

static void conn_send_text(struct fixture *f, const char *text)
{
    struct span part = span_of(text);
    conn_send(f->conn, &part, 1, NULL);
}

/* --- input --- */

TEST(conn_shows_frames_that_come_byte_by_byte)
{
    struct fixture f;
    struct buf expected = {0};
    struct buf all = {0};
    fixture_open(&f, NULL);
    for (uint32_t i = 1; i <= 20; i++) {
        send_frame(&f, i * 3, i, &expected);
    }
    buf_append(&all, buf_span(&f.sent));
    buf_reset(&f.sent);
    for (size_t i = 0; i < all.size; i++) {
        buf_append_byte(&f.sent, all.data[i]);
        TURN_UNTIL(&f, f.sent.size == 0);
    }
    TURN_UNTIL(&f, f.frame_count >= 20);
    expect_frames(&f, 20, &expected);
    buf_release(&expected);
    buf_release(&all);
    fixture_close(&f);
}

TEST(conn_shows_frames_of_every_size_in_pieces_of_every_size)
{
    struct fixture f;
    struct buf expected = {0};
    struct buf all = {0};
    struct prng prng;
    prng_init(&prng, 42);
    fixture_open(&f, NULL);
    conn_greeted(f.conn, 60000);
    const size_t sizes[] = {1, 3, 4, 5, 500, 4096, 65536, 262140, 262144, 300000, 3 * MIB, 2};
    const unsigned count = sizeof(sizes) / sizeof(sizes[0]);
    for (unsigned i = 0; i < count; i++) {
        send_frame(&f, sizes[i], i, &expected);
    }
    buf_append(&all, buf_span(&f.sent));
    buf_reset(&f.sent);
    for (size_t at = 0; at < all.size;) {
        size_t size = prng_below(&prng, 2) == 0 ? prng_below(&prng, 10) : prng_below(&prng, 300000);
        size = size < all.size - at ? size : all.size - at;
        buf_append(&f.sent, span_make(all.data + at, size));
        at += size;
        TURN_UNTIL(&f, f.sent.size == 0);
    }
    TURN_UNTIL(&f, f.frame_count >= count);
    expect_frames(&f, count, &expected);
    buf_release(&expected);
    buf_release(&all);
    fixture_close(&f);
}

TEST(conn_shows_thousands_of_small_frames_of_one_write)
{
    struct fixture f;
    struct buf expected = {0};
    fixture_open(&f, NULL);
    for (uint32_t i = 0; i < 10000; i++) {
        send_frame(&f, 1 + i % 20, i, &expected);
    }
    TURN_UNTIL(&f, f.frame_count >= 10000);
    expect_frames(&f, 10000, &expected);
    buf_release(&expected);
    fixture_close(&f);
}

TEST(conn_shows_a_refused_frame_again_before_all_others)
{
    struct fixture f;
    struct buf expected = {0};
    fixture_open(&f, NULL);
    conn_greeted(f.conn, 60000);
    f.again_every = 3;
    for (uint32_t i = 0; i < 300; i++) {
        send_frame(&f, i % 7 == 0 ? 100000 + i : 1 + i % 500, i, &expected);
    }
    while (f.frame_count < 300) {
        fixture_turn(&f);
        if (conn_set_blocked_count(f.set) != 0) {
            unsigned shown = f.shown;
            fixture_turn(&f);
            fixture_turn(&f);
            ck_assert_uint_eq(f.shown, shown); /* nothing before it is asked for */
            conn_set_retry(f.set);
        }
    }
    expect_frames(&f, 300, &expected);
    ck_assert_uint_eq(conn_set_blocked_count(f.set), 0);
    buf_release(&expected);
    fixture_close(&f);
}

TEST(conn_stops_reading_while_a_frame_is_refused)
{
    struct fixture f;
    fixture_open(&f, NULL);
    conn_greeted(f.conn, 60000);
    f.answer = ERR_AGAIN;
    for (uint32_t i = 0; i < 100; i++) {
        send_frame(&f, 100000, i, NULL);
    }
    for (unsigned i = 0; i < 100; i++) {
        fixture_turn(&f);
    }
    ck_assert_uint_gt(f.sent.size, 8000000); /* it stays in the socket and with the peer */
    ck_assert_uint_eq(f.shown, 1);
    f.answer = 0;
    conn_retry(f.conn);
    TURN_UNTIL(&f, f.frame_count >= 100);
    fixture_close(&f);
}

TEST(conn_refuses_a_frame_when_all_hold_too_much)
{
    struct conn_options options = options_default;
    struct fixture f;
    options.inbound_total_bytes_max = 1 * MIB;
    fixture_open(&f, &options);
    conn_greeted(f.conn, 60000);
    f.answer = ERR_AGAIN;
    send_frame(&f, 100, 0, NULL);
    TURN_UNTIL(&f, f.shown == 1);
    ck_assert_uint_eq(conn_set_inbound_bytes(f.set), 104);
    f.answer = 0;
    conn_retry(f.conn);
    TURN_UNTIL(&f, f.frame_count == 1);
    ck_assert_uint_eq(conn_set_inbound_bytes(f.set), 0);
    send_frame(&f, 500000, 0, NULL);
    TURN_UNTIL(&f, f.frame_count == 2);
    ck_assert_uint_eq(conn_set_inbound_bytes(f.set), 0);
    send_frame(&f, 2000000, 0, NULL);
    TURN_UNTIL(&f, f.peer_ended);
    ck_assert_uint_eq(received_error(&f), 512);
    ck_assert_uint_eq(conn_set_inbound_bytes(f.set), 0);
    fixture_close(&f);
}

TEST(conn_refuses_lengths_out_of_bounds_with_an_error)
{
    const struct {
        uint32_t length;
        bool greeted;
        unsigned code;
    } cases[] = {{0, false, 100}, {4097, false, 413},       {UINT32_MAX, false, 413},
                 {0, true, 100},  {8 * MIB + 1, true, 413}, {UINT32_MAX, true, 413}};
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (unsigned split = 0; split < 2; split++) {
            struct fixture f;
            uint8_t prefix[4];
            fixture_open(&f, NULL);
            if (cases[i].greeted) {
                conn_greeted(f.conn, 60000);
            }
            bytes_put_u32(prefix, cases[i].length);
            if (split != 0) {
                buf_append(&f.sent, span_make(prefix, 2));
                TURN_UNTIL(&f, f.sent.size == 0);
                fixture_turn(&f);
            }
            buf_append(&f.sent, span_make(prefix + 2 * split, 4 - 2 * split));
            TURN_UNTIL(&f, f.peer_ended);
            ck_assert_uint_eq(received_error(&f), cases[i].code);
            ck_assert_uint_eq(conn_set_counts(f.set)->protocol_errors, 1);
            fixture_close(&f);
        }
    }
}

TEST(conn_fails_with_what_the_session_answers)
{
    struct fixture f;
    fixture_open(&f, NULL);
    f.answer = ERR_PROTOCOL;
    send_frame(&f, 10, 0, NULL);
    send_frame(&f, 10, 0, NULL);
    TURN_UNTIL(&f, f.peer_ended);
    ck_assert_uint_eq(received_error(&f), 100);
    ck_assert_uint_eq(f.shown, 1);
    fixture_close(&f);
}

/* --- output and the end --- */

TEST(conn_sends_all_that_is_queued_before_it_closes)
{
    struct fixture f;
    struct buf text = {0};
    fixture_open(&f, NULL);
    for (unsigned i = 0; i < 200000; i++) {
        buf_append_text(&text, "abcd");
    }
    conn_send_text(&f, buf_text(&text));
    conn_finish(f.conn);
    TURN_UNTIL(&f, f.peer_ended);
    ck_assert_uint_eq(f.received.size, text.size);
    (void) close(f.peer);
    f.peer = -1;
    while (f.conn != NULL) {
        loop_turn(f.loop);
    }
    buf_release(&text);
    fixture_close(&f);
}

TEST(conn_closes_after_a_second_a_peer_that_does_not_take_its_end)
{
    struct fixture f;
    struct buf text = {0};
    fixture_open(&f, NULL);
    for (unsigned i = 0; i < 250000; i++) {
        buf_append_text(&text, "abcd");
    }
    conn_send_text(&f, buf_text(&text));
    conn_finish(f.conn);
    while (f.conn != NULL) {
        loop_turn(f.loop); /* the peer reads nothing */
    }
    buf_release(&text);
    fixture_close(&f);
}

TEST(conn_fails_when_too_much_is_queued)
{
    struct conn_options options = options_default;
    struct fixture f;
    struct buf text = {0};
    options.frame_bytes_max = 64 * KIB;
    fixture_open(&f, &options);
    for (unsigned i = 0; i < 16 * KIB; i++) {
        buf_append_text(&text, "abc\n");
    }
    unsigned sent = 0;
    while (conn_state(f.conn) == CONN_CONNECTED) {
        conn_send_text(&f, buf_text(&text));
        ck_assert_uint_lt(sent++, 20);
    }
    ck_assert_uint_ge(sent, 17); /* 1 MiB and a frame */
    ck_assert_uint_eq(conn_set_counts(f.set)->overloaded, 1);
    buf_release(&text);
    fixture_close(&f);
}

TEST(conn_set_closes_the_largest_when_all_queue_too_much)
{
    struct conn_options options = options_default;
    struct fixture f;
    struct fixture small = {0};
    int fds[2];
    struct buf text = {0};
    options.outbound_total_bytes_max = 500000;
    fixture_open(&f, &options);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    small.conn = conn_new(f.set, fds[0], &events, &small);
    for (unsigned i = 0; i < 75000; i++) {
        buf_append_text(&text, "abcd");
    }
    conn_send_text(&f, buf_text(&text)); /* 300,000 */
    buf_consume(&text, 50000);
    conn_send_text(&small, buf_text(&text)); /* 250,000 */
    ck_assert_int_eq(conn_state(f.conn), CONN_CLOSED);
    ck_assert_int_eq(conn_state(small.conn), CONN_CONNECTED);
    ck_assert_uint_eq(conn_set_outbound_bytes(f.set), 250000);
    fixture_turn(&f);
    conn_abort(small.conn);
    fixture_turn(&f);
    ck_assert_ptr_null(small.conn);
    (void) close(fds[1]);
    buf_release(&text);
    fixture_close(&f);
}

TEST(conn_tells_of_room_only_when_asked_and_there_is_room)
{
    struct fixture f;
    struct buf text = {0};
    fixture_open(&f, NULL);
    for (unsigned i = 0; i < 200000; i++) {
        buf_append_text(&text, "abcd");
    }
    conn_send_text(&f, buf_text(&text));
    conn_want_room(f.conn);
    loop_wake(f.loop);
    loop_turn(f.loop);
    ck_assert_uint_eq(f.rooms, 0);
    TURN_UNTIL(&f, f.rooms != 0);
    ck_assert_uint_lt(conn_outbound_bytes(f.conn), 512 * KIB);
    TURN_UNTIL(&f, f.received.size == text.size);
    ck_assert_uint_eq(f.rooms, 1);
    buf_release(&text);
    fixture_close(&f);
}

TEST(conn_ends_when_the_peer_has_gone)
{
    struct fixture f;
    fixture_open(&f, NULL);
    send_frame(&f, 10, 0, NULL);
    buf_append_text(&f.sent, "half");
    TURN_UNTIL(&f, f.frame_count == 1);
    (void) close(f.peer);
    f.peer = -1;
    while (f.conn != NULL) {
        loop_turn(f.loop);
    }
    ck_assert_uint_eq(conn_set_count(f.set), 0);
    fixture_close(&f);
}

TEST(conn_ends_when_the_peer_has_sent_its_end)
{
    struct fixture f;
    fixture_open(&f, NULL);
    send_frame(&f, 10, 0, NULL);
    TURN_UNTIL(&f, f.frame_count == 1);
    (void) shutdown(f.peer, SHUT_WR);
    TURN_UNTIL(&f, f.conn == NULL);
    fixture_close(&f);
}

/* --- deadlines --- */

TEST(conn_waits_only_so_long_for_hello)
{
    struct conn_options options = options_default;
    struct fixture f;
    options.hello_timeout_ms = 50;
    fixture_open(&f, &options);
    TURN_UNTIL(&f, f.peer_ended);
    ck_assert_uint_eq(received_error(&f), 101);
    fixture_close(&f);
}

TEST(conn_closes_a_frame_that_comes_too_slowly)
{
    struct conn_options options = options_default;
    struct fixture f;
    options.frame_grace_ms = 1000;
    fixture_open(&f, &options);
    conn_greeted(f.conn, 60000);
    buf_append(&f.sent, span_make("\x40\x00\x00\x00x", 5));
    TURN_UNTIL(&f, f.peer_ended);
    ck_assert_uint_eq(received_error(&f), 100);
    fixture_close(&f);
}

TEST(conn_pings_when_it_is_quiet_and_loses_a_silent_peer)
{
    struct fixture f;
    fixture_open(&f, NULL);
    conn_greeted(f.conn, 60000);
    skipped_us += 60000000;
    TURN_UNTIL(&f, f.received.size != 0);
    Railgun__Frame *frame = NULL;
    struct span body;
    size_t total = 0;
    ck_assert_int_eq(frame_split(buf_span(&f.received), 4096, &body, &total), 0);
    ck_assert_int_eq(SCAN_UNPACK(body, railgun__frame, &frame), 0);
    ck_assert_int_eq(frame->body_case, RAILGUN__FRAME__BODY_PING);
    SCAN_FREE(&frame);
    skipped_us += 120000000;
    TURN_UNTIL(&f, f.peer_ended);
    ck_assert_uint_eq(received_error(&f), 106);
    fixture_close(&f);
}

TEST(conn_keeps_a_peer_that_shows_signs_of_life)
{
    struct fixture f;
    fixture_open(&f, NULL);
    conn_greeted(f.conn, 60000);
    for (unsigned i = 0; i < 5; i++) {
        size_t received = f.received.size;
        skipped_us += 60000000;
        TURN_UNTIL(&f, f.received.size > received); /* a Ping */
        send_frame(&f, 5, 0, NULL);
        TURN_UNTIL(&f, f.frame_count == i + 1);
    }
    ck_assert_ptr_nonnull(f.conn);
    ck_assert_int_eq(conn_state(f.conn), CONN_READY);
    fixture_close(&f);
}
