/* Groups in memory and members that drain: what goes out, what never gets into the log, and when they end. */
#include "logd/groups.h"

#include <stdio.h>
#include <string.h>

#include "common/base/err.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/log.pb-c.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"
#include "tests/lib/test.h"
#include "tests/unit/logd_groups/fake.h"

enum { OK_CREATED = 3, OK_FLOOR = 5, OK_ACTIVE = 10, OK_GROUP = 11, REST_MS = 5000 };

static struct bus_link front = {.id = 1};

struct wish {
    uint64_t consumer;
    uint64_t group_id; /* 0: ephemeral */
    const char *name;
    bool is_exclusive;
    const char *dlq;
    uint32_t max_holes;
};

static uint64_t attach(struct wish wish)
{
    Railgun__LogAttach message = RAILGUN__LOG_ATTACH__INIT;
    Railgun__GroupSpec spec = RAILGUN__GROUP_SPEC__INIT;
    Railgun__DlqSpec dlq = RAILGUN__DLQ_SPEC__INIT;
    struct buf meta = {0};
    message.has_consumer = 1;
    message.consumer = wish.consumer;
    message.has_group_id = wish.group_id != 0;
    message.group_id = wish.group_id;
    message.group = (char *) (uintptr_t) wish.name;
    message.has_ephemeral = message.ephemeral = wish.group_id == 0;
    message.spec = &spec;
    spec.has_mode = wish.is_exclusive;
    spec.mode = RAILGUN__GROUP_SPEC__MODE__MODE_EXCLUSIVE;
    spec.has_max_holes = wish.max_holes != 0;
    spec.max_holes = wish.max_holes;
    if (wish.dlq != NULL) {
        dlq.stream = (char *) (uintptr_t) wish.dlq;
        spec.dlq = &dlq;
    }
    message.has_credit_messages = message.has_credit_bytes = 1;
    message.credit_messages = 10;
    message.credit_bytes = 10 * FAKE_RECORD;
    scan_pack(&meta, &message.base);
    struct bus_message in =
        fake_message(RAILGUN__BUS_TYPE__BUS_LOG_ATTACH, 1024, buf_span(&meta), true);
    groups_handle_attach(fake.stream.groups, &front, &in);
    buf_release(&meta);
    return in.ticket;
}

static struct member *member(uint64_t consumer)
{
    struct member *found = members_find(fake.members, &front, consumer);
    ck_assert_ptr_nonnull(found);
    return found;
}

static void ack(uint64_t consumer, uint64_t up_to)
{
    struct buf meta = {0};
    pb_append_varint(&meta, 2, up_to);
    struct bus_message in =
        fake_message(RAILGUN__BUS_TYPE__BUS_LOG_ACK_ONEWAY, consumer, buf_span(&meta), false);
    member_handle_ack(member(consumer), &in);
    buf_release(&meta);
}

static uint64_t detach(uint64_t consumer, bool drain, uint64_t drain_ms)
{
    struct buf meta = {0};
    pb_append_varint(&meta, 2, drain);
    pb_append_varint(&meta, 3, drain_ms);
    struct bus_message in =
        fake_message(RAILGUN__BUS_TYPE__BUS_LOG_DETACH, consumer, buf_span(&meta), true);
    member_handle_detach(member(consumer), &in);
    buf_release(&meta);
    return in.ticket;
}

/* Everything that went out up to the answer to this ticket; NULL: it was not answered. */
static const struct fake_sent *answer_of(uint64_t ticket)
{
    const struct fake_sent *sent;
    while ((sent = fake_next()) != NULL) {
        if (sent->link == NULL && sent->ticket == ticket) {
            return sent;
        }
    }
    return NULL;
}

static const struct fake_sent *event_of(uint16_t type)
{
    const struct fake_sent *sent;
    while ((sent = fake_next()) != NULL) {
        if (sent->link == &front && sent->type == type) {
            return sent;
        }
    }
    return NULL;
}

static void later(uint64_t ms)
{
    fake.now_ms += ms;
    fake_turn();
}

static const struct fake_sent *joined(const struct wish *wish)
{
    const struct fake_sent *sent = answer_of(attach(*wish));
    ck_assert_ptr_nonnull(sent);
    ck_assert_int_eq(sent->status, 0);
    return sent;
}

static void refused(const struct wish *wish, int error)
{
    const struct fake_sent *sent = answer_of(attach(*wish));
    ck_assert_ptr_nonnull(sent);
    ck_assert_int_eq(sent->status, error);
}

TEST(nothing_of_a_group_in_memory_gets_into_the_log)
{
    char name[64];
    fake_start();
    fake.stream.next = 11;
    const struct fake_sent *ok = joined(&(struct wish){.consumer = 1});
    struct span made = fake_bytes(buf_span(&ok->meta), OK_GROUP);
    ck_assert_uint_eq(fake_number(buf_span(&ok->meta), OK_CREATED), 1);
    ck_assert_uint_gt(made.size, 10);
    (void) snprintf(name, sizeof name, "%.*s", (int) made.size, (const char *) made.data);
    fake_turn();
    ck_assert_ptr_nonnull(event_of(RAILGUN__BUS_TYPE__BUS_LOG_DELIVER));
    ack(1, 7);
    fake_turn();
    later(20);
    const struct fake_sent *floor = event_of(RAILGUN__BUS_TYPE__BUS_LOG_FLOOR);
    ck_assert_ptr_nonnull(floor);
    ck_assert_uint_eq(fake_number(buf_span(&floor->meta), 1), 7);
    ck_assert_uint_eq(fake.log_count, 0);
    ck_assert_uint_eq(groups_count(fake.stream.groups), 0);
    ck_assert(!groups_is_dirty(fake.stream.groups));
    /* A second member by that name shares it. */
    ok = joined(&(struct wish){.consumer = 2, .name = name});
    ck_assert_uint_eq(fake_number(buf_span(&ok->meta), OK_CREATED), 0);
    ck_assert_uint_eq(fake_number(buf_span(&ok->meta), OK_FLOOR), 7);
    fake_stop();
}

TEST(a_group_in_memory_ends_five_seconds_after_its_last_member)
{
    fake_start();
    fake.stream.next = 11;
    (void) joined(&(struct wish){.consumer = 1, .name = "mine"});
    fake_turn();
    ack(1, 4);
    (void) detach(1, false, 0);
    later(REST_MS - 1);
    const struct fake_sent *ok = joined(&(struct wish){.consumer = 2, .name = "mine"});
    ck_assert_uint_eq(fake_number(buf_span(&ok->meta), OK_CREATED), 0);
    ck_assert_uint_eq(fake_number(buf_span(&ok->meta), OK_FLOOR), 4);
    later(10 * REST_MS); /* it has a member */
    (void) detach(2, false, 0);
    fake_turn();
    later(REST_MS);
    ok = joined(&(struct wish){.consumer = 3, .name = "mine"});
    ck_assert_uint_eq(fake_number(buf_span(&ok->meta), OK_CREATED), 1);
    ck_assert_uint_eq(fake_number(buf_span(&ok->meta), OK_FLOOR), 0);
    fake_stop();
}

TEST(groups_in_memory_are_limited_and_have_no_dead_letters)
{
    char name[16];
    fake_start();
    refused(&(struct wish){.consumer = 1, .name = "mine", .dlq = "dead"}, ERR_BAD_CONFIG);
    refused(&(struct wish){.consumer = 1, .name = "mine", .max_holes = 1000001}, ERR_BAD_CONFIG);
    for (unsigned i = 1; i <= 1000; i++) {
        (void) snprintf(name, sizeof name, "g%u", i);
        (void) joined(&(struct wish){.consumer = i, .name = name});
    }
    refused(&(struct wish){.consumer = 2000, .name = "one-more"}, ERR_QUOTA);
    (void) joined(&(struct wish){.consumer = 2000, .name = "g7"});
    fake_stop();
}

TEST(a_durable_group_ends_the_one_in_memory_of_its_name)
{
    fake_start();
    fake.stream.next = 11;
    (void) joined(&(struct wish){.consumer = 1, .name = "both"});
    fake_turn();
    ack(1, 3);
    uint64_t ticket = attach((struct wish){.consumer = 2, .group_id = FAKE_GROUP, .name = "both"});
    fake_settle();
    const struct fake_sent *cancel = event_of(RAILGUN__BUS_TYPE__BUS_LOG_CANCEL);
    ck_assert_ptr_nonnull(cancel);
    ck_assert_uint_eq(cancel->subject, 1);
    ck_assert_uint_eq(fake_number(buf_span(&cancel->meta), 1), -ERR_EPHEMERAL_LOST);
    ck_assert_uint_eq(fake_number(buf_span(&cancel->meta), 3), 3);
    (void) ticket;
    /* Once durable, always: who asks for it as ephemeral is a member of that. */
    const struct fake_sent *ok = joined(&(struct wish){.consumer = 3, .name = "both"});
    ck_assert_uint_eq(fake_bytes(buf_span(&ok->meta), OK_GROUP).size, 0);
    ck_assert_uint_eq(groups_count(fake.stream.groups), 1);
    fake_stop();
}

TEST(an_exclusive_group_in_memory_needs_no_entry_to_have_an_owner)
{
    fake_start();
    fake.stream.next = 11;
    (void) joined(&(struct wish){.consumer = 1, .name = "mine", .is_exclusive = true});
    (void) joined(&(struct wish){.consumer = 2, .name = "mine", .is_exclusive = true});
    fake_turn();
    fake_turn();
    const struct fake_sent *deliver = event_of(RAILGUN__BUS_TYPE__BUS_LOG_DELIVER);
    ck_assert_ptr_nonnull(deliver);
    ck_assert_uint_eq(deliver->subject, 1);
    ck_assert_uint_eq(fake_number(buf_span(&deliver->meta), 1), 1);
    (void) detach(1, false, 0);
    fake_turn();
    fake_turn();
    deliver = event_of(RAILGUN__BUS_TYPE__BUS_LOG_DELIVER);
    ck_assert_ptr_nonnull(deliver);
    ck_assert_uint_eq(deliver->subject, 2);
    ck_assert_uint_eq(fake_number(buf_span(&deliver->meta), 1), 2);
    ck_assert_uint_eq(fake.log_count, 0);
    ck_assert_uint_eq(fake_counter("railgun_group_check_errors_total"), 0);
    fake_stop();
}

TEST(a_drain_is_answered_when_nothing_is_held_or_its_time_is_over)
{
    fake_start();
    fake.stream.next = 6;
    (void) joined(&(struct wish){.consumer = 1, .name = "mine"});
    fake_turn();
    uint64_t ticket = detach(1, true, 1000);
    fake.stream.next = 8; /* it gets nothing of that */
    later(1);
    ck_assert_ptr_null(answer_of(ticket));
    ack(1, 5);
    fake_turn();
    ck_assert_ptr_nonnull(answer_of(ticket));
    ck_assert_ptr_null(members_find(fake.members, &front, 1));

    (void) joined(&(struct wish){.consumer = 2, .name = "mine"});
    fake_turn();
    ticket = detach(2, true, 1000);
    later(999);
    ck_assert_ptr_null(answer_of(ticket));
    later(1);
    ck_assert_ptr_nonnull(answer_of(ticket));

    (void) joined(&(struct wish){.consumer = 3, .name = "mine"}); /* the group's own time: 30 s */
    fake_turn();
    ticket = detach(3, true, 0);
    later(29999);
    ck_assert_ptr_null(answer_of(ticket));
    uint64_t at_once = detach(3, false, 0);
    ck_assert_ptr_nonnull(answer_of(ticket)); /* both are answered */
    ck_assert_ptr_nonnull(answer_of(at_once));
    fake_stop();
}
