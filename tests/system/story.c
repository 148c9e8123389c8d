/* story: see the header. */
#include "tests/system/story.h"

enum { MS = 1000 };

static const struct checker_options options = {
    .ack_window_ns = 100 * 1000000UL,
    .ack_settle_ns = 300 * 1000000UL,
    .fault_grace_ns = 50 * 1000000UL,
    .late_ns = 1000 * 1000000UL,
};

void story_begin(struct story *self)
{
    self->hands = (struct timesource_manual){.monotonic_us = 1000000};
    self->time = timesource_manual_make(&self->hands);
    self->history = history_new(&self->time);
}

void story_wait(struct story *self, uint64_t ms)
{
    self->hands.monotonic_us += ms * MS;
}

void story_publish(struct story *self, uint64_t counter, uint32_t count, enum outcome outcome,
                   uint64_t base)
{
    uint32_t batch = history_publish_begin(self->history, history_value(ME, counter), count);
    if (outcome != OUTCOME_OPEN) {
        history_publish_end(self->history, batch, outcome, base);
    }
}

/* See record number `counter` of ours at an offset. */
void story_see(struct story *self, enum event_type type, uint64_t offset, uint64_t counter,
               uint32_t session, uint32_t attempt)
{
    struct buf payload = {0};
    history_payload_put(&payload, history_value(ME, counter), 40);
    if (type == EVENT_READ) {
        history_read(self->history, session, offset, buf_span(&payload));
    } else if (type == EVENT_FINAL) {
        history_final(self->history, offset, buf_span(&payload));
    } else {
        history_delivered(self->history, GROUP, session, offset, attempt, buf_span(&payload));
    }
    buf_release(&payload);
}

void story_deliver(struct story *self, uint64_t offset, uint32_t session, uint32_t attempt)
{
    story_see(self, EVENT_DELIVERED, offset, offset, session, attempt);
}

/* The final read finds counters 1 to `count` at offsets 1 to `count`. */
void story_final(struct story *self, uint64_t count)
{
    for (uint64_t i = 1; i <= count; i++) {
        story_see(self, EVENT_FINAL, i, i, 0, 0);
    }
    history_final_end(self->history, 1, count + 1);
}

/* The verdict must name exactly `rule`, at least once; RULE_COUNT: none. */
void story_end(struct story *self, enum rule rule)
{
    struct verdict verdict;
    checker_run(self->history, &options, &verdict);
    for (int i = 0; i < RULE_COUNT; i++) {
        bool wanted = i == (int) rule;
        ck_assert_msg((verdict.found[i] > 0) == wanted, "%s: %s\n%s", rule_name((enum rule) i),
                      wanted ? "not found" : "found in error", buf_text(&verdict.text));
    }
    verdict_release(&verdict);
    history_destroy(&self->history);
}
