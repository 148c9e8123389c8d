/* node: sessions between pairs of nodes, shared by all groups that both have. One beat a pair and interval tells that the other lives, hears us, and is the process
 * it was; groups that sleep (raft.h: QUIESCE) live on it, so that an idle group costs no message and no timer.
 *
 * Pure, like the core: no clock, no input or output, no allocation. One object for each thread that steps groups, and beats must leave from that
 * thread: else a healthy thread would hide a stuck one.
 *
 *     raft_node_recv(node, now, &beat);             // or raft_node_advance(node, now) at its deadline
 *     while (raft_node_drain(node, &output)) {
 *         SEND: raft_beat_encode and send, on the connection for control messages
 *         UP, LOST: raft_session(raft, now, output.node, up) for each replica here whose group has that node
 *     }
 *     before raft_read of a sleeping leader: raft_session_contact(raft, n, raft_node_contact(node, n)) for the other nodes n
 *
 * Losing a session too early does no harm: a sleeper then waits an election timeout from there. But both sides lose it: a leader whose follower woke for a moment
 * must not go on counting on its sleep. */
#ifndef COMMON_RAFT_NODE_H
#define COMMON_RAFT_NODE_H

#include "common/raft/members.h"

struct raft_beat {
    uint32_t from;
    uint32_t to;
    uint64_t epoch;      /* of the sender's process: higher than of any before it, not 0 */
    uint64_t echo_epoch; /* the receiver's, as heard last; 0: not heard yet */
    /* of this pair's session at the sender: a new number ends the session at the receiver, too */
    uint32_t losses;
    uint32_t echo_losses; /* the receiver's, as heard last */
    raft_time sent;       /* the sender's clock */
    raft_time echo;       /* the newest `sent` heard in that epoch; 0: none */
};

enum { RAFT_BEAT_BYTES = 56, RAFT_BEAT_VERSION = 1 };

/* Write exactly RAFT_BEAT_BYTES. */
void raft_beat_encode(const struct raft_beat *self, uint8_t *at);
/* Bytes from outside. ERR_INCOMPLETE; ERR_BAD_FORMAT: version, checksum, node or epoch 0, sender = receiver. */
int raft_beat_decode(const uint8_t *data, size_t size, struct raft_beat *ret_beat);

struct raft_node_config {
    uint32_t node;
    uint64_t epoch;
    uint32_t beat_us; /* 50 ms */
    /* 150 ms: so long without a beat, or without being heard, loses a session; >= 2 beats */
    uint32_t timeout_us;
    uint16_t peers_max;
};

struct raft_node;

size_t raft_node_size(const struct raft_node_config *config);
/* 0; ERR_BAD_CONFIG; ERR_USAGE: too small. `memory` is aligned to 8. */
int raft_node_init(void *memory, size_t size, const struct raft_node_config *config, raft_time now,
                   struct raft_node **ret_node);

/* Keep a session with this node. 0; ERR_ALREADY; ERR_OUT_OF_RANGE: peers_max; ERR_BAD_CONFIG: ourselves or 0. */
int raft_node_add(struct raft_node *self, uint32_t node);
/* No more: without LOST. ERR_NOT_FOUND. */
int raft_node_remove(struct raft_node *self, uint32_t node);

void raft_node_advance(struct raft_node *self, raft_time now);
/* A beat has come; `now` was read after that. Beats from unknown nodes, for others, or older than what was heard are ignored. */
void raft_node_recv(struct raft_node *self, raft_time now, const struct raft_beat *beat);

enum raft_node_output_type { RAFT_NODE_SEND, RAFT_NODE_UP, RAFT_NODE_LOST };

struct raft_node_output {
    enum raft_node_output_type type;
    uint32_t node;
    struct raft_beat beat; /* SEND */
};

bool raft_node_drain(struct raft_node *self, struct raft_node_output *ret_output);
/* UINT64_MAX: no sessions. */
raft_time raft_node_deadline(const struct raft_node *self);

bool raft_node_is_up(const struct raft_node *self, uint32_t node);
/* When we sent what that node last answered in the session that lives now; 0: there is none. */
raft_time raft_node_contact(const struct raft_node *self, uint32_t node);

#endif
