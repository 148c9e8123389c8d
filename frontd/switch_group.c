/* switch_group: which member of a group gets which messages of a run. Owns nothing. Must never give a message to two members, nor to one without credit. */
#include "common/base/hash.h"

#include "frontd/messages.h"
#include "frontd/neighbours.h"
#include "frontd/responses.h"
#include "frontd/switch_private.h"

/* A member with so much more before it than the least has is left out when a run is split. */
enum { SPLIT_QUEUED_MAX = 64 << 10 };

/* The same in every frontd, so that they agree where a key goes. */
#define STICKY_SEED UINT64_C(0x5261696c67756e21)

/* What is left of a run. */
static void run_behind(struct run *run, size_t size, uint32_t count)
{
    run_release(run); /* its copy was of all */
    run->messages = messages_behind(run->messages, size);
    run->count -= count;
}

static bool pick_local(struct frontd *frontd, uint64_t id, struct switch_pick *ret_pick)
{
    struct subscription *member = subscriptions_find(frontd->subscriptions, id);
    if (member == NULL || !subscription_has_credit(member)) {
        return false;
    }
    *ret_pick = (struct switch_pick){
        .local = member,
        .id = id,
        .queued = subscription_queued_bytes(member),
    };
    return true;
}

static bool pick_remote(const struct frontd *frontd, unsigned instance, uint64_t id,
                        struct switch_pick *ret_pick)
{
    uint64_t queued = 0;
    if (!switch_load_of(frontd->switching, id, &queued)) {
        return false;
    }
    *ret_pick = (struct switch_pick){.id = id, .queued = queued, .frontd = instance};
    return true;
}

/* Members with credit of one frontd, from a random one on, behind the first `count` picks. Returns how many there are then. */
static uint32_t gather_members(struct frontd *frontd, const struct route_members *members,
                               uint32_t count, uint32_t count_max)
{
    struct switch_state *state = frontd->switching;
    if (members->count == 0) {
        return count;
    }
    if (!members->is_local && !neighbours_is_up(frontd->neighbours, members->frontd)) {
        return count;
    }
    uint32_t at = (uint32_t) prng_below(&state->prng, members->count);
    for (uint32_t i = 0; i < members->count && count < count_max; i++) {
        uint64_t id = members->ids[at];
        bool has_credit = members->is_local
                              ? pick_local(frontd, id, &state->picks[count])
                              : pick_remote(frontd, members->frontd, id, &state->picks[count]);
        count += has_credit ? 1 : 0;
        at = at + 1 == members->count ? 0 : at + 1;
    }
    return count;
}

static uint32_t gather(struct frontd *frontd, const struct route_group *group, bool is_local,
                       uint32_t count_max)
{
    uint32_t count = 0;
    count_max = count_max < SWITCH_PICKS_MAX ? count_max : (uint32_t) SWITCH_PICKS_MAX;
    for (uint32_t i = 0; i < group->count; i++) {
        if (group->members[i].is_local == is_local) {
            count = gather_members(frontd, &group->members[i], count, count_max);
        }
    }
    return count;
}

bool switch_group_has_room(struct frontd *frontd, const struct route_group *group)
{
    bool is_waiting = false;
    for (uint32_t i = 0; i < group->count; i++) {
        const struct route_members *members = &group->members[i];
        if (!members->is_local && !neighbours_has_room(frontd->neighbours, members->frontd)) {
            is_waiting = true;
        }
    }
    if (!is_waiting) {
        return true;
    }
    /* Only who has a member here with credit need not wait for the others; but a key must not move to it because its own member is not connected for a moment. */
    return !group->sticky_by_key && gather(frontd, group, true, 1) != 0;
}

/* Give the whole run to the member; returns how many messages it took. */
static uint32_t give(struct frontd *frontd, const struct switch_pick *pick, struct run *run,
                     struct switch_result *result)
{
    uint32_t taken = 0;
    if (pick->local != NULL) {
        taken = subscription_take(pick->local, run);
    } else if (neighbours_forward(frontd->neighbours, pick->frontd, &pick->id, 1, run->count, true,
                                  run->request, run->timeout_ms, run->messages)) {
        taken = run->count;
        result->remote_frontds |= UINT64_C(1) << (pick->frontd & 63);
        if (run->request != 0) {
            responses_forwarded(frontd->responses, run->request, pick->frontd, 1);
        }
    }
    result->receivers += taken != 0 ? 1 : 0;
    result->outputs += taken != 0 ? 1 : 0;
    return taken;
}

/* The first `count` messages of the run to one member. Returns how many are gone from its front. */
static uint32_t give_part(struct frontd *frontd, const struct switch_pick *pick, struct run *run,
                          uint32_t count, struct switch_result *result)
{
    struct run part = *run;
    uint32_t taken = 0;
    part.copy = NULL;
    part.last = NULL;
    if (count < run->count) {
        part.messages = messages_first(run->messages,
                                       messages_prefix(run->messages, count, UINT64_MAX, &count));
        part.count = count;
    }
    taken = give(frontd, pick, &part, result);
    run_release(&part);
    size_t size = part.messages.size;
    if (taken < part.count) {
        size = messages_prefix(part.messages, taken, UINT64_MAX, &taken);
    }
    run_behind(run, size, taken);
    return taken;
}

/* --- one message --- */

/* One of two by chance, the one with less before it. NULL: neither has credit. */
static const struct switch_pick *choose_quickly(struct frontd *frontd,
                                                const struct route_group *group)
{
    struct switch_state *state = frontd->switching;
    for (uint32_t i = 0; i < group->count; i++) {
        const struct route_members *members = &group->members[i];
        if (!members->is_local || members->count == 0) {
            continue;
        }
        uint32_t first = (uint32_t) prng_below(&state->prng, members->count);
        uint32_t second = (uint32_t) prng_below(&state->prng, members->count);
        bool has_first = pick_local(frontd, members->ids[first], &state->picks[0]);
        bool has_second =
            first != second && pick_local(frontd, members->ids[second], &state->picks[1]);
        if (has_first && (!has_second || state->picks[0].queued <= state->picks[1].queued)) {
            return &state->picks[0];
        }
        if (has_second) {
            return &state->picks[1];
        }
    }
    return NULL;
}

/* The one of two of the gathered. */
static const struct switch_pick *choose_of(struct switch_state *state, uint32_t count)
{
    if (count == 0) {
        return NULL;
    }
    const struct switch_pick *a = &state->picks[prng_below(&state->prng, count)];
    const struct switch_pick *b = &state->picks[prng_below(&state->prng, count)];
    return a->queued <= b->queued ? a : b;
}

/* Members elsewhere that have credit, from all frontds with the same chance. */
static uint32_t gather_remote(struct frontd *frontd, const struct route_group *group)
{
    return gather(frontd, group, false, SWITCH_PICKS_MAX);
}

static bool give_one(struct frontd *frontd, const struct route_group *group, struct run *run,
                     struct switch_result *result)
{
    struct switch_state *state = frontd->switching;
    const struct switch_pick *pick = choose_quickly(frontd, group);
    if (pick != NULL && give_part(frontd, pick, run, 1, result) != 0) {
        return true;
    }
    uint32_t count = gather(frontd, group, true, SWITCH_PICKS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        if (give_part(frontd, &state->picks[i], run, 1, result) != 0) {
            return true;
        }
    }
    pick = choose_of(state, gather_remote(frontd, group));
    return pick != NULL && give_part(frontd, pick, run, 1, result) != 0;
}

/* --- long runs --- */

/* Leave out who has much more before it than others. */
static uint32_t keep_light(struct switch_state *state, uint32_t count)
{
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < count; i++) {
        least = state->picks[i].queued < least ? state->picks[i].queued : least;
    }
    uint64_t most = least * 2 + SPLIT_QUEUED_MAX;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (state->picks[i].queued <= most) {
            state->picks[kept++] = state->picks[i];
        }
    }
    return kept;
}

/* Split what is left of the run evenly among the picks. false: nobody took anything. */
static bool split(struct frontd *frontd, uint32_t picks, struct run *run,
                  struct switch_result *result)
{
    uint32_t each = run->count / picks;
    uint32_t more = run->count % picks; /* so many get one more */
    bool is_progress = false;
    for (uint32_t i = 0; i < picks && run->count != 0; i++) {
        uint32_t share = each + (i < more ? 1 : 0);
        if (share != 0 &&
            give_part(frontd, &frontd->switching->picks[i], run, share, result) != 0) {
            is_progress = true;
        }
    }
    return is_progress;
}

static void give_many(struct frontd *frontd, const struct route_group *group, struct run *run,
                      struct switch_result *result)
{
    for (unsigned is_local = 2; is_local-- > 0;) {
        uint32_t picks = 0;
        do {
            picks = gather(frontd, group, is_local != 0, run->count);
            picks = keep_light(frontd->switching, picks);
        } while (picks != 0 && split(frontd, picks, run, result) && run->count != 0);
        if (run->count == 0) {
            return;
        }
    }
}

/* --- sticky by key --- */

static uint64_t weight(uint64_t key, uint64_t id)
{
    uint64_t mixed = (key ^ id) * UINT64_C(0x9e3779b97f4a7c15);
    mixed = (mixed ^ mixed >> 32) * UINT64_C(0xd6e8feb86659fd93);
    return mixed ^ mixed >> 32;
}

/* Of all members with credit the one that weighs most for the key: taken straight from the route, for it may have more members than there are picks. */
static bool choose_sticky(struct frontd *frontd, const struct route_group *group, struct span key,
                          struct switch_pick *ret_pick)
{
    uint64_t hashed = hash_bytes(key, STICKY_SEED);
    uint64_t most = 0;
    bool is_found = false;
    for (uint32_t i = 0; i < group->count; i++) {
        const struct route_members *members = &group->members[i];
        if (!members->is_local && !neighbours_is_up(frontd->neighbours, members->frontd)) {
            continue;
        }
        for (uint32_t k = 0; k < members->count; k++) {
            struct switch_pick pick;
            uint64_t heavy = weight(hashed, members->ids[k]);
            if ((is_found && heavy <= most) ||
                !(members->is_local
                      ? pick_local(frontd, members->ids[k], &pick)
                      : pick_remote(frontd, members->frontd, members->ids[k], &pick))) {
                continue;
            }
            is_found = true;
            most = heavy;
            *ret_pick = pick;
        }
    }
    return is_found;
}

/* Message for message, those for the same member together. Stops at the first that has no key, or that nobody takes. */
static void give_sticky(struct frontd *frontd, const struct route_group *group, struct run *run,
                        struct switch_result *result)
{
    while (run->count != 0) {
        struct switch_pick pick;
        struct switch_pick next;
        struct span key = messages_key(run->messages);
        if (key.size == 0 || !choose_sticky(frontd, group, key, &pick)) {
            return;
        }
        uint32_t one = 0;
        uint32_t count = 1;
        struct span rest =
            messages_behind(run->messages, messages_prefix(run->messages, 1, UINT64_MAX, &one));
        while (count < run->count) {
            struct span next_key = messages_key(rest);
            if (!span_equal(next_key, key) &&
                (next_key.size == 0 || !choose_sticky(frontd, group, next_key, &next) ||
                 next.id != pick.id)) {
                break;
            }
            rest = messages_behind(rest, messages_prefix(rest, 1, UINT64_MAX, &one));
            count++;
        }
        if (give_part(frontd, &pick, run, count, result) == 0) {
            return;
        }
    }
}

void switch_group(struct frontd *frontd, struct exchange *exchange, const struct route_group *group,
                  struct run *run, struct switch_result *result)
{
    struct run rest = *run;
    rest.copy = NULL;
    rest.is_shared = false;
    while (rest.count != 0) {
        uint32_t before = rest.count;
        bool is_keyed = group->sticky_by_key && messages_key(rest.messages).size != 0;
        if (is_keyed) {
            give_sticky(frontd, group, &rest, result);
        } else if (rest.count == 1 || group->sticky_by_key) {
            (void) give_one(frontd, group, &rest, result); /* seen by what is left */
        } else {
            give_many(frontd, group, &rest, result);
        }
        if (rest.count == before) {
            break; /* nobody has credit */
        }
    }
    run_release(&rest);
    exchange->counts.matched += rest.count;
    exchange->counts.dropped += rest.count;
}
