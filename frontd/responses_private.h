/* responses_private: what the files of responses share. */
#ifndef FRONTD_RESPONSES_PRIVATE_H
#define FRONTD_RESPONSES_PRIVATE_H

#include "common/base/hash.h"

#include "frontd/response_asked.h"
#include "frontd/response_given.h"
#include "frontd/responses.h"

struct responses {
    struct frontd *frontd;
    unsigned instance; /* of this frontd */
    struct asked_set *asked;
    struct given_set *given;
    struct hash64 *resolving; /* token -> struct request: replies whose name is being looked up */
    uint64_t last_token;
    uint64_t closed_replies;
};

/* In the struct asked's own form. 0 or ERR_RS_CLOSED. `secret` NULL: the name was resolved, which is proof enough. */
int responses_take_reply(struct responses *self, uint64_t request, const uint64_t *secret,
                         const struct slice *message, bool *ret_is_more_wanted);

#endif
