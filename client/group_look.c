/* group_look: what is asked about groups: which there are, where one stands, what is pending in it. Changes nothing, so all of it is repeated after a lost
 * connection. */
#include <string.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/scan.h"

#include "client/client_private.h"

enum { LOOK_LIMIT_MAX = 4000 }; /* below what SCAN_UNPACK takes */

/* Ask; *ret_ok is owned (SCAN_FREE). */
#define LOOK(client, name, request, lower, ret_ok)                                                 \
    look((client), RAILGUN__FRAME__BODY_##name, &(request)->base,                                  \
         RAILGUN__FRAME__BODY_##name##_OK, &lower##__descriptor,                                   \
         (ProtobufCMessage **) (void *) (ret_ok))

static int look(struct rg_client *client, uint32_t field, const ProtobufCMessage *request,
                uint32_t ok_field, const ProtobufCMessageDescriptor *type,
                ProtobufCMessage **ret_ok)
{
    struct call call = {.field = field, .may_repeat = true};
    scan_pack(&call.body, request);
    int result = call_ask(client, &call, ok_field);
    if (result == 0) {
        result = scan_unpack(call.ret_body.bytes, type, NULL, ret_ok);
        result = result < 0 ? error_note(result, "the answer cannot be read") : 0;
    }
    call_release(&call);
    return result;
}

static int look_null(const char *function)
{
    return error_note(ERR_USAGE, "%s: the stream, the group or the result is NULL", function);
}

static char *text_or_empty(const char *text)
{
    return mem_strdup(text != NULL ? text : "");
}

/* --- info --- */

static struct rg_group_member member_taken(const Railgun__MemberInfo *info)
{
    return (struct rg_group_member){
        .member = info->member,
        .consumer = text_or_empty(info->consumer),
        .address = text_or_empty(info->address),
        .in_flight = info->in_flight,
        .credit_messages = info->credit_messages,
        .credit_bytes = info->credit_bytes,
        .delivered = info->delivered,
        .acked = info->acked,
        .priority = info->priority,
        .active = info->active,
        .draining = info->draining,
    };
}

static struct rg_group_info info_taken(const Railgun__GroupInfo *from)
{
    struct rg_group_info info = {
        .version = from->version,
        .floor = from->floor,
        .acked_above = from->acked_above,
        .holes = from->holes,
        .in_flight = from->in_flight,
        .redelivery = from->redelivery,
        .delayed = from->delayed,
        .next_due_us = from->next_due_us,
        .next_offset = from->next_offset,
        .lag = from->lag,
        .dead = from->dead,
        .dying = from->dying,
        .skipped = from->skipped,
        .gap_records = from->gap_records,
        .redelivered_total = from->redelivered_total,
        .reattached = from->reattached,
        .check_errors = from->check_errors,
        .max_in_flight = from->spec != NULL ? from->spec->max_in_flight : 0,
        .max_holes = from->spec != NULL ? from->spec->max_holes : 0,
        .ephemeral = from->ephemeral,
        .paused = from->paused,
        .pause_reason = text_or_empty(from->pause_reason),
        .epoch = from->epoch,
        .owner = text_or_empty(from->owner),
        .members = mem_new_array(from->n_members, sizeof(*info.members)),
        .member_count = from->n_members,
    };
    for (size_t i = 0; i < from->n_members; i++) {
        info.members[i] = member_taken(from->members[i]);
    }
    return info;
}

int rg_group_info(struct rg_client *client, const char *stream, const char *group,
                  struct rg_group_info *ret_info)
{
    Railgun__Describe request = RAILGUN__DESCRIBE__INIT;
    Railgun__DescribeOk *ok = NULL;
    int result = client_check_blocking(client, "rg_group_info");
    if (result < 0) {
        return result;
    }
    if (stream == NULL || group == NULL || ret_info == NULL) {
        return look_null("rg_group_info");
    }
    request.has_kind = true;
    request.kind = RAILGUN__KIND__KIND_GROUP;
    memcpy(&request.name, &stream, sizeof(request.name)); /* no const strings there */
    memcpy(&request.group, &group, sizeof(request.group));
    result = LOOK(client, DESCRIBE, &request, railgun__describe_ok, &ok);
    if (result < 0) {
        return result;
    }
    INVARIANT(ok != NULL); /* as look promises */
    if (ok->group == NULL) {
        result = error_note(ERR_PROTOCOL, "the answer cannot be read");
    } else {
        *ret_info = info_taken(ok->group);
    }
    SCAN_FREE(&ok);
    return result;
}

void rg_group_info_free(struct rg_group_info *info)
{
    if (info == NULL) {
        return;
    }
    for (size_t i = 0; i < info->member_count; i++) {
        mem_free(info->members[i].consumer);
        mem_free(info->members[i].address);
    }
    mem_free(info->members);
    mem_free(info->pause_reason);
    mem_free(info->owner);
    *info = (struct rg_group_info){0};
}

/* --- pending --- */

static const char *pending_state(Railgun__PendingRange__State state)
{
    switch (state) {
    case RAILGUN__PENDING_RANGE__STATE__IN_FLIGHT:
        return "IN_FLIGHT";
    case RAILGUN__PENDING_RANGE__STATE__WAITING:
        return "WAITING";
    case RAILGUN__PENDING_RANGE__STATE__DELAYED:
        return "DELAYED";
    case RAILGUN__PENDING_RANGE__STATE__SKIPPED:
        return "SKIPPED";
    case RAILGUN__PENDING_RANGE__STATE__DYING:
        return "DYING";
    case _RAILGUN__PENDING_RANGE__STATE_IS_INT_SIZE:
    default:
        return "UNKNOWN";
    }
}

static struct rg_pending_range range_taken(const Railgun__PendingRange *range)
{
    return (struct rg_pending_range){
        .first = range->first,
        .last = range->last,
        .state = pending_state(range->state),
        .member = range->member,
        .consumer = text_or_empty(range->consumer),
        .age_ms = range->age_ms,
        .deadline_ms = range->has_deadline_ms ? range->deadline_ms : UINT64_MAX,
        .due_us = range->due_us,
        .attempt = range->attempt,
        .failed = range->failed,
    };
}

int rg_group_pending(struct rg_client *client, const char *stream, const char *group,
                     uint64_t after, uint32_t limit, struct rg_pending *ret_pending)
{
    Railgun__Pending request = RAILGUN__PENDING__INIT;
    Railgun__PendingOk *ok = NULL;
    int result = client_check_blocking(client, "rg_group_pending");
    if (result < 0) {
        return result;
    }
    if (stream == NULL || group == NULL || ret_pending == NULL) {
        return look_null("rg_group_pending");
    }
    memcpy(&request.stream, &stream, sizeof(request.stream)); /* no const strings there */
    memcpy(&request.group, &group, sizeof(request.group));
    request.has_after = true;
    request.after = after;
    request.has_limit = limit != 0;
    request.limit = limit < LOOK_LIMIT_MAX ? limit : LOOK_LIMIT_MAX;
    result = LOOK(client, PENDING, &request, railgun__pending_ok, &ok);
    if (result < 0) {
        return result;
    }
    INVARIANT(ok != NULL); /* as look promises */
    struct rg_pending pending = {
        .items = mem_new_array(ok->n_ranges, sizeof(*pending.items)),
        .count = ok->n_ranges,
        .more = ok->more,
    };
    for (size_t i = 0; i < ok->n_ranges; i++) {
        pending.items[i] = range_taken(ok->ranges[i]);
    }
    SCAN_FREE(&ok);
    *ret_pending = pending;
    return 0;
}

void rg_pending_free(struct rg_pending *pending)
{
    if (pending == NULL) {
        return;
    }
    for (size_t i = 0; i < pending->count; i++) {
        mem_free(pending->items[i].consumer);
    }
    mem_free(pending->items);
    *pending = (struct rg_pending){0};
}

/* --- list --- */

int rg_group_list(struct rg_client *client, const char *stream, const char *after, uint32_t limit,
                  struct rg_groups *ret_groups)
{
    Railgun__List request = RAILGUN__LIST__INIT;
    Railgun__ListOk *ok = NULL;
    int result = client_check_blocking(client, "rg_group_list");
    if (result < 0) {
        return result;
    }
    if (ret_groups == NULL) {
        return look_null("rg_group_list");
    }
    request.has_kind = true;
    request.kind = RAILGUN__KIND__KIND_GROUP;
    memcpy(&request.stream, &stream, sizeof(request.stream)); /* no const strings there */
    memcpy(&request.after, &after, sizeof(request.after));
    request.has_limit = limit != 0;
    request.limit = limit < LOOK_LIMIT_MAX ? limit : LOOK_LIMIT_MAX;
    result = LOOK(client, LIST, &request, railgun__list_ok, &ok);
    if (result < 0) {
        return result;
    }
    INVARIANT(ok != NULL); /* as look promises */
    struct rg_groups groups = {
        .items = mem_new_array(ok->n_items, sizeof(*groups.items)),
        .count = ok->n_items,
        .more = ok->more,
    };
    for (size_t i = 0; i < ok->n_items; i++) {
        groups.items[i] = (struct rg_group_entry){
            .stream = text_or_empty(ok->items[i]->name),
            .group = text_or_empty(ok->items[i]->group),
            .description = text_or_empty(ok->items[i]->description),
            .version = ok->items[i]->version,
            .created_us = ok->items[i]->created_us,
        };
    }
    SCAN_FREE(&ok);
    *ret_groups = groups;
    return 0;
}

void rg_groups_free(struct rg_groups *groups)
{
    if (groups == NULL) {
        return;
    }
    for (size_t i = 0; i < groups->count; i++) {
        mem_free(groups->items[i].stream);
        mem_free(groups->items[i].group);
        mem_free(groups->items[i].description);
    }
    mem_free(groups->items);
    *groups = (struct rg_groups){0};
}
