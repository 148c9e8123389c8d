/* groups: the consumer groups of one stream: the set, their entries applied, their state saved and loaded, links that come and
 * go. Owns every group and member of the stream. The replicated state changes in groups_apply alone. */
#include "logd/groups.h"

#include <inttypes.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/run/log.h"
#include "common/wire/pb.h"
#include "logd/groups_own.h"
#include "logd/kinds.h"
#include "logd/logd.h"
#include "logd/stream.h"

/* Numbers of log.proto. */
enum {
    ENTRY_GROUP_ID = 1,
    ENTRY_NAME = 2,
    ENTRY_FLOOR = 3,
    ENTRY_SPEC = 4,
    ENTRY_DELETED = 5,
    ENTRY_ACKS_GROUPS = 1,
};

struct groups *groups_new(struct stream *stream)
{
    struct groups *self = MEM_NEW(struct groups);
    struct metrics *metrics = logd_metrics(stream_logd(stream));
    self->stream = stream;
    self->hosted = hash64_new();
    list_init(&self->active);
    list_init(&self->changed);
    list_init(&self->unsaved);
    list_init(&self->attaches);
    list_init(&self->syncs);
    list_init(&self->cancels);
    list_init(&self->draining);
    list_init(&self->burials);
    list_init(&self->configures);
    ephemerals_init(&self->ephemerals);
    self->count = (struct groups_counters){
        .delivered = metrics_counter(metrics, "railgun_group_delivered_records_total"),
        .redelivered = metrics_counter(metrics, "railgun_group_redelivered_records_total"),
        .acked = metrics_counter(metrics, "railgun_group_acked_records_total"),
        .nacked = metrics_counter(metrics, "railgun_group_nacked_records_total"),
        .skipped = metrics_counter(metrics, "railgun_group_skipped_records_total"),
        .check_errors = metrics_counter(metrics, "railgun_group_check_errors_total"),
        .bad_acks = metrics_counter(metrics, "railgun_group_bad_acks_total"),
        .deadlines = metrics_counter(metrics, "railgun_group_deadline_records_total"),
        .delay_full = metrics_counter(metrics, "railgun_group_delay_full_total"),
        .gap_records = metrics_counter(metrics, "railgun_group_gap_records_total"),
        .reattached = metrics_counter(metrics, "railgun_group_reattached_total"),
        .dead = metrics_counter(metrics, "railgun_group_dead_records_total"),
        .dead_errors = metrics_counter(metrics, "railgun_group_dead_letter_errors_total"),
        .breakers = metrics_counter(metrics, "railgun_group_breaker_opened_total"),
    };
    self->timer_at_ms = UINT64_MAX;
    self->expiry_at_ms = UINT64_MAX;
    return self;
}

static void hosted_destroy(struct hosted *hosted)
{
    list_remove(&hosted->active);
    list_remove(&hosted->changed);
    list_remove(&hosted->unsaved);
    list_remove(&hosted->resting);
    list_remove(&hosted->burial.node);
    group_destroy(&hosted->group);
    mem_free(hosted);
}

/* All members out, told so with an error if there is one. */
static void hosted_empty(struct hosted *hosted, int cancel_error)
{
    struct group_member *share;
    while ((share = group_member_next(hosted->group, NULL)) != NULL) {
        struct member *member = member_of(share);
        if (cancel_error != 0) {
            member_cancel(member, cancel_error);
        } else {
            member_destroy(&member, false);
        }
    }
}

void groups_cancel(struct groups *self, int error)
{
    LIST_FOREACH (&self->active, node) {
        hosted_empty(LIST_ENTRY(node, struct hosted, active), error);
    }
    (void) members_tell_cancelled(self); /* who cannot be told now is told by the catalogue */
    LIST_FOREACH (&self->attaches, node) {
        struct attach *attach = LIST_ENTRY(node, struct attach, node);
        (void) bus_reply_error(groups_bus(self), attach->ticket, error, NULL);
        attach_destroy(self, &attach);
    }
    LIST_FOREACH (&self->syncs, node) {
        struct sync_ack *sync = LIST_ENTRY(node, struct sync_ack, node);
        (void) bus_reply_error(groups_bus(self), sync->ticket, error, NULL);
        list_remove(&sync->node);
        buf_release(&sync->reply);
        mem_free(sync);
        self->sync_count--;
    }
}

void groups_destroy(struct groups **self)
{
    struct groups *groups = *self;
    if (groups == NULL) {
        return;
    }
    groups->is_closing = true;
    size_t cursor = 0;
    struct hosted *hosted;
    while ((hosted = hash64_next(groups->hosted, &cursor)) != NULL) {
        hosted_empty(hosted, 0);
        hosted_destroy(hosted);
    }
    LIST_FOREACH (&groups->cancels, node) {
        struct member *member = LIST_ENTRY(node, struct member, cancel_node);
        member_destroy(&member, false);
    }
    LIST_FOREACH (&groups->attaches, node) {
        struct attach *attach = LIST_ENTRY(node, struct attach, node);
        attach_destroy(groups, &attach);
    }
    LIST_FOREACH (&groups->syncs, node) {
        struct sync_ack *sync = LIST_ENTRY(node, struct sync_ack, node);
        buf_release(&sync->reply);
        mem_free(sync);
    }
    groups_configure_forget(groups, 0);
    hash64_destroy(&groups->hosted);
    ephemerals_release(&groups->ephemerals);
    ranges_destroy(&groups->dropped);
    ranges_destroy(&groups->drops_wanted);
    ranges_destroy(&groups->drops_unsaved);
    ack_results_release(&groups->results);
    buf_release(&groups->meta);
    buf_release(&groups->part);
    MEM_FREE(*self);
}

struct bus *groups_bus(const struct groups *self)
{
    return logd_bus(stream_logd(self->stream));
}

void groups_tick(struct groups *self, struct hosted *hosted)
{
    struct logd *logd = stream_logd(self->stream);
    group_tick(hosted->group, logd_real_ms(logd), loop_now_ms(logd_loop(logd)));
}

struct hosted *groups_find(const struct groups *self, uint64_t group_id)
{
    return hash64_get(self->hosted, group_id);
}

size_t groups_count(const struct groups *self)
{
    return hash64_count(self->hosted) - hash_count(self->ephemerals.by_name);
}

void groups_check_one(struct groups *self, struct hosted *hosted)
{
    groups_exclusive_check(self, hosted);
    if (group_check(hosted->group)) {
        return;
    }
    (*self->count.check_errors)++;
    if (hosted->check_errors++ == 0) {
        struct group_numbers numbers;
        group_numbers(hosted->group, &numbers);
        log_error("a group does not add up",
                  "log_group=%" PRIu64 " group=%" PRIu64 " floor=%" PRIu64 " cursor=%" PRIu64
                  " acked=%" PRIu64 " held=%" PRIu64 " ready=%" PRIu64 " delayed=%" PRIu64
                  " skipped=%" PRIu64 " action=\"counted; please report it\"",
                  stream_log_group(self->stream), group_replicated(hosted->group)->id,
                  numbers.floor, numbers.cursor, numbers.acked_above, numbers.held, numbers.ready,
                  numbers.delayed, numbers.skipped);
    }
}

void groups_propose_soon(struct groups *self, struct hosted *hosted)
{
    if (group_has_changes(hosted->group) && !list_is_linked(&hosted->changed)) {
        list_push_back(&self->changed, &hosted->changed);
    }
}

void groups_touched(struct groups *self, struct hosted *hosted)
{
    if (self->is_closing) {
        return;
    }
    groups_propose_soon(self, hosted);
    groups_check_one(self, hosted);
    self->deliver_more = true;
    logd_mark_dirty(stream_logd(self->stream), self->stream);
}

/* --- applying --- */

static void hosted_mark_unsaved(struct hosted *hosted)
{
    if (!list_is_linked(&hosted->unsaved)) {
        list_push_back(&hosted->groups->unsaved, &hosted->unsaved);
    }
}

struct hosted *groups_host(struct groups *groups, struct group_state *state)
{
    struct hosted *self = MEM_NEW(struct hosted);
    self->groups = groups;
    self->group = group_new(state);
    list_init(&self->active);
    list_init(&self->changed);
    list_init(&self->unsaved);
    list_init(&self->resting);
    list_init(&self->burial.node);
    hash64_put(groups->hosted, group_replicated(self->group)->id, self);
    return self;
}

void groups_unhost(struct groups *self, struct hosted *hosted)
{
    hash64_remove(self->hosted, group_replicated(hosted->group)->id);
    hosted_destroy(hosted);
}

static void ranges_add_lazy(struct ranges **set, uint64_t number)
{
    if (*set == NULL) {
        *set = ranges_new();
    }
    ranges_set(*set, number, number, 0);
}

static void groups_apply_drop(struct groups *self, uint64_t group_id, uint64_t index)
{
    struct hosted *hosted = groups_find(self, group_id);
    if (hosted != NULL) {
        if (hosted->is_expiring) {
            groups_note(self, hosted, &(struct event){.type = RAILGUN__EVENT__TYPE__GROUP_DELETED});
        }
        hosted_empty(hosted, ERR_NOT_FOUND);
        groups_unhost(self, hosted);
        ranges_add_lazy(&self->drops_unsaved, group_id);
        (void) members_tell_cancelled(self); /* the rest when their links are ready */
    }
    groups_attach_applied(self, group_id, NULL, index);
}

struct group_entry {
    uint64_t id;
    uint64_t floor;
    struct span name;
    struct span spec;
    bool deleted;
};

static int group_entry_read(struct span payload, struct group_entry *ret_entry)
{
    struct group_entry entry = {0};
    struct pb_field field;
    int more;
    while ((more = pb_next(&payload, &field)) > 0) {
        if (field.number == ENTRY_GROUP_ID && field.type == PB_VARINT) {
            entry.id = field.value;
        } else if (field.number == ENTRY_NAME && field.type == PB_BYTES) {
            entry.name = field.bytes;
        } else if (field.number == ENTRY_FLOOR && field.type == PB_VARINT) {
            entry.floor = field.value;
        } else if (field.number == ENTRY_SPEC && field.type == PB_BYTES) {
            entry.spec = field.bytes;
        } else if (field.number == ENTRY_DELETED && field.type == PB_VARINT) {
            entry.deleted = field.value != 0;
        }
    }
    if (more < 0 || entry.id == 0 || entry.floor > GROUP_OFFSET_MAX) {
        return ERR_BAD_FORMAT;
    }
    *ret_entry = entry;
    return 0;
}

static int groups_apply_group(struct groups *self, uint64_t index, struct span payload)
{
    struct group_entry entry;
    if (group_entry_read(payload, &entry) < 0) {
        return ERR_BAD_FORMAT;
    }
    if (entry.deleted) {
        groups_apply_drop(self, entry.id, index);
        return 0;
    }
    struct hosted *hosted = groups_find(self, entry.id);
    if (hosted != NULL) {
        hosted->configs -= hosted->configs > 0 ? 1 : 0;
        uint64_t ack_wait_ms = group_replicated(hosted->group)->limits.ack_wait_ms;
        if (group_state_configure(group_replicated(hosted->group), entry.name, entry.spec) < 0) {
            return ERR_BAD_FORMAT;
        }
        if (group_member_count(hosted->group) > 0) {
            groups_tick(self, hosted);
        }
        group_reconfigured(hosted->group, ack_wait_ms);
        groups_configured(self, hosted, ack_wait_ms);
    } else {
        struct group_state state;
        group_state_init(&state, entry.id);
        group_state_seek(&state, entry.floor);
        /* Records may have been removed since the floor was chosen. */
        (void) group_state_trim(&state, stream_first_offset(self->stream));
        if (group_state_configure(&state, entry.name, entry.spec) < 0) {
            group_state_release(&state);
            return ERR_BAD_FORMAT;
        }
        ephemerals_yield(self, entry.name);
        hosted = groups_host(self, &state);
        if (self->drops_unsaved != NULL) {
            ranges_clear_range(self->drops_unsaved, entry.id, entry.id);
        }
    }
    groups_trim_one(self, hosted, stream_first_offset(self->stream));
    hosted_mark_unsaved(hosted);
    groups_idle(self, hosted);
    groups_attach_applied(self, entry.id, hosted, index);
    return 0;
}

static int groups_apply_acks(struct groups *self, uint64_t index, struct span payload)
{
    /* All of it is checked before any of it is applied. */
    struct pb_field field;
    struct span rest = payload;
    uint64_t id;
    int more;
    while ((more = pb_next(&rest, &field)) > 0) {
        if (field.number == ENTRY_ACKS_GROUPS &&
            (field.type != PB_BYTES || group_state_check_acks(field.bytes, &id) < 0)) {
            return ERR_BAD_FORMAT;
        }
    }
    if (more < 0) {
        return ERR_BAD_FORMAT;
    }
    rest = payload;
    while (pb_next(&rest, &field) > 0) {
        if (field.number != ENTRY_ACKS_GROUPS) {
            continue;
        }
        int error = group_state_check_acks(field.bytes, &id);
        INVARIANT(error == 0);
        struct hosted *hosted = groups_find(self, id);
        if (hosted == NULL) {
            continue; /* dropped while this entry was under way */
        }
        group_state_apply_acks(group_replicated(hosted->group), field.bytes);
        /* a seek may have been overtaken by a trim */
        groups_trim_one(self, hosted, stream_first_offset(self->stream));
        group_changes_applied(hosted->group);
        groups_exclusive_applied(self, hosted);
        groups_dead_applied(self, hosted);
        group_rest(hosted->group);
        hosted_mark_unsaved(hosted);
    }
    self->acks_applied = index;
    groups_sync_applied(self, index);
    return 0;
}

int groups_apply(struct groups *self, uint8_t kind, uint64_t index, struct span payload)
{
    switch ((enum log_kind) kind) {
    case LOG_KIND_GROUP:
        return groups_apply_group(self, index, payload);
    case LOG_KIND_ACKS:
        return groups_apply_acks(self, index, payload);
    case LOG_KIND_BATCH:
    case LOG_KIND_CONFIG:
    case LOG_KIND_TRIM:
    case LOG_KIND_IDS:
    case LOG_KIND_STATE:
        break;
    }
    return ERR_BAD_FORMAT;
}

/* --- saving --- */

bool groups_is_dirty(const struct groups *self)
{
    return !list_is_empty(&self->unsaved) ||
           (self->drops_unsaved != NULL && ranges_count(self->drops_unsaved) > 0);
}

size_t groups_saved_bytes(const struct groups *self)
{
    return self->saved_bytes;
}

int groups_save(struct groups *self, groups_save_fn *save, void *ud)
{
    struct range range;
    self->saved_bytes = 0;
    while (self->drops_unsaved != NULL && ranges_lowest(self->drops_unsaved, &range)) {
        int error = save(ud, range.first, true, span_make(NULL, 0));
        if (error != 0) {
            return error;
        }
        ranges_clear_range(self->drops_unsaved, range.first, range.first);
    }
    LIST_FOREACH (&self->unsaved, node) {
        struct hosted *hosted = LIST_ENTRY(node, struct hosted, unsaved);
        const struct group_state *state = group_replicated(hosted->group);
        buf_reset(&self->meta);
        group_state_encode(state, &self->meta);
        self->saved_bytes += self->meta.size;
        int error = save(ud, state->id, false, buf_span(&self->meta));
        if (error != 0) {
            return error;
        }
        list_remove(&hosted->unsaved);
    }
    return 0;
}

int groups_load(struct groups *self, struct span bytes)
{
    struct group_state state;
    if (group_state_decode(&state, bytes) < 0) {
        return ERR_BAD_FORMAT;
    }
    if (groups_find(self, state.id) != NULL) {
        group_state_release(&state);
        return ERR_BAD_FORMAT;
    }
    struct hosted *hosted = groups_host(self, &state);
    groups_idle(self, hosted);
    groups_dead_applied(self, hosted);
    return 0;
}

/* --- dropping, links --- */

void groups_drop(struct groups *self, uint64_t group_id)
{
    bool is_opening = false;
    LIST_FOREACH (&self->attaches, node) {
        is_opening = is_opening || LIST_ENTRY(node, struct attach, node)->group_id == group_id;
    }
    ranges_add_lazy(&self->dropped, group_id);
    groups_configure_forget(self, group_id);
    if (groups_find(self, group_id) == NULL && !is_opening) {
        return;
    }
    if (groups_propose_drop(self, group_id) != 0) {
        ranges_add_lazy(&self->drops_wanted, group_id);
        logd_mark_dirty(stream_logd(self->stream), self->stream);
    }
}

void groups_link_ready(struct groups *self, struct bus_link *link)
{
    (void) members_tell_cancelled(self); /* the rest stays in the list */
    LIST_FOREACH (&self->active, node) {
        struct group *group = LIST_ENTRY(node, struct hosted, active)->group;
        for (struct group_member *share = group_member_next(group, NULL); share != NULL;
             share = group_member_next(group, share)) {
            if (share->is_blocked && member_of(share)->link == link &&
                groups_tell_owed(self, member_of(share))) {
                group_block(group, share, false);
                self->deliver_more = true;
            }
        }
    }
    if (self->deliver_more) {
        logd_mark_dirty(stream_logd(self->stream), self->stream);
    }
}

void groups_link_down(struct groups *self, struct bus_link *link)
{
    LIST_FOREACH (&self->active, node) {
        struct group *group = LIST_ENTRY(node, struct hosted, active)->group;
        struct group_member *next;
        for (struct group_member *share = group_member_next(group, NULL); share != NULL;
             share = next) {
            next = group_member_next(group, share);
            struct member *member = member_of(share);
            if (member->link == link) {
                member_destroy(&member, false); /* a server failed, not they */
            }
        }
    }
    LIST_FOREACH (&self->cancels, node) {
        struct member *member = LIST_ENTRY(node, struct member, cancel_node);
        if (member->link == link) {
            member_destroy(&member, false);
        }
    }
    LIST_FOREACH (&self->attaches, node) {
        struct attach *attach = LIST_ENTRY(node, struct attach, node);
        if (attach->link == link) {
            attach_destroy(self, &attach);
        }
    }
}
