/* Message IDs over real daemons: whatever is killed, a record that is published again is stored once. */
#include "tests/lib/test.h"
#include "tests/system/node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/railgun.h"
#include "common/base/mem.h"

enum { RECORDS = 20000, KILL_EVERY = 4000 };

static const char *const stream = "orders";

static struct node *node_up(const char *max_ids)
{
    struct process said = {0};
    struct node *node = node_new();
    node_start_all(node);
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "ensure", stream, "--dedup", "required",
                              "--dedup-max-ids", max_ids),
                     0);
    process_release(&said);
    return node;
}

static struct rg_client *client_of(const struct node *node)
{
    struct rg_options options = {.repeat_with_ids = true, .request_timeout_ms = 40000};
    struct rg_client *client = NULL;
    ck_assert_int_eq(rg_connect(node_address(node), &options, &client), RG_OK);
    return client;
}

/* --- what came of them --- */

struct tally {
    uint64_t offsets[RECORDS];
    unsigned stored;
};

struct ticket {
    struct tally *tally;
    unsigned number;
};

static void on_published(void *ud, int result, uint64_t offset)
{
    struct ticket *ticket = ud;
    ck_assert_int_eq(result, RG_OK);
    ck_assert_uint_ne(offset, 0);
    ticket->tally->offsets[ticket->number] = offset;
    ticket->tally->stored++;
}

static void publish_all(struct rg_client *client, struct tally *tally, struct node *node,
                        const enum node_daemon *victims, unsigned victim_count)
{
    struct ticket *tickets = mem_new_array(RECORDS, sizeof(*tickets));
    tally->stored = 0;
    for (unsigned i = 0; i < RECORDS; i++) {
        char id[32];
        char payload[32];
        int id_size = snprintf(id, sizeof(id), "id-%u", i);
        int size = snprintf(payload, sizeof(payload), "payload-%u", i);
        struct rg_message message = {.payload = {payload, (size_t) size},
                                     .id = {id, (size_t) id_size}};
        tickets[i] = (struct ticket){tally, i};
        ck_assert_int_eq(rg_publish_async(client, stream, &message, on_published, &tickets[i]),
                         RG_OK);
        if (victim_count > 0 && i % KILL_EVERY == KILL_EVERY - 1) {
            node_restart(node, victims[i / KILL_EVERY % victim_count]);
        }
    }
    ck_assert_int_eq(rg_flush(client, 60000), RG_OK);
    ck_assert_uint_eq(tally->stored, RECORDS);
    mem_free(tickets);
}

/* Each record lies exactly where its publisher was told, and nothing else is there. */
static void check_stored(struct rg_client *client, const struct tally *tally)
{
    struct rg_stream_info info;
    ck_assert_int_eq(rg_stream_describe(client, stream, &info), RG_OK);
    ck_assert_uint_eq(info.next_offset, RECORDS + 1);
    struct rg_reader *reader = NULL;
    struct rg_start first = {.at = RG_START_FIRST};
    ck_assert_int_eq(rg_reader_open(client, stream, first, &reader), RG_OK);
    for (unsigned i = 0; i < RECORDS; i++) {
        struct rg_record record;
        unsigned number = RECORDS;
        ck_assert_int_eq(rg_reader_next(reader, 10000, &record), RG_OK);
        char text[32] = "";
        ck_assert_uint_lt(record.payload.size, sizeof(text));
        memcpy(text, record.payload.data, record.payload.size);
        ck_assert_int_eq(sscanf(text, "payload-%u", &number), 1);
        ck_assert_uint_eq(tally->offsets[number], record.offset);
    }
    rg_reader_close(&reader);
}

static struct tally tally;

TEST_WITHIN(a_record_with_an_id_is_stored_once_whatever_is_killed, 120)
{
    static const enum node_daemon victims[] = {NODE_LOGD, NODE_FRONTD, NODE_LOGD, NODE_RAFTD};
    struct node *node = node_up("100000");
    struct rg_client *client = client_of(node);
    publish_all(client, &tally, node, victims, 4);
    check_stored(client, &tally);
    rg_close(&client);
    node_destroy(&node);
}

TEST_WITHIN(ids_are_known_after_everything_was_killed_and_the_database_removed, 120)
{
    struct node *node = node_up("100000");
    struct rg_client *client = client_of(node);
    static struct tally again;
    publish_all(client, &tally, NULL, NULL, 0);
    for (unsigned i = 0; i < 2; i++) {
        char path[4096];
        node_kill_all(node);
        if (i == 1) {
            struct process gone = {0};
            const char *const words[] = {"/bin/rm", "-r", node_path(node, "data/logd/db", path),
                                         NULL};
            ck_assert_int_eq(process_run(&gone, 10, words, NULL), 0);
            process_release(&gone);
        }
        node_start_all(node);
        publish_all(client, &again, NULL, NULL, 0);
        ck_assert_mem_eq(again.offsets, tally.offsets, sizeof(tally.offsets));
    }
    check_stored(client, &tally);
    rg_close(&client);
    node_destroy(&node);
}

TEST_WITHIN(of_two_connections_with_the_same_ids_one_stores_each, 60)
{
    struct node *node = node_up("100000");
    struct rg_client *clients[2] = {client_of(node), client_of(node)};
    enum { BATCH = 100, BATCHES = 50 };
    char text[BATCH][16];
    struct rg_message messages[BATCH];
    struct rg_record_result results[2][BATCH];
    for (unsigned b = 0; b < BATCHES; b++) {
        for (unsigned i = 0; i < BATCH; i++) {
            int size = snprintf(text[i], sizeof(text[i]), "%u", b * BATCH + i);
            messages[i] = (struct rg_message){.payload = {text[i], (size_t) size},
                                              .id = {text[i], (size_t) size}};
        }
        for (unsigned c = 0; c < 2; c++) {
            ck_assert_int_eq(
                rg_publish_each(clients[c], stream, messages, BATCH, NULL, results[c], NULL),
                RG_OK);
        }
        for (unsigned i = 0; i < BATCH; i++) {
            ck_assert_int_eq(results[0][i].code, RG_OK);
            ck_assert_int_eq(results[1][i].code, RG_DUPLICATE);
            ck_assert_uint_eq(results[0][i].offset, results[1][i].offset);
            ck_assert_uint_eq(results[0][i].ts_us, results[1][i].ts_us);
        }
    }
    rg_close(&clients[0]);
    rg_close(&clients[1]);
    node_destroy(&node);
}

TEST_WITHIN(adminctl_publishes_with_ids_conditions_and_fences, 60)
{
    struct process said = {0};
    struct node *node = node_up("100000");
#define PUB(input, ...)                                                                            \
    node_ctl(node, &said, (input), (const char *const[]){"pub", stream, __VA_ARGS__, NULL})
    ck_assert_int_eq(PUB("a\nb\n", "--id", "{hash}", "--expect-no-stream"), 0);
    ck_assert_int_eq(PUB("a\nb\n", "--id", "{hash}", "--expect-no-stream"), 0); /* the retry */
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "duplicates"), 2);
    ck_assert_int_eq(PUB("c\n", "--id", "x", "--expect-offset", "1"), 4);
    ck_assert_int_eq(PUB("c\n", "--id", "x", "--expect-offset", "3"), 0);
    ck_assert_int_eq(PUB("d\n", "--id", "y", "--expect-last-id", "z"), 4);
    ck_assert_int_eq(PUB("d\n", "--id", "y", "--expect-last-id", "x"), 0);
    ck_assert_int_eq(PUB("other\n", "--id", "y"), 4);
    ck_assert_int_eq(PUB("e\n", "--id", "e", "--fence", "A"), 4);
    ck_assert_int_eq(
        NODE_CTL(node, &said, "stream", "ensure", stream, "--version", "2", "--fence", "A"), 0);
    ck_assert_int_eq(PUB("e\n", "--id", "e", "--fence", "A"), 0);
    ck_assert_int_eq(PUB("f\n", "--id", "f"), 4);
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "info", stream), 0);
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "dedup_ids"), 5);
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "dedup_window_ms"), 600000);
    ck_assert_int_eq(NODE_CTL(node, &said, "dedup", "show", stream, "--id", "e"), 0);
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "offset"), 5);
    ck_assert_int_eq(NODE_CTL(node, &said, "dedup", "forget", stream, "--id", "e"), 0);
    ck_assert_int_eq(NODE_CTL(node, &said, "dedup", "show", stream, "--id", "e"), 3);
    process_release(&said);
    node_destroy(&node);
}

TEST_WITHIN(an_old_fence_is_refused_when_a_new_one_was_ensured, 60)
{
    enum { ROUNDS = 300 };
    struct node *node = node_new();
    struct rg_client *owner = NULL;
    struct rg_client *former = NULL;
    const struct rg_message message = {.payload = {"x", 1}};
    char fences[2][16] = {"f0", ""};
    node_start_all(node);
    ck_assert_int_eq(rg_connect(node_address(node), NULL, &owner), RG_OK);
    ck_assert_int_eq(rg_connect(node_address(node), NULL, &former), RG_OK);
    for (unsigned i = 0; i < ROUNDS; i++) {
        char *fence = fences[i % 2];
        (void) snprintf(fence, sizeof(fences[0]), "f%u", i);
        const struct rg_stream_spec spec = {.version = i + 1, .fence = fence};
        ck_assert_int_eq(rg_stream_ensure(owner, "orders", &spec, NULL), RG_OK);
        const char *old = fences[1 - i % 2];
        struct rg_expect expect = {.fence = {old, strlen(old)}};
        ck_assert_int_eq(rg_publish_batch(former, "orders", &message, 1, &expect, NULL),
                         RG_ERR_FENCED);
        expect.fence = (struct rg_bytes){fence, strlen(fence)};
        ck_assert_int_eq(rg_publish_batch(former, "orders", &message, 1, &expect, NULL), RG_OK);
    }
    rg_close(&former);
    rg_close(&owner);
    node_stop_all(node);
    node_destroy(&node);
}
