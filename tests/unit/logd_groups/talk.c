/* talk: see the header. */
#include "tests/unit/logd_groups/talk.h"

#include "common/base/err.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/log.pb-c.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"
#include "tests/lib/test.h"

struct bus_link talk_front = {.id = 1};
struct bus_link talk_other = {.id = 2};

/* --- what a frontd says --- */

void talk_attach(struct bus_link *link, uint64_t consumer, struct talk_want want)
{
    Railgun__LogAttach message = RAILGUN__LOG_ATTACH__INIT;
    Railgun__GroupSpec spec = RAILGUN__GROUP_SPEC__INIT;
    Railgun__Start start = RAILGUN__START__INIT;
    struct buf meta = {0};
    message.has_consumer = message.has_group_id = 1;
    message.consumer = consumer;
    message.group_id = want.group != 0 ? want.group : FAKE_GROUP;
    message.group = (char *) (uintptr_t) "workers";
    message.spec = &spec;
    spec.has_max_in_flight = want.in_flight != 0;
    spec.max_in_flight = want.in_flight;
    if (want.at != RAILGUN__START__AT__AT_DEFAULT) {
        message.start = &start;
        start.has_at = start.has_offset = 1;
        start.at = want.at;
        start.offset = want.offset;
    }
    message.has_credit_messages = message.has_credit_bytes = 1;
    message.credit_messages = want.messages;
    message.credit_bytes = want.messages * FAKE_RECORD;
    message.has_revision = 1;
    message.revision = want.revision;
    message.name = (char *) (uintptr_t) "worker";
    scan_pack(&meta, &message.base);
    struct bus_message in =
        fake_message(RAILGUN__BUS_TYPE__BUS_LOG_ATTACH, 1024, buf_span(&meta), true);
    groups_handle_attach(fake.stream.groups, link, &in);
    buf_release(&meta);
}

void talk_attach_with(struct bus_link *link, uint64_t consumer, uint64_t messages,
                      Railgun__GroupSpec *spec, uint64_t revision)
{
    Railgun__LogAttach message = RAILGUN__LOG_ATTACH__INIT;
    struct buf meta = {0};
    message.has_consumer = message.has_group_id = message.has_revision = 1;
    message.consumer = consumer;
    message.group_id = FAKE_GROUP;
    message.group = (char *) (uintptr_t) "workers";
    message.spec = spec;
    message.has_credit_messages = message.has_credit_bytes = 1;
    message.credit_messages = messages;
    message.credit_bytes = messages * FAKE_RECORD;
    message.revision = revision;
    message.name = (char *) (uintptr_t) "worker";
    scan_pack(&meta, &message.base);
    struct bus_message in =
        fake_message(RAILGUN__BUS_TYPE__BUS_LOG_ATTACH, 1024, buf_span(&meta), true);
    groups_handle_attach(fake.stream.groups, link, &in);
    buf_release(&meta);
    fake_settle();
}

struct member *talk_member(struct bus_link *link, uint64_t consumer)
{
    struct member *found = members_find(fake.members, link, consumer);
    ck_assert_ptr_nonnull(found);
    return found;
}

void talk_ack(struct bus_link *link, uint64_t consumer, uint64_t first, uint64_t last, bool sync)
{
    Railgun__Ack message = RAILGUN__ACK__INIT;
    Railgun__OffsetRange range = RAILGUN__OFFSET_RANGE__INIT;
    Railgun__OffsetRange *ranges[] = {&range};
    struct buf meta = {0};
    range.has_first = range.has_last = 1;
    range.first = first;
    range.last = last;
    message.n_ranges = 1;
    message.ranges = ranges;
    message.has_sync = sync;
    message.sync = sync;
    scan_pack(&meta, &message.base);
    struct bus_message in =
        fake_message(RAILGUN__BUS_TYPE__BUS_LOG_ACK, consumer, buf_span(&meta), true);
    member_handle_ack(talk_member(link, consumer), &in);
    buf_release(&meta);
}

static void nack_send(struct bus_link *link, uint64_t consumer, uint64_t offset, uint64_t delay_ms,
                      bool reject, bool is_request)
{
    Railgun__Ack message = RAILGUN__ACK__INIT;
    Railgun__Nack bad = RAILGUN__NACK__INIT;
    Railgun__Nack *nacks[] = {&bad};
    Railgun__OffsetRange range = RAILGUN__OFFSET_RANGE__INIT;
    struct buf meta = {0};
    range.has_first = range.has_last = 1;
    range.first = range.last = offset;
    bad.range = &range;
    bad.has_delay_ms = delay_ms != TALK_BACKOFF;
    bad.delay_ms = delay_ms;
    bad.has_reject = reject;
    bad.reject = reject;
    message.n_nacks = 1;
    message.nacks = nacks;
    scan_pack(&meta, &message.base);
    struct bus_message in =
        fake_message(RAILGUN__BUS_TYPE__BUS_LOG_ACK, consumer, buf_span(&meta), is_request);
    member_handle_ack(talk_member(link, consumer), &in);
    buf_release(&meta);
}

void talk_nack(struct bus_link *link, uint64_t consumer, uint64_t offset, uint64_t delay_ms,
               bool reject)
{
    nack_send(link, consumer, offset, delay_ms, reject, true);
}

void talk_reject_unanswered(struct bus_link *link, uint64_t consumer, uint64_t offset)
{
    nack_send(link, consumer, offset, TALK_BACKOFF, true, false);
}

void talk_credit(struct bus_link *link, uint64_t consumer, uint64_t messages, uint64_t bytes)
{
    struct buf meta = {0};
    pb_append_varint(&meta, 1, messages);
    pb_append_varint(&meta, 2, bytes);
    struct bus_message in =
        fake_message(RAILGUN__BUS_TYPE__BUS_LOG_CREDIT, consumer, buf_span(&meta), false);
    member_handle_credit(talk_member(link, consumer), &in);
    buf_release(&meta);
}

void talk_detach(struct bus_link *link, uint64_t consumer, bool count_failed)
{
    struct buf meta = {0};
    pb_append_varint(&meta, 1, count_failed);
    struct bus_message in =
        fake_message(RAILGUN__BUS_TYPE__BUS_LOG_DETACH, consumer, buf_span(&meta), true);
    member_handle_detach(talk_member(link, consumer), &in);
    buf_release(&meta);
}

void talk_publish(uint64_t count)
{
    fake.stream.next += count;
    fake.is_dirty = true;
}

/* --- what is expected --- */

struct span talk_expect_reply(int status)
{
    const struct fake_sent *sent = fake_next();
    ck_assert_ptr_nonnull(sent);
    ck_assert_ptr_null(sent->link);
    ck_assert_msg(sent->status == status, "%s", err_name(sent->status));
    return buf_span(&sent->meta);
}

struct span talk_expect_deliver(const struct bus_link *link, uint64_t consumer, uint64_t first,
                                uint64_t count)
{
    const struct fake_sent *sent = fake_next();
    ck_assert_ptr_nonnull(sent);
    ck_assert_ptr_eq(sent->link, link);
    ck_assert_uint_eq(sent->type, RAILGUN__BUS_TYPE__BUS_LOG_DELIVER);
    ck_assert_uint_eq(sent->subject, consumer);
    ck_assert_uint_eq(fake_number(buf_span(&sent->meta), 2), first);
    ck_assert_uint_eq(fake_number(buf_span(&sent->meta), 3), count);
    return buf_span(&sent->meta);
}

const struct fake_sent *talk_expect_event(uint16_t type, uint64_t consumer)
{
    const struct fake_sent *sent = fake_next();
    ck_assert_ptr_nonnull(sent);
    ck_assert_uint_eq(sent->type, type);
    ck_assert_uint_eq(sent->subject, consumer);
    return sent;
}

void talk_expect_silence(void)
{
    ck_assert_ptr_null(fake_next());
}

void talk_begin(uint64_t messages)
{
    fake_start();
    talk_publish(100);
    talk_attach(&talk_front, 5, (struct talk_want){.messages = messages});
    fake_settle();
    (void) talk_expect_reply(0);
}

uint64_t talk_info(uint32_t field)
{
    struct buf meta = {0};
    pb_append_varint(&meta, 1, FAKE_GROUP);
    struct bus_message in =
        fake_message(RAILGUN__BUS_TYPE__BUS_LOG_GROUP_INFO, 1024, buf_span(&meta), true);
    groups_handle_info(fake.stream.groups, &in);
    buf_release(&meta);
    return fake_number(talk_expect_reply(0), field);
}
