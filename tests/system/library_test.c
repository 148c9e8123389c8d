/* The client library against real daemons that are killed: what it calls stored is stored, what it calls failed is not; consumers go on by themselves; and
 * the examples run. */
#include "tests/lib/test.h"
#include "tests/system/checker.h"
#include "tests/system/history.h"
#include "tests/system/load.h"
#include "tests/system/node.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/railgun.h"
#include "common/base/buf.h"
#include "common/base/mem.h"
#include "common/base/rand.h"

enum { LONG = 30, PAYLOAD_BYTES = 100, GROUP_ID = 1, PRODUCERS = 2, CONSUMERS = 2 };

static const char *const stream = "orders";

/* One thread and its client. */
struct worker {
    struct node *node;
    struct history *history;
    pthread_t thread;
    uint32_t id;
    atomic_bool *stop;
    atomic_bool is_done;
    atomic_ulong refused; /* calls that failed without having been published */
};

static struct rg_client *client_new(const struct node *node)
{
    struct rg_client *client = NULL;
    const struct rg_options options = {
        .reconnect_max_ms = 200, .request_timeout_ms = 10000, .window_records = 2000};
    int result = rg_connect(node_address(node), &options, &client);
    ck_assert_msg(result == RG_OK, "cannot connect: %s", rg_error_name(result));
    return client;
}

/* --- publishing --- */

static enum outcome outcome_of(int result)
{
    return result == RG_OK ? OUTCOME_OK : result == RG_ERR_TIMEOUT ? OUTCOME_UNKNOWN : OUTCOME_FAIL;
}

struct pending {
    struct history *history;
    uint32_t batch;
};

static void published(void *ud, int result, uint64_t offset)
{
    struct pending *pending = ud;
    history_publish_end(pending->history, pending->batch, outcome_of(result), offset);
    mem_free(pending);
}

/* In the background, one completion a message. */
static void *publish_async(void *ud)
{
    struct worker *self = ud;
    struct rg_client *client = client_new(self->node);
    struct buf payload = {0};
    for (uint64_t counter = 1; !atomic_load(self->stop); counter++) {
        uint64_t value = history_value(self->id, counter);
        buf_reset(&payload);
        history_payload_put(&payload, value, PAYLOAD_BYTES);
        struct rg_message message = {.payload = {payload.data, payload.size}};
        struct pending *pending = MEM_NEW(struct pending);
        pending->history = self->history;
        pending->batch = history_publish_begin(self->history, value, 1);
        int result = rg_publish_async(client, stream, &message, published, pending);
        if (result != RG_OK) { /* not even taken: certainly not stored */
            published(pending, result == RG_ERR_TIMEOUT ? RG_ERR_CLOSED : result, 0);
            atomic_fetch_add(&self->refused, 1);
        }
        if (counter % 200 == 0) {
            (void) nanosleep(&(struct timespec){0, 2000000}, NULL); /* a pace, not a wait */
        }
    }
    (void) rg_flush(client, 20000);
    rg_close(&client); /* every completion is called before it returns */
    buf_release(&payload);
    atomic_store(&self->is_done, true);
    return NULL;
}

/* Batches, one after the other, each awaited. */
static void *publish_batches(void *ud)
{
    enum { BATCH = 5 };
    struct worker *self = ud;
    struct rg_client *client = client_new(self->node);
    for (uint64_t counter = 1; !atomic_load(self->stop); counter += BATCH) {
        struct buf payload = {0};
        struct rg_message messages[BATCH] = {0};
        struct rg_published done = {0};
        uint64_t value = history_value(self->id, counter);
        for (uint64_t i = 0; i < BATCH; i++) {
            history_payload_put(&payload, value + i, PAYLOAD_BYTES);
        }
        for (size_t i = 0; i < BATCH; i++) {
            messages[i].payload =
                (struct rg_bytes){payload.data + i * PAYLOAD_BYTES, PAYLOAD_BYTES};
        }
        uint32_t batch = history_publish_begin(self->history, value, BATCH);
        int result = rg_publish_batch(client, stream, messages, BATCH, NULL, &done);
        history_publish_end(self->history, batch, outcome_of(result), done.base_offset);
        buf_release(&payload);
    }
    rg_close(&client);
    atomic_store(&self->is_done, true);
    return NULL;
}

/* --- consuming --- */

static void take(struct worker *self, struct rg_consumer *consumer, struct prng *prng,
                 const struct rg_record *record)
{
    uint64_t offset = record->offset;
    uint64_t chance = prng_below(prng, 1000);
    history_delivered(self->history, GROUP_ID, self->id, offset, record->attempt,
                      (struct span){record->payload.data, record->payload.size});
    if (chance < 10) {
        history_nacked(self->history, GROUP_ID, offset);
        (void) rg_nack(consumer, offset, offset, 0, true);
    } else if (chance < 20) {
        if (rg_ack_sync(consumer, offset, offset) == RG_OK) {
            history_acked(self->history, GROUP_ID, offset, true);
        }
    } else if (rg_ack(consumer, offset, offset) == RG_OK) {
        history_ack_posted(self->history, GROUP_ID, offset);
    }
}

static void *consume(void *ud)
{
    struct worker *self = ud;
    struct rg_client *client = client_new(self->node);
    struct rg_consumer *consumer = NULL;
    struct prng prng;
    const struct rg_consume_options options = {.start = {.at = RG_START_FIRST},
                                               .prefetch_messages = 64};
    prng_init(&prng, self->id);
    int result = rg_consume(client, stream, "workers", &options, &consumer);
    ck_assert_msg(result == RG_OK, "cannot consume: %s", rg_error_name(result));
    while (!atomic_load(self->stop)) {
        struct rg_record record;
        result = rg_consumer_next(consumer, 50, &record);
        if (result == RG_OK) {
            take(self, consumer, &prng, &record);
        } else {
            ck_assert_msg(result == RG_ERR_AGAIN, "a consumer ended: %s (%s)",
                          rg_error_name(result), rg_last_error(client));
        }
    }
    rg_consumer_close(&consumer);
    rg_close(&client);
    atomic_store(&self->is_done, true);
    return NULL;
}

/* --- together --- */

static void worker_start(struct worker *self, struct node *node, struct history *history,
                         uint32_t id, atomic_bool *stop, void *(*run)(void *) )
{
    *self = (struct worker){.node = node, .history = history, .id = id, .stop = stop};
    ck_assert_int_eq(pthread_create(&self->thread, NULL, run, self), 0);
}

static void worker_join(struct worker *self, const char *what)
{
    ck_assert_msg(WAIT_FOR(atomic_load(&self->is_done), LONG), "%s %u does not end", what,
                  self->id);
    ck_assert_int_eq(pthread_join(self->thread, NULL), 0);
}

static uint64_t group_floor(const struct node *node)
{
    struct process said = {0};
    (void) NODE_CTL(node, &said, "group", "info", stream, "workers");
    uint64_t floor = json_number(buf_text(&said.out), NULL, "floor");
    process_release(&said);
    return floor;
}

static void check(struct history *history)
{
    const struct checker_options options = {
        .ack_window_ns = (uint64_t) (100e6 * test_slowness()),
        .ack_settle_ns = (uint64_t) (1000e6 * test_slowness()),
        /* reconnecting, and a full queue */
        .fault_grace_ns = (uint64_t) (2000e6 * test_slowness()),
    };
    struct verdict verdict;
    checker_run(history, &options, &verdict);
    (void) fprintf(stderr, "ok %lu, failed %lu, unknown %lu, delivered %lu\n",
                   history_count(history, OUTCOME_OK), history_count(history, OUTCOME_FAIL),
                   history_count(history, OUTCOME_UNKNOWN), history_count_delivered(history));
    ck_assert_msg(verdict.total == 0, "%lu violations:\n%s", verdict.total,
                  buf_text(&verdict.text));
    verdict_release(&verdict);
}

static void wait_for_progress(struct history *history, uint64_t records)
{
    uint64_t before = history_count(history, OUTCOME_OK);
    ck_assert_msg(WAIT_FOR(history_count(history, OUTCOME_OK) >= before + records, LONG),
                  "publishing does not go on");
}

/* Producers of both kinds and consumers, while `faults` daemons are killed one after the other. */
static void run_storm(unsigned faults)
{
    static const enum node_daemon victims[] = {NODE_LOGD, NODE_FRONTD, NODE_LOGD, NODE_RAFTD};
    struct node *node = node_new();
    struct history *history = history_new(NULL);
    atomic_bool producers_stop = false;
    atomic_bool consumers_stop = false;
    struct worker producers[PRODUCERS + 1];
    struct worker consumers[CONSUMERS];
    node_start_all(node);
    node_ensure(node, stream);
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        worker_start(&producers[i], node, history, i + 1, &producers_stop, publish_async);
    }
    worker_start(&producers[PRODUCERS], node, history, 90, &producers_stop, publish_batches);
    for (uint32_t i = 0; i < CONSUMERS; i++) {
        worker_start(&consumers[i], node, history, i + 1, &consumers_stop, consume);
    }
    for (unsigned i = 0; i < faults; i++) {
        wait_for_progress(history, 2000);
        history_fault_began(history);
        node_restart(node, victims[i % 4]);
        history_fault_ended(history);
    }
    wait_for_progress(history, 5000);
    atomic_store(&producers_stop, true);
    for (uint32_t i = 0; i <= PRODUCERS; i++) {
        worker_join(&producers[i], "producer");
    }
    uint64_t next = load_read_all(node, history, stream);
    ck_assert_msg(WAIT_FOR(group_floor(node) == next - 1, LONG), "the group stands at %lu of %lu",
                  group_floor(node), next - 1);
    history_drained(history, GROUP_ID, 1, next - 1);
    atomic_store(&consumers_stop, true);
    for (uint32_t i = 0; i < CONSUMERS; i++) {
        worker_join(&consumers[i], "consumer");
    }
    check(history);
    if (faults == 0) {
        ck_assert_uint_eq(history_count(history, OUTCOME_FAIL), 0);
        ck_assert_uint_eq(history_count(history, OUTCOME_UNKNOWN), 0);
    }
    history_destroy(&history);
    node_stop_all(node);
    node_destroy(&node);
}

TEST_WITHIN(the_library_without_faults_loses_and_repeats_nothing, 60)
{
    run_storm(0);
}

TEST_WITHIN(the_library_goes_on_over_killed_daemons_and_tells_the_truth, 120)
{
    run_storm(20);
}

TEST_WITHIN(a_publish_with_an_expected_offset_is_stored_once_whatever_dies, 120)
{
    struct node *node = node_new();
    struct process publishing = {0};
    struct process said = {0};
    struct buf lines = {0};
    node_start_all(node);
    node_ensure(node, stream);
    for (unsigned i = 1; i <= 20000; i++) {
        buf_printf(&lines, "line %u\n", i);
    }
    node_ctl_start(node, &publishing, buf_text(&lines),
                   (const char *const[]){"pub", stream, "--once", "--rate", "10000", NULL});
    for (int i = 0; i < 4; i++) {
        uint64_t before = 0;
        ck_assert(
            WAIT_FOR(NODE_CTL(node, &said, "stream", "info", stream) == 0 &&
                         (before = json_number(buf_text(&said.out), NULL, "next_offset")) > 1 &&
                         before != UINT64_MAX,
                     LONG));
        node_restart(node, i % 2 == 0 ? NODE_LOGD : NODE_FRONTD);
    }
    ck_assert(process_wait(&publishing, LONG));
    ck_assert_msg(publishing.exit == 0, "%s", buf_text(&publishing.err));
    ck_assert_uint_eq(json_number(buf_text(&publishing.out), NULL, "published"), 20000);
    ck_assert_int_eq(NODE_CTL(node, &said, "read", stream, "-o", "table"), 0);
    ck_assert_msg(span_equal(buf_span(&said.out), buf_span(&lines)),
                  "%zu bytes came back of %zu, or in another order", said.out.size, lines.size);
    process_release(&said);
    process_release(&publishing);
    buf_release(&lines);
    node_stop_all(node);
    node_destroy(&node);
}

TEST_WITHIN(the_examples_produce_and_consume, 60)
{
    struct node *node = node_new();
    struct process said = {0};
    char program[4096];
    node_start_all(node);
    const char *const produce[] = {program_path("examples/producer", program), node_address(node),
                                   "greetings", NULL};
    ck_assert_msg(process_run(&said, LONG, produce, "hello\nworld\n") == 0, "%s",
                  buf_text(&said.err));
    ck_assert_str_eq(buf_text(&said.out), "2 stored, 0 not or unknown\n");
    process_release(&said);
    const char *const consume_two[] = {program_path("examples/consumer", program),
                                       node_address(node),
                                       "greetings",
                                       "readers",
                                       "2",
                                       NULL};
    ck_assert_msg(process_run(&said, LONG, consume_two, NULL) == 0, "%s", buf_text(&said.err));
    ck_assert_str_eq(buf_text(&said.out), "1 hello\n2 world\n");
    process_release(&said);
    ck_assert_int_eq(NODE_CTL(node, &said, "group", "info", "greetings", "readers"), 0);
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "floor"), 2);
    process_release(&said);
    node_stop_all(node);
    node_destroy(&node);
}

TEST_WITHIN(the_bench_finds_everything_it_published, 60)
{
    static const char *const works[] = {"publish", "read", "consume"};
    struct node *node = node_new();
    struct process said = {0};
    node_start_all(node);
    for (size_t i = 0; i < 3; i++) {
        int code = NODE_CTL(node, &said, "bench", works[i], "measured", "--count", "20000");
        const char *text = buf_text(&said.out);
        ck_assert_msg(code == 0, "%s: %s%s", works[i], text, buf_text(&said.err));
        ck_assert(json_has_text(text, "work", works[i]));
        ck_assert_uint_eq(json_number(text, NULL, "count"), 20000);
        ck_assert_uint_eq(json_number(text, NULL, "lost"), 0);
        ck_assert_uint_eq(json_number(text, NULL, "out_of_order"), 0);
        ck_assert_uint_eq(json_number(text, NULL, "duplicates"), 0);
    }
    process_release(&said);
    node_stop_all(node);
    node_destroy(&node);
}

static void check_purge(struct rg_client *client, const struct rg_purge *what,
                        const struct rg_purged *wanted)
{
    struct rg_purged purged = {0};
    ck_assert_msg(rg_stream_purge(client, stream, what, &purged) == RG_OK, "%s",
                  rg_last_error(client));
    ck_assert_uint_eq(purged.purged, wanted->purged);
    ck_assert_uint_eq(purged.first_offset, wanted->first_offset);
    ck_assert_uint_eq(purged.next_offset, wanted->next_offset);
}

TEST_WITHIN(a_purge_tells_what_it_removed, 60)
{
    struct node *node = node_new();
    node_start_all(node);
    node_ensure(node, stream);
    struct rg_client *client = client_new(node);
    for (unsigned i = 0; i < 10; i++) {
        ck_assert_int_eq(rg_publish(client, stream, "x", 1, NULL), RG_OK);
    }
    check_purge(client, &(struct rg_purge){.before = 4}, &(struct rg_purged){3, 4, 11});
    check_purge(client, &(struct rg_purge){.before = 4}, &(struct rg_purged){0, 4, 11});
    check_purge(client, &(struct rg_purge){.keep = 2}, &(struct rg_purged){5, 9, 11});
    ck_assert_int_eq(rg_stream_purge(client, stream, &(struct rg_purge){.before = 12}, NULL),
                     RG_ERR_OUT_OF_RANGE);
    ck_assert_int_eq(rg_stream_purge(client, "nothing", &(struct rg_purge){0}, NULL),
                     RG_ERR_NOT_FOUND);
    ck_assert_int_eq(rg_stream_purge(client, stream, NULL, NULL), RG_ERR_USAGE);
    check_purge(client, &(struct rg_purge){0}, &(struct rg_purged){2, 11, 11});
    uint64_t offset = 0;
    ck_assert_int_eq(rg_publish(client, stream, "x", 1, &offset), RG_OK);
    ck_assert_uint_eq(offset, 11);
    rg_close(&client);
    node_stop_all(node);
    node_destroy(&node);
}

/* Ten messages in the hands of one consumer: 1, 2 and 5 acknowledged, 3 given back for an hour. */
static struct rg_consumer *consumer_of_ten(struct rg_client *client, const char *group)
{
    struct rg_consumer *consumer = NULL;
    struct rg_record record;
    const struct rg_consume_options options = {.consumer = "me"};
    const struct rg_nack later = {.delay_ms = 3600000};
    for (unsigned i = 0; i < 10; i++) {
        ck_assert_int_eq(rg_publish(client, stream, "x", 1, NULL), RG_OK);
    }
    ck_assert_int_eq(rg_consume(client, stream, group, &options, &consumer), RG_OK);
    for (uint64_t offset = 1; offset <= 10; offset++) {
        ck_assert_int_eq(rg_consumer_next(consumer, LONG * 1000, &record), RG_OK);
        ck_assert_uint_eq(record.offset, offset);
    }
    ck_assert_int_eq(rg_ack_sync(consumer, 1, 2), RG_OK);
    ck_assert_int_eq(rg_ack_sync(consumer, 5, 5), RG_OK);
    ck_assert_int_eq(rg_nack_sync(consumer, 3, 3, &later), RG_OK);
    return consumer;
}

static void check_info(struct rg_client *client, const char *group)
{
    struct rg_group_info info = {0};
    ck_assert_msg(rg_group_info(client, stream, group, &info) == RG_OK, "%s",
                  rg_last_error(client));
    ck_assert_uint_eq(info.version, 3);
    ck_assert_uint_eq(info.floor, 2);
    ck_assert_uint_eq(info.acked_above, 1);
    ck_assert_uint_eq(info.holes, 1);
    ck_assert_uint_eq(info.in_flight, 6);
    ck_assert_uint_eq(info.delayed, 1);
    ck_assert_uint_gt(info.next_due_us, 0);
    ck_assert_uint_eq(info.next_offset, 11);
    ck_assert_uint_eq(info.lag, 7);
    ck_assert_uint_eq(info.check_errors, 0);
    ck_assert_uint_eq(info.max_in_flight, 50);
    ck_assert_uint_eq(info.member_count, 1);
    ck_assert_str_eq(info.members[0].consumer, "me");
    ck_assert_uint_eq(info.members[0].in_flight, 6);
    ck_assert_uint_eq(info.members[0].delivered, 10);
    ck_assert_uint_eq(info.members[0].acked, 3);
    ck_assert(!info.paused);
    rg_group_info_free(&info);
    ck_assert_int_eq(rg_group_pause(client, stream, group, NULL), RG_OK);
    ck_assert_int_eq(rg_group_info(client, stream, group, &info), RG_OK);
    ck_assert(info.paused);
    ck_assert_str_eq(info.pause_reason, "operator");
    rg_group_info_free(&info);
    ck_assert_int_eq(rg_group_info(client, stream, "nobody", &info), RG_ERR_NOT_FOUND);
}

static void check_pending(struct rg_client *client, const char *group)
{
    struct rg_pending pending = {0};
    ck_assert_msg(rg_group_pending(client, stream, group, 0, 0, &pending) == RG_OK, "%s",
                  rg_last_error(client));
    ck_assert_uint_eq(pending.count, 3);
    ck_assert(!pending.more);
    ck_assert_uint_eq(pending.items[0].first, 3);
    ck_assert_str_eq(pending.items[0].state, "DELAYED");
    ck_assert_uint_gt(pending.items[0].due_us, 0);
    ck_assert_uint_eq(pending.items[0].failed, 1);
    ck_assert_uint_eq(pending.items[1].last, 4);
    ck_assert_str_eq(pending.items[1].state, "IN_FLIGHT");
    ck_assert_uint_eq(pending.items[1].attempt, 1);
    ck_assert_uint_ne(pending.items[1].member, 0);
    ck_assert_str_eq(pending.items[1].consumer, "me");
    ck_assert_uint_eq(pending.items[1].deadline_ms, UINT64_MAX);
    ck_assert_uint_eq(pending.items[2].first, 6);
    ck_assert_uint_eq(pending.items[2].last, 10);
    rg_pending_free(&pending);
    ck_assert_int_eq(rg_group_pending(client, stream, group, 3, 1, &pending), RG_OK);
    ck_assert_uint_eq(pending.count, 1);
    ck_assert_uint_eq(pending.items[0].first, 4);
    ck_assert(pending.more);
    rg_pending_free(&pending);
    ck_assert_int_eq(rg_group_pending(client, stream, "nobody", 0, 0, &pending), RG_ERR_NOT_FOUND);
}

static void check_list(struct rg_client *client, const char *of, const char *after, uint32_t limit,
                       const char *wanted)
{
    struct rg_groups groups = {0};
    struct buf names = {0};
    ck_assert_msg(rg_group_list(client, of, after, limit, &groups) == RG_OK, "%s",
                  rg_last_error(client));
    for (size_t i = 0; i < groups.count; i++) {
        ck_assert_uint_gt(groups.items[i].created_us, 0);
        buf_printf(&names, "%s/%s:%s ", groups.items[i].stream, groups.items[i].group,
                   groups.items[i].description);
    }
    buf_printf(&names, "%s", groups.more ? "more" : "end");
    ck_assert_str_eq(buf_text(&names), wanted);
    rg_groups_free(&groups);
    buf_release(&names);
}

TEST_WITHIN(a_program_sees_what_becomes_of_its_groups_and_deletes_them, 60)
{
    struct node *node = node_new();
    struct rg_groups groups = {0};
    struct rg_record record;
    const struct rg_group_spec spec = {.version = 3, .max_in_flight = 50, .description = "work"};
    node_start_all(node);
    node_ensure(node, stream);
    node_ensure(node, "parcels");
    struct rg_client *client = client_new(node);
    ck_assert_int_eq(rg_group_ensure(client, stream, "a", &spec, NULL), RG_OK);
    ck_assert_int_eq(rg_group_ensure(client, stream, "b", NULL, NULL), RG_OK);
    ck_assert_int_eq(rg_group_ensure(client, "parcels", "a", NULL, NULL), RG_OK);
    check_list(client, NULL, NULL, 0, "orders/a:work orders/b: parcels/a: end");
    check_list(client, NULL, NULL, 1, "orders/a:work more");
    check_list(client, NULL, "orders/a", 0, "orders/b: parcels/a: end");
    check_list(client, "parcels", NULL, 0, "parcels/a: end");
    ck_assert_int_eq(rg_group_list(client, "nothing", NULL, 0, &groups), RG_ERR_NOT_FOUND);

    struct rg_consumer *consumer = consumer_of_ten(client, "a");
    check_info(client, "a");
    check_pending(client, "a");
    ck_assert_int_eq(rg_group_delete(client, stream, "a"), RG_OK);
    ck_assert_int_eq(rg_consumer_next(consumer, LONG * 1000, &record), RG_ERR_CLOSED);
    ck_assert_int_eq(rg_group_delete(client, stream, "a"), RG_ERR_NOT_FOUND);
    check_list(client, stream, NULL, 0, "orders/b: end");
    rg_consumer_close(&consumer);
    rg_close(&client);
    node_stop_all(node);
    node_destroy(&node);
}
