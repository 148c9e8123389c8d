/* append_private: what the files of append share. */
#ifndef LOGD_APPEND_PRIVATE_H
#define LOGD_APPEND_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/list.h"
#include "common/base/payload.h"
#include "common/wire/hot.h"
#include "logd/answer.h"
#include "logd/append.h"
#include "logd/ids_key.h"

/* A record of the batch that is not stored, and why. */
struct publish_exception {
    uint32_t record; /* of the batch as it came */
    int error;       /* ERR_DUPLICATE: `offset` and `ts_us` are the original's */
    uint64_t offset; /* 0: not known */
    uint64_t ts_us;
    const char *detail; /* static; NULL: the code says it all */
};

struct publish {
    struct list link; /* in append.waiting, or in its stream's publishes or held */
    uint64_t ticket;  /* 0: nobody waits */
    uint64_t index;
    uint64_t base;
    uint64_t ts_us;
    uint32_t total; /* records that came */
    uint32_t count; /* of `batch`; in flight: stored */
    struct stream *stream;
    struct slice batch; /* while waiting; then the journal has it */
    struct hot_expect expect;
    struct buf last_id; /* what expect.last_id borrows */
    uint64_t fence_version;
    uint64_t held_for; /* waits until the record at this offset is committed */
    uint32_t with_id;
    bool atomic;
    struct buf
        picked; /* uint32_t: of the records of `batch`, where they stood in the one that came; empty: there */
    struct buf exceptions; /* struct publish_exception, in order of record once it is in flight */
    append_own_fn *own;    /* the daemon's own batch: told instead of answered; NULL: not so */
    void *own_ud;
};

struct append {
    struct logd *logd;
    struct list waiting; /* for room in the journal */
    struct list holding; /* streams with publishes that wait for others in flight */
    uint64_t waiting_bytes;
    uint32_t waiting_count; /* the held ones too */
    uint64_t open;
    struct list pool; /* structs to be used again */
    unsigned pooled;
    struct ids_mark *marks; /* of the batch at hand */
    uint32_t marks_room;
};

/* What became of an attempt to propose. */
enum publish_step {
    PUBLISH_GONE,    /* in flight, answered or refused */
    PUBLISH_NO_ROOM, /* nothing was changed */
    PUBLISH_HELD,    /* the same, until `held_for` is committed */
};

/* --- append.c --- */
void publish_free(struct append *self, struct publish *publish);

/* --- append_answer.c: both take the publish --- */
void publish_answer(struct append *self, struct publish *publish);
void publish_refuse(struct append *self, struct publish *publish, const struct answer_error *error);

/* --- append_check.c --- */
struct publish_meta {
    struct hot_expect expect;
    struct span fence;
    struct span stream_id;
    uint64_t revision;
    bool atomic;
};
int publish_meta_read(struct span meta, struct publish_meta *ret_meta);
/* What can be said without looking at the offsets; *ret_error is written if there is something. */
void publish_check_meta(const struct publish_meta *meta, const struct stream *stream,
                        struct answer_error *ret_error);
/* Form, count and limits of the batch. 0, or the error to answer with. */
int publish_check_batch(struct logd *logd, struct publish *publish, uint32_t *ret_record);
/* Is the expectation met by what was proposed last? 0, ERR_WRONG_OFFSET, or ERR_AGAIN: that can be said when `held_for` (which is set) is committed. */
int publish_check_expect(struct publish *publish);
/* WRONG_OFFSET with what would have been right; takes the publish. */
void publish_refuse_offset(struct append *self, struct publish *publish);
/* Its `record` is one of `batch`. */
void publish_add_exception(struct publish *publish, const struct publish_exception *exception);

/* --- append_ids.c: what is to be stored of a batch, once its IDs were looked at --- */
struct screening {
    uint64_t ts_us;
    uint64_t hot_end; /* to be cut back to there if it is not proposed */
    size_t exceptions_before;
    struct slice batch; /* owned */
    uint32_t count;
    bool is_screened;
};
/* true: go on, and end with screening_keep or screening_undo. false: *ret_step says what became of it. */
bool publish_screen(struct append *self, struct publish *publish, uint64_t ts_us,
                    struct screening *ret_screening, enum publish_step *ret_step);
void screening_keep(struct publish *publish, struct screening *screening);
void screening_undo(struct publish *publish, struct screening *screening);

#endif
