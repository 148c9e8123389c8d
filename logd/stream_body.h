/* stream_body: what a stream is made of, for the files that are its parts (stream, append, read, recovery, state, streams). Everyone
 * else sees stream.h. */
#ifndef LOGD_STREAM_BODY_H
#define LOGD_STREAM_BODY_H

#include "common/base/buf.h"
#include "common/base/heap.h"
#include "common/base/list.h"
#include "common/base/ranges.h"
#include "logd/core.h"
#include "logd/extents.h"
#include "logd/groups.h"
#include "logd/stream.h"
#include "logd/tail.h"

enum stream_unsaved {
    STREAM_SAVED,
    STREAM_UNSAVED_OFFSETS, /* only batches since: the journal says it all, saving can wait */
    STREAM_UNSAVED_CONTROL,
};

struct stream_flush {
    struct heap_node node; /* in logd.flushes while it waits */
    uint64_t at_ms;
};

struct stream {
    struct logd *logd;
    uint64_t log_group;
    struct replica *replica; /* NULL while the journal is being recovered */
    struct groups *groups;   /* NULL once deleted */
    uint32_t groups_known;   /* in logd.groups: also those without a position yet */

    /* from the last applied EntryConfig */
    struct buf config; /* as packed; empty: none applied yet */
    struct uuid id;    /* nil: not known yet */
    uint64_t version;
    uint64_t record_bytes_max; /* 0: the daemon's */
    struct ids *ids;           /* NULL: no deduplication */
    struct buf fence;          /* empty: none */
    uint64_t fence_version;    /* changes with it */
    struct buf last_id;        /* of the newest record, when none is left */
    bool deleted;

    bool
        closed; /* it was deleted and may come back: nothing is let in or out. Of the catalogue, not of the log */
    bool deleting;         /* deleted for good; that is on its way into the log */
    struct buf wanted;     /* EntryConfig to be proposed, or in flight; empty: none */
    uint64_t wanted_index; /* its index when in flight, else 0 */
    struct list config_link;

    uint64_t first_offset;
    uint64_t next_offset;   /* committed */
    uint64_t next_proposed; /* for the next batch; >= next_offset */
    uint64_t
        ts_us; /* the next entry is not earlier: of the newest one, proposed or applied, or when IDs left last */
    uint64_t last_ts_us; /* of the newest batch applied */

    uint64_t first_ts_us; /* of the record first_ts_of, once it was asked for */
    uint64_t first_ts_of;
    uint64_t
        state_index; /* entries up to this one are contained in an EntryState that is applied */
    uint64_t state_proposed;   /* index of the last EntryState proposed in this life */
    uint64_t state_bytes;      /* of the last one that was made; 0: none in this life */
    struct retained *retained; /* its limits; NULL: none. Of retention.c */
    struct list purges;        /* requests in flight, oldest first */

    struct extents extents;
    struct tail_stream tail;
    struct ranges *corrupt; /* offsets that cannot be read; NULL: none */
    struct list publishes;  /* in flight, oldest first */
    struct list held;       /* publishes that wait for one of those, oldest first */
    struct list held_link;
    struct list readers; /* waiting for records */

    enum stream_unsaved unsaved;
    struct list unsaved_link;
    bool in_sweep;
    uint64_t save_at_ms;    /* not before, unless everything is saved */
    bool groups_replaced;   /* the database may hold groups that are none */
    uint64_t applied_index; /* of what lies in memory; equals the commit index once open */
    uint64_t applied_saved; /* of what was loaded from Berkeley DB: replay begins behind it */

    bool has_fresh; /* records were committed since groups_wake */
    struct list dirty_link;
    struct stream_flush flush;
};

struct stream *stream_new(struct logd *logd, uint64_t log_group);
/* Nothing may be in flight (or the journal is closed). Accepts NULL. */
void stream_destroy(struct stream **self);

/* --- applying --- */
/* An entry is committed (replica_handlers.apply). */
void stream_apply(void *group_ud, const struct journal_entry *entry, uint64_t position,
                  uint32_t frame_bytes);
/* A control entry, now or in replay. 0, ERR_BAD_FORMAT. */
int stream_apply_control(struct stream *self, const struct journal_entry *entry);
/* Take over a packed EntryConfig. 0, ERR_BAD_FORMAT (nothing is changed then). */
int stream_take_config(struct stream *self, struct span packed);

/* It changed since it was saved. */
void stream_mark_unsaved(struct stream *self, enum stream_unsaved how);

/* These offsets cannot be read. Logged and counted once for each range. */
void stream_note_corrupt(struct stream *self, uint64_t first, uint64_t last, const char *why);
bool stream_is_corrupt(const struct stream *self, uint64_t offset, uint64_t *ret_last);

/* The time a new entry gets: never before the one before it. */
uint64_t stream_stamp_us(struct stream *self);

/* Do clients get STREAM_DELETED? */
bool stream_is_gone(const struct stream *self);
/* It was deleted, or undeleted, in the catalogue. Who reads and consumes is told so; records, groups and their positions stay. */
void stream_set_closed(struct stream *self, bool closed);

/* May entries be proposed now? Not before its first entry, the configuration, is in the journal's queue. */
bool stream_is_open(const struct stream *self);

/* Want this configuration in the log (packed EntryConfig, copied). It is proposed by streams_propose_configs. */
void stream_want_config(struct stream *self, struct span packed);

/* The ID of the newest committed record, also when it is trimmed; empty: it has none, or it cannot be read. */
void stream_read_last_id(struct stream *stream, struct buf *ret_id);
/* The time of the first record, or, when it is damaged, one that it is not older than; 0: empty. Read from the journal when it is not known yet. */
uint64_t stream_first_ts_us(struct stream *self);

/* --- the table --- */
struct stream *streams_find(const struct logd *logd, uint64_t log_group);
struct stream *streams_get_or_make(struct logd *logd, uint64_t log_group);
/* Propose what is wanted, as far as the journal takes it. */
void streams_propose_configs(struct logd *logd);
void streams_destroy_all(struct logd *logd);

/* --- recovery --- */
/* Open the journal, find every stream's extents, replay what Berkeley DB has not seen. 0, or an error that has been logged. */
int recovery_run(struct logd *logd);

#endif
