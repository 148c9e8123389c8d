/* handle_dead: DeadLetters: logd lists, replays and drops them. Groups in memory have none. */
#include "frontd/handle.h"

#include "common/base/err.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/log.pb-c.h"
#include "common/wire/scan.h"

#include "frontd/to_logd.h"

static void dead_done(struct request *request, enum bus_outcome outcome,
                      const struct bus_message *reply)
{
    session_pass_reply(request, outcome, reply, RAILGUN__FRAME__BODY_DEAD_LETTERS_OK, true);
}

static int dead_ask(struct session *self, const struct frame_view *view, Railgun__DeadLetters *ask)
{
    struct frontd *frontd = self->frontd;
    const struct catalog_stream *stream = NULL;
    const struct catalog_group *group = NULL;
    struct request *request = NULL;
    int result = session_find_stream(self, view, span_of(ask->stream != NULL ? ask->stream : ""),
                                     (struct span){0}, ERR_NOT_FOUND, &stream);
    if (result == 0) {
        result = session_find_group(self, view, stream,
                                    span_of(ask->group != NULL ? ask->group : ""), &group);
    }
    if (result == 0 && !to_logd_has_room(frontd->logd)) {
        result = ERR_AGAIN;
    }
    if (result == 0) {
        result = session_query(self, view, dead_done, &request);
    }
    if (result != 0) {
        return result == ERR_AGAIN ? ERR_AGAIN : 0;
    }
    Railgun__LogDeadLetters message = RAILGUN__LOG_DEAD_LETTERS__INIT;
    struct buf meta = {0};
    message.has_group_id = true;
    message.group_id = group->group_id;
    message.ask = ask;
    scan_pack(&meta, &message.base);
    to_logd_ask(frontd->logd, request, RAILGUN__BUS_TYPE__BUS_LOG_DEAD_LETTERS, stream->log_group,
                buf_span(&meta), 0);
    buf_release(&meta);
    return 0;
}

int handle_dead_letters(struct session *self, const struct frame_view *view, struct payload *owner)
{
    Railgun__DeadLetters *ask = NULL;
    (void) owner;
    int result = SCAN_UNPACK(view->body, railgun__dead_letters, &ask);
    if (result == 0) {
        result = dead_ask(self, view, ask);
    }
    SCAN_FREE(&ask);
    return result;
}
