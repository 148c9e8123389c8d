/* router: see the header. Owns everything; this file takes what happens to where it belongs and keeps the order of a turn's end. Work is counted, and what is too
 * much for one turn is left for the next: a router that does not turn would be taken for one that stands still. */
#include "routerd/router.h"

#include <stdio.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/pb.h"
#include "common/wire/route_lease.h"

#include "routerd/router_own.h"

enum { RESET_SEQ = 1, CONFIRMED_SERIAL = 1 };
enum { WORK_MAX_DEFAULT = 30000 };

struct router *router_new(const struct router_options *options, const struct router_out *out,
                          uint64_t now_ms)
{
    struct router *self = MEM_NEW(struct router);
    self->options = *options;
    if (self->options.work_max == 0) {
        self->options.work_max = WORK_MAX_DEFAULT;
    }
    self->out = *out;
    self->now_ms = now_ms;
    self->limits = (struct exchanges_limits){options->subscriptions_max, options->exchanges_max};
    self->waiting_for = TABLE_FRONTDS_MAX;
    self->table = table_new(self->floors);
    self->exchanges = exchanges_new(self->table, &self->limits);
    self->names = names_new(self->floors, options->names_max);
    self->maker = route_maker_new(self->table);
    changes_init(&self->changes);
    for (unsigned i = 0; i < TABLE_FRONTDS_MAX; i++) {
        struct frontd *frontd = &self->frontds[i];
        frontd->instance = i;
        list_init(&frontd->outbox);
        list_init(&frontd->inbox);
        list_init(&frontd->held);
    }
    return self;
}

void router_destroy(struct router **self)
{
    if (*self == NULL) {
        return;
    }
    for (unsigned i = 0; i < TABLE_FRONTDS_MAX; i++) {
        frontd_reset_session(&(*self)->frontds[i]);
    }
    exchanges_destroy(&(*self)->exchanges);
    names_destroy(&(*self)->names);
    table_destroy(&(*self)->table);
    route_maker_destroy(&(*self)->maker);
    buf_release(&(*self)->answer);
    buf_release(&(*self)->set);
    MEM_FREE(*self);
}

/* --- sessions ---------------------------------------------------------------------------------------------- */

void router_now(struct router *self, uint64_t now_ms)
{
    uint64_t before_ms = self->now_ms;
    self->now_ms = now_ms;
    if (self->is_started && now_ms - before_ms > ROUTE_PAUSE_MS) {
        readiness_pause(self, now_ms - before_ms);
    }
}

void router_start(struct router *self)
{
    self->is_started = true;
    readiness_check(self);
}

void router_frontd_live(struct router *self, unsigned instance, bool is_live)
{
    INVARIANT(instance < TABLE_FRONTDS_MAX);
    struct frontd *frontd = &self->frontds[instance];
    if (is_live && !frontd->is_live && !frontd->is_up) {
        frontd->quiet_ms = self->now_ms;
        frontd->is_given_up = false;
    }
    frontd->is_live = is_live;
    if (!is_live && !frontd->is_up) {
        router_set_floor(self, frontd, frontd->generation + 1);
    }
}

void router_up(struct router *self, unsigned instance, uint64_t epoch)
{
    INVARIANT(instance < TABLE_FRONTDS_MAX);
    struct frontd *frontd = &self->frontds[instance];
    INVARIANT(!frontd->is_up);
    frontd->generation = (frontd->generation + 1) & TABLE_GENERATION_MASK;
    if (frontd->epoch != epoch) {
        router_set_floor(self, frontd, frontd->generation); /* another process had the rest */
    }
    frontd->epoch = epoch;
    frontd->is_up = true;
    frontd->is_given_up = false;
    frontd->quiet_ms = self->now_ms;
    frontd->sent = self->changes.seq;
    frontd->applied =
        self->changes.seq; /* counted from here; `settled` is what it is to apply first */
    struct buf meta = {0};
    pb_append_varint(&meta, RESET_SEQ, self->changes.seq);
    frontd_send(self, frontd, RAILGUN__BUS_TYPE__BUS_ROUTE_RESET, buf_span(&meta), NULL);
    buf_release(&meta);
}

void router_down(struct router *self, unsigned instance)
{
    INVARIANT(instance < TABLE_FRONTDS_MAX);
    struct frontd *frontd = &self->frontds[instance];
    INVARIANT(frontd->is_up);
    self->counts.held -= frontd->held_count;
    self->counts.held_bytes -= frontd->held_bytes;
    frontd_reset_session(frontd);
    frontd->quiet_ms = self->now_ms;
    /* While the process is there it may have been a moment's trouble: what it had stays until it has come back and told what it has, or does not come. */
    if (!frontd->is_live) {
        router_set_floor(self, frontd, frontd->generation + 1);
    }
}

void router_credit(struct router *self, unsigned instance)
{
    frontd_flush(self, &self->frontds[instance]);
}

/* --- messages ---------------------------------------------------------------------------------------------- */

static int router_hold(struct router *self, struct frontd *frontd,
                       const struct router_message *message, uint32_t done)
{
    uint64_t bytes = sizeof(struct kept) + message->meta.size;
    if (frontd->held_bytes + bytes > self->options.held_bytes_max) {
        frontd_close(self, frontd, "too much waits for an answer"); /* it asks again */
        return 0;
    }
    struct kept *kept = frontd_keep(&frontd->held, message);
    if (kept == NULL) {
        return ERR_NO_MEMORY;
    }
    kept->done = done;
    frontd->held_count++;
    frontd->held_bytes += bytes;
    self->counts.held++;
    self->counts.held_bytes += bytes;
    return 0;
}

/* May lookups be answered for it now? */
static bool router_can_answer(const struct router *self, const struct frontd *frontd)
{
    return self->is_ready && frontd_has_room(frontd) && !router_has_worked_enough(self);
}

static int router_lookup(struct router *self, struct frontd *frontd,
                         const struct router_message *message)
{
    uint32_t done = 0;
    bool is_whole = false;
    if (list_is_empty(&frontd->held) && router_can_answer(self, frontd)) {
        int result = handle_lookup(self, frontd, message->meta, &done, &is_whole);
        if (result < 0 || is_whole) {
            return result;
        }
    }
    return router_hold(self, frontd, message, done);
}

static int router_dispatch(struct router *self, struct frontd *frontd,
                           const struct router_message *message)
{
    self->work++;
    switch ((int) message->type) {
    case RAILGUN__BUS_TYPE__BUS_ROUTE_SUBSCRIBE:
        return handle_subscribe(self, frontd, message->meta);
    case RAILGUN__BUS_TYPE__BUS_ROUTE_UNSUBSCRIBE:
        return handle_unsubscribe(self, frontd, message->meta);
    case RAILGUN__BUS_TYPE__BUS_ROUTE_SYNCED:
        return handle_synced(self, frontd, message->meta);
    case RAILGUN__BUS_TYPE__BUS_ROUTE_APPLIED:
        return handle_applied(self, frontd, message->meta);
    case RAILGUN__BUS_TYPE__BUS_ROUTE_RELEASE:
        return handle_release(self, frontd, message->meta);
    case RAILGUN__BUS_TYPE__BUS_ROUTE_LOOKUP:
        return router_lookup(self, frontd, message);
    default:
        break;
    }
    if (!message->is_request) {
        return 0; /* A newer frontd may know better. */
    }
    switch ((int) message->type) {
    case RAILGUN__BUS_TYPE__BUS_ROUTE_CLAIM:
        /* What it tells of before it is synced is what it had; what comes then may be another's, who is still to tell. */
        return self->is_ready || !frontd->is_synced ? handle_claim(self, frontd, message)
                                                    : router_hold(self, frontd, message, 0);
    case RAILGUN__BUS_TYPE__BUS_ROUTE_RESOLVE:
        return self->is_ready ? handle_resolve(self, message)
                              : router_hold(self, frontd, message, 0);
    case RAILGUN__BUS_TYPE__BUS_ROUTE_INFO:
        return handle_info(self, message);
    default:
        self->out.reply(self->out.ud, message->ticket, ERR_UNKNOWN_FRAME, (struct span){0});
        return 0;
    }
}

static void router_take(struct router *self, struct frontd *frontd,
                        const struct router_message *message)
{
    int result = router_dispatch(self, frontd, message);
    if (result == ERR_PROTOCOL) {
        char why[64];
        (void) snprintf(why, sizeof(why), "malformed message of type %u", message->type);
        self->counts.malformed++;
        frontd_close(self, frontd, why);
    } else if (result < 0) {
        frontd_close(self, frontd, err_name(result));
    }
}

bool router_message(struct router *self, unsigned instance, const struct router_message *message)
{
    INVARIANT(instance < TABLE_FRONTDS_MAX);
    struct frontd *frontd = &self->frontds[instance];
    if (!frontd->is_up || frontd->is_closing) {
        return false;
    }
    frontd->quiet_ms = self->now_ms;
    frontd->is_given_up = false;
    if (list_is_empty(&frontd->inbox) && !router_has_worked_enough(self)) {
        router_take(self, frontd, message);
        return false;
    }
    struct kept *kept = frontd_keep(&frontd->inbox, message);
    if (kept == NULL) {
        frontd_close(self, frontd, err_name(ERR_NO_MEMORY));
        return false;
    }
    kept->is_held = true;
    return true;
}

/* --- the end of a turn ------------------------------------------------------------------------------------- */

/* One message of each in turn, so that none waits for another's million. Returns true when some are left. */
static bool router_work_off_inboxes(struct router *self)
{
    bool any = true;
    while (any && !router_has_worked_enough(self)) {
        any = false;
        for (unsigned i = 0; i < TABLE_FRONTDS_MAX; i++) {
            struct frontd *frontd = &self->frontds[i];
            if (list_is_empty(&frontd->inbox) || frontd->is_closing) {
                continue;
            }
            struct kept *kept = LIST_ENTRY(frontd->inbox.next, struct kept, link);
            list_remove(&kept->link);
            frontd->quiet_ms = self->now_ms;
            router_take(self, frontd, &kept->message);
            self->out.release(self->out.ud, kept->message.ticket);
            kept_free(&kept);
            any = true;
        }
    }
    for (unsigned i = 0; i < TABLE_FRONTDS_MAX; i++) {
        if (!list_is_empty(&self->frontds[i].inbox) && !self->frontds[i].is_closing) {
            return true;
        }
    }
    return false;
}

/* false: it stays. */
static bool router_answer_held(struct router *self, struct frontd *frontd, struct kept *kept)
{
    if ((int) kept->message.type != RAILGUN__BUS_TYPE__BUS_ROUTE_LOOKUP) {
        router_take(self, frontd, &kept->message);
        return true;
    }
    bool is_whole = false;
    int result = handle_lookup(self, frontd, kept->message.meta, &kept->done, &is_whole);
    if (result < 0) {
        self->counts.malformed++;
        frontd_close(self, frontd, "malformed lookup");
        return true;
    }
    return is_whole;
}

static bool router_work_off_held(struct router *self)
{
    bool is_left = false;
    for (unsigned i = 0; i < TABLE_FRONTDS_MAX; i++) {
        struct frontd *frontd = &self->frontds[i];
        while (!list_is_empty(&frontd->held) && !frontd->is_closing &&
               router_can_answer(self, frontd)) {
            struct kept *kept = LIST_ENTRY(frontd->held.next, struct kept, link);
            uint64_t bytes = sizeof(*kept) + kept->message.meta.size;
            if (!router_answer_held(self, frontd, kept)) {
                break;
            }
            kept_free(&kept);
            frontd->held_count--;
            frontd->held_bytes -= bytes;
            self->counts.held--;
            self->counts.held_bytes -= bytes;
        }
        is_left = is_left || (!list_is_empty(&frontd->held) && !frontd->is_closing &&
                              self->is_ready && frontd_has_room(frontd));
    }
    return is_left;
}

void router_confirm(struct router *self)
{
    if (!self->is_ready) {
        return;
    }
    uint64_t floor = UINT64_MAX;
    for (unsigned i = 0; i < TABLE_FRONTDS_MAX; i++) {
        uint64_t one = frontd_floor(self, &self->frontds[i]);
        floor = one < floor ? one : floor;
    }
    for (unsigned i = 0; i < TABLE_FRONTDS_MAX; i++) {
        struct frontd *frontd = &self->frontds[i];
        if (frontd->is_up && frontd->has_serial) {
            frontd_note(frontd, frontd->serial_last, self->changes.seq);
            frontd->has_serial = false;
        }
        uint64_t serial = 0;
        if (frontd->waiting_count > 0 && frontd_take(frontd, floor, &serial)) {
            struct buf meta = {0};
            pb_append_varint(&meta, CONFIRMED_SERIAL, serial);
            frontd_send(self, frontd, RAILGUN__BUS_TYPE__BUS_ROUTE_CONFIRMED, buf_span(&meta),
                        NULL);
            buf_release(&meta);
        }
    }
}

bool router_turn_end(struct router *self)
{
    bool is_left = router_work_off_inboxes(self);
    while (!router_has_worked_enough(self) && reap_one(self)) {
        self->work++;
    }
    is_left = is_left || router_has_worked_enough(self);
    readiness_check_leases(self);
    readiness_check(self);
    if (changes_are_due(&self->changes) && (self->is_ready || changes_are_many(&self->changes))) {
        changes_tell(self); /* before any answer or confirmation that follows from it */
    }
    is_left = router_work_off_held(self) || is_left;
    router_confirm(self);
    self->work = 0;
    return is_left;
}

/* --- what others may ask ----------------------------------------------------------------------------------- */

bool router_is_ready(const struct router *self)
{
    return self->is_ready;
}

void router_count(const struct router *self, struct router_counts *ret_counts)
{
    struct exchanges_counts counts;
    exchanges_count(self->exchanges, &counts);
    *ret_counts = self->counts;
    ret_counts->subscriptions = table_count(self->table);
    ret_counts->matchers = counts.matchers;
    ret_counts->groups = counts.groups;
    ret_counts->exchanges = counts.exchanges;
    ret_counts->names = names_count(self->names);
    ret_counts->seq = self->changes.seq;
    ret_counts->frontds = 0;
    ret_counts->unconfirmed = 0;
    ret_counts->outbound_bytes = 0;
    for (unsigned i = 0; i < TABLE_FRONTDS_MAX; i++) {
        const struct frontd *frontd = &self->frontds[i];
        ret_counts->frontds += frontd->is_up;
        ret_counts->unconfirmed += frontd->waiting_count > 0 || frontd->has_serial;
        ret_counts->outbound_bytes += frontd->outbox_bytes;
    }
}

bool router_invariant(const struct router *self)
{
    uint64_t held = 0;
    for (unsigned i = 0; i < TABLE_FRONTDS_MAX; i++) {
        const struct frontd *frontd = &self->frontds[i];
        held += frontd->held_count;
        if (!frontd->is_up && (frontd->is_synced || frontd->waiting_count > 0 ||
                               !list_is_empty(&frontd->outbox) || !list_is_empty(&frontd->held))) {
            return false;
        }
        if (frontd->is_up && (frontd->applied > frontd->sent || frontd->sent > self->changes.seq)) {
            return false;
        }
    }
    return held == self->counts.held && table_invariant(self->table);
}
