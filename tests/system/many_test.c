/* Many streams: ensured and published to with requests in a pipeline, all there after a restart. */
#include "tests/lib/test.h"
#include "tests/system/node.h"
#include "tests/system/raw.h"

#include <stdio.h>

#include "common/wire/batch.h"
#include "common/wire/frame.h"
#include "common/wire/hot.h"
#include "common/wire/pb.h"

enum { STREAMS = 10000, PIPELINE = 500, LONG = 60 };

typedef void make_request_fn(struct buf *body, unsigned number);

static void name_of(unsigned number, char out[32])
{
    (void) snprintf(out, 32, "sensor.%05u", number);
}

static void make_ensure(struct buf *body, unsigned number)
{
    char name[32];
    name_of(number, name);
    pb_append_varint(body, 1, RAILGUN__KIND__KIND_STREAM);
    pb_append_bytes(body, 2, span_of(name));
}

static void make_publish(struct buf *body, unsigned number)
{
    char name[32];
    struct buf batch = {0};
    name_of(number, name);
    batch_append(&batch, span_of(name), (struct span){0}, (struct span){0}, (struct span){0});
    pb_append_bytes(body, 1, span_of(name));
    pb_append_bytes(body, 2, buf_span(&batch));
    buf_release(&batch);
}

static void make_read(struct buf *body, unsigned number)
{
    char name[32];
    struct buf start = {0};
    name_of(number, name);
    pb_append_varint(&start, 1, RAILGUN__START__AT__AT_FIRST);
    pb_append_bytes(body, 1, span_of(name));
    pb_append_bytes(body, 2, buf_span(&start));
    buf_release(&start);
}

static void check_read(const struct raw_frame *frame)
{
    struct hot_delivery ok;
    struct batch_record record;
    char name[32];
    name_of((unsigned) frame->corr, name);
    TEST_ASSERT_FAST(hot_read_ok_read(frame->body, &ok) == 0);
    TEST_ASSERT_FAST(ok.base_offset == 1 && ok.count == 1 && ok.end_offset == 2);
    TEST_ASSERT_FAST(batch_next(&ok.batch, &record) == 1 && span_is(record.payload, name));
}

/* One request a stream, PIPELINE of them open; every answer must be `answer`. */
static void ask_all(struct raw *raw, uint32_t request, uint32_t answer, make_request_fn *make)
{
    uint64_t began_ms = now_ms();
    unsigned sent = 0;
    for (unsigned answered = 0; answered < STREAMS; answered++) {
        struct raw_frame frame;
        struct buf out = {0};
        while (sent < STREAMS && sent - answered < PIPELINE) {
            struct buf body = {0};
            make(&body, ++sent);
            frame_append(&out, 0, sent, request, buf_span(&body));
            buf_release(&body);
        }
        TEST_ASSERT_FAST(raw_send_bytes(raw, buf_span(&out)));
        buf_release(&out);
        TEST_ASSERT_FAST(raw_receive(raw, LONG, &frame) == RAW_FRAME);
        ck_assert_msg(frame.field == answer, "stream %lu: frame %u (error %d)", frame.corr,
                      frame.field, raw_code_of(&frame));
        if (answer == RAW_READ_OK) {
            check_read(&frame);
        }
    }
    (void) fprintf(stderr, "%d requests of kind %u: %lu ms\n", STREAMS, request,
                   now_ms() - began_ms);
}

TEST_WITHIN(ten_thousand_streams_are_there_after_a_restart, 120)
{
    struct node *node = node_new();
    node_start_all(node);
    struct raw *raw = raw_open(node);
    ask_all(raw, RAW_ENSURE, RAW_ENSURE_OK, make_ensure);
    ask_all(raw, RAW_PUBLISH, RAW_PUBLISH_OK, make_publish);
    node_restart(node, NODE_LOGD);
    ask_all(raw, RAW_READ, RAW_READ_OK, make_read);
    raw_close(&raw);
    uint64_t began_ms = now_ms();
    node_kill_all(node);
    node_start_all(node);
    (void) fprintf(stderr, "all restarted: %lu ms\n", now_ms() - began_ms);
    raw = raw_open(node);
    ask_all(raw, RAW_READ, RAW_READ_OK, make_read);
    raw_close(&raw);
    node_stop_all(node);
    node_destroy(&node);
}
