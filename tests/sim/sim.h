/* sim: one cluster of replicas in virtual time, everything that happens to it drawn from one seed. Shared by the files of tests/sim:
 *
 *     world     time, the queue of events, chance, violations        network  messages between nodes and what may happen to them
 *     disk      the write stream of a node, and what a crash leaves   node     drives the core: boot, inputs, drain, clocks
 *     clients   operations on registers, with their times             history  is what clients saw linearizable?
 *     churn     crashes, cuts, pauses, damage, changes of members     swarm    which of all that a seed has, and how much
 *     checker   what must hold after every step                       calm     the liveness phase: a healthy quorum must work again
 *
 * A node is a process with one replica of each group; a replica without configuration is pristine and silent. */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/rand.h"
#include "common/raft/node.h"
#include "common/raft/raft.h"

enum {
    SIM_NODES = 8, /* numbered 1 .. 7: [0] is unused */
    SIM_GROUPS = 3,
    SIM_INDEXES = 4096, /* of one log */
    SIM_TERMS = 4096,
    SIM_BATCH = 32, /* entries a message */
    SIM_KEYS = 5,
    SIM_CLIENTS = 8,
    SIM_OPS = 8192,
    SIM_MEMBERS = 4096,
    SIM_READS = 8,
    SIM_TEXT = 1 << 20, /* of a transcript */
};

#define SIM_NEVER UINT64_MAX

/* --- what a seed has (swarm.c) --- */

struct options {
    unsigned nodes;
    unsigned groups;
    unsigned clients;
    unsigned founders; /* members of the first configuration */
    bool witness;      /* the last founder is one */
    uint64_t safety_us;
    /* network: bimodal delay, and per mille of messages */
    unsigned delay_us_min;
    unsigned delay_us_max;
    unsigned slow_per_mille;
    unsigned slow_us_max;
    unsigned loss;
    unsigned duplicate;
    unsigned corrupt;
    unsigned replay; /* delivered once more, seconds later */
    /* disk */
    unsigned disk_us_max;
    unsigned disk_slow_per_mille;
    bool reorder; /* a crash may keep a later write and lose an earlier one */
    bool torn;
    /* node */
    unsigned batch_us;
    unsigned apply_us;
    unsigned drift_ppm; /* of a clock against the true one, at most */
    /* clients */
    unsigned think_us;
    unsigned reads; /* per mille of operations */
    /* mean microseconds between two, 0: never */
    uint64_t every[18];
    struct raft_config config; /* the common part */
};

enum churn_kind {
    CHURN_CRASH,
    CHURN_POWER, /* all nodes at once */
    CHURN_PAUSE,
    CHURN_CUT,
    CHURN_HEAL,
    CHURN_WIPE,
    CHURN_ROT,
    CHURN_EIO,
    CHURN_FULL, /* or very slow: the disk stands still for a while */
    CHURN_MEMBERS,
    CHURN_TRANSFER,
    CHURN_COMPACT,
    CHURN_CAMPAIGN,
    CHURN_UNREACHABLE,
    CHURN_USURP, /* somebody does not hear the leader, and whoever promised to stand by it restarts */
    CHURN_RESTART, /* the second half of it */
    CHURN_KINDS
};

/* --- world.c --- */

enum event_type {
    EVENT_TIMER,
    EVENT_MESSAGE,
    EVENT_BEAT,
    EVENT_BEAT_TIMER,
    EVENT_DISK,
    EVENT_DRAIN,
    EVENT_APPLY,
    EVENT_CLIENT,
    EVENT_ARRIVE,
    EVENT_RESPONSE,
    EVENT_TIMEOUT,
    EVENT_CHURN,
    EVENT_BOOT,
    EVENT_SNAPSHOT,
    EVENT_END,
};

struct event {
    uint64_t time;
    uint64_t seq;
    void *data;
    uint32_t gen; /* of what it was meant for: the boot of a node, or a number of an operation */
    uint8_t type;
    uint8_t node;
    uint8_t group;
};

/* A table from 64-bit keys to 64-bit values that is emptied at no cost. */
struct map {
    struct map_slot {
        uint64_t key;
        uint64_t value;
        uint64_t stamp;
    } * slot;
    uint64_t stamp;
    unsigned count;
};

enum { MAP_SLOTS = 1 << 16 };

/* --- logs, disks --- */

struct entry {
    raft_term term;
    uint64_t value;        /* NORMAL: the operation; the checker knows it of a hollow one, too */
    uint64_t hash;         /* of all entries up to here */
    raft_index members_at; /* the newest configuration entry up to here */
    const struct raft_members *members; /* its members */
    uint32_t bytes;
    uint8_t type;
    bool hollow; /* a witness: the payload is not here */
};

struct machine { /* the state machine: registers */
    raft_index index;
    uint64_t hash; /* of all that was applied */
    uint64_t value[SIM_KEYS];
    bool hollow; /* something was applied without its payload */
};

struct snapshot {
    struct machine machine;
    raft_term term;
    const struct raft_members *members;
    uint64_t bytes;
    uint64_t content; /* two nodes' snapshots of the same index have different bytes */
};

struct image { /* a log and what belongs to it, in memory or on disk */
    raft_index base;
    raft_term base_term;
    uint64_t base_hash;
    const struct raft_members *base_members;
    raft_index base_members_at;
    raft_index last;
    struct snapshot snapshot;
    raft_term term;
    struct raft_id vote;
    raft_index commit;
    raft_index suspect_last;
    raft_index rot_from; /* 0: none; entries from here on are damaged */
    struct entry *entry; /* by index */
};

enum job_kind { JOB_WRITE, JOB_COMPACT };

struct job { /* one element of a node's write stream */
    enum job_kind kind;
    uint8_t group;
    struct raft_write write;
    struct snapshot snapshot;
    raft_index base; /* COMPACT */
    raft_term base_term;
    uint64_t base_hash;
    const struct raft_members *base_members;
    raft_index base_members_at;
    unsigned capacity;
    struct entry *entry;
};

/* --- nodes --- */

struct waiting_read {
    uint64_t token;
    uint32_t op;
};

struct replica {
    uint8_t node;
    uint8_t group;
    bool dirty;
    bool stopped;
    struct raft *raft;
    struct raft_config config;
    struct image memory;
    struct image disk;
    struct machine machine;
    raft_index commit; /* as drain gave it out */
    uint64_t wake_at;  /* the timer event that is queued */
    uint64_t token;
    uint64_t chunk_bytes;
    uint64_t chunk_content;
    struct snapshot pending; /* a snapshot being made: finished later */
    uint32_t pending_gen;
    uint32_t *waiting; /* index -> operation proposed here, in this boot */
    uint64_t *waiting_boot;
    struct waiting_read read[SIM_READS];
    unsigned read_count;
    /* what the checker remembers of this boot */
    struct {
        raft_term boot_term;
        raft_term term;
        raft_index commit;
        raft_index applied;
        uint32_t snapshots;
        enum raft_state state;
        raft_term led;         /* the term it leads; 0 */
        raft_index led_last;   /* its last entry then */
        bool suspect;          /* its disk lost what it had acknowledged */
        raft_index suspect_to; /* up to here */
    } seen;
};

struct node {
    bool up;
    bool hollow_once[SIM_GROUPS]; /* this incarnation was a witness */
    uint32_t incarnation;
    uint32_t boot; /* counts starts: events of earlier ones are void */
    uint64_t paused_until;
    int64_t clock_offset;
    int clock_ppm;
    uint64_t epoch;
    struct raft_node *session;
    uint64_t beat_at;
    struct replica replica[SIM_GROUPS];
    /* disk */
    struct job **job; /* ring of waiting jobs */
    unsigned job_first;
    unsigned job_count;
    unsigned job_syncing;
    bool disk_busy;
    bool fails_next; /* the next sync gives EIO */
    uint64_t disk_stalled_until;
    struct machine checkpoint[SIM_GROUPS];
};

struct envelope {
    struct raft_message message;
    struct snapshot snapshot;
    bool hollow;
    struct entry entry[SIM_BATCH];
    struct envelope *next; /* of the free ones */
};

/* --- clients --- */

enum op_state { OP_OPEN, OP_OK, OP_FAILED, OP_UNKNOWN };

struct op {
    bool write;
    uint8_t group;
    uint8_t key;
    uint8_t client;
    uint8_t node;
    enum op_state state;
    uint64_t invoked;
    uint64_t responded;
    uint64_t value; /* write: its own number; read: what was read, 0: the first value */
    uint64_t answer;
    bool answer_ok;
    bool answered;
    raft_index committed; /* write: where; 0: not */
    raft_index floor;     /* commit index that the operation must see at least */
};

/* --- what is true (checker.c) --- */

struct committed {
    raft_term term;
    raft_term in; /* the term in which it was committed */
    uint64_t hash;
    uint64_t value;
    uint64_t machine; /* hash of the state machine here; 0: not seen yet */
    const struct raft_members *members;
};

struct truth {
    struct committed *committed; /* by index */
    raft_index last;
    raft_index members_at; /* newest committed configuration */
    struct raft_id *leader_of;
    raft_term term_max;
    raft_index floor[SIM_KEYS]; /* what a read that begins now must see: known to some client */
    bool exempt;                /* calm: it cannot work again without the nodes that stay away */
};

struct sim {
    uint64_t seed;
    uint64_t now;
    uint64_t steps;
    uint64_t runs; /* counts resets */
    uint64_t digest;
    bool trace;
    bool stopping; /* the safety phase is over: clients and churn stop */
    bool manual;   /* scripts: messages and writes wait to be told */
    char *out;     /* scripts: what is traced goes here */
    unsigned out_length;
    uint64_t drained; /* outputs */
    jmp_buf escape;
    char violation[512];
    struct prng prng;
    struct options options;
    struct event *queue; /* heap */
    unsigned queue_count;
    unsigned queue_capacity;
    uint64_t queue_seq;
    struct map entries; /* (group, index, term) -> hash of the log up to there */
    struct map votes;   /* (group, replica, term) -> whom */
    struct map grants; /* (group, replica, term) -> the nodes that granted it a pre-vote, as bits */
    struct map orders; /* (group, replica, term) -> the last entry a TimeoutNow to it named */
    struct map acked;  /* (group, replica) -> highest index acknowledged */
    struct node node[SIM_NODES];
    struct truth truth[SIM_GROUPS];
    struct raft_members *members;
    unsigned member_count;
    bool cut[SIM_NODES][SIM_NODES]; /* from, to */
    bool core[SIM_NODES];           /* calm: these are well */
    unsigned usurped;
    unsigned usurper;
    struct envelope *free_envelopes;
    struct envelope *delivering; /* by network_deliver, else NULL */
    struct job *free_jobs[64];
    unsigned free_job_count;
    struct envelope **manual_queue;
    unsigned manual_count;
    struct op *op;
    uint32_t op_count;
    uint64_t filler;
    unsigned client_hint[SIM_CLIENTS][SIM_GROUPS];
    struct {
        uint64_t events;
        uint64_t messages;
        uint64_t elections;
        uint64_t commits;
        uint64_t reads;
        uint64_t writes;
        uint64_t changes;
        uint64_t snapshots;
        uint64_t damages;
        uint64_t exempt;
        uint64_t slept;
        uint64_t churn[CHURN_KINDS];
    } count;
};

struct sim *sim_new(void);
void sim_destroy(struct sim **self);
/* Back to nothing, with this seed. Keeps the memory. */
void sim_reset(struct sim *self, uint64_t seed);
/* Run the seed to its end. false: violated, see self->violation. `options`: NULL, or instead of the swarm's. */
bool sim_run(struct sim *self, uint64_t seed, const struct options *options);
/* Handle the next event; false: none before `until`. */
bool sim_step(struct sim *self, uint64_t until);

_Noreturn void sim_violation(struct sim *self, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* All replicas, for a human reader. */
void sim_dump(const struct sim *self);
void sim_trace(const struct sim *self, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
#define TRACE(self, ...) ((self)->trace ? sim_trace((self), __VA_ARGS__) : (void) 0)

uint64_t sim_below(struct sim *self, uint64_t bound); /* 0 for 0 */
uint64_t sim_between(struct sim *self, uint64_t low, uint64_t high);
bool sim_chance(struct sim *self, unsigned per_mille);
uint64_t sim_mix(uint64_t a, uint64_t b);
void sim_at(struct sim *self, uint64_t time, enum event_type type, unsigned node, unsigned group,
            uint32_t gen, void *data);
/* NULL: not there */
uint64_t *map_find(struct map *self, uint64_t key);
void map_put(struct map *self, uint64_t key, uint64_t value);
void map_clear(struct map *self);

/* --- network.c --- */
void network_send(struct sim *self, struct replica *from, const struct raft_message *message);
void network_deliver(struct sim *self, struct envelope *envelope);
struct envelope *envelope_new(struct sim *self);
void envelope_free(struct sim *self, struct envelope *envelope);
void network_beat(struct sim *self, const struct raft_beat *beat);
void network_heal(struct sim *self);

/* --- disk.c --- */
void disk_write(struct sim *self, struct replica *replica, const struct raft_write *write);
void disk_compact(struct sim *self, struct replica *replica);
/* The sync that was under way is over. */
void disk_done(struct sim *self, struct node *node);
/* Complete so many jobs at once (scripts). */
void disk_complete(struct sim *self, struct node *node, unsigned count);
/* What is left after a loss of power. */
void disk_crash(struct sim *self, struct node *node);
void disk_kick(struct sim *self, struct node *node);
void disk_clear(struct sim *self, struct node *node);
bool disk_has(const struct image *disk, raft_index index, uint64_t hash);
void image_clear(struct image *self);
void image_copy(struct image *self, const struct image *from);
/* Put an entry behind the last, or in its place (and cut what follows). Fills in hash and configuration. */
void image_put(struct sim *self, struct image *image, raft_index index, const struct entry *entry);
raft_term image_term_at(const struct image *self, raft_index index);
uint64_t image_hash_at(const struct image *self, raft_index index);
const struct raft_members *image_members(const struct image *self, raft_index index);

/* --- node.c --- */
void node_boot(struct sim *self, unsigned node);
void node_crash(struct sim *self, unsigned node);
void node_wipe(struct sim *self, unsigned node);
raft_time node_clock(const struct sim *self, const struct node *node, uint64_t now);
struct raft_id node_id(const struct sim *self, unsigned node);
/* After inputs: drain now, or in a while. */
void replica_touch(struct sim *self, struct replica *replica);
void replica_drain(struct sim *self, struct replica *replica);
void replica_timer(struct sim *self, struct replica *replica);
void replica_take(struct sim *self, struct replica *replica, const struct envelope *envelope,
                  const struct raft_taken *taken);
void replica_apply(struct sim *self, struct replica *replica);
int replica_propose(struct sim *self, struct replica *replica, uint64_t value, uint32_t bytes,
                    raft_index *ret_index);
int replica_change(struct sim *self, struct replica *replica, const struct raft_members *target);
int replica_bootstrap(struct sim *self, struct replica *replica,
                      const struct raft_members *members);
void replica_snapshot_loaded(struct sim *self, struct replica *replica,
                             const struct snapshot *snapshot);
/* Take a snapshot of what is applied, let go of all but `keep` entries. */
void replica_compact(struct sim *self, struct replica *replica, raft_index keep);
void replica_snapshot_begin(struct sim *self, struct replica *replica);
void replica_snapshot_end(struct sim *self, struct replica *replica, raft_index keep);
void node_beat_timer(struct sim *self, struct node *node);
void node_beat(struct sim *self, struct node *node, const struct raft_beat *beat);
void node_fail(struct sim *self, struct node *node);
void replica_contact(struct sim *self, struct replica *replica);
const struct raft_members *members_keep(struct sim *self, const struct raft_members *members);

/* --- clients.c --- */
void client_next(struct sim *self, unsigned client);
void client_arrive(struct sim *self, uint32_t op, unsigned node);
void client_response(struct sim *self, uint32_t op);
void client_timeout(struct sim *self, uint32_t op);
void client_applied(struct sim *self, struct replica *replica, raft_index index, uint64_t value);
void client_read_done(struct sim *self, struct replica *replica, uint64_t token, raft_index index,
                      int error);
/* Ask this node now; returns the operation. 0: none left */
uint32_t client_ask(struct sim *self, unsigned client, unsigned group, unsigned node, bool write);

/* --- history.c --- */
/* NULL, or what is not linearizable about the operations on this key (static text). *ret_op: of this operation. */
const char *history_check(const struct op *op, uint32_t count, unsigned group, unsigned key,
                          uint32_t *ret_op);

/* --- churn.c --- */
void churn_start(struct sim *self);
void churn_next(struct sim *self, enum churn_kind kind);
const char *churn_name(enum churn_kind kind);
/* Would each configuration in play still have a majority of sound voters without this replica? */
bool churn_may_damage(struct sim *self, const struct replica *replica);

/* --- swarm.c --- */
void swarm_draw(struct sim *self, struct options *ret_options);
void swarm_print(const struct options *options);

/* --- checker.c --- */
void checker_boot(struct sim *self, struct replica *replica);
/* After each step of a replica. */
void checker_step(struct sim *self, struct replica *replica);
/* A message leaves. */
void checker_send(struct sim *self, struct replica *replica, const struct raft_message *message);
/* An entry enters a log in memory. */
void checker_put(struct sim *self, struct replica *replica, raft_index index);
void checker_apply(struct sim *self, struct replica *replica);
void checker_damage(struct sim *self, struct replica *replica);
void checker_read(struct sim *self, struct replica *replica, raft_index index);
void checker_end(struct sim *self);
bool checker_change_is_legal(const struct raft_members *from, const struct raft_members *to);
uint64_t checker_id_key(unsigned group, struct raft_id id);

/* --- script.c --- */
/* Play a transcript, or all *.txt of a folder. Returns how many failed. */
unsigned script_run(struct sim *sim, const char *path, unsigned *ret_count);

/* For tests that tamper in between: play commands, separated by ';'. false: violated, see sim->violation. */
struct script;
struct script *script_new(struct sim *sim);
void script_destroy(struct script **self);
bool script_text(struct script *self, const char *commands);

/* --- calm.c --- */
void calm_run(struct sim *self);

#endif
