/* ephemerals: opening, resting and ending of groups in memory. Owns the table of their names, which borrows the names; the groups are in the stream's table with
 * all others. Must never propose anything. */
#include "logd/ephemerals.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/rand.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/pb.h"
#include "logd/groups_own.h"
#include "logd/logd.h"
#include "logd/stream.h"

enum { FLOOR_FLOOR = 1, LIMIT_MAX = 1000000 };

/* Numbers of groups of the catalogue are far below. */
#define EPHEMERAL_ID_FIRST (UINT64_C(1) << 62)

void ephemerals_init(struct ephemerals *self)
{
    self->by_name = hash_new();
    self->last_id = EPHEMERAL_ID_FIRST;
    list_init(&self->resting);
}

void ephemerals_release(struct ephemerals *self)
{
    hash_destroy(&self->by_name);
}

struct hosted *ephemerals_find(const struct groups *groups, struct span name)
{
    return hash_get(groups->ephemerals.by_name, name);
}

static struct hosted *durable_find(const struct groups *groups, struct span name)
{
    size_t cursor = 0;
    struct hosted *hosted;
    while ((hosted = hash64_next(groups->hosted, &cursor)) != NULL) {
        if (!hosted->is_ephemeral && span_is(name, group_replicated(hosted->group)->name)) {
            return hosted;
        }
    }
    return NULL;
}

static bool limits_are_fair(const struct group_limits *limits)
{
    return !limits->dlq.is_on && limits->in_flight_max <= LIMIT_MAX &&
           limits->member_in_flight_max <= LIMIT_MAX && limits->holes_max <= LIMIT_MAX &&
           limits->delayed_max <= LIMIT_MAX;
}

static int ephemeral_begin(struct groups *groups, const struct ephemeral_wish *wish,
                           struct span name, struct group_state *state)
{
    struct start start = wish->start;
    int error = group_state_configure(state, name, wish->spec);
    if (error != 0) {
        return ERR_BAD_REQUEST;
    }
    if (!limits_are_fair(&state->limits)) {
        return ERR_BAD_CONFIG;
    }
    if (start.at == START_DEFAULT) {
        error = start_of_spec(wish->spec, &start);
    }
    if (error == 0) {
        error = groups_start_floor(groups, &start, wish->on_gap, &state->floor);
    }
    state->delivered = state->floor;
    return error;
}

int ephemerals_open(struct groups *groups, const struct ephemeral_wish *wish,
                    struct hosted **ret_hosted, bool *ret_created)
{
    struct ephemerals *self = &groups->ephemerals;
    char made[32];
    struct span name = wish->name;
    struct hosted *hosted = name.size > 0 ? ephemerals_find(groups, name) : NULL;
    if (hosted == NULL && name.size > 0) {
        hosted = durable_find(groups, name);
    }
    *ret_created = hosted == NULL;
    if (hosted != NULL) {
        *ret_hosted = hosted;
        return 0;
    }
    if (hash_count(self->by_name) >= EPHEMERALS_MAX) {
        return ERR_QUOTA;
    }
    if (name.size == 0) {
        (void) snprintf(made, sizeof made, "e-%016" PRIx64, entropy_u64());
        name = span_of(made);
    }
    struct group_state state;
    group_state_init(&state, self->last_id + 1);
    int error = ephemeral_begin(groups, wish, name, &state);
    if (error != 0) {
        group_state_release(&state);
        return error;
    }
    self->last_id++;
    hosted = groups_host(groups, &state);
    hosted->is_ephemeral = true;
    hosted->floor_told = group_replicated(hosted->group)->floor;
    (void) hash_put(self->by_name, span_of(group_replicated(hosted->group)->name), hosted);
    ephemeral_rests(groups, hosted); /* until somebody has joined */
    *ret_hosted = hosted;
    return 0;
}

void ephemeral_busy(struct groups *groups, struct hosted *hosted)
{
    (void) groups;
    list_remove(&hosted->resting);
}

void ephemeral_rests(struct groups *groups, struct hosted *hosted)
{
    list_remove(&hosted->resting);
    hosted->rests_until_ms =
        loop_now_ms(logd_loop(stream_logd(groups->stream))) + EPHEMERAL_REST_MS;
    list_push_back(&groups->ephemerals.resting, &hosted->resting);
    if (!groups->is_closing) {
        logd_mark_dirty(stream_logd(groups->stream), groups->stream);
    }
}

static void ephemeral_end(struct groups *groups, struct hosted *hosted)
{
    (void) hash_remove(groups->ephemerals.by_name,
                       span_of(group_replicated(hosted->group)->name)); /* it was there */
    list_remove(&hosted->resting);
    groups_unhost(groups, hosted);
}

void ephemerals_yield(struct groups *groups, struct span name)
{
    struct hosted *hosted = ephemerals_find(groups, name);
    if (hosted == NULL) {
        return;
    }
    ephemeral_apply(groups, hosted); /* they are told all that was acknowledged */
    struct group_member *share;
    while ((share = group_member_next(hosted->group, NULL)) != NULL) {
        struct member *member = member_of(share);
        member_cancel(member, ERR_EPHEMERAL_LOST);
    }
    ephemeral_end(groups, hosted);
    (void) members_tell_cancelled(groups); /* the rest when their links are ready */
}

/* Its members' servers know where to go on, should we be lost. */
static void floor_tell(struct groups *groups, struct hosted *hosted)
{
    struct group *group = hosted->group;
    uint64_t floor = group_replicated(group)->floor;
    bool is_told = true;
    if (floor == hosted->floor_told) {
        return;
    }
    buf_reset(&groups->part);
    pb_append_varint(&groups->part, FLOOR_FLOOR, floor);
    for (struct group_member *share = group_member_next(group, NULL); share != NULL;
         share = group_member_next(group, share)) {
        const struct member *member = member_of(share);
        struct bus_outgoing out = {.type = RAILGUN__BUS_TYPE__BUS_LOG_FLOOR,
                                   .subject = member->key.consumer,
                                   .meta = buf_span(&groups->part)};
        is_told = bus_event(member->link, &out) != ERR_AGAIN && is_told;
    }
    hosted->floor_told = is_told ? floor : hosted->floor_told; /* or with the next change */
}

void ephemeral_apply(struct groups *groups, struct hosted *hosted)
{
    struct group *group = hosted->group;
    while (group_has_changes(group)) {
        struct group_changes changes;
        uint64_t id;
        buf_reset(&groups->part);
        group_changes_encode(group, &groups->part, GROUPS_ENTRY_BYTES, &changes);
        if (changes.is_empty) {
            break;
        }
        group_changes_proposed(group, &changes);
        int error = group_state_check_acks(buf_span(&groups->part), &id);
        INVARIANT(error == 0);
        group_state_apply_acks(group_replicated(group), buf_span(&groups->part));
        group_changes_applied(group);
    }
    floor_tell(groups, hosted);
    groups_exclusive_applied(groups, hosted);
    group_rest(group);
}

uint64_t ephemerals_turn(struct groups *groups, uint64_t now_ms)
{
    LIST_FOREACH (&groups->ephemerals.resting, node) {
        struct hosted *hosted = LIST_ENTRY(node, struct hosted, resting);
        if (now_ms == UINT64_MAX || now_ms < hosted->rests_until_ms) {
            return hosted->rests_until_ms;
        }
        ephemeral_end(groups, hosted);
    }
    return UINT64_MAX;
}
