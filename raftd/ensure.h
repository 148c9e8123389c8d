/* ensure: what an Ensure asks for and what becomes of it. Pure: the request and what is stored go in, the decision comes out. The same
 * decision is made when a command is applied, on every replica and in every replay. */
#ifndef RAFTD_ENSURE_H
#define RAFTD_ENSURE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/span.h"
#include "common/base/uuid.h"
#include "common/wire/client.pb-c.h"
#include "raftd/spec.h"

enum ensure_mode {
    ENSURE_MODE_UPDATE,
    ENSURE_MODE_CHECK,
    ENSURE_MODE_WARN,
    ENSURE_MODE_CREATE_ONLY,
    ENSURE_MODE_UPDATE_ONLY
};

struct ensure_request {
    enum spec_kind kind;
    struct span namespace_; /* the three borrow the message */
    struct span name;       /* of the stream or exchange */
    struct span group;      /* of a group only */
    uint64_t version;
    enum ensure_mode mode;
    bool allow_data_loss;
    struct spec wanted; /* owned */
};

/* From a message (namespace NULL: "default"), checking its form: 0, ERR_BAD_REQUEST or ERR_UNSUPPORTED (a namespace that the kind cannot be in)
 * with the reason in `problem`. On 0 ensure_request_release it. */
int ensure_read(const char *namespace_, const Railgun__Ensure *message,
                struct ensure_request *ret_request, struct buf *problem);
void ensure_request_release(struct ensure_request *self);

/* A name as a request gives it: NULL if `name` is good, else the reason. Also for Delete. */
const char *ensure_name_problem(const char *name);
/* The namespace of an object of that kind (NULL: "default"), also for Delete: 0, ERR_BAD_REQUEST (no name), ERR_UNSUPPORTED: only exchanges live
 * elsewhere than in "default". *ret_problem says why. */
int ensure_namespace(const char *namespace_, enum spec_kind kind, struct span *ret_namespace,
                     const char **ret_problem);
/* From the Kind of a message. false: nothing that can be ensured or deleted. */
bool ensure_kind(Railgun__Kind kind, enum spec_kind *ret_kind);

enum ensure_result {
    ENSURE_CREATED,
    ENSURE_UNCHANGED,
    ENSURE_UPDATED,
    ENSURE_STALE_VERSION,
    ENSURE_DIFFERS,
};

enum ensure_action { ENSURE_DO_NOTHING, ENSURE_DO_CREATE, ENSURE_DO_UPDATE };

struct ensure_diff {
    const char *path;   /* borrowed for ever */
    const char *class_; /* dynamic, immutable, shrinks_data, locked */
    char *current;
    char *wanted;
};

struct ensure_decision {
    int error;                 /* 0, or the answer is this error: then nothing changes */
    const char *detail;        /* of the error; borrowed for ever; may be NULL */
    enum ensure_result result; /* when error is 0 */
    enum ensure_action action; /* never anything but nothing with MODE_CHECK */
    uint64_t version;          /* stored, after the action */
    struct uuid stream_id;     /* filled by the catalogue */
    unsigned diff_count;
    struct ensure_diff diffs[SPEC_FIELDS_MAX];
    struct spec effective; /* with an action: what is stored then */
};

/* `current` NULL: there is none. `locked`: its fields (bit by field) that are an operator's: differences there are listed with class locked and count for
 * nothing else: they are no reason to refuse, and stay as they are. The decision is released by the caller. */
void ensure_decide(const struct ensure_request *request, const struct spec *current,
                   uint64_t current_version, uint32_t locked, struct ensure_decision *ret_decision);
/* A decision that is an error without more. */
void ensure_decide_error(int error, const char *detail, struct ensure_decision *ret_decision);
void ensure_decision_release(struct ensure_decision *self);

#endif
