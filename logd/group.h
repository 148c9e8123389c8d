/* group: one consumer group as a pure machine: no disk, no network, no clock. It decides what goes to whom next, and what
 * an acknowledgement does; the caller reads, sends and proposes.
 *
 * Two parts. The replicated state (group_state) changes only by applied entries. The leader's memory runs ahead of it and is built
 * from it when the first member joins. There every offset above the floor and below the cursor is exactly one of
 *
 *   acked    acknowledged, perhaps not yet proposed or applied
 *   held     delivered to one member, not acknowledged
 *   ready    came back: to be delivered again, before anything new
 *   skipped  the stored data is damaged: never delivered, never acknowledged
 *
 *            deliver                ack
 *   new ───────────────► held ────────────────► acked ──► floor
 *    │                   │  ▲
 *    │ damaged     nack, │  │ deliver again
 *    ▼            leave  ▼  │
 *   skipped ◄──────────── ready
 *             damaged
 *
 * Costs are per range, never per message. Credit is counted in messages and in bytes of record batch; it is never exceeded, with one
 * exception: a record larger than all the credit a member has left goes out when the member holds nothing (else it would wait for
 * ever); the excess is a debt that later credit pays first. */
#ifndef LOGD_GROUP_H
#define LOGD_GROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/list.h"
#include "common/base/ranges.h"
#include "logd/ack_result.h"
#include "logd/group_exclusive.h"
#include "logd/group_state.h"

enum { GROUP_PAGE_BYTES_MAX = 256 * 1024, GROUP_PAGE_TRIES_MAX = 256 };

struct group;

/* One that may be delivered to; part of whoever owns it. Read by all, written by group only. */
struct group_member {
    /* not 0, unique in the group's life; for people and for "not to this one again" */
    uint64_t number;
    struct list node;    /* in the group */
    struct list ready;   /* in the group's round of those that can take something now */
    struct ranges *held; /* value: the second of delivery */
    uint64_t credit_messages;
    int64_t credit_bytes; /* below 0: a debt, see above */
    uint64_t need_bytes; /* the record next in line is so large that it did not fit; 0: not known */
    bool is_blocked;     /* the way to it is full */
    bool is_draining;    /* it leaves when it holds nothing */
    struct group_standing standing; /* in an exclusive group */
    uint64_t delivered;
    uint64_t acked;
};

/* Takes the state (its content is moved). */
struct group *group_new(struct group_state *state);
void group_destroy(struct group **self); /* no member may be left */

/* The replicated part, for applying entries and for saving. */
struct group_state *group_replicated(struct group *self);

/* --- members --- */

/* Init and add it, without credit. The first one starts the leader's memory. */
void group_join(struct group *self, struct group_member *member, uint64_t number);
/* Remove and release it; what it held is ready at once. `count_failed`: counted as a failure of each message. */
void group_leave(struct group *self, struct group_member *member, bool count_failed);
/* More may be delivered to it. */
void group_grant(struct group *self, struct group_member *member, uint64_t messages,
                 uint64_t bytes);
/* The way to it is full, or free again. */
void group_block(struct group *self, struct group_member *member, bool is_blocked);
/* It gets nothing more, and leaves when it holds nothing. */
void group_drain(struct group *self, struct group_member *member);
/* The configuration was changed in the replicated state. */
void group_reconfigured(struct group *self);
size_t group_member_count(const struct group *self);
/* Walk the members: start with NULL; NULL at the end. */
struct group_member *group_member_next(const struct group *self, const struct group_member *member);

/* --- delivery --- */

struct group_page {
    struct group_member *member; /* to this one */
    uint64_t first;              /* from here on */
    uint32_t records_max;
    uint64_t bytes_max; /* > 0 */
    bool is_again;      /* from the ready ones */
};

/* What is to be delivered next, when the stream ends before `end`; false: nothing, or nobody can take it. Decides nothing
 * yet: one of the three below follows. */
bool group_next(struct group *self, uint64_t end, struct group_page *ret_page);
/* May the page as it was read (`count` records of `bytes`) go to its member? If not, somebody else's turn comes. */
bool group_page_fits(struct group *self, const struct group_page *page, uint32_t count,
                     uint64_t bytes);
/* It was sent. */
void group_delivered(struct group *self, const struct group_page *page, uint32_t count,
                     uint64_t bytes, uint64_t now_s);
/* [page->first, last] cannot be read: go on behind it. Of it, as much as lies in one piece and waits is skipped: up to group_skip_end. */
uint64_t group_skip_end(const struct group *self, const struct group_page *page, uint64_t last);
void group_skip(struct group *self, const struct group_page *page, uint64_t last);

/* Attempts of messages that were delivered before: for each range in [first, last] that is not at its first attempt, in order. */
struct group_again {
    uint64_t first;
    uint64_t last;
    struct group_tries tries; /* before the coming delivery */
};
/* Fills at most `max`, returns how many. If there are more, *ret_last is where the known part ends, else `last`. */
size_t group_tries_of(const struct group *self, uint64_t first, uint64_t last,
                      struct group_again *again, size_t max, uint64_t *ret_last);

/* New deliveries stopped because of too many holes. True once for each time it happens. */
bool group_became_full(struct group *self);

/* --- what members say --- */

enum group_verb {
    GROUP_ACK,
    GROUP_NACK,    /* failed: ready at once, preferably for another member */
    GROUP_RELEASE, /* the same, not counted as failed */
    GROUP_EXTEND,  /* no more than: do I still have it? */
    GROUP_REFUSE,  /* what we cannot do yet: UNSUPPORTED for what it holds */
};
/* For each part of [first, last] (from outside, any numbers): done, or a result: ALREADY, STALE_DELIVERY (another has it, or it is
 * ready), NOT_DELIVERED, BAD_REQUEST. */
void group_handle_range(struct group *self, struct group_member *member, enum group_verb verb,
                        uint64_t first, uint64_t last, struct ack_results *results);
/* Everything the member holds up to and with `up_to` is acknowledged. */
void group_ack_up_to(struct group *self, struct group_member *member, uint64_t up_to);

/* --- what is to be proposed --- */

struct group_changes {
    bool is_empty;
    bool is_all; /* false: bytes_max was reached */
    bool has_epoch;
    uint64_t acked_last;
    uint64_t tries_last;
};
bool group_has_changes(const struct group *self);
/* How many ranges wait. */
size_t group_changes_count(const struct group *self);
/* Append EntryAcks.OfGroup with what changed since it was last proposed, as far as it fits in about `bytes_max`. */
void group_changes_encode(const struct group *self, struct buf *out, size_t bytes_max,
                          struct group_changes *ret_changes);
/* They were proposed, and will come back as an entry. */
void group_changes_proposed(struct group *self, const struct group_changes *changes);
/* An entry with changes of this group was applied to the replicated state. */
void group_changes_applied(struct group *self);
/* Applied: what lies below `first_offset` is gone. Returns how much of it was not settled. */
uint64_t group_trim(struct group *self, uint64_t first_offset);
/* Nobody is here and everything is applied: forget the leader's memory. Called when convenient. */
void group_rest(struct group *self);

/* --- looking --- */

struct group_numbers {
    uint64_t floor; /* as the leader knows it */
    uint64_t acked_above;
    uint64_t holes;
    uint64_t held;
    uint64_t ready;
    uint64_t skipped;
    uint64_t cursor; /* the next new offset */
    uint64_t redelivered_total;
};
void group_numbers(const struct group *self, struct group_numbers *ret_numbers);

enum group_where { GROUP_HELD, GROUP_READY, GROUP_SKIPPED };
struct group_pending {
    uint64_t first;
    uint64_t last;
    enum group_where where;
    const struct group_member *member; /* GROUP_HELD */
    uint64_t since_s;                  /* GROUP_HELD */
    struct group_tries tries;          /* deliveries so far, this one included; failures */
};
/* Visit what is not acknowledged behind `after`, in order of offset, at most `max` ranges; false: there are more. */
typedef void group_pending_fn(void *ud, const struct group_pending *pending);
bool group_pending_list(const struct group *self, uint64_t after, size_t max,
                        group_pending_fn *visit, void *ud);

/* The sum: every offset between floor and cursor is exactly one of acked, held, ready, skipped. Cheap. */
bool group_check(const struct group *self);
/* The same by walking. */
bool group_invariant(const struct group *self);

#endif
