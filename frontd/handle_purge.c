/* handle_purge: records of a stream removed by request; logd does it. A purge is not safely repeated ("all" means something else a moment later), so an outcome
 * that is not known is said to be. */
#include "frontd/handle.h"

#include "common/base/err.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/scan.h"

#include "frontd/to_logd.h"

static void purge_done(struct request *request, enum bus_outcome outcome,
                       const struct bus_message *reply)
{
    session_pass_reply(request, outcome, reply, RAILGUN__FRAME__BODY_PURGE_OK, true);
}

static int purge_ask(struct session *self, const struct frame_view *view,
                     const Railgun__Purge *purge)
{
    struct frontd *frontd = self->frontd;
    const struct catalog_stream *stream = NULL;
    struct request *request = NULL;
    struct span pin = span_make(purge->stream_id.data, purge->stream_id.len);
    if (view->corr == 0) {
        return session_refuse(self, view, ERR_BAD_REQUEST, "this request needs a corr");
    }
    if ((purge->has_before && purge->has_keep) || (purge->has_before && purge->before == 0)) {
        return session_refuse(self, view, ERR_BAD_REQUEST,
                              purge->has_keep ? "before, or keep, not both"
                                              : "before: offsets begin with 1");
    }
    int result =
        session_find_stream(self, view, span_of(purge->stream != NULL ? purge->stream : ""), pin,
                            ERR_NOT_FOUND, &stream);
    if (result == 0 && !to_logd_has_room(frontd->logd)) {
        result = ERR_AGAIN;
    }
    if (result == 0) {
        result = session_request(self, view, purge_done, &request);
    }
    if (result != 0) {
        return result == ERR_AGAIN ? ERR_AGAIN : 0;
    }
    struct buf meta = {0};
    scan_pack(&meta, &purge->base);
    to_logd_ask(frontd->logd, request, RAILGUN__BUS_TYPE__BUS_LOG_PURGE, stream->log_group,
                buf_span(&meta), 0);
    buf_release(&meta);
    return 0;
}

int handle_purge(struct session *self, const struct frame_view *view, struct payload *owner)
{
    Railgun__Purge *purge = NULL;
    (void) owner;
    int result = SCAN_UNPACK(view->body, railgun__purge, &purge);
    if (result == 0) {
        result = purge_ask(self, view, purge);
    }
    SCAN_FREE(&purge);
    return result;
}
