/* Appends with conditions over the bus: what a publisher may expect of the stream, and fences. */
#include <stdio.h>

#include "common/base/err.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/pb.h"
#include "tests/lib/test.h"
#include "tests/unit/logd/wished.h"

static struct buf expecting(uint32_t field, uint64_t number, const char *last_id)
{
    struct buf expect = {0};
    struct buf meta = {0};
    if (last_id != NULL) {
        pb_append_bytes(&expect, field, span_of(last_id));
    } else {
        pb_append_varint(&expect, field, number);
    }
    pb_append_bytes(&meta, 1, buf_span(&expect));
    buf_release(&expect);
    return meta;
}

TEST(ids_are_looked_at_before_expectations)
{
    struct node node;
    wished_start(&node, &(struct wish){.mode = OPTIONAL});
    struct buf meta = expecting(1, 1, NULL);
    SAYS(wished_publish_meta(&node, "a=1 b=2", &meta), "+2@1");
    meta = expecting(1, 1, NULL);
    SAYS(wished_publish_meta(&node, "a=1 b=2", &meta), "+0@0 0=DUPLICATE@1 1=DUPLICATE@2");
    meta = expecting(1, 1, NULL);
    SAYS(wished_publish_meta(&node, "c=3", &meta), "WRONG_OFFSET next=3 last=b");
    SAYS(wished_publish(&node, "c=3"), "+1@3"); /* what was refused left no trace */
    meta = expecting(2, 1, NULL);
    SAYS(wished_publish_meta(&node, "d=4", &meta), "WRONG_OFFSET next=4 last=c");
    meta = expecting(3, 1, NULL);
    SAYS(wished_publish_meta(&node, "d=4", &meta), "+1@4");
    node_end(&node);
}

TEST(an_expected_offset_of_zero_is_no_offset)
{
    struct node node;
    wished_start(&node, &(struct wish){.mode = OPTIONAL});
    struct buf meta = expecting(1, 0, NULL);
    SAYS(wished_publish_meta(&node, "a=1", &meta), "BAD_REQUEST");
    SAYS(wished_publish(&node, "a=1"), "+1@1");
    meta = expecting(1, 0, NULL);
    SAYS(wished_publish_meta(&node, "a=1", &meta), "BAD_REQUEST");
    node_end(&node);
}

static void purge_before(struct node *node, uint64_t before)
{
    struct buf meta = {0};
    struct answer answer;
    pb_append_varint(&meta, 2, before);
    node_ask(node, RAILGUN__BUS_TYPE__BUS_LOG_PURGE, NODE_STREAM, buf_span(&meta), NULL, &answer);
    ck_assert_int_eq(answer.status, 0);
    answer_clear(&answer);
    buf_release(&meta);
}

/* Each expectation of a stream that never held a record, of one that does, and of one that did. */
TEST(each_expectation_is_met_or_not_whatever_is_left_in_the_stream)
{
    static const struct {
        uint32_t field;
        uint64_t number;
        const char *last_id;
        bool is_met[3];
    } rows[] = {
        {1, 1, NULL, {true, false, false}},  {1, 2, NULL, {false, true, true}},
        {1, 3, NULL, {false, false, false}}, {1, UINT64_MAX, NULL, {false, false, false}},
        {2, 1, NULL, {true, false, false}},  {2, 0, NULL, {false, true, true}},
        {3, 1, NULL, {false, true, true}},   {3, 0, NULL, {true, false, false}},
        {4, 0, "", {true, false, false}},    {4, 0, "a", {false, true, true}},
        {4, 0, "b", {false, false, false}},
    };
    for (unsigned state = 0; state < 3; state++) {
        for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
            struct node node;
            wished_start(&node, &(struct wish){.mode = OPTIONAL});
            if (state > 0) {
                SAYS(wished_publish(&node, "a=1"), "+1@1");
            }
            if (state > 1) {
                purge_before(&node, 2);
            }
            struct buf meta = expecting(rows[i].field, rows[i].number, rows[i].last_id);
            const char *said = wished_publish_meta(&node, "b=2", &meta);
            ck_assert_msg((said[0] == '+') == rows[i].is_met[state], "row %u, state %u: %s", i,
                          state, said);
            node_end(&node);
        }
    }
}

TEST(an_append_may_expect_the_id_of_the_last_record)
{
    struct node node;
    wished_start(&node, &(struct wish){.mode = OPTIONAL});
    struct buf meta = expecting(4, 0, "a");
    SAYS(wished_publish_meta(&node, "b=2", &meta), "WRONG_OFFSET next=1");
    SAYS(wished_publish(&node, "x=0 a=1"), "+2@1");
    meta = expecting(4, 0, "x");
    SAYS(wished_publish_meta(&node, "b=2", &meta), "WRONG_OFFSET next=3 last=a");
    meta = expecting(4, 0, "a");
    SAYS(wished_publish_meta(&node, "b=2", &meta), "+1@3");
    meta = expecting(4, 0, "a");
    SAYS(wished_publish_meta(&node, "b=2", &meta), "+0@0 0=DUPLICATE@3");
    wished_restart(&node, false);
    meta = expecting(4, 0, "b");
    SAYS(wished_publish_meta(&node, "c=3", &meta), "+1@4");
    SAYS(wished_publish(&node, "=4"), "+1@5");
    meta = expecting(4, 0, "c");
    SAYS(wished_publish_meta(&node, "d=5", &meta), "WRONG_OFFSET next=6");
    node_end(&node);
}

TEST(an_expected_last_id_is_held_against_what_is_in_flight)
{
    struct node node;
    wished_start(&node, &(struct wish){.mode = OPTIONAL});
    enum { COUNT = 20 };
    struct answer answers[COUNT];
    for (unsigned i = 0; i < COUNT; i++) { /* each names the one before; each third a wrong one */
        char last[16];
        char text[32];
        (void) snprintf(last, sizeof(last), "m%u", i % 3 == 2 ? i + 100 : i - 1);
        (void) snprintf(text, sizeof(text), "m%u=x", i % 3 == 2 ? i + 1000 : i);
        struct buf meta = i == 0 || i % 3 == 0 ? (struct buf){0} : expecting(4, 0, last);
        wished_send(&node, text, &meta, &answers[i]);
        buf_release(&meta);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        node_wait(&node, &answers[i]);
        ck_assert_int_eq(answers[i].status, i % 3 == 2 ? ERR_WRONG_OFFSET : 0);
        answer_clear(&answers[i]);
    }
    node_end(&node);
}

static struct buf fenced(const char *fence)
{
    struct buf meta = {0};
    pb_append_bytes(&meta, 2, span_of(fence));
    return meta;
}

static bool fence_is_b(void *ud)
{
    struct node *node = ud;
    return span_equal(buf_span(&node_stream(node, NODE_STREAM)->fence), span_of("B"));
}

TEST(a_fenced_stream_takes_only_publishes_with_its_fence)
{
    struct node node;
    wished_start(&node, &(struct wish){.mode = OPTIONAL, .fence = "A"});
    struct buf meta = fenced("A");
    SAYS(wished_publish_meta(&node, "a=1", &meta), "+1@1");
    SAYS(wished_publish(&node, "b=2"), "FENCED");
    meta = fenced("B");
    SAYS(wished_publish_meta(&node, "b=2", &meta), "FENCED");
    wished_restart(&node, true);
    SAYS(wished_publish(&node, "b=2"), "FENCED");

    struct buf changes = {0};
    pb_append_varint(&changes, 1, 8);
    wish_encode(&(struct wish){.mode = OPTIONAL, .fence = "B"}, 2, &changes);
    node_send_changes(&node, &changes);
    node_run_until(&node, fence_is_b, &node);
    buf_release(&changes);
    meta = fenced("A");
    SAYS(wished_publish_meta(&node, "b=2", &meta), "FENCED");
    meta = fenced("B");
    SAYS(wished_publish_meta(&node, "b=2", &meta), "+1@2");
    node_end(&node);
}

TEST(a_fence_for_a_stream_that_has_none_is_refused)
{
    struct node node;
    wished_start(&node, &(struct wish){.mode = 0});
    struct buf meta = fenced("A");
    SAYS(wished_publish_meta(&node, "a=1", &meta), "FENCED");
    SAYS(wished_publish(&node, "a=1"), "+1@1");
    SAYS(wished_publish(&node, "a=1"), "+1@2"); /* no deduplication: an ID means nothing */
    node_end(&node);
}
