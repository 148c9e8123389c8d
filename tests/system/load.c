/* load: threads that publish and consume by frames. A thread owns its connection and its table of open requests; only the history is shared. */
#include "tests/system/load.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/base/rand.h"
#include "common/wire/batch.h"
#include "common/wire/frame.h"
#include "common/wire/hot.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"
#include "tests/lib/test.h"
#include "tests/system/checker.h"
#include "tests/system/raw.h"

enum {
    WINDOW_MAX = 256,
    CHANNEL = 1,
    CREDIT = 256,
    RECONNECT_MS = 20,
    WAIT_SECONDS_MS = 50,
    GROUP_ID = 1,
};

struct producer {
    struct load *load;
    pthread_t thread;
    uint32_t id;
    uint64_t counter;
    struct prng prng;
    struct raw *raw;
    uint64_t corr;
    struct {           /* by corr modulo WINDOW_MAX */
        uint64_t corr; /* 0: free */
        uint32_t batch;
    } open[WINDOW_MAX];
    unsigned open_count;
};

struct consumer {
    struct load *load;
    pthread_t thread;
    uint32_t id;
    uint32_t session;
    struct prng prng;
    struct raw *raw;
    uint64_t corr;
    struct { /* acks without an answer */
        uint64_t corr;
        bool is_sync;
        struct buf offsets; /* of uint64_t */
    } open[WINDOW_MAX];
};

struct load {
    const struct node *node;
    struct history *history;
    struct load_options options;
    struct producer *producers;
    struct consumer *consumers;
    atomic_bool producers_stop;
    atomic_bool consumers_stop;
    atomic_uint producers_running;
    bool producers_joined;
};

static void pause_us(uint64_t us)
{
    struct timespec time = {(time_t) (us / 1000000), (long) (us % 1000000) * 1000};
    (void) nanosleep(&time, NULL);
}

/* --- producers --- */

/* Everything without an answer is unknown from now on. */
static void producer_lost(struct producer *self)
{
    for (unsigned i = 0; i < WINDOW_MAX; i++) {
        if (self->open[i].corr != 0) {
            history_publish_end(self->load->history, self->open[i].batch, OUTCOME_UNKNOWN, 0);
            self->open[i].corr = 0;
        }
    }
    self->open_count = 0;
    raw_close(&self->raw);
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
        batch_append(&batch, buf_span(&payload), (struct span){0}, (struct span){0},
                     (struct span){0});
    }
    pb_append_bytes(&body, 1, span_of(options->stream));
    pb_append_bytes(&body, 2, buf_span(&batch));
    uint64_t corr = ++self->corr;
    frame_append(&frame, 0, corr, RAW_PUBLISH, buf_span(&body));
    unsigned slot = (unsigned) (corr % WINDOW_MAX);
    self->open[slot].corr = corr;
    self->open[slot].batch =
        history_publish_begin(self->load->history, history_value(self->id, self->counter), count);
    self->open_count++;
    self->counter += count;
    bool sent = raw_send_bytes(self->raw, buf_span(&frame));
    buf_release(&batch);
    buf_release(&payload);
    buf_release(&body);
    buf_release(&frame);
    return sent;
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
    } else if (raw_code_of(frame) == -ERR_TIMEOUT) {
        outcome = OUTCOME_UNKNOWN;
    }
    history_publish_end(self->load->history, self->open[slot].batch, outcome,
                        outcome == OUTCOME_OK ? ok.base_offset : 0);
    self->open[slot].corr = 0;
    self->open_count--;
    if (outcome != OUTCOME_OK) {
        pause_us(1000); /* refused: not at once again */
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
            pause_us(options->pause_us);
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

static void *producer_run(void *ud)
{
    struct producer *self = ud;
    while (!atomic_load(&self->load->producers_stop)) {
        self->raw = raw_try_open(self->load->node);
        if (self->raw == NULL) {
            pause_us(RECONNECT_MS * 1000);
            continue;
        }
        producer_work(self);
    }
    raw_close(&self->raw);
    (void) atomic_fetch_sub(&self->load->producers_running, 1);
    return NULL;
}

/* --- consumers --- */

static void consumer_lost(struct consumer *self)
{
    for (unsigned i = 0; i < WINDOW_MAX; i++) {
        self->open[i].corr = 0;
        buf_reset(&self->open[i].offsets);
    }
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

/* Record what came, then acknowledge each record or give it back. */
static bool consumer_delivered(struct consumer *self, const struct raw_frame *frame)
{
    struct history *history = self->load->history;
    struct hot_delivery delivery;
    struct batch_record record;
    struct buf ack = {0};
    struct buf ack_frame = {0};
    uint64_t corr = ++self->corr;
    unsigned slot = (unsigned) (corr % WINDOW_MAX);
    bool is_sync = prng_below(&self->prng, 100) < self->load->options.sync_percent;

    TEST_ASSERT_FAST(hot_deliver_read(frame->body, &delivery) == 0);
    struct span rest = delivery.batch;
    uint64_t offset = delivery.base_offset;
    self->open[slot].corr = corr;
    self->open[slot].is_sync = is_sync;
    buf_reset(&self->open[slot].offsets);
    for (; batch_next(&rest, &record) > 0; offset++) {
        history_delivered(history, GROUP_ID, self->id << 16 | self->session, offset,
                          attempt_of(frame->body, offset), record.payload);
        if (prng_below(&self->prng, 1000) < self->load->options.nack_per_mille) {
            struct buf nack = {0};
            append_range(&nack, 1, offset);
            pb_append_varint(&nack, 2, 0); /* at once */
            pb_append_bytes(&ack, 3, buf_span(&nack));
            buf_release(&nack);
            history_nacked(history, GROUP_ID, offset);
        } else {
            append_range(&ack, 1, offset);
            buf_append(&self->open[slot].offsets, span_make(&offset, sizeof(offset)));
        }
    }
    TEST_ASSERT_FAST(offset == delivery.base_offset + delivery.count);
    if (is_sync) {
        pb_append_varint(&ack, 4, 1);
    }
    frame_append(&ack_frame, CHANNEL, corr, RAW_ACK, buf_span(&ack));
    bool sent = raw_send_bytes(self->raw, buf_span(&ack_frame));
    sent = sent && raw_credit(self->raw, CHANNEL, delivery.count);
    buf_release(&ack);
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
    for (size_t at = 0; at < offsets->size; at += sizeof(uint64_t)) {
        uint64_t offset = 0;
        memcpy(&offset, offsets->data + at, sizeof(offset));
        if (!is_refused(ok, offset)) {
            history_acked(self->load->history, GROUP_ID, offset, self->open[slot].is_sync);
        }
    }
    SCAN_FREE(&ok);
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
        } else if (frame.field == RAW_CANCEL) {
            return;
        } else if (frame.corr != 0) {
            consumer_acked(self, &frame);
        }
    }
}

static void *consumer_run(void *ud)
{
    struct consumer *self = ud;
    while (!atomic_load(&self->load->consumers_stop)) {
        self->raw = raw_try_open(self->load->node);
        if (self->raw != NULL && consumer_attach(self)) {
            consumer_work(self);
        } else {
            pause_us(RECONNECT_MS * 1000);
        }
        consumer_lost(self);
    }
    for (unsigned i = 0; i < WINDOW_MAX; i++) {
        buf_release(&self->open[i].offsets);
    }
    return NULL;
}

/* --- all of them --- */

struct load *load_start(const struct node *node, struct history *history,
                        const struct load_options *options)
{
    struct load *self = MEM_NEW(struct load);
    *self = (struct load){.node = node, .history = history, .options = *options};
    ck_assert_uint_lt(options->window, WINDOW_MAX);
    self->producers = MEM_NEW_ARRAY(options->producers + 1, struct producer);
    self->consumers = MEM_NEW_ARRAY(options->consumers + 1, struct consumer);
    atomic_store(&self->producers_running, options->producers);
    for (unsigned i = 0; i < options->producers; i++) {
        struct producer *producer = &self->producers[i];
        producer->load = self;
        producer->id = i + 1;
        producer->counter = 1;
        prng_init(&producer->prng, options->seed * 1000 + i);
        ck_assert_int_eq(pthread_create(&producer->thread, NULL, producer_run, producer), 0);
    }
    for (unsigned i = 0; i < options->consumers; i++) {
        struct consumer *consumer = &self->consumers[i];
        consumer->load = self;
        consumer->id = i + 1;
        prng_init(&consumer->prng, options->seed * 1000 + 500 + i);
        ck_assert_int_eq(pthread_create(&consumer->thread, NULL, consumer_run, consumer), 0);
    }
    return self;
}

void load_stop_producers(struct load *self, double seconds)
{
    if (self->producers_joined) {
        return;
    }
    atomic_store(&self->producers_stop, true);
    ck_assert_msg(WAIT_FOR(atomic_load(&self->producers_running) == 0, seconds),
                  "%lu publishes have no end after %.0f s",
                  history_count(self->history, OUTCOME_OPEN), seconds);
    for (unsigned i = 0; i < self->options.producers; i++) {
        ck_assert_int_eq(pthread_join(self->producers[i].thread, NULL), 0);
    }
    self->producers_joined = true;
}

static uint64_t ask_floor(struct raw *raw, const struct load *self, uint64_t *ret_check_errors)
{
    Railgun__DescribeOk *ok = raw_describe(raw, self->options.stream, self->options.group);
    uint64_t floor = ok->group != NULL ? ok->group->floor : 0;
    *ret_check_errors = ok->group != NULL ? ok->group->check_errors : 0;
    SCAN_FREE(&ok);
    return floor;
}

void load_wait_drained(struct load *self, uint64_t last, double seconds)
{
    uint64_t check_errors = 0;
    uint64_t floor = 0;
    struct raw *raw = raw_open(self->node);
    bool drained = WAIT_FOR((floor = ask_floor(raw, self, &check_errors)) >= last, seconds);
    raw_close(&raw);
    ck_assert_msg(drained, "the group stands at %lu of %lu after %.0f s", floor, last, seconds);
    ck_assert_uint_eq(check_errors, 0);
    history_drained(self->history, GROUP_ID, 1, last);
}

void load_stop(struct load **self)
{
    struct load *load = *self;
    *self = NULL;
    if (load == NULL) {
        return;
    }
    load_stop_producers(load, 30);
    atomic_store(&load->consumers_stop, true);
    for (unsigned i = 0; i < load->options.consumers; i++) {
        ck_assert_int_eq(pthread_join(load->consumers[i].thread, NULL), 0);
    }
    mem_free(load->producers);
    mem_free(load->consumers);
    mem_free(load);
}

uint64_t load_read_all(const struct node *node, struct history *history, const char *stream)
{
    struct raw *raw = raw_open(node);
    struct raw_page page = {.next = 1};
    uint64_t first = 0;
    do {
        raw_read(raw, stream, page.next, &page);
        ck_assert_msg(page.code == 0, "reading: error %d for %lu to %lu", page.code,
                      page.damaged_first, page.damaged_last);
        struct span rest = buf_span(&page.batch);
        struct batch_record record;
        for (uint64_t offset = page.base; batch_next(&rest, &record) > 0; offset++) {
            history_final(history, offset, record.payload);
        }
        first = page.first;
    } while (page.next < page.end);
    history_final_end(history, first, page.end);
    raw_close(&raw);
    buf_release(&page.batch);
    return page.end;
}

uint64_t load_finish(struct load **self, double seconds)
{
    /* A fault is noticed late by clients that wait to reconnect; slow machines take longer for everything. */
    const struct checker_options options = {
        .ack_window_ns = (uint64_t) (100e6 * test_slowness()),
        .ack_settle_ns = (uint64_t) (500e6 * test_slowness()),
        .fault_grace_ns = (uint64_t) (1000e6 * test_slowness()),
    };
    struct load *load = *self;
    struct history *history = load->history;
    struct verdict verdict;
    load_stop_producers(load, seconds);
    uint64_t next = load_read_all(load->node, history, load->options.stream);
    if (load->options.consumers > 0) {
        load_wait_drained(load, next - 1, seconds);
    }
    load_stop(self);
    checker_run(history, &options, &verdict);
    uint64_t acknowledged = history_count(history, OUTCOME_OK);
    (void) fprintf(stderr, "ok %lu, failed %lu, unknown %lu, stored %lu, delivered %lu\n",
                   acknowledged, history_count(history, OUTCOME_FAIL),
                   history_count(history, OUTCOME_UNKNOWN), next - 1,
                   history_count_delivered(history));
    ck_assert_msg(verdict.total == 0, "%lu violations:\n%s", verdict.total,
                  buf_text(&verdict.text));
    verdict_release(&verdict);
    return acknowledged;
}
