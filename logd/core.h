/* core: the daemon without its main function: everything logd owns, made from options, so that a test builds one in its own process. Only
 * logd's own parts include this; others see logd.h.
 *
 * A turn of the loop: messages are taken (proposals go to the journal's queue), completions are applied (answers go out, streams become
 * dirty), and at its end logd_turn_end wakes readers and groups of the dirty streams, flushes acknowledgements and submits the round. */
#ifndef LOGD_CORE_H
#define LOGD_CORE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/hash.h"
#include "common/base/heap.h"
#include "common/base/list.h"
#include "common/base/uuid.h"
#include "common/base/wheel.h"
#include "common/run/bus.h"
#include "common/run/log.h"
#include "common/run/loop.h"
#include "common/run/metrics.h"
#include "common/run/replica.h"
#include "common/store/journal.h"
#include "common/wire/batch.h"
#include "logd/logd.h"

struct append;
struct catalog_client;
struct cold;
struct deadletter;
struct events;
struct group_index;
struct ids_pool;
struct parking;
struct readers;
struct release;
struct retention;
struct state;
struct tail;

struct logd_options {
    const char *data_dir;
    struct loop *loop;
    struct bus *bus; /* NULL: nobody to talk to (tests of the parts below) */
    struct metrics *metrics;
    const struct timesource *time;  /* NULL: the system's */
    const char *catalog;            /* "raftd-0"; NULL: no catalogue is watched */
    struct journal_options journal; /* dir is set here */
    struct batch_limits limits;
    uint64_t tail_bytes;
    uint64_t cold_bytes;
    uint64_t db_cache_bytes;
    uint64_t ids_bytes;         /* message IDs in memory, of all streams */
    uint64_t waiting_bytes_max; /* publishes that wait for room in the journal */
    uint32_t waiting_max;
    uint32_t parked_max; /* requests that wait for the catalogue */
    uint64_t park_ms;
    uint32_t readers_max; /* reads that wait for records */
    uint64_t save_ms;
    uint64_t checkpoint_ms;
    uint64_t retention_ms;    /* between two looks at a stream's limits */
    uint64_t clock_settle_ms; /* a wall clock that jumped is trusted after this */
    uint64_t release_ms;      /* between two looks at what the journal holds without need */
    /* What the process is told. Each may be NULL. */
    void (*on_ready)(void *ud);
    void (*on_not_ready)(void *ud, const char *reason);
    void (*on_drained)(void *ud);
    void (*on_fail)(void *ud, const char *event, const char *detail);
    void *ud;
};
void logd_options_default(struct logd_options *self);

struct logd_counters { /* cells of the metrics */
    uint64_t *publishes, *records, *bytes, *refused, *overloaded, *parked, *waited;
    uint64_t *reads, *tail_hits, *cold_reads, *corrupt_ranges, *configs, *saves, *checkpoints;
    uint64_t *unknown_events;
    uint64_t *trimmed, *purged, *states;
};

struct logd {
    struct logd_options options; /* strings are borrowed from whoever opened */
    struct loop *loop;
    struct bus *bus;
    const struct timesource *time;
    struct logd_counters count;

    int dir_fd;
    int lock_fd;
    struct uuid cluster; /* nil: not known yet */
    struct journal *journal;
    struct loop_fd *journal_watch;
    struct replica_set *replicas;
    struct state *state;
    /* of struct stream, by log group; never removed while the daemon runs */
    struct hash64 *streams;
    struct hash *stream_ids; /* the same, by their ids */
    struct group_index *groups;
    uint64_t log_group_max;
    struct tail *tail;
    struct cold *cold;
    struct members *members;
    struct append *append;
    struct ids_pool *ids;
    struct readers *readers;
    struct parking *parking;
    struct retention *retention;
    struct release *release;
    struct catalog_client *catalog;
    struct events *events;
    struct deadletter *deadletter;
    /* of struct link_streams, by link id: which streams have had members of that link */
    struct hash64 *links;

    struct list dirty;   /* streams with something to do at the end of this turn */
    struct list configs; /* streams with a configuration to propose, in the order they came */
    struct heap flushes; /* streams by the time of their next groups_flush */
    struct wheel_timer flush_timer;
    struct wheel_timer save_timer;
    uint64_t turn_real_us;     /* the time entries of this turn get; 0: not asked yet */
    uint64_t applied_position; /* behind the last applied frame in the journal */
    uint64_t idle_seconds;     /* without an applied entry */
    struct buf scratch;        /* for building a meta */
    bool recovered;
    bool ready;
    bool draining;
    bool drained;
    bool failed;
};

/* Recover the data directory and begin. 0, or an error that has been logged. */
int logd_open(const struct logd_options *options, struct logd **ret_logd);
/* Save, checkpoint, close the journal. Accepts NULL. */
void logd_close(struct logd **self);
/* The bus is gone: nobody can be answered any more. */
void logd_bus_closed(struct logd *self);
/* Take no new work; on_drained follows. */
void logd_drain(struct logd *self);

/* Bus handlers; ud is the logd. */
void logd_on_up(void *ud, struct bus_link *link);
void logd_on_down(void *ud, struct bus_link *link);
void logd_on_message(void *ud, struct bus_link *link, struct bus_message *message);
void logd_on_credit(void *ud, struct bus_link *link);

/* End the process: nothing that is not answered yet ever will be. Logged by whoever is told. */
void logd_fail(struct logd *self, const char *event, const char *detail);

/* The catalogue, or the own log, has shown what there is: requests can be answered. */
void logd_became_ready(struct logd *self);

/* Real time for new entries, one reading a turn. */
uint64_t logd_stamp_us(struct logd *self);

/* Pass a request or event to its handler (again: it was parked). */
void logd_dispatch(struct logd *self, struct bus_link *link, struct bus_message *message);

/* Something is to be saved, or a cache to be aged: housekeeping runs until nothing is left to do. */
void logd_start_saving(struct logd *self);

void links_destroy_all(struct logd *self);

/* Write the cluster's id into the data directory; refuses another one. 0, ERR_WRONG_CLUSTER, ERR_IO. */
int logd_adopt_cluster(struct logd *self, const struct uuid *cluster);

#endif
