/* Slips of the pen at the command line and in programs: they are told, and do nothing. */
#include "tests/lib/test.h"
#include "tests/system/node.h"

#include <string.h>

#include "client/railgun.h"

enum { LONG = 60, OK = 0, FAILED = 1, USAGE = 2, NOT_FOUND = 3 };

static const char not_utf8[] = "\xff\xfe";

static uint64_t records(const struct node *node, struct process *said, const char *stream)
{
    ck_assert_int_eq(NODE_CTL(node, said, "stream", "info", stream), OK);
    return json_number(buf_text(&said->out), NULL, "records");
}

TEST_WITHIN(an_offset_of_zero_neither_purges_all_nor_publishes_anywhere, LONG)
{
    struct node *node = node_new();
    struct process said = {0};
    node_start_all(node);
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "ensure", "orders"), OK);
    ck_assert_int_eq(node_ctl(node, &said, "a\nb\n", (const char *const[]){"pub", "orders", NULL}),
                     OK);
    ck_assert_int_eq(
        NODE_CTL(node, &said, "stream", "purge", "orders", "--before", "0", "--yes", "orders"),
        USAGE);
    ck_assert_uint_eq(records(node, &said, "orders"), 2);
    ck_assert_int_eq(node_ctl(node, &said, "c\n",
                              (const char *const[]){"pub", "orders", "--expect-offset", "0", NULL}),
                     USAGE);
    ck_assert_uint_eq(records(node, &said, "orders"), 2);
    ck_assert_int_eq(NODE_CTL(node, &said, "group", "release", "orders", "g", "--member", "0"),
                     USAGE);
    ck_assert_int_eq(NODE_CTL(node, &said, "group", "release", "orders", "g", "--range", "-5"),
                     USAGE);
    static const char *const huge[] = {"18446744073709551615", "18446744073709551614"};
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(NODE_CTL(node, &said, "stream", "ensure", "orders", "-V", huge[i]), USAGE);
        ck_assert_int_ne(NODE_CTL(node, &said, "stream", "purge", "orders", "--before", huge[i],
                                  "--yes", "orders"),
                         OK);
    }
    ck_assert_uint_eq(records(node, &said, "orders"), 2);
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "set", "orders", "description=x"), OK);
    ck_assert_int_eq(NODE_CTL(node, &said, "group", "pending", "orders", "nobody"), NOT_FOUND);
    ck_assert_int_eq(NODE_CTL(node, &said, "events", "--event", "NO_SUCH", "--for", "1ms"), USAGE);
    ck_assert_int_eq(NODE_CTL(node, &said, "read", "orders", "--from", "7"), FAILED);
    ck_assert(process_complained(&said, "offsets 1 to 2"));
    process_release(&said);
    node_stop_all(node);
    node_destroy(&node);
}

TEST_WITHIN(a_dry_run_of_what_is_not_there_says_that_it_would_be_made, LONG)
{
    struct node *node = node_new();
    struct process said = {0};
    node_start_all(node);
    ck_assert_int_eq(
        NODE_CTL(node, &said, "stream", "ensure", "orders", "--max-age", "1d", "--dry-run"), OK);
    ck_assert(json_has_text(buf_text(&said.out), "action", "create"));
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "info", "orders"), NOT_FOUND);
    /* A file alone says how things must be: an option would be taken for granted and not be. */
    ck_assert_int_eq(
        NODE_CTL(node, &said, "stream", "ensure", "--file", "/dev/null", "--max-age", "1d"), USAGE);
    process_release(&said);
    node_stop_all(node);
    node_destroy(&node);
}

TEST_WITHIN(lines_whose_ids_are_known_are_counted_as_duplicates, LONG)
{
    struct node *node = node_new();
    struct process said = {0};
    node_start_all(node);
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "ensure", "orders", "--dedup", "optional"),
                     OK);
    ck_assert_int_eq(node_ctl(node, &said, "a\nb\na\n",
                              (const char *const[]){"pub", "orders", "--id", "{hash}", NULL}),
                     OK);
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "duplicates"), 1);
    ck_assert_uint_eq(records(node, &said, "orders"), 2);
    process_release(&said);
    node_stop_all(node);
    node_destroy(&node);
}

TEST_WITHIN(a_text_that_is_not_utf8_is_refused_and_the_connection_stays, LONG)
{
    struct node *node = node_new();
    struct process said = {0};
    struct rg_client *client = NULL;
    struct rg_reader *reader = NULL;
    struct rg_consumer *consumer = NULL;
    node_start_all(node);
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "ensure", not_utf8), USAGE);
    ck_assert(process_complained(&said, "UTF-8"));

    const struct rg_options options = {.request_timeout_ms = 20000};
    const struct rg_stream_spec spec = {.description = not_utf8};
    const struct rg_consume_options consume = {.consumer = not_utf8};
    const struct rg_nack nack = {.reason = not_utf8};
    struct rg_record record;
    ck_assert_int_eq(rg_connect(node_address(node), &options, &client), RG_OK);
    ck_assert_int_eq(rg_stream_ensure(client, "orders", &spec, NULL), RG_ERR_BAD_REQUEST);
    ck_assert_int_eq(rg_reader_open(client, not_utf8, (struct rg_start){0}, &reader),
                     RG_ERR_BAD_REQUEST);
    ck_assert_int_eq(rg_stream_ensure(client, "orders", NULL, NULL), RG_OK);
    ck_assert_int_eq(rg_publish(client, "orders", "a", 1, NULL), RG_OK);
    ck_assert_int_eq(rg_consume(client, "orders", not_utf8, NULL, &consumer), RG_ERR_BAD_REQUEST);
    ck_assert_int_eq(rg_consume(client, "orders", "g", &consume, &consumer), RG_ERR_BAD_REQUEST);
    ck_assert_int_eq(rg_consume(client, "orders", "g", NULL, &consumer), RG_OK);
    ck_assert_int_eq(rg_consumer_next(consumer, 20000, &record), RG_OK);
    ck_assert_int_eq(rg_nack_with(consumer, 1, 1, &nack), RG_ERR_BAD_REQUEST);
    ck_assert_int_eq(rg_nack_sync(consumer, 1, 1, &nack), RG_ERR_BAD_REQUEST);
    ck_assert_int_eq(rg_ack_sync(consumer, 1, 1), RG_OK); /* it was delivered on this connection */
    rg_consumer_close(&consumer);
    rg_close(&client);
    process_release(&said);
    node_stop_all(node);
    node_destroy(&node);
}
