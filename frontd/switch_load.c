/* switch_load: how full the members of groups are: ours, which we tell, and those of other frontds. Only what is not idle is told and kept. Owns what was
 * told. Must never keep more than LOADS_MAX entries. */
#include "common/base/bytes.h"
#include "common/base/mem.h"
#include "common/run/loop.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/pb.h"

#include "frontd/neighbours.h"
#include "frontd/switch_private.h"

enum {
    TELL_MS = 50,
    LOADS_MAX = 1 << 20,
    LOADS_IN_MESSAGE = 1024,
    QUEUED_STEP = 64 << 10, /* smaller changes are not told */
    LOAD_IDS = 1,
    LOAD_QUEUED = 2,
    LOAD_HAS_CREDIT = 3,
};

/* Of a member elsewhere that is not idle. */
struct switch_load {
    uint64_t id;
    uint64_t queued;
    unsigned frontd;
    bool has_credit;
};

/* An EsLoad that is being put together. */
struct telling {
    struct frontd *frontd;
    int neighbour; /* -1: all */
    struct buf ids;
    struct buf queued;
    struct buf has_credit;
    unsigned count;
};

static void tell_fire(struct wheel_timer *timer, void *ud)
{
    struct switch_state *self = ud;
    (void) timer;
    switch_tell_loads(self->frontd);
}

struct switch_state *switch_new(struct frontd *frontd)
{
    struct switch_state *self = MEM_NEW(struct switch_state);
    self->frontd = frontd;
    prng_init(&self->prng, entropy_u64());
    self->loads = hash64_new();
    list_init(&self->changed);
    list_init(&self->told);
    wheel_timer_init(&self->timer, tell_fire, self);
    return self;
}

static void loads_forget(struct switch_state *self, int neighbour)
{
    size_t cursor = 0;
    struct switch_load *load = NULL;
    while ((load = (struct switch_load *) hash64_next(self->loads, &cursor)) != NULL) {
        if (neighbour < 0 || load->frontd == (unsigned) neighbour) {
            (void) hash64_remove(self->loads, load->id); /* is this one */
            mem_free(load);
        }
    }
}

void switch_destroy(struct switch_state **self)
{
    struct switch_state *state = *self;
    *self = NULL;
    if (state == NULL) {
        return;
    }
    wheel_cancel(loop_wheel(state->frontd->loop), &state->timer);
    loads_forget(state, -1);
    hash64_destroy(&state->loads);
    buf_release(&state->gone);
    buf_release(&state->scratch);
    mem_free(state);
}

/* --- others' --- */

bool switch_load_of(const struct switch_state *self, uint64_t id, uint64_t *ret_queued)
{
    const struct switch_load *load = (const struct switch_load *) hash64_get(self->loads, id);
    *ret_queued = load != NULL ? load->queued : 0;
    return load == NULL || load->has_credit;
}

static void load_put(struct switch_state *self, unsigned from, uint64_t id, uint64_t queued,
                     bool has_credit)
{
    struct switch_load *load = (struct switch_load *) hash64_get(self->loads, id);
    if (queued == 0 && has_credit) {
        if (load != NULL) {
            (void) hash64_remove(self->loads, id); /* is this one */
            mem_free(load);
        }
        return;
    }
    if (load == NULL) {
        if (hash64_count(self->loads) >= LOADS_MAX) {
            return; /* taken for idle: its frontd finds another */
        }
        load = MEM_NEW(struct switch_load);
        load->id = id;
        (void) hash64_put(self->loads, id, load); /* was absent */
    }
    load->frontd = from;
    load->queued = queued;
    load->has_credit = has_credit;
}

/* The next varint of a packed field. */
static bool packed_next(struct span *rest, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0; rest->size != 0 && shift < 64; shift += 7) {
        uint8_t byte = rest->data[0];
        *rest = span_make(rest->data + 1, rest->size - 1);
        value |= (uint64_t) (byte & 0x7f) << shift;
        if (byte < 0x80) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

void switch_on_load(struct frontd *frontd, unsigned from, const struct bus_message *message)
{
    struct span parts[LOAD_HAS_CREDIT + 1] = {{0}};
    struct span rest = message->meta;
    struct pb_field field;
    while (pb_next(&rest, &field) == 1) {
        if (field.number <= LOAD_HAS_CREDIT && field.type == PB_BYTES) {
            parts[field.number] = field.bytes;
        }
    }
    while (parts[LOAD_IDS].size >= 8) {
        uint64_t queued = 0;
        uint64_t has_credit = 0;
        uint64_t id = bytes_get_u64(parts[LOAD_IDS].data);
        parts[LOAD_IDS] = span_make(parts[LOAD_IDS].data + 8, parts[LOAD_IDS].size - 8);
        if (!packed_next(&parts[LOAD_QUEUED], &queued) ||
            !packed_next(&parts[LOAD_HAS_CREDIT], &has_credit)) {
            return;
        }
        load_put(frontd->switching, from, id, queued, has_credit != 0);
    }
}

/* --- ours --- */

static void telling_send(struct telling *self)
{
    struct buf meta = {0};
    if (self->count == 0) {
        return;
    }
    pb_append_bytes(&meta, LOAD_IDS, buf_span(&self->ids));
    pb_append_bytes(&meta, LOAD_QUEUED, buf_span(&self->queued));
    pb_append_bytes(&meta, LOAD_HAS_CREDIT, buf_span(&self->has_credit));
    unsigned cursor = 0;
    int neighbour = self->neighbour;
    if (neighbour < 0) {
        neighbour = neighbours_next(self->frontd->neighbours, &cursor);
    }
    while (neighbour >= 0) {
        /* false: it is not up, and is told all when it is */
        (void) neighbours_tell(self->frontd->neighbours, (unsigned) neighbour,
                               RAILGUN__BUS_TYPE__BUS_ES_LOAD, buf_span(&meta));
        neighbour = self->neighbour < 0 ? neighbours_next(self->frontd->neighbours, &cursor) : -1;
    }
    buf_release(&meta);
    buf_reset(&self->ids);
    buf_reset(&self->queued);
    buf_reset(&self->has_credit);
    self->count = 0;
}

static void telling_end(struct telling *self)
{
    telling_send(self);
    buf_release(&self->ids);
    buf_release(&self->queued);
    buf_release(&self->has_credit);
}

static void telling_add(struct telling *self, uint64_t id, uint64_t queued, bool has_credit)
{
    bytes_put_u64(buf_reserve(&self->ids, 8), id);
    buf_advance(&self->ids, 8);
    uint8_t *at = buf_reserve(&self->queued, PB_VARINT_SIZE_MAX);
    buf_advance(&self->queued, (size_t) (pb_put_varint(at, queued) - at));
    buf_append_byte(&self->has_credit, has_credit ? 1 : 0);
    if (++self->count == LOADS_IN_MESSAGE) {
        telling_send(self);
    }
}

/* A queue of nothing without credit, or one with it, is no idle member: it must not look like one. */
static void telling_add_member(struct telling *self, struct subscription *member,
                               struct member_load *load)
{
    load->told_queued = subscription_queued_bytes(member);
    load->told_credit = subscription_is_willing(member);
    if (load->told_queued == 0 && load->told_credit) {
        load->told_queued = 1;
    }
    telling_add(self, subscription_id(member), load->told_queued, load->told_credit);
}

static void tell_later(struct switch_state *self)
{
    if (!wheel_timer_is_running(&self->timer) && neighbours_count(self->frontd->neighbours) != 0) {
        loop_timer_start(self->frontd->loop, &self->timer, TELL_MS);
    }
}

/* Has it changed much since it was told? */
static bool load_is_old(struct subscription *member, const struct member_load *load)
{
    uint64_t queued = subscription_queued_bytes(member);
    return subscription_is_willing(member) != load->told_credit ||
           queued > load->told_queued * 2 + QUEUED_STEP ||
           queued * 2 + QUEUED_STEP < load->told_queued;
}

void switch_tell_loads(struct frontd *frontd)
{
    struct switch_state *self = frontd->switching;
    struct telling telling = {.frontd = frontd, .neighbour = -1};
    struct list *node = NULL;
    for (size_t at = 0; at + 8 <= self->gone.size; at += 8) {
        telling_add(&telling, bytes_get_u64(self->gone.data + at), 0, true);
    }
    buf_reset(&self->gone);
    LIST_FOREACH (&self->told, told) {
        struct member_load *load = LIST_ENTRY(told, struct member_load, of_told);
        struct subscription *member = subscription_of_load(load);
        if (!list_is_linked(&load->of_changed) && load_is_old(member, load)) {
            telling_add_member(&telling, member, load);
        }
    }
    while ((node = list_pop_front(&self->changed)) != NULL) {
        struct member_load *load = LIST_ENTRY(node, struct member_load, of_changed);
        struct subscription *member = subscription_of_load(load);
        if (!subscription_is_idle(member)) {
            telling_add_member(&telling, member, load);
            list_remove(&load->of_told);
            list_push_back(&self->told, &load->of_told);
        } else if (list_is_linked(&load->of_told)) {
            telling_add(&telling, subscription_id(member), 0, true);
            list_remove(&load->of_told);
        }
    }
    telling_end(&telling);
    if (!list_is_empty(&self->told)) {
        tell_later(self);
    }
}

void switch_load_changed(struct frontd *frontd, struct subscription *member)
{
    struct switch_state *self = frontd->switching;
    struct member_load *load = subscription_load(member);
    if (!list_is_linked(&load->of_changed)) {
        list_push_back(&self->changed, &load->of_changed);
    }
    tell_later(self);
}

void switch_member_gone(struct frontd *frontd, struct subscription *member)
{
    struct switch_state *self = frontd->switching;
    struct member_load *load = subscription_load(member);
    list_remove(&load->of_changed);
    if (list_is_linked(&load->of_told)) {
        list_remove(&load->of_told);
        if (neighbours_count(frontd->neighbours) != 0) {
            bytes_put_u64(buf_reserve(&self->gone, 8), subscription_id(member));
            buf_advance(&self->gone, 8);
            tell_later(self);
        }
    }
}

void switch_neighbour_up(struct frontd *frontd, unsigned neighbour)
{
    struct switch_state *self = frontd->switching;
    struct telling telling = {.frontd = frontd, .neighbour = (int) neighbour};
    LIST_FOREACH (&self->told, node) {
        struct member_load *load = LIST_ENTRY(node, struct member_load, of_told);
        telling_add(&telling, subscription_id(subscription_of_load(load)), load->told_queued,
                    load->told_credit);
    }
    telling_end(&telling);
    if (!list_is_empty(&self->changed) || !list_is_empty(&self->told)) {
        tell_later(self);
    }
}

void switch_neighbour_lost(struct frontd *frontd, unsigned neighbour)
{
    loads_forget(frontd->switching, (int) neighbour);
}
