/* The queue of one slow subscriber alone. */
#include <string.h>

#include "frontd/messages.h"
#include "frontd/subscription_queue.h"
#include "tests/unit/frontd_switch/fake.h"

static uint64_t bytes_max = 64 << 20;

struct fixture {
    struct subscription_queue_pool *pool;
    struct subscription_queue *queue;
    struct subscription_queue_limits limits;
    uint32_t dropped_old;
};

static void open_queue(struct fixture *self, enum subscription_policy policy, uint32_t messages_max)
{
    *self = (struct fixture){.limits = {messages_max, 1 << 20, policy}};
    self->pool = subscription_queue_pool_new(&bytes_max, NULL, NULL);
    self->queue = subscription_queue_new(self->pool);
}

static void close_queue(struct fixture *self)
{
    subscription_queue_destroy(&self->queue);
    ck_assert_uint_eq(subscription_queue_pool_bytes(self->pool), 0);
    subscription_queue_pool_destroy(&self->pool);
}

/* Messages whose payloads are the letters. */
static uint32_t offer(struct fixture *self, const char *topic, const char *letters)
{
    struct buf bytes = {0};
    for (const char *at = letters; *at != '\0'; at++) {
        char payload[2] = {*at, '\0'};
        fake_message(&bytes, topic, payload);
    }
    struct run run = fake_run(&bytes, (uint32_t) strlen(letters));
    uint32_t taken = subscription_queue_offer(self->queue, &self->limits, &run, run.messages,
                                              run.count, &self->dropped_old);
    fake_run_end(&run);
    buf_release(&bytes);
    return taken;
}

/* What comes out: letters, `!` for a gap. */
static const char *take_all(struct fixture *self, uint32_t count_max)
{
    static struct buf out;
    struct subscription_queue_part part;
    buf_reset(&out);
    for (;;) {
        if (subscription_queue_gap_due(self->queue) != NULL) {
            subscription_queue_gap_told(self->queue);
            buf_append_byte(&out, '!');
        } else if (subscription_queue_next(self->queue, count_max, UINT64_MAX, &part)) {
            struct span rest = part.messages;
            for (uint32_t i = 0; i < part.count; i++) {
                uint32_t one = 0;
                size_t size = messages_prefix(rest, 1, UINT64_MAX, &one);
                buf_append_byte(&out, rest.data[size - 1]); /* the payload is last */
                rest = messages_behind(rest, size);
            }
            subscription_queue_taken(self->queue, &part);
        } else {
            break;
        }
    }
    ck_assert(subscription_queue_is_empty(self->queue));
    return buf_text(&out);
}

TEST(the_oldest_are_dropped_even_out_of_the_middle_of_a_run)
{
    struct fixture f;
    open_queue(&f, SUBSCRIPTION_DROP_OLD, 10);
    ck_assert_uint_eq(offer(&f, "t", "abcdefgh"), 8);
    ck_assert_uint_eq(offer(&f, "t", "ijklm"), 5);
    ck_assert_uint_eq(f.dropped_old, 3);
    ck_assert_uint_eq(subscription_queue_messages(f.queue), 10);
    const struct subscription_gap *gap = subscription_queue_gap_due(f.queue);
    ck_assert_ptr_nonnull(gap);
    ck_assert_uint_eq(gap->count, 3);
    ck_assert_str_eq(take_all(&f, 3), "!defghijklm");
    close_queue(&f);
}

TEST(a_run_longer_than_the_queue_leaves_its_end)
{
    struct fixture f;
    open_queue(&f, SUBSCRIPTION_DROP_OLD, 4);
    ck_assert_uint_eq(offer(&f, "t", "ab"), 2);
    ck_assert_uint_eq(offer(&f, "t", "cdefghij"), 4);
    ck_assert_uint_eq(f.dropped_old, 2);
    ck_assert_str_eq(take_all(&f, 100), "!ghij");
    close_queue(&f);
}

TEST(the_newest_are_dropped_and_the_gap_comes_where_they_were)
{
    struct fixture f;
    open_queue(&f, SUBSCRIPTION_DROP_NEW, 4);
    ck_assert_uint_eq(offer(&f, "t", "abc"), 3);
    ck_assert_uint_eq(offer(&f, "t", "defg"), 1);
    ck_assert_uint_eq(f.dropped_old, 0);
    ck_assert_ptr_null(subscription_queue_gap_due(f.queue));
    struct subscription_queue_part part;
    ck_assert(subscription_queue_next(f.queue, 2, UINT64_MAX, &part));
    subscription_queue_taken(f.queue, &part);
    ck_assert_uint_eq(offer(&f, "t", "hi"), 2);
    ck_assert_str_eq(take_all(&f, 100), "cd!hi");
    close_queue(&f);
}

TEST(bytes_bound_a_queue_as_messages_do)
{
    struct fixture f;
    open_queue(&f, SUBSCRIPTION_DROP_NEW, 1000);
    f.limits.bytes_max = 20; /* a message takes eight */
    ck_assert_uint_eq(offer(&f, "t", "abcd"), 2);
    ck_assert_str_eq(take_all(&f, 100), "ab!");
    f.limits.policy = SUBSCRIPTION_DROP_OLD;
    ck_assert_uint_eq(offer(&f, "t", "abcd"), 2);
    ck_assert_uint_eq(offer(&f, "t", "e"), 1);
    ck_assert_str_eq(take_all(&f, 100), "!de");
    close_queue(&f);
}

TEST(of_each_topic_the_newest_waits_behind_what_was_published_before_it)
{
    struct fixture f;
    open_queue(&f, SUBSCRIPTION_CONFLATE, 3);
    ck_assert_uint_eq(offer(&f, "x", "abc"), 1);
    ck_assert_uint_eq(offer(&f, "y", "d"), 1);
    ck_assert_uint_eq(offer(&f, "x", "e"), 1);
    ck_assert_uint_eq(f.dropped_old, 1);
    ck_assert_uint_eq(subscription_queue_messages(f.queue), 2);
    ck_assert_uint_eq(subscription_queue_gap_due(f.queue)->count, 3);
    ck_assert_uint_eq(offer(&f, "z", "f"), 1);
    ck_assert_uint_eq(offer(&f, "w", "g"), 1); /* over the limit: the oldest goes */
    ck_assert_str_eq(take_all(&f, 100), "!efg");
    close_queue(&f);
}

TEST(the_gap_names_the_first_and_the_last_topic)
{
    struct fixture f;
    open_queue(&f, SUBSCRIPTION_DROP_OLD, 1);
    ck_assert_uint_eq(offer(&f, "first.one", "a"), 1);
    ck_assert_uint_eq(offer(&f, "second", "b"), 1);
    ck_assert_uint_eq(offer(&f, "third", "c"), 1);
    const struct subscription_gap *gap = subscription_queue_gap_due(f.queue);
    ck_assert_uint_eq(gap->count, 2);
    ck_assert(span_is(span_make(gap->first_topic, gap->first_size), "first.one"));
    ck_assert(span_is(span_make(gap->last_topic, gap->last_size), "second"));
    close_queue(&f);
}

TEST(a_thousand_queues_of_one_run_cost_one_copy)
{
    enum { COUNT = 1000 };
    struct subscription_queue *queues[COUNT];
    struct fixture f;
    struct buf bytes = {0};
    uint32_t dropped = 0;
    open_queue(&f, SUBSCRIPTION_DROP_OLD, 10000);
    fake_messages(&bytes, "topic", 512, 100);
    struct run run = fake_run(&bytes, 512);
    for (unsigned i = 0; i < COUNT; i++) {
        queues[i] = subscription_queue_new(f.pool);
        ck_assert_uint_eq(
            subscription_queue_offer(queues[i], &f.limits, &run, run.messages, 512, &dropped), 512);
    }
    fake_run_end(&run);
    ck_assert_uint_lt(subscription_queue_pool_bytes(f.pool), bytes.size + COUNT * 256);
    for (unsigned i = 0; i < COUNT; i++) {
        subscription_queue_destroy(&queues[i]);
    }
    buf_release(&bytes);
    close_queue(&f);
}

TEST(a_few_messages_of_a_long_run_do_not_keep_all_of_it)
{
    struct fixture f;
    struct buf bytes = {0};
    open_queue(&f, SUBSCRIPTION_DROP_NEW, 3);
    fake_messages(&bytes, "topic", 512, 100);
    struct run run = fake_run(&bytes, 512);
    ck_assert_uint_eq(
        subscription_queue_offer(f.queue, &f.limits, &run, run.messages, 512, &f.dropped_old), 3);
    fake_run_end(&run);
    ck_assert_uint_lt(subscription_queue_pool_bytes(f.pool), 2000);
    buf_release(&bytes);
    close_queue(&f);
}

TEST(the_pool_is_never_exceeded_and_who_comes_late_has_room_too)
{
    enum { COUNT = 200 };
    struct subscription_queue *queues[COUNT];
    struct fixture f;
    struct buf bytes = {0};
    open_queue(&f, SUBSCRIPTION_DROP_OLD, 10000);
    uint64_t before = bytes_max;
    bytes_max = 4 << 20;
    f.limits.bytes_max = 16 << 20;
    fake_messages(&bytes, "topic", 64, 100);
    for (unsigned i = 0; i < COUNT; i++) {
        queues[i] = subscription_queue_new(f.pool);
    }
    for (unsigned round = 0; round < 40; round++) {
        for (unsigned i = 0; i < COUNT; i++) {
            uint32_t dropped = 0;
            if (i == COUNT - 1 && round < 39) {
                continue;
            }
            struct run run = fake_run(&bytes, 64);
            uint32_t taken =
                subscription_queue_offer(queues[i], &f.limits, &run, run.messages, 64, &dropped);
            fake_run_end(&run);
            TEST_ASSERT_FAST(subscription_queue_pool_bytes(f.pool) <= bytes_max);
            TEST_ASSERT_FAST(taken != 0);
        }
    }
    ck_assert_uint_ge(subscription_queue_messages(queues[COUNT - 1]), 32);
    for (unsigned i = 0; i < COUNT; i++) {
        subscription_queue_destroy(&queues[i]);
    }
    buf_release(&bytes);
    close_queue(&f);
    bytes_max = before;
}
