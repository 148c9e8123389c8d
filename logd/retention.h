/* retention: when records leave a stream by themselves. Decides and proposes (trim.h); changes nothing by itself.
 *
 * A stream with limits is looked at when something was added or acknowledged, at most once in options.retention_ms, and when its oldest record comes of age.
 * Nothing is done per message. What a look finds:
 *   max_records  exact: the newest so many stay
 *   max_bytes    about: of the 256 KiB that the cut goes through, bytes count as evenly spread over records. The newest record stays whatever its size
 *   max_age_ms   by stored times, exact to the batch, up to 1 % (1 s to 60 s) late
 *   ACKED        all that every durable group has settled goes; nothing else, unless the stream forces its limits
 *
 * Clocks lie. Only the age rule looks at one, and two things hold it back. It is frozen when the wall clock jumped by more than 60 s against the monotonic
 * one, until they have agreed again for a minute, or the new time has stood for options.clock_settle_ms. And in a minute it removes at most a tenth of what a stream
 * held when it began to remove (or, of streams whose max_age is short, twice what leaves in a minute anyway; or 16 records). */
#ifndef LOGD_RETENTION_H
#define LOGD_RETENTION_H

#include <stdbool.h>
#include <stdint.h>

struct logd;
struct retention;
struct stream;

struct retention_limits { /* 0: no limit */
    uint64_t max_age_ms;
    uint64_t max_bytes;
    uint64_t max_records;
    bool acked;
    bool force;
};

struct retention *retention_new(struct logd *logd);
/* Every stream must have been forgotten. Accepts NULL. */
void retention_destroy(struct retention **self);

/* These are the stream's limits from now on. */
void retention_configure(struct retention *self, struct stream *stream,
                         const struct retention_limits *limits);
/* The stream goes. */
void retention_forget(struct retention *self, struct stream *stream);
/* Something was added or acknowledged. Only for a stream that has limits (stream->retained). */
void retention_touch(struct stream *stream);

/* Look now; for tests. */
void retention_look(struct stream *stream);

/* --- what a look decides, for tests --- */

struct retention_facts {
    uint64_t first_offset;
    uint64_t next_offset;
    bool has_groups;       /* durable ones, and each of them has a position */
    uint64_t settled_upto; /* by all of them */
    uint64_t bytes;        /* the stream's */
    uint64_t bytes_cut;    /* the offset up to which what is over max_bytes reaches */
    uint64_t
        age_cut; /* the first offset that is young enough, or as far as it may go this minute */
};
/* The first offset that is to stay; never below facts->first_offset. */
uint64_t retention_decide(const struct retention_limits *limits,
                          const struct retention_facts *facts);

/* Does the age rule hold still at this moment? Looks at both clocks. */
bool retention_is_frozen(struct retention *self);

#endif
