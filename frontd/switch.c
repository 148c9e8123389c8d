/* switch: see the header. Owns nothing but scratch room. Must never do work for each message of a run that goes to plain subscriptions. */
#include "frontd/switch.h"

#include "common/base/mem.h"
#include "common/wire/es.h"

#include "frontd/messages.h"
#include "frontd/neighbours.h"
#include "frontd/responses.h"
#include "frontd/switch_private.h"

bool switch_has_room(struct frontd *frontd, const struct route *route)
{
    for (uint32_t i = 0; i < route->plain_count; i++) {
        const struct route_members *members = &route->plain[i];
        if (!members->is_local && !neighbours_has_room(frontd->neighbours, members->frontd)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < route->group_count; i++) {
        if (!switch_group_has_room(frontd, &route->groups[i])) {
            return false;
        }
    }
    return true;
}

static void switch_local(struct frontd *frontd, const struct route_members *members,
                         struct run *run, struct switch_result *result)
{
    for (uint32_t i = 0; i < members->count; i++) {
        struct subscription *to = subscriptions_find(frontd->subscriptions, members->ids[i]);
        if (to == NULL) {
            continue; /* it went, and the route does not know yet */
        }
        result->outputs++;
        if (subscription_offer(to, run) != 0) {
            result->receivers++;
        }
    }
}

static void switch_remote(struct frontd *frontd, struct exchange *exchange,
                          const struct route_members *members, const struct run *run,
                          struct switch_result *result)
{
    if (neighbours_forward(frontd->neighbours, members->frontd, members->ids, members->count,
                           run->count, false, run->request, run->timeout_ms, run->messages)) {
        result->receivers += members->count;
        result->outputs++;
        result->remote_frontds |= UINT64_C(1) << (members->frontd & 63);
        if (run->request != 0) {
            responses_forwarded(frontd->responses, run->request, members->frontd, members->count);
        }
    } else {
        uint64_t lost = (uint64_t) run->count * members->count;
        exchange->counts.matched += lost;
        exchange->counts.dropped += lost;
    }
}

void switch_run(struct frontd *frontd, struct exchange *exchange, const struct route *route,
                struct run *run, struct switch_result *ret_result)
{
    *ret_result = (struct switch_result){0};
    if (route->error != 0) {
        return;
    }
    for (uint32_t i = 0; i < route->plain_count; i++) {
        const struct route_members *members = &route->plain[i];
        if (members->is_local) {
            run->is_shared = members->count > 1;
            switch_local(frontd, members, run, ret_result);
        } else {
            switch_remote(frontd, exchange, members, run, ret_result);
        }
    }
    for (uint32_t i = 0; i < route->group_count; i++) {
        switch_group(frontd, exchange, &route->groups[i], run, ret_result);
    }
}

/* --- from other frontds --- */

/* To the member it was sent to, else to others of its group. Returns how many messages were taken. */
static uint32_t forward_group(struct frontd *frontd, uint64_t id, struct run *run)
{
    struct exchange *exchange = subscriptions_exchange_of(frontd->subscriptions, id);
    struct subscription *to = subscriptions_find(frontd->subscriptions, id);
    struct run rest = *run;
    uint32_t taken = 0;
    if (to == NULL || !subscription_has_credit(to)) {
        struct subscription *other = subscriptions_other_member(frontd->subscriptions, id);
        to = other != NULL ? other : to; /* into the queue of one that is not confirmed yet */
    }
    while (to != NULL && rest.count != 0) {
        uint32_t now = subscription_take(to, &rest);
        uint32_t count = 0;
        size_t size = messages_prefix(rest.messages, now, UINT64_MAX, &count);
        run_release(&rest);
        rest.messages = messages_behind(rest.messages, size); /* its end stays: so does `last` */
        rest.count -= count;
        taken += count;
        to = now != 0 ? subscriptions_other_member(frontd->subscriptions, id) : NULL;
    }
    if (exchange != NULL) {
        exchange->counts.matched += rest.count;
        exchange->counts.dropped += rest.count;
    }
    return taken;
}

static uint32_t forward_plain(struct frontd *frontd, const struct es_block *block, struct run *run)
{
    uint32_t receivers = 0;
    run->is_shared = block->id_count > 1;
    for (uint32_t i = 0; i < block->id_count; i++) {
        struct subscription *to = subscriptions_find(frontd->subscriptions, es_block_id(block, i));
        if (to != NULL && subscription_offer(to, run) != 0) {
            receivers++;
        }
    }
    return receivers;
}

void switch_on_forward(struct frontd *frontd, unsigned from, const struct bus_message *message)
{
    struct span rest = message->body.bytes;
    struct es_block block;
    while (es_block_next(&rest, &block) == 1) {
        bool is_request = block.request != 0;
        uint32_t receivers = 0;
        if (block.id_count != 0 && (!is_request || block.count == 1) &&
            messages_are_sound(block.messages, block.count)) {
            struct run run = {
                .messages = block.messages,
                .count = block.count,
                .owner = message->body.owner,
                .request = block.request,
                .origin = from,
                .timeout_ms = block.timeout_ms,
            };
            receivers = block.is_group ? forward_group(frontd, es_block_id(&block, 0), &run)
                                       : forward_plain(frontd, &block, &run);
            run_release(&run);
        }
        /* Each of those it was sent to is waited for. */
        uint32_t expected = block.is_group ? 1 : block.id_count;
        for (; is_request && receivers < expected; receivers++) {
            responses_undelivered(frontd->responses, from, block.request);
        }
    }
}

struct buf *switch_scratch(struct frontd *frontd)
{
    return &frontd->switching->scratch;
}
