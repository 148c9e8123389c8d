/* group_dead: the dead letters of a group, as far as they are replicated: which messages are dying (on their way to the dead-letter stream), dead (they lie
 * there), and reopened (replayed, and pending again). Part of group_state: changes only when entries are applied.
 *
 *              Dead                Buried                 replayed
 *   pending ─────────► dying ─────────────────► dead ────────────────► reopened = pending, with a copy
 *      ▲                 │ Buried, not found      │ dropped, too many        │
 *      │                 ▼                        ▼                          │ acknowledged: forgotten; Dead: dying again
 *      │                gap                   forgotten                      │
 *      └─────────────────────────────────────────────────────────────────────┘
 *
 * What is dying or dead counts as acknowledged for the floor and for delivery. A death after a replay has a higher round, and so an ID of its own in the
 * dead-letter stream. A seek ends the deaths above its position: nothing there was ever delivered. */
#ifndef LOGD_GROUP_DEAD_H
#define LOGD_GROUP_DEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/ranges.h"
#include "common/base/span.h"

struct group_state;
struct pb_field;

enum {
    GROUP_DEAD_MAX = 100000,       /* ranges of dead ones; then the lowest sixteenth is forgotten */
    GROUP_DEAD_TEXT_MAX = 4 << 20, /* bytes of their texts; likewise */
    GROUP_DEAD_ERROR_MAX = 256,    /* bytes that are kept of a reason, and of a consumer's name */
};

/* [first, last] with one fate. */
struct group_grave {
    uint64_t first;
    uint64_t last;
    uint64_t
        dlq_first; /* where the first lies in the dead-letter stream; of dying ones: an earlier copy, or 0 */
    uint64_t dlq_log_group; /* which stream that is; 0: not known */
    uint32_t reason;        /* Dead.Reason */
    uint32_t failed;
    uint32_t attempts;
    uint32_t round; /* how often it was dead before */
    char *error;    /* NULL: none */
    char *consumer; /* likewise; of dying ones only */
};

/* In order of offset, disjoint. Zeroed is empty. */
struct group_graves {
    struct group_grave *items;
    size_t count;
    size_t capacity;
    uint64_t total; /* offsets in them */
    size_t text_bytes;
};

void group_graves_release(struct group_graves *self);
/* The first one whose last >= offset; NULL: none. */
const struct group_grave *group_graves_from(const struct group_graves *self, uint64_t offset);
/* The one that holds it; NULL: none. */
const struct group_grave *group_graves_find(const struct group_graves *self, uint64_t offset);
/* How many offsets of [first, last] are in it. */
uint64_t group_graves_count_in(const struct group_graves *self, uint64_t first, uint64_t last);
bool group_graves_invariant(const struct group_graves *self);

struct group_dead {
    struct group_graves dying;
    struct group_graves dead;
    struct group_graves reopened;
    /* Not saved: what the leader has to follow. */
    struct ranges *fresh; /* reopened since the leader looked; NULL: nothing */
    uint64_t seeks;       /* applied in this life */
};

void group_dead_release(struct group_dead *self);

/* --- changes: what of [first, last] is in the state that the change begins with --- */

/* Pending: dying now. Of `grave`, first, last, reason, failed, attempts and the texts count. */
void group_state_die(struct group_state *self, const struct group_grave *grave);
/* Dying: dead, or (dlq_first 0) gone, which is counted as a gap. */
void group_state_bury(struct group_state *self, uint64_t first, uint64_t last, uint64_t dlq_first,
                      uint64_t dlq_log_group);
/* Dead: pending, not failed yet, with the attempts that it had. */
void group_state_reopen(struct group_state *self, uint64_t first, uint64_t last);
/* Dead: forgotten. */
void group_state_forget_dead(struct group_state *self, uint64_t first, uint64_t last);
/* For group_state: it is acknowledged; everything above is new. */
void group_dead_acked(struct group_dead *self, uint64_t first, uint64_t last);
void group_dead_seek(struct group_dead *self, uint64_t floor);

/* --- bytes --- */

/* Fields of GroupState and OfGroup (log.proto). */
enum {
    DEAD_STATE_DYING = 9,
    DEAD_STATE_DEAD = 10,
    DEAD_STATE_REOPENED = 11,
    DEAD_ACKS_DEAD = 6,
    DEAD_ACKS_BURIED = 7,
    DEAD_ACKS_REPLAYED = 8,
    DEAD_ACKS_DROPPED = 9,
};
void group_dead_encode(const struct group_dead *self, struct buf *out);
/* A field of GroupState, or of OfGroup (state NULL: only checked). Other fields do no harm. 0 or ERR_BAD_FORMAT. */
int group_dead_state_field(struct group_state *self, const struct pb_field *field);
int group_dead_acks_field(struct group_state *self, const struct pb_field *field);
/* Append a Dead as field `number`. */
void group_grave_append_dead(struct buf *out, uint32_t number, const struct group_grave *grave);

bool group_dead_invariant(const struct group_state *self);

#endif
