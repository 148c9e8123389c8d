/* route: see the header. One walk over the subscriptions that match gathers ids: plain ones for each frontd, members of groups in a chain for each group. Then
 * sizes, then bytes. The work is in proportion to what is found. */
#include "routerd/route.h"

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/pb.h"

#include "routerd/matcher.h"

enum { ROUTES_ROUTES = 2 };
enum { ROUTE_PLAIN = 1, ROUTE_GROUPS = 2, ROUTE_CODE = 3 };
enum { GROUP_NAME = 1, GROUP_STICKY = 2, GROUP_MEMBERS = 3 };
enum { MEMBERS_FRONTD = 1, MEMBERS_IDS = 2 };
enum { KEEP_MAX = 65536 }; /* found by one lookup: room for more is not kept */

#define CHAIN_END UINT32_MAX

struct ids { /* of one frontd */
    uint64_t *items;
    size_t count;
    size_t capacity;
};

struct member {
    uint64_t id;
    uint32_t frontd;
    uint32_t next; /* of the same group */
};

struct touched {
    const struct group *group;
    uint32_t first;
    uint32_t last;
};

struct route_maker {
    const struct table *table;
    struct ids ids[TABLE_FRONTDS_MAX];
    uint64_t used; /* a bit for each frontd with ids */
    struct member *members;
    uint32_t member_count;
    uint32_t member_capacity;
    struct touched *touched;
    uint32_t touched_count;
    uint32_t touched_capacity;
    uint64_t mark;
    uint64_t entities;
    uint64_t entities_max;
    uint64_t looked_at;
    bool is_failed; /* no memory */
    struct buf route;
    struct buf group;
};

struct route_maker *route_maker_new(const struct table *table)
{
    struct route_maker *self = MEM_NEW(struct route_maker);
    self->table = table;
    return self;
}

void route_maker_destroy(struct route_maker **self)
{
    if (*self == NULL) {
        return;
    }
    for (unsigned i = 0; i < TABLE_FRONTDS_MAX; i++) {
        mem_free((*self)->ids[i].items);
    }
    mem_free((*self)->members);
    mem_free((*self)->touched);
    buf_release(&(*self)->route);
    buf_release(&(*self)->group);
    MEM_FREE(*self);
}

/* --- gathering --------------------------------------------------------------------------------------------- */

static void route_put_id(struct route_maker *self, unsigned frontd, uint64_t id)
{
    struct ids *ids = &self->ids[frontd];
    if (ids->count == ids->capacity) {
        size_t capacity = ids->capacity != 0 ? 2 * ids->capacity : 16;
        uint64_t *items = (uint64_t *) mem_try_resize(ids->items, capacity, sizeof(*items));
        if (items == NULL) {
            self->is_failed = true;
            return;
        }
        ids->items = items;
        ids->capacity = capacity;
    }
    ids->items[ids->count++] = id;
    self->used |= UINT64_C(1) << frontd;
}

/* The place of the group among those touched; UINT32_MAX: no memory. */
static uint32_t route_touch(struct route_maker *self, struct group *group)
{
    if (group->mark == self->mark) {
        return group->touched;
    }
    self->entities++;
    if (self->touched_count == self->touched_capacity) {
        uint32_t capacity = self->touched_capacity != 0 ? 2 * self->touched_capacity : 16;
        struct touched *touched =
            (struct touched *) mem_try_resize(self->touched, capacity, sizeof(*touched));
        if (touched == NULL) {
            self->is_failed = true;
            return UINT32_MAX;
        }
        self->touched = touched;
        self->touched_capacity = capacity;
    }
    group->mark = self->mark;
    group->touched = self->touched_count++;
    self->touched[group->touched] = (struct touched){group, CHAIN_END, CHAIN_END};
    return group->touched;
}

static void route_put_member(struct route_maker *self, struct group *group, unsigned frontd,
                             uint64_t id)
{
    uint32_t place = route_touch(self, group);
    if (place == UINT32_MAX) {
        return;
    }
    if (self->member_count == self->member_capacity) {
        uint32_t capacity = self->member_capacity != 0 ? 2 * self->member_capacity : 16;
        struct member *members =
            (struct member *) mem_try_resize(self->members, capacity, sizeof(*members));
        if (members == NULL) {
            self->is_failed = true;
            return;
        }
        self->members = members;
        self->member_capacity = capacity;
    }
    struct touched *touched = &self->touched[place];
    uint32_t at = self->member_count++;
    self->members[at] = (struct member){id, frontd, CHAIN_END};
    if (touched->first == CHAIN_END) {
        touched->first = at;
    } else {
        self->members[touched->last].next = at;
    }
    touched->last = at;
}

static void route_on_found(void *ud, uint64_t slot)
{
    struct route_maker *self = (struct route_maker *) ud;
    if (self->entities > self->entities_max || self->is_failed) {
        return;
    }
    const struct subscription *subscription = table_at(self->table, (uint32_t) slot);
    self->looked_at++;
    if (table_is_dead(self->table, subscription)) {
        return;
    }
    unsigned frontd = subscription_frontd(subscription);
    struct group *group = subscription_group(subscription);
    if (group != NULL) {
        route_put_member(self, group, frontd, subscription->id);
    } else {
        self->entities++;
        route_put_id(self, frontd, subscription->id);
    }
}

/* --- bytes ------------------------------------------------------------------------------------------------- */

/* A field with RouteMembers for each frontd that has ids; they are taken. */
static void route_write_members(struct route_maker *self, struct buf *out, uint32_t field)
{
    while (self->used != 0) {
        unsigned frontd = (unsigned) __builtin_ctzll(self->used);
        struct ids *ids = &self->ids[frontd];
        size_t bytes = 8 * ids->count;
        size_t size = 2 + 1 + pb_varint_size(bytes) + bytes; /* frontd < 64: one byte */
        uint8_t *at = buf_try_reserve(out, PB_TAG_SIZE_MAX + PB_LENGTH_SIZE_MAX + size);
        if (at == NULL) {
            self->is_failed = true;
        } else {
            const uint8_t *begin = at;
            at = pb_put_tag(at, field, PB_BYTES);
            at = pb_put_varint(at, size);
            at = pb_put_tag(at, MEMBERS_FRONTD, PB_VARINT);
            at = pb_put_varint(at, frontd);
            at = pb_put_tag(at, MEMBERS_IDS, PB_BYTES);
            at = pb_put_varint(at, bytes);
            for (size_t i = 0; i < ids->count; i++, at += 8) {
                bytes_put_u64(at, ids->items[i]);
            }
            buf_advance(out, (size_t) (at - begin));
        }
        ids->count = 0;
        self->used &= self->used - 1;
    }
}

static void route_write_group(struct route_maker *self, const struct touched *touched)
{
    for (uint32_t at = touched->first; at != CHAIN_END; at = self->members[at].next) {
        route_put_id(self, self->members[at].frontd, self->members[at].id);
    }
    buf_reset(&self->group);
    pb_append_bytes(&self->group, GROUP_NAME,
                    span_make(touched->group->name, touched->group->size));
    pb_append_varint(&self->group, GROUP_STICKY, touched->group->is_sticky);
    route_write_members(self, &self->group, GROUP_MEMBERS);
    pb_append_bytes(&self->route, ROUTE_GROUPS, buf_span(&self->group));
}

/* After something very large. */
static void route_give_back(struct route_maker *self)
{
    if (self->looked_at <= KEEP_MAX) {
        return;
    }
    for (unsigned i = 0; i < TABLE_FRONTDS_MAX; i++) {
        MEM_FREE(self->ids[i].items);
        self->ids[i].capacity = 0;
    }
    MEM_FREE(self->members);
    self->member_capacity = 0;
    MEM_FREE(self->touched);
    self->touched_capacity = 0;
    buf_release(&self->route);
    buf_release(&self->group);
}

uint64_t route_make(struct route_maker *self, struct exchange *exchange, struct span topic,
                    uint64_t entities_max, struct buf *out)
{
    self->mark++;
    self->member_count = 0;
    self->touched_count = 0;
    self->entities = 0;
    self->entities_max = entities_max;
    self->looked_at = 0;
    self->is_failed = false;
    buf_reset(&self->route);
    if (exchange != NULL) {
        matcher_find(exchange->index, topic, route_on_found, self);
    }
    /* Always: it empties what was gathered. */
    route_write_members(self, &self->route, ROUTE_PLAIN);
    bool is_over = self->entities > entities_max || self->is_failed;
    for (uint32_t i = 0; i < self->touched_count && !is_over; i++) {
        route_write_group(self, &self->touched[i]);
    }
    if (is_over || self->is_failed) {
        buf_reset(&self->route);
        pb_append_varint(&self->route, ROUTE_CODE, (uint64_t) -ERR_QUOTA);
    }
    pb_append_bytes(out, ROUTES_ROUTES, buf_span(&self->route));
    route_give_back(self);
    return self->looked_at;
}
