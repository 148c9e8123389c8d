/* dispatch: what comes over the bus, to whom. Owns the table of which streams have had members of which link, so that a link's credit and
 * its end reach them without a walk over all streams. */
#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/log.pb-c.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"
#include "logd/answer.h"
#include "logd/append.h"
#include "logd/catalog_client.h"
#include "logd/events.h"
#include "logd/ids.h"
#include "logd/info.h"
#include "logd/parking.h"
#include "logd/readers.h"
#include "logd/stream_body.h"
#include "logd/trim.h"

struct link_streams {
    uint64_t link_id;
    struct hash64 *streams; /* of struct stream, by log group */
};

static void links_note(struct logd *self, const struct bus_link *link, struct stream *stream)
{
    uint64_t id = bus_link_id(link);
    struct link_streams *entry = hash64_get(self->links, id);
    if (entry == NULL) {
        entry = MEM_NEW(struct link_streams);
        entry->link_id = id;
        entry->streams = hash64_new();
        (void) hash64_put(self->links, id, entry); /* there was none */
    }
    (void) hash64_put(entry->streams, stream->log_group, stream); /* or again */
}

/* --- requests for a stream --- */

static uint64_t attach_revision(struct span meta)
{
    uint64_t revision = 0;
    struct pb_field field;
    while (pb_next(&meta, &field) == 1) {
        if (field.number == 11) {
            revision = field.value;
        }
    }
    return revision;
}

static void dispatch_attach(struct logd *self, struct bus_link *link, struct bus_message *message,
                            struct stream *stream)
{
    catalog_client_note_revision(self->catalog, attach_revision(message->meta));
    if (self->draining) {
        answer_error(self, message->ticket, &(struct answer_error){.error = ERR_GOING_AWAY});
        return;
    }
    links_note(self, link, stream);
    groups_handle_attach(stream->groups, link, message);
}

/* Everything that names a stream by its log group. */
static void dispatch_stream(struct logd *self, struct bus_link *link, struct bus_message *message)
{
    struct stream *stream = streams_find(self, message->subject);
    if (message->type == RAILGUN__BUS_TYPE__BUS_LOG_PUBLISH) {
        append_handle(self->append, link, message, stream);
        return;
    }
    int error = 0;
    if (stream == NULL) {
        bool tells = message->type == RAILGUN__BUS_TYPE__BUS_LOG_ATTACH;
        error =
            parking_take(self->parking, link, message, tells ? attach_revision(message->meta) : 0);
        if (error == 0) {
            return;
        }
    } else if (stream_is_gone(stream)) {
        error = ERR_STREAM_DELETED;
    }
    if (error != 0) {
        answer_error(self, message->ticket, &(struct answer_error){.error = error});
        return;
    }
    switch (message->type) {
    case RAILGUN__BUS_TYPE__BUS_LOG_READ:
        readers_handle(self->readers, message, stream);
        break;
    case RAILGUN__BUS_TYPE__BUS_LOG_ATTACH:
        dispatch_attach(self, link, message, stream);
        break;
    case RAILGUN__BUS_TYPE__BUS_LOG_DEDUP:
        ids_handle(stream, message);
        break;
    case RAILGUN__BUS_TYPE__BUS_LOG_STREAM_INFO:
        info_answer_stream(stream, message);
        break;
    case RAILGUN__BUS_TYPE__BUS_LOG_PURGE:
        purge_handle(self, message, stream);
        break;
    case RAILGUN__BUS_TYPE__BUS_LOG_GROUP_INFO:
        groups_handle_info(stream->groups, message);
        break;
    case RAILGUN__BUS_TYPE__BUS_LOG_GROUP_CONTROL:
        groups_handle_control(stream->groups, message);
        break;
    case RAILGUN__BUS_TYPE__BUS_LOG_DEAD_LETTERS:
        groups_handle_dead(stream->groups, message);
        break;
    default:
        groups_handle_pending(stream->groups, message);
        break;
    }
}

/* What was changed in the catalogue up to a revision holds here: for those who tell a client that it is done. */
static void dispatch_seen(struct logd *self, struct bus_link *link, struct bus_message *message)
{
    Railgun__LogSeen *seen = NULL;
    int error = SCAN_UNPACK(message->meta, railgun__log_seen, &seen);
    uint64_t revision = error == 0 ? seen->revision : 0;
    SCAN_FREE(&seen);
    if (error == 0 && revision > catalog_client_revision(self->catalog)) {
        error = parking_take(self->parking, link, message, revision);
        if (error == 0) {
            return;
        }
    }
    if (error != 0) {
        answer_error(self, message->ticket, &(struct answer_error){.error = error});
    } else {
        answer_ok(self, message->ticket, RAILGUN__BUS_TYPE__BUS_LOG_SEEN, (struct span){0}, NULL);
    }
}

/* --- messages of a consumer --- */

static void dispatch_member(struct logd *self, struct bus_link *link, struct bus_message *message)
{
    struct member *member = members_find(self->members, link, message->subject);
    if (member == NULL) {
        if (message->is_request) {
            answer_error(self, message->ticket,
                         &(struct answer_error){.error = ERR_NOT_FOUND,
                                                .detail = "no such consumer on this connection"});
        } else {
            (*self->count.unknown_events)++;
        }
        return;
    }
    if (message->type == RAILGUN__BUS_TYPE__BUS_LOG_DETACH) {
        member_handle_detach(member, message);
    } else if (message->type == RAILGUN__BUS_TYPE__BUS_LOG_EXTEND) {
        member_handle_extend(member, message);
    } else if (message->type == RAILGUN__BUS_TYPE__BUS_LOG_CREDIT) {
        member_handle_credit(member, message);
    } else {
        member_handle_ack(member, message);
    }
}

void logd_dispatch(struct logd *self, struct bus_link *link, struct bus_message *message)
{
    switch (message->type) {
    case RAILGUN__BUS_TYPE__BUS_LOG_PUBLISH:
    case RAILGUN__BUS_TYPE__BUS_LOG_READ:
    case RAILGUN__BUS_TYPE__BUS_LOG_ATTACH:
    case RAILGUN__BUS_TYPE__BUS_LOG_STREAM_INFO:
    case RAILGUN__BUS_TYPE__BUS_LOG_GROUP_INFO:
    case RAILGUN__BUS_TYPE__BUS_LOG_PENDING:
    case RAILGUN__BUS_TYPE__BUS_LOG_PURGE:
    case RAILGUN__BUS_TYPE__BUS_LOG_GROUP_CONTROL:
    case RAILGUN__BUS_TYPE__BUS_LOG_DEDUP:
    case RAILGUN__BUS_TYPE__BUS_LOG_DEAD_LETTERS:
        if (message->is_request) {
            dispatch_stream(self, link, message);
            return;
        }
        break;
    case RAILGUN__BUS_TYPE__BUS_LOG_DETACH:
    case RAILGUN__BUS_TYPE__BUS_LOG_ACK:
        if (message->is_request) {
            dispatch_member(self, link, message);
            return;
        }
        break;
    case RAILGUN__BUS_TYPE__BUS_LOG_EXTEND:
        dispatch_member(self, link, message);
        return;
    case RAILGUN__BUS_TYPE__BUS_LOG_ACK_ONEWAY:
    case RAILGUN__BUS_TYPE__BUS_LOG_CREDIT:
        if (!message->is_request) {
            dispatch_member(self, link, message);
            return;
        }
        break;
    case RAILGUN__BUS_TYPE__BUS_LOG_SEEN:
        if (message->is_request) {
            dispatch_seen(self, link, message);
            return;
        }
        break;
    case RAILGUN__BUS_TYPE__BUS_LOG_WATCH:
        if (message->is_request) {
            events_handle_watch(self->events, link, message);
            return;
        }
        break;
    case RAILGUN__BUS_TYPE__BUS_LOG_UNWATCH:
        if (!message->is_request) {
            events_handle_unwatch(self->events, link, message);
            return;
        }
        break;
    case RAILGUN__BUS_TYPE__BUS_CATALOG_CHANGES:
        if (!message->is_request) {
            catalog_client_on_changes(self->catalog, link, message->meta);
            return;
        }
        break;
    default:
        break;
    }
    if (message->is_request) {
        answer_error(self, message->ticket, &(struct answer_error){.error = ERR_UNKNOWN_FRAME});
    } else {
        (*self->count.unknown_events)++;
    }
}

/* --- the bus's handlers --- */

void logd_on_message(void *ud, struct bus_link *link, struct bus_message *message)
{
    logd_dispatch(ud, link, message);
}

void logd_on_up(void *ud, struct bus_link *link)
{
    struct logd *self = ud;
    catalog_client_on_up(self->catalog, link);
}

void logd_on_down(void *ud, struct bus_link *link)
{
    struct logd *self = ud;
    catalog_client_on_down(self->catalog, link);
    parking_link_down(self->parking, link);
    events_link_down(self->events, link);
    struct link_streams *entry = hash64_remove(self->links, bus_link_id(link));
    if (entry == NULL) {
        return;
    }
    size_t cursor = 0;
    struct stream *stream;
    while ((stream = hash64_next(entry->streams, &cursor)) != NULL) {
        if (stream->groups != NULL) {
            groups_link_down(stream->groups, link);
            logd_mark_dirty(self, stream);
        }
    }
    hash64_destroy(&entry->streams);
    mem_free(entry);
}

void logd_on_credit(void *ud, struct bus_link *link)
{
    struct logd *self = ud;
    events_link_ready(self->events, link);
    const struct link_streams *entry = hash64_get(self->links, bus_link_id(link));
    size_t cursor = 0;
    struct stream *stream;
    while (entry != NULL && (stream = hash64_next(entry->streams, &cursor)) != NULL) {
        if (stream->groups != NULL) {
            groups_link_ready(stream->groups, link);
        }
    }
}

void links_destroy_all(struct logd *self)
{
    if (self->links == NULL) {
        return;
    }
    size_t cursor = 0;
    struct link_streams *entry;
    while ((entry = hash64_next(self->links, &cursor)) != NULL) {
        (void) hash64_remove(self->links, entry->link_id);
        hash64_destroy(&entry->streams);
        mem_free(entry);
    }
    hash64_destroy(&self->links);
}
