/* Administration: what is asked, and what becomes of the answer. */
#include <string.h>

#include "client/railgun.h"
#include "common/base/err.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"
#include "tests/lib/test.h"
#include "tests/unit/client/fake.h"

static bool ensure_stream(struct fake *fake, const struct frame_view *view)
{
    Railgun__Ensure *ensure = NULL;
    Railgun__EnsureOk ok = RAILGUN__ENSURE_OK__INIT;
    ck_assert_int_eq(SCAN_UNPACK(view->body, railgun__ensure, &ensure), 0);
    ck_assert_str_eq(ensure->name, "orders");
    ok.has_result = true;
    if (ensure->kind == RAILGUN__KIND__KIND_STREAM) {
        ck_assert(!ensure->has_version || ensure->version == 3);
        ok.result = ensure->has_version ? RAILGUN__ENSURE_OK__RESULT__UPDATED
                                        : RAILGUN__ENSURE_OK__RESULT__CREATED;
    } else {
        ck_assert_str_eq(ensure->group, "readers");
        ck_assert_uint_eq(ensure->group_spec->max_in_flight, 5);
        ck_assert_int_eq(ensure->group_spec->start->at, RAILGUN__START__AT__AT_LATEST);
        ok.result = RAILGUN__ENSURE_OK__RESULT__UNCHANGED;
    }
    fake_send_message(fake, 0, view->corr, BODY(ENSURE_OK), &ok.base);
    SCAN_FREE(&ensure);
    return true;
}

TEST(streams_and_groups_are_ensured)
{
    struct fake *fake = fake_new();
    fake_handle(fake, BODY(ENSURE), ensure_stream);
    struct rg_client *client = fake_client(fake, NULL);
    enum rg_ensure_result result = RG_DIFFERS;
    ck_assert_int_eq(rg_stream_ensure(client, "orders", NULL, &result), 0);
    ck_assert_int_eq(result, RG_CREATED);
    struct rg_stream_spec spec = {.version = 3, .description = "what"};
    ck_assert_int_eq(rg_stream_ensure(client, "orders", &spec, &result), 0);
    ck_assert_int_eq(result, RG_UPDATED);
    struct rg_group_spec group = {.max_in_flight = 5, .start = {RG_START_LATEST, 0}};
    ck_assert_int_eq(rg_group_ensure(client, "orders", "readers", &group, &result), 0);
    ck_assert_int_eq(result, RG_UNCHANGED);
    ck_assert_int_eq(rg_stream_ensure(client, NULL, NULL, NULL), RG_ERR_USAGE);
    ck_assert_int_eq(rg_group_ensure(client, "orders", NULL, NULL, NULL), RG_ERR_USAGE);
    rg_close(&client);
    fake_destroy(&fake);
}

static bool differs(struct fake *fake, const struct frame_view *view)
{
    Railgun__Error error = RAILGUN__ERROR__INIT;
    Railgun__Diff diff = RAILGUN__DIFF__INIT;
    Railgun__Diff *diffs[1] = {&diff};
    char path[] = "max_age_ms";
    char current[] = "1";
    char wanted[] = "2";
    diff.path = path;
    diff.current = current;
    diff.wanted = wanted;
    error.has_code = true;
    error.code = 444;
    error.n_diff = 1;
    error.diff = diffs;
    fake_send_message(fake, 0, view->corr, BODY(ERROR), &error.base);
    return true;
}

TEST(differences_are_named)
{
    struct fake *fake = fake_new();
    fake_handle(fake, BODY(ENSURE), differs);
    struct rg_client *client = fake_client(fake, NULL);
    ck_assert_int_eq(rg_stream_ensure(client, "orders", NULL, NULL), RG_ERR_DIFFERS);
    ck_assert_str_eq(rg_last_error(client), "max_age_ms: is 1, wanted 2");
    rg_close(&client);
    fake_destroy(&fake);
}

static bool describe(struct fake *fake, const struct frame_view *view)
{
    Railgun__DescribeOk ok = RAILGUN__DESCRIBE_OK__INIT;
    Railgun__StreamInfo info = RAILGUN__STREAM_INFO__INIT;
    info.has_first_offset = info.has_next_offset = info.has_bytes = info.has_version = true;
    info.has_groups = true;
    info.first_offset = 3;
    info.next_offset = 9;
    info.bytes = 100;
    info.version = 2;
    info.groups = 4;
    ok.stream = fake->frames[BODY(DESCRIBE)] == 0 ? &info : NULL;
    fake_send_message(fake, 0, view->corr, BODY(DESCRIBE_OK), &ok.base);
    return true;
}

TEST(streams_are_described_and_deleted)
{
    struct fake *fake = fake_new();
    fake_handle(fake, BODY(DESCRIBE), describe);
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_stream_info info = {0};
    ck_assert_int_eq(rg_stream_describe(client, "orders", &info), 0);
    ck_assert_uint_eq(info.first_offset, 3);
    ck_assert_uint_eq(info.next_offset, 9);
    ck_assert_uint_eq(info.bytes, 100);
    ck_assert_uint_eq(info.version, 2);
    ck_assert_uint_eq(info.groups, 4);
    ck_assert_int_eq(rg_stream_describe(client, "orders", &info), RG_ERR_PROTOCOL);
    ck_assert_int_eq(rg_stream_delete(client, "orders"), RG_ERR_NOT_FOUND);
    ck_assert_str_eq(rg_last_error(client), "not here");
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(any_request_can_be_asked)
{
    struct fake *fake = fake_new();
    struct rg_client *client = fake_client(fake, NULL);
    uint32_t field = 0;
    void *body = NULL;
    size_t size = 0;
    ck_assert_int_eq(rg_raw_request(client, BODY(PING), "\x0a\x02hi", 4, &field, &body, &size), 0);
    ck_assert_uint_eq(field, BODY(PONG));
    ck_assert_uint_eq(size, 4);
    ck_assert_mem_eq(body, "\x0a\x02hi", 4);
    rg_free(body);
    body = NULL;
    ck_assert_int_eq(rg_raw_request(client, BODY(LIST), NULL, 0, &field, &body, &size),
                     RG_ERR_NOT_FOUND);
    ck_assert_uint_eq(field, BODY(ERROR));
    ck_assert_uint_gt(size, 0);
    rg_free(body);
    ck_assert_int_eq(rg_raw_request(client, BODY(PUBLISH), NULL, 0, NULL, NULL, NULL),
                     RG_ERR_USAGE);
    rg_close(&client);
    fake_destroy(&fake);
}

static bool other_kind(struct fake *fake, const struct frame_view *view)
{
    fake_send(fake, 0, view->corr, BODY(LIST_OK), (struct span){0});
    return true;
}

TEST(an_answer_of_another_kind_is_said)
{
    struct fake *fake = fake_new();
    fake_handle(fake, BODY(ENSURE), other_kind);
    struct rg_client *client = fake_client(fake, NULL);
    ck_assert_int_eq(rg_stream_ensure(client, "orders", NULL, NULL), RG_ERR_PROTOCOL);
    rg_close(&client);
    fake_destroy(&fake);
}
