/* load_publish: threads that publish. With IDs each batch is sent again until its outcome is known. */
#include "tests/system/load_private.h"

#include <string.h>

#include "common/base/err.h"
#include "common/wire/batch.h"
#include "common/wire/frame.h"
#include "common/wire/hot.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"
#include "tests/lib/test.h"

/* Everything without an answer is unknown from now on; with IDs it is sent again. */
static void producer_lost(struct producer *self)
{
    raw_close(&self->raw);
    if (self->load->options.with_ids) {
        return;
    }
    for (unsigned i = 0; i < WINDOW_MAX; i++) {
        if (self->open[i].corr != 0) {
            history_publish_end(self->load->history, self->open[i].batch, OUTCOME_UNKNOWN, 0);
            self->open[i].corr = 0;
        }
    }
    self->open_count = 0;
}

static bool producer_send_slot(struct producer *self, unsigned slot)
{
    history_publish_again(self->load->history, self->open[slot].batch);
    return raw_send_bytes(self->raw, buf_span(&self->open[slot].frame));
}

/* What is open, in the order in which it was sent. */
static bool producer_resend(struct producer *self)
{
    uint64_t first = self->corr >= WINDOW_MAX ? self->corr - WINDOW_MAX + 1 : 1;
    for (uint64_t corr = first; corr <= self->corr; corr++) {
        unsigned slot = (unsigned) (corr % WINDOW_MAX);
        if (self->open[slot].corr == corr && !producer_send_slot(self, slot)) {
            return false;
        }
    }
    return true;
}

static bool producer_send(struct producer *self)
{
    const struct load_options *options = &self->load->options;
    struct buf batch = {0};
    struct buf payload = {0};
    struct buf body = {0};
    struct buf frame = {0};
    uint32_t count = 1 + (uint32_t) prng_below(&self->prng, options->batch_records);
    for (uint32_t i = 0; i < count; i++) {
        buf_reset(&payload);
        history_payload_put(&payload, history_value(self->id, self->counter + i),
                            options->payload_bytes);
        uint64_t value = history_value(self->id, self->counter + i);
        struct span id = span_make(&value, options->with_ids ? sizeof(value) : 0);
        batch_append(&batch, buf_span(&payload), id, (struct span){0}, (struct span){0});
    }
    pb_append_bytes(&body, 1, span_of(options->stream));
    pb_append_bytes(&body, 2, buf_span(&batch));
    uint64_t corr = ++self->corr;
    frame_append(&frame, 0, corr, RAW_PUBLISH, buf_span(&body));
    unsigned slot = (unsigned) (corr % WINDOW_MAX);
    self->open[slot].corr = corr;
    self->open[slot].batch =
        history_publish_begin(self->load->history, history_value(self->id, self->counter), count);
    self->open[slot].count = count;
    self->open_count++;
    self->counter += count;
    if (options->with_ids) {
        history_publish_ids(self->load->history, self->open[slot].batch);
        buf_reset(&self->open[slot].frame);
        buf_append(&self->open[slot].frame, buf_span(&frame));
    }
    bool sent = raw_send_bytes(self->raw, buf_span(&frame));
    buf_release(&batch);
    buf_release(&payload);
    buf_release(&body);
    buf_release(&frame);
    return sent;
}

/* All of the batch were stored before, side by side: where. */
static uint64_t duplicates_base(struct span body, uint32_t count)
{
    struct pb_field field;
    uint64_t base = 0;
    uint32_t seen = 0;
    while (pb_next(&body, &field) == 1) {
        struct hot_result result;
        if (field.number != 4) {
            continue;
        }
        TEST_ASSERT_FAST(hot_result_read(field.bytes, &result) == 0);
        TEST_ASSERT_FAST(result.code == -ERR_DUPLICATE && result.record == seen);
        base = seen == 0 ? result.offset : base;
        TEST_ASSERT_FAST(result.offset == base + seen);
        seen++;
    }
    TEST_ASSERT_FAST(seen == count);
    return base;
}

static void producer_answered(struct producer *self, const struct raw_frame *frame)
{
    unsigned slot = (unsigned) (frame->corr % WINDOW_MAX);
    struct hot_publish_ok ok;
    if (frame->corr == 0 || self->open[slot].corr != frame->corr) {
        return; /* GoAway and the like */
    }
    enum outcome outcome = OUTCOME_FAIL;
    if (frame->field == RAW_PUBLISH_OK) {
        TEST_ASSERT_FAST(hot_publish_ok_read(frame->body, &ok) == 0);
        outcome = OUTCOME_OK;
        if (ok.exceptions != 0) {
            ok.base_offset = duplicates_base(frame->body, self->open[slot].count);
            history_publish_duplicate(self->load->history, self->open[slot].batch);
        }
    } else if (self->load->options.with_ids) { /* refused or unknown: once more */
        load_pause_us(1000);
        (void) producer_send_slot(self, slot); /* a lost connection is noticed by who receives */
        return;
    } else if (raw_code_of(frame) == -ERR_TIMEOUT) {
        outcome = OUTCOME_UNKNOWN;
    }
    history_publish_end(self->load->history, self->open[slot].batch, outcome,
                        outcome == OUTCOME_OK ? ok.base_offset : 0);
    self->open[slot].corr = 0;
    self->open_count--;
    if (outcome != OUTCOME_OK) {
        load_pause_us(1000); /* refused: not at once again */
    }
}

/* Send and receive until the connection is lost or it is over. */
static void producer_work(struct producer *self)
{
    const struct load_options *options = &self->load->options;
    for (;;) {
        bool stop = atomic_load(&self->load->producers_stop);
        struct raw_frame frame;
        if (stop && self->open_count == 0) {
            return;
        }
        unsigned room = (unsigned) ((self->corr + 1) % WINDOW_MAX);
        bool can_send = !stop && self->open_count < options->window && self->open[room].corr == 0;
        if (can_send && !producer_send(self)) {
            producer_lost(self);
            return;
        }
        if (can_send && options->pause_us > 0) {
            load_pause_us(options->pause_us);
        }
        enum raw_got got = raw_receive(self->raw, can_send ? 0 : WAIT_SECONDS_MS / 1e3, &frame);
        if (got == RAW_FRAME) {
            producer_answered(self, &frame);
        } else if (got == RAW_CLOSED) {
            producer_lost(self);
            return;
        }
    }
}

void *producer_run(void *ud)
{
    struct producer *self = ud;
    while (!atomic_load(&self->load->producers_stop) || self->open_count > 0) {
        self->raw = raw_try_open(self->load->node);
        if (self->raw == NULL) {
            load_pause_us(RECONNECT_MS * 1000);
            continue;
        }
        if (producer_resend(self)) {
            producer_work(self);
        } else {
            producer_lost(self);
        }
    }
    for (unsigned i = 0; i < WINDOW_MAX; i++) {
        buf_release(&self->open[i].frame);
    }
    raw_close(&self->raw);
    (void) atomic_fetch_sub(&self->load->producers_running, 1);
    return NULL;
}
