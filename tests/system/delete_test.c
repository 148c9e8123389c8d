/* Deletion with grace, undelete and concurrent ensures over real daemons, which are killed in between. */
#include "tests/lib/test.h"
#include "tests/system/node.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "client/railgun.h"

enum { LONG = 90 };

static struct rg_client *client_open(const struct node *node)
{
    struct rg_client *client = NULL;
    struct rg_options options = {.request_timeout_ms = 20000};
    ck_assert_int_eq(rg_connect(node_address(node), &options, &client), RG_OK);
    return client;
}

static void publish(struct rg_client *client, const char *stream, const char *text,
                    uint64_t expected)
{
    uint64_t offset = 0;
    ck_assert_int_eq(rg_publish(client, stream, text, strlen(text), &offset), RG_OK);
    ck_assert_uint_eq(offset, expected);
}

static void check_record(struct rg_client *client, const char *stream, uint64_t offset,
                         const char *text)
{
    struct rg_reader *reader = NULL;
    struct rg_record record;
    ck_assert_int_eq(
        rg_reader_open(client, stream, (struct rg_start){RG_START_OFFSET, offset}, &reader), RG_OK);
    ck_assert_int_eq(rg_reader_next(reader, 10000, &record), RG_OK);
    ck_assert_uint_eq(record.offset, offset);
    ck_assert_uint_eq(record.payload.size, strlen(text));
    ck_assert_mem_eq(record.payload.data, text, record.payload.size);
    rg_reader_close(&reader);
}

/* Take this one message in the group "workers" and acknowledge it. */
static void take(struct rg_client *client, const char *stream, uint64_t offset)
{
    struct rg_consume_options options = {.prefetch_messages = 1};
    struct rg_consumer *consumer = NULL;
    struct rg_record record;
    ck_assert_int_eq(rg_consume(client, stream, "workers", &options, &consumer), RG_OK);
    ck_assert_int_eq(rg_consumer_next(consumer, 10000, &record), RG_OK);
    ck_assert_uint_eq(record.offset, offset);
    ck_assert_int_eq(rg_ack_sync(consumer, offset, offset), RG_OK);
    rg_consumer_close(&consumer);
}

static bool is_listed_deleted(const struct node *node, const char *stream)
{
    struct process said = {0};
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "ls", "--deleted"), 0);
    bool is_there = strstr(buf_text(&said.out), stream) != NULL;
    process_release(&said);
    return is_there;
}

TEST_WITHIN(an_undeleted_stream_is_whole_again_whoever_was_killed_in_between, LONG)
{
    struct node *node = node_new();
    node_start_all(node);
    struct rg_client *client = client_open(node);
    ck_assert_int_eq(rg_stream_ensure(client, "orders", NULL, NULL), RG_OK);
    ck_assert_int_eq(rg_group_ensure(client, "orders", "workers", NULL, NULL), RG_OK);
    publish(client, "orders", "one", 1);
    publish(client, "orders", "two", 2);
    take(client, "orders", 1);

    struct rg_consumer *consumer = NULL;
    struct rg_consume_options options = {.prefetch_messages = 10};
    struct rg_record record;
    ck_assert_int_eq(rg_consume(client, "orders", "workers", &options, &consumer), RG_OK);
    ck_assert_int_eq(rg_consumer_next(consumer, 10000, &record), RG_OK);
    ck_assert_uint_eq(record.offset, 2);
    ck_assert_int_eq(rg_stream_delete(client, "orders"), RG_OK);
    ck_assert_int_eq(rg_consumer_next(consumer, 10000, &record), RG_ERR_CLOSED);
    rg_consumer_close(&consumer);
    ck_assert_int_eq(rg_publish(client, "orders", "no", 2, NULL), RG_ERR_STREAM_DELETED);

    node_restart(node, NODE_RAFTD);
    node_restart(node, NODE_LOGD);
    node_restart(node, NODE_FRONTD);
    ck_assert_int_eq(rg_publish(client, "orders", "no", 2, NULL), RG_ERR_STREAM_DELETED);
    ck_assert(is_listed_deleted(node, "orders"));
    ck_assert_int_eq(rg_stream_undelete(client, "orders", NULL), RG_OK);
    node_kill(node, NODE_LOGD);
    node_restart(node, NODE_RAFTD);
    node_start(node, NODE_LOGD);
    node_wait_ready(node, NODE_LOGD, 20);
    ck_assert(!is_listed_deleted(node, "orders"));
    check_record(client, "orders", 1, "one");
    check_record(client, "orders", 2, "two");
    publish(client, "orders", "three", 3);
    take(client, "orders", 2); /* the group goes on where it was */
    rg_close(&client);
    node_stop_all(node);
    node_destroy(&node);
}

static bool is_gone_for_good(struct node *node)
{
    return !is_listed_deleted(node, "orders") &&
           node_logged(node, NODE_LOGD, "stream deleted for good");
}

TEST_WITHIN(a_stream_goes_for_good_after_its_grace_also_when_raftd_was_dead_at_its_end, LONG)
{
    struct node *node = node_new();
    node_start_all(node);
    struct rg_client *client = client_open(node);
    struct rg_stream_spec spec = {.delete_grace_ms = 1500};
    struct rg_stream_info info;
    ck_assert_int_eq(rg_stream_ensure(client, "orders", &spec, NULL), RG_OK);
    publish(client, "orders", "old", 1);
    ck_assert_int_eq(rg_stream_delete(client, "orders"), RG_OK);
    node_restart(node, NODE_RAFTD);
    ck_assert(WAIT_FOR(is_gone_for_good(node), 30));
    ck_assert_int_eq(rg_stream_undelete(client, "orders", NULL), RG_ERR_NOT_FOUND);

    /* The name is a new stream: nothing of the old one is in it. */
    ck_assert_int_eq(rg_stream_ensure(client, "orders", NULL, NULL), RG_OK);
    ck_assert_int_eq(rg_stream_describe(client, "orders", &info), RG_OK);
    ck_assert_uint_eq(info.next_offset, 1);
    publish(client, "orders", "new", 1);
    check_record(client, "orders", 1, "new");
    rg_close(&client);
    node_stop_all(node);
    node_destroy(&node);
}

TEST_WITHIN(what_was_undeleted_can_be_used_at_once, LONG)
{
    enum { ROUNDS = 20 };
    if (!node_can_trace()) {
        return;
    }
    struct node *node = node_new();
    node_start_all(node);
    struct rg_client *client = client_open(node);
    ck_assert_int_eq(rg_stream_ensure(client, "orders", NULL, NULL), RG_OK);
    publish(client, "orders", "first", 1);
    node_inject(node, NODE_RAFTD, "sendto:delay_exit=20000"); /* frontd hears of it before logd */
    for (uint64_t i = 0; i < ROUNDS; i++) {
        ck_assert_int_eq(rg_stream_delete(client, "orders"), RG_OK);
        ck_assert_int_eq(rg_publish(client, "orders", "no", 2, NULL), RG_ERR_STREAM_DELETED);
        ck_assert_int_eq(rg_stream_undelete(client, "orders", NULL), RG_OK);
        check_record(client, "orders", 1, "first");
        publish(client, "orders", "next", 2 + i);
    }
    rg_close(&client);
    node_kill(node, NODE_RAFTD); /* who is traced cannot look for leaks when it ends */
    node_stop_all(node);
    node_destroy(&node);
}

TEST_WITHIN(a_name_that_was_used_again_cannot_be_undeleted_until_it_is_free, LONG)
{
    struct node *node = node_new();
    node_start_all(node);
    struct rg_client *client = client_open(node);
    ck_assert_int_eq(rg_stream_ensure(client, "orders", NULL, NULL), RG_OK);
    publish(client, "orders", "old", 1);
    ck_assert_int_eq(rg_stream_delete(client, "orders"), RG_OK);
    ck_assert_int_eq(rg_stream_ensure(client, "orders", NULL, NULL), RG_OK);
    publish(client, "orders", "new", 1);
    ck_assert_int_eq(rg_stream_undelete(client, "orders", NULL), RG_ERR_STREAM_CHANGED);
    check_record(client, "orders", 1, "new");
    ck_assert_int_eq(rg_stream_delete_now(client, "orders", NULL), RG_OK);
    ck_assert_int_eq(rg_stream_undelete(client, "orders", NULL), RG_OK);
    check_record(client, "orders", 1, "old");
    rg_close(&client);
    node_stop_all(node);
    node_destroy(&node);
}

/* --- concurrent ensures ------------------------------------------------------------------------------------ */

enum { CLIENTS = 6, VERSIONS = 40 };

struct ensurer {
    const struct node *node;
    unsigned number;
    pthread_t thread;
    unsigned bad;
};

/* Every version in an order of its own; the value of a version is the same for all. */
static void *ensurer_run(void *ud)
{
    struct ensurer *self = (struct ensurer *) ud;
    struct rg_client *client = NULL;
    struct rg_options options = {.request_timeout_ms = 20000};
    if (rg_connect(node_address(self->node), &options, &client) != RG_OK) {
        self->bad++;
        return NULL;
    }
    for (unsigned i = 0; i < VERSIONS; i++) {
        uint64_t version = 1 + (i * (2 * self->number + 1) + self->number) % VERSIONS;
        struct rg_stream_spec spec = {.version = version,
                                      .max_records = 1000 + version,
                                      .dedup_window_ms = 2000 + version,
                                      .allow_data_loss = true};
        int result = RG_ERR_TIMEOUT;
        for (unsigned tries = 0;
             tries < 10 &&
             (result == RG_ERR_TIMEOUT || result == RG_ERR_CLOSED || result == RG_ERR_NO_QUORUM);
             tries++) {
            result = rg_stream_ensure(client, "orders", &spec, NULL);
        }
        self->bad += result != RG_OK;
    }
    rg_close(&client);
    return NULL;
}

TEST_WITHIN(concurrent_ensures_converge_to_the_highest_version_with_raftd_killed, LONG)
{
    struct node *node = node_new();
    node_start_all(node);
    struct ensurer ensurers[CLIENTS] = {0};
    for (unsigned i = 0; i < CLIENTS; i++) {
        ensurers[i] = (struct ensurer){.node = node, .number = i};
        ck_assert_int_eq(pthread_create(&ensurers[i].thread, NULL, ensurer_run, &ensurers[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        node_restart(node, NODE_RAFTD);
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        ck_assert_int_eq(pthread_join(ensurers[i].thread, NULL), 0);
        ck_assert_uint_eq(ensurers[i].bad, 0);
    }
    struct process said = {0};
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "info", "orders"), 0);
    const char *text = buf_text(&said.out);
    ck_assert_uint_eq(json_number(text, NULL, "version"), VERSIONS);
    ck_assert_uint_eq(json_number(text, NULL, "max_records"), 1000 + VERSIONS);
    ck_assert_uint_eq(json_number(text, NULL, "dedup.window_ms"), 2000 + VERSIONS);
    process_release(&said);
    node_stop_all(node);
    node_destroy(&node);
}

/* --- adminctl ---------------------------------------------------------------------------------------------- */

static const char plan_text[] =
    "streams = ( { name = \"orders\"; version = 2; max_age = \"2h\";\n"
    "  dedup = { mode = \"required\"; };\n"
    "  groups = ( { name = \"g\"; backoff = [ \"1s\", \"5s\" ]; } ); } );\n"
    "exchanges = ( { name = \"ticks\"; max_topics = 10; } );\n";

static int plan(struct node *node, struct process *said, const char *text, bool dry_run)
{
    const char *const words[] = {"stream", "ensure", "-f", "-", dry_run ? "--dry-run" : NULL, NULL};
    return node_ctl(node, said, text, words);
}

TEST_WITHIN(a_plan_with_dead_letters_is_done_as_a_whole_or_not_at_all, LONG)
{
    enum { CONFLICT = 4, MISSING = 3 };
    /* Into itself, into a stream without IDs (that is there, or is made), and in a chain. */
    static const char *const bad[] = {
        "streams = ( { name = \"new\"; groups = ( { name = \"g\"; dlq = { stream = \"new\"; }; } "
        "); } );",
        "streams = ( { name = \"new\"; groups = ( { name = \"g\"; dlq = { stream = \"plain\"; }; } "
        "); } );",
        "streams = ( { name = \"new\"; groups = ( { name = \"g\"; dlq = { stream = \"late\"; }; } "
        "); },\n"
        "            { name = \"late\"; max_age = \"30d\"; } );",
        "streams = ( { name = \"new\"; groups = ( { name = \"g\"; dlq = { stream = \"late\"; }; } "
        "); },\n"
        "            { name = \"late\"; dedup = { mode = \"optional\"; };\n"
        "              groups = ( { name = \"h\"; dlq = { stream = \"later\"; }; } ); } );",
    };
    /* The stream that holds them stands behind the one whose they are. */
    static const char good[] =
        "streams = ( { name = \"new\"; groups = ( { name = \"g\"; dlq = { stream = \"late\"; }; } "
        "); },\n"
        "            { name = \"late\"; max_age = \"30d\"; dedup = { mode = \"optional\"; }; } );";
    struct node *node = node_new();
    struct process said = {0};
    node_start_all(node);
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "ensure", "plain"), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_int_eq(plan(node, &said, bad[i], true), CONFLICT);
        ck_assert(json_has_text(buf_text(&said.out), "error", "BAD_CONFIG"));
        ck_assert_int_eq(plan(node, &said, bad[i], false), CONFLICT);
        ck_assert_int_eq(NODE_CTL(node, &said, "stream", "info", "new"), MISSING);
        ck_assert_int_eq(NODE_CTL(node, &said, "stream", "info", "late"), MISSING);
    }
    ck_assert_int_eq(plan(node, &said, good, true), 0);
    ck_assert_int_eq(plan(node, &said, good, false), 0);
    ck_assert_int_eq(plan(node, &said, good, false), 0);
    ck_assert_ptr_null(strstr(buf_text(&said.out), "created"));
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "info", "late"), 0);
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "max_age_ms"), 2592000000);
    process_release(&said);
    node_stop_all(node);
    node_destroy(&node);
}

TEST_WITHIN(a_plan_tells_what_it_would_do_and_a_refused_one_does_nothing, LONG)
{
    enum { CONFLICT = 4, USAGE = 2 };
    struct node *node = node_new();
    struct process said = {0};
    node_start_all(node);
    ck_assert_int_eq(plan(node, &said, plan_text, true), 0);
    ck_assert(json_has_text(buf_text(&said.out), "action", "create"));
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "info", "orders"), 3); /* it was a dry run */
    ck_assert_int_eq(plan(node, &said, plan_text, false), 0);
    ck_assert(json_has_text(buf_text(&said.out), "action", "created"));
    ck_assert_int_eq(plan(node, &said, plan_text, false), 0);
    ck_assert_ptr_null(strstr(buf_text(&said.out), "created"));
    ck_assert(json_has_text(buf_text(&said.out), "action", "unchanged"));

    static const char bad[] =
        "streams = ( { name = \"fresh\"; },\n"
        "  { name = \"orders\"; version = 3; dedup = { mode = \"off\"; }; } );\n";
    ck_assert_int_eq(plan(node, &said, bad, true), CONFLICT);
    ck_assert(json_has_text(buf_text(&said.out), "class", "immutable"));
    ck_assert_int_eq(plan(node, &said, bad, false), CONFLICT);
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "info", "fresh"), 3); /* nothing of it */
    ck_assert_int_eq(plan(node, &said, "streams = ( { nam = 1; } );", true), USAGE);

    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "lock", "orders", "max_age_ms"), 0);
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "info", "orders"), 0);
    uint64_t version = json_number(buf_text(&said.out), NULL, "version");
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "set", "orders", "max_age=1d"), CONFLICT);
    ck_assert(json_has_text(buf_text(&said.out), "class", "locked"));
    ck_assert(json_has_text(buf_text(&said.out), "result", "unchanged"));
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "version"), version);
    ck_assert_int_eq(
        NODE_CTL(node, &said, "stream", "set", "orders", "max_age=2d", "description=x"), CONFLICT);
    ck_assert(json_has_text(buf_text(&said.out), "result", "updated"));
    for (unsigned i = 0; i < 2; i++) { /* the second time it is so already */
        ck_assert_int_eq(NODE_CTL(node, &said, "stream", "set", "orders", "description=y"), 0);
        ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "version"), version + 2);
    }
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "unlock", "orders", "max_age_ms"), 0);
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "set", "orders", "max_age=1d"), 0);
    ck_assert_int_eq(NODE_CTL(node, &said, "group", "set", "orders", "g", "ack_wait=3s"), 0);
    ck_assert_int_eq(NODE_CTL(node, &said, "group", "info", "orders", "g"), 0);
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "ack_wait_ms"), 3000);
    process_release(&said);
    node_stop_all(node);
    node_destroy(&node);
}

TEST_WITHIN(the_library_publishes_into_one_incarnation_of_a_name_only, LONG)
{
    struct node *node = node_new();
    struct rg_client *client = NULL;
    struct rg_stream_info first = {0};
    struct rg_stream_info second = {0};
    const struct rg_message message = {.payload = {"x", 1}};
    node_start_all(node);
    ck_assert_int_eq(rg_connect(node_address(node), NULL, &client), RG_OK);
    ck_assert_int_eq(rg_stream_ensure(client, "orders", NULL, NULL), RG_OK);
    ck_assert_int_eq(rg_stream_describe(client, "orders", &first), RG_OK);
    const struct rg_expect old = {.stream_id = first.stream_id};
    ck_assert_int_eq(rg_publish_batch(client, "orders", &message, 1, &old, NULL), RG_OK);
    ck_assert_int_eq(rg_stream_delete(client, "orders"), RG_OK);
    ck_assert_int_eq(rg_publish_batch(client, "orders", &message, 1, &old, NULL),
                     RG_ERR_STREAM_DELETED);
    ck_assert_int_eq(rg_stream_ensure(client, "orders", NULL, NULL), RG_OK);
    ck_assert_int_eq(rg_publish_batch(client, "orders", &message, 1, &old, NULL),
                     RG_ERR_STREAM_CHANGED);
    ck_assert_int_eq(rg_stream_describe(client, "orders", &second), RG_OK);
    ck_assert_int_ne(memcmp(first.stream_id, second.stream_id, sizeof first.stream_id), 0);
    ck_assert_uint_eq(second.next_offset, 1);
    const struct rg_expect fresh = {.what = RG_EXPECT_NO_RECORDS, .stream_id = second.stream_id};
    ck_assert_int_eq(rg_publish_batch(client, "orders", &message, 1, &fresh, NULL), RG_OK);
    rg_close(&client);
    node_destroy(&node);
}

TEST_WITHIN(the_library_locks_fields_and_tells_which_are, LONG)
{
    static const char *const paths[] = {"max_age_ms", "dedup.window_ms"};
    static const char *const nonsense[] = {"colour"};
    struct node *node = node_new();
    struct rg_client *client = NULL;
    struct rg_locked locked = {0};
    enum rg_ensure_result result;
    node_start_all(node);
    ck_assert_int_eq(rg_connect(node_address(node), NULL, &client), RG_OK);
    ck_assert_int_eq(rg_lock(client, "orders", NULL, paths, 2, NULL), RG_ERR_NOT_FOUND);
    ck_assert_int_eq(rg_stream_ensure(client, "orders", NULL, NULL), RG_OK);
    ck_assert_int_eq(rg_group_ensure(client, "orders", "g", NULL, NULL), RG_OK);
    ck_assert_int_eq(rg_lock(client, "orders", NULL, paths, 2, &locked), RG_OK);
    ck_assert_uint_eq(locked.count, 2);
    rg_locked_free(&locked);
    ck_assert_int_eq(rg_lock(client, "orders", NULL, nonsense, 1, NULL), RG_ERR_BAD_REQUEST);
    ck_assert_int_eq(rg_lock(client, "orders", "g", (const char *const[]){"ack_wait_ms"}, 1, NULL),
                     RG_OK);
    node_restart(node, NODE_RAFTD);
    ck_assert_int_eq(rg_unlock(client, "orders", NULL, paths + 1, 1, NULL), RG_OK);
    ck_assert_int_eq(rg_lock(client, "orders", NULL, NULL, 0, &locked), RG_OK);
    ck_assert_uint_eq(locked.count, 1);
    ck_assert_str_eq(locked.paths[0], "max_age_ms");
    rg_locked_free(&locked);
    ck_assert_int_eq(rg_lock(client, "orders", "g", NULL, 0, &locked), RG_OK);
    ck_assert_uint_eq(locked.count, 1);
    ck_assert_str_eq(locked.paths[0], "ack_wait_ms");
    rg_locked_free(&locked);
    /* what is locked stays as it is, the rest comes about */
    const struct rg_stream_spec spec = {.version = 2, .max_age_ms = 60000, .description = "new"};
    ck_assert_int_eq(rg_stream_ensure(client, "orders", &spec, &result), RG_OK);
    ck_assert_int_eq(result, RG_UPDATED);
    struct process ctl = {0};
    ck_assert_int_eq(NODE_CTL(node, &ctl, "stream", "info", "orders"), 0);
    ck_assert_uint_eq(json_number(buf_text(&ctl.out), NULL, "max_age_ms"), 0);
    ck_assert(process_said(&ctl, "\"description\": \"new\""));
    process_release(&ctl);
    ck_assert_int_eq(rg_lock(client, NULL, NULL, NULL, 0, NULL), RG_ERR_USAGE);
    ck_assert_int_eq(rg_lock(client, "orders", NULL, NULL, 1, NULL), RG_ERR_USAGE);
    rg_close(&client);
    node_destroy(&node);
}
