/* raft: the consensus core of one replica of one group, after "In Search of an Understandable Consensus Algorithm" (Ongaro, Ousterhout) and
 * Ongaro's dissertation. Its words are theirs. See docs/raft.md for the guide.
 *
 * It is pure: no clock, input or output, thread, allocation or global. The state is one flat block: copy it with memcpy to clone it, hash
 * it, compare it. Given the same calls it does the same. It never sees payloads. One thread owns it.
 *
 * The driver owns the log: an index of it in memory (struct raft_log: pure reads) and its bytes on disk. It calls any number of inputs, then
 * raft_drain until that returns false:
 *
 *     raft_recv(raft, clock_now(), &message, &taken);  // put what was taken into the log in memory
 *     raft_propose(raft, entries, 3, &first);          // put these there, too
 *     while (raft_drain(raft, &output)) {
 *         switch (output.type) {
 *         case RAFT_OUTPUT_ENTRY:   // the core made a control entry: put it into the log in memory
 *         case RAFT_OUTPUT_WRITE:   // queue for the disk, in this order; when durable: raft_persisted(raft, wseq)
 *         case RAFT_OUTPUT_COMMIT:  // apply up to here; then raft_applied. May propose at once.
 *         case RAFT_OUTPUT_SEND:    // may leave now; attach the payloads; losing it is all right
 *         ...
 *         }
 *     }
 *     wait until raft_deadline(raft), a message, or a completed write; then raft_advance(raft, clock_now())
 *
 * Inputs may be called between two calls of raft_drain. Outputs come in an order that lets them be executed one by one: entries and writes before
 * anything that mentions them, messages last, so that what was proposed while applying leaves with the same messages.
 *
 * Durability. Writes are one ordered stream with increasing `wseq`; raft_persisted(w) says that all up to w are on stable storage. Everything that
 * must not leave earlier is held back here: no message before the term and vote it stands on are durable, no acknowledgement before its
 * entries are, nothing to apply before it is durable here. The leader's own disk works in parallel with the network. */
#ifndef COMMON_RAFT_RAFT_H
#define COMMON_RAFT_RAFT_H

#include "common/raft/config.h"
#include "common/raft/message.h"

struct raft;

/* --- the driver's log, as the core reads it --- */

struct raft_snapshot {
    raft_index index; /* the last entry it covers; 0: there is none */
    raft_term term;
    uint64_t bytes; /* 0: metadata only */
};

/* Reads of the log in memory: no side effects, never fail, O(log n) or better. What they answer follows from the outputs and returned values so
 * far: each appended entry is there as soon as the call that made it known has returned. Indexes asked for lie between the first and the
 * last entry, except as noted. */
struct raft_log {
    raft_term (*term_at)(void *ud, raft_index index);
    /* The largest index in [first, last] such that the payloads of [first, index] have at most bytes_max bytes together, but at least
     * first; and their bytes. Called for each APPEND that is sent. */
    raft_index (*cut)(void *ud, raft_index first, raft_index last, uint32_t bytes_max,
                      uint32_t *ret_bytes);
    /* The newest configuration entry at or below index, or that of the snapshot when it has none above: its index, and *ret_members. 0 and an
     * empty one if there never was any. */
    raft_index (*members_at)(void *ud, raft_index index, struct raft_members *ret_members);
    /* The newest snapshot that can be sent now. Covers at least all that is compacted. */
    struct raft_snapshot (*snapshot)(void *ud);
};

/* What the driver found on disk. All zero: a pristine replica, which stays silent until raft_bootstrap or a leader's first message. */
struct raft_boot {
    raft_term term; /* hard state; 0: none was ever written */
    struct raft_id vote;
    /* the commit index last written with a hard state: a floor; 0 is always right */
    raft_index commit;
    /* the last index that is no longer in the log (= of the snapshot, or the retention edge); 0: none */
    raft_index compacted;
    raft_term compacted_term; /* its term */
    raft_index last;          /* the last entry, or `compacted` */
    /* compacted <= applied <= last; the state machine has this much: it was committed */
    raft_index applied;
    /* 0: all is well. Else entries from here on are damaged (not a torn tail): `last` still names the last that was there. The replica then
     * takes no part in elections and acknowledges nothing from here on, until a leader has given it everything again. */
    raft_index suspect_from;
    /* as last written with a hard state (raft_write): a repair that a restart interrupted goes on */
    raft_index suspect_last;
};

/* Bytes for a replica with this configuration (valid: raft_config_check). <= 1 KiB for 5 members. */
size_t raft_size(const struct raft_config *config);
/* Make a replica in `memory` (aligned to 8). Copies everything but `log`, which is borrowed for the replica's life and called with `log_ud`. 0, ERR_BAD_CONFIG,
 * ERR_USAGE (size too small, boot state contradicts itself, or its configuration has more than members_max). A restarted replica refuses votes
 * for election_timeout_us_min. With a suspect boot, entries at or above suspect_from are never asked for. */
int raft_init(void *memory, size_t size, const struct raft_config *config,
              const struct raft_boot *boot, const struct raft_log *log, void *log_ud, raft_time now,
              struct raft **ret_raft);
/* After memcpy of raft_size bytes: where the clone reads its own log. */
void raft_rebind(struct raft *self, const struct raft_log *log, void *log_ud);

/* --- inputs --- */

/* Of a pristine replica: the first configuration. On 0, put it into the log in memory as entry 1 of term 1, type CONFIG. Safe on all founders in
 * parallel when each gives the same members; also enough on one of them. A lone voter leads at once. ERR_ALREADY: not pristine;
 * ERR_BAD_CONFIG: illegal, lacks this replica, or has more than members_max. */
int raft_bootstrap(struct raft *self, const struct raft_members *members);

/* Time passes. Call when now >= raft_deadline(), and after any pause before other inputs. Never goes backwards (an older time is ignored). */
void raft_advance(struct raft *self, raft_time now);

/* What the driver must do with a received message. */
struct raft_taken {
    /* count > 0: entries[skip .. skip + count) are now first ..., replacing all that the log held from `first` on. */
    raft_index first;
    uint32_t count;
    uint32_t skip;
    /* SNAPSHOT: store the chunk at message.offset of the snapshot being received (offset 0: begin a new one) */
    bool chunk;
    /* SNAPSHOT: it is complete: it becomes the log's base, with the members of the message; the log in memory becomes empty behind it (one that
     * has message.index already is never replaced). A WRITE with RAFT_WRITE_SNAPSHOT follows; when that is durable, the driver loads the state
     * machine and calls raft_applied. A state machine that is ahead (its log was damaged behind what it had applied) may stay as it is, or go
     * back to the snapshot: COMMIT counts from there again. */
    bool install;
};

/* A message has come. `now` is read after it came. Messages for another group, another id or from oneself are ignored; so is all that is impossible
 * from a correct peer. 0; ERR_BAD_FORMAT: ignored for its content; ERR_POISONED after raft_failed. *ret_taken is always written. */
int raft_recv(struct raft *self, raft_time now, const struct raft_message *message,
              struct raft_taken *ret_taken);

/* Append entries (type NORMAL; `term` is filled in by the core). All or nothing; they get *ret_first and following, and the current term. ERR_NOT_LEADER
 * (see raft_leader), ERR_AGAIN (a transfer is under way, or leadership is new and not yet drained), ERR_OVERLOADED (uncommitted_bytes_max),
 * ERR_USAGE, ERR_POISONED. Whether it is committed shows by COMMIT at its index while the term of that entry is still ours. */
int raft_propose(struct raft *self, struct raft_entry *entries, uint32_t count,
                 raft_index *ret_first);

/* Change the members. The core chooses single step or joint consensus and leaves a joint phase by itself, across changes of leader (unless
 * target->explicit_leave; then propose the new half as target to leave). On 0 put the entry into the log in memory: *ret_index, current term, type
 * CONFIG, *ret_members; done when MEMBERS says committed and not joint. ERR_NOT_LEADER; ERR_AGAIN (a change is under way, this term has
 * committed nothing yet, or a transfer is under way); ERR_THROTTLED (a new voter is no learner yet or lags more than catchup_entries_max:
 * add it as a learner, ask again); ERR_ALREADY; ERR_BAD_CONFIG; ERR_POISONED. */
int raft_propose_config(struct raft *self, const struct raft_members *target, raft_index *ret_index,
                        struct raft_members *ret_members);

/* A read wants to be linearizable. READ with this token follows when the state machine here is fresh enough, or says that it failed. Works on followers
 * (the leader is asked). A token is never used twice by a replica, not by a later process of it either (an answer may come that late): begin each
 * process at random, or behind its epoch. `now`: read after the request came. ERR_AGAIN: reads_max wait;
 * ERR_NOT_LEADER: no leader known; ERR_POISONED. */
int raft_read(struct raft *self, raft_time now, uint64_t token);

/* Hand leadership to a voter. Ends with a STATE output, or is given up after an election timeout (raft_status.transfer is none again). ERR_NOT_LEADER;
 * ERR_AGAIN (one is under way); ERR_NOT_FOUND (no such voter, or it may not lead); ERR_ALREADY (it is us); ERR_POISONED. */
int raft_transfer(struct raft *self, struct raft_id to);

/* All writes up to wseq are durable. */
void raft_persisted(struct raft *self, uint64_t wseq);
/* A write failed: the replica stops for good. It says nothing any more and everything returns ERR_POISONED. */
void raft_failed(struct raft *self);
/* The state machine has applied up to index. */
void raft_applied(struct raft *self, raft_index index);

/* The driver is about to let go of all entries up to `index` (<= applied): the edge of a snapshot that log.snapshot answers now, or of retention. Not
 * beyond what is applied. ERR_USAGE; ERR_ALREADY: was gone before. */
int raft_compacted(struct raft *self, raft_index index);

/* The transport lost something on its way to this node: send again, carefully. */
void raft_unreachable(struct raft *self, uint32_t node);
/* The session between our node and that node (see node.h) begins or ends. A lost one wakes what sleeps by it: election deadlines get jitter. With
 * quiesce_after_us, begin by telling a new replica of the nodes to which there is no session: it takes them for up. */
void raft_session(struct raft *self, raft_time now, uint32_t node, bool up);
/* A beat we sent at `sent` was answered in the session that lives now: extends the lease of a sleeping leader. */
void raft_session_contact(struct raft *self, uint32_t node, raft_time sent);

/* Campaign now, as if the election timeout had passed (tests, operators). ERR_AGAIN: it may not lead, or leads. */
int raft_campaign(struct raft *self);

/* Quorum-loss repair, for operators only: makes `members` (who must include this replica as a voter) the configuration, in a new term, without asking
 * anybody. On 0 put the entry into the log in memory: *ret_index, the term of raft_term_of, type CONFIG. What the others alone had committed is
 * lost; the others must never come back with their old incarnations. ERR_BAD_CONFIG, ERR_AGAIN (it leads: change the members properly). */
int raft_force_config(struct raft *self, const struct raft_members *members, raft_index *ret_index);

/* --- outputs --- */

enum raft_state {
    RAFT_FOLLOWER,
    RAFT_PRE_CANDIDATE,
    RAFT_CANDIDATE,
    RAFT_LEADER,
    RAFT_STOPPED, /* raft_failed */
    RAFT_STATE_COUNT
};

enum raft_output_type {
    RAFT_OUTPUT_ENTRY,
    RAFT_OUTPUT_WRITE,
    RAFT_OUTPUT_STATE,
    RAFT_OUTPUT_MEMBERS,
    RAFT_OUTPUT_COMMIT,
    RAFT_OUTPUT_READ,
    RAFT_OUTPUT_SEND,
};

enum {
    RAFT_WRITE_HARD =
        1, /* term, vote, suspect_last; and commit, which never causes a write of its own */
    RAFT_WRITE_SNAPSHOT = 2, /* the received snapshot becomes durable and the log's base */
    RAFT_WRITE_TRUNCATE = 4, /* entries >= truncate_from are void, newest first */
    RAFT_WRITE_APPEND = 8,   /* entries first..last of the log in memory */
};

struct
    raft_write { /* its parts are written in the order of the flags above; a crash may leave any prefix */
    uint64_t wseq;
    uint32_t flags;
    raft_term term;
    struct raft_id vote;
    /* not 0: entries up to here are missing that this replica may have acknowledged */
    raft_index suspect_last;
    raft_index commit;
    raft_index snapshot_index;
    raft_term snapshot_term;
    raft_index truncate_from;
    raft_index first;
    raft_index last;
};

struct raft_output {
    enum raft_output_type type;
    union {
        struct {
            raft_index index;
            /* BLANK, or CONFIG (leaving a joint phase): then entry.members = &members */
            struct raft_entry entry;
            struct raft_members members;
        } entry;
        struct raft_write write;
        struct {
            enum raft_state state;
            raft_term term;
            struct raft_id leader; /* none: not known */
            bool quiesced;
        } state;
        struct {
            raft_index index; /* of the active configuration */
            bool committed;
            bool joint;
            bool member; /* this replica is in it */
            bool voter;
        } members;
        raft_index commit; /* committed and durable here: apply up to it */
        struct {
            uint64_t token;
            raft_index index; /* applied at least this far */
            int error;        /* 0, or ERR_NOT_LEADER: no answer; ask again with a new token */
        } read;
        /* APPEND: entries index + 1 .. index + count are attached by the driver */
        struct raft_message message;
    };
};

/* The next thing to do; false: nothing, now. */
bool raft_drain(struct raft *self, struct raft_output *ret_output);
/* When raft_advance must be called; UINT64_MAX: never (asleep, pristine, or alone). */
raft_time raft_deadline(const struct raft *self);

/* --- what it is now --- */

struct raft_status {
    struct raft_id id;
    enum raft_state state;
    raft_term term;
    struct raft_id vote;
    struct raft_id leader;
    struct raft_id transfer; /* the target of one that is under way */
    raft_index compacted;
    raft_index last;
    raft_term last_term;
    raft_index commit;  /* as known, may be beyond what is durable here */
    raft_index durable; /* of this replica's log */
    raft_index applied;
    uint64_t wseq;         /* last given out */
    uint64_t wseq_durable; /* last confirmed */
    raft_index members_index;
    bool joint;
    bool voter;
    bool quiesced;
    bool suspect;
    bool leased; /* a read would be answered by the lease at the time last given */
    uint32_t uncommitted_bytes;
    uint32_t reads;
    /* since init */
    uint32_t elections;  /* started */
    uint32_t step_downs; /* from leader */
    uint32_t rejections; /* APPENDs that we refused */
    uint32_t retries;    /* times a peer had to be sent something again */
    uint32_t snapshots;  /* installed */
};

enum raft_progress_state { RAFT_PROBE, RAFT_REPLICATE, RAFT_SNAPSHOT };

struct raft_progress {         /* how a leader sees a peer */
    struct raft_member member; /* without its address: raft_members_read */
    enum raft_progress_state state;
    raft_index match; /* durable there and equal to ours */
    raft_index next;
    uint32_t inflight_bytes;
    uint32_t inflight_messages;
    raft_time contact; /* our clock when we sent what it answered last; 0: never */
    uint64_t snapshot_offset;
    bool departing; /* no member any more: gets the configuration that removes it, then nothing */
    bool asleep;
};

void raft_status_read(const struct raft *self, struct raft_status *ret_status);
/* Peer number i of the active configuration, this replica among them; false: there are not so many. */
bool raft_progress_read(const struct raft *self, unsigned i, struct raft_progress *ret_progress);
void raft_members_read(const struct raft *self, struct raft_members *ret_members);
enum raft_state raft_state_of(const struct raft *self);
raft_term raft_term_of(const struct raft *self);
struct raft_id raft_leader(const struct raft *self);
const char *raft_state_name(enum raft_state state);

/* A hash of the whole state (not of where its log lies): equal after equal histories. */
uint64_t raft_hash(const struct raft *self);
/* Does the state obey the invariants that one replica can see? NULL, or the one that is broken (static text). Meant for tests after every step. */
const char *raft_check(const struct raft *self);

/* --- bugs on purpose ---
 * Built with -DRAFT_MUTANT=n the core has bug n of mutants.h (0 or undefined: none), so that the simulator can prove it finds it. */

#endif
