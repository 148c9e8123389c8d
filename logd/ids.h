/* ids: the message IDs that a stream remembers: at most one stored record for each, for as long as its window lasts. The newest are in memory
 * (ids_hot), older ones in runs in Berkeley DB (ids_cold) when the daemon's budget for them is used up.
 *
 * What is remembered follows from the log alone: an ID comes with the record that is applied, and leaves by the logged times, by the stream's
 * limit, or by an entry that says so. The leader puts an ID in when it proposes the record, under the offset that it will have: as long as that is not
 * committed the ID is in flight, and whoever brings it again waits. What is not proposed after all is cut off. */
#ifndef LOGD_IDS_H
#define LOGD_IDS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/span.h"
#include "common/base/uuid.h"
#include "common/run/bus.h"
#include "logd/ids_hot.h"
#include "logd/ids_key.h"

struct ids;
struct ids_pool;
struct journal_entry;
struct logd;
struct stream;

/* --- of the daemon --- */

/* All streams' IDs share one budget of memory. */
struct ids_pool *ids_pool_new(struct logd *logd, uint64_t bytes_max);
void ids_pool_destroy(struct ids_pool **self); /* after all its members; accepts NULL */
uint64_t ids_pool_memory(const struct ids_pool *self);
uint64_t ids_pool_count(struct ids_pool *self);

/* --- of a stream --- */

enum ids_mode { IDS_OFF, IDS_OPTIONAL, IDS_REQUIRED };

struct ids_spec {
    enum ids_mode mode;
    uint64_t window_us; /* UINT64_MAX: for ever */
    uint64_t max_ids;
    bool reject;  /* a duplicate is an error */
    bool shrink;  /* when full the oldest go */
    bool refresh; /* a duplicate begins the window of its ID anew */
};
/* A packed DedupSpec; what is absent has its default. 0, ERR_BAD_FORMAT. */
int ids_spec_read(struct span packed, struct ids_spec *ret_spec);

struct ids *ids_new(struct ids_pool *pool, struct stream *stream);
void ids_destroy(struct ids **self); /* accepts NULL */
void ids_configure(struct ids *self, const struct ids_spec *spec);
const struct ids_spec *ids_spec(const struct ids *self);

/* IDs remembered, in flight ones too. */
uint64_t ids_count(const struct ids *self);
/* Memory they take. */
uint64_t ids_memory(const struct ids *self);

/* --- for a publish (append_ids.c), in this order --- */

/* Time is `ts_us` now: what is out of the window leaves. */
void ids_expire(struct ids *self, uint64_t ts_us);
/* Before ids_find of the same keys: see ids_hot.h. */
static inline void ids_prefetch(const struct ids_hot *hot, const struct ids_mark *mark)
{
    ids_hot_prefetch(hot, &mark->key);
}
struct ids_hot *ids_hot(struct ids *self);
/* 1: known; 0: new; ERR_IO and other errors of the database. */
int ids_find(struct ids *self, const struct ids_key *key, struct ids_entry *ret_entry);
/* May one more be remembered? Otherwise *ret_retry_us tells when the oldest leaves (UINT64_MAX: it does not). */
bool ids_has_room(struct ids *self, uint64_t ts_us, uint64_t *ret_retry_us);
/* All that was put since the last ids_settle is proposed: the oldest leave if there are too many. */
void ids_settle(struct ids *self);

/* --- applied --- */

/* A batch, in replay: its IDs that lie at or behind `from` are put in. */
void ids_replay(struct ids *self, const struct journal_entry *entry, uint64_t from);
/* EntryIds, now or in replay. 0, ERR_BAD_FORMAT. */
int ids_apply(struct ids *self, const struct journal_entry *entry);
/* EntryIds in the replay of control entries, which comes before ids_recover: what it does to IDs in the database. */
void ids_apply_cold(struct ids *self, struct span payload);
/* IDs of records below this offset are new from now on: a purge that says so. */
void ids_forget_below(struct ids *self, uint64_t offset);

/* --- kept --- */

/* The records from here on are needed to build what is in memory again; the next offset if none is. */
uint64_t ids_from(struct ids *self);
uint64_t ids_forgotten_below(const struct ids *self);
void ids_load(struct ids *self, uint64_t from, uint64_t forgotten_below);
/* After the control entries were replayed: read what is needed from the journal. 0, or an error that has been logged. */
int ids_recover(struct stream *stream);

/* Before the journal gives away the records below `offset`: are all their IDs kept elsewhere? 0, or ERR_AGAIN: it is being done, ask again in a later
 * turn. */
int ids_keep_below(struct stream *stream, uint64_t offset);
/* The offset that is waited for; 0: none. */
uint64_t ids_keep_target(const struct ids *self);

/* --- asked --- */

/* BUS_LOG_DEDUP. */
void ids_handle(struct stream *stream, struct bus_message *message);
/* The entry with this index was applied: whoever asked for it is told. */
void ids_applied(struct ids *self, uint64_t index);

#endif
