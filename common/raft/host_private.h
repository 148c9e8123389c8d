/* host_private: what host.c and host_request.c share. */
#ifndef COMMON_RAFT_HOST_PRIVATE_H
#define COMMON_RAFT_HOST_PRIVATE_H

#include "common/base/list.h"
#include "common/raft/host.h"

enum request_kind { REQUEST_WRITE, REQUEST_READ, REQUEST_LEARNER, REQUEST_CHANGE };

struct request {
    struct list node;
    enum request_kind kind;
    raft_index index; /* write, change: of its entry; 0: none yet */
    raft_term term;
    uint64_t token;
    struct slice payload;
    struct raft_members target; /* change; learner: with it */
    struct raft_id learner;
    raft_host_done *done;
    void *ud;
};

struct raft_host {
    struct raft *raft;
    struct raft_storage *storage;
    struct raft_host_callbacks callbacks;
    struct raft_host_options options;
    struct raft_packet *packet; /* of the message being received */
    struct raft_output output;
    struct buf out;
    struct list writes; /* in order of index */
    struct list others;
    raft_time now; /* the last that was given */
    uint32_t request_count;
    uint64_t token;
    uint64_t wseq;
    uint64_t install_wseq; /* 0: no snapshot is on its way to the disk */
    raft_index applied;
    int failed;
    bool in_turn;
    struct raft_host_metrics told;
};

/* The disk or the log is not what it should be: this replica says nothing any more. */
void raft_host_fail(struct raft_host *self, int error);
void raft_host_requests_fail(struct raft_host *self, int error);
void raft_host_requests_applied(struct raft_host *self, raft_index index, raft_term term,
                                int result, const struct slice *response);
void raft_host_requests_read(struct raft_host *self, uint64_t token, raft_index index, int error);
/* Changes of members go on; what a lost leadership ended is answered. Was something done? */
bool raft_host_requests_turn(struct raft_host *self);

#endif
