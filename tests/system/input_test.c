/* Bad input over TCP, while another client works: each bad client gets its typed error or is closed by its limit, nobody else notices, and frontd lives in
 * the same process as before with its memory bounded. */
#include "tests/lib/test.h"
#include "tests/system/node.h"
#include "tests/system/raw.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/base/rand.h"
#include "common/wire/batch.h"
#include "common/wire/frame.h"
#include "common/wire/pb.h"

enum { LONG = 10, MIB = 1 << 20, DEEP = 10000, RSS_GROWTH_MAX = 48 * MIB };

/* A node, and a client that publishes all the time and must never notice anything. */
struct scene {
    struct node *node;
    struct raw *bystander;
    pthread_t thread;
    atomic_bool is_over;
    atomic_ulong published;
    atomic_int failed; /* the first error it got */
    uint64_t rss_before;
    pid_t frontd_pid;
};

static void *bystander_run(void *ud)
{
    struct scene *self = ud;
    int code = 0;
    while (!atomic_load(&self->is_over)) {
        uint64_t offset = raw_publish(self->bystander, "calm", "undisturbed", &code);
        uint64_t wanted = atomic_load(&self->published) + 1;
        if (code != 0 || offset != wanted) {
            atomic_store(&self->failed, code != 0 ? code : -1);
            break;
        }
        atomic_store(&self->published, wanted);
    }
    return NULL;
}

static void scene_begin(struct scene *self, const char *const *frontd_settings)
{
    *self = (struct scene){.node = node_new()};
    for (size_t i = 0; frontd_settings != NULL && frontd_settings[i] != NULL; i++) {
        node_set(self->node, NODE_FRONTD, frontd_settings[i]);
    }
    node_start_all(self->node);
    self->bystander = raw_open(self->node);
    raw_ensure(self->bystander, "calm", NULL, 0);
    raw_ensure(self->bystander, "orders", "workers", 0);
    self->rss_before = node_rss_bytes(self->node, NODE_FRONTD);
    self->frontd_pid = node_pid(self->node, NODE_FRONTD);
    ck_assert_int_eq(pthread_create(&self->thread, NULL, bystander_run, self), 0);
}

static void scene_end(struct scene *self)
{
    uint64_t published = atomic_load(&self->published);
    ck_assert_msg(WAIT_FOR(atomic_load(&self->published) > published, LONG),
                  "the bystander is stuck after %lu records, error %d", published,
                  atomic_load(&self->failed));
    atomic_store(&self->is_over, true);
    ck_assert_int_eq(pthread_join(self->thread, NULL), 0);
    ck_assert_int_eq(atomic_load(&self->failed), 0);
    ck_assert(node_is_running(self->node, NODE_FRONTD));
    ck_assert_int_eq(node_pid(self->node, NODE_FRONTD), self->frontd_pid);
    uint64_t rss = node_rss_bytes(self->node, NODE_FRONTD);
    ck_assert_msg(test_slowness() > 1 || rss < self->rss_before + RSS_GROWTH_MAX,
                  "frontd grew from %lu to %lu bytes", self->rss_before, rss);
    raw_close(&self->bystander);
    node_stop_all(self->node);
    node_destroy(&self->node);
}

/* The connection must end by this error. */
static void expect_failed(struct raw **raw, int error)
{
    int code = raw_error_code(*raw, LONG);
    ck_assert_msg(code == -error, "%s was expected, got %d (%s)", err_name(error), code,
                  code > 0 ? err_name(code) : "no error frame");
    ck_assert(raw_is_closed(*raw, LONG));
    raw_close(raw);
}

static void send_prefix(struct raw *raw, uint32_t length)
{
    uint8_t prefix[FRAME_PREFIX_SIZE];
    bytes_put_u32(prefix, length);
    ck_assert(raw_send_bytes(raw, span_make(prefix, sizeof(prefix))));
}

/* A frame with this body. */
static void send_body(struct raw *raw, uint64_t corr, uint32_t field, struct span body)
{
    struct buf frame = {0};
    frame_append(&frame, 0, corr, field, body);
    ck_assert(raw_send_bytes(raw, buf_span(&frame)));
    buf_release(&frame);
}

TEST_WITHIN(garbage_is_refused_with_a_typed_error, 60)
{
    struct scene scene;
    struct prng prng;
    uint8_t garbage[4096];
    scene_begin(&scene, NULL);
    prng_init(&prng, 20);
    for (int round = 0; round < 50; round++) {
        struct raw *raw = round % 2 == 0 ? raw_connect(scene.node) : raw_open(scene.node);
        for (size_t i = 0; i < sizeof(garbage); i += 8) {
            bytes_put_u64(garbage + i, prng_next(&prng));
        }
        /* it may close in between */
        (void) raw_send_bytes(raw, span_make(garbage, sizeof(garbage)));
        int code = raw_error_code(raw, LONG);
        ck_assert_msg(code == -ERR_PROTOCOL || code == -ERR_TOO_LARGE ||
                          code == -ERR_HELLO_REQUIRED,
                      "round %d: %d", round, code);
        ck_assert(raw_is_closed(raw, LONG));
        raw_close(&raw);
    }
    scene_end(&scene);
}

TEST_WITHIN(a_frame_of_no_length_is_a_protocol_error, 60)
{
    struct scene scene;
    scene_begin(&scene, NULL);
    for (int greeted = 0; greeted < 2; greeted++) {
        struct raw *raw = greeted ? raw_open(scene.node) : raw_connect(scene.node);
        send_prefix(raw, 0);
        expect_failed(&raw, ERR_PROTOCOL);
    }
    scene_end(&scene);
}

TEST_WITHIN(an_announced_length_over_the_limit_is_refused_at_once, 60)
{
    static const uint32_t lengths[] = {(8 << 20) + 1, 64 << 20, 1U << 31, UINT32_MAX};
    struct scene scene;
    scene_begin(&scene, NULL);
    for (size_t i = 0; i < 4; i++) {
        struct raw *raw = raw_open(scene.node);
        send_prefix(raw, lengths[i]);
        expect_failed(&raw, ERR_TOO_LARGE);
    }
    struct raw *early = raw_connect(scene.node);
    send_prefix(early, 5 << 10); /* before Hello 4 KiB is the limit */
    expect_failed(&early, ERR_TOO_LARGE);
    scene_end(&scene);
}

TEST_WITHIN(announced_and_never_sent_takes_no_memory, 60)
{
    struct scene scene;
    struct raw *raws[200];
    scene_begin(&scene, NULL);
    for (size_t i = 0; i < 200; i++) {
        raws[i] = raw_open(scene.node);
        send_prefix(raws[i], 8 << 20); /* 1.6 GiB in all */
        ck_assert(raw_send_bytes(raws[i], span_make("\x1a", 1)));
    }
    uint64_t rss = node_rss_bytes(scene.node, NODE_FRONTD);
    ck_assert_msg(test_slowness() > 1 || rss < scene.rss_before + 20 * MIB, "%lu bytes", rss);
    for (size_t i = 0; i < 200; i++) {
        raw_close(&raws[i]);
    }
    scene_end(&scene);
}

TEST_WITHIN(what_comes_before_hello_is_refused, 60)
{
    struct scene scene;
    struct raw_frame frame;
    Railgun__Ping ping = RAILGUN__PING__INIT;
    scene_begin(&scene, NULL);
    struct raw *raw = raw_connect(scene.node);
    ck_assert(raw_send(raw, 0, 5, RAW_PING, &ping.base));
    expect_failed(&raw, ERR_HELLO_REQUIRED);
    raw = raw_open(scene.node);
    ck_assert(raw_hello(raw)); /* once more: an error, and the connection lives */
    ck_assert_int_eq(raw_error_code(raw, LONG), -ERR_BAD_REQUEST);
    ck_assert(raw_send(raw, 0, 6, RAW_PING, &ping.base));
    raw_expect(raw, RAW_PONG, &frame);
    ck_assert_uint_eq(frame.corr, 6);
    raw_close(&raw);
    scene_end(&scene);
}

TEST_WITHIN(a_version_nobody_speaks_is_refused, 60)
{
    struct scene scene;
    Railgun__Hello hello = RAILGUN__HELLO__INIT;
    scene_begin(&scene, NULL);
    hello.has_version_min = true;
    hello.version_min = 2;
    hello.has_version_max = true;
    hello.version_max = 9;
    struct raw *raw = raw_connect(scene.node);
    ck_assert(raw_send(raw, 0, 1, RAW_HELLO, &hello.base));
    expect_failed(&raw, ERR_VERSION);
    scene_end(&scene);
}

TEST_WITHIN(an_unknown_frame_is_answered_and_the_connection_lives, 60)
{
    struct scene scene;
    int code = 0;
    scene_begin(&scene, NULL);
    struct raw *raw = raw_open(scene.node);
    send_body(raw, 7, 99, span_of("of the future"));
    ck_assert_int_eq(raw_error_code(raw, LONG), -ERR_UNKNOWN_FRAME);
    send_body(raw, 8, RAW_HELLO_OK, (struct span){0}); /* of the server */
    ck_assert_int_eq(raw_error_code(raw, LONG), -ERR_UNKNOWN_FRAME);
    ck_assert_uint_eq(raw_publish(raw, "orders", "still here", &code), 1);
    raw_close(&raw);
    scene_end(&scene);
}

/* `depth` messages one in the other, as field `number` of each. */
static void nest(struct buf *out, uint32_t number, unsigned depth)
{
    struct buf inner = {0};
    for (unsigned i = 0; i < depth; i++) {
        buf_reset(out);
        pb_append_bytes(out, number, buf_span(&inner));
        buf_reset(&inner);
        buf_append(&inner, buf_span(out));
    }
    buf_release(&inner);
}

TEST_WITHIN(ten_thousand_nested_messages_harm_nothing, 60)
{
    static const uint32_t fields[] = {RAW_ENSURE,  RAW_CONSUME, RAW_HELLO, RAW_ACK,
                                      RAW_PUBLISH, RAW_READ,    RAW_CANCEL};
    struct scene scene;
    struct buf body = {0};
    scene_begin(&scene, NULL);
    for (uint32_t number = 1; number <= 10; number++) {
        nest(&body, number, DEEP);
        for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
            struct raw *raw = raw_open(scene.node);
            send_body(raw, 9, fields[i], buf_span(&body));
            ck_assert_int_gt(raw_error_code(raw, LONG), 0);
            raw_close(&raw);
        }
    }
    buf_release(&body);
    scene_end(&scene);
}

/* A MiB of (tag, length 0): 524,288 empty messages of a repeated field. */
static void empties(struct buf *out, uint32_t number)
{
    buf_reset(out);
    while (out->size < MIB) {
        pb_append_bytes(out, number, (struct span){0});
    }
}

TEST_WITHIN(half_a_million_empty_messages_are_too_many, 60)
{
    struct scene scene;
    struct buf body = {0};
    struct buf publish = {0};
    scene_begin(&scene, NULL);
    struct raw *raw = raw_open(scene.node);
    raw_consume(raw, 1, "orders", "workers", 1);
    empties(&body, 1);
    struct buf frame = {0};
    frame_append(&frame, 1, 20, 28, buf_span(&body)); /* Extend{ranges} */
    ck_assert(raw_send_bytes(raw, buf_span(&frame)));
    expect_failed(&raw, ERR_TOO_LARGE);

    raw = raw_open(scene.node);
    raw_consume(raw, 1, "orders", "workers", 1);
    buf_reset(&frame);
    frame_append(&frame, 1, 21, RAW_ACK, buf_span(&body)); /* Ack{ranges} */
    ck_assert(raw_send_bytes(raw, buf_span(&frame)));
    ck_assert_int_eq(raw_error_code(raw, LONG), -ERR_TOO_LARGE);
    raw_close(&raw);

    raw = raw_open(scene.node);
    pb_append_bytes(&publish, 1, span_of("orders"));
    pb_append_bytes(&publish, 2, buf_span(&body)); /* Publish{batch{records}} */
    send_body(raw, 22, RAW_PUBLISH, buf_span(&publish));
    ck_assert_int_eq(raw_error_code(raw, LONG), -ERR_TOO_LARGE);
    raw_close(&raw);
    buf_release(&frame);
    buf_release(&publish);
    buf_release(&body);
    scene_end(&scene);
}

TEST_WITHIN(bad_fields_are_bad_requests_and_the_connection_lives, 60)
{
    static const char *const names[] = {"",         "a b",  "a/b",      "..",
                                        "sl\x01sh", "a..b", "\xc3\xa4", ".a"};
    struct scene scene;
    int code = 0;
    scene_begin(&scene, NULL);
    struct raw *raw = raw_open(scene.node);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void) raw_publish(raw, names[i], "x", &code);
        ck_assert_msg(code == -ERR_BAD_REQUEST, "name '%s': %d", names[i], code);
    }
    (void) raw_publish(raw, "nowhere", "x", &code);
    ck_assert_int_eq(code, -ERR_ENSURE_FIRST);
    char *longest = mem_new(300);
    memset(longest, 'n', 299);
    (void) raw_publish(raw, longest, "x", &code);
    ck_assert_int_eq(code, -ERR_BAD_REQUEST);
    mem_free(longest);
    char *big = mem_new(MIB + 2);
    memset(big, 'b', MIB + 1);
    (void) raw_publish(raw, "orders", big, &code);
    ck_assert_int_eq(code, -ERR_TOO_LARGE);
    mem_free(big);
    ck_assert_uint_eq(raw_publish(raw, "orders", "still here", &code), 1);
    raw_close(&raw);
    scene_end(&scene);
}

TEST_WITHIN(a_silent_client_is_closed, 60)
{
    static const char *const settings[] = {"timeouts.hello=300ms", "timeouts.heartbeat=200ms",
                                           NULL};
    struct scene scene;
    Railgun__Ping ping = RAILGUN__PING__INIT;
    scene_begin(&scene, settings);
    struct raw *mute = raw_connect(scene.node);
    struct raw *gone = raw_open(scene.node);
    /* Reading without answering the Pings: raw_receive would. */
    expect_failed(&mute, ERR_HELLO_REQUIRED);
    struct buf rest = {0};
    ck_assert(raw_send(gone, 0, 3, RAW_PING, &ping.base));
    ck_assert_msg(raw_drain_until_closed(gone, LONG, &rest), "a peer that never answers is kept");
    ck_assert(raw_has_error(buf_span(&rest), ERR_HEARTBEAT_LOST));
    buf_release(&rest);
    raw_close(&gone);
    scene_end(&scene);
}

TEST_WITHIN(a_client_of_one_byte_at_a_time_is_closed_by_its_deadline, 60)
{
    static const char *const settings[] = {"timeouts.hello=500ms", "timeouts.frame=500ms", NULL};
    static const uint8_t hello[] = {0xff, 0x0f, 0, 0}; /* 4,095 bytes will follow, it says */
    struct scene scene;
    scene_begin(&scene, settings);
    for (int greeted = 0; greeted < 2; greeted++) {
        struct raw *raw = greeted ? raw_open(scene.node) : raw_connect(scene.node);
        size_t sent = 0;
        ck_assert(WAIT_FOR(!raw_send_bytes(raw, span_make(sent < 4 ? &hello[sent] : hello, 1)) ||
                               ++sent > 1000000 || raw_has_input(raw),
                           LONG));
        ck_assert_uint_lt(sent, 4095);
        expect_failed(&raw, greeted ? ERR_PROTOCOL : ERR_HELLO_REQUIRED);
    }
    scene_end(&scene);
}

TEST_WITHIN(publishing_beyond_the_window_is_a_credit_violation, 60)
{
    static const char *const settings[] = {"limits.publish_window=64k", NULL};
    struct scene scene;
    struct buf batch = {0};
    struct buf publish = {0};
    scene_begin(&scene, settings);
    struct raw *raw = raw_open(scene.node);
    char *payload = mem_new(8192);
    memset(payload, 'p', 8192);
    batch_append(&batch, span_make(payload, 8192), (struct span){0}, (struct span){0},
                 (struct span){0});
    pb_append_bytes(&publish, 1, span_of("orders"));
    pb_append_bytes(&publish, 2, buf_span(&batch));
    node_signal(scene.node, NODE_LOGD, SIGSTOP); /* no answers, no credit */
    for (uint64_t corr = 1; corr <= 16; corr++) {
        send_body(raw, corr, RAW_PUBLISH, buf_span(&publish));
    }
    expect_failed(&raw, ERR_CREDIT_VIOLATION);
    node_signal(scene.node, NODE_LOGD, SIGCONT);
    mem_free(payload);
    buf_release(&batch);
    buf_release(&publish);
    scene_end(&scene);
}

TEST_WITHIN(a_thousand_and_one_channels_are_one_too_many, 60)
{
    struct scene scene;
    Railgun__Consume consume = RAILGUN__CONSUME__INIT;
    char stream[] = "orders";
    char group[] = "workers";
    struct raw_frame frame;
    scene_begin(&scene, NULL);
    struct raw *raw = raw_open(scene.node);
    consume.stream = stream;
    consume.group = group;
    for (uint32_t channel = 1; channel <= 1001; channel++) {
        ck_assert(raw_send(raw, channel, channel, RAW_CONSUME, &consume.base));
    }
    unsigned opened = 0;
    unsigned refused = 0;
    while (opened + refused < 1001) {
        ck_assert_int_eq(raw_receive(raw, LONG, &frame), RAW_FRAME);
        opened += frame.field == RAW_CONSUME_OK;
        refused += frame.field == RAW_ERROR;
        ck_assert(frame.field != RAW_ERROR || frame.corr == 1001);
    }
    ck_assert_uint_eq(opened, 1000);
    /* The same channel twice. */
    ck_assert(raw_send(raw, 5, 2000, RAW_CONSUME, &consume.base));
    ck_assert_int_eq(raw_error_code(raw, LONG), -ERR_CHANNEL);
    raw_close(&raw);
    scene_end(&scene);
}

TEST_WITHIN(a_client_that_never_reads_takes_bounded_memory, 60)
{
    static const char *const settings[] = {"limits.outbound=1M", NULL};
    struct scene scene;
    Railgun__Read read = RAILGUN__READ__INIT;
    Railgun__Start start = RAILGUN__START__INIT;
    char stream[] = "orders";
    int code = 0;
    scene_begin(&scene, settings);
    struct raw *raw = raw_open(scene.node);
    char *payload = mem_new(512 * 1024);
    memset(payload, 'p', 512 * 1024 - 1);
    for (int i = 0; i < 4; i++) {
        ck_assert_uint_ne(raw_publish(raw, stream, payload, &code), 0);
    }
    mem_free(payload);
    read.stream = stream;
    read.from = &start;
    start.has_at = true;
    start.at = RAILGUN__START__AT__AT_FIRST;
    for (uint64_t corr = 100; corr < 600; corr++) { /* 500 MiB of answers */
        if (!raw_send(raw, 0, corr, RAW_READ, &read.base)) {
            break; /* it may close, or stop taking requests */
        }
    }
    uint64_t published = atomic_load(&scene.published);
    ck_assert(WAIT_FOR(atomic_load(&scene.published) > published + 50, LONG));
    uint64_t rss = node_rss_bytes(scene.node, NODE_FRONTD);
    ck_assert_msg(test_slowness() > 1 || rss < scene.rss_before + RSS_GROWTH_MAX, "%lu bytes", rss);
    raw_close(&raw);
    scene_end(&scene);
}

TEST_WITHIN(connections_over_the_limit_are_turned_away, 60)
{
    static const char *const settings[] = {"limits.connections=20", NULL};
    struct scene scene;
    struct raw *raws[25] = {NULL};
    unsigned refused = 0;
    scene_begin(&scene, settings);
    for (int i = 0; i < 25; i++) {
        struct raw_frame frame;
        raws[i] = raw_connect(scene.node);
        ck_assert_ptr_nonnull(raws[i]);
        (void) raw_hello(raws[i]);
        refused += raw_receive(raws[i], LONG, &frame) != RAW_FRAME || frame.field != RAW_HELLO_OK;
    }
    ck_assert_uint_eq(refused, 6); /* the bystander is the twentieth */
    for (int i = 0; i < 25; i++) {
        raw_close(&raws[i]);
    }
    struct raw *again = NULL;
    ck_assert(WAIT_FOR((again = raw_try_open(scene.node)) != NULL, LONG)); /* room again */
    raw_close(&again);
    scene_end(&scene);
}
