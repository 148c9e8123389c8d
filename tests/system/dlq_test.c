/* Dead letters over real daemons: the four ways to die, exactly once in the dead-letter stream over kill -9, replay, drop, block, park, and the breaker. */
#include "tests/lib/test.h"
#include "tests/system/node.h"
#include "tests/system/raw.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/railgun.h"
#include "common/base/rand.h"

enum { LONG_MS = 15000 };

static const char *const stream = "orders";
static const char *const group = "workers";
static const char *const dlq = "orders.dead";

static struct rg_client *client_new(const struct node *node)
{
    struct rg_client *client = NULL;
    const struct rg_options options = {.reconnect_max_ms = 200, .request_timeout_ms = 10000};
    ck_assert_int_eq(rg_connect(node_address(node), &options, &client), RG_OK);
    return client;
}

static void publish(struct rg_client *client, unsigned first, unsigned last)
{
    for (unsigned i = first; i <= last; i++) {
        char payload[32];
        int size = snprintf(payload, sizeof payload, "order %u", i);
        const struct rg_header header = {.name = {"colour", 6}, .value = {"red", 3}};
        const struct rg_message message = {.payload = {payload, (size_t) size},
                                           .key = {"k", 1},
                                           .headers = &header,
                                           .header_count = 1};
        ck_assert_int_eq(rg_publish_batch(client, stream, &message, 1, NULL, NULL), RG_OK);
    }
}

static struct node *node_with_group(unsigned records, struct rg_group_spec spec)
{
    struct node *node = node_new();
    node_start_all(node);
    struct rg_client *client = client_new(node);
    ck_assert_int_eq(rg_stream_ensure(client, stream, NULL, NULL), RG_OK);
    spec.dlq_stream = dlq;
    int result = rg_group_ensure(client, stream, group, &spec, NULL);
    ck_assert_msg(result == RG_OK, "%s", rg_last_error(client));
    publish(client, 1, records);
    rg_close(&client);
    return node;
}

static struct rg_consumer *join(struct rg_client *client, const char *name)
{
    struct rg_consumer *consumer = NULL;
    const struct rg_consume_options options = {.consumer = name};
    int result = rg_consume(client, stream, group, &options, &consumer);
    ck_assert_msg(result == RG_OK, "%s", rg_last_error(client));
    return consumer;
}

static struct rg_record expect(struct rg_consumer *consumer, uint64_t offset)
{
    struct rg_record record = {0};
    int result = rg_consumer_next(consumer, LONG_MS, &record);
    ck_assert_msg(result == RG_OK, "%s instead of %lu", rg_error_name(result), offset);
    ck_assert_uint_eq(record.offset, offset);
    return record;
}

static void expect_all(struct rg_consumer *consumer, uint64_t first, uint64_t last)
{
    for (uint64_t offset = first; offset <= last; offset++) {
        (void) expect(consumer, offset);
    }
}

static void expect_nothing(struct rg_consumer *consumer)
{
    struct rg_record record;
    ck_assert_int_eq(rg_consumer_next(consumer, 200, &record), RG_ERR_AGAIN);
}

static void reject(struct rg_consumer *consumer, uint64_t first, uint64_t last, const char *reason)
{
    const struct rg_nack nack = {.reject = true, .reason = reason};
    ck_assert_int_eq(rg_nack_sync(consumer, first, last, &nack), RG_OK);
}

static uint64_t group_number(const struct node *node, const char *name)
{
    struct process ctl = {0};
    ck_assert_int_eq(NODE_CTL(node, &ctl, "group", "info", stream, group), 0);
    uint64_t number = json_number(buf_text(&ctl.out), NULL, name);
    process_release(&ctl);
    return number;
}

static void wait_dead(const struct node *node, uint64_t count)
{
    ck_assert_msg(WAIT_FOR(group_number(node, "dead") == count, 20), "%lu are dead, %lu dying",
                  group_number(node, "dead"), group_number(node, "dying"));
    ck_assert_uint_eq(group_number(node, "dying"), 0);
    ck_assert_uint_eq(group_number(node, "check_errors"), 0);
}

/* --- what lies in the dead-letter stream --- */

static bool header_is(const struct rg_record *record, const char *name, const char *wanted)
{
    struct rg_header header;
    size_t cursor = 0;
    while (rg_record_header(record, &cursor, &header)) {
        if (header.name.size == strlen(name) && memcmp(header.name.data, name, strlen(name)) == 0) {
            return wanted == NULL || (header.value.size == strlen(wanted) &&
                                      memcmp(header.value.data, wanted, strlen(wanted)) == 0);
        }
    }
    return false;
}

static uint64_t header_number(const struct rg_record *record, const char *name)
{
    struct rg_header header;
    size_t cursor = 0;
    while (rg_record_header(record, &cursor, &header)) {
        if (header.name.size == strlen(name) && memcmp(header.name.data, name, strlen(name)) == 0) {
            char text[32] = "";
            memcpy(text, header.value.data, header.value.size < 31 ? header.value.size : 31);
            return strtoull(text, NULL, 10);
        }
    }
    return UINT64_MAX;
}

/* One dead letter in full. */
static void expect_letter(struct rg_client *client, uint64_t dlq_offset, uint64_t offset,
                          const char *reason, uint64_t failed, uint64_t attempts, const char *error,
                          const char *consumer)
{
    struct rg_reader *reader = NULL;
    struct rg_record record;
    char payload[32];
    struct rg_start start = {.at = RG_START_OFFSET, .value = dlq_offset};
    ck_assert_int_eq(rg_reader_open(client, dlq, start, &reader), RG_OK);
    ck_assert_int_eq(rg_reader_next(reader, LONG_MS, &record), RG_OK);
    int size = snprintf(payload, sizeof payload, "order %lu", offset);
    ck_assert_uint_eq(record.payload.size, (size_t) size);
    ck_assert_mem_eq(record.payload.data, payload, record.payload.size);
    ck_assert_uint_eq(record.key.size, 1);
    ck_assert(header_is(&record, "colour", "red"));
    ck_assert(header_is(&record, "rg-dlq-stream", stream));
    ck_assert(header_is(&record, "rg-dlq-group", group));
    ck_assert_uint_eq(header_number(&record, "rg-dlq-offset"), offset);
    ck_assert(header_number(&record, "rg-dlq-ts") > 0 &&
              header_number(&record, "rg-dlq-ts") <= record.ts_us);
    ck_assert_msg(header_is(&record, "rg-dlq-reason", reason), "offset %lu", offset);
    ck_assert_uint_eq(header_number(&record, "rg-dlq-failed"), failed);
    ck_assert_uint_eq(header_number(&record, "rg-dlq-attempts"), attempts);
    ck_assert_int_eq(header_is(&record, "rg-dlq-last-error", NULL), error != NULL);
    ck_assert(error == NULL || header_is(&record, "rg-dlq-last-error", error));
    bool is_any = consumer != NULL && consumer[0] == '\0'; /* whatever the server calls it */
    ck_assert(is_any || header_is(&record, "rg-dlq-consumer", NULL) == (consumer != NULL));
    ck_assert(is_any || consumer == NULL || header_is(&record, "rg-dlq-consumer", consumer));
    rg_reader_close(&reader);
}

/* How often each offset lies in the dead-letter stream. */
static uint64_t count_letters(struct rg_client *client, unsigned *counts, uint64_t offsets)
{
    struct rg_reader *reader = NULL;
    struct rg_record record;
    uint64_t total = 0;
    struct rg_stream_info info;
    memset(counts, 0, (offsets + 1) * sizeof *counts);
    ck_assert_int_eq(rg_stream_describe(client, dlq, &info), RG_OK);
    ck_assert_int_eq(rg_reader_open(client, dlq, (struct rg_start){.at = RG_START_FIRST}, &reader),
                     RG_OK);
    while (rg_reader_offset(reader) < info.next_offset) {
        ck_assert_int_eq(rg_reader_next(reader, LONG_MS, &record), RG_OK);
        uint64_t offset = header_number(&record, "rg-dlq-offset");
        ck_assert_uint_le(offset, offsets);
        counts[offset]++;
        total++;
    }
    rg_reader_close(&reader);
    return total;
}

/* --- the four ways --- */

TEST_WITHIN(a_rejected_message_goes_to_the_dead_letters_with_all_that_is_known_of_it, 90)
{
    struct node *node = node_with_group(5, (struct rg_group_spec){0});
    struct rg_client *client = client_new(node);
    struct rg_consumer *consumer = join(client, "packer");
    expect_all(consumer, 1, 5);
    reject(consumer, 2, 3, "no such customer");
    wait_dead(node, 2);
    expect_letter(client, 1, 2, "REJECTED", 0, 1, "no such customer", "packer");
    expect_letter(client, 2, 3, "REJECTED", 0, 1, "no such customer", "packer");
    ck_assert_int_eq(rg_ack_sync(consumer, 1, 1), RG_OK);
    ck_assert_int_eq(rg_ack_sync(consumer, 4, 5), RG_OK);
    ck_assert_uint_eq(group_number(node, "floor"), 5);
    rg_consumer_close(&consumer);
    rg_close(&client);
    node_destroy(&node);
}

TEST_WITHIN(a_message_that_failed_too_often_goes_to_the_dead_letters, 90)
{
    struct node *node = node_with_group(3, (struct rg_group_spec){.dlq_max_failed = 3});
    struct rg_client *client = client_new(node);
    struct rg_consumer *consumer = join(client, "packer");
    const struct rg_nack at_once = {.delay_ms = 0, .reason = "try again"};
    const struct rg_nack later = {.delay_ms = 50, .reason = "out of stock"};
    const struct rg_nack uncounted = {.delay_ms = 0, .uncounted = true};
    expect_all(consumer, 1, 3);
    ck_assert_int_eq(rg_ack_sync(consumer, 1, 1), RG_OK);
    ck_assert_int_eq(rg_ack_sync(consumer, 3, 3), RG_OK);
    ck_assert_int_eq(rg_nack_sync(consumer, 2, 2, &at_once), RG_OK);
    (void) expect(consumer, 2);
    ck_assert_int_eq(rg_nack_sync(consumer, 2, 2, &later), RG_OK);
    (void) expect(consumer, 2);
    ck_assert_int_eq(rg_nack_sync(consumer, 2, 2, &uncounted), RG_OK);
    ck_assert_uint_eq(expect(consumer, 2).failed, 2);
    ck_assert_int_eq(rg_nack_sync(consumer, 2, 2, &later), RG_OK);
    wait_dead(node, 1);
    expect_letter(client, 1, 2, "MAX_FAILED", 3, 4, "out of stock", "packer");
    ck_assert_uint_eq(group_number(node, "floor"), 3);
    expect_nothing(consumer);
    rg_consumer_close(&consumer);
    rg_close(&client);
    node_destroy(&node);
}

TEST_WITHIN(a_message_too_far_behind_goes_to_the_dead_letters_at_exactly_that_distance, 90)
{
    struct node *node = node_with_group(30, (struct rg_group_spec){.dlq_max_distance = 10});
    struct rg_client *client = client_new(node);
    struct rg_consumer *consumer = join(client, "packer");
    expect_all(consumer, 1, 30);
    ck_assert_int_eq(rg_ack_sync(consumer, 2, 10), RG_OK); /* 10 - 1 is one too few */
    ck_assert_uint_eq(group_number(node, "dead") + group_number(node, "dying"), 0);
    ck_assert_int_eq(rg_ack_sync(consumer, 11, 11), RG_OK);
    wait_dead(node, 1);
    expect_letter(client, 1, 1, "DISTANCE", 0, 1, NULL, NULL);
    ck_assert_uint_eq(group_number(node, "floor"), 11);
    ck_assert_int_eq(rg_ack_sync(consumer, 25, 25), RG_OK); /* 12 to 15 */
    wait_dead(node, 5);
    ck_assert_uint_eq(group_number(node, "floor"), 15);
    ck_assert_uint_eq(group_number(node, "in_flight"), 14);
    rg_consumer_close(&consumer);
    rg_close(&client);
    node_destroy(&node);
}

TEST_WITHIN(a_message_that_is_too_old_goes_to_the_dead_letters_instead_of_a_consumer, 90)
{
    struct node *node = node_with_group(20, (struct rg_group_spec){.dlq_max_age_ms = 300});
    struct rg_client *client = client_new(node);
    uint64_t wait_until = deadline_in(0.6);
    while (deadline_turn(wait_until)) {
    }
    publish(client, 21, 22);
    struct rg_consumer *consumer = join(client, "packer");
    expect_all(consumer, 21, 22);
    wait_dead(node, 20);
    expect_letter(client, 7, 7, "MAX_AGE", 0, 0, NULL, NULL);
    ck_assert_int_eq(rg_ack_sync(consumer, 21, 21), RG_OK);
    wait_until = deadline_in(0.6);
    while (deadline_turn(wait_until)) {
    }
    const struct rg_nack again = {.delay_ms = 0};
    ck_assert_int_eq(rg_nack_sync(consumer, 22, 22, &again), RG_OK);
    wait_dead(node, 21);
    expect_letter(client, 21, 22, "MAX_AGE", 1, 1, NULL, NULL);
    rg_consumer_close(&consumer);
    rg_close(&client);
    node_destroy(&node);
}

TEST_WITHIN(a_deadline_that_is_over_counts_towards_the_dead_letters, 90)
{
    struct node *node =
        node_with_group(2, (struct rg_group_spec){.dlq_max_failed = 1, .ack_wait_ms = 300});
    struct rg_client *client = client_new(node);
    struct raw *raw = raw_open(node); /* it never says anything of what it has */
    raw_consume(raw, 3, stream, group, 10);
    wait_dead(node, 2);
    expect_letter(client, 1, 1, "MAX_FAILED", 1, 1, "the deadline is over", "");
    raw_close(&raw);
    rg_close(&client);
    node_destroy(&node);
}

/* --- exactly once --- */

static void expect_once(struct node *node, struct rg_client *client, uint64_t offsets)
{
    static unsigned counts[4001];
    ck_assert_uint_le(offsets, 4000);
    wait_dead(node, offsets);
    ck_assert_uint_eq(count_letters(client, counts, offsets), offsets);
    for (uint64_t offset = 1; offset <= offsets; offset++) {
        ck_assert_msg(counts[offset] == 1, "%lu lies there %u times", offset, counts[offset]);
    }
}

TEST_WITHIN(messages_lie_in_the_dead_letters_exactly_once_whenever_logd_is_killed, 240)
{
    enum { ROUNDS = 12, EACH = 60 };
    struct node *node = node_with_group(ROUNDS * EACH, (struct rg_group_spec){0});
    struct rg_client *client = client_new(node);
    struct prng prng;
    prng_init(&prng, 4711);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        struct rg_consumer *consumer = join(client, "packer");
        /* Some may come again: an answer was lost with the process. */
        for (bool is_done = false; !is_done;) {
            struct rg_record record;
            int result = rg_consumer_next(consumer, 300, &record);
            const struct rg_nack nack = {.reject = true};
            uint64_t last = (round + 1) * EACH;
            if (result == RG_OK && record.offset <= last) {
                (void) rg_nack_with(consumer, record.offset, record.offset, &nack);
            }
            is_done = result != RG_OK || record.offset >= last;
        }
        uint64_t wait_until = deadline_in((double) prng_below(&prng, 40) / 1000);
        while (deadline_turn(wait_until)) {
        }
        node_restart_logd(node, round % 4 == 3);
        rg_consumer_close(&consumer);
    }
    struct rg_consumer *consumer = join(client, "packer");
    struct rg_record record;
    const struct rg_nack nack = {.reject = true};
    while (group_number(node, "floor") < ROUNDS * EACH) {
        if (rg_consumer_next(consumer, 200, &record) == RG_OK) {
            (void) rg_nack_with(consumer, record.offset, record.offset, &nack);
        }
    }
    expect_once(node, client, ROUNDS * EACH);
    node_restart_logd(node, true);
    expect_once(node, client, ROUNDS * EACH);
    rg_consumer_close(&consumer);
    rg_close(&client);
    node_destroy(&node);
}

TEST_WITHIN(a_move_that_is_cut_off_at_any_sync_of_the_journal_ends_exactly_once, 240)
{
    if (!node_can_trace()) {
        return;
    }
    struct node *node = node_with_group(8, (struct rg_group_spec){0});
    struct rg_client *client = client_new(node);
    for (unsigned nth = 1; nth <= 8; nth++) {
        char injection[64];
        struct rg_consumer *consumer = join(client, "packer");
        (void) expect(consumer, nth);
        (void) snprintf(injection, sizeof injection, "fdatasync:signal=SIGKILL:when=%u",
                        (nth - 1) % 4 + 1);
        node_inject(node, NODE_LOGD, injection);
        const struct rg_nack nack = {.reject = true};
        (void) rg_nack_with(consumer, nth, nth, &nack);
        int status;
        (void) node_wait_end(node, NODE_LOGD, 3, &status);
        node_kill(node, NODE_LOGD);
        rg_consumer_close(&consumer);
        node_start(node, NODE_LOGD);
        node_wait_ready(node, NODE_LOGD, 30);
        /* The rejection itself may be lost, or still be on its way. */
        consumer = join(client, "packer");
        uint64_t wait_until = deadline_in(30);
        while (group_number(node, "dead") < nth && deadline_turn(wait_until)) {
            struct rg_record record;
            if (rg_consumer_next(consumer, 200, &record) == RG_OK && record.offset == nth) {
                (void) rg_nack_with(consumer, nth, nth, &nack);
            }
        }
        rg_consumer_close(&consumer);
        wait_dead(node, nth);
    }
    expect_once(node, client, 8);
    rg_close(&client);
    node_destroy(&node);
}

/* --- replay --- */

static uint64_t ctl_messages(const struct node *node, const char *verb, const char *range)
{
    struct process ctl = {0};
    int code = NODE_CTL(node, &ctl, "dlq", verb, stream, group, range);
    ck_assert_msg(code == 0, "%s", buf_text(&ctl.err));
    uint64_t number = json_number(buf_text(&ctl.out), NULL, "messages");
    process_release(&ctl);
    return number;
}

TEST_WITHIN(replayed_messages_come_again_to_their_group_and_may_die_again, 120)
{
    struct node *node =
        node_with_group(10, (struct rg_group_spec){.dlq_max_failed = 2, .dlq_max_distance = 3});
    struct rg_client *client = client_new(node);
    struct rg_consumer *consumer = join(client, "packer");
    expect_all(consumer, 1, 10);
    reject(consumer, 1, 3, "bad");
    ck_assert_int_eq(rg_ack_sync(consumer, 4, 10), RG_OK);
    wait_dead(node, 3);
    ck_assert_uint_eq(group_number(node, "floor"), 10);
    ck_assert_uint_eq(ctl_messages(node, "replay", "2-3"), 2);
    ck_assert_uint_eq(ctl_messages(node, "replay", "2-3"), 0);
    struct rg_record record = expect(consumer, 2);
    ck_assert_uint_eq(record.attempt, 2);
    ck_assert_uint_eq(record.failed, 0);
    (void) expect(consumer, 3);
    expect_nothing(consumer);
    ck_assert_uint_eq(group_number(node, "dead"), 1);
    ck_assert_uint_eq(group_number(node, "floor"), 1);
    /* One is done with, one dies again: not of its distance, nor at the first failure. */
    ck_assert_int_eq(rg_ack_sync(consumer, 3, 3), RG_OK);
    const struct rg_nack nack = {.reason = "again"};
    ck_assert_int_eq(rg_nack_sync(consumer, 2, 2, &nack), RG_OK);
    node_restart_logd(node, true);
    rg_consumer_close(&consumer);
    consumer = join(client, "packer");
    record = expect(consumer, 2);
    ck_assert_uint_eq(record.failed, 1);
    ck_assert_int_eq(rg_nack_sync(consumer, 2, 2, &nack), RG_OK);
    wait_dead(node, 2);
    ck_assert_uint_eq(group_number(node, "floor"), 10);
    unsigned counts[11];
    ck_assert_uint_eq(count_letters(client, counts, 10), 4);
    ck_assert_uint_eq(counts[1], 1);
    ck_assert_uint_eq(counts[2], 2);
    ck_assert_uint_eq(counts[3], 1);
    expect_letter(client, 4, 2, "MAX_FAILED", 2, record.attempt, "again", "packer");
    /* What is dropped stays in the stream, and cannot be replayed. */
    ck_assert_uint_eq(ctl_messages(node, "drop", "--all"), 2);
    ck_assert_uint_eq(ctl_messages(node, "replay", "--all"), 0);
    ck_assert_uint_eq(count_letters(client, counts, 10), 4);
    rg_consumer_close(&consumer);
    rg_close(&client);
    node_destroy(&node);
}

TEST_WITHIN(a_replayed_message_that_was_purged_comes_from_its_copy, 120)
{
    struct node *node = node_with_group(6, (struct rg_group_spec){0});
    struct rg_client *client = client_new(node);
    struct rg_consumer *consumer = join(client, "packer");
    expect_all(consumer, 1, 6);
    reject(consumer, 2, 4, "bad");
    ck_assert_int_eq(rg_ack_sync(consumer, 1, 1), RG_OK);
    ck_assert_int_eq(rg_ack_sync(consumer, 5, 6), RG_OK);
    wait_dead(node, 3);
    uint64_t changed = 0;
    ck_assert_int_eq(rg_dead_letters_replay(client, stream, group, 3, 3, &changed), RG_OK);
    (void) expect(consumer, 3);
    struct process ctl = {0};
    ck_assert_int_eq(NODE_CTL(node, &ctl, "stream", "purge", stream, "--yes", stream), 0);
    process_release(&ctl);
    ck_assert_int_eq(rg_dead_letters_replay(client, stream, group, 2, 2, &changed), RG_OK);
    ck_assert_uint_eq(changed, 1);
    struct rg_record record = expect(consumer, 2);
    ck_assert_uint_eq(record.payload.size, 7);
    ck_assert_mem_eq(record.payload.data, "order 2", 7);
    ck_assert_uint_eq(record.attempt, 2);
    ck_assert(header_is(&record, "rg-dlq-reason", "REJECTED"));
    ck_assert_uint_eq(record.ts_us, header_number(&record, "rg-dlq-ts"));
    node_restart_logd(node, true); /* what it held comes again, from the copies */
    rg_consumer_close(&consumer);
    consumer = join(client, "packer");
    (void) expect(consumer, 2);
    (void) expect(consumer, 3);
    reject(consumer, 3, 3, "still bad");
    ck_assert_int_eq(rg_ack_sync(consumer, 2, 2), RG_OK);
    wait_dead(node, 2);
    expect_letter(client, 4, 3, "REJECTED", 0, 3, "still bad", "packer");
    ck_assert_uint_eq(group_number(node, "floor"), 6);
    ck_assert_uint_eq(group_number(node, "gap_records"), 0);
    rg_consumer_close(&consumer);
    rg_close(&client);
    node_destroy(&node);
}

TEST_WITHIN(dead_letters_are_listed_and_shown, 90)
{
    struct node *node = node_with_group(3, (struct rg_group_spec){0});
    struct rg_client *client = client_new(node);
    struct rg_consumer *consumer = join(client, "packer");
    expect_all(consumer, 1, 3);
    reject(consumer, 2, 3, "bad");
    wait_dead(node, 2);
    struct process ctl = {0};
    ck_assert_int_eq(NODE_CTL(node, &ctl, "dlq", "ls", stream, group), 0);
    ck_assert_uint_eq(json_number(buf_text(&ctl.out), NULL, "offset"), 2);
    ck_assert_uint_eq(json_number(buf_text(&ctl.out), NULL, "dlq_offset"), 1);
    ck_assert(json_has_text(buf_text(&ctl.out), "reason", "REJECTED"));
    ck_assert(json_has_text(buf_text(&ctl.out), "last_error", "bad"));
    ck_assert_int_eq(NODE_CTL(node, &ctl, "dlq", "ls", stream, group, "--after", "2"), 0);
    ck_assert_uint_eq(json_number(buf_text(&ctl.out), NULL, "offset"), 3);
    ck_assert_int_eq(NODE_CTL(node, &ctl, "dlq", "show", stream, group, "3"), 0);
    ck_assert(process_said(&ctl, "order 3") && process_said(&ctl, "rg-dlq-reason"));
    ck_assert_int_ne(NODE_CTL(node, &ctl, "dlq", "show", stream, group, "1"), 0);
    ck_assert_int_ne(NODE_CTL(node, &ctl, "dlq", "replay", stream, group), 0);
    ck_assert_int_ne(NODE_CTL(node, &ctl, "dlq", "ls", stream, "nobody"), 0);
    process_release(&ctl);
    rg_consumer_close(&consumer);
    rg_close(&client);
    node_destroy(&node);
}

/* --- a dead-letter stream that is not there --- */

TEST_WITHIN(a_group_waits_while_its_dead_letters_cannot_be_moved, 90)
{
    struct node *node = node_with_group(3, (struct rg_group_spec){.max_in_flight = 1});
    struct rg_client *client = client_new(node);
    ck_assert_int_eq(rg_stream_delete(client, dlq), RG_OK);
    struct rg_consumer *consumer = join(client, "packer");
    (void) expect(consumer, 1);
    reject(consumer, 1, 1, "bad");
    ck_assert(WAIT_FOR(group_number(node, "dying") == 1, 10));
    struct rg_record record;
    int result = rg_consumer_next(consumer, 500, &record); /* it may have been on its way */
    if (result == RG_OK) {
        ck_assert_int_eq(rg_ack_sync(consumer, record.offset, record.offset), RG_OK);
        expect_nothing(consumer);
    }
    node_restart_logd(node, false);
    rg_consumer_close(&consumer);
    ck_assert_uint_eq(group_number(node, "dying"), 1);
    ck_assert_int_eq(rg_stream_undelete(client, dlq, NULL), RG_OK);
    wait_dead(node, 1);
    consumer = join(client, "packer");
    ck_assert_int_eq(rg_consumer_next(consumer, LONG_MS, &record), RG_OK);
    rg_consumer_close(&consumer);
    rg_close(&client);
    node_destroy(&node);
}

TEST_WITHIN(a_group_that_parks_goes_on_while_its_dead_letters_cannot_be_moved, 90)
{
    struct node *node = node_with_group(
        10, (struct rg_group_spec){.max_in_flight = 1, .dlq_on_error = RG_DLQ_PARK});
    struct rg_client *client = client_new(node);
    ck_assert_int_eq(rg_stream_delete(client, dlq), RG_OK);
    struct rg_consumer *consumer = join(client, "packer");
    for (uint64_t offset = 1; offset <= 10; offset++) {
        (void) expect(consumer, offset);
        reject(consumer, offset, offset, "bad");
    }
    ck_assert_uint_eq(group_number(node, "dying"), 10);
    ck_assert_uint_eq(group_number(node, "floor"), 10);
    struct process ctl = {0};
    ck_assert_int_eq(NODE_CTL(node, &ctl, "group", "pending", stream, group), 0);
    ck_assert(json_has_text(buf_text(&ctl.out), "state", "dying"));
    process_release(&ctl);
    node_restart_logd(node, true);
    ck_assert_uint_eq(group_number(node, "dying"), 10);
    ck_assert_int_eq(rg_stream_undelete(client, dlq, NULL), RG_OK);
    expect_once(node, client, 10);
    rg_consumer_close(&consumer);
    rg_close(&client);
    node_destroy(&node);
}

TEST_WITHIN(what_was_purged_before_it_could_be_moved_is_a_gap, 90)
{
    struct node *node = node_with_group(4, (struct rg_group_spec){.dlq_on_error = RG_DLQ_PARK});
    struct rg_client *client = client_new(node);
    ck_assert_int_eq(rg_stream_delete(client, dlq), RG_OK);
    struct rg_consumer *consumer = join(client, "packer");
    expect_all(consumer, 1, 4);
    reject(consumer, 1, 3, "bad");
    ck_assert(WAIT_FOR(group_number(node, "dying") == 3, 10));
    struct process ctl = {0};
    ck_assert_int_eq(
        NODE_CTL(node, &ctl, "stream", "purge", stream, "--before", "3", "--yes", stream), 0);
    process_release(&ctl);
    ck_assert_int_eq(rg_stream_undelete(client, dlq, NULL), RG_OK);
    wait_dead(node, 1);
    ck_assert_uint_eq(group_number(node, "gap_records"), 2);
    rg_consumer_close(&consumer);
    rg_close(&client);
    node_destroy(&node);
}

/* --- breaker --- */

static void note_pause(void *ud, struct rg_consumer *consumer, const struct rg_event *event)
{
    _Atomic int *code = ud;
    (void) consumer;
    if (event->type == RG_EVENT_PAUSED) {
        atomic_store(code, event->code);
    }
}

/* Whoever comes later hears of it too. */
static void expect_told_of_pause(struct rg_client *client, int wanted)
{
    _Atomic int code = 0;
    struct rg_consumer *consumer = NULL;
    const struct rg_consume_options options = {.on_event = note_pause, .ud = &code};
    ck_assert_int_eq(rg_consume(client, stream, group, &options, &consumer), RG_OK);
    ck_assert_msg(WAIT_FOR(atomic_load(&code) == wanted, 30), "%d", atomic_load(&code));
    rg_consumer_close(&consumer);
}

TEST_WITHIN(the_breaker_pauses_a_group_of_which_too_much_dies, 90)
{
    struct node *node = node_with_group(40, (struct rg_group_spec){.max_in_flight = 1,
                                                                   .dlq_breaker_ratio_percent = 50,
                                                                   .dlq_breaker_min = 10});
    struct rg_client *client = client_new(node);
    struct rg_consumer *consumer = join(client, "packer");
    for (uint64_t offset = 1; offset <= 10; offset++) {
        (void) expect(consumer, offset);
        if (offset <= 5) {
            ck_assert_int_eq(rg_ack_sync(consumer, offset, offset), RG_OK);
        } else {
            reject(consumer, offset, offset, "bad");
        }
    }
    struct process ctl = {0};
    ck_assert_int_eq(NODE_CTL(node, &ctl, "group", "info", stream, group), 0);
    ck_assert(json_has_text(buf_text(&ctl.out), "paused", "breaker"));
    wait_dead(node, 5);
    node_restart_logd(node, true);
    ck_assert_int_eq(NODE_CTL(node, &ctl, "group", "info", stream, group), 0);
    ck_assert(json_has_text(buf_text(&ctl.out), "paused", "breaker"));
    rg_consumer_close(&consumer);
    expect_told_of_pause(client, RG_ERR_BREAKER_OPEN);
    consumer = join(client, "packer");
    expect_nothing(consumer);
    ck_assert_int_eq(NODE_CTL(node, &ctl, "group", "resume", stream, group), 0);
    ck_assert_int_eq(NODE_CTL(node, &ctl, "group", "pause", stream, group), 0);
    expect_told_of_pause(client, RG_ERR_PAUSED);
    ck_assert_int_eq(NODE_CTL(node, &ctl, "group", "resume", stream, group), 0);
    struct rg_record record;
    ck_assert_int_eq(rg_consumer_next(consumer, LONG_MS, &record), RG_OK);
    process_release(&ctl);
    rg_consumer_close(&consumer);
    rg_close(&client);
    node_destroy(&node);
}

/* The group names another dead-letter stream: what lies in the former one is found there. */
TEST_WITHIN(dead_letters_stay_where_they_lie_when_the_group_names_another_stream, 120)
{
    struct node *node = node_with_group(4, (struct rg_group_spec){0});
    struct rg_client *client = client_new(node);
    struct rg_consumer *consumer = join(client, "c");
    struct process ctl = {0};
    expect_all(consumer, 1, 4);
    reject(consumer, 1, 2, NULL);
    wait_dead(node, 2);
    ck_assert_int_eq(
        NODE_CTL(node, &ctl, "group", "ensure", stream, group, "-V", "2", "--dlq", "other.dead"),
        0);
    rg_consumer_close(&consumer);
    consumer = join(client, "c");
    expect_all(consumer, 3, 4);
    reject(consumer, 3, 4, NULL);
    wait_dead(node, 4);
    for (unsigned life = 0; life < 3; life++) {
        ck_assert_int_eq(NODE_CTL(node, &ctl, "dlq", "ls", stream, group), 0);
        ck_assert(json_has_text(buf_text(&ctl.out), "dlq_stream", dlq));
        ck_assert(json_has_text(buf_text(&ctl.out), "dlq_stream", "other.dead"));
        for (unsigned i = 1; i <= 4; i++) {
            char offset[8];
            char payload[16];
            (void) snprintf(offset, sizeof offset, "%u", i);
            (void) snprintf(payload, sizeof payload, "order %u", i);
            ck_assert_int_eq(NODE_CTL(node, &ctl, "dlq", "show", stream, group, offset), 0);
            ck_assert(process_said(&ctl, payload));
        }
        if (life < 2) {
            node_restart_logd(node, life == 1);
        }
    }
    rg_consumer_close(&consumer);
    publish(client, 5, 5);
    ck_assert_int_eq(
        NODE_CTL(node, &ctl, "stream", "purge", stream, "--before", "5", "--yes", stream), 0);
    ck_assert_int_eq(NODE_CTL(node, &ctl, "dlq", "replay", stream, group, "--all"), 0);
    consumer = join(client, "c");
    expect_all(consumer, 1, 5);
    reject(consumer, 1, 1, NULL); /* from the copy in the one into the other */
    wait_dead(node, 1);
    ck_assert_uint_eq(group_number(node, "gap_records"), 0);
    process_release(&ctl);
    rg_consumer_close(&consumer);
    rg_close(&client);
    node_destroy(&node);
}

TEST_WITHIN(adminctl_rejects_what_it_is_told_to, 90)
{
    struct node *node = node_with_group(4, (struct rg_group_spec){0});
    struct process ctl = {0};
    ck_assert_int_eq(NODE_CTL(node, &ctl, "consume", stream, "-g", group, "--reject", "--reason",
                              "by hand", "-n", "2"),
                     0);
    wait_dead(node, 2);
    struct rg_client *client = client_new(node);
    expect_letter(client, 1, 1, "REJECTED", 0, 1, "by hand", "");
    ck_assert_int_eq(NODE_CTL(node, &ctl, "consume", stream, "-g", group, "--reject", "--exec",
                              "[ $RAILGUN_OFFSET = 3 ]", "--idle", "2s"),
                     0);
    wait_dead(node, 3);
    ck_assert_uint_eq(group_number(node, "floor"), 4);
    static const char *const slips[] = {
        "1--5", "1-", "-1", "+1", " 1", "0", "0-3", "3-1", "1-99999999999999999999"};
    for (unsigned i = 0; i < sizeof slips / sizeof slips[0];
         i++) { /* what stands before them too */
        ck_assert_int_eq(NODE_CTL(node, &ctl, "dlq", "drop", stream, group, "1", "--", slips[i]),
                         2);
    }
    ck_assert_uint_eq(group_number(node, "dead"), 3);
    process_release(&ctl);
    rg_close(&client);
    node_destroy(&node);
}

/* Whoever could take the ID of a dead letter would hold it up for ever. */
TEST_WITHIN(nobody_else_publishes_under_the_id_of_a_dead_letter, 90)
{
    struct node *node = node_with_group(2, (struct rg_group_spec){0});
    struct rg_client *client = client_new(node);
    struct process ctl = {0};
    char id[128];
    ck_assert_int_eq(NODE_CTL(node, &ctl, "stream", "info", stream), 0);
    const char *found = strstr(buf_text(&ctl.out), "\"stream_id\": \"");
    ck_assert_ptr_nonnull(found);
    (void) snprintf(id, sizeof id, "%.36s/%s/1", found + strlen("\"stream_id\": \""), group);
    const struct rg_message message = {.payload = {"x", 1}, .id = {id, strlen(id)}};
    ck_assert_int_eq(rg_publish_batch(client, dlq, &message, 1, NULL, NULL), RG_ERR_BAD_REQUEST);
    ck_assert_msg(strstr(rg_last_error(client), "dead letters") != NULL, "%s",
                  rg_last_error(client));
    ck_assert_int_eq(
        node_ctl(node, &ctl, "x\n", (const char *const[]){"pub", dlq, "--id", id, NULL}), 2);
    ck_assert(process_complained(&ctl, "dead letters"));

    struct rg_consumer *consumer = join(client, "c");
    expect_all(consumer, 1, 2);
    reject(consumer, 1, 2, NULL);
    wait_dead(node, 2);
    expect_letter(client, 1, 1, "REJECTED", 0, 1, NULL, "c");
    process_release(&ctl);
    rg_consumer_close(&consumer);
    rg_close(&client);
    node_destroy(&node);
}

/* --- what is ensured along --- */

TEST_WITHIN(dead_letters_go_into_a_stream_made_for_them_and_never_in_a_circle, 90)
{
    struct node *node = node_with_group(1, (struct rg_group_spec){0});
    struct rg_client *client = client_new(node);
    struct process ctl = {0};
    ck_assert_int_eq(NODE_CTL(node, &ctl, "stream", "info", dlq), 0);
    process_release(&ctl);
    struct rg_group_spec spec = {.dlq_stream = "more.dead"};
    ck_assert_int_eq(rg_group_ensure(client, dlq, "g", &spec, NULL), RG_ERR_BAD_CONFIG);
    spec.dlq_stream = stream;
    ck_assert_int_eq(rg_group_ensure(client, stream, "g", &spec, NULL), RG_ERR_BAD_CONFIG);
    ck_assert_int_eq(rg_stream_ensure(client, "other", NULL, NULL), RG_OK);
    ck_assert_int_eq(rg_group_ensure(client, "other", "g", &spec, NULL), RG_ERR_BAD_CONFIG);
    ck_assert_int_eq(rg_stream_ensure(client, "plain", NULL, NULL), RG_OK);
    spec.dlq_stream = "plain"; /* it has no deduplication */
    ck_assert_int_eq(rg_group_ensure(client, "other", "g", &spec, NULL), RG_ERR_BAD_CONFIG);
    spec.dlq_stream = dlq; /* several may share one */
    ck_assert_int_eq(rg_group_ensure(client, "other", "g", &spec, NULL), RG_OK);
    rg_close(&client);
    node_destroy(&node);
}
