/* router: hosts (common/raft/host.h) of one group in one process, over storages in memory, with virtual time and a network that can be cut. For what an embedder sees: requests and
 * their answers, members, metrics, restarts. (cluster.h tests the core message by message.) */
#ifndef TESTS_UNIT_COMMON_RAFT_ROUTER_H
#define TESTS_UNIT_COMMON_RAFT_ROUTER_H

#include "common/base/buf.h"
#include "common/raft/host.h"
#include "common/raft/memory.h"

enum { ROUTER_NODES = 8 }; /* numbered from 1 */

struct router_node {
    struct router *router;
    uint32_t number;
    struct raft_memory *memory;
    struct raft_host *host; /* NULL: not running */
    /* the state machine: how many entries, and a hash of them in order */
    uint64_t count;
    uint64_t hash;
    raft_index last;     /* of the last that was applied or restored */
    uint64_t applies;    /* calls since it was started */
    unsigned restores;   /* calls */
    unsigned changes;    /* calls of changed */
    int apply_result;    /* the application's answer to all that comes */
    bool snapshot_fails; /* not now */
    struct raft_host_metrics watched;
};

struct packet;

struct router {
    raft_time now;
    struct router_node node[ROUTER_NODES];
    struct packet *head;
    struct packet **tail;
    bool isolated[ROUTER_NODES];
    bool deaf[ROUTER_NODES]; /* says, but does not hear */
    uint64_t packets;        /* sent */
    uint64_t types[RAFT_MESSAGE_TYPE_COUNT];
    uint64_t token; /* of the last READ */
    void (*configure)(struct raft_host_options *options);
};

/* A request and what became of it. */
struct answer {
    unsigned calls;
    int error;
    raft_index index;
    char response[32];
    char payload[32];
    struct raft_id leader;
};

struct router *router_new(unsigned count, void (*configure)(struct raft_host_options *options));
void router_free(struct router **self);
void router_start(struct router *self, uint32_t node); /* or start again */
void router_close(struct router *self, uint32_t node);
void router_stop(struct router *self, uint32_t node); /* its disk stays */
static inline struct raft_members router_members(const uint32_t *nodes, unsigned count)
{
    struct raft_members members = {0};
    for (unsigned i = 0; i < count; i++) {
        (void) raft_members_put(&members, (struct raft_id){nodes[i], 1}, RAFT_VOTER, 1);
    }
    return members;
}
#define ROUTER_MEMBERS(...)                                                                        \
    router_members((const uint32_t[]){__VA_ARGS__},                                                \
                   sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))
/* All of 1..count initialize in parallel; returns when one leads. */
uint32_t router_form(struct router *self, unsigned count);

/* Deliver and turn until nothing moves; time stands still. */
void router_settle(struct router *self);
void router_run(struct router *self, raft_time us);
uint32_t router_leader(const struct router *self); /* of the highest term; 0: none */
uint32_t router_wait_leader(struct router *self);
struct raft_host_metrics router_metrics(const struct router *self, uint32_t node);

void router_answer(void *ud, const struct raft_host_outcome *outcome); /* raft_host_done */
int router_write(struct router *self, uint32_t node, const char *text, struct answer *answer);
/* `count` writes through the leader, all of which succeed. */
void router_fill(struct router *self, unsigned count);
/* The change is made, through the leader. */
void router_change(struct router *self, const struct raft_members *target);
/* Nothing was ever heard or said by it. */
void router_expect_pristine(const struct router *self, uint32_t node);
/* These are up, and equal: term, last = committed = applied, state machine, uniform members; one of them leads. */
void router_expect_stable(struct router *self, unsigned count, raft_term term, raft_index last);

#endif
