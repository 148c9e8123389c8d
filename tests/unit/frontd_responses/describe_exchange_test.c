/* describe_exchange: the numbers of all frontds added up, with the tables of a routerd. */
#include "frontd/describe_exchange.h"

#include "common/base/err.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"
#include "tests/lib/test.h"
#include "tests/unit/frontd_responses/fake.h"

static void counts_set(void)
{
    struct exchange *exchange = fake_exchange();
    exchange->counts = (struct exchange_counts){
        .published = 10,
        .unmatched = 1,
        .refused = 2,
        .matched = 100,
        .delivered = 90,
        .dropped = 7,
        .requests = 4,
    };
    exchange->queued = 3;
}

static int describe(struct client *client, uint64_t corr, const char *name)
{
    struct frame_view view = {.corr = corr, .field = RAILGUN__FRAME__BODY_DESCRIBE};
    return describe_exchange(&client->session, &view, span_of(name));
}

static Railgun__DescribeOk *described(struct client *client, uint64_t corr)
{
    Railgun__DescribeOk *ok = NULL;
    const struct sent *sent = client_next(client);
    ck_assert_ptr_nonnull(sent);
    ck_assert_uint_eq(sent->field, RAILGUN__FRAME__BODY_DESCRIBE_OK);
    ck_assert_uint_eq(sent->corr, corr);
    ck_assert_int_eq(SCAN_UNPACK(buf_span(&sent->body), railgun__describe_ok, &ok), 0);
    ck_assert_ptr_nonnull(ok->exchange);
    return ok;
}

static void expect_sums(const Railgun__ExchangeInfo *info, uint64_t frontds)
{
    ck_assert_uint_eq(info->frontds, frontds);
    ck_assert_uint_eq(info->live_topics, 5 * frontds);
    ck_assert_uint_eq(info->published, 10 * frontds);
    ck_assert_uint_eq(info->unmatched, frontds);
    ck_assert_uint_eq(info->refused, 2 * frontds);
    ck_assert_uint_eq(info->matched, 100 * frontds);
    ck_assert_uint_eq(info->delivered, 90 * frontds);
    ck_assert_uint_eq(info->dropped, 7 * frontds);
    ck_assert_uint_eq(info->queued, 3 * frontds);
    ck_assert_uint_eq(info->requests, 4 * frontds);
    ck_assert_uint_eq(info->routerds, 2);
}

/* A routerd is asked for this exchange, and tells of 11 subscriptions with 12 matchers, and a group. */
static void tables_answer(const char *name)
{
    struct buf tables = {0};
    struct buf group = {0};
    struct span question = fake_routerd_question();
    struct pb_field field;
    ck_assert_int_eq(pb_next(&question, &field), 1);
    ck_assert(span_is(field.bytes, SESSION_NAMESPACE));
    ck_assert_int_eq(pb_next(&question, &field), 1);
    ck_assert(span_is(field.bytes, name));
    pb_append_bytes(&group, 1, span_of("workers"));
    pb_append_varint(&group, 2, 6);
    pb_append_bytes(&tables, 1, span_of(name));
    pb_append_varint(&tables, 4, 11);
    pb_append_varint(&tables, 5, 12);
    pb_append_bytes(&tables, 6, buf_span(&group));
    struct span answer = buf_span(&tables);
    fake_routerd_answer(&answer);
    buf_release(&tables);
    buf_release(&group);
}

static void expect_tables(const Railgun__ExchangeInfo *info)
{
    ck_assert_uint_eq(info->subscriptions, 11);
    ck_assert_uint_eq(info->matchers, 12);
    ck_assert_uint_eq(info->n_groups, 1);
    ck_assert_str_eq(info->groups[0]->name, "workers");
}

TEST(an_exchange_is_the_sum_of_its_frontds_and_a_table)
{
    fake_start();
    struct client *client = client_open(1);
    counts_set();
    ck_assert_int_eq(describe(client, 9, "orders"), 0);
    tables_answer("orders");
    ck_assert_ptr_null(client_next(client)); /* the frontds have not answered */
    fake_settle();
    Railgun__DescribeOk *ok = described(client, 9);
    expect_sums(ok->exchange, 3);
    ck_assert_str_eq(ok->exchange->name, "orders");
    ck_assert_uint_eq(ok->exchange->version, 3);
    ck_assert_uint_eq(ok->exchange->created_us, 1234);
    ck_assert_uint_eq(ok->exchange->spec->max_topics, 7);
    expect_tables(ok->exchange);
    ck_assert_uint_eq(client->session.request_count, 0);
    SCAN_FREE(&ok);
    fake_stop();
}

TEST(who_does_not_answer_is_left_out)
{
    fake_start();
    struct client *client = client_open(1);
    counts_set();
    ck_assert_int_eq(describe(client, 9, ""), 0);
    fake_kill(2, false); /* asked, and gone */
    fake_routerd_answer(NULL);
    fake_settle();
    Railgun__DescribeOk *ok = described(client, 9);
    expect_sums(ok->exchange, 2);
    ck_assert_uint_eq(ok->exchange->version, 0); /* its own: not in the catalogue */
    ck_assert_uint_eq(ok->exchange->subscriptions, 0);
    SCAN_FREE(&ok);
    fake_stop();
}

TEST(an_exchange_that_is_not_there_is_not_described)
{
    fake_start();
    struct client *client = client_open(0);
    fake.exchange_error = ERR_NOT_FOUND;
    ck_assert_int_eq(describe(client, 9, "nothing"), 0);
    const struct sent *sent = client_next(client);
    ck_assert_ptr_nonnull(sent);
    ck_assert_uint_eq(sent->field, RAILGUN__FRAME__BODY_ERROR);
    fake.exchange_error = ERR_AGAIN; /* no catalogue: none for a while */
    ck_assert_int_eq(describe(client, 10, "nothing"), 0);
    ck_assert_ptr_nonnull(client_next(client));
    fake_stop();
}

TEST(who_asked_and_left_is_not_answered)
{
    fake_start();
    struct client *client = client_open(0);
    ck_assert_int_eq(describe(client, 9, "orders"), 0);
    client_close(client);
    fake_routerd_answer(NULL);
    fake_settle();
    ck_assert_ptr_null(client_next(client));
    fake_stop();
}
