/* host: one replica, run: the loop between the core (raft.h), a storage (storage.h), a network and a state machine, and requests that are answered when their time has come. What a
 * daemon with thousands of groups does by itself, in bulk and without copies, this does in the simplest correct way: for embedders' first steps, small clusters and tests. Pure like
 * the core but for the storage: time is given, no threads. One thread owns it; a shared pointer to it is its handle.
 *
 *     raft_host_recv(host, now, bytes);             // or raft_host_advance at raft_host_deadline, or the storage has become durable
 *     raft_host_turn(host);                         // sends, applies, answers
 *
 * Callbacks come out of raft_host_turn (and raft_host_stop) alone; they may make requests, but not call raft_host_turn or raft_host_stop. */
#ifndef COMMON_RAFT_HOST_H
#define COMMON_RAFT_HOST_H

#include "common/raft/packet.h"
#include "common/raft/trace.h"

struct raft_host;

struct raft_host_metrics {
    struct raft_status status; /* id, state, term, leader, last, applied, ... */
    struct raft_members members;
    raft_index snapshot;
    int error; /* 0, or why it stopped for good */
};

/* What went into the core, or is about to be done for it: one of the two. Borrowed. */
struct raft_host_event {
    raft_time now; /* the last that was given */
    const struct raft_message *received;
    int error; /* of `received`: what raft_recv said */
    const struct raft_output *output;
};

struct raft_host_callbacks {
    /* The network: lose, delay, reorder or double it, but do not change it. `packet` is borrowed. */
    void (*send)(void *ud, uint32_t node, struct span packet);
    /* The state machine: apply a NORMAL entry. What it returns (0 or the application's error) and *ret_response (owned) go to whoever asked for it. */
    int (*apply)(void *ud, raft_index index, struct span payload, struct slice *ret_response);
    /* All that was applied, as bytes (owned). Not 0: none for now, another time. */
    int (*snapshot)(void *ud, struct slice *ret_state);
    /* Replace all by this snapshot: everything up to `index` is applied. */
    void (*restore)(void *ud, raft_index index, struct span state);
    /* Something of the metrics changed; NULL: no interest. */
    void (*changed)(void *ud, const struct raft_host_metrics *metrics);
    /* Each message and output as it passes, for logs, counters and spans (trace.h makes text of it); NULL: no interest, and no cost. */
    void (*trace)(void *ud, const struct raft_host_event *event);
    void *ud;
};

struct raft_host_options {
    struct raft_config config; /* raft_config_init */
    struct raft_storage *storage;
    struct raft_host_callbacks callbacks;
    raft_index applied;        /* what the state machine has durably; 0: a snapshot is restored */
    uint32_t snapshot_entries; /* 5000: take a snapshot after so many; 0: never */
    uint32_t keep_entries;     /* 1000: kept behind a snapshot for those who lag */
    uint32_t requests_max;     /* 65536: waiting at once */
};

/* What became of a request. 0: done. ERR_NOT_LEADER: certainly not done (write), not confirmed (read), or left to the next leader (change); see `leader`. ERR_CLOSED, ERR_POISONED: the
 * replica stopped first; unknown. Else the application's error. */
struct raft_host_outcome {
    int error;
    raft_index index;      /* write, change: of its entry. Read: applied at least that far */
    struct slice response; /* write: of apply; borrowed */
    struct slice payload;  /* write with ERR_NOT_LEADER: to be sent to `leader`; borrowed */
    struct raft_id leader; /* none: not known */
};
typedef void raft_host_done(void *ud, const struct raft_host_outcome *outcome);

void raft_host_options_init(struct raft_host_options *self);
/* 0; ERR_BAD_CONFIG; ERR_USAGE; ERR_NO_MEMORY; ERR_CORRUPT: its snapshot. Passive until somebody speaks to it, or it was a member before. */
int raft_host_start(const struct raft_host_options *options, raft_time now,
                    struct raft_host **ret_host);
/* Every waiting request ends with ERR_CLOSED; nothing is called behind that. The storage is the owner's again. Accepts NULL. */
void raft_host_stop(struct raft_host **self);

/* --- inputs --- */
/* Bytes from another replica. ERR_BAD_FORMAT, ERR_INCOMPLETE, ERR_TOO_LARGE, ERR_NO_MEMORY: ignored; ERR_POISONED. */
int raft_host_recv(struct raft_host *self, raft_time now, struct span packet);
void raft_host_advance(struct raft_host *self, raft_time now);
raft_time raft_host_deadline(const struct raft_host *self);
void raft_host_turn(struct raft_host *self);

/* --- requests: 0 and `done` is called later, or an error and it never is --- */
/* The first configuration, on a pristine replica: itself is added as a voter if it is missing. Call it on every founder, or on one. ERR_ALREADY, ERR_BAD_CONFIG. */
int raft_host_initialize(struct raft_host *self, const struct raft_members *members);
/* Done when it is committed and applied here. The payload is taken on 0 only. ERR_NOT_LEADER: see raft_host_leader; ERR_AGAIN, ERR_OVERLOADED. */
int raft_host_write(struct raft_host *self, const struct slice *payload, raft_host_done *done,
                    void *ud);
/* Done when this replica has applied all that was committed when it was asked, proved by a quorum (or lease). Only a leader answers, unless `any`: then a
 * follower asks its leader. ERR_NOT_LEADER, ERR_AGAIN. */
int raft_host_read(struct raft_host *self, raft_time now, bool any, raft_host_done *done, void *ud);
/* Done when it has come so near that it could be a voter. ERR_NOT_LEADER; ERR_ALREADY: a member; ERR_AGAIN: a change is under way. */
int raft_host_add_learner(struct raft_host *self, struct raft_id id, raft_host_done *done,
                          void *ud);
/* Become these members: new voters are learners first and are waited for, then one step or a joint phase; done when that is over and committed. ERR_NOT_LEADER;
 * ERR_ALREADY; ERR_BAD_CONFIG: nobody could lead; ERR_AGAIN: a change is under way. */
int raft_host_change(struct raft_host *self, const struct raft_members *target,
                     raft_host_done *done, void *ud);

/* --- what it is --- */
struct raft_id raft_host_leader(const struct raft_host *self);
void raft_host_metrics(const struct raft_host *self, struct raft_host_metrics *ret_metrics);
/* For raft_transfer, raft_progress_read and so on. Never raft_drain. */
struct raft *raft_host_core(struct raft_host *self);

#endif
