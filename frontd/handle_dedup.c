/* handle_dedup: what is asked about a stream's message IDs, and letting some be new; logd does it. Repeating it does no harm. */
#include "frontd/handle.h"

#include "common/base/err.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/scan.h"

#include "frontd/to_logd.h"

static void dedup_done(struct request *request, enum bus_outcome outcome,
                       const struct bus_message *reply)
{
    session_pass_reply(request, outcome, reply, RAILGUN__FRAME__BODY_DEDUP_OK, false);
}

static int dedup_ask(struct session *self, const struct frame_view *view,
                     const Railgun__Dedup *dedup)
{
    struct frontd *frontd = self->frontd;
    const struct catalog_stream *stream = NULL;
    struct request *request = NULL;
    int result =
        session_find_stream(self, view, span_of(dedup->stream != NULL ? dedup->stream : ""),
                            (struct span){0}, ERR_NOT_FOUND, &stream);
    if (result == 0 && !to_logd_has_room(frontd->logd)) {
        result = ERR_AGAIN;
    }
    if (result == 0) {
        result = session_query(self, view, dedup_done, &request);
    }
    if (result != 0) {
        return result == ERR_AGAIN ? ERR_AGAIN : 0;
    }
    struct buf meta = {0};
    scan_pack(&meta, &dedup->base);
    to_logd_ask(frontd->logd, request, RAILGUN__BUS_TYPE__BUS_LOG_DEDUP, stream->log_group,
                buf_span(&meta), 0);
    buf_release(&meta);
    return 0;
}

int handle_dedup(struct session *self, const struct frame_view *view, struct payload *owner)
{
    Railgun__Dedup *dedup = NULL;
    (void) owner;
    int result = SCAN_UNPACK(view->body, railgun__dedup, &dedup);
    if (result == 0) {
        result = dedup_ask(self, view, dedup);
    }
    SCAN_FREE(&dedup);
    return result;
}
