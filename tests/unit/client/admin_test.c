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

static bool describe_group(struct fake *fake, const struct frame_view *view)
{
    Railgun__Describe *describe = NULL;
    Railgun__DescribeOk ok = RAILGUN__DESCRIBE_OK__INIT;
    Railgun__GroupInfo info = RAILGUN__GROUP_INFO__INIT;
    Railgun__GroupSpec spec = RAILGUN__GROUP_SPEC__INIT;
    Railgun__MemberInfo member = RAILGUN__MEMBER_INFO__INIT;
    Railgun__MemberInfo *members[] = {&member};
    char owner[] = "me";
    ck_assert_int_eq(SCAN_UNPACK(view->body, railgun__describe, &describe), 0);
    ck_assert_int_eq(describe->kind, RAILGUN__KIND__KIND_GROUP);
    ck_assert_str_eq(describe->name, "orders");
    ck_assert_str_eq(describe->group, "readers");
    SCAN_FREE(&describe);
    info.has_floor = info.has_lag = info.has_epoch = true;
    info.floor = 7;
    info.lag = 3;
    info.epoch = 2;
    info.owner = owner;
    spec.has_max_holes = true;
    spec.max_holes = 50;
    info.spec = &spec;
    member.has_member = member.has_active = member.active = true;
    member.member = 9;
    member.consumer = owner;
    info.members = members;
    info.n_members = 1;
    ok.group = fake->frames[BODY(DESCRIBE)] == 0 ? &info : NULL;
    fake_send_message(fake, 0, view->corr, BODY(DESCRIBE_OK), &ok.base);
    return true;
}

TEST(a_group_is_described)
{
    struct fake *fake = fake_new();
    fake_handle(fake, BODY(DESCRIBE), describe_group);
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_group_info info = {0};
    ck_assert_int_eq(rg_group_info(client, "orders", "readers", &info), 0);
    ck_assert_uint_eq(info.floor, 7);
    ck_assert_uint_eq(info.lag, 3);
    ck_assert_uint_eq(info.epoch, 2);
    ck_assert_str_eq(info.owner, "me");
    ck_assert_uint_eq(info.max_holes, 50);
    ck_assert(!info.paused);
    ck_assert_str_eq(info.pause_reason, "");
    ck_assert_uint_eq(info.member_count, 1);
    ck_assert_uint_eq(info.members[0].member, 9);
    ck_assert(info.members[0].active);
    ck_assert_str_eq(info.members[0].consumer, "me");
    ck_assert_str_eq(info.members[0].address, "");
    rg_group_info_free(&info);
    ck_assert_uint_eq(info.member_count, 0);
    rg_group_info_free(&info);
    rg_group_info_free(NULL);
    ck_assert_int_eq(rg_group_info(client, "orders", "readers", &info), RG_ERR_PROTOCOL);
    ck_assert_int_eq(rg_group_info(client, "orders", NULL, &info), RG_ERR_USAGE);
    ck_assert_int_eq(rg_group_info(client, "orders", "readers", NULL), RG_ERR_USAGE);
    ck_assert_int_eq(rg_group_delete(client, "orders", NULL), RG_ERR_USAGE);
    ck_assert_int_eq(rg_group_delete(client, NULL, "readers"), RG_ERR_USAGE);
    rg_close(&client);
    fake_destroy(&fake);
}

static bool pending_ranges(struct fake *fake, const struct frame_view *view)
{
    Railgun__Pending *pending = NULL;
    Railgun__PendingOk ok = RAILGUN__PENDING_OK__INIT;
    Railgun__PendingRange ranges[2] = {RAILGUN__PENDING_RANGE__INIT, RAILGUN__PENDING_RANGE__INIT};
    Railgun__PendingRange *all[] = {&ranges[0], &ranges[1]};
    ck_assert_int_eq(SCAN_UNPACK(view->body, railgun__pending, &pending), 0);
    bool is_first = pending->after == 0;
    ck_assert_int_eq(pending->has_limit, is_first);
    ck_assert_uint_eq(pending->limit, is_first ? 4000 : 0); /* never more */
    SCAN_FREE(&pending);
    ranges[0].has_first = ranges[0].has_last = ranges[0].has_state = true;
    ranges[0].first = 3;
    ranges[0].last = 5;
    ranges[0].state = RAILGUN__PENDING_RANGE__STATE__IN_FLIGHT;
    ranges[0].has_deadline_ms = true;
    ranges[1].has_first = ranges[1].has_state = ranges[1].has_due_us = true;
    ranges[1].first = 8;
    ranges[1].state = RAILGUN__PENDING_RANGE__STATE__DELAYED;
    ranges[1].due_us = 77;
    ok.ranges = all;
    ok.n_ranges = is_first ? 2 : 0;
    ok.has_more = ok.more = is_first;
    fake_send_message(fake, 0, view->corr, BODY(PENDING_OK), &ok.base);
    return true;
}

TEST(what_is_pending_in_a_group_is_told)
{
    struct fake *fake = fake_new();
    fake_handle(fake, BODY(PENDING), pending_ranges);
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_pending pending = {0};
    ck_assert_int_eq(rg_group_pending(client, "orders", "readers", 0, 5000, &pending), 0);
    ck_assert_uint_eq(pending.count, 2);
    ck_assert(pending.more);
    ck_assert_uint_eq(pending.items[0].first, 3);
    ck_assert_uint_eq(pending.items[0].last, 5);
    ck_assert_str_eq(pending.items[0].state, "IN_FLIGHT");
    ck_assert_uint_eq(pending.items[0].deadline_ms, 0); /* it is over now */
    ck_assert_str_eq(pending.items[0].consumer, "");
    ck_assert_str_eq(pending.items[1].state, "DELAYED");
    ck_assert_uint_eq(pending.items[1].due_us, 77);
    ck_assert_uint_eq(pending.items[1].deadline_ms, UINT64_MAX);
    rg_pending_free(&pending);
    ck_assert_int_eq(rg_group_pending(client, "orders", "readers", 8, 0, &pending), 0);
    ck_assert_uint_eq(pending.count, 0);
    ck_assert(!pending.more);
    rg_pending_free(&pending);
    rg_pending_free(NULL);
    ck_assert_int_eq(rg_group_pending(client, NULL, "readers", 0, 0, &pending), RG_ERR_USAGE);
    rg_close(&client);
    fake_destroy(&fake);
}

static bool list_groups(struct fake *fake, const struct frame_view *view)
{
    Railgun__List *list = NULL;
    Railgun__ListOk ok = RAILGUN__LIST_OK__INIT;
    Railgun__ListItem item = RAILGUN__LIST_ITEM__INIT;
    Railgun__ListItem *items[] = {&item};
    char name[] = "orders";
    char group[] = "readers";
    ck_assert_int_eq(SCAN_UNPACK(view->body, railgun__list, &list), 0);
    ck_assert_int_eq(list->kind, RAILGUN__KIND__KIND_GROUP);
    ck_assert(list->stream == NULL || list->stream[0] == '\0');
    ck_assert_str_eq(list->after, "a/b");
    SCAN_FREE(&list);
    item.name = name;
    item.group = group;
    item.has_version = true;
    item.version = 4;
    ok.items = items;
    ok.n_items = 1;
    fake_send_message(fake, 0, view->corr, BODY(LIST_OK), &ok.base);
    return true;
}

TEST(groups_are_listed)
{
    struct fake *fake = fake_new();
    fake_handle(fake, BODY(LIST), list_groups);
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_groups groups = {0};
    ck_assert_int_eq(rg_group_list(client, NULL, "a/b", 0, &groups), 0);
    ck_assert_uint_eq(groups.count, 1);
    ck_assert(!groups.more);
    ck_assert_str_eq(groups.items[0].stream, "orders");
    ck_assert_str_eq(groups.items[0].group, "readers");
    ck_assert_str_eq(groups.items[0].description, "");
    ck_assert_uint_eq(groups.items[0].version, 4);
    rg_groups_free(&groups);
    rg_groups_free(NULL);
    ck_assert_int_eq(rg_group_list(client, NULL, NULL, 0, NULL), RG_ERR_USAGE);
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
