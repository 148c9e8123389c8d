/* catalog_saved: a saved state on its way into a new catalogue, and what a catalogue says of itself to be saved. It must never take over a message
 * by halves: what is not understood leaves the table as it was. */
#include "raftd/catalog_private.h"

#include <string.h>

#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/invariant.h"
#include "common/wire/scan.h"

/* Every field of a stored spec is set: what an older version did not know gets its default. */
static void catalog_restore_spec(struct spec *to, struct spec *from)
{
    spec_release(to);
    *to = *from;
    spec_fill(to);
}

int catalog_restore_stream(struct catalog *self, struct span bytes)
{
    INVARIANT(self->applied == 0);

    Railgun__CatalogStream *message = NULL;
    struct uuid id;
    uint32_t locked = 0;
    const char *unknown;
    if (SCAN_UNPACK(bytes, railgun__catalog_stream, &message) != 0) {
        return ERR_BAD_FORMAT;
    }
    int error = 0;
    if (message->namespace_ == NULL || ensure_name_problem(message->namespace_) != NULL ||
        ensure_name_problem(message->name) != NULL || !message->has_log_group ||
        !message->has_stream_id ||
        uuid_from_bytes(span_make(message->stream_id.data, message->stream_id.len), &id) != 0 ||
        hash64_get(self->streams_by_group, message->log_group) != NULL ||
        lock_read(SPEC_STREAM, message->locked, message->n_locked, &locked, &unknown) != 0 ||
        (message->deleted_us == 0 &&
         catalog_stream_of(self, span_of(message->namespace_), span_of(message->name)) != NULL)) {
        error = ERR_BAD_FORMAT;
    } else {
        struct catalog_stream *stream =
            catalog_stream_new(span_of(message->namespace_), span_of(message->name));
        stream->id = id;
        stream->log_group = message->log_group;
        stream->version = message->version;
        stream->created_us = message->created_us;
        stream->deleted_us = message->deleted_us;
        stream->locked = locked;
        struct spec spec;
        spec_from_stream(message->spec, &spec);
        catalog_restore_spec(&stream->spec, &spec);
        catalog_add_stream(self, stream);
    }
    SCAN_FREE(&message);
    return error;
}

/* By its list: a deleted stream's groups are in no table. */
static bool catalog_restore_has_group(const struct catalog_stream *stream, const char *name)
{
    LIST_FOREACH (&stream->groups, node) {
        if (strcmp(LIST_ENTRY(node, struct catalog_group, link)->name, name) == 0) {
            return true;
        }
    }
    return false;
}

int catalog_restore_group(struct catalog *self, struct span bytes)
{
    INVARIANT(self->applied == 0);

    Railgun__CatalogGroup *message = NULL;
    uint32_t locked = 0;
    const char *unknown;
    if (SCAN_UNPACK(bytes, railgun__catalog_group, &message) != 0) {
        return ERR_BAD_FORMAT;
    }
    int error = 0;
    struct catalog_stream *stream =
        (struct catalog_stream *) hash64_get(self->streams_by_group, message->log_group);
    if (stream == NULL || ensure_name_problem(message->name) != NULL || !message->has_group_id ||
        hash64_get(self->groups_by_id, message->group_id) != NULL ||
        lock_read(SPEC_GROUP, message->locked, message->n_locked, &locked, &unknown) != 0 ||
        (stream->deleted_us == 0 ? catalog_group_of(self, stream, span_of(message->name)) != NULL
                                 : catalog_restore_has_group(stream, message->name))) {
        error = ERR_BAD_FORMAT;
    } else {
        struct catalog_group *group = catalog_group_new(stream, span_of(message->name));
        group->id = message->group_id;
        group->version = message->version;
        group->created_us = message->created_us;
        group->locked = locked;
        struct spec spec;
        spec_from_group(message->spec, &spec);
        catalog_restore_spec(&group->spec, &spec);
        catalog_add_group(self, group);
    }
    SCAN_FREE(&message);
    return error;
}

int catalog_restore_exchange(struct catalog *self, struct span bytes)
{
    INVARIANT(self->applied == 0);

    Railgun__CatalogExchange *message = NULL;
    if (SCAN_UNPACK(bytes, railgun__catalog_exchange, &message) != 0) {
        return ERR_BAD_FORMAT;
    }
    int error = 0;
    if (ensure_name_problem(message->namespace_) != NULL ||
        ensure_name_problem(message->name) != NULL ||
        catalog_exchange_of(self, span_of(message->namespace_), span_of(message->name)) != NULL) {
        error = ERR_BAD_FORMAT;
    } else {
        struct catalog_exchange *exchange =
            catalog_exchange_new(span_of(message->namespace_), span_of(message->name));
        exchange->version = message->version;
        exchange->created_us = message->created_us;
        struct spec spec;
        spec_from_exchange(message->spec, &spec);
        catalog_restore_spec(&exchange->spec, &spec);
        catalog_add_exchange(self, exchange);
    }
    SCAN_FREE(&message);
    return error;
}

int catalog_restore_endpoint(struct catalog *self, struct span bytes)
{
    INVARIANT(self->applied == 0);

    Railgun__CatalogEndpoint *message = NULL;
    if (SCAN_UNPACK(bytes, railgun__catalog_endpoint, &message) != 0) {
        return ERR_BAD_FORMAT;
    }
    const struct catalog_endpoint *endpoint;
    int error = catalog_put_endpoint(self, message, &endpoint);
    SCAN_FREE(&message);
    return error != 0 ? ERR_BAD_FORMAT : 0;
}

int catalog_restore_state(struct catalog *self, struct span bytes)
{
    INVARIANT(self->applied == 0);

    Railgun__CatalogState *message = NULL;
    if (SCAN_UNPACK(bytes, railgun__catalog_state, &message) != 0) {
        return ERR_BAD_FORMAT;
    }
    int error = ERR_BAD_FORMAT;
    if (message->node != NULL && message->applied_index > 0 &&
        message->next_log_group >= CATALOG_LOG_GROUP_FIRST &&
        message->next_group_id >= CATALOG_GROUP_ID_FIRST) {
        error = catalog_apply_bootstrap(self, message->node);
    }
    if (error == 0) {
        self->applied = message->applied_index;
        self->next_log_group = message->next_log_group;
        self->next_group_id = message->next_group_id;
    }
    SCAN_FREE(&message);
    return error;
}

void catalog_pack_state(const struct catalog *self, struct buf *out)
{
    struct uuid cluster = self->cluster;
    Railgun__CatalogNode node = RAILGUN__CATALOG_NODE__INIT;
    node.has_node = 1;
    node.node = self->node;
    node.has_cluster = 1;
    node.cluster = (ProtobufCBinaryData){sizeof(cluster.bytes), cluster.bytes};
    node.has_created_us = 1;
    node.created_us = self->node_created_us;
    Railgun__CatalogState message = RAILGUN__CATALOG_STATE__INIT;
    message.has_applied_index = 1;
    message.applied_index = self->applied;
    message.has_next_log_group = 1;
    message.next_log_group = self->next_log_group;
    message.has_next_group_id = 1;
    message.next_group_id = self->next_group_id;
    message.node = &node;
    scan_pack(out, &message.base);
}
