/* handle_publish: the hot path in. The batch goes on to logd as the bytes that were read from the socket. */
#include "frontd/handle.h"

#include "common/base/err.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/hot.h"

#include "frontd/to_logd.h"

enum { EXPECT_BYTES_MAX = 256, FENCE_BYTES_MAX = 128 };

static void publish_done(struct request *request, enum bus_outcome outcome,
                         const struct bus_message *reply)
{
    struct session *session = request->session;
    session_pass_reply(request, outcome, reply, RAILGUN__FRAME__BODY_PUBLISH_OK, true);
    if (session != NULL && outcome == BUS_OK && reply->status == ERR_PROTOCOL) {
        /* the batch inside was malformed: closes, as any malformed frame */
        conn_finish(session->conn);
    }
}

static const char *publish_problem(const struct settings *settings,
                                   const struct hot_publish *publish, int *ret_error)
{
    *ret_error = ERR_BAD_REQUEST;
    if (!publish->has_batch || publish->batch.size == 0) {
        return "batch is empty";
    }
    if (publish->expect.size > EXPECT_BYTES_MAX) {
        return "expect is too long";
    }
    if (publish->fence.size > FENCE_BYTES_MAX) {
        return "fence is too long";
    }
    if (publish->batch.size > settings->batch_bytes_max) {
        *ret_error = ERR_TOO_LARGE;
        return "batch";
    }
    return NULL;
}

int handle_publish(struct session *self, const struct frame_view *view, struct payload *owner)
{
    struct frontd *frontd = self->frontd;
    struct hot_publish publish;
    const struct catalog_stream *stream = NULL;
    struct request *request = NULL;
    int error = 0;

    if (hot_publish_read(view->body, &publish) != 0) {
        return ERR_PROTOCOL;
    }
    if (self->publish_bytes > frontd->settings->publish_window_bytes) {
        conn_fail(self->conn, ERR_CREDIT_VIOLATION, "publish window");
        return 0;
    }
    const char *problem = publish_problem(frontd->settings, &publish, &error);
    if (problem != NULL) {
        return session_refuse(self, view, error, problem);
    }
    int result = session_find_stream(self, view, publish.stream, publish.stream_id,
                                     ERR_ENSURE_FIRST, &stream);
    if (result == 0 && !to_logd_has_room(frontd->logd)) {
        result = ERR_AGAIN;
    }
    if (result == 0) {
        result = session_request(self, view, publish_done, &request);
    }
    if (result != 0) {
        return result == ERR_AGAIN ? ERR_AGAIN : 0;
    }
    request->publish_bytes = view->body.size;
    self->publish_bytes += request->publish_bytes;
    ++*frontd->counters.publishes;
    *frontd->counters.publish_bytes += publish.batch.size;
    /* Borrowed: the bus, or the queue, takes a reference of its own. */
    struct slice batch = {owner, publish.batch};
    to_logd_publish(frontd->logd, request, stream, &publish, &batch);
    return 0;
}
