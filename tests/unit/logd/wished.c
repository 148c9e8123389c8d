/* wished: see the header. */
#include "tests/unit/logd/wished.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/batch.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/hot.h"
#include "common/wire/pb.h"
#include "logd/stream_body.h"
#include "tests/lib/test.h"

/* --- the stream --- */

void wish_encode(const struct wish *wish, uint64_t version, struct buf *changes)
{
    struct buf dedup = {0};
    struct buf spec = {0};
    pb_append_varint(&dedup, 1, wish->mode);
    pb_append_varint(&dedup, 2, wish->window_ms != 0 ? wish->window_ms : 600000);
    pb_append_varint(&dedup, 3, wish->max_ids != 0 ? wish->max_ids : 1000000);
    pb_append_varint(&dedup, 4, wish->reject);
    pb_append_varint(&dedup, 5, wish->shrink);
    pb_append_varint(&dedup, 6, wish->refresh);
    pb_append_varint(&dedup, 7, wish->for_ever);
    pb_append_bytes(&spec, 7, buf_span(&dedup));
    if (wish->fence != NULL) {
        pb_append_bytes(&spec, 10, span_of(wish->fence));
    }
    catalog_stream_append(changes, NODE_STREAM, version, buf_span(&spec));
    buf_release(&dedup);
    buf_release(&spec);
}

struct wished_time wished_time;

static uint64_t manual_real_us(void *ud)
{
    (void) ud;
    return wished_time.real_us;
}

static uint64_t manual_monotonic_us(void *ud)
{
    (void) ud;
    return timesource_monotonic_us(timesource_system());
}

static void wished_prepare(struct node *node, const struct wish *wish)
{
    node_init(node);
    wished_time.source = (struct timesource){
        .real_us = manual_real_us, .monotonic_us = manual_monotonic_us, .ud = NULL};
    wished_time.real_us = UINT64_C(1700000000000000);
    node->options.time = &wished_time.source;
    snapshot_begin(&node->changes, 7, false);
    wish_encode(wish, 1, &node->changes);
}

void wished_start(struct node *node, const struct wish *wish)
{
    wished_prepare(node, wish);
    node_start(node);
}

void wished_small_start(struct node *node, const struct wish *wish, uint64_t ids_bytes)
{
    wished_prepare(node, wish);
    node->options.ids_bytes = ids_bytes;
    node_start(node);
}

void wished_restart(struct node *node, bool remove_db)
{
    node_stop(node);
    if (remove_db) {
        node_remove_db(node);
    }
    node_start(node);
}

/* --- publishing --- */

enum { PARTS_MAX = 64 };

struct slice wished_batch(const char *text)
{
    struct buf batch = {0};
    char *copy = mem_strdup(text);
    char *rest = NULL;
    for (char *word = strtok_r(copy, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        char *equals = strchr(word, '=');
        *equals = '\0';
        batch_append(&batch, span_of(equals + 1), span_of(word), (struct span){0},
                     (struct span){0});
    }
    mem_free(copy);
    struct payload *payload = payload_copy(buf_span(&batch));
    buf_release(&batch);
    return (struct slice){payload, payload_span(payload)};
}

void wished_send(struct node *node, const char *text, const struct buf *meta, struct answer *answer)
{
    struct slice batch = wished_batch(text);
    node_send(node, PUBLISH, NODE_STREAM, buf_span(meta), &batch, answer);
    slice_release(&batch);
}

const char *wished_answer(struct answer *answer)
{
    static char text[4096];
    size_t at = 0;
    struct span rest = buf_span(&answer->meta);
    struct pb_field field;
    text[0] = '\0';
    if (answer->status != 0) {
        at += (size_t) snprintf(text, sizeof(text), "%s", err_name(answer->status));
        uint64_t offset = meta_number(rest, 11);
        uint64_t next = meta_number(rest, 5);
        if (offset != 0) {
            at += (size_t) snprintf(text + at, sizeof(text) - at, " @%" PRIu64, offset);
        }
        if (next != 0) {
            at += (size_t) snprintf(text + at, sizeof(text) - at, " next=%" PRIu64, next);
        }
        struct span last_id = meta_bytes(rest, 8);
        if (last_id.size != 0) {
            at += (size_t) snprintf(text + at, sizeof(text) - at, " last=%.*s", (int) last_id.size,
                                    (const char *) last_id.data);
        }
        return text;
    }
    at = (size_t) snprintf(text, sizeof(text), "+%" PRIu64 "@%" PRIu64, meta_number(rest, 2),
                           meta_number(rest, 1));
    while (pb_next(&rest, &field) == 1) {
        struct hot_result result;
        if (field.number == 4) {
            ck_assert_int_eq(hot_result_read(field.bytes, &result), 0);
            at += (size_t) snprintf(text + at, sizeof(text) - at, " %u=%s", result.record,
                                    err_name(-(int) result.code));
            if (result.has_offset) {
                at += (size_t) snprintf(text + at, sizeof(text) - at, "@%" PRIu64, result.offset);
                ck_assert_uint_ne(result.ts_us, 0);
            }
        }
    }
    return text;
}

const char *wished_publish_meta(struct node *node, const char *text, struct buf *meta)
{
    static char said[4096];
    struct answer answer;
    wished_send(node, text, meta, &answer);
    node_wait(node, &answer);
    ck_assert_int_eq(answer.outcome, BUS_OK);
    (void) snprintf(said, sizeof(said), "%s", wished_answer(&answer));
    answer_clear(&answer);
    buf_release(meta);
    return said;
}

const char *wished_publish(struct node *node, const char *text)
{
    struct buf meta = {0};
    return wished_publish_meta(node, text, &meta);
}

const char *wished_publish_each(struct node *node, const char *text)
{
    struct buf meta = {0};
    pb_append_varint(&meta, 3, 0);
    return wished_publish_meta(node, text, &meta);
}

/* All payloads of the stream, one behind the other. */
const char *wished_stored(struct node *node)
{
    static char text[8192];
    size_t at = 0;
    struct stream *stream = node_stream(node, NODE_STREAM);
    text[0] = '\0';
    for (uint64_t offset = stream->first_offset; offset < stream->next_offset;) {
        struct stream_page page;
        uint64_t corrupt;
        ck_assert_int_eq(stream_read(stream, offset, 100, 1 << 20, &page, &corrupt), 0);
        struct span rest = page.batch.bytes;
        struct batch_record record;
        while (batch_next(&rest, &record) == 1) {
            at += (size_t) snprintf(text + at, sizeof(text) - at, "%s%.*s", at != 0 ? " " : "",
                                    (int) record.payload.size, (const char *) record.payload.data);
        }
        offset += page.count;
        stream_page_release(&page);
    }
    return text;
}
