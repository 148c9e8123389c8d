/* load_consume: threads that consume: acknowledge, give back, leave. */
#include "tests/system/load_private.h"

#include <string.h>

#include "common/base/err.h"
#include "common/wire/batch.h"
#include "common/wire/frame.h"
#include "common/wire/hot.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"
#include "tests/lib/test.h"

static void consumer_lost(struct consumer *self)
{
    for (unsigned i = 0; i < WINDOW_MAX; i++) {
        self->open[i].corr = 0;
        buf_reset(&self->open[i].offsets);
        buf_reset(&self->open[i].nacked);
    }
    self->rewound = 0;
    raw_close(&self->raw);
}

static bool consumer_attach(struct consumer *self)
{
    const struct load_options *options = &self->load->options;
    Railgun__Consume consume = RAILGUN__CONSUME__INIT;
    Railgun__Credit credit = RAILGUN__CREDIT__INIT;
    struct raw_frame frame = {0};
    memcpy(&consume.stream, &options->stream, sizeof(char *)); /* protobuf-c has no const strings */
    memcpy(&consume.group, &options->group, sizeof(char *));
    credit.has_messages = true;
    credit.messages = CREDIT;
    credit.has_bytes = true;
    credit.bytes = 1 << 20;
    consume.credit = &credit;
    self->session++;
    if (!raw_send(self->raw, CHANNEL, ++self->corr, RAW_CONSUME, &consume.base)) {
        return false;
    }
    return raw_receive(self->raw, 20, &frame) == RAW_FRAME && frame.field == RAW_CONSUME_OK;
}

static uint32_t attempt_of(struct span deliver, uint64_t offset)
{
    struct pb_field field;
    while (pb_next(&deliver, &field) > 0) {
        struct hot_redelivered again;
        if (field.number == 5 && hot_redelivered_read(field.bytes, &again) == 0 &&
            again.first <= offset && offset <= again.last) {
            return again.attempt;
        }
    }
    return 1;
}

static void append_range(struct buf *out, uint32_t number, uint64_t offset)
{
    struct buf range = {0};
    pb_append_varint(&range, 1, offset);
    pb_append_varint(&range, 2, offset);
    pb_append_bytes(out, number, buf_span(&range));
    buf_release(&range);
}

/* What is said about one delivery. */
struct saying {
    struct buf ack;
    unsigned slot;
    bool is_over; /* strict groups: a nack, and what follows comes again */
};

static void say_nack(struct consumer *self, struct saying *saying, uint64_t epoch, uint64_t offset,
                     bool is_poison)
{
    const struct load_options *options = &self->load->options;
    uint64_t delay_ms = is_poison ? 0 : options->nack_delay_ms;
    struct buf nack = {0};
    append_range(&nack, 1, offset);
    pb_append_varint(&nack, 2, delay_ms);
    pb_append_bytes(&saying->ack, 3, buf_span(&nack));
    buf_release(&nack);
    buf_append(&self->open[saying->slot].nacked, span_make(&offset, sizeof(offset)));
    history_nacked_for(self->load->history, GROUP_ID, epoch, offset, delay_ms);
    if (options->is_strict) {
        saying->is_over = true;
        self->rewound = offset;
    }
}

static void say_ack(struct consumer *self, struct saying *saying, uint64_t epoch, uint64_t offset)
{
    struct asked asked = {offset, history_ack_began(self->load->history, GROUP_ID, epoch, offset)};
    append_range(&saying->ack, 1, offset);
    buf_append(&self->open[saying->slot].offsets, span_make(&asked, sizeof(asked)));
}

/* Record what came, then acknowledge each record or give it back. */
static bool consumer_delivered(struct consumer *self, const struct raw_frame *frame)
{
    const struct load_options *options = &self->load->options;
    struct hot_delivery delivery;
    struct batch_record record;
    struct buf ack_frame = {0};
    uint64_t corr = ++self->corr;
    struct saying saying = {.slot = (unsigned) (corr % WINDOW_MAX)};
    bool is_sync = prng_below(&self->prng, 100) < options->sync_percent;

    TEST_ASSERT_FAST(hot_deliver_read(frame->body, &delivery) == 0);
    struct span rest = delivery.batch;
    uint64_t offset = delivery.base_offset;
    self->open[saying.slot].corr = corr;
    self->epoch = delivery.epoch;
    self->open[saying.slot].epoch = delivery.epoch;
    self->open[saying.slot].is_sync = is_sync;
    buf_reset(&self->open[saying.slot].offsets);
    buf_reset(&self->open[saying.slot].nacked);
    for (; batch_next(&rest, &record) > 0; offset++) {
        history_delivered_in(self->load->history, GROUP_ID, self->id << 16 | self->session,
                             delivery.epoch, offset, attempt_of(frame->body, offset),
                             record.payload);
    }
    if (prng_below(&self->prng, 1000) < options->slow_per_mille) {
        load_pause_us(20000); /* another may take over meanwhile */
    }
    rest = delivery.batch;
    offset = delivery.base_offset;
    for (; batch_next(&rest, &record) > 0; offset++) {
        uint64_t value = 0;
        bool is_poison =
            history_payload_get(record.payload, &value) && load_is_poison(options, value);
        if (self->rewound != 0 || saying.is_over) {
            continue; /* comes again */
        }
        if (is_poison || prng_below(&self->prng, 1000) < options->nack_per_mille) {
            say_nack(self, &saying, delivery.epoch, offset, is_poison);
        } else {
            say_ack(self, &saying, delivery.epoch, offset);
        }
    }
    TEST_ASSERT_FAST(offset == delivery.base_offset + delivery.count);
    if (is_sync) {
        pb_append_varint(&saying.ack, 4, 1);
    }
    if (delivery.epoch != 0) {
        pb_append_varint(&saying.ack, 5, delivery.epoch);
    }
    frame_append(&ack_frame, CHANNEL, corr, RAW_ACK, buf_span(&saying.ack));
    bool sent = raw_send_bytes(self->raw, buf_span(&ack_frame));
    sent = sent && raw_credit(self->raw, CHANNEL, delivery.count);
    buf_release(&saying.ack);
    buf_release(&ack_frame);
    return sent;
}

/* Which of the offsets were refused? */
static bool is_refused(const Railgun__AckOk *ok, uint64_t offset)
{
    for (size_t i = 0; i < ok->n_results; i++) {
        if (ok->results[i]->first <= offset && offset <= ok->results[i]->last) {
            return true;
        }
    }
    return false;
}

static void consumer_acked(struct consumer *self, const struct raw_frame *frame)
{
    unsigned slot = (unsigned) (frame->corr % WINDOW_MAX);
    Railgun__AckOk *ok = NULL;
    if (self->open[slot].corr != frame->corr) {
        return;
    }
    self->open[slot].corr = 0;
    if (frame->field != RAW_ACK_OK) {
        return; /* unknown: the messages come again or not */
    }
    TEST_ASSERT_FAST(SCAN_UNPACK(frame->body, railgun__ack_ok, &ok) == 0);
    const struct buf *offsets = &self->open[slot].offsets;
    for (size_t at = 0; at < offsets->size; at += sizeof(struct asked)) {
        struct asked asked;
        memcpy(&asked, offsets->data + at, sizeof(asked));
        if (!is_refused(ok, asked.offset)) {
            history_acked_in(self->load->history, GROUP_ID, self->open[slot].epoch, asked.offset,
                             self->open[slot].is_sync, asked.began_ns);
        }
    }
    const struct buf *nacked = &self->open[slot].nacked;
    for (size_t at = 0; at < nacked->size && self->open[slot].is_sync; at += sizeof(uint64_t)) {
        uint64_t offset = 0;
        memcpy(&offset, nacked->data + at, sizeof(offset));
        if (!is_refused(ok, offset)) {
            history_nack_kept(self->load->history, GROUP_ID, offset);
        }
    }
    SCAN_FREE(&ok);
}

/* A nack in a strict group is answered: from here on all is new again. */
static void consumer_told(struct consumer *self, const struct raw_frame *frame)
{
    Railgun__GroupEvent *event = NULL;
    TEST_ASSERT_FAST(SCAN_UNPACK(frame->body, railgun__group_event, &event) == 0);
    if (event->type == RAILGUN__GROUP_EVENT__TYPE__EVENT_REWOUND) {
        self->rewound = 0;
        if (event->range != NULL) {
            history_rewound(self->load->history, GROUP_ID, self->epoch, event->range->first);
        }
    } else if (event->type == RAILGUN__GROUP_EVENT__TYPE__EVENT_GAP && event->range != NULL) {
        history_gap(self->load->history, GROUP_ID, event->range->first, event->range->last);
    }
    SCAN_FREE(&event);
}

/* Does it drop its connection now? What it holds comes again, to others or to itself. */
static bool consumer_leaves(struct consumer *self)
{
    if (prng_below(&self->prng, 1000) >= self->load->options.leave_per_mille) {
        return false;
    }
    history_fault_began(self->load->history);
    raw_close(&self->raw);
    history_fault_ended(self->load->history);
    return true;
}

static void consumer_work(struct consumer *self)
{
    while (!atomic_load(&self->load->consumers_stop)) {
        struct raw_frame frame;
        enum raw_got got = raw_receive(self->raw, WAIT_SECONDS_MS / 1e3, &frame);
        if (got == RAW_CLOSED) {
            return;
        }
        if (got == RAW_NOTHING) {
            continue;
        }
        if (frame.field == RAW_DELIVER) {
            if (!consumer_delivered(self, &frame) || consumer_leaves(self)) {
                return;
            }
        } else if (frame.field == RAW_GROUP_EVENT) {
            consumer_told(self, &frame);
        } else if (frame.field == RAW_CANCEL) {
            return;
        } else if (frame.corr != 0) {
            consumer_acked(self, &frame);
        }
    }
}

void *consumer_run(void *ud)
{
    struct consumer *self = ud;
    while (!atomic_load(&self->load->consumers_stop)) {
        self->raw = raw_try_open(self->load->node);
        if (self->raw != NULL && consumer_attach(self)) {
            consumer_work(self);
        } else {
            load_pause_us(RECONNECT_MS * 1000);
        }
        consumer_lost(self);
    }
    for (unsigned i = 0; i < WINDOW_MAX; i++) {
        buf_release(&self->open[i].offsets);
        buf_release(&self->open[i].nacked);
    }
    return NULL;
}
