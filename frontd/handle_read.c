/* handle_read: a page of a stream, passed on without copying its records. */
#include "frontd/handle.h"

#include "common/base/err.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/scan.h"

#include "frontd/to_logd.h"

enum {
    READ_BYTES_DEFAULT = 1 << 20,
    READ_WAITING_BYTES_MAX = 192 << 10,
    READ_OVERHEAD_BYTES = 64 << 10, /* of a ReadOk besides its batch */
    READ_WAIT_MS_MAX = 60000,
};

static void read_done(struct request *request, enum bus_outcome outcome,
                      const struct bus_message *reply)
{
    struct session *session = request->session;
    if (session != NULL && outcome == BUS_OK && reply->status == 0) {
        session_send_batch(session, request->channel, request->corr, RAILGUN__FRAME__BODY_READ_OK,
                           reply->meta, &reply->body);
        return;
    }
    session_pass_reply(request, outcome, reply, RAILGUN__FRAME__BODY_READ_OK, false);
}

/* What the largest page may take: the client's wish, within a frame and within half of the output queue. A page and what is around it must fit when less
 * than half is queued, for that is when on_room tells: else a Read could wait for a moment that never comes. */
static uint64_t read_bytes(const struct settings *settings, const Railgun__Read *read)
{
    uint64_t frame_half = settings->frame_bytes_max / 2;
    uint64_t queue_half = settings->outbound_bytes_max / 2 - READ_OVERHEAD_BYTES;
    uint64_t bytes_max = frame_half < queue_half ? frame_half : queue_half;
    if (read->wait_ms != 0 && bytes_max > READ_WAITING_BYTES_MAX) {
        /* Room is kept for it as long as it waits. Were that much, a few readers at the ends of their streams would hold up all of the connection. */
        bytes_max = READ_WAITING_BYTES_MAX;
    }
    uint64_t bytes = read->has_max_bytes && read->max_bytes != 0 ? read->max_bytes
                                                                 : (uint64_t) READ_BYTES_DEFAULT;
    return bytes < bytes_max ? bytes : bytes_max;
}

/* Is there room in the output queue for so much more, besides what was promised already? */
static bool session_has_reply_room(struct session *self, uint64_t bytes)
{
    uint64_t max = self->frontd->settings->outbound_bytes_max;
    uint64_t queued = conn_outbound_bytes(self->conn);
    if (queued + self->reply_bytes == 0 || queued + self->reply_bytes + bytes <= max) {
        return true;
    }
    if (queued >= max / 2) {
        conn_want_room(self->conn);
    } /* else the outcome of an open Read makes room */
    return false;
}

static int read_ask(struct session *self, const struct frame_view *view, Railgun__Read *read)
{
    struct frontd *frontd = self->frontd;
    const struct catalog_stream *stream = NULL;
    struct request *request = NULL;
    struct span pin = span_make(read->stream_id.data, read->stream_id.len);
    uint64_t bytes = read_bytes(frontd->settings, read);

    int result = session_find_stream(self, view, span_of(read->stream != NULL ? read->stream : ""),
                                     pin, ERR_NOT_FOUND, &stream);
    if (result == 0 && (!session_has_reply_room(self, bytes + READ_OVERHEAD_BYTES) ||
                        !to_logd_has_room(frontd->logd))) {
        result = ERR_AGAIN;
    }
    if (result == 0) {
        result = session_query(self, view, read_done, &request);
    }
    if (result != 0) {
        return result == ERR_AGAIN ? ERR_AGAIN : 0;
    }
    request->reply_bytes = bytes + READ_OVERHEAD_BYTES;
    self->reply_bytes += request->reply_bytes;
    read->has_max_bytes = true;
    read->max_bytes = bytes;
    if (read->wait_ms > READ_WAIT_MS_MAX) {
        read->wait_ms = READ_WAIT_MS_MAX;
    }
    struct buf meta = {0};
    scan_pack(&meta, &read->base);
    to_logd_ask(frontd->logd, request, RAILGUN__BUS_TYPE__BUS_LOG_READ, stream->log_group,
                buf_span(&meta), read->wait_ms);
    buf_release(&meta);
    return 0;
}

int handle_read(struct session *self, const struct frame_view *view, struct payload *owner)
{
    Railgun__Read *read = NULL;
    (void) owner;
    int result = SCAN_UNPACK(view->body, railgun__read, &read);
    if (result == 0) {
        result = read_ask(self, view, read);
    }
    SCAN_FREE(&read);
    return result;
}
