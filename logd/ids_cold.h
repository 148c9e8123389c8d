/* ids_cold: message IDs in Berkeley DB. When the memory for all is used up, or a journal file whose records they came with is to go, the oldest of a stream are
 * written as one run: blocks of about a hundred IDs by the first bits of their hash, so that one get answers a question; a filter in memory (12 bits an ID)
 * keeps most questions away. Written and deleted in small pieces, a few each turn of the loop. A run is complete or it is nothing. @thread loop */
#ifndef LOGD_IDS_COLD_H
#define LOGD_IDS_COLD_H

#include <stdbool.h>
#include <stdint.h>

#include "logd/ids.h"

struct bdb;
struct ids_cold;

/* Of the daemon: open the tables, and load the runs of the streams that were loaded. 0, or an error of the database. */
int ids_cold_load(struct ids_pool *pool, struct bdb *bdb);
void ids_cold_pool_release(struct ids_pool *pool);
/* A piece of what is to be written or deleted. True: there is more. */
bool ids_cold_turn(struct ids_pool *pool);
/* In recovery: write until the memory is enough. 0, or an error of the database. */
int ids_cold_relieve(struct ids_pool *pool);

/* Of a stream. */
void ids_cold_release(struct ids *ids);  /* its runs stay where they are */
void ids_cold_drop_all(struct ids *ids); /* they are deleted */
uint64_t ids_cold_count(const struct ids *ids);
uint64_t ids_cold_memory(const struct ids *ids);
/* Behind the last record whose ID is in a run. */
uint64_t ids_cold_upto(const struct ids *ids);
/* 1: known; 0: not here; an error of the database. */
int ids_cold_find(struct ids *ids, const struct ids_key *key, struct ids_entry *ret_entry);
/* What is out of the window, or below this offset, goes. */
void ids_cold_expire(struct ids *ids, uint64_t start_us);
void ids_cold_forget_below(struct ids *ids, uint64_t offset);
/* The oldest few go before their time: how many; 0: there are none. */
uint64_t ids_cold_shrink(struct ids *ids);
/* When the time of the oldest began; false: none is here. */
bool ids_cold_oldest(const struct ids *ids, uint64_t *ret_ts_us);
/* Let an ID be new. Was it here? */
bool ids_cold_forget(struct ids *ids, const struct ids_key *key, uint64_t below);
/* Write its oldest: with `all`, everything that is committed. False: a run is being written already, or there is nothing. */
bool ids_cold_begin(struct ids *ids, uint64_t upto);

#endif
