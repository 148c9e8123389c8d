/* publish_sync: publishing batches as a whole, and waiting for the outcome. The caller writes the frame itself and, where possible, reads the
 * answer itself (lead.c): one record's way is then as short as the server's. */
#include <string.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"

#include "client/headers.h"
#include "client/publish.h"

enum {
    PUBLISH_EXPECT = 3,
    PUBLISH_FENCE = 4,
    PUBLISH_ATOMIC = 5,
    PUBLISH_STREAM_ID = 6,
    STREAM_ID_SIZE = 16,
    EXPECT_NEXT_OFFSET = 1,
    EXPECT_NO_STREAM = 2,
    EXPECT_STREAM_EXISTS = 3,
    EXPECT_LAST_ID = 4,
    ID_BYTES_MAX = 128,
};

static int expect_encode(struct buf *out, const struct rg_expect *expect)
{
    struct buf body = {0};
    if (expect == NULL) {
        return 0;
    }
    if (bytes_are_null(&expect->fence) || bytes_are_null(&expect->last_id)) {
        return error_note(ERR_USAGE, "expect: data that is NULL has a size");
    }
    if (expect->fence.size > ID_BYTES_MAX || expect->last_id.size > ID_BYTES_MAX) {
        return error_note(ERR_TOO_LARGE, "expect: a fence or an id is longer than 128 bytes");
    }
    if (expect->fence.size != 0) {
        pb_append_bytes(out, PUBLISH_FENCE, span_make(expect->fence.data, expect->fence.size));
    }
    if (expect->stream_id != NULL) {
        pb_append_bytes(out, PUBLISH_STREAM_ID, span_make(expect->stream_id, STREAM_ID_SIZE));
    }
    if (expect->what == RG_EXPECT_NOTHING) {
        return 0;
    }
    switch (expect->what) {
    case RG_EXPECT_NEXT_OFFSET:
        pb_append_varint(&body, EXPECT_NEXT_OFFSET, expect->next_offset);
        break;
    case RG_EXPECT_NO_RECORDS:
        pb_append_varint(&body, EXPECT_NO_STREAM, 1);
        break;
    case RG_EXPECT_STREAM_EXISTS:
        pb_append_varint(&body, EXPECT_STREAM_EXISTS, 1);
        break;
    case RG_EXPECT_LAST_ID:
        pb_append_bytes(&body, EXPECT_LAST_ID,
                        span_make(expect->last_id.data, expect->last_id.size));
        break;
    case RG_EXPECT_NOTHING:
    default:
        return error_note(ERR_USAGE, "expect: unknown kind %d", (int) expect->what);
    }
    pb_append_bytes(out, PUBLISH_EXPECT, buf_span(&body));
    buf_release(&body);
    return 0;
}

static int messages_check(struct rg_client *client, const char *stream,
                          const struct rg_message *messages, size_t count, const char *function)
{
    if (client == NULL || stream == NULL || messages == NULL) {
        return error_note(ERR_USAGE, "%s: an argument is NULL", function);
    }
    if (count == 0) {
        return error_note(ERR_USAGE, "%s: no messages", function);
    }
    return 0;
}

/* Lock held. All messages in one pack, or none. */
static int pack_fill(struct rg_client *client, struct pack *pack, const struct rg_message *messages,
                     size_t count)
{
    if (count > client->limits.batch_records_max) {
        return error_note(ERR_TOO_LARGE, "more than %u messages", client->limits.batch_records_max);
    }
    for (size_t i = 0; i < count; i++) {
        int result = pack_add(client, pack, &messages[i]);
        if (result < 0) {
            return result;
        }
        if (pack->records.size > client->limits.batch_bytes_max) {
            return error_note(ERR_TOO_LARGE, "the messages are larger than %llu bytes",
                              (unsigned long long) client->limits.batch_bytes_max);
        }
    }
    return 0;
}

/* What the waiting caller is told. Lock held. */
static int pack_result(const struct rg_client *client, struct pack *pack,
                       struct rg_published *ret_published)
{
    int result = pack->result;
    struct rg_published published = pack->published;
    if (result == 0 && pack->answer.owner != NULL) {
        result = pack_mixed_result(pack, &published.base_offset);
        if (result < 0) {
            pack_note_refusal(pack);
        }
    } else if (result < 0 && pack->answer.owner != NULL) {
        (void) error_note_body(result, pack->answer.bytes);
    } else if (result == ERR_TIMEOUT) {
        (void) error_note(result, "no answer came: it may be stored or not");
    } else if (result == ERR_CLOSED) {
        (void) error_note(result, "no server could be reached: %s", client->last_detail);
    } else if (result < 0) {
        (void) error_note(result, "%s", rg_error_text(result));
    }
    bool has_more = result == ERR_WRONG_OFFSET || result == ERR_DUPLICATE_ID ||
                    result == ERR_DUPLICATE_MISMATCH || result == ERR_DEDUP_FULL;
    if (ret_published != NULL && (result == 0 || has_more)) {
        *ret_published = published;
    }
    return result;
}

/* The same for a batch of which each record stands for itself. Lock held. */
static int pack_each_result(const struct rg_client *client, struct pack *pack,
                            struct rg_record_result *ret_results,
                            struct rg_published *ret_published)
{
    if (pack->result != 0) {
        return pack_result(client, pack, ret_published);
    }
    pack_results(pack, ret_results);
    pack_note_refusal(pack);
    if (ret_published != NULL) {
        *ret_published = pack->published;
    }
    return 0;
}

/* Lock held. */
static int publish_and_wait(struct rg_client *client, struct span stream,
                            const struct rg_message *messages, size_t count, struct span extra,
                            struct rg_record_result *ret_results,
                            struct rg_published *ret_published)
{
    struct lane *lane = NULL;
    struct waiter waiter;
    int result = client->is_closing ? error_note(ERR_CLOSED, "the client is closed")
                                    : lane_find(client, stream, &lane);
    if (result < 0) {
        return result;
    }
    struct pack *pack = pack_take(client, PACK_WAITED);
    result = pack_fill(client, pack, messages, count);
    if (result < 0) {
        pack_give(client, pack);
        return result;
    }
    lane_seal(client, lane); /* what was published before goes before */
    result = pack_submit(client, pack, stream, extra);
    if (result < 0) {
        return result;
    }
    waiter_init(&waiter);
    pack->waiter = &waiter;
    uint64_t corr = pack->pending.corr;
    client_push_out(client);
    lead_wait(client, &waiter, corr);
    waiter_release(&waiter);
    result = ret_results != NULL ? pack_each_result(client, pack, ret_results, ret_published)
                                 : pack_result(client, pack, ret_published);
    pack_give(client, pack);
    return result;
}

static int publish_sync(struct rg_client *client, const char *stream,
                        const struct rg_message *messages, size_t count,
                        const struct rg_expect *expect, struct rg_record_result *ret_results,
                        struct rg_published *ret_published, const char *function)
{
    struct buf extra = {0};
    int result = messages_check(client, stream, messages, count, function);
    if (result == 0) {
        result = client_check_blocking(client, function);
    }
    if (result == 0) {
        result = expect_encode(&extra, expect);
    }
    if (result == 0) {
        if (ret_results != NULL) {
            pb_append_varint(&extra, PUBLISH_ATOMIC, 0);
        }
        client_lock(client);
        result = publish_and_wait(client, span_of(stream), messages, count, buf_span(&extra),
                                  ret_results, ret_published);
        client_unlock(client);
    }
    buf_release(&extra);
    return result;
}

int rg_publish_batch(struct rg_client *client, const char *stream,
                     const struct rg_message *messages, size_t count,
                     const struct rg_expect *expect, struct rg_published *ret_published)
{
    return publish_sync(client, stream, messages, count, expect, NULL, ret_published,
                        "rg_publish_batch");
}

int rg_publish_each(struct rg_client *client, const char *stream, const struct rg_message *messages,
                    size_t count, const struct rg_expect *expect,
                    struct rg_record_result *ret_results, struct rg_published *ret_published)
{
    if (ret_results == NULL) {
        return error_note(ERR_USAGE, "rg_publish_each: no room for results");
    }
    return publish_sync(client, stream, messages, count, expect, ret_results, ret_published,
                        "rg_publish_each");
}

int rg_publish(struct rg_client *client, const char *stream, const void *payload, size_t size,
               uint64_t *ret_offset)
{
    struct rg_message message = {.payload = {payload, size}};
    struct rg_published published = {0};
    int result = rg_publish_batch(client, stream, &message, 1, NULL, &published);
    if (result == 0 && ret_offset != NULL) {
        *ret_offset = published.base_offset;
    }
    return result;
}

/* Lock held. */
static int publish_batch(struct rg_client *client, struct span stream,
                         const struct rg_message *messages, size_t count,
                         rg_batch_published_fn *done, void *ud)
{
    struct lane *lane = NULL;
    int result = publish_wait_room(client);
    if (result == 0) {
        result = lane_find(client, stream, &lane);
    }
    if (result < 0) {
        return result;
    }
    INVARIANT(lane != NULL);
    uint64_t bytes_before = client->pub.window_bytes;
    uint64_t records_before = client->pub.window_records;
    struct pack *pack = pack_take(client, PACK_BATCH);
    result = pack_fill(client, pack, messages, count);
    if (result < 0) {
        pack_give(client, pack);
    } else {
        lane_seal(client, lane);
        pack->lane = lane;
        pack->batch_done = done;
        pack->ud = ud;
        result = pack_submit(client, pack, lane->name, (struct span){0});
    }
    if (result < 0) {
        client->pub.window_bytes = bytes_before;
        client->pub.window_records = records_before;
        return result;
    }
    client_wake(client);
    return 0;
}

int rg_publish_batch_async(struct rg_client *client, const char *stream,
                           const struct rg_message *messages, size_t count,
                           rg_batch_published_fn *done, void *ud)
{
    int result = messages_check(client, stream, messages, count, "rg_publish_batch_async");
    if (result < 0) {
        return result;
    }
    client_lock(client);
    result = publish_batch(client, span_of(stream), messages, count, done, ud);
    client_unlock(client);
    return result;
}
