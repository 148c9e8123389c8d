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
