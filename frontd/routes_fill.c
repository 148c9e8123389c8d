/* routes_fill: asks routerds for the topics that were missed during a turn, and makes entries of the answers. A topic is asked for once at a time. An entry is
 * one block of memory: the topic, then what the route consists of. */
#include "frontd/routes_private.h"

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/pb.h"

#include "frontd/routers.h"

enum {
    /* of one RouteLookup */
    LOOKUP_TOPICS_MAX = 512,
    LOOKUP_BYTES_MAX = 64 << 10,
    /* An answer that others' changes have overtaken is asked for again so often; then it is taken (routes.h says why that is safe), or a
     * topic whose subscribers come and go all the time would never get a route. */
    AGAIN_MAX = 2,
    ROUTE_ALIGNMENT = 8,
    ID_SIZE = 8,
};

enum { /* router.proto */
       LOOKUP_TOPICS = 3,
       ROUTES_ROUTES = 2,
       ROUTE_PLAIN = 1,
       ROUTE_GROUPS = 2,
       ROUTE_CODE = 3,
       GROUP_NAME = 1,
       GROUP_STICKY = 2,
       GROUP_MEMBERS = 3,
       MEMBERS_FRONTD = 1,
       MEMBERS_IDS = 2,
};

/* --- asking --- */

static struct lookup *lookup_gather(struct routes *self, struct route_table *table,
                                    struct buf *topics)
{
    struct lookup *lookup = MEM_NEW(struct lookup);
    unsigned count = 0;
    list_init(&lookup->entries);
    while (!list_is_empty(&table->wanted) && count < LOOKUP_TOPICS_MAX &&
           topics->size < LOOKUP_BYTES_MAX) {
        struct route_entry *entry = LIST_ENTRY(table->wanted.next, struct route_entry, link);
        list_remove(&entry->link);
        list_push_back(&lookup->entries, &entry->link);
        entry->state = ROUTE_ASKED;
        entry->lookup = lookup;
        pb_append_bytes(topics, LOOKUP_TOPICS, route_entry_topic(entry));
        count++;
    }
    lookup->number = ++self->number_last;
    lookup->table = table;
    lookup->changes = table->changes;
    return lookup;
}

/* Wanted again, in the same order, before all others. The lookup is freed. */
static void lookup_give_up(struct routes *self, struct lookup *lookup)
{
    struct list later;
    struct list *node = NULL;
    list_take_all(&later, &lookup->table->wanted);
    while ((node = list_pop_front(&lookup->entries)) != NULL) {
        routes_want(self, LIST_ENTRY(node, struct route_entry, link));
    }
    while ((node = list_pop_front(&later)) != NULL) {
        list_push_back(&lookup->table->wanted, node);
    }
    mem_free(lookup);
}

static bool routes_ask_table(struct routes *self, struct route_table *table)
{
    struct buf *topics = &self->frontd->scratch;
    while (!list_is_empty(&table->wanted)) {
        struct lookup *lookup = lookup_gather(self, table, topics);
        lookup->source = routers_lookup(self->frontd->routers, table->exchange, lookup->number,
                                        buf_span(topics));
        buf_reset(topics);
        if (lookup->source == 0) {
            self->is_blocked = true;
            lookup_give_up(self, lookup);
            return false;
        }
        INVARIANT(routes_source_is_known(self, lookup->source));
        (void) hash64_put(self->lookups, lookup->number, lookup);
    }
    return true;
}

void routes_ask(struct routes *self)
{
    while (!self->is_blocked && !list_is_empty(&self->tables_wanted)) {
        struct route_table *table =
            LIST_ENTRY(self->tables_wanted.next, struct route_table, of_wanted);
        if (routes_ask_table(self, table)) {
            list_remove(&table->of_wanted);
        }
    }
}

void routes_ask_others(struct routes *self, uint64_t source)
{
    size_t cursor = 0;
    struct lookup *lookup = NULL;
    while ((lookup = hash64_next(self->lookups, &cursor)) != NULL) {
        if (lookup->source == source) {
            (void) hash64_remove(self->lookups, lookup->number);
            lookup_give_up(self, lookup);
        }
    }
}

void routes_distrust_answers(struct routes *self)
{
    size_t cursor = 0;
    const struct lookup *lookup = NULL;
    while ((lookup = hash64_next(self->lookups, &cursor)) != NULL) {
        LIST_FOREACH (&lookup->entries, node) {
            struct route_entry *entry = LIST_ENTRY(node, struct route_entry, link);
            entry->is_overtaken = true;
            entry->again = 0;
        }
    }
}

/* --- reading a Route --- */

/* What an entry is made of. */
struct route_sizes {
    uint32_t code;
    size_t plain;
    size_t groups;
    size_t group_members;
    size_t ids;
    size_t names; /* bytes */
};

struct members_view {
    uint32_t frontd;
    size_t count;
    struct span bytes; /* RouteMembers */
};

static int members_read(struct span bytes, struct members_view *ret_view)
{
    struct members_view view = {.bytes = bytes};
    struct pb_field field;
    int result = 0;
    while ((result = pb_next(&bytes, &field)) == 1) {
        if (field.number == MEMBERS_FRONTD && field.type == PB_VARINT) {
            view.frontd = (uint32_t) field.value;
        } else if (field.number == MEMBERS_IDS && field.type == PB_BYTES &&
                   field.bytes.size % ID_SIZE == 0) {
            view.count += field.bytes.size / ID_SIZE;
        } else if (field.number == MEMBERS_IDS) {
            return ERR_PROTOCOL;
        }
    }
    if (result == 0) {
        *ret_view = view;
    }
    return result;
}

/* Count the members with field number `number` in a message; those without ids do not count. */
static int sizes_add_members(struct span bytes, uint32_t number, size_t *members, size_t *ids)
{
    struct pb_field field;
    int result = 0;
    while ((result = pb_next(&bytes, &field)) == 1) {
        struct members_view view;
        if (field.number != number || field.type != PB_BYTES) {
            continue;
        }
        result = members_read(field.bytes, &view);
        if (result != 0) {
            return result;
        }
        *members += view.count != 0 ? 1 : 0;
        *ids += view.count;
    }
    return result;
}

static int sizes_add_group(struct span bytes, struct route_sizes *sizes)
{
    struct pb_field field;
    size_t members = 0;
    size_t names = 0;
    int result = sizes_add_members(bytes, GROUP_MEMBERS, &members, &sizes->ids);
    if (result != 0) {
        return result;
    }
    while ((result = pb_next(&bytes, &field)) == 1) {
        if (field.number == GROUP_NAME && field.type == PB_BYTES) {
            names += field.bytes.size;
        }
    }
    if (members != 0) {
        sizes->groups++;
        sizes->group_members += members;
        sizes->names += names;
    }
    return result;
}

static int route_measure(struct span bytes, struct route_sizes *ret_sizes)
{
    struct route_sizes sizes = {0};
    struct pb_field field;
    int result = sizes_add_members(bytes, ROUTE_PLAIN, &sizes.plain, &sizes.ids);
    if (result != 0) {
        return result;
    }
    while ((result = pb_next(&bytes, &field)) == 1) {
        if (field.number == ROUTE_GROUPS && field.type == PB_BYTES) {
            result = sizes_add_group(field.bytes, &sizes);
        } else if (field.number == ROUTE_CODE && field.type == PB_VARINT) {
            sizes.code = (uint32_t) field.value;
        }
        if (result < 0) {
            return result;
        }
    }
    if (result == 0) {
        if (sizes.code != 0) { /* then there is nothing else */
            sizes = (struct route_sizes){.code = sizes.code};
        }
        *ret_sizes = sizes;
    }
    return result;
}

/* --- building an entry --- */

/* Where the next of each kind goes. */
struct route_builder {
    unsigned local; /* our instance */
    struct route_members *members;
    struct route_group *groups;
    uint64_t *ids;
    uint8_t *names;
};

static void build_members(struct route_builder *builder, const struct members_view *view)
{
    struct span bytes = view->bytes;
    struct pb_field field;
    *builder->members++ = (struct route_members){
        .frontd = view->frontd,
        .is_local = view->frontd == builder->local,
        .count = (uint32_t) view->count,
        .ids = builder->ids,
    };
    while (pb_next(&bytes, &field) == 1) {
        if (field.number == MEMBERS_IDS) {
            for (size_t at = 0; at < field.bytes.size; at += ID_SIZE) {
                *builder->ids++ = bytes_get_u64(field.bytes.data + at);
            }
        }
    }
}

/* All members with this field number: those here first. Returns how many ids they have. */
static uint32_t build_all_members(struct route_builder *builder, struct span bytes, uint32_t number)
{
    uint32_t ids = 0;
    for (int pass = 0; pass < 2; pass++) {
        struct span rest = bytes;
        struct pb_field field;
        while (pb_next(&rest, &field) == 1) {
            struct members_view view;
            if (field.number == number && field.type == PB_BYTES &&
                members_read(field.bytes, &view) == 0 && view.count != 0 &&
                (view.frontd == builder->local) == (pass == 0)) {
                build_members(builder, &view);
                ids += (uint32_t) view.count;
            }
        }
    }
    return ids;
}

static void build_group(struct route_builder *builder, struct span bytes)
{
    struct route_group group = {.members = builder->members};
    struct pb_field field;
    group.member_count = build_all_members(builder, bytes, GROUP_MEMBERS);
    if (group.member_count == 0) {
        return;
    }
    group.count = (uint32_t) (builder->members - group.members);
    while (pb_next(&bytes, &field) == 1) {
        if (field.number == GROUP_NAME && field.type == PB_BYTES && field.bytes.size != 0) {
            group.name = span_make(builder->names, field.bytes.size);
            memcpy(builder->names, field.bytes.data, field.bytes.size);
            builder->names += field.bytes.size;
        } else if (field.number == GROUP_STICKY && field.type == PB_VARINT) {
            group.sticky_by_key = field.value != 0;
        }
    }
    *builder->groups++ = group;
}

/* The parts lie behind the topic: what needs alignment first. */
static size_t route_parts_at(const struct route_entry *entry)
{
    size_t at = sizeof(struct route_entry) + entry->topic_size;
    return (at + ROUTE_ALIGNMENT - 1) / ROUTE_ALIGNMENT * ROUTE_ALIGNMENT;
}

static size_t route_parts_size(const struct route_sizes *sizes)
{
    return (sizes->plain + sizes->group_members) * sizeof(struct route_members) +
           sizes->groups * sizeof(struct route_group) + sizes->ids * sizeof(uint64_t) +
           sizes->names;
}

static void route_build(struct route_entry *entry, const struct route_sizes *sizes,
                        struct span bytes, unsigned local)
{
    struct pb_field field;
    uint8_t *at = (uint8_t *) entry + route_parts_at(entry);
    struct route_members *members = (void *) at;
    struct route_group *groups = (void *) (members + sizes->plain + sizes->group_members);
    uint64_t *ids = (void *) (groups + sizes->groups);
    struct route_builder builder = {
        .local = local,
        .members = members,
        .groups = groups,
        .ids = ids,
        .names = (void *) (ids + sizes->ids),
    };
    struct route route = {.plain = members, .groups = groups};
    if (sizes->code != 0) {
        bool is_ours = sizes->code <= INT32_MAX && err_find((int) sizes->code) != NULL;
        entry->route = (struct route){.error = is_ours ? -(int) sizes->code : ERR_INTERNAL};
        return;
    }
    route.entities = build_all_members(&builder, bytes, ROUTE_PLAIN);
    route.plain_count = (uint32_t) (builder.members - members);
    while (pb_next(&bytes, &field) == 1) {
        if (field.number == ROUTE_GROUPS && field.type == PB_BYTES) {
            build_group(&builder, field.bytes);
        }
    }
    route.group_count = (uint32_t) (builder.groups - groups);
    route.entities += route.group_count;
    entry->route = route;
}

/* Put the answer in the place of the entry that waits for it. 0; ERR_PROTOCOL, ERR_NO_MEMORY: nothing was done. */
static int routes_fill(struct routes *self, const struct lookup *lookup, struct route_entry *entry,
                       struct span bytes)
{
    struct route_sizes sizes;
    int result = route_measure(bytes, &sizes);
    if (result != 0) {
        return result;
    }
    size_t size = route_parts_at(entry) + route_parts_size(&sizes);
    struct route_entry *filled = size <= UINT32_MAX ? mem_try_new(size) : NULL;
    if (filled == NULL) {
        return ERR_NO_MEMORY;
    }
    memcpy(filled, entry, sizeof(*entry) + entry->topic_size);
    filled->bytes = (uint32_t) size;
    filled->source = lookup->source;
    filled->globals = self->globals;
    filled->changes = entry->table->changes;
    filled->age = 0;
    list_init(&filled->link);
    route_build(filled, &sizes, bytes, self->instance);
    routes_replace(self, entry, filled);
    return 0;
}

/* --- the answer --- */

static bool lookup_is_overtaken(const struct lookup *lookup, const struct route_entry *entry)
{
    return entry->is_overtaken || route_table_has_changed(lookup->table, route_entry_topic(entry),
                                                          lookup->changes, lookup->source);
}

static void lookup_take_one(struct routes *self, struct lookup *lookup, struct span bytes)
{
    struct list *node = list_pop_front(&lookup->entries);
    if (node == NULL) {
        return; /* an answer to nothing */
    }
    struct route_entry *entry = LIST_ENTRY(node, struct route_entry, link);
    if (entry->again < AGAIN_MAX && lookup_is_overtaken(lookup, entry)) {
        entry->again++;
        self->counts.stale++;
        routes_want(self, entry);
    } else if (routes_fill(self, lookup, entry, bytes) != 0) {
        routes_drop(self, entry); /* who waits for it asks again */
    }
}

void routes_answer(struct routes *self, uint64_t source, uint64_t number, struct span answer)
{
    struct lookup *lookup = hash64_get(self->lookups, number);
    struct pb_field field;
    int result = 0;
    if (lookup == NULL || lookup->source != source) {
        return; /* others were asked meanwhile */
    }
    while ((result = pb_next(&answer, &field)) == 1) {
        if (field.number == ROUTES_ROUTES && field.type == PB_BYTES) {
            lookup_take_one(self, lookup, field.bytes);
        }
    }
    struct list *node = NULL;
    while (result < 0 && (node = list_pop_front(&lookup->entries)) != NULL) {
        routes_drop(self, LIST_ENTRY(node, struct route_entry, link));
    }
    if (list_is_empty(&lookup->entries)) { /* else more of the answer comes */
        (void) hash64_remove(self->lookups, number);
        mem_free(lookup);
    }
    routes_defer(self); /* there may be too much now */
    self->on_progress(self->ud);
}
