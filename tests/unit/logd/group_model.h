/* group_model: a naive model of a group that knows each offset by itself, and what it has to have in common with the group. */
#ifndef TESTS_UNIT_LOGD_GROUP_MODEL_H
#define TESTS_UNIT_LOGD_GROUP_MODEL_H

#include "common/base/rand.h"
#include "logd/group.h"
#include "tests/lib/test.h"

/* As ck_assert, without its write to a pipe each time: millions of these pass. */
#define AGREE(fact)                                                                                \
    do {                                                                                           \
        if (!(fact)) {                                                                             \
            ck_abort_msg("not so: %s", #fact);                                                     \
        }                                                                                          \
    } while (0)
#define AGREE_EQ(a, b)     AGREE((a) == (b))
#define AGREE_OP(op, a, b) AGREE((a) op(b))

enum { OFFSETS = 250, MEMBERS = 4, STEPS = 1000, QUEUE = 64, GROUP_ID = 3 };

enum { BACKOFF_STEPS = 3 };
extern const uint64_t model_backoff[BACKOFF_STEPS];

enum where { NEW, HELD, READY, DELAYED, ACKED, SKIPPED };

struct offset {
    enum where where;
    unsigned member; /* HELD: index */
    uint64_t avoid;  /* READY: number of a member, or 0 */
    uint64_t due;    /* READY: since when; DELAYED: until when */
    uint64_t since;  /* HELD */
    struct group_tries tries;
    bool durable; /* acked in the replicated state */
    struct group_tries durable_tries;
    uint64_t durable_due; /* 0: not delayed */
};

/* An entry that was proposed: what it will make durable. */
struct proposed {
    struct buf bytes;
    bool acked[OFFSETS + 1];
    bool tried[OFFSETS + 1];
    struct group_tries tries[OFFSETS + 1];
    bool delayed[OFFSETS + 1]; /* it says when it is due */
    uint64_t due[OFFSETS + 1];
    uint64_t delivered;
    uint64_t seek; /* floor + 1 */
    bool pauses;
    uint32_t paused;
};

struct model {
    struct prng prng;
    struct group *group;
    struct group_member members[MEMBERS];
    bool here[MEMBERS];
    uint64_t number_last;
    uint64_t end; /* offsets below exist */
    uint64_t floor_first;
    struct offset offsets[OFFSETS + 1];
    bool acked_new[OFFSETS + 1];
    bool tries_new[OFFSETS + 1];
    bool delayed_new[OFFSETS + 1];
    uint64_t seek_new;
    bool paused_new;
    uint32_t paused;
    uint32_t durable_paused;
    uint64_t durable_delivered;
    uint64_t first; /* the stream's */
    uint64_t gaps;
    uint64_t real_ms;
    uint64_t now_ms;
    struct proposed *queue[QUEUE];
    size_t queued;
    struct group_limits limits;
};

uint64_t model_record_bytes(uint64_t offset);
/* A state in which nothing happened yet, with the limits and the floor of the model. */
struct group_state model_state(const struct model *model);
size_t model_count_here(const struct model *model);
/* The offset that must come next; 0: none. */
uint64_t model_next_expected(const struct model *model, bool *ret_is_again);
/* The test fails unless group and model say the same. */
void model_compare(const struct model *model);
/* The replicated state holds exactly what was applied. */
void model_compare_durable(const struct model *model);

#endif
