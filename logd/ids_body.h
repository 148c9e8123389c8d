/* ids_body: what a stream's IDs are made of, for the files that are its parts (ids, ids_log, ids_cold, ids_handle). Everyone else sees ids.h. */
#ifndef LOGD_IDS_BODY_H
#define LOGD_IDS_BODY_H

#include "common/base/list.h"
#include "logd/ids.h"

struct ids_cold;

struct ids_pool {
    struct logd *logd;
    struct list members; /* of struct ids */
    uint64_t bytes_max;
    uint64_t memory;
    uint64_t *shrunk; /* cell of the metrics */
    uint64_t *duplicates;
    uint64_t *mismatches;
};

struct ids {
    struct stream *stream;
    struct ids_pool *pool;
    struct list pool_link;
    struct ids_spec spec;
    struct ids_hot *hot;
    uint64_t forgotten_below; /* IDs of records below are new */
    uint64_t load_from;       /* see ids_load */
    uint64_t counted;         /* its memory in that of the pool */
    uint64_t shrunk;          /* left before their time */
    uint64_t shrunk_told;     /* of them: watchers have heard */
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
