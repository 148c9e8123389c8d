/* handle_control: what operators do to a group; logd does it, and answers when it is durable. The group is one of the catalogue, or else perhaps one in
 * logd's memory. */
#include "frontd/handle.h"

#include "common/base/err.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/log.pb-c.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"

#include "frontd/to_logd.h"

enum { LOG_SPEC = 3 }; /* of LogGroupControl */

static void control_done(struct request *request, enum bus_outcome outcome,
                         const struct bus_message *reply)
{
    session_pass_reply(request, outcome, reply, RAILGUN__FRAME__BODY_GROUP_CONTROL_OK, true);
}

static int control_ask(struct session *self, const struct frame_view *view,
                       Railgun__GroupControl *control)
{
    struct frontd *frontd = self->frontd;
    const struct catalog_stream *stream = NULL;
    const struct catalog_group *group = NULL;
    struct request *request = NULL;
    struct span name = span_of(control->group != NULL ? control->group : "");
    int result =
        session_find_stream(self, view, span_of(control->stream != NULL ? control->stream : ""),
                            (struct span){0}, ERR_NOT_FOUND, &stream);
    if (result == 0) {
        group = catalog_find_group(frontd->catalog, stream, name);
    }
    if (result == 0 && name.size == 0) {
        return session_refuse(self, view, ERR_BAD_REQUEST, "which group?");
    }
    if (result == 0 && !to_logd_has_room(frontd->logd)) {
        result = ERR_AGAIN;
    }
    if (result == 0) {
        result = session_query(self, view, control_done, &request);
    }
    if (result != 0) {
        return result == ERR_AGAIN ? ERR_AGAIN : 0;
    }
    Railgun__LogGroupControl message = RAILGUN__LOG_GROUP_CONTROL__INIT;
    struct buf meta = {0};
    message.has_group_id = group != NULL;
    message.group_id = group != NULL ? group->group_id : 0;
    message.control = control;
    scan_pack(&meta, &message.base);
    if (group != NULL) {
        pb_append_bytes(&meta, LOG_SPEC, group->spec);
    }
    to_logd_ask(frontd->logd, request, RAILGUN__BUS_TYPE__BUS_LOG_GROUP_CONTROL, stream->log_group,
                buf_span(&meta), 0);
    buf_release(&meta);
    return 0;
}

int handle_group_control(struct session *self, const struct frame_view *view, struct payload *owner)
{
    Railgun__GroupControl *control = NULL;
    (void) owner;
    int result = SCAN_UNPACK(view->body, railgun__group_control, &control);
    if (result == 0) {
        result = control_ask(self, view, control);
    }
    SCAN_FREE(&control);
    return result;
}
