/* load_private: what the files of the load share: load (all of it), load_publish (producers), load_consume (consumers). A thread owns its connection and
 * its table of open requests; only the history is shared. */
#ifndef TESTS_SYSTEM_LOAD_PRIVATE_H
#define TESTS_SYSTEM_LOAD_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "common/base/buf.h"
#include "common/base/rand.h"
#include "tests/system/load.h"
#include "tests/system/raw.h"

enum {
    WINDOW_MAX = 256,
    CHANNEL = 1,
    CREDIT = 256,
    RECONNECT_MS = 20,
    WAIT_SECONDS_MS = 50,
    GROUP_ID = 1,
};

struct producer {
    struct load *load;
    pthread_t thread;
    uint32_t id;
    uint64_t counter;
    struct prng prng;
    struct raw *raw;
    uint64_t corr;
    struct {           /* by corr modulo WINDOW_MAX */
        uint64_t corr; /* 0: free */
        uint32_t batch;
        uint32_t count;
        struct buf frame; /* with IDs: to be sent again */
    } open[WINDOW_MAX];
    unsigned open_count;
};

struct consumer {
    struct load *load;
    pthread_t thread;
    uint32_t id;
    uint32_t session;
    struct prng prng;
    struct raw *raw;
    uint64_t corr;
    struct { /* acks without an answer */
        uint64_t corr;
        uint64_t epoch;
        bool is_sync;
        struct buf offsets; /* of struct asked: acknowledged */
        struct buf nacked;  /* of uint64_t */
    } open[WINDOW_MAX];
    uint64_t epoch;   /* of what came last */
    uint64_t rewound; /* strict groups: nacked, everything until that is answered is void; 0: no */
};

struct asked {
    uint64_t offset;
    uint64_t began_ns;
};

struct load {
    const struct node *node;
    struct history *history;
    struct load_options options;
    struct producer *producers;
    struct consumer *consumers;
    atomic_bool producers_stop;
    atomic_bool consumers_stop;
    atomic_uint producers_running;
    bool producers_joined;
    uint64_t check_errors; /* that logd counted of the group */
};

void load_pause_us(uint64_t us);
/* A record that no consumer can process. */
bool load_is_poison(const struct load_options *options, uint64_t value);

void *producer_run(void *producer);
void *consumer_run(void *consumer);

#endif
