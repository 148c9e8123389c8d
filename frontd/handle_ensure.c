/* handle_ensure: Ensure, Delete, Undelete and Lock: asked of raftd, answered when this frontd's own catalogue shows the change. */
#include "frontd/handle.h"

#include "common/base/err.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"

#include "frontd/to_logd.h"
#include "frontd/to_raftd.h"
#include "frontd/upstream.h"

enum {
    ENSURE_OK_RESULT = 1,
    ENSURE_OK_REVISION = 5,
    DELETE_OK_REVISION = 1,
    UNDELETE_OK_REVISION = 2,
    LOCK_OK_REVISION = 2,
    LOG_SEEN_REVISION = 1,
    SEEN_MS_MAX = 2000, /* logd stands still: the change is made, it will see it */
};

static void change_resume(struct request *request)
{
    if (request->session != NULL) {
        session_send(request->session, request->channel, request->corr, (uint32_t) request->type,
                     buf_span(&request->keep));
    }
}

/* Keep the answer until the catalogue has come as far. */
static void change_done(struct request *request, enum bus_outcome outcome,
                        const struct bus_message *reply, uint32_t field_ok, uint32_t field_revision)
{
    if (request->session == NULL || outcome != BUS_OK || reply->status != 0) {
        session_pass_reply(request, outcome, reply, field_ok, true);
        return;
    }
    struct span rest = reply->meta;
    struct pb_field field;
    uint64_t revision = 0;
    while (pb_next(&rest, &field) == 1) {
        if (field.number == field_revision && field.type == PB_VARINT) {
            revision = field.value;
        }
    }
    buf_append(&request->keep, reply->meta);
    request->type = (uint16_t) field_ok;
    request->resume = change_resume;
    to_raftd_when(request->frontd->raftd, request, revision);
}

/* --- some changes hold in logd too when they are answered: who has set a fence, or undeleted a stream, may rely on it --- */

static void seen_answer(struct request *request, uint32_t field_ok)
{
    request->is_held = false;
    if (request->session != NULL) {
        session_send(request->session, request->channel, request->corr, field_ok,
                     buf_span(&request->keep));
    }
}

/* Whatever logd said: the change is made. */
static void updated_done(struct request *request, enum bus_outcome outcome,
                         const struct bus_message *reply)
{
    (void) outcome;
    (void) reply;
    seen_answer(request, RAILGUN__FRAME__BODY_ENSURE_OK);
}

static void undeleted_done(struct request *request, enum bus_outcome outcome,
                           const struct bus_message *reply)
{
    (void) outcome;
    (void) reply;
    seen_answer(request, RAILGUN__FRAME__BODY_UNDELETE_OK);
}

static void seen_ask(struct request *request, request_done_fn *done)
{
    struct to_logd *logd = request->frontd->logd;
    if (request->session == NULL || logd == NULL || upstream_link(to_logd_upstream(logd)) == NULL) {
        done(request, BUS_FAILED, NULL); /* logd asks raftd when it starts */
        return;
    }
    struct buf meta = {0};
    pb_append_varint(&meta, LOG_SEEN_REVISION, request->number);
    struct bus_outgoing out = {.type = RAILGUN__BUS_TYPE__BUS_LOG_SEEN, .meta = buf_span(&meta)};
    buf_reset(&request->meta); /* what raftd was asked */
    request->done = done;
    request_hold(request);
    upstream_ask(to_logd_upstream(logd), request, &out, SEEN_MS_MAX);
    buf_release(&meta);
}

static void updated_resume(struct request *request)
{
    seen_ask(request, updated_done);
}

static void undeleted_resume(struct request *request)
{
    seen_ask(request, undeleted_done);
}

static bool ensure_is_update(struct span answer)
{
    struct pb_field field;
    while (pb_next(&answer, &field) == 1) {
        if (field.number == ENSURE_OK_RESULT && field.type == PB_VARINT) {
            return field.value == RAILGUN__ENSURE_OK__RESULT__UPDATED;
        }
    }
    return false;
}

static void ensure_done(struct request *request, enum bus_outcome outcome,
                        const struct bus_message *reply)
{
    change_done(request, outcome, reply, RAILGUN__FRAME__BODY_ENSURE_OK, ENSURE_OK_REVISION);
    if (request->is_held && ensure_is_update(buf_span(&request->keep))) {
        request->resume = updated_resume;
    }
}

static void delete_done(struct request *request, enum bus_outcome outcome,
                        const struct bus_message *reply)
{
    change_done(request, outcome, reply, RAILGUN__FRAME__BODY_DELETE_OK, DELETE_OK_REVISION);
}

static void undelete_done(struct request *request, enum bus_outcome outcome,
                          const struct bus_message *reply)
{
    change_done(request, outcome, reply, RAILGUN__FRAME__BODY_UNDELETE_OK, UNDELETE_OK_REVISION);
    if (request->is_held) {
        request->resume = undeleted_resume;
    }
}

static void lock_done(struct request *request, enum bus_outcome outcome,
                      const struct bus_message *reply)
{
    change_done(request, outcome, reply, RAILGUN__FRAME__BODY_LOCK_OK, LOCK_OK_REVISION);
}

/* Kind and names of what is to be changed. NULL: fine. */
static const char *names_problem(bool has_kind, Railgun__Kind kind, const char *name,
                                 const char *group, char *text, size_t capacity)
{
    bool is_exchange = kind == RAILGUN__KIND__KIND_EXCHANGE;
    if (!has_kind ||
        (kind != RAILGUN__KIND__KIND_STREAM && kind != RAILGUN__KIND__KIND_GROUP && !is_exchange)) {
        return "kind: stream, group or exchange is needed";
    }
    const char *problem = session_name_problem(is_exchange ? "exchange" : "stream",
                                               span_of(name != NULL ? name : ""), text, capacity);
    if (problem == NULL && kind == RAILGUN__KIND__KIND_GROUP) {
        problem =
            session_name_problem("group", span_of(group != NULL ? group : ""), text, capacity);
    }
    return problem;
}

static int change_ask(struct session *self, const struct frame_view *view, request_done_fn *done,
                      uint16_t type)
{
    struct request *request = NULL;
    if (!to_raftd_has_room(self->frontd->raftd)) {
        return ERR_AGAIN;
    }
    int result = session_query(self, view, done, &request);
    if (result != 0) {
        return result == ERR_AGAIN ? ERR_AGAIN : 0;
    }
    struct buf meta = {0};
    pb_append_bytes(&meta, 1,
                    self->namespace_.size != 0 ? self->namespace_ : span_of(SESSION_NAMESPACE));
    pb_append_bytes(&meta, 2, view->body);
    to_raftd_ask(self->frontd->raftd, request, type, buf_span(&meta));
    buf_release(&meta);
    return 0;
}

int handle_ensure(struct session *self, const struct frame_view *view, struct payload *owner)
{
    Railgun__Ensure *ensure = NULL;
    char text[128];
    (void) owner;
    int result = SCAN_UNPACK(view->body, railgun__ensure, &ensure);
    if (result != 0) {
        return result;
    }
    const char *problem = names_problem(ensure->has_kind, ensure->kind, ensure->name, ensure->group,
                                        text, sizeof(text));
    SCAN_FREE(&ensure);
    if (problem != NULL) {
        return session_refuse(self, view, ERR_BAD_REQUEST, problem);
    }
    return change_ask(self, view, ensure_done, RAILGUN__BUS_TYPE__BUS_CATALOG_ENSURE);
}

int handle_delete(struct session *self, const struct frame_view *view, struct payload *owner)
{
    Railgun__Delete *delete = NULL;
    char text[128];
    (void) owner;
    int result = SCAN_UNPACK(view->body, railgun__delete, &delete);
    if (result != 0) {
        return result;
    }
    const char *problem = names_problem(delete->has_kind, delete->kind, delete->name, delete->group,
                                        text, sizeof(text));
    SCAN_FREE(&delete);
    if (problem != NULL) {
        return session_refuse(self, view, ERR_BAD_REQUEST, problem);
    }
    return change_ask(self, view, delete_done, RAILGUN__BUS_TYPE__BUS_CATALOG_DELETE);
}

/* Whether the names are good raftd says, of these two. */
int handle_undelete(struct session *self, const struct frame_view *view, struct payload *owner)
{
    (void) owner;
    return change_ask(self, view, undelete_done, RAILGUN__BUS_TYPE__BUS_CATALOG_UNDELETE);
}

int handle_lock(struct session *self, const struct frame_view *view, struct payload *owner)
{
    (void) owner;
    return change_ask(self, view, lock_done, RAILGUN__BUS_TYPE__BUS_CATALOG_LOCK);
}
