/* load: starts and stops the threads that publish and consume, and ends a test with the checker. */
#include "tests/system/load.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/mem.h"
#include "common/base/str.h"
#include "common/wire/batch.h"
#include "common/wire/scan.h"
#include "tests/lib/test.h"
#include "tests/system/checker.h"
#include "tests/system/load_private.h"

void load_pause_us(uint64_t us)
{
    struct timespec time = {(time_t) (us / 1000000), (long) (us % 1000000) * 1000};
    (void) nanosleep(&time, NULL);
}

bool load_is_poison(const struct load_options *options, uint64_t value)
{
    return (value * UINT64_C(0x9e3779b97f4a7c15) >> 32) % 1000 < options->poison_per_mille;
}

struct load *load_start(const struct node *node, struct history *history,
                        const struct load_options *options)
{
    struct load *self = MEM_NEW(struct load);
    *self = (struct load){.node = node, .history = history, .options = *options};
    ck_assert_uint_lt(options->window, WINDOW_MAX);
    history_group(history, &(struct group_facts){.group = GROUP_ID,
                                                 .is_strict = options->is_strict,
                                                 .max_failed = options->max_failed});
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
    /* What is dying counts as acknowledged, but is not where it belongs yet. */
    uint64_t floor = ok->group != NULL && ok->group->dying == 0 ? ok->group->floor : 0;
    *ret_check_errors = ok->group != NULL ? ok->group->check_errors : 0;
    SCAN_FREE(&ok);
    return floor;
}

/* The floor is the leader's, and what has just died is dying when its entry is committed: so it must be seen for a while. */
static bool is_drained(struct load *self, uint64_t last, double seconds, uint64_t *ret_floor)
{
    uint64_t check_errors = 0;
    uint64_t floor = 0;
    struct raw *raw = raw_open(self->node);
    bool drained = WAIT_FOR((floor = ask_floor(raw, self, &check_errors)) >= last, seconds);
    (void) WAIT_FOR((floor = ask_floor(raw, self, &check_errors)) < last, 0.5 * test_slowness());
    drained = drained && WAIT_FOR((floor = ask_floor(raw, self, &check_errors)) >= last, seconds);
    raw_close(&raw);
    *ret_floor = floor;
    if (drained) {
        self->check_errors = check_errors;
        history_drained(self->history, GROUP_ID, 1, last);
    }
    return drained;
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
    Railgun__DescribeOk *ok = raw_describe(raw, stream, NULL);
    struct raw_page page = {.next = ok->stream->first_offset};
    uint64_t first = 0;
    SCAN_FREE(&ok);
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

/* The dead letters of the group, from the headers that the server made. */
static void load_read_dead(const struct load *self)
{
    struct raw *raw = raw_open(self->node);
    struct raw_page page = {.next = 1};
    do {
        raw_read(raw, self->options.dlq, page.next, &page);
        ck_assert_int_eq(page.code, 0);
        struct span rest = buf_span(&page.batch);
        struct batch_record record;
        while (batch_next(&rest, &record) > 0) {
            struct span headers = record.raw;
            struct span name;
            struct span value;
            uint64_t offset = 0;
            while (batch_header_next(&headers, &name, &value) == 1) {
                if (span_is(name, "rg-dlq-offset")) {
                    ck_assert_int_eq(str_to_u64(value, &offset), 0);
                }
            }
            ck_assert_uint_gt(offset, 0);
            history_dead(self->history, GROUP_ID, offset, record.payload);
        }
    } while (page.next < page.end);
    raw_close(&raw);
    buf_release(&page.batch);
}

static uint64_t ask_records(struct raw *raw, const char *stream)
{
    Railgun__DescribeOk *ok = raw_describe(raw, stream, NULL);
    uint64_t records = ok->stream->next_offset - ok->stream->first_offset;
    SCAN_FREE(&ok);
    return records;
}

/* Until retention has done what it will do. */
static void load_wait_trimmed(const struct load *self, double seconds)
{
    if (self->options.max_records == 0) {
        return;
    }
    struct raw *raw = raw_open(self->node);
    ck_assert(
        WAIT_FOR(ask_records(raw, self->options.stream) <= self->options.max_records, seconds));
    raw_close(&raw);
}

uint64_t load_finish(struct load **self, double seconds)
{
    /* A fault is noticed late by clients that wait to reconnect; slow machines take longer for everything. */
    const struct checker_options options = {
        .ack_window_ns = (uint64_t) (100e6 * test_slowness()),
        .ack_settle_ns = (uint64_t) (500e6 * test_slowness()),
        .fault_grace_ns = (uint64_t) (1000e6 * test_slowness()),
        .late_ns = (uint64_t) (1000e6 * test_slowness()),
        .may_trim = (*self)->options.max_records != 0,
    };
    struct load *load = *self;
    struct history *history = load->history;
    struct verdict verdict;
    load_stop_producers(load, seconds);
    load_wait_trimmed(load, seconds);
    uint64_t next = load_read_all(load->node, history, load->options.stream);
    uint64_t floor = next - 1;
    bool drained = load->options.consumers == 0 || is_drained(load, next - 1, seconds, &floor);
    if (load->options.dlq != NULL) {
        load_read_dead(load);
    }
    uint64_t check_errors = load->check_errors;
    load_stop(self);
    checker_run(history, &options, &verdict);
    uint64_t acknowledged = history_count(history, OUTCOME_OK);
    (void) fprintf(stderr, "ok %lu, failed %lu, unknown %lu, stored %lu, delivered %lu\n",
                   acknowledged, history_count(history, OUTCOME_FAIL),
                   history_count(history, OUTCOME_UNKNOWN), next - 1,
                   history_count_delivered(history));
    /* A group that stands still is looked at first: what it broke may tell why. */
    ck_assert_msg(verdict.total == 0, "%s%lu violations:\n%s",
                  drained ? "" : "the group stands still, ", verdict.total,
                  buf_text(&verdict.text));
    verdict_release(&verdict);
    ck_assert_msg(drained, "the group stands at %lu of %lu after %.0f s", floor, next - 1, seconds);
    ck_assert_uint_eq(check_errors, 0);
    return acknowledged;
}
