/* handle_group: looking at a group: its numbers, its members, its pending messages. Changes nothing. */
#include "logd/groups.h"

#include "common/base/err.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/log.pb-c.h"
#include "common/wire/pb.h"
#include "logd/groups_own.h"
#include "logd/logd.h"
#include "logd/stream.h"

/* Numbers of log.proto and client.proto. */
enum {
    REF_GROUP_ID = 1,
    REF_AFTER = 2,
    REF_LIMIT = 3,
    REF_GROUP = 4,
    INFO_NAME = 2,
    INFO_SPEC = 4,
    INFO_FLOOR = 5,
    INFO_ACKED_ABOVE = 6,
    INFO_HOLES = 7,
    INFO_IN_FLIGHT = 8,
    INFO_REDELIVERY = 9,
    INFO_NEXT = 10,
    INFO_LAG = 11,
    INFO_REDELIVERED_TOTAL = 12,
    INFO_MEMBERS = 13,
    INFO_CHECK_ERRORS = 14,
    INFO_SKIPPED = 15,
    INFO_EPOCH = 18,
    INFO_OWNER = 19,
    INFO_EPHEMERAL = 22,
    INFO_DELAYED = 16,
    INFO_NEXT_DUE = 17,
    INFO_PAUSED = 20,
    INFO_PAUSE_REASON = 21,
    INFO_DEAD = 23,
    INFO_DYING = 24,
    INFO_GAP_RECORDS = 25,
    INFO_REATTACHED = 26,
    MEMBER_NUMBER = 1,
    MEMBER_CONSUMER = 2,
    MEMBER_IN_FLIGHT = 3,
    MEMBER_CREDIT_MESSAGES = 4,
    MEMBER_CREDIT_BYTES = 5,
    MEMBER_DELIVERED = 6,
    MEMBER_ACKED = 7,
    MEMBER_ADDRESS = 8,
    MEMBER_ACTIVE = 9,
    MEMBER_PRIORITY = 10,
    MEMBER_DRAINING = 11,
    PENDING_RANGES = 1,
    PENDING_MORE = 2,
    RANGE_FIRST = 1,
    RANGE_LAST = 2,
    RANGE_STATE = 3,
    RANGE_MEMBER = 4,
    RANGE_CONSUMER = 5,
    RANGE_ATTEMPT = 6,
    RANGE_FAILED = 7,
    RANGE_AGE = 8,
    RANGE_DUE = 9,
    RANGE_DEADLINE = 10,
};

enum { INFO_MEMBERS_MAX = 1000, PENDING_DEFAULT = 1000, PENDING_MAX = 4000 };

struct group_ref {
    uint64_t group_id;
    uint64_t after;
    uint64_t limit;
    struct span group; /* of an ephemeral one */
};

static int group_ref_read(struct span meta, struct group_ref *ret_ref)
{
    struct group_ref ref = {0};
    struct pb_field field;
    int more;
    while ((more = pb_next(&meta, &field)) > 0) {
        if (field.number == REF_GROUP && field.type == PB_BYTES) {
            ref.group = field.bytes;
        }
        if (field.type != PB_VARINT) {
            continue;
        }
        if (field.number == REF_GROUP_ID) {
            ref.group_id = field.value;
        } else if (field.number == REF_AFTER) {
            ref.after = field.value;
        } else if (field.number == REF_LIMIT) {
            ref.limit = field.value;
        }
    }
    if (more < 0 || (ref.group_id == 0 && ref.group.size == 0)) {
        return ERR_BAD_REQUEST;
    }
    *ret_ref = ref;
    return 0;
}

static struct hosted *group_ref_find(const struct groups *self, const struct group_ref *ref)
{
    return ref->group_id != 0 ? groups_find(self, ref->group_id)
                              : ephemerals_find(self, ref->group);
}

static void info_append_members(struct groups *self, const struct group *group)
{
    unsigned count = 0;
    for (const struct group_member *share = group_member_next(group, NULL);
         share != NULL && count < INFO_MEMBERS_MAX; share = group_member_next(group, share)) {
        const struct member *member = member_of(share);
        struct buf *part = &self->part;
        buf_reset(part);
        pb_append_varint(part, MEMBER_NUMBER, share->number);
        pb_append_bytes(part, MEMBER_CONSUMER, span_of(member->name));
        pb_append_varint(part, MEMBER_IN_FLIGHT, ranges_total(share->held));
        pb_append_varint(part, MEMBER_CREDIT_MESSAGES, share->credit_messages);
        pb_append_varint(part, MEMBER_CREDIT_BYTES,
                         share->credit_bytes > 0 ? (uint64_t) share->credit_bytes : 0);
        pb_append_varint(part, MEMBER_DELIVERED, share->delivered);
        pb_append_varint(part, MEMBER_ACKED, share->acked);
        pb_append_bytes(part, MEMBER_ADDRESS, span_of(member->address));
        if (group_member_is_active(group, share)) {
            pb_append_varint(part, MEMBER_ACTIVE, 1);
        }
        if (share->standing.priority != 0) {
            pb_append_varint(part, MEMBER_PRIORITY, share->standing.priority);
        }
        if (share->is_draining) {
            pb_append_varint(part, MEMBER_DRAINING, 1);
        }
        pb_append_bytes(&self->meta, INFO_MEMBERS, buf_span(part));
        count++;
    }
}

static void info_append(struct groups *self, const struct hosted *hosted)
{
    struct buf *meta = &self->meta;
    const struct group_state *state = group_replicated(hosted->group);
    struct group_numbers numbers;
    group_numbers(hosted->group, &numbers);
    uint64_t last = stream_next_offset(self->stream) - 1;
    uint64_t done = numbers.floor + numbers.acked_above;
    pb_append_bytes(meta, INFO_NAME, span_of(state->name));
    pb_append_bytes(meta, INFO_SPEC, buf_span(&state->spec));
    pb_append_varint(meta, INFO_FLOOR, numbers.floor);
    pb_append_varint(meta, INFO_ACKED_ABOVE, numbers.acked_above);
    pb_append_varint(meta, INFO_HOLES, numbers.holes);
    pb_append_varint(meta, INFO_IN_FLIGHT, numbers.held);
    pb_append_varint(meta, INFO_REDELIVERY, numbers.ready);
    pb_append_varint(meta, INFO_NEXT, numbers.cursor);
    pb_append_varint(meta, INFO_LAG, last > done ? last - done : 0);
    pb_append_varint(meta, INFO_REDELIVERED_TOTAL, numbers.redelivered_total);
    info_append_members(self, hosted->group);
    pb_append_varint(meta, INFO_CHECK_ERRORS, hosted->check_errors);
    pb_append_varint(meta, INFO_SKIPPED, numbers.skipped);
    if (state->epoch.epoch != 0) {
        pb_append_varint(meta, INFO_EPOCH, state->epoch.epoch);
        pb_append_bytes(meta, INFO_OWNER, buf_span(&state->epoch.owner));
    }
    if (hosted->is_ephemeral) {
        pb_append_varint(meta, INFO_EPHEMERAL, 1);
    }
    pb_append_varint(meta, INFO_DELAYED, numbers.delayed);
    if (numbers.next_due_ms != 0) {
        pb_append_fixed64(meta, INFO_NEXT_DUE, numbers.next_due_ms * 1000);
    }
    uint32_t paused = group_pause_reason(hosted->group);
    pb_append_varint(meta, INFO_PAUSED, paused != 0);
    if (paused != 0) {
        pb_append_bytes(
            meta, INFO_PAUSE_REASON,
            span_of(paused == RAILGUN__GROUP_PAUSE__PAUSED_BY_BREAKER ? "breaker" : "operator"));
    }
    pb_append_varint(meta, INFO_DEAD, state->dead.dead.total);
    pb_append_varint(meta, INFO_DYING, state->dead.dying.total);
    pb_append_varint(meta, INFO_GAP_RECORDS, state->gap_records);
    pb_append_varint(meta, INFO_REATTACHED, hosted->reattached);
}

void groups_handle_info(struct groups *self, struct bus_message *message)
{
    struct group_ref ref;
    if (group_ref_read(message->meta, &ref) < 0) {
        (void) bus_reply_error(groups_bus(self), message->ticket, ERR_BAD_REQUEST, "LogGroupRef");
        return;
    }
    buf_reset(&self->meta);
    const struct hosted *hosted = group_ref_find(self, &ref);
    if (hosted == NULL && ref.group_id == 0) {
        (void) bus_reply_error(groups_bus(self), message->ticket, ERR_NOT_FOUND, "no such group");
        return;
    }
    if (hosted != NULL) {
        info_append(self, hosted);
    } else {
        /* Nobody has consumed yet: no position, everything is still to come. */
        pb_append_varint(&self->meta, INFO_LAG,
                         stream_next_offset(self->stream) - stream_first_offset(self->stream));
    }
    struct bus_outgoing out = {.type = message->type, .meta = buf_span(&self->meta)};
    (void) bus_reply(groups_bus(self), message->ticket, &out);
}

/* --- pending --- */

static uint64_t pending_state(enum group_where where)
{
    switch (where) {
    case GROUP_HELD:
        return RAILGUN__PENDING_RANGE__STATE__IN_FLIGHT;
    case GROUP_READY:
        return RAILGUN__PENDING_RANGE__STATE__WAITING;
    case GROUP_DELAYED:
        return RAILGUN__PENDING_RANGE__STATE__DELAYED;
    case GROUP_DYING:
        return RAILGUN__PENDING_RANGE__STATE__DYING;
    case GROUP_SKIPPED:
        break;
    }
    return RAILGUN__PENDING_RANGE__STATE__SKIPPED;
}

static void pending_append(void *ud, const struct group_pending *pending)
{
    struct groups *self = ud;
    struct buf *part = &self->part;
    buf_reset(part);
    pb_append_varint(part, RANGE_FIRST, pending->first);
    pb_append_varint(part, RANGE_LAST, pending->last);
    pb_append_varint(part, RANGE_STATE, pending_state(pending->where));
    if (pending->member != NULL) {
        uint64_t now_ms = loop_now_ms(logd_loop(stream_logd(self->stream)));
        uint64_t wait_ms =
            group_replicated(member_of(pending->member)->hosted->group)->limits.ack_wait_ms;
        pb_append_varint(part, RANGE_MEMBER, pending->member->number);
        pb_append_bytes(part, RANGE_CONSUMER, span_of(member_of(pending->member)->name));
        pb_append_varint(part, RANGE_AGE, now_ms - pending->since_ms);
        if (wait_ms != 0) {
            uint64_t at_ms = pending->since_ms + wait_ms;
            pb_append_varint(part, RANGE_DEADLINE, at_ms > now_ms ? at_ms - now_ms : 0);
        }
    }
    if (pending->where == GROUP_DELAYED) {
        pb_append_fixed64(part, RANGE_DUE, pending->due_ms * 1000);
    }
    pb_append_varint(part, RANGE_ATTEMPT, pending->tries.attempt);
    pb_append_varint(part, RANGE_FAILED, pending->tries.failed);
    pb_append_bytes(&self->meta, PENDING_RANGES, buf_span(part));
}

void groups_handle_pending(struct groups *self, struct bus_message *message)
{
    struct group_ref ref;
    if (group_ref_read(message->meta, &ref) < 0) {
        (void) bus_reply_error(groups_bus(self), message->ticket, ERR_BAD_REQUEST, "LogGroupRef");
        return;
    }
    size_t limit = ref.limit == 0 ? PENDING_DEFAULT : PENDING_MAX;
    limit = ref.limit != 0 && ref.limit < PENDING_MAX ? (size_t) ref.limit : limit;
    buf_reset(&self->meta);
    struct hosted *hosted = group_ref_find(self, &ref);
    if (hosted == NULL && ref.group_id == 0) {
        (void) bus_reply_error(groups_bus(self), message->ticket, ERR_NOT_FOUND, "no such group");
        return;
    }
    if (hosted != NULL) {
        groups_tick(self, hosted);
        if (!group_pending_list(hosted->group, ref.after, limit, pending_append, self)) {
            pb_append_varint(&self->meta, PENDING_MORE, 1);
        }
        group_rest(hosted->group);
    }
    struct bus_outgoing out = {.type = message->type, .meta = buf_span(&self->meta)};
    (void) bus_reply(groups_bus(self), message->ticket, &out);
}
