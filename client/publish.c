/* publish: what callers call to publish in the background. Records are checked, then encoded straight into the open batch of their stream: no
 * allocation for a record. One that the server would refuse is refused here, so that it does not reach a batch with others. */
#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/batch.h"
#include "common/wire/pb.h"

#include "client/headers.h"
#include "client/publish.h"

enum { ID_BYTES_MAX = 128 };

static bool publish_is_full(const struct rg_client *client)
{
    return client->pub.window_bytes >= client->options.window_bytes ||
           client->pub.window_records >= client->options.window_records;
}

int publish_wait_room(struct rg_client *client)
{
    struct publishing *self = &client->pub;
    while (publish_is_full(client)) {
        if (client->is_closing) {
            break;
        }
        if (client_is_io_thread(client)) {
            return error_note(ERR_AGAIN, "the publish window is full");
        }
        self->blocked++;
        (void) pthread_cond_wait(&self->room, &client->lock); /* the predicate decides */
        self->blocked--;
    }
    return client->is_closing ? error_note(ERR_CLOSED, "the client is closed") : 0;
}

static bool message_has_null(const struct rg_message *message)
{
    return bytes_are_null(&message->payload) || bytes_are_null(&message->id) ||
           bytes_are_null(&message->key) ||
           headers_have_null(message->headers, message->header_count);
}

struct record_parts {
    struct span payload;
    struct span id;
    struct span key;
    struct span headers;
    size_t size; /* in the batch */
};

static int record_prepare(struct rg_client *client, const struct rg_message *message,
                          struct record_parts *ret_parts)
{
    struct record_parts parts = {
        .payload = span_make(message->payload.data, message->payload.size),
        .id = span_make(message->id.data, message->id.size),
        .key = span_make(message->key.data, message->key.size),
    };
    if (message_has_null(message)) {
        return error_note(ERR_USAGE, "data that is NULL has a size");
    }
    if (parts.id.size > ID_BYTES_MAX) {
        return error_note(ERR_TOO_LARGE, "the message id is longer than 128 bytes");
    }
    if (message->header_count != 0) {
        int result = headers_encode(&client->pub.scratch, message->headers, message->header_count);
        if (result < 0) {
            return result;
        }
        parts.headers = buf_span(&client->pub.scratch);
    }
    uint64_t limit = client->limits.record_bytes_max;
    if (parts.payload.size > limit || parts.key.size > limit) {
        return error_note(ERR_TOO_LARGE, "the record is larger than %llu bytes",
                          (unsigned long long) limit);
    }
    parts.size = batch_append_size(parts.payload, parts.id, parts.key, parts.headers);
    uint64_t overhead = 1 + pb_varint_size(parts.size);
    if (parts.size > limit + overhead ||
        parts.size + (size_t) 2 * HEAD_BYTES_MAX > publish_frame_limit(client)) {
        return error_note(ERR_TOO_LARGE, "the record is larger than %llu bytes",
                          (unsigned long long) limit);
    }
    *ret_parts = parts;
    return 0;
}

static void pack_append(struct rg_client *client, struct pack *pack,
                        const struct record_parts *parts)
{
    batch_append(&pack->records, parts->payload, parts->id, parts->key, parts->headers);
    pack->count++;
    pack->with_id += parts->id.size != 0;
    if (pack->kind != PACK_WAITED) { /* each caller has one of those at most */
        client->pub.window_bytes += parts->size;
        client->pub.window_records++;
    }
}

int pack_add(struct rg_client *client, struct pack *pack, const struct rg_message *message)
{
    struct record_parts parts = {0};
    int result = record_prepare(client, message, &parts);
    if (result == 0) {
        pack_append(client, pack, &parts);
    }
    return result;
}

static void pack_set_completion(struct pack *pack, rg_published_fn *done, void *ud)
{
    if (pack->count > pack->completions_capacity) {
        uint32_t capacity = pack->completions_capacity * 2;
        capacity = capacity < 16 ? 16 : capacity;
        pack->completions = mem_resize(pack->completions, capacity, sizeof(*pack->completions));
        pack->completions_capacity = capacity;
    }
    pack->completions[pack->count - 1] = (struct completion){done, ud};
}

static size_t smaller(uint64_t a, uint64_t b)
{
    return (size_t) (a < b ? a : b);
}

/* Lock held. */
static int publish_record(struct rg_client *client, struct span stream,
                          const struct rg_message *message, rg_published_fn *done, void *ud)
{
    struct lane *lane = NULL;
    struct record_parts parts = {0};
    int result = publish_wait_room(client);
    if (result == 0) {
        result = record_prepare(client, message, &parts);
    }
    if (result == 0) {
        result = lane_find(client, stream, &lane);
    }
    if (result != 0) {
        return result;
    }
    size_t bytes_max = smaller(client->options.batch_bytes, client->limits.batch_bytes_max);
    bytes_max = smaller(bytes_max, publish_frame_limit(client) / 2);
    if (lane->open != NULL && lane->open->records.size + parts.size > bytes_max) {
        lane_seal(client, lane);
        client_wake(client);
    }
    struct pack *pack = lane_open(client, lane);
    pack_append(client, pack, &parts);
    pack_set_completion(pack, done, ud);
    if (pack->count >= client->options.batch_records ||
        pack->count >= client->limits.batch_records_max || pack->records.size >= bytes_max) {
        lane_seal(client, lane);
        client_wake(client);
    }
    return 0;
}

int rg_publish_async(struct rg_client *client, const char *stream, const struct rg_message *message,
                     rg_published_fn *done, void *ud)
{
    if (client == NULL || stream == NULL || message == NULL) {
        return error_note(ERR_USAGE, "rg_publish_async: an argument is NULL");
    }
    client_lock(client);
    int result = publish_record(client, span_of(stream), message, done, ud);
    client_unlock(client);
    return result;
}

int rg_flush(struct rg_client *client, uint32_t timeout_ms)
{
    int result = client_check_blocking(client, "rg_flush");
    if (result < 0) {
        return result;
    }
    struct publishing *self = &client->pub;
    uint64_t until_us = client_now_us() + (uint64_t) timeout_ms * 1000;
    client_lock(client);
    uint64_t end = self->next_serial;
    publish_seal_all(client);
    client_wake(client);
    self->flushers++;
    while (!list_is_empty(&self->live) &&
           LIST_ENTRY(self->live.next, struct pack, of_live)->serial < end) {
        if (!cond_wait_until(&self->flushed, &client->lock, until_us)) {
            result = ERR_TIMEOUT;
            break;
        }
    }
    self->flushers--;
    if (result == 0) {
        result = self->first_error;
        self->first_error = 0;
    }
    client_unlock(client);
    return result < 0 ? error_note(result, "%s", rg_error_text(result)) : 0;
}
