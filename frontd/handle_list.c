/* handle_list: pages of names, from the catalogue. */
#include "frontd/handle.h"

#include "common/base/err.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"

enum {
    LIST_LIMIT_DEFAULT = 1000,
    LIST_BYTES_MAX = 1 << 20, /* the page ends there, whatever the limit */
    OK_ITEMS = 1,
    OK_MORE = 2,
    ITEM_NAME = 1,
    ITEM_GROUP = 2,
    ITEM_VERSION = 3,
    ITEM_STREAM_ID = 4,
    ITEM_CREATED = 5,
    ITEM_DESCRIPTION = 6,
    ITEM_DELETED = 7,
    ITEM_UNDELETE_UNTIL = 8,
    STREAM_SPEC_DESCRIPTION = 6,
    GROUP_SPEC_DESCRIPTION = 7,
    EXCHANGE_SPEC_DESCRIPTION = 4,
};

static void item_append_description(struct buf *item, struct span spec, uint32_t number)
{
    struct pb_field field;
    while (pb_next(&spec, &field) == 1) {
        if (field.number == number && field.type == PB_BYTES && field.bytes.size != 0) {
            pb_append_bytes(item, ITEM_DESCRIPTION, field.bytes);
            return;
        }
    }
}

static void item_fill_stream(struct buf *item, const struct catalog_stream *stream)
{
    pb_append_bytes(item, ITEM_NAME, stream->name);
    pb_append_varint(item, ITEM_VERSION, stream->version);
    pb_append_bytes(item, ITEM_STREAM_ID, span_make(stream->id.bytes, sizeof(stream->id.bytes)));
    pb_append_fixed64(item, ITEM_CREATED, stream->created_us);
    item_append_description(item, stream->spec, STREAM_SPEC_DESCRIPTION);
    if (stream->deleted_us != 0) {
        pb_append_fixed64(item, ITEM_DELETED, stream->deleted_us);
        pb_append_fixed64(item, ITEM_UNDELETE_UNTIL, catalog_undelete_until_us(stream));
    }
}

/* One page, in no order: they are few. */
static void list_deleted(const struct catalog *catalog, const Railgun__List *list, uint32_t limit,
                         struct buf *out)
{
    struct span prefix = span_of(list->prefix != NULL ? list->prefix : "");
    struct buf item = {0};
    const struct catalog_stream *stream = NULL;
    for (size_t cursor = 0; (stream = catalog_next_deleted(catalog, &cursor)) != NULL;) {
        if (stream->name.size < prefix.size ||
            !span_equal(span_make(stream->name.data, prefix.size), prefix)) {
            continue;
        }
        if (limit-- == 0 || out->size > LIST_BYTES_MAX) {
            pb_append_varint(out, OK_MORE, 1);
            break;
        }
        buf_reset(&item);
        item_fill_stream(&item, stream);
        pb_append_bytes(out, OK_ITEMS, buf_span(&item));
    }
    buf_release(&item);
}

static void list_streams(struct catalog *catalog, const Railgun__List *list, uint32_t limit,
                         struct buf *out)
{
    struct span prefix = span_of(list->prefix != NULL ? list->prefix : "");
    struct span after = span_of(list->after != NULL ? list->after : "");
    struct buf item = {0};
    const struct catalog_stream *stream = NULL;
    while ((stream = catalog_next_stream(catalog, after, prefix)) != NULL) {
        if (limit-- == 0 || out->size > LIST_BYTES_MAX) {
            pb_append_varint(out, OK_MORE, 1);
            break;
        }
        buf_reset(&item);
        item_fill_stream(&item, stream);
        pb_append_bytes(out, OK_ITEMS, buf_span(&item));
        after = stream->name;
    }
    buf_release(&item);
}

/* "stream/group" */
static void after_split(struct span after, struct span *ret_stream, struct span *ret_group)
{
    const uint8_t *slash =
        after.size != 0 ? (const uint8_t *) memchr(after.data, '/', after.size) : NULL;
    *ret_stream = after;
    *ret_group = (struct span){0};
    if (slash != NULL) {
        size_t size = (size_t) (slash - after.data);
        *ret_stream = span_make(after.data, size);
        *ret_group = span_make(slash + 1, after.size - size - 1);
    }
}

static void list_groups(struct catalog *catalog, const Railgun__List *list, uint32_t limit,
                        struct buf *out)
{
    struct span prefix = span_of(list->prefix != NULL ? list->prefix : "");
    struct span only = span_of(list->stream != NULL ? list->stream : "");
    struct span after_stream;
    struct span after_group;
    struct buf item = {0};
    const struct catalog_group *group = NULL;
    after_split(span_of(list->after != NULL ? list->after : ""), &after_stream, &after_group);
    while ((group = catalog_next_group(catalog, after_stream, after_group, only, prefix)) != NULL) {
        if (limit-- == 0 || out->size > LIST_BYTES_MAX) {
            pb_append_varint(out, OK_MORE, 1);
            break;
        }
        buf_reset(&item);
        pb_append_bytes(&item, ITEM_NAME, group->stream);
        pb_append_bytes(&item, ITEM_GROUP, group->name);
        pb_append_varint(&item, ITEM_VERSION, group->version);
        pb_append_fixed64(&item, ITEM_CREATED, group->created_us);
        item_append_description(&item, group->spec, GROUP_SPEC_DESCRIPTION);
        pb_append_bytes(out, OK_ITEMS, buf_span(&item));
        after_stream = group->stream;
        after_group = group->name;
    }
    buf_release(&item);
}

/* The namespace's own comes first: it has no name and is not in the catalogue, and does not count against the limit. */
static void list_exchanges(struct catalog *catalog, struct span namespace_,
                           const Railgun__List *list, uint32_t limit, struct buf *out)
{
    struct span prefix = span_of(list->prefix != NULL ? list->prefix : "");
    struct span after = span_of(list->after != NULL ? list->after : "");
    struct buf item = {0};
    const struct catalog_exchange *exchange = NULL;
    if (after.size == 0 && prefix.size == 0) {
        pb_append_bytes(&item, ITEM_NAME, (struct span){0});
        pb_append_bytes(out, OK_ITEMS, buf_span(&item));
    }
    while ((exchange = catalog_next_exchange(catalog, namespace_, after, prefix)) != NULL) {
        if (limit-- == 0 || out->size > LIST_BYTES_MAX) {
            pb_append_varint(out, OK_MORE, 1);
            break;
        }
        buf_reset(&item);
        pb_append_bytes(&item, ITEM_NAME, exchange->name);
        pb_append_varint(&item, ITEM_VERSION, exchange->version);
        pb_append_fixed64(&item, ITEM_CREATED, exchange->created_us);
        item_append_description(&item, exchange->spec, EXCHANGE_SPEC_DESCRIPTION);
        pb_append_bytes(out, OK_ITEMS, buf_span(&item));
        after = exchange->name;
    }
    buf_release(&item);
}

static int list_answer(struct session *self, const struct frame_view *view,
                       const Railgun__List *list)
{
    struct frontd *frontd = self->frontd;
    uint32_t limit =
        list->has_limit && list->limit != 0 ? list->limit : (uint32_t) LIST_LIMIT_DEFAULT;
    if (list->kind != RAILGUN__KIND__KIND_STREAM && list->kind != RAILGUN__KIND__KIND_GROUP &&
        list->kind != RAILGUN__KIND__KIND_EXCHANGE) {
        return session_refuse(self, view, ERR_BAD_REQUEST,
                              "kind: stream, group or exchange is needed");
    }
    if (!catalog_is_known(frontd->catalog)) {
        if (loop_now_ms(frontd->loop) < frontd->started_ms + frontd->settings->catalog_wait_ms) {
            return ERR_AGAIN;
        }
        return session_refuse(self, view, ERR_NO_QUORUM, "raftd is not reachable");
    }
    struct span only = span_of(list->stream != NULL ? list->stream : "");
    if (list->kind == RAILGUN__KIND__KIND_GROUP && only.size != 0 &&
        catalog_find_stream(frontd->catalog, only) == NULL) {
        bool is_deleted = catalog_find_deleted(frontd->catalog, only) != NULL;
        return session_refuse(self, view, is_deleted ? ERR_STREAM_DELETED : ERR_NOT_FOUND,
                              is_deleted ? NULL : "no such stream");
    }
    struct buf body = {0};
    if (list->kind == RAILGUN__KIND__KIND_STREAM && list->has_deleted && list->deleted) {
        list_deleted(frontd->catalog, list, limit, &body);
    } else if (list->kind == RAILGUN__KIND__KIND_STREAM) {
        list_streams(frontd->catalog, list, limit, &body);
    } else if (list->kind == RAILGUN__KIND__KIND_EXCHANGE) {
        list_exchanges(frontd->catalog, self->namespace_, list, limit, &body);
    } else {
        list_groups(frontd->catalog, list, limit, &body);
    }
    session_send(self, view->channel, view->corr, RAILGUN__FRAME__BODY_LIST_OK, buf_span(&body));
    buf_release(&body);
    return 0;
}

int handle_list(struct session *self, const struct frame_view *view, struct payload *owner)
{
    Railgun__List *list = NULL;
    (void) owner;
    int result = SCAN_UNPACK(view->body, railgun__list, &list);
    if (result == 0) {
        result = list_answer(self, view, list);
    }
    SCAN_FREE(&list);
    return result;
}
