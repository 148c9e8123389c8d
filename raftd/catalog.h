/* catalog: the cluster's metadata as a deterministic state machine: streams, consumer groups, exchanges, endpoints, and who we are. In memory, found by name
 * and by id. Only catalog_apply changes it (and catalog_restore_*, before the first apply), so that the same commands give the same state on
 * every replica and in every life. Ids are counters of the state and never re-used. @thread loop */
#ifndef RAFTD_CATALOG_H
#define RAFTD_CATALOG_H

#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/span.h"
#include "common/base/uuid.h"
#include "raftd/catalog_items.h"
#include "raftd/ensure.h"

enum {
    CATALOG_LOG_GROUP_FIRST = 1024, /* below: raftd's own and what may come */
    CATALOG_GROUP_ID_FIRST = 1,
    CATALOG_STREAMS_MAX = 100000,
    CATALOG_GROUPS_MAX = 100000,
    CATALOG_EXCHANGES_MAX = 10000,
    CATALOG_ENDPOINTS_MAX = 1024,
};

struct catalog;

/* One object changed. What is gone is still whole during the call. */
enum catalog_change_kind {
    CATALOG_STREAM_PUT,
    CATALOG_STREAM_BURIED,  /* deleted; it, its groups and their data stay for its grace */
    CATALOG_STREAM_DUG_OUT, /* undeleted */
    CATALOG_STREAM_GONE,
    CATALOG_GROUP_PUT,
    CATALOG_GROUP_GONE,
    CATALOG_EXCHANGE_PUT,
    CATALOG_EXCHANGE_GONE,
    CATALOG_ENDPOINT_PUT,
};
struct catalog_change {
    enum catalog_change_kind kind;
    const struct catalog_stream *stream;
    const struct catalog_group *group;
    const struct catalog_exchange *exchange;
    const struct catalog_endpoint *endpoint;
};
typedef void catalog_change_fn(void *ud, const struct catalog_change *change);

/* `on_change` is called inside catalog_apply for each object that it changed; may be NULL. */
struct catalog *catalog_new(catalog_change_fn *on_change, void *ud);
void catalog_destroy(struct catalog **self);

/* --- asking --- */
uint64_t
catalog_revision(const struct catalog *self);      /* index of the last applied command; 0: none */
uint64_t catalog_node(const struct catalog *self); /* 0 before the bootstrap command */
const struct uuid *catalog_cluster(const struct catalog *self);
size_t catalog_stream_count(const struct catalog *self);  /* of those that live */
size_t catalog_deleted_count(const struct catalog *self); /* of those in their grace */
size_t catalog_group_count(const struct catalog *self);
size_t catalog_exchange_count(const struct catalog *self);
const struct catalog_stream *catalog_find_stream(const struct catalog *self, struct span key);
const struct catalog_group *catalog_find_group(const struct catalog *self, struct span key);
const struct catalog_exchange *catalog_find_exchange(const struct catalog *self, struct span key);
const struct catalog_endpoint *catalog_find_endpoint(const struct catalog *self, struct span key);
/* Why there is no stream of this name: ERR_STREAM_DELETED while one that had it is in its grace, else ERR_NOT_FOUND. Walks over all streams. */
int catalog_missing(const struct catalog *self, struct span namespace_, struct span name);
/* Of a deleted stream: when its grace is over. */
uint64_t catalog_stream_due_us(const struct catalog_stream *stream);
/* Deleted streams whose grace is over: at most `max` log groups, and how many. *ret_next_us: when more are due (UINT64_MAX: never). */
size_t catalog_reapable(const struct catalog *self, uint64_t now_us, uint64_t *log_groups,
                        size_t max, uint64_t *ret_next_us);
/* Walk (the deleted ones and their groups, too): start with *cursor = 0; NULL at the end; nothing may be applied meanwhile. */
const struct catalog_stream *catalog_next_stream(const struct catalog *self, size_t *cursor);
const struct catalog_group *catalog_next_group(const struct catalog *self, size_t *cursor);
const struct catalog_exchange *catalog_next_exchange(const struct catalog *self, size_t *cursor);
const struct catalog_endpoint *catalog_next_endpoint(const struct catalog *self, size_t *cursor);

/* What would become of this request in the present state. The caller releases the decision. */
void catalog_decide(const struct catalog *self, const struct ensure_request *request,
                    struct ensure_decision *ret_decision);

/* The same for the stream that a group's dead letters are to go to: the decision may become BAD_CONFIG or QUOTA. Comes after catalog_decide, for requests that
 * come with an id for such a stream. */
void catalog_dead_decide(const struct catalog *self, const struct ensure_request *request,
                         struct ensure_decision *decision);

/* A hash over the whole state: equal states have equal digests. Walks everything: for tests. */
uint64_t catalog_digest(const struct catalog *self);

/* --- changing --- */

enum catalog_command {
    CATALOG_BOOTSTRAP,
    CATALOG_ENSURE,
    CATALOG_DELETE,
    CATALOG_ENDPOINT,
    CATALOG_UNDELETE,
    CATALOG_REAP,
    CATALOG_LOCK,
};

struct catalog_outcome {
    enum catalog_command command;
    int error;                     /* of anything but an ensure: it was refused; nothing changed */
    const char *detail;            /* of the error; borrowed for ever; may be NULL */
    struct ensure_decision ensure; /* of an ensure */
    struct uuid stream_id;         /* of a stream that was deleted or undeleted */
    uint64_t due_us;               /* of a delete: its grace ends then; 0: it is gone */
    enum spec_kind kind;           /* of a lock */
    uint32_t locked;               /* of a lock: the fields, as in lock_paths */
};
void catalog_outcome_release(struct catalog_outcome *self);

/* Apply the encoded CatalogCommand that has this index in the log, the next after the revision. 0 with its outcome (release it), or
 * ERR_BAD_FORMAT: not a command that this version knows; the state is unchanged and the log must not be used further. */
int catalog_apply(struct catalog *self, uint64_t index, struct span command,
                  struct catalog_outcome *ret_outcome);

/* Fields as paths and as a set: 0, or ERR_BAD_REQUEST with the first path that is none. "dedup" is all below it. */
int lock_read(enum spec_kind kind, char *const *paths, size_t count, uint32_t *ret_mask,
              const char **ret_unknown);
/* How many there are; the paths are borrowed for ever. */
size_t lock_paths(enum spec_kind kind, uint32_t mask, char *ret_paths[SPEC_FIELDS_MAX]);

/* Loading a saved state, before anything is applied: each takes the encoded message; groups come after their streams, the state last.
 * 0 or ERR_BAD_FORMAT (use another catalog then). on_change is not called. */
int catalog_restore_stream(struct catalog *self, struct span message);
int catalog_restore_group(struct catalog *self, struct span message);
int catalog_restore_exchange(struct catalog *self, struct span message);
int catalog_restore_endpoint(struct catalog *self, struct span message);
int catalog_restore_state(struct catalog *self, struct span message);
/* Appended: the CatalogState to save with them. */
void catalog_pack_state(const struct catalog *self, struct buf *out);

#endif
