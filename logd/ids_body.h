/* ids_body: what a stream's IDs are made of, for the files that are its parts (ids, ids_log, ids_cold, ids_handle). Everyone else sees ids.h. */
#ifndef LOGD_IDS_BODY_H
#define LOGD_IDS_BODY_H

#include "common/base/buf.h"
#include "common/base/list.h"
#include "logd/ids.h"

struct bdb;
struct bdb_table;
struct spill;

struct ids_pool {
    struct logd *logd;
    struct list members; /* of struct ids */
    uint64_t bytes_max;
    uint64_t memory;
    uint64_t *shrunk; /* cell of the metrics */
    uint64_t *duplicates;
    uint64_t *mismatches;
    struct bdb *bdb; /* NULL: not open yet */
    struct bdb_table *runs;
    struct bdb_table *blocks;
    struct buf block;    /* the one at hand */
    struct spill *spill; /* the run that is being written; NULL: none */
    struct list drops;   /* runs to be deleted */
    uint64_t put;        /* IDs that came since the last turn */
    bool wants_spill;
};

struct ids {
    struct stream *stream;
    struct ids_pool *pool;
    struct list pool_link;
    struct ids_spec spec;
    struct ids_hot *hot;
    uint64_t forgotten_below; /* IDs of records below are new */
    uint64_t load_from;       /* see ids_load */
    struct list runs;         /* in the database: struct ids_run, oldest first */
    uint64_t next_run;
    uint64_t cold_count;
    uint64_t cold_memory;
    uint64_t cold_upto;     /* see ids_cold_upto */
    uint64_t evicted_below; /* IDs of records below left the runs before their time */
    uint64_t keep_target;   /* those of records below must not be in memory alone; 0: none */
    uint64_t now_us;        /* as given to ids_expire */
    uint64_t settled_end;
    uint64_t counted;     /* its memory in that of the pool */
    uint64_t shrunk;      /* left before their time */
    uint64_t shrunk_told; /* of them: watchers have heard */
    uint64_t told_ms;
    uint64_t full_told_ms;
    uint64_t newest_us; /* of all that was put by entries that are applied */
    uint64_t forgotten; /* by the entry applied last */
    struct list asks;   /* requests that wait for an entry */
    unsigned ask_count;
};

/* Let the pool know what it takes now. */
void ids_account(struct ids *self);
/* The one that leaves next; false: none. */
bool ids_oldest(struct ids *self, struct ids_entry *ret_entry);
/* Nobody asks any more. */
void ids_forget_asks(struct ids *self);
/* An ID whose time began then or before is out of the window. */
uint64_t ids_window_start(const struct ids *self, uint64_t ts_us);

#endif
