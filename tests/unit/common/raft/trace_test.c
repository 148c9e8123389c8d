/* What passes between a replica and its driver, in words: nothing of it is hidden, and watching changes nothing. */
#include "common/raft/trace.h"

#include <string.h>

#include "common/base/mem.h"
#include "tests/lib/test.h"
#include "tests/unit/common/raft/router.h"

TEST(a_message_is_a_line_of_text)
{
    struct buf out = {0};
    struct raft_message message = {.group = 5,
                                   .from = {1, 1},
                                   .to = {2, 3},
                                   .term = 4,
                                   .index = 7,
                                   .index_term = 3,
                                   .commit = 6,
                                   .count = 2,
                                   .bytes = 90,
                                   .type = RAFT_MESSAGE_APPEND,
                                   .flags = RAFT_FLAG_END | RAFT_FLAG_WITNESS};
    raft_message_text(&message, &out);
    ck_assert_str_eq(buf_text(&out), "APPEND 1.1>2.3 term=4 index=7 index_term=3 commit=6 count=2 "
                                     "bytes=90 END WITNESS");
    buf_release(&out);
}

TEST(every_output_is_a_line_of_text)
{
    struct raft_members members = ROUTER_MEMBERS(1, 2);
    members.member[1].set = RAFT_OLD | RAFT_LEARNER;
    const struct {
        struct raft_output output;
        const char *text;
    } table[] = {
        {{.type = RAFT_OUTPUT_ENTRY, .entry = {2, {.term = 3, .type = RAFT_ENTRY_BLANK}, {0}}},
         "ENTRY 2 term=3 BLANK"},
        {{.type = RAFT_OUTPUT_ENTRY, .entry = {2, {.term = 3, .type = RAFT_ENTRY_CONFIG}, members}},
         "ENTRY 2 term=3 CONFIG 1.1=VOTER 2.1=OLD+LEARNER"},
        {{.type = RAFT_OUTPUT_WRITE,
          .write = {.wseq = 9,
                    .flags = 15,
                    .term = 2,
                    .vote = {1, 1},
                    .suspect_last = 8,
                    .commit = 3,
                    .snapshot_index = 4,
                    .snapshot_term = 1,
                    .truncate_from = 5,
                    .first = 5,
                    .last = 6}},
         "WRITE wseq=9 HARD term=2 vote=1.1 commit=3 suspect_last=8 SNAPSHOT 4 of term 1 "
         "TRUNCATE 5 APPEND 5..6"},
        {{.type = RAFT_OUTPUT_STATE, .state = {RAFT_LEADER, 2, {1, 1}, true}},
         "STATE LEADER term=2 leader=1.1 asleep"},
        {{.type = RAFT_OUTPUT_MEMBERS, .members = {3, true, false, true, false}},
         "MEMBERS index=3 committed member"},
        {{.type = RAFT_OUTPUT_COMMIT, .commit = 8}, "COMMIT 8"},
        {{.type = RAFT_OUTPUT_READ, .read = {7, 3, -1}}, "READ token=7 index=3 failed"},
        {{.type = RAFT_OUTPUT_SEND,
          .message = {.from = {1, 1},
                      .to = {2, 1},
                      .term = 2,
                      .type = RAFT_MESSAGE_VOTE_REPLY,
                      .flags = RAFT_FLAG_REJECT}},
         "SEND VOTE_REPLY 1.1>2.1 term=2 REJECT"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct buf out = {0};
        raft_output_text(&table[i].output, &out);
        ck_assert_str_eq(buf_text(&out), table[i].text);
        buf_release(&out);
    }
}

/* --- a host that is watched --- */

static struct buf lines[ROUTER_NODES];
static unsigned received[ROUTER_NODES];

static void on_trace(void *ud, const struct raft_host_event *event)
{
    const struct router_node *own = ud;
    struct buf *out = &lines[own->number];
    ck_assert((event->received == NULL) != (event->output == NULL));
    ck_assert_uint_le(event->now, own->router->now);
    if (event->received != NULL) {
        raft_message_text(event->received, out);
        received[own->number]++;
    } else {
        raft_output_text(event->output, out);
    }
    buf_append_byte(out, '\n');
}

static void watched(struct raft_host_options *options)
{
    options->callbacks.trace = on_trace;
}

TEST(a_watched_group_tells_all_and_behaves_as_one_that_is_not)
{
    struct router *router = router_new(3, watched);
    struct router *silent = router_new(3, NULL);
    uint32_t leader = router_form(router, 3);
    ck_assert_uint_eq(router_form(silent, 3), leader);
    router_fill(router, 10);
    router_fill(silent, 10);
    router_run(router, 200000);
    router_run(silent, 200000);
    uint64_t heard = 0;
    for (uint32_t node = 1; node <= 3; node++) {
        const char *text = buf_text(&lines[node]);
        ck_assert_uint_eq(raft_hash(raft_host_core(router->node[node].host)),
                          raft_hash(raft_host_core(silent->node[node].host)));
        ck_assert_ptr_nonnull(strstr(text, node == leader ? "\nSTATE LEADER term=2 leader="
                                                          : "\nSTATE FOLLOWER term=2 leader="));
        ck_assert_ptr_nonnull(strstr(text, "WRITE wseq=1 HARD term=1 APPEND 1..1\n"));
        ck_assert_ptr_nonnull(strstr(text, "\nCOMMIT 12\n"));
        heard += received[node];
        received[node] = 0;
        buf_release(&lines[node]);
    }
    ck_assert_uint_eq(heard, router->packets);
    router_free(&router);
    router_free(&silent);
}
