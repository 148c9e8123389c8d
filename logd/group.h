/* group: one consumer group as a pure machine: no disk, no network, no clock. It decides what goes to whom next, and what
 * an acknowledgement does; the caller reads, sends and proposes, and says what time it is.
 *
 * Two parts. The replicated state (group_state) changes only by applied entries. The leader's memory runs ahead of it and is built
 * from it when the first member joins. There every offset above the floor and below the cursor is exactly one of
 *
 *   acked    acknowledged, perhaps not yet proposed or applied
 *   held     delivered to one member, not acknowledged
 *   ready    came back, or is due: to be delivered again, before anything new, in order of (due time, offset)
 *   delayed  came back, and waits until it is due
 *   skipped  the stored data is damaged: never delivered, never acknowledged
 *
 * Dead letters count as acknowledged (group_deaths.h); when they are replayed they are ready again, and the floor falls if need be.
 *
 *            deliver                ack
 *   new ───────────────► held ────────────────► acked ──► floor
 *    │                   │  ▲ │ nack with delay
 *    │ damaged     nack, │  │ └──────────► delayed
 *    ▼            leave, │  │ deliver        │ due, released
 *   skipped ◄──┐ deadline▼  │ again          │
 *              └──────── ready ◄─────────────┘
 *              damaged
 *
 * Costs are per range, never per message. Credit is counted in messages and in bytes of record batch; it is never exceeded, with one
 * exception: a record larger than all the credit a member has left goes out when the member holds nothing (else it would wait for
 * ever); the excess is a debt that later credit pays first.
 *
 * Every delivery is counted (attempt) when it happens; what has no counter was delivered once, if it is below the cursor. Counters
 * become durable with the next entry: after a crash they may be too low, never too high. */
#ifndef LOGD_GROUP_H
#define LOGD_GROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/list.h"
#include "common/base/ranges.h"
#include "logd/ack_result.h"
#include "logd/group_deaths.h"
#include "logd/group_exclusive.h"
#include "logd/group_dues.h"
#include "logd/group_state.h"

enum { GROUP_PAGE_BYTES_MAX = 256 * 1024, GROUP_PAGE_TRIES_MAX = 256 };

struct group;

/* One that may be delivered to; part of whoever owns it. Read by all, written by group only. */
struct group_member {
    /* not 0, unique in the group's life; for people and for "not to this one again" */
    uint64_t number;
    struct list node;  /* in the group */
    struct list ready; /* in the group's round of those that can take something now */
    struct ranges
        *held; /* value: since when, monotonic ms; whole seconds while no deadline is set */
    struct group_dues deadlines; /* of held, while a deadline is set */
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

/* --- time --- */

/* What time it is: real and monotonic, both in ms. Comes before anything that depends on it. What is due becomes ready, some hundred ranges
 * at a time. */
void group_tick(struct group *self, uint64_t real_ms, uint64_t now_ms);
/* When (monotonic) something is due next: a delay, a deadline. Perhaps too early, UINT64_MAX: nothing. */
uint64_t group_next_ms(struct group *self);
/* A range whose deadline is over; false: none. It has been given back already, failed once more. */
struct group_expired {
    struct group_member *member;
    uint64_t first;
    uint64_t last;
};
bool group_expire(struct group *self, struct group_expired *ret_expired);

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
/* The configuration was changed in the replicated state; what the deadline was before. When it is another now, it begins anew for all that is held. */
void group_reconfigured(struct group *self, uint64_t ack_wait_ms_before);
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
                     uint64_t bytes);
/* [page->first, last] cannot be read: go on behind it. Of it, as much as lies in one piece and waits is skipped: up to group_skip_end. */
uint64_t group_skip_end(const struct group *self, const struct group_page *page, uint64_t last);
void group_skip(struct group *self, const struct group_page *page, uint64_t last);

/* Attempts of messages that were delivered before: for each range in [first, last] that was, in order. */
struct group_again {
    uint64_t first;
    uint64_t last;
    struct group_tries tries; /* before the coming delivery */
};
/* Fills at most `max`, returns how many. If there are more, *ret_last is where the known part ends, else `last`. */
size_t group_tries_of(const struct group *self, uint64_t first, uint64_t last,
                      struct group_again *again, size_t max, uint64_t *ret_last);

/* Is there something to deliver, and somebody with credit for it? Blocked members count: perhaps they are not. */
bool group_is_standing_still(const struct group *self, uint64_t end);

/* New deliveries stopped because of too many holes. True once for each time it happens. */
bool group_became_full(struct group *self);

/* --- what members say --- */

enum group_verb {
    GROUP_ACK,
    GROUP_NACK,    /* failed: ready at once, preferably for another member */
    GROUP_RELEASE, /* the same, not counted as failed */
    GROUP_DELAY,   /* group_handle_nack */
    GROUP_EXTEND,  /* do I still have it? Then its deadline begins anew */
    GROUP_REJECT, /* to the dead letters; BAD_CONFIG, and it stays with the member: the group has none */
};
/* For each part of [first, last] (from outside, any numbers): done, or a result: ALREADY, STALE_DELIVERY (another has it, or it is
 * ready or delayed), NOT_DELIVERED, BAD_REQUEST. */
void group_handle_range(struct group *self, struct group_member *member, enum group_verb verb,
                        uint64_t first, uint64_t last, struct ack_results *results);
/* As a member said it. Without a delay: the group's back-off by number of failures, or at once if they are not counted. Further results:
 * DELAY_FULL (what does not fit stays with the member, nothing of it is counted), BAD_REQUEST (a delay of over 7 days). */
struct group_nack {
    bool no_count;
    bool has_delay;
    uint64_t delay_ms;
};
void group_handle_nack(struct group *self, struct group_member *member,
                       const struct group_nack *nack, uint64_t first, uint64_t last,
                       struct ack_results *results);
/* Everything the member holds up to and with `up_to` is acknowledged. */
void group_ack_up_to(struct group *self, struct group_member *member, uint64_t up_to);

/* --- what operators say: at once in the leader's memory, durable with the next entry --- */

/* A GroupPause. False: it was so already. */
bool group_pause(struct group *self, uint32_t how);
bool group_is_paused(const struct group *self);
uint32_t group_pause_reason(const struct group *self); /* a GroupPause */
/* Everything up to `floor` counts as acknowledged, nothing above it was ever delivered; nobody holds anything any more. */
void group_seek(struct group *self, uint64_t floor);
/* What is held (by this member, or with 0 by any) or, with 0, delayed in [first, last] is ready, not counted as failed. Returns how many. */
uint64_t group_release_range(struct group *self, uint64_t member, uint64_t first, uint64_t last);

/* --- what is to be proposed --- */

struct group_changes {
    bool is_empty;
    bool is_all; /* false: bytes_max was reached */
    bool has_epoch;
    uint64_t acked_last;
    uint64_t tries_last;
    uint64_t delayed_last;
    uint64_t delivered; /* 0: nothing new */
    size_t deaths;      /* bytes of their news */
};
bool group_has_changes(const struct group *self);
/* Only counters of deliveries changed: nobody waits for that, a little later is soon enough. */
bool group_changes_can_wait(const struct group *self);
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
    uint64_t delayed;
    uint64_t skipped;
    uint64_t cursor;      /* the next new offset */
    uint64_t next_due_ms; /* real time, of the first delayed one; 0: none */
    uint64_t redelivered_total;
};
void group_numbers(struct group *self, struct group_numbers *ret_numbers);

enum group_where { GROUP_HELD, GROUP_READY, GROUP_DELAYED, GROUP_SKIPPED, GROUP_DYING };
struct group_pending {
    uint64_t first;
    uint64_t last;
    enum group_where where;
    const struct group_member *member; /* GROUP_HELD */
    uint64_t since_ms;                 /* GROUP_HELD: monotonic */
    uint64_t due_ms;                   /* GROUP_DELAYED: real time */
    struct group_tries tries;          /* deliveries so far, this one included; failures */
};
/* Visit what is not acknowledged behind `after`, and what is dying, in order of offset, at most `max` ranges; false: there are more. A group at rest
 * begins to work for that; group_rest ends it. */
typedef void group_pending_fn(void *ud, const struct group_pending *pending);
bool group_pending_list(struct group *self, uint64_t after, size_t max, group_pending_fn *visit,
                        void *ud);

/* The sum: every offset between floor and cursor is exactly one of acked, held, ready, delayed, skipped. Cheap. */
bool group_check(const struct group *self);
/* The same by walking. */
bool group_invariant(const struct group *self);

#endif
