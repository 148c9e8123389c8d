/* handle_ack: acknowledgements of a member, good and bad, and its wish to keep what it has. */
#include "logd/groups.h"

#include "common/base/err.h"
#include "common/wire/hot.h"
#include "common/wire/pb.h"
#include "logd/groups_own.h"
#include "logd/logd.h"
#include "logd/planted.h"
#include "logd/stream.h"

enum { ACK_RANGES_MAX = 65536, EXTEND_RANGES = 1 };

static void answer(struct groups *self, const struct bus_message *message, int error,
                   const char *detail)
{
    if (!message->is_request) {
        (*self->count.bad_acks)++;
        return;
    }
    (void) bus_reply_error(groups_bus(self), message->ticket, error, detail);
}

/* What was not delayed for want of room, nobody will hear of: it must not stay with a member that believes it was taken back. */
static void nack_return_rest(struct groups *self, struct member *member, uint32_t before)
{
    uint32_t count = self->results.count;
    for (uint32_t i = before; i < count; i++) {
        struct ack_result rest = self->results.items[i];
        if (rest.error == ERR_DELAY_FULL) {
            group_handle_range(member->hosted->group, &member->share, GROUP_NACK, rest.first,
                               rest.last, &self->results);
        }
    }
}

static void nack_range(struct groups *self, struct member *member, const struct group_nack *nack,
                       struct range range, bool is_request)
{
    uint64_t held = ranges_total(member->share.held);
    uint32_t before = self->results.count > 0 ? self->results.count - 1 : 0;
    group_handle_nack(member->hosted->group, &member->share, nack, range.first, range.last,
                      &self->results);
    for (uint32_t i = before; i < self->results.count; i++) {
        *self->count.delay_full += self->results.items[i].error == ERR_DELAY_FULL ? 1 : 0;
    }
    if (!is_request) {
        nack_return_rest(self, member, before);
    }
    *self->count.nacked += held - ranges_total(member->share.held);
}

/* Without dead letters it stays with the member, if that hears of it; else it is a nack like any other. */
static void reject_range(struct groups *self, struct member *member, struct range range,
                         bool is_request)
{
    const struct group_nack nack = {0};
    uint32_t before = self->results.count > 0 ? self->results.count - 1 : 0;
    group_handle_range(member->hosted->group, &member->share, GROUP_REJECT, range.first, range.last,
                       &self->results);
    uint32_t count = self->results.count;
    for (uint32_t i = before; i < count && !is_request; i++) {
        struct ack_result refused = self->results.items[i];
        if (refused.error == ERR_BAD_CONFIG) {
            nack_range(self, member, &nack,
                       (struct range){.first = refused.first, .last = refused.last}, false);
        }
    }
}

static void nack_handle(struct groups *self, struct member *member, const struct hot_nack *said,
                        bool is_request)
{
    const struct group_nack nack = {
        .no_count = said->no_count, .has_delay = said->has_delay, .delay_ms = said->delay_ms};
    struct range range = {.first = said->range.first, .last = said->range.last};
    group_blame(member->hosted->group, said->reason, span_of(member->name));
    if (said->reject) {
        reject_range(self, member, range, is_request);
    } else {
        nack_range(self, member, &nack, range, is_request);
    }
}

/* The order is the frame's; up_to comes last, so that a nack below it counts. */
static void ack_walk(struct groups *self, struct member *member, const struct hot_ack *ack,
                     bool is_request)
{
    struct group *group = member->hosted->group;
    struct span rest = ack->body;
    struct hot_range range;
    struct hot_nack nack;
    bool is_nack;
    while (hot_ack_next(&rest, &is_nack, &range, &nack) == 1) {
        if (is_nack) {
            nack_handle(self, member, &nack, is_request);
        } else {
            group_handle_range(group, &member->share, GROUP_ACK, range.first, range.last,
                               &self->results);
        }
    }
    if (ack->has_up_to) {
        group_ack_up_to(group, &member->share, ack->up_to);
    }
}

void member_handle_ack(struct member *member, struct bus_message *message)
{
    struct groups *self = member->groups;
    struct hot_ack ack;
    if (member->hosted == NULL) {
        answer(self, message, member->cancel_error, "the consumer was cancelled");
        return;
    }
    if (hot_ack_read(message->meta, &ack) < 0) {
        answer(self, message, ERR_BAD_REQUEST, "Ack");
        return;
    }
    if (group_is_fenced(member->hosted->group, &member->share, ack.epoch)) {
        if (PLANTED(NO_FENCE)) {
            struct bus_outgoing fine = {.type = message->type};
            (void) bus_reply(groups_bus(self), message->ticket, &fine);
        } else {
            answer(self, message, ERR_FENCED, "another consumer is active");
        }
        return;
    }
    if ((uint64_t) ack.ranges + ack.nacks > ACK_RANGES_MAX) {
        answer(self, message, ERR_TOO_LARGE, "too many ranges in one Ack");
        return;
    }
    if (message->is_request && ack.sync && self->sync_count >= GROUPS_SYNCS_MAX) {
        answer(self, message, ERR_OVERLOADED, "too many sync acknowledgements wait");
        return;
    }
    uint64_t acked = member->share.acked;
    groups_tick(self, member->hosted);
    ack_results_reset(&self->results);
    ack_walk(self, member, &ack, message->is_request);
    group_blame(member->hosted->group, (struct span){0}, (struct span){0});
    group_check_distance(member->hosted->group);
    groups_dead_check(self, member->hosted);
    *self->count.acked += member->share.acked - acked;
    groups_touched(self, member->hosted);
    if (!message->is_request) {
        *self->count.bad_acks += self->results.count;
        return;
    }
    struct buf reply = {0};
    ack_results_encode(&self->results, &reply);
    if (ack.sync) {
        groups_sync_wait(self, message->ticket, message->type, &reply);
    } else {
        struct bus_outgoing out = {.type = message->type, .meta = buf_span(&reply)};
        (void) bus_reply(groups_bus(self), message->ticket, &out);
    }
    buf_release(&reply);
}

void member_handle_extend(struct member *member, struct bus_message *message)
{
    struct groups *self = member->groups;
    if (member->hosted == NULL) {
        answer(self, message, member->cancel_error, "the consumer was cancelled");
        return;
    }
    if (group_is_fenced(member->hosted->group, &member->share, 0)) {
        answer(self, message, ERR_FENCED, "another consumer is active");
        return;
    }
    groups_tick(self, member->hosted);
    ack_results_reset(&self->results);
    struct span rest = message->meta;
    struct pb_field field;
    unsigned ranges = 0;
    int more;
    while ((more = pb_next(&rest, &field)) > 0) {
        struct hot_range range;
        if (field.number != EXTEND_RANGES) {
            continue;
        }
        if (field.type != PB_BYTES || hot_range_read(field.bytes, &range) < 0 ||
            ++ranges > ACK_RANGES_MAX) {
            more = ERR_BAD_REQUEST;
            break;
        }
        group_handle_range(member->hosted->group, &member->share, GROUP_EXTEND, range.first,
                           range.last, &self->results);
    }
    if (more < 0) {
        answer(self, message, ERR_BAD_REQUEST, "Extend");
        return;
    }
    groups_touched(self, member->hosted); /* deadlines moved */
    if (!message->is_request) {
        return;
    }
    buf_reset(&self->meta);
    ack_results_encode(&self->results, &self->meta);
    struct bus_outgoing out = {.type = message->type, .meta = buf_span(&self->meta)};
    (void) bus_reply(groups_bus(self), message->ticket, &out);
}
