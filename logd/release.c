/* release: looks at what each stream needs of the journal. Owns the snapshot that is being written. A look walks over all streams, so it happens at most once in
 * options.release_ms, and only after something has changed. Must never let go of a file that replay, or a removed database, would need. */
#include "logd/release.h"

#include <inttypes.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "logd/ids.h"
#include "logd/snapshot.h"
#include "logd/state.h"
#include "logd/stream_body.h"

enum {
    RELEASE_GAIN = 4, /* bytes of files for a byte of snapshots */
    RELEASE_SNAPSHOTS_PER_LOOK = 256,
    RELEASE_SNAPSHOT_BYTES_PER_LOOK = 1 << 20,
    SNAPSHOT_GUESS_BYTES = 512, /* of one that was never made ... */
    SNAPSHOT_GUESS_GROUP_BYTES = 128,
};

struct release {
    struct logd *logd;
    struct wheel_timer timer;
    struct snapshot snapshot;
    uint64_t agreed_upto; /* files up to this one go when ... */
    uint64_t agreed_save; /* ... the database has saved this: see state_hurry */
    /* Message IDs of trimmed records must be in the database before the files go that hold them. This is asked for the files up to one, and then waited for. */
    bool waits_for_ids;
    uint64_t ids_upto;
};

static uint64_t seq_of(uint64_t position)
{
    return position >> 32;
}

/* The oldest file with records of it. */
static uint64_t needs_records(const struct stream *stream)
{
    const struct extents *extents = &stream->extents;
    if (stream->corrupt != NULL) {
        return 0;
    }
    return extents->live < extents->count ? seq_of(extents->items[extents->live].position)
                                          : UINT64_MAX;
}

/* The oldest file with anything of it. */
static uint64_t needs_any(const struct stream *stream)
{
    const struct extents *extents = &stream->extents;
    uint64_t records = needs_records(stream);
    uint64_t first = extents->count != 0 ? seq_of(extents->items[0].position) : UINT64_MAX;
    return first < records ? first : records;
}

static uint64_t snapshot_guess(const struct stream *stream)
{
    return stream->state_bytes != 0
               ? stream->state_bytes
               : SNAPSHOT_GUESS_BYTES + SNAPSHOT_GUESS_GROUP_BYTES * groups_count(stream->groups);
}

static uint64_t min_of(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The newest file that no record needs. */
static uint64_t look_for_records(const struct release *self)
{
    struct logd *logd = self->logd;
    uint64_t oldest = seq_of(journal_durable_upto(logd->journal)); /* it is written to */
    size_t cursor = 0;
    const struct stream *stream;
    while ((stream = hash64_next(logd->streams, &cursor)) != NULL && oldest != 0) {
        oldest = min_of(oldest, needs_records(stream));
    }
    return oldest != 0 ? oldest - 1 : 0;
}

/* Which of the files up to this one control entries need, and what it costs to change that. */
static void look_for_control(const struct release *self, uint64_t upto, uint64_t *ret_oldest,
                             uint64_t *ret_cost)
{
    uint64_t oldest = UINT64_MAX;
    uint64_t cost = 0;
    size_t cursor = 0;
    const struct stream *stream;
    while ((stream = hash64_next(self->logd->streams, &cursor)) != NULL) {
        uint64_t needed = needs_any(stream);
        oldest = min_of(oldest, needed);
        if (needed <= upto && stream->state_proposed <= stream->applied_index) {
            cost += snapshot_guess(stream);
        }
    }
    *ret_oldest = oldest;
    *ret_cost = cost;
}

/* True: a snapshot waits for room in the journal. */
static bool snapshot_waits(struct release *self)
{
    if (self->snapshot.stream != NULL && snapshot_go_on(&self->snapshot) == ERR_AGAIN) {
        return true;
    }
    snapshot_drop(&self->snapshot);
    return false;
}

/* Snapshots of the streams whose control entries hold files up to this one. */
static void write_snapshots(struct release *self, uint64_t upto)
{
    unsigned count = 0;
    uint64_t bytes = 0;
    size_t cursor = 0;
    struct stream *stream;
    while ((stream = hash64_next(self->logd->streams, &cursor)) != NULL) {
        if (needs_any(stream) > upto || stream->deleted || stream->deleting ||
            stream->state_proposed > stream->applied_index) {
            continue;
        }
        snapshot_make(&self->snapshot, stream);
        count++;
        bytes += self->snapshot.content.size;
        if (snapshot_waits(self) || count >= RELEASE_SNAPSHOTS_PER_LOOK ||
            bytes >= RELEASE_SNAPSHOT_BYTES_PER_LOOK) {
            return;
        }
    }
}

static void release_files(struct release *self, uint64_t upto)
{
    struct logd *logd = self->logd;
    struct journal_stats stats;
    journal_stats_read(logd->journal, &stats);
    uint64_t bytes = journal_file_bytes(logd->journal, stats.first_seq, upto);
    journal_release_before(logd->journal, (upto + 1) << 32);
    log_info("journal files released", "first=%" PRIu64 " last=%" PRIu64 " bytes=%" PRIu64,
             stats.first_seq, upto, bytes);
}

/* Nothing in the files up to this one is needed, once the database has saved what is in memory now. That stays so: first offsets never fall. */
static void agree(struct release *self, uint64_t upto)
{
    self->agreed_upto = upto;
    self->agreed_save = state_hurry(self->logd->state);
}

/* True: it is not time yet. */
static bool release_agreed(struct release *self, uint64_t first_seq)
{
    struct logd *logd = self->logd;
    if (self->agreed_upto < first_seq) {
        return false;
    }
    if (!state_has_saved(logd->state, self->agreed_save) ||
        seq_of(state_saved_position(logd->state)) <= self->agreed_upto) {
        return true;
    }
    release_files(self, self->agreed_upto);
    return false;
}

/* Which of the files up to this one hold nothing that message IDs are to be built from again; UINT64_MAX: that takes a while. */
static uint64_t look_for_ids(struct release *self, uint64_t upto)
{
    size_t cursor = 0;
    struct stream *stream;
    bool is_done = true;
    while ((stream = hash64_next(self->logd->streams, &cursor)) != NULL) {
        if (stream->ids == NULL) {
            continue;
        }
        uint64_t target = self->waits_for_ids ? ids_keep_target(stream->ids) : stream->first_offset;
        is_done = (target == 0 || ids_keep_below(stream, target) == 0) && is_done;
    }
    if (!self->waits_for_ids) {
        self->ids_upto = upto;
    }
    self->waits_for_ids = !is_done;
    return is_done ? min_of(upto, self->ids_upto) : UINT64_MAX;
}

/* One look. True: come again before long, something is under way. */
static bool look(struct release *self)
{
    struct logd *logd = self->logd;
    struct journal_stats stats;
    if (snapshot_waits(self)) {
        return true;
    }
    journal_stats_read(logd->journal, &stats);
    /* First what was agreed on: a stream that always goes on trimming must not put it off. */
    bool is_agreed = release_agreed(self, stats.first_seq);
    journal_stats_read(logd->journal, &stats);
    uint64_t upto = look_for_records(self);
    if (is_agreed || upto < stats.first_seq) {
        return is_agreed;
    }
    upto = look_for_ids(self, upto);
    if (upto == UINT64_MAX || upto < stats.first_seq) {
        return upto == UINT64_MAX;
    }
    uint64_t control = UINT64_MAX;
    uint64_t cost = 0;
    look_for_control(self, upto, &control, &cost);
    bool is_under_way = control <= upto;
    if (cost != 0) {
        uint64_t gain = journal_file_bytes(logd->journal, stats.first_seq, upto);
        if (gain / RELEASE_GAIN >= cost) {
            write_snapshots(self, upto);
        } else {
            is_under_way = false;
        }
    }
    upto = min_of(upto, control - 1);
    if (upto >= stats.first_seq) {
        agree(self, upto);
    }
    return upto >= stats.first_seq || is_under_way;
}

void release_look(struct release *self)
{
    struct logd *logd = self->logd;
    if (logd->journal == NULL || !logd->recovered || logd->failed || logd->draining) {
        return;
    }
    if (look(self)) {
        release_note(self);
    }
}

static void release_on_timer(struct wheel_timer *timer, void *ud)
{
    (void) timer;
    release_look(ud);
}

struct release *release_new(struct logd *logd)
{
    struct release *self = MEM_NEW(struct release);
    self->logd = logd;
    wheel_timer_init(&self->timer, release_on_timer, self);
    return self;
}

void release_destroy(struct release **self)
{
    if (*self == NULL) {
        return;
    }
    wheel_cancel(loop_wheel((*self)->logd->loop), &(*self)->timer);
    snapshot_drop(&(*self)->snapshot);
    MEM_FREE(*self);
}

void release_note(struct release *self)
{
    if (!wheel_timer_is_running(&self->timer)) {
        loop_timer_start(self->logd->loop, &self->timer, self->logd->options.release_ms);
    }
}

uint64_t release_pinned_bytes(const struct release *self, const struct stream *stream)
{
    struct logd *logd = self->logd;
    uint64_t own = needs_records(stream);
    uint64_t others = seq_of(journal_durable_upto(logd->journal));
    if (own >= others) {
        return 0;
    }
    size_t cursor = 0;
    const struct stream *other;
    while ((other = hash64_next(logd->streams, &cursor)) != NULL) {
        if (other != stream) {
            others = min_of(others, needs_records(other));
        }
    }
    return own < others ? journal_file_bytes(logd->journal, own, others - 1) : 0;
}
