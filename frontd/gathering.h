/* gathering: one answer to a client that is put together from the answers of several daemons. Each is a part: a request of its own, whose outcome is a field
 * that is kept, or nothing. When all parts are over the client is answered. */
#ifndef FRONTD_GATHERING_H
#define FRONTD_GATHERING_H

#include "common/base/buf.h"

#include "frontd/session.h"

struct gathering {
    struct request *asker; /* the client's request, held meanwhile; its `keep` is free for use */
    unsigned open;         /* parts without an outcome, and one for who is still asking */
    struct buf parts;
    void (*answer)(struct request *asker, struct span parts);
};

/* Begin. 0; others as handlers return, with 1 for refused and answered. `answer` is called once, when gathering_part_over was called for each part and once
 * by who began; not if the client has gone. */
int gathering_begin(struct session *session, const struct frame_view *view,
                    void (*answer)(struct request *asker, struct span parts),
                    struct gathering **ret_gathering);
/* A part: to be asked of a daemon. Its `done` must call gathering_part_over. */
struct request *gathering_part(struct gathering *self, request_done_fn *done);
/* It may be gone afterwards. */
void gathering_part_over(struct gathering *self);

#endif
