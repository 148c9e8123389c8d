/* What operators do to a group before anybody has consumed from it, by adminctl over real daemons that are killed; and what is said of a stream that was
 * deleted. */
#include "tests/lib/test.h"
#include "tests/system/node.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "client/railgun.h"

enum { LONG_MS = 30000, OK = 0, NOT_FOUND = 3, CONFLICT = 4 };

static const char *const stream = "orders";
static const char *const group = "workers";

/* A running node with a stream of ten records and a group that nobody has consumed from. */
static struct node *node_with_group(void)
{
    struct node *node = node_new();
    struct process ctl = {0};
    node_start_all(node);
    node_ensure(node, stream);
    ck_assert_int_eq(node_ctl(node, &ctl, "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n",
                              (const char *const[]){"pub", stream, NULL}),
                     OK);
    ck_assert_int_eq(NODE_CTL(node, &ctl, "group", "ensure", stream, group), OK);
    process_release(&ctl);
    return node;
}

static uint64_t info_number(const struct node *node, const char *name)
{
    struct process ctl = {0};
    ck_assert_int_eq(NODE_CTL(node, &ctl, "group", "info", stream, group), OK);
    uint64_t number = json_number(buf_text(&ctl.out), NULL, name);
    process_release(&ctl);
    return number;
}

static bool info_says(const struct node *node, const char *text)
{
    struct process ctl = {0};
    ck_assert_int_eq(NODE_CTL(node, &ctl, "group", "info", stream, group), OK);
    bool found = strstr(buf_text(&ctl.out), text) != NULL;
    process_release(&ctl);
    return found;
}

static void expect_next(const struct node *node, uint64_t offset)
{
    struct rg_client *client = NULL;
    struct rg_consumer *consumer = NULL;
    struct rg_record record;
    ck_assert_int_eq(rg_connect(node_address(node), NULL, &client), RG_OK);
    ck_assert_int_eq(rg_consume(client, stream, group, NULL, &consumer), RG_OK);
    ck_assert_int_eq(rg_consumer_next(consumer, LONG_MS, &record), RG_OK);
    ck_assert_uint_eq(record.offset, offset);
    ck_assert_uint_eq(record.attempt, 1);
    rg_consumer_close(&consumer);
    rg_close(&client);
}

TEST_WITHIN(a_group_that_nobody_consumed_from_is_paused_and_stays_so_over_kill_9, 120)
{
    struct node *node = node_with_group();
    struct process ctl = {0};
    ck_assert_int_eq(NODE_CTL(node, &ctl, "group", "pause", stream, group), OK);
    ck_assert_ptr_nonnull(strstr(buf_text(&ctl.out), "\"changed\": \"yes\""));
    ck_assert_int_eq(NODE_CTL(node, &ctl, "group", "pause", stream, group), OK);
    ck_assert_ptr_nonnull(strstr(buf_text(&ctl.out), "\"changed\": \"no\""));
    for (int loses_database = 0; loses_database <= 1; loses_database++) {
        node_restart_logd(node, loses_database == 1);
        ck_assert(info_says(node, "\"paused\": \"operator\""));
        ck_assert_int_eq(NODE_CTL(node, &ctl, "consume", stream, "-g", group, "--idle", "300ms"),
                         OK);
        ck_assert_str_eq(buf_text(&ctl.out), "");
    }
    ck_assert_int_eq(NODE_CTL(node, &ctl, "group", "resume", stream, group), OK);
    ck_assert_ptr_nonnull(strstr(buf_text(&ctl.out), "\"changed\": \"yes\""));
    expect_next(node, 1);
    ck_assert_uint_eq(info_number(node, "check_errors"), 0);
    process_release(&ctl);
    node_destroy(&node);
}

TEST_WITHIN(a_seek_sets_where_a_group_begins_that_nobody_consumed_from, 120)
{
    for (int loses_database = 0; loses_database <= 1; loses_database++) {
        struct node *node = node_with_group();
        struct process ctl = {0};
        ck_assert_int_eq(
            NODE_CTL(node, &ctl, "group", "seek", stream, group, "--to", "12", "--yes", group), 1);
        ck_assert(process_complained(&ctl, "OUT_OF_RANGE"));
        ck_assert_int_eq(
            NODE_CTL(node, &ctl, "group", "seek", stream, group, "--to", "7", "--yes", group), OK);
        ck_assert_uint_eq(json_number(buf_text(&ctl.out), NULL, "floor"), 6);
        node_restart_logd(node, loses_database == 1);
        ck_assert_uint_eq(info_number(node, "floor"), 6);
        ck_assert_uint_eq(info_number(node, "lag"), 4);
        expect_next(node, 7);
        process_release(&ctl);
        node_destroy(&node);
    }
}

TEST_WITHIN(of_a_group_that_nobody_consumed_from_there_is_nothing_to_release_or_resume, 60)
{
    struct node *node = node_with_group();
    struct process ctl = {0};
    ck_assert_int_eq(NODE_CTL(node, &ctl, "group", "pending", stream, group), OK);
    ck_assert_str_eq(buf_text(&ctl.out), "[]\n");
    ck_assert_int_eq(NODE_CTL(node, &ctl, "group", "release", stream, group), OK);
    ck_assert_uint_eq(json_number(buf_text(&ctl.out), NULL, "released"), 0);
    ck_assert_int_eq(NODE_CTL(node, &ctl, "group", "resume", stream, group), OK);
    ck_assert_ptr_nonnull(strstr(buf_text(&ctl.out), "\"changed\": \"no\""));
    ck_assert_int_eq(NODE_CTL(node, &ctl, "dlq", "replay", stream, group, "--all"), OK);
    ck_assert_int_eq(NODE_CTL(node, &ctl, "dlq", "drop", stream, group, "--all"), OK);
    ck_assert_int_eq(NODE_CTL(node, &ctl, "group", "pause", stream, "nobody"), NOT_FOUND);
    /* none of it has given it a position */
    ck_assert_int_eq(
        NODE_CTL(node, &ctl, "consume", stream, "-g", group, "--from", "-2", "-n", "2"), OK);
    ck_assert_uint_eq(json_number(buf_text(&ctl.out), NULL, "offset"), 9);
    process_release(&ctl);
    node_destroy(&node);
}

TEST_WITHIN(a_changed_configuration_holds_for_the_members_that_are_there, 120)
{
    struct node *node = node_with_group();
    struct process ctl = {0};
    struct rg_client *client = NULL;
    struct rg_consumer *consumer = NULL;
    struct rg_record record;
    ck_assert_int_eq(NODE_CTL(node, &ctl, "group", "set", stream, group, "max_in_flight=3"), OK);
    ck_assert_int_eq(rg_connect(node_address(node), NULL, &client), RG_OK);
    ck_assert_int_eq(rg_consume(client, stream, group, NULL, &consumer), RG_OK);
    for (uint64_t offset = 1; offset <= 3; offset++) {
        ck_assert_int_eq(rg_consumer_next(consumer, LONG_MS, &record), RG_OK);
        ck_assert_uint_eq(record.offset, offset);
    }
    ck_assert_int_eq(rg_consumer_next(consumer, 100, &record), RG_ERR_AGAIN);
    ck_assert_int_eq(NODE_CTL(node, &ctl, "group", "set", stream, group, "max_in_flight=5"), OK);
    for (uint64_t offset = 4; offset <= 5; offset++) {
        ck_assert_int_eq(rg_consumer_next(consumer, LONG_MS, &record), RG_OK);
        ck_assert_uint_eq(record.offset, offset);
    }
    ck_assert_int_eq(rg_consumer_next(consumer, 100, &record), RG_ERR_AGAIN);
    /* also what was changed while logd was away, and nobody comes */
    rg_consumer_close(&consumer);
    rg_close(&client);
    node_kill(node, NODE_LOGD);
    ck_assert_int_eq(NODE_CTL(node, &ctl, "group", "ensure", stream, group, "--version", "9",
                              "--inactive-ttl", "1s"),
                     OK);
    node_start(node, NODE_LOGD);
    node_wait_ready(node, NODE_LOGD, 30);
    const struct timespec pause = {.tv_nsec = 50000000};
    for (unsigned tries = 0; tries < LONG_MS / 50; tries++) {
        if (NODE_CTL(node, &ctl, "group", "info", stream, group) == NOT_FOUND) {
            break;
        }
        (void) nanosleep(&pause, NULL);
    }
    ck_assert_int_eq(NODE_CTL(node, &ctl, "group", "info", stream, group), NOT_FOUND);
    process_release(&ctl);
    node_destroy(&node);
}

TEST_WITHIN(whatever_is_asked_of_a_stream_in_its_grace_the_answer_is_that_it_is_deleted, 60)
{
    static const char *const asks[][8] = {
        {"group", "ls", "orders"},
        {"group", "ensure", "orders", "workers"},
        {"group", "ensure", "orders", "others"},
        {"group", "set", "orders", "workers", "max_in_flight=3"},
        {"group", "lock", "orders", "workers"},
        {"group", "lock", "orders", "workers", "max_in_flight"},
        {"group", "delete", "orders", "workers", "--yes", "workers"},
        {"group", "info", "orders", "workers"},
        {"group", "pending", "orders", "workers"},
        {"group", "pause", "orders", "workers"},
        {"stream", "lock", "orders"},
        {"stream", "lock", "orders", "max_age_ms"},
        {"stream", "set", "orders", "max_age_ms=7d"},
        {"stream", "info", "orders"},
        {"consume", "orders", "-g", "workers", "--idle", "1s"},
        {"read", "orders"},
    };
    struct node *node = node_with_group();
    struct process ctl = {0};
    ck_assert_int_eq(NODE_CTL(node, &ctl, "stream", "delete", stream, "--yes", stream), OK);
    for (size_t i = 0; i < sizeof asks / sizeof asks[0]; i++) {
        ck_assert_msg(node_ctl(node, &ctl, NULL, asks[i]) == CONFLICT, "%s %s: %s", asks[i][0],
                      asks[i][1], buf_text(&ctl.err));
        ck_assert_msg(process_complained(&ctl, "STREAM_DELETED"), "%s %s: %s", asks[i][0],
                      asks[i][1], buf_text(&ctl.err));
    }
    ck_assert_int_eq(NODE_CTL(node, &ctl, "group", "ls", "nothing"), NOT_FOUND);
    ck_assert_int_eq(NODE_CTL(node, &ctl, "group", "ensure", "nothing", group), NOT_FOUND);
    ck_assert_int_eq(NODE_CTL(node, &ctl, "stream", "lock", "nothing"), NOT_FOUND);
    /* its name is free, also for a plan with groups */
    static const char plan[] =
        "streams = ( { name = \"orders\"; groups = ( { name = \"workers\"; } ); } );";
    ck_assert_int_eq(
        node_ctl(node, &ctl, plan,
                 (const char *const[]){"stream", "ensure", "-f", "/dev/stdin", "--dry-run", NULL}),
        OK);
    process_release(&ctl);
    node_destroy(&node);
}

TEST_WITHIN(a_program_says_what_a_start_that_is_gone_means_and_insists_on_a_mode, 60)
{
    struct node *node = node_with_group();
    struct process ctl = {0};
    struct rg_client *client = NULL;
    struct rg_consumer *consumer = NULL;
    struct rg_record record;
    ck_assert_int_eq(
        NODE_CTL(node, &ctl, "stream", "purge", stream, "--before", "4", "--yes", stream), OK);
    ck_assert_int_eq(rg_connect(node_address(node), NULL, &client), RG_OK);
    struct rg_consume_options options = {.start = {RG_START_OFFSET, 2}};
    ck_assert_int_eq(rg_consume(client, stream, "a", &options, &consumer), RG_ERR_OUT_OF_RANGE);
    options.on_gap = RG_GAP_FIRST;
    ck_assert_int_eq(rg_consume(client, stream, "a", &options, &consumer), RG_OK);
    ck_assert_int_eq(rg_consumer_next(consumer, LONG_MS, &record), RG_OK);
    ck_assert_uint_eq(record.offset, 4);
    rg_consumer_close(&consumer);

    options = (struct rg_consume_options){.mode = RG_MODE_EXCLUSIVE};
    ck_assert_int_eq(rg_consume(client, stream, "a", &options, &consumer), RG_OK);
    rg_consumer_close(&consumer);
    options.strict = true;
    ck_assert_int_eq(rg_consume(client, stream, "a", &options, &consumer), RG_ERR_DIFFERS);
    options.mode = RG_MODE_SHARED;
    ck_assert_int_eq(rg_consume(client, stream, "a", &options, &consumer), RG_OK);
    rg_consumer_close(&consumer);
    rg_close(&client);

    ck_assert_int_eq(NODE_CTL(node, &ctl, "consume", stream, "-g", "b", "--from", "1", "-n", "1"),
                     1);
    ck_assert(process_complained(&ctl, "OUT_OF_RANGE"));
    ck_assert_int_eq(NODE_CTL(node, &ctl, "consume", stream, "-g", "b", "--from", "1", "--on-gap",
                              "first", "-n", "1"),
                     OK);
    ck_assert_uint_eq(json_number(buf_text(&ctl.out), NULL, "offset"), 4);
    ck_assert_int_eq(NODE_CTL(node, &ctl, "consume", stream, "-g", "b", "--mode", "exclusive",
                              "--strict", "-n", "1"),
                     CONFLICT);
    process_release(&ctl);
    node_destroy(&node);
}
