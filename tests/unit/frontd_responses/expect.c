/* expect: see expect.h. */
#include "tests/unit/frontd_responses/expect.h"

#include <check.h>

#include "common/base/err.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"

/* The next frame is a Result of this request. */
struct es_result result_next(struct client *client, uint64_t corr)
{
    struct es_result result;
    const struct sent *sent = client_next(client);
    ck_assert_ptr_nonnull(sent);
    ck_assert_uint_eq(sent->field, RAILGUN__FRAME__BODY_RESULT);
    ck_assert_uint_eq(sent->corr, corr);
    ck_assert_int_eq(es_result_read(buf_span(&sent->body), &result), 0);
    return result;
}

/* ... the final one, with this code and number of replies. */
void expect_end(struct client *client, uint64_t corr, int error, uint32_t replies)
{
    struct es_result result = result_next(client, corr);
    ck_assert_int_eq(-(int) result.code, error);
    ck_assert(!result.more);
    ck_assert_uint_eq(result.replies, replies);
    ck_assert(result.has_message == (error == 0));
}

void expect_reply(struct client *client, uint64_t corr, const char *payload, bool is_more,
                  uint32_t replies)
{
    struct es_limits limits = es_limits_default();
    struct es_message message;
    struct es_result result = result_next(client, corr);
    ck_assert_uint_eq(result.code, 0);
    ck_assert(result.more == is_more);
    ck_assert_uint_eq(result.replies, replies);
    ck_assert(result.has_message);
    ck_assert_int_eq(es_message_read(result.message, &limits, &message), 0);
    ck_assert(span_is(message.payload, payload));
}

void expect_nothing(struct client *client)
{
    ck_assert_ptr_null(client_next(client));
}

void expect_reply_ok(struct client *client, uint64_t corr)
{
    const struct sent *sent = client_next(client);
    ck_assert_ptr_nonnull(sent);
    ck_assert_uint_eq(sent->field, RAILGUN__FRAME__BODY_REPLY_OK);
    ck_assert_uint_eq(sent->corr, corr);
}

void expect_error(struct client *client, uint64_t corr, int error)
{
    const struct sent *sent = client_next(client);
    struct pb_field field;
    ck_assert_ptr_nonnull(sent);
    ck_assert_uint_eq(sent->field, RAILGUN__FRAME__BODY_ERROR);
    ck_assert_uint_eq(sent->corr, corr);
    struct span rest = buf_span(&sent->body);
    ck_assert_int_eq(pb_next(&rest, &field), 1);
    ck_assert_int_eq(-(int) field.value, error);
}

struct responses_counts counts_of(unsigned node)
{
    struct responses_counts counts;
    responses_count(fake_frontd(node)->responses, &counts);
    return counts;
}
