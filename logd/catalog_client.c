/* catalog_client: the watch on raftd. Owns the place in the catalogue's history that this process has seen, and during a snapshot the set of what it
 * named. A stream is deleted only when a whole snapshot of the right cluster, not older than anything seen before, does not name it, or when a
 * change says so. A stream in its grace after a deletion is only closed. */
#include "logd/catalog_client.h"

#include <inttypes.h>

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/changes.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"
#include "logd/group_index.h"
#include "logd/parking.h"
#include "logd/state.h"
#include "logd/stream_body.h"

enum {
    CATALOG_WATCH_TIMEOUT_MS = 10000,
    CATALOG_RETRY_MS = 500,
    /* numbers of catalog.proto and client.proto */
    CATALOG_NAMESPACE = 1,
    CATALOG_DELETE = 2,
    CATALOG_GROUP_ID = 4,
    DELETE_KIND = 1,
    DELETE_NAME = 2,
    DELETE_GROUP = 3,
};

struct catalog_client {
    struct logd *logd;
    struct bus_peer *peer;
    struct bus_link *link; /* NULL: no session */
    uint64_t request;      /* the open watch request */
    bool is_watching;      /* raftd accepted the watch of this session */
    bool wrong_cluster;
    uint64_t revision;
    uint64_t revision_heard; /* the highest that frontd spoke of */
    /* a snapshot on its way */
    bool in_snapshot;
    struct hash64 *named_streams; /* log group -> itself as a mark */
    struct hash64 *named_groups;
    struct wheel_timer retry;
};

static void catalog_watch(struct catalog_client *self);

static void catalog_on_retry(struct wheel_timer *timer, void *ud)
{
    (void) timer;
    catalog_watch(ud);
}

struct catalog_client *catalog_client_new(struct logd *logd, const char *peer)
{
    struct catalog_client *self = MEM_NEW(struct catalog_client);
    self->logd = logd;
    wheel_timer_init(&self->retry, catalog_on_retry, self);
    self->peer = bus_connect(logd->bus, peer);
    return self;
}

void catalog_client_destroy(struct catalog_client **self)
{
    if (*self == NULL) {
        return;
    }
    struct catalog_client *client = *self;
    if (client->logd->bus != NULL) {
        bus_request_cancel(client->logd->bus, client->request);
    }
    wheel_cancel(loop_wheel(client->logd->loop), &client->retry);
    hash64_destroy(&client->named_streams);
    hash64_destroy(&client->named_groups);
    MEM_FREE(*self);
}

uint64_t catalog_client_revision(const struct catalog_client *self)
{
    return self != NULL ? self->revision : 0;
}

void catalog_client_note_revision(struct catalog_client *self, uint64_t revision)
{
    if (self != NULL && revision > self->revision_heard) {
        self->revision_heard = revision;
    }
}

/* --- the watch --- */

/* What raftd says of itself. 0, or an error that has been logged. */
static int catalog_take_watch_ok(struct catalog_client *self, struct span meta)
{
    struct logd *logd = self->logd;
    struct uuid cluster = {0};
    struct pb_field field;
    while (pb_next(&meta, &field) == 1) {
        if (field.number == 1 && uuid_from_bytes(field.bytes, &cluster) != 0) {
            cluster = (struct uuid){0};
        }
    }
    if (uuid_is_nil(&cluster)) {
        log_error("the catalogue does not know its cluster",
                  "peer=%s action=\"its word is not taken; streams are served as they are\"",
                  bus_peer_name(self->peer));
        return ERR_PROTOCOL;
    }
    int error = logd_adopt_cluster(logd, &cluster);
    if (error == ERR_WRONG_CLUSTER) {
        char ours[UUID_TEXT_SIZE];
        char theirs[UUID_TEXT_SIZE];
        uuid_format(&logd->cluster, ours);
        uuid_format(&cluster, theirs);
        log_error("the catalogue belongs to another cluster",
                  "peer=%s ours=%s theirs=%s action=\"its word is not taken; check run_dir and "
                  "data_dir\"",
                  bus_peer_name(self->peer), ours, theirs);
        self->wrong_cluster = true;
    }
    return error;
}

static void catalog_on_watch_done(void *ud, enum bus_outcome outcome,
                                  const struct bus_message *reply)
{
    struct catalog_client *self = ud;
    self->request = 0;
    if (self->link == NULL) {
        return; /* the next session asks again */
    }
    if (outcome != BUS_OK || reply->status != 0) {
        if (outcome == BUS_OK) {
            log_warn("the catalogue refuses the watch", "peer=%s error=%s action=\"asked again\"",
                     bus_peer_name(self->peer), err_name(reply->status));
        }
        loop_timer_start(self->logd->loop, &self->retry, CATALOG_RETRY_MS);
        return;
    }
    self->is_watching = catalog_take_watch_ok(self, reply->meta) == 0;
    if (!self->is_watching && !self->wrong_cluster) {
        loop_timer_start(self->logd->loop, &self->retry, CATALOG_RETRY_MS);
    }
}

static void catalog_watch(struct catalog_client *self)
{
    struct logd *logd = self->logd;
    if (self->link == NULL || self->request != 0) {
        return;
    }
    self->is_watching = false;
    self->in_snapshot = false;
    struct buf *meta = &logd->scratch;
    buf_reset(meta);
    pb_append_varint(meta, 1, self->revision);
    if (!uuid_is_nil(&logd->cluster)) {
        pb_append_bytes(meta, 2, span_make(logd->cluster.bytes, sizeof(logd->cluster.bytes)));
    }
    struct bus_outgoing out = {
        .type = RAILGUN__BUS_TYPE__BUS_CATALOG_WATCH,
        .meta = buf_span(meta),
    };
    int error = bus_request(self->link, &out, CATALOG_WATCH_TIMEOUT_MS, catalog_on_watch_done, self,
                            &self->request);
    if (error != 0) {
        self->request = 0;
        loop_timer_start(logd->loop, &self->retry, CATALOG_RETRY_MS);
    }
}

void catalog_client_on_up(struct catalog_client *self, struct bus_link *link)
{
    if (self == NULL || strcmp(bus_link_name(link), bus_peer_name(self->peer)) != 0) {
        return;
    }
    self->link = link;
    self->wrong_cluster = false;
    catalog_watch(self);
}

void catalog_client_on_down(struct catalog_client *self, struct bus_link *link)
{
    if (self == NULL || link != self->link) {
        return;
    }
    self->link = NULL;
    self->is_watching = false;
    self->in_snapshot = false;
    wheel_cancel(loop_wheel(self->logd->loop), &self->retry);
    if (self->request != 0) {
        bus_request_cancel(self->logd->bus, self->request);
        self->request = 0;
    }
}

/* --- streams --- */

struct catalog_stream {
    uint64_t log_group;
    uint64_t version;
    struct span namespace;
    struct span name;
    struct span id;
    struct span spec;
    uint64_t deleted_us; /* 0: it lives */
};

static int catalog_read_stream(struct span bytes, struct catalog_stream *ret_stream)
{
    struct catalog_stream stream = {0};
    struct pb_field field;
    int more;
    while ((more = pb_next(&bytes, &field)) == 1) {
        switch (field.number) {
        case 1:
            stream.namespace = field.bytes;
            break;
        case 2:
            stream.name = field.bytes;
            break;
        case 3:
            stream.id = field.bytes;
            break;
        case 4:
            stream.log_group = field.value;
            break;
        case 5:
            stream.version = field.value;
            break;
        case 6:
            stream.spec = field.bytes;
            break;
        case 8:
            stream.deleted_us = field.value;
            break;
        default:
            break;
        }
    }
    struct uuid id;
    if (more != 0 || stream.log_group == 0 || uuid_from_bytes(stream.id, &id) != 0) {
        return ERR_BAD_FORMAT;
    }
    *ret_stream = stream;
    return 0;
}

static void config_pack(struct buf *out, const struct catalog_stream *stream, bool deleted)
{
    struct buf name = {0};
    if (stream->namespace.size != 0 && !span_is(stream->namespace, "default")) {
        buf_append(&name, stream->namespace);
        buf_append_byte(&name, '/');
    }
    buf_append(&name, stream->name);
    buf_reset(out);
    pb_append_bytes(out, 1, stream->id);
    pb_append_bytes(out, 2, buf_span(&name));
    pb_append_varint(out, 3, stream->version);
    pb_append_bytes(out, 4, stream->spec);
    if (deleted) {
        pb_append_varint(out, 5, 1);
    }
    buf_release(&name);
}

/* A stream of the catalogue: made if it is new, configured anew if it changed. */
static void catalog_take_stream(struct catalog_client *self, struct span bytes)
{
    struct logd *logd = self->logd;
    struct catalog_stream told;
    if (catalog_read_stream(bytes, &told) != 0) {
        log_error("the catalogue names a stream that cannot be read",
                  "revision=%" PRIu64 " action=\"skipped\"", self->revision);
        return;
    }
    if (self->in_snapshot) {
        (void) hash64_put(self->named_streams, told.log_group, self); /* a mark, no more */
    }
    struct stream *stream = streams_get_or_make(logd, told.log_group);
    if (stream->deleted || stream->deleting) {
        log_error("the catalogue names a stream that was deleted",
                  "log_group=%" PRIu64 " action=\"it stays deleted: numbers are never re-used\"",
                  told.log_group);
        return;
    }
    if (!uuid_is_nil(&stream->id) &&
        !span_equal(told.id, span_make(stream->id.bytes, sizeof(stream->id.bytes)))) {
        log_error("the catalogue gives a stream another id",
                  "log_group=%" PRIu64 " action=\"ignored: ids never change\"", told.log_group);
        return;
    }
    struct buf packed = {0};
    config_pack(&packed, &told, false);
    const struct buf *current = stream->wanted.size != 0 ? &stream->wanted : &stream->config;
    if (!span_equal(buf_span(current), buf_span(&packed))) {
        stream_want_config(stream, buf_span(&packed));
    }
    buf_release(&packed);
    if (stream->closed != (told.deleted_us != 0)) {
        log_info(told.deleted_us != 0 ? "stream deleted, in its grace" : "stream undeleted",
                 "log_group=%" PRIu64 " next_offset=%" PRIu64, told.log_group, stream->next_offset);
        stream_set_closed(stream, told.deleted_us != 0);
    }
}

/* The same configuration with the mark. */
static void catalog_delete_stream(struct catalog_client *self, uint64_t log_group)
{
    struct stream *stream = streams_find(self->logd, log_group);
    if (stream == NULL || stream->deleted || stream->deleting) {
        return;
    }
    const struct buf *current = stream->wanted.size != 0 ? &stream->wanted : &stream->config;
    struct buf packed = {0};
    buf_append(&packed, buf_span(current));
    pb_append_varint(&packed, 5, 1);
    log_info("stream deleted for good", "log_group=%" PRIu64 " next_offset=%" PRIu64, log_group,
             stream->next_offset);
    stream_want_config(stream, buf_span(&packed));
    buf_release(&packed);
}

/* --- consumer groups --- */

static void catalog_take_group(struct catalog_client *self, struct span bytes, uint64_t revision)
{
    uint64_t group_id = 0;
    uint64_t log_group = 0;
    struct span name = {0};
    struct span spec = {0};
    struct pb_field field;
    while (pb_next(&bytes, &field) == 1) {
        if (field.number == 1) {
            group_id = field.value;
        } else if (field.number == 2) {
            log_group = field.value;
        } else if (field.number == 3) {
            name = field.bytes;
        } else if (field.number == 5) {
            spec = field.bytes;
        }
    }
    if (group_id == 0) {
        return;
    }
    if (self->in_snapshot) {
        (void) hash64_put(self->named_groups, group_id, self); /* a mark, no more */
    }
    struct stream *stream = streams_find(self->logd, log_group);
    if (stream != NULL) {
        group_index_put(self->logd->groups, group_id, stream);
    }
    if (stream != NULL && stream->groups != NULL && name.size != 0) {
        groups_configure(stream->groups, group_id, name, spec, revision);
    }
}

static void catalog_delete_group(struct catalog_client *self, uint64_t group_id)
{
    struct stream *stream = group_index_find(self->logd->groups, group_id);
    if (stream != NULL) {
        group_index_remove(self->logd->groups, group_id);
        if (stream->groups != NULL) {
            groups_drop(stream->groups, group_id);
        }
    }
}

/* --- snapshots --- */

static void catalog_begin_snapshot(struct catalog_client *self)
{
    self->in_snapshot = true;
    hash64_destroy(&self->named_streams);
    hash64_destroy(&self->named_groups);
    self->named_streams = hash64_new();
    self->named_groups = hash64_new();
}

/* Is the absence of a name in this snapshot the word of a catalogue that knows everything we know? */
static bool catalog_may_forget(const struct catalog_client *self, uint64_t revision)
{
    uint64_t seen = state_revision(self->logd->state);
    if (hash64_count(self->logd->streams) == 0) {
        return true; /* there is nothing to forget */
    }
    if (revision == 0 || revision < seen || revision < self->revision_heard) {
        log_error("the catalogue is older than what was seen of it",
                  "revision=%" PRIu64 " seen=%" PRIu64
                  " action=\"streams it does not name are kept\"",
                  revision, seen > self->revision_heard ? seen : self->revision_heard);
        return false;
    }
    return true;
}

static void catalog_end_snapshot(struct catalog_client *self, uint64_t revision)
{
    struct logd *logd = self->logd;
    if (catalog_may_forget(self, revision)) {
        size_t cursor = 0;
        struct stream *stream;
        while ((stream = hash64_next(logd->streams, &cursor)) != NULL) {
            if (hash64_get(self->named_streams, stream->log_group) == NULL) {
                catalog_delete_stream(self, stream->log_group);
            }
        }
        struct buf gone = {0}; /* dropping one changes the table */
        group_index_list(logd->groups, &gone);
        for (size_t at = 0; at + 8 <= gone.size; at += 8) {
            uint64_t group_id = bytes_get_u64(gone.data + at);
            if (hash64_get(self->named_groups, group_id) == NULL) {
                catalog_delete_group(self, group_id);
            }
        }
        buf_release(&gone);
    }
    self->in_snapshot = false;
    hash64_destroy(&self->named_streams);
    hash64_destroy(&self->named_groups);
}

/* --- changes --- */

void catalog_client_on_changes(struct catalog_client *self, struct bus_link *link,
                               struct span changes)
{
    if (self == NULL || link != self->link || !self->is_watching) {
        return;
    }
    struct logd *logd = self->logd;
    struct changes_head head;
    if (changes_read_head(changes, &head) != 0) {
        log_error("the catalogue's changes cannot be read", "action=\"ignored\"");
        return;
    }
    if (head.reset) {
        catalog_begin_snapshot(self);
    }
    struct span rest = changes;
    struct pb_field field;
    while (pb_next(&rest, &field) == 1) {
        if (field.number == CHANGES_STREAMS && field.type == PB_BYTES) {
            catalog_take_stream(self, field.bytes);
        } else if (field.number == CHANGES_STREAMS_DELETED && field.type == PB_VARINT) {
            catalog_delete_stream(self, field.value);
        } else if (field.number == CHANGES_GROUPS && field.type == PB_BYTES) {
            catalog_take_group(self, field.bytes, head.revision);
        } else if (field.number == CHANGES_GROUPS_DELETED && field.type == PB_VARINT) {
            catalog_delete_group(self, field.value);
        }
    }
    if (!head.more) {
        if (self->in_snapshot) {
            catalog_end_snapshot(self, head.revision);
        }
        if (head.revision > self->revision) {
            self->revision = head.revision;
        }
        if (head.revision > state_revision(logd->state)) {
            state_set_revision(logd->state, head.revision);
        }
        logd_became_ready(logd);
    }
    streams_propose_configs(logd);
    parking_wake(logd->parking);
    logd_start_saving(logd);
}

/* --- unused groups --- */

struct expiry {
    struct logd *logd;
    uint64_t group_id;
};

static void expiry_done(void *ud, enum bus_outcome outcome, const struct bus_message *reply)
{
    struct expiry *expiry = ud;
    if (outcome == BUS_OK && reply->status == ERR_NOT_FOUND) {
        const struct stream *stream = group_index_find(expiry->logd->groups, expiry->group_id);
        if (stream != NULL && stream->groups != NULL) {
            groups_expiry_refused(stream->groups, expiry->group_id);
        }
    }
    mem_free(expiry);
}

void catalog_client_expire_group(struct catalog_client *self, struct span stream, struct span group,
                                 uint64_t group_id)
{
    struct buf what = {0};
    struct buf meta = {0};
    uint64_t request;
    if (self == NULL || self->link == NULL || !self->is_watching || stream.size == 0) {
        return;
    }
    pb_append_varint(&what, DELETE_KIND, RAILGUN__KIND__KIND_GROUP);
    pb_append_bytes(&what, DELETE_NAME, stream);
    pb_append_bytes(&what, DELETE_GROUP, group);
    pb_append_bytes(&meta, CATALOG_NAMESPACE, span_of("default"));
    pb_append_bytes(&meta, CATALOG_DELETE, buf_span(&what));
    pb_append_varint(&meta, CATALOG_GROUP_ID, group_id);
    struct expiry *expiry = MEM_NEW(struct expiry);
    *expiry = (struct expiry){self->logd, group_id};
    struct bus_outgoing out = {.type = RAILGUN__BUS_TYPE__BUS_CATALOG_DELETE,
                               .meta = buf_span(&meta)};
    if (bus_request(self->link, &out, CATALOG_WATCH_TIMEOUT_MS, expiry_done, expiry, &request) !=
        0) {
        mem_free(expiry); /* asked again */
    }
    buf_release(&what);
    buf_release(&meta);
}
