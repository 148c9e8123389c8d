/* gathering: counts the parts of an answer. Owns one object for each open question, until the last part has its outcome. */
#include "frontd/gathering.h"

#include "common/base/mem.h"

/* Never called: the asker itself is not sent anywhere. */
static void asker_done(struct request *request, enum bus_outcome outcome,
                       const struct bus_message *reply)
{
    (void) request;
    (void) outcome;
    (void) reply;
}

int gathering_begin(struct session *session, const struct frame_view *view,
                    void (*answer)(struct request *asker, struct span parts),
                    struct gathering **ret_gathering)
{
    struct request *asker = NULL;
    int result = session_query(session, view, asker_done, &asker);
    if (result != 0) {
        return result;
    }
    struct gathering *self = MEM_NEW(struct gathering);
    self->asker = asker;
    self->open = 1;
    self->answer = answer;
    *ret_gathering = self;
    return 0;
}

struct request *gathering_part(struct gathering *self, request_done_fn *done)
{
    struct frontd *frontd = self->asker->frontd;
    struct request *part = request_take(frontd->requests);
    part->frontd = frontd;
    part->done = done;
    part->gathering = self;
    part->is_session_bound = true;
    self->open++;
    return part;
}

void gathering_part_over(struct gathering *self)
{
    if (--self->open != 0) {
        return;
    }
    if (self->asker->session != NULL) {
        self->answer(self->asker, buf_span(&self->parts));
    }
    frontd_request_end(self->asker->frontd, self->asker);
    buf_release(&self->parts);
    mem_free(self);
}
