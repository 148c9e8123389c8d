/* watch: see the header. Owns the ring of sealed revisions, the watchers, and snapshots: each the whole state at one revision, encoded once and
 * shared by all watchers that need one at about the same time. Never keeps more than the limits in the header, and never skips a
 * revision: a watcher's position only grows by what was handed to the bus. */
#include "raftd/watch.h"

#include <string.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/list.h"
#include "common/base/mem.h"
#include "common/wire/pb.h"

/* Fields of CatalogChanges; encoded by hand so that changes are joined without decoding them. */
enum watch_field {
    FIELD_REVISION = 1,
    FIELD_RESET = 2,
    FIELD_MORE = 3,
    FIELD_STREAMS = 4,
    FIELD_STREAMS_DELETED = 5,
    FIELD_GROUPS = 6,
    FIELD_GROUPS_DELETED = 7,
    FIELD_ENDPOINTS = 8,
    FIELD_EXCHANGES = 9,
    FIELD_EXCHANGES_DELETED = 10,
};

/* One revision. */
struct watch_change {
    struct buf content; /* fields of CatalogChanges */
    bool deletes;
};

struct watch_snapshot {
    unsigned refs;
    uint64_t revision;
    size_t part_count;
    struct buf *parts; /* each a whole CatalogChanges */
};

struct watcher {
    struct list link;
    struct bus_link *peer;
    uint64_t position;               /* it was sent everything up to this revision */
    struct watch_snapshot *snapshot; /* while it gets one */
    size_t part_next;
    bool is_waiting; /* for credit */
};

struct watch {
    const struct catalog *catalog;
    watch_send_fn *send;
    void *ud;
    struct list watchers;
    size_t watcher_count;
    /* The last `count` revisions up to `revision`; revision r lies in ring[r % WATCH_HISTORY_MAX]. */
    struct watch_change ring[WATCH_HISTORY_MAX];
    uint64_t revision;
    uint64_t count;
    uint64_t bytes;
    struct watch_change gathering;
    struct watch_snapshot *latest; /* borrowed: alive while a watcher refers to it */
    struct buf scratch;
    struct buf item;
};

struct watch *watch_new(const struct catalog *catalog, watch_send_fn *send, void *ud)
{
    struct watch *self = MEM_NEW(struct watch);
    self->catalog = catalog;
    self->send = send;
    self->ud = ud;
    self->revision = catalog_revision(catalog);
    list_init(&self->watchers);
    return self;
}

/* --- snapshots --------------------------------------------------------------------------------------------- */

static void watch_snapshot_unref(struct watch *self, struct watch_snapshot **snapshot)
{
    struct watch_snapshot *gone = *snapshot;
    *snapshot = NULL;
    if (gone == NULL || --gone->refs > 0) {
        return;
    }
    if (self->latest == gone) {
        self->latest = NULL;
    }
    for (size_t i = 0; i < gone->part_count; i++) {
        buf_release(&gone->parts[i]);
    }
    mem_free(gone->parts);
    mem_free(gone);
}

/* The part being filled; a new one when it is full. Field order does not matter, so the head of a part comes when it is ended. */
static struct buf *watch_snapshot_part(struct watch_snapshot *snapshot)
{
    if (snapshot->part_count == 0 ||
        snapshot->parts[snapshot->part_count - 1].size >= WATCH_EVENT_BYTES) {
        snapshot->parts = (struct buf *) mem_resize(snapshot->parts, snapshot->part_count + 1,
                                                    sizeof(struct buf));
        snapshot->parts[snapshot->part_count] = (struct buf){0};
        snapshot->part_count++;
    }
    return &snapshot->parts[snapshot->part_count - 1];
}

static void watch_snapshot_add(struct watch *self, struct watch_snapshot *snapshot,
                               enum watch_field field)
{
    pb_append_bytes(watch_snapshot_part(snapshot), (uint32_t) field, buf_span(&self->item));
    buf_reset(&self->item);
}

static struct watch_snapshot *watch_snapshot_make(struct watch *self)
{
    struct watch_snapshot *snapshot = MEM_NEW(struct watch_snapshot);
    snapshot->revision = self->revision;
    (void) watch_snapshot_part(snapshot); /* also an empty catalogue is told */
    buf_reset(&self->item);
    const struct catalog_stream *stream;
    for (size_t at = 0; (stream = catalog_next_stream(self->catalog, &at)) != NULL;) {
        catalog_stream_pack(stream, &self->item);
        watch_snapshot_add(self, snapshot, FIELD_STREAMS);
    }
    const struct catalog_group *group;
    for (size_t at = 0; (group = catalog_next_group(self->catalog, &at)) != NULL;) {
        catalog_group_pack(group, &self->item);
        watch_snapshot_add(self, snapshot, FIELD_GROUPS);
    }
    const struct catalog_exchange *exchange;
    for (size_t at = 0; (exchange = catalog_next_exchange(self->catalog, &at)) != NULL;) {
        catalog_exchange_pack(exchange, &self->item);
        watch_snapshot_add(self, snapshot, FIELD_EXCHANGES);
    }
    const struct catalog_endpoint *endpoint;
    for (size_t at = 0; (endpoint = catalog_next_endpoint(self->catalog, &at)) != NULL;) {
        catalog_endpoint_pack(endpoint, &self->item);
        watch_snapshot_add(self, snapshot, FIELD_ENDPOINTS);
    }
    for (size_t i = 0; i < snapshot->part_count; i++) {
        pb_append_varint(&snapshot->parts[i], FIELD_REVISION, snapshot->revision);
        pb_append_varint(&snapshot->parts[i], FIELD_RESET, i == 0);
        pb_append_varint(&snapshot->parts[i], FIELD_MORE, i + 1 < snapshot->part_count);
    }
    return snapshot;
}

/* Does the ring hold all that came after this revision? */
static bool watch_remembers(const struct watch *self, uint64_t revision)
{
    return revision <= self->revision && self->revision - revision <= self->count;
}

static void watch_give_snapshot(struct watch *self, struct watcher *watcher)
{
    watch_snapshot_unref(self, &watcher->snapshot);
    if (self->latest == NULL || !watch_remembers(self, self->latest->revision)) {
        self->latest = watch_snapshot_make(self);
    }
    self->latest->refs++;
    watcher->snapshot = self->latest;
    watcher->part_next = 0;
}

/* --- what changes ------------------------------------------------------------------------------------------ */

void watch_put(struct watch *self, const struct catalog_change *change)
{
    struct watch_change *to = &self->gathering;
    buf_reset(&self->item);
    switch (change->kind) {
    case CATALOG_STREAM_PUT:
    case CATALOG_STREAM_BURIED:  /* deleted_us says it; its groups go with it without a word */
    case CATALOG_STREAM_DUG_OUT: /* and come again with it */
        catalog_stream_pack(change->stream, &self->item);
        pb_append_bytes(&to->content, FIELD_STREAMS, buf_span(&self->item));
        break;
    case CATALOG_STREAM_GONE:
        pb_append_varint(&to->content, FIELD_STREAMS_DELETED, change->stream->log_group);
        to->deletes = true;
        break;
    case CATALOG_GROUP_PUT:
        catalog_group_pack(change->group, &self->item);
        pb_append_bytes(&to->content, FIELD_GROUPS, buf_span(&self->item));
        break;
    case CATALOG_GROUP_GONE:
        pb_append_varint(&to->content, FIELD_GROUPS_DELETED, change->group->id);
        to->deletes = true;
        break;
    case CATALOG_EXCHANGE_PUT:
        catalog_exchange_pack(change->exchange, &self->item);
        pb_append_bytes(&to->content, FIELD_EXCHANGES, buf_span(&self->item));
        break;
    case CATALOG_EXCHANGE_GONE:
        catalog_exchange_pack_name(change->exchange, &self->item);
        pb_append_bytes(&to->content, FIELD_EXCHANGES_DELETED, buf_span(&self->item));
        to->deletes = true;
        break;
    case CATALOG_ENDPOINT_PUT:
        catalog_endpoint_pack(change->endpoint, &self->item);
        pb_append_bytes(&to->content, FIELD_ENDPOINTS, buf_span(&self->item));
        break;
    }
}

static struct watch_change *watch_slot(struct watch *self, uint64_t revision)
{
    return &self->ring[revision % WATCH_HISTORY_MAX];
}

static void watch_forget_oldest(struct watch *self)
{
    struct watch_change *oldest = watch_slot(self, self->revision - self->count + 1);
    self->bytes -= oldest->content.size;
    self->count--;
    buf_release(&oldest->content);
    oldest->deletes = false;
}

void watch_seal(struct watch *self)
{
    INVARIANT(catalog_revision(self->catalog) == self->revision + 1);

    if (self->count == WATCH_HISTORY_MAX) {
        watch_forget_oldest(self);
    }
    self->revision++;
    self->count++;
    self->bytes += self->gathering.content.size;
    *watch_slot(self, self->revision) = self->gathering;
    self->gathering = (struct watch_change){0};
    while (self->bytes > WATCH_HISTORY_BYTES_MAX && self->count > 1) {
        watch_forget_oldest(self);
    }
}

/* --- who follows ------------------------------------------------------------------------------------------- */

static struct watcher *watch_find(const struct watch *self, const struct bus_link *link)
{
    LIST_FOREACH (&self->watchers, node) {
        struct watcher *watcher = LIST_ENTRY(node, struct watcher, link);
        if (watcher->peer == link) {
            return watcher;
        }
    }
    return NULL;
}

void watch_remove(struct watch *self, const struct bus_link *link)
{
    struct watcher *watcher = watch_find(self, link);
    if (watcher == NULL) {
        return;
    }
    list_remove(&watcher->link);
    self->watcher_count--;
    watch_snapshot_unref(self, &watcher->snapshot);
    mem_free(watcher);
}

void watch_destroy(struct watch **self)
{
    struct watch *watch = *self;
    if (watch == NULL) {
        return;
    }
    LIST_FOREACH (&watch->watchers, node) {
        watch_remove(watch, LIST_ENTRY(node, struct watcher, link)->peer);
    }
    while (watch->count > 0) {
        watch_forget_oldest(watch);
    }
    buf_release(&watch->gathering.content);
    buf_release(&watch->scratch);
    buf_release(&watch->item);
    MEM_FREE(*self);
}

void watch_add(struct watch *self, struct bus_link *link, uint64_t after_revision)
{
    watch_remove(self, link);
    struct watcher *watcher = MEM_NEW(struct watcher);
    watcher->peer = link;
    watcher->position = after_revision;
    list_push_back(&self->watchers, &watcher->link);
    self->watcher_count++;
    if (after_revision == 0 || !watch_remembers(self, after_revision)) {
        watch_give_snapshot(self, watcher);
    }
}

void watch_ready(struct watch *self, const struct bus_link *link)
{
    struct watcher *watcher = watch_find(self, link);
    if (watcher != NULL) {
        watcher->is_waiting = false;
    }
}

size_t watch_count(const struct watch *self)
{
    return self->watcher_count;
}

/* --- sending ----------------------------------------------------------------------------------------------- */

/* Join the revisions after `position` into one event: as many as fit, and a deletion never with anything else, so
 * that nobody need ask which came first. Returns the last revision in it. */
static uint64_t watch_join(struct watch *self, uint64_t position)
{
    buf_reset(&self->scratch);
    uint64_t at = position;
    while (at < self->revision) {
        const struct watch_change *change = watch_slot(self, at + 1);
        bool is_first = at == position;
        if (!is_first && (change->deletes ||
                          self->scratch.size + change->content.size > (size_t) WATCH_EVENT_BYTES)) {
            break;
        }
        buf_append(&self->scratch, buf_span(&change->content));
        at++;
        if (change->deletes) {
            break;
        }
    }
    pb_append_varint(&self->scratch, FIELD_REVISION, at);
    return at;
}

/* One event; false when this watcher must wait or has everything. */
static bool watch_step(struct watch *self, struct watcher *watcher)
{
    if (watcher->is_waiting) {
        return false;
    }
    if (watcher->snapshot == NULL && watcher->position == self->revision) {
        return false;
    }
    if (watcher->snapshot == NULL && !watch_remembers(self, watcher->position)) {
        watch_give_snapshot(self, watcher);
    }
    uint64_t reached = watcher->position;
    struct span event;
    if (watcher->snapshot != NULL) {
        event = buf_span(&watcher->snapshot->parts[watcher->part_next]);
    } else {
        reached = watch_join(self, watcher->position);
        event = buf_span(&self->scratch);
    }
    if (self->send(self->ud, watcher->peer, event) != 0) {
        watcher->is_waiting = true; /* for credit, or for the end of the session */
        return false;
    }
    if (watcher->snapshot == NULL) {
        watcher->position = reached;
    } else if (++watcher->part_next == watcher->snapshot->part_count) {
        watcher->position = watcher->snapshot->revision;
        watch_snapshot_unref(self, &watcher->snapshot);
    }
    return true;
}

void watch_flush(struct watch *self)
{
    LIST_FOREACH (&self->watchers, node) {
        struct watcher *watcher = LIST_ENTRY(node, struct watcher, link);
        while (watch_step(self, watcher)) {
        }
    }
}
