/* groups_own: the body of struct groups, for its own files: groups (the set, applying, saving), groups_flush (proposing), deliver,
 * members, handle_attach, handle_ack, handle_consumer, handle_group. */
#ifndef LOGD_GROUPS_OWN_H
#define LOGD_GROUPS_OWN_H

#include "common/base/hash.h"
#include "common/base/list.h"
#include "common/run/log.h"
#include "logd/ack_result.h"
#include "logd/ephemerals.h"
#include "logd/events.h"
#include "logd/group.h"
#include "logd/groups.h"
#include "logd/member.h"
#include "logd/start.h"

enum {
    GROUPS_MAX = 10000,          /* of one stream */
    GROUPS_MEMBERS_MAX = 10000,  /* of one stream */
    GROUPS_ATTACHES_MAX = 10000, /* waiting for their entry */
    GROUPS_SYNCS_MAX = 16384,    /* acknowledgements waiting for theirs */
    GROUPS_FLUSH_MS = 10,
    GROUPS_FLUSH_LATE_MS = 40,       /* counters of deliveries alone */
    GROUPS_FLUSH_FULL_MS = 1000,     /* until the next try when the disk is full */
    GROUPS_FLUSH_RANGES = 65536,     /* so many waiting ranges do not wait */
    GROUPS_ENTRY_BYTES = 256 * 1024, /* about: of an ACKS entry */
    GROUPS_WAKE_PAGES = 64,          /* delivered in one go */
    GROUPS_STILL_MS = 5000,          /* a consumer with credit, and something to deliver */
    GROUPS_EXPIRY_AGAIN_MS = 2000,   /* until the catalogue is asked once more */
};

/* Of a group with messages that are dying: how far their move is (deadletter.h). */
struct burial {
    struct list node; /* in groups.burials while something is dying */
    bool is_moving;   /* a batch is on its way into the dead-letter stream */
    uint64_t
        noted; /* it is there, the entry that says so is not applied: its lowest offset; 0: no */
    uint64_t dlq_log_group; /* where the stream was found last */
    uint64_t retry_at_ms;   /* after an error; 0: at once */
    uint64_t backoff_ms;
    uint64_t told_ms; /* the last DLQ_ERROR */
};

/* One group in its stream. */
struct hosted {
    struct group *group;
    struct groups *groups;
    struct list active;     /* in groups.active while it has members */
    struct list changed;    /* in groups.changed while there is something to propose */
    struct list unsaved;    /* in groups.unsaved */
    uint64_t spec_revision; /* of the catalogue, of the newest configuration seen */
    unsigned configs;       /* proposed, not applied yet */
    uint64_t check_errors;
    bool is_ephemeral;       /* in memory only: never proposed, never saved */
    struct list resting;     /* in groups.ephemerals while it has no members */
    uint64_t rests_until_ms; /* then it ends */
    uint64_t floor_told;     /* to the servers of its members */
    uint64_t reattached;     /* consumers that had stood still */
    struct burial burial;
    uint64_t still_since_ms;      /* nothing is delivered though it could be; 0: not so */
    uint64_t idle_since_ms;       /* without members */
    bool is_expiring;             /* the catalogue was asked to delete it: nobody may join */
    struct group_changes changes; /* while an entry is built */
};

/* A member to be, waiting for the GROUP entry that opens or changes its group; or what an operator wants of a group without a position. */
struct attach {
    struct list node;
    struct bus_link *link;
    uint64_t ticket;
    uint16_t type;
    uint64_t index; /* of the entry */
    uint64_t group_id;
    uint64_t consumer;
    uint64_t credit_messages;
    uint64_t credit_bytes;
    uint64_t revision;
    struct buf spec; /* as in the entry */
    char *name;
    char *address;
    bool created;
    bool start_given;
    uint32_t priority;
    struct buf control; /* a LogGroupControl: nobody is to be a member */
};

/* A sync acknowledgement that waits for its ACKS entry. */
struct sync_ack {
    struct list node;
    uint64_t ticket;
    uint16_t type;
    uint64_t index; /* 0: not proposed yet */
    struct buf reply;
};

struct groups_counters { /* cells of the daemon's metrics */
    uint64_t *delivered, *redelivered, *acked, *nacked, *skipped, *check_errors, *bad_acks;
    uint64_t *deadlines, *delay_full, *gap_records, *reattached;
    uint64_t *dead, *dead_errors, *breakers;
};

struct groups {
    struct stream *stream;
    struct hash64 *hosted; /* of struct hosted, by group id */
    struct list active;
    struct list changed;
    struct list unsaved;
    struct list attaches;
    struct list syncs;      /* those not proposed yet are at the end */
    struct list cancels;    /* of struct member: still to be told that they are out */
    struct list draining;   /* of struct member: they leave when they hold nothing */
    struct list burials;    /* of struct hosted: something of them is dying */
    struct list configures; /* groups_configure.c */
    struct ephemerals ephemerals;
    size_t attach_count;
    size_t sync_count;
    size_t member_count;
    size_t saved_bytes;           /* by the last groups_save */
    struct ranges *dropped;       /* ids, in this life; NULL: none */
    struct ranges *drops_wanted;  /* ids whose deletion is still to be proposed; NULL: none */
    struct ranges *drops_unsaved; /* ids dropped since groups_save; NULL: none */
    uint64_t member_last;         /* number given last */
    uint64_t acks_proposed;       /* index of the last ACKS entry proposed in this life */
    uint64_t acks_applied;        /* and applied */
    uint64_t flush_at_ms;         /* 0: nothing waits */
    uint64_t expiry_at_ms;        /* no group expires before; UINT64_MAX: none will */
    uint64_t timer_at_ms; /* something is due in a group with members; UINT64_MAX: nothing */
    bool flush_now;
    bool deliver_more;
    bool is_closing; /* being destroyed: nothing is noted any more */
    struct log_limit read_errors;
    struct groups_counters count;
    struct ack_results results; /* these three are for the time of one call */
    struct buf meta;
    struct buf part;
};

struct bus *groups_bus(const struct groups *self);
/* Tell the group what time it is. */
void groups_tick(struct groups *self, struct hosted *hosted);
struct hosted *groups_find(const struct groups *self, uint64_t group_id);
/* After something happened to the group: note what is to be proposed, delivered, and whether it still adds up. */
void groups_touched(struct groups *self, struct hosted *hosted);

/* Take the group in (and its state), or throw it out. It has no members. */
struct hosted *groups_host(struct groups *self, struct group_state *state);
void groups_unhost(struct groups *self, struct hosted *hosted);
/* It has something to propose. */
void groups_propose_soon(struct groups *self, struct hosted *hosted);

/* groups_exclusive.c: once a turn; when an entry with changes was applied; with every check. */
void groups_exclusive_turn(struct groups *self, struct hosted *hosted);
void groups_exclusive_applied(struct groups *self, struct hosted *hosted);
void groups_exclusive_check(struct groups *self, struct hosted *hosted);
/* The active member of this number goes behind all others. False: it is not the active one. */
bool groups_put_back(struct groups *self, struct hosted *hosted, uint64_t number,
                     uint64_t *ret_released);

/* Does it still add up? Counted and logged if not. */
void groups_check_one(struct groups *self, struct hosted *hosted);

/* groups_dead.c: an entry with changes of it was applied, or it was loaded; after acknowledgements, and once a turn; once a turn for all that is dying: when
 * (loop time) to come again. */
void groups_dead_applied(struct groups *self, struct hosted *hosted);
void groups_dead_check(struct groups *self, struct hosted *hosted);
uint64_t groups_dead_turn(struct groups *self, uint64_t now_ms);
/* What of the group is not moved yet lies from here on; UINT64_MAX: nothing. */
uint64_t groups_dying_first(const struct hosted *hosted);

/* groups_trim.c: records below are gone; what was not settled is a gap. */
void groups_trim_one(struct groups *self, struct hosted *hosted, uint64_t first_offset);

/* groups_watch.c */
/* After a delivery, or none; true: members were put in again, try once more. */
bool groups_watch_turn(struct groups *self, struct hosted *hosted, bool has_delivered,
                       uint64_t end);
/* It did get something. */
void groups_watch_helped(struct groups *self, struct hosted *hosted, struct member *member);
/* It has no members, from now on. */
void groups_idle(struct groups *self, struct hosted *hosted);
/* Ask for the end of those whose time is over; when to call again. */
uint64_t groups_expiry_turn(struct groups *self, uint64_t now_ms);

/* groups_tell.c */
/* Tell it now, or as soon as its link takes it, before anything else. */
void groups_tell_member(struct groups *self, struct member *member, const struct told *told);
void groups_tell_all(struct groups *self, struct hosted *hosted, const struct told *told);
/* Tell who joins a group that is paused. */
void groups_tell_paused(struct groups *self, struct member *member);
/* What waits; true: nothing is left. */
bool groups_tell_owed(struct groups *self, struct member *member);
/* An event for operators; its group is filled in. */
void groups_note(struct groups *self, const struct hosted *hosted, struct event *event);

/* handle_control.c */
/* A GroupPause; members and operators are told. False: it was so already. */
bool groups_pause(struct groups *self, struct hosted *hosted, uint32_t how);
/* The LogGroupControl `meta`, which has waited until the group was opened. */
void groups_control_opened(struct groups *self, struct hosted *hosted, uint64_t ticket,
                           uint16_t type, struct span meta);

/* handle_attach.c */
/* A group without a position that is to be changed from outside. */
struct groups_opening {
    uint64_t group_id;
    struct span group;
    struct span spec;
    struct start start; /* START_DEFAULT: as `spec` says */
    enum start_gap on_gap;
    struct span control;
};
/* Give it one, then do what `control` says. 0: the ticket will be answered. */
int groups_open(struct groups *self, const struct bus_message *message,
                const struct groups_opening *opening, const char **ret_detail);
/* The floor of a group that starts there. ERR_OUT_OF_RANGE, ERR_BAD_REQUEST, ERR_CORRUPT, ERR_IO. */
int groups_start_floor(struct groups *self, const struct start *start, enum start_gap on_gap,
                       uint64_t *ret_floor);
/* OUT_OF_RANGE with what the stream holds. */
void groups_answer_range(struct groups *self, uint64_t ticket, uint16_t type);
/* The entry `index` of this group was applied (hosted NULL: it dropped the group). */
void groups_attach_applied(struct groups *self, uint64_t group_id, struct hosted *hosted,
                           uint64_t index);
void attach_destroy(struct groups *self, struct attach **attach);

/* groups_flush.c */
/* Answer now, or with the entry that holds everything accepted so far. Takes the content of `reply`. */
void groups_sync_wait(struct groups *self, uint64_t ticket, uint16_t type, struct buf *reply);
/* ACKS entries up to `index` are applied. */
void groups_sync_applied(struct groups *self, uint64_t index);

/* groups_configure.c */
/* What could not be proposed yet, once more; when (loop time) to come again. */
uint64_t groups_configure_turn(struct groups *self, uint64_t now_ms);
/* The group is gone; 0: all of them. */
void groups_configure_forget(struct groups *self, uint64_t group_id);
/* A new configuration was applied; `ack_wait_ms` is that of the one before. */
void groups_configured(struct groups *self, struct hosted *hosted, uint64_t ack_wait_ms);
/* handle_attach.c: the entry of a group that has a position. */
int groups_propose_config(struct groups *self, uint64_t group_id, struct span name,
                          struct span spec);

/* Propose that the group is no more; ERR_AGAIN and such: try later. */
int groups_propose_drop(struct groups *self, uint64_t group_id);

#endif
