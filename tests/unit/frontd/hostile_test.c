/* Hostile and broken clients: each gets a typed error or is closed by its limit, and nobody else notices. */
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/rand.h"
#include "common/wire/frame.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"

#include "tests/lib/test.h"
#include "tests/unit/frontd/front_lib.h"

#define BODY(name) RAILGUN__FRAME__BODY_##name

/* One well-behaved client that must not notice anything. */
static void expect_served(struct client *client, uint64_t corr)
{
    client_publish(client, "orders", corr, 2, 100);
    Railgun__Frame *frame = client_expect(client, BODY(PUBLISH_OK), corr);
    SCAN_FREE(&frame);
}

static void send_raw_frame(struct client *client, const void *bytes, size_t size)
{
    uint8_t prefix[4];
    bytes_put_u32(prefix, (uint32_t) size);
    client_send_bytes(client, span_make(prefix, 4));
    client_send_bytes(client, span_make(bytes, size));
}

TEST(malformed_frames_are_answered_and_closed)
{
    struct front front;
    struct client good;
    const struct {
        const char *bytes;
        size_t size;
    } cases[] = {
        {"\xff\xff\xff", 3},         /* no tag */
        {"\x1a\x05x", 3},            /* Publish longer than the frame */
        {"\x1a\x02\x0a\x09", 4},     /* a name longer than Publish */
        {"\x1a\x03\x0a\x01\xff", 5}, /* a name that is no text */
        {"\x18\x01", 2},             /* Publish is no number */
        {"\xc2\x02\x02\x30\xff", 5}, /* Ensure with half a number */
        {"\x32\x02\x0a\x05", 4},     /* Ack with a range past its end */
    };
    front_open_node(&front, NULL);
    client_open(&good, &front);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct client bad;
        client_open(&bad, &front);
        send_raw_frame(&bad, cases[i].bytes, cases[i].size);
        client_expect_error(&bad, 0, 100);
        client_expect_end(&bad);
        client_close(&bad);
        expect_served(&good, 10 + i);
    }
    client_close(&good);
    front_close(&front);
}

TEST(frames_that_are_too_deep_or_too_many_fields_are_refused)
{
    struct front front;
    struct client good;
    struct client bad;
    struct buf bomb = {0};
    struct buf frame = {0};
    front_open_node(&front, NULL);
    client_open(&good, &front);
    /* Many empty sub-messages in what goes through protobuf-c: an Extend with a million ranges. */
    for (unsigned i = 0; i < 1000000; i++) {
        buf_append(&bomb, span_make("\x0a\x00", 2));
    }
    client_open(&bad, &front);
    frame_append(&frame, 1, 2, BODY(EXTEND), buf_span(&bomb));
    client_send_bytes(&bad, buf_span(&frame));
    client_expect_error(&bad, 0, 413);
    client_expect_end(&bad);
    client_close(&bad);
    /* Nested 10,000 deep. */
    buf_reset(&bomb);
    buf_reset(&frame);
    for (unsigned i = 0; i < 10000; i++) {
        struct buf outer = {0};
        pb_append_bytes(&outer, 6, buf_span(&bomb));
        buf_release(&bomb);
        bomb = outer;
    }
    client_open(&bad, &front);
    frame_append(&frame, 1, 2, BODY(ENSURE), buf_span(&bomb));
    client_send_bytes(&bad, buf_span(&frame));
    Railgun__Frame *answer = client_expect(&bad, BODY(ERROR), 0);
    ck_assert(answer->error->code == 100 || answer->error->code == 413);
    SCAN_FREE(&answer);
    client_expect_end(&bad);
    client_close(&bad);
    expect_served(&good, 10);
    buf_release(&bomb);
    buf_release(&frame);
    client_close(&good);
    front_close(&front);
}

TEST_WITHIN(random_bytes_never_harm_others, 40)
{
    struct front front;
    struct client good;
    struct prng prng;
    prng_init(&prng, 7);
    front_open_node(&front, NULL);
    client_open(&good, &front);
    for (unsigned round = 0; round < 200; round++) {
        struct client bad;
        uint8_t bytes[300];
        size_t size = 1 + prng_below(&prng, sizeof(bytes) - 1);
        for (size_t i = 0; i < size; i++) {
            bytes[i] = (uint8_t) prng_next(&prng);
        }
        bool greets = prng_below(&prng, 4) != 0;
        if (greets) {
            client_open(&bad, &front);
        } else {
            client_connect(&bad, &front);
        }
        if (prng_below(&prng, 3) == 0) {
            client_send_bytes(&bad, span_make(bytes, size));
        } else {
            bytes[0] = (uint8_t) (prng_below(&prng, 50) << 3 | 2); /* like a body */
            bytes[1] = (uint8_t) (size - 2 < 127 ? size - 2 : 127);
            send_raw_frame(&bad, bytes, size);
        }
        if (round % 10 == 0) {
            expect_served(&good, 10 + round);
        }
        client_close(&bad);
    }
    expect_served(&good, 1000);
    client_close(&good);
    front_close(&front);
}

TEST(an_error_reaches_a_client_that_is_still_sending)
{
    struct front front;
    struct buf flood = {0};
    front_open_node(&front, NULL);
    memset(buf_reserve(&flood, 4 << 20), 0xff, 4 << 20); /* a length beyond all limits, and more */
    buf_advance(&flood, 4 << 20);
    for (unsigned i = 0; i < 10; i++) {
        struct client bad;
        client_open(&bad, &front);
        client_send_bytes(&bad, buf_span(&flood));
        client_expect_error(&bad, 0, 413);
        client_expect_end(&bad);
        client_close(&bad);
    }
    buf_release(&flood);
    front_close(&front);
}

TEST(silent_and_slow_clients_are_closed)
{
    struct front front;
    struct client silent;
    struct client slow;
    struct client dead;
    struct client good;
    Railgun__Hello hello = RAILGUN__HELLO__INIT;
    const char *sets[] = {"timeouts.hello=3s", "timeouts.frame=1s", NULL};
    front_open_node(&front, sets);
    client_open(&good, &front);
    client_connect(&silent, &front);
    client_expect_error(&silent, 0, 101);
    client_expect_end(&silent);
    client_open(&slow, &front);
    client_send_bytes(&slow, span_make("\xff\xff\x01\x00x", 5)); /* and nothing more */
    client_connect(&dead, &front);
    hello.has_heartbeat_ms = true;
    hello.heartbeat_ms = 200;
    client_send(&dead, 0, 1, BODY(HELLO), &hello);
    Railgun__Frame *frame = client_expect(&dead, BODY(HELLO_OK), 1);
    SCAN_FREE(&frame);
    dead.mute = true;
    client_expect_error(&dead, 0, 106);
    client_expect_end(&dead);
    client_expect_error(&slow, 0, 100);
    client_expect_end(&slow);
    expect_served(&good, 10);
    client_close(&silent);
    client_close(&slow);
    client_close(&dead);
    client_close(&good);
    front_close(&front);
}

TEST(clients_that_reset_in_the_middle_of_a_frame_are_forgotten)
{
    struct front front;
    struct client good;
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    front_open_node(&front, NULL);
    client_open(&good, &front);
    for (unsigned i = 0; i < 50; i++) {
        struct client bad;
        client_open(&bad, &front);
        client_publish(&bad, "orders", 2, 5, 100);
        client_send_bytes(&bad, span_make("\x00\x10\x00\x00half", 8));
        ck_assert_int_eq(setsockopt(bad.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
        client_close(&bad);
    }
    expect_served(&good, 10);
    client_close(&good);
    front_close(&front);
}

TEST(connections_beyond_the_descriptors_wait)
{
    enum { CONNECTIONS = 60 };
    struct front front;
    struct client good;
    struct client others[CONNECTIONS];
    const char *sets[] = {"descriptors=64", NULL};
    front_open_node(&front, sets);
    client_open(&good, &front);
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        client_connect(&others[i], &front);
    }
    expect_served(&good, 2);
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        client_close(&others[i]);
    }
    client_open(&others[0], &front);
    client_close(&others[0]);
    client_close(&good);
    front_close(&front);
}

TEST(connections_beyond_the_limits_are_told)
{
    struct front front;
    struct client clients[3];
    struct client over;
    const char *sets[] = {"limits.connections=3", NULL};
    front_open_node(&front, sets);
    for (unsigned i = 0; i < 3; i++) {
        client_open(&clients[i], &front);
    }
    client_connect(&over, &front);
    client_expect_error(&over, 0, 512);
    client_expect_end(&over);
    client_close(&over);
    client_close(&clients[0]);
    bool served = false;
    while (!served) { /* as soon as frontd has noticed */
        Railgun__Hello hello = RAILGUN__HELLO__INIT;
        client_connect(&over, &front);
        client_send(&over, 0, 1, BODY(HELLO), &hello);
        Railgun__Frame *frame = client_recv(&over);
        served = frame != NULL && frame->body_case == BODY(HELLO_OK);
        SCAN_FREE(&frame);
        client_close(&over);
    }
    client_close(&clients[1]);
    client_close(&clients[2]);
    front_close(&front);
}

TEST_WITHIN(announced_lengths_cost_nothing_and_idle_connections_little, 60)
{
    enum { CONNECTIONS = 1000 };
    struct front front;
    static struct client clients[CONNECTIONS];
    struct client good;
    front_open_node(&front, NULL);
    client_open(&good, &front);
    expect_served(&good, 2);
    uint64_t before = front_rss_bytes(&front);
    uint64_t mapped_before = front_mapped_bytes(&front);
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        client_open(&clients[i], &front);
    }
    uint64_t idle = front_rss_bytes(&front) - before;
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        /* 8 MB are announced */
        client_send_bytes(&clients[i], span_make("\x00\x00\x7f\x00\x1a", 5));
    }
    expect_served(&good, 3);
    uint64_t announced = front_rss_bytes(&front) - before;
    uint64_t mapped = front_mapped_bytes(&front) - mapped_before;
    expect_served(&good, 4);
#if !defined(__SANITIZE_ADDRESS__)
    ck_assert_uint_lt(idle / CONNECTIONS, 10 << 10);
    ck_assert_uint_lt(announced / CONNECTIONS, 14 << 10);
    ck_assert_uint_lt(mapped / CONNECTIONS, 64 << 10);
#else
    (void) idle;
    (void) announced;
    (void) mapped;
#endif
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        client_close(&clients[i]);
    }
    expect_served(&good, 5);
    client_close(&good);
    front_close(&front);
}
