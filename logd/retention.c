/* retention: looks at streams that have limits and proposes what is to go. Owns a heap of them by the time of the next look, and the watch over the two
 * clocks. Must never remove by age when it does not trust the clock, and never looks at a stream more often than options.retention_ms. */
#include "logd/retention.h"

#include <inttypes.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "logd/events.h"
#include "logd/group_index.h"
#include "logd/stream_body.h"
#include "logd/trim.h"

enum {
    RETENTION_LOOKS_PER_TURN = 64,
    RETENTION_AGAIN_MS = 60000,   /* while the clock is not trusted, or the stream cannot be read */
    RETENTION_NEVER_MS = 3600000, /* looks at an idle stream are at most so far apart */
    RETENTION_LATE_MIN_MS = 1000, /* an expired record may stay for 1 % of max_age, within these */
    RETENTION_LATE_MAX_MS = 60000,
    RETENTION_MINUTE_MS = 60000,
    RETENTION_RECORDS_MIN = 16, /* so many may go in a minute from any stream */
    CLOCK_STEP_S = 60,
    CLOCK_STEADY_S = 1,
    CLOCK_CALM_S = 60,
};

#define US_PER_S  INT64_C(1000000)
#define US_PER_MS UINT64_C(1000)

/* What a stream with limits has. */
struct retained {
    struct heap_node node; /* first: in retention.looks while a look is due */
    uint64_t due_ms;
    struct stream *stream;
    struct retention_limits limits;
    uint64_t looked_ms;
    uint64_t proposed;  /* the first offset of the trim in flight, or of the last one */
    uint64_t minute_ms; /* when this minute of the age rule began; 0: never */
    uint64_t minute_base;
    uint64_t minute_removed;
    bool is_behind; /* the age rule was held back in this minute */
};

/* Real time minus monotonic time, as it was when it was last trusted. */
struct clock_watch {
    int64_t trusted_us;
    int64_t seen_us;        /* as it is now, */
    uint64_t seen_since_us; /* since this monotonic time */
    uint64_t calm_at_us;    /* not trusted before this monotonic time */
    bool is_frozen;
};

struct retention {
    struct logd *logd;
    struct heap looks;
    struct wheel_timer timer;
    struct clock_watch clock;
    uint64_t *frozen_total;
};

static struct retained *retained_of(struct heap_node *node)
{
    return (struct retained *) (void *) node; /* its first member */
}

static uint64_t look_due(const struct heap_node *node)
{
    return ((const struct retained *) (const void *) node)->due_ms;
}

static bool look_less(const struct heap_node *a, const struct heap_node *b)
{
    return look_due(a) < look_due(b);
}

/* --- the clocks --- */

static int64_t clock_offset_us(const struct logd *logd)
{
    return (int64_t) timesource_real_us(logd->time) - (int64_t) timesource_monotonic_us(logd->time);
}

static int64_t distance(int64_t a, int64_t b)
{
    return a > b ? a - b : b - a;
}

bool retention_is_frozen(struct retention *self)
{
    struct clock_watch *clock = &self->clock;
    const struct logd *logd = self->logd;
    int64_t offset_us = clock_offset_us(logd);
    uint64_t now_us = timesource_monotonic_us(logd->time);
    if (distance(offset_us, clock->seen_us) > CLOCK_STEADY_S * US_PER_S) {
        clock->seen_us = offset_us;
        clock->seen_since_us = now_us;
    } else if (now_us - clock->seen_since_us >= logd->options.clock_settle_ms * US_PER_MS &&
               clock->trusted_us != offset_us) {
        clock->trusted_us = offset_us; /* it has stood long enough: whoever set it meant it */
        clock->calm_at_us = now_us;
    }
    bool is_off = distance(offset_us, clock->trusted_us) > CLOCK_STEP_S * US_PER_S;
    if (is_off) {
        clock->calm_at_us = now_us + CLOCK_CALM_S * (uint64_t) US_PER_S;
    }
    bool is_frozen = is_off || now_us < clock->calm_at_us;
    if (is_frozen && !clock->is_frozen) {
        (*self->frozen_total)++;
        log_error("the wall clock jumped",
                  "by_s=%" PRId64
                  " action=\"nothing is removed for its age until the clock is back, "
                  "or has stood for %" PRIu64 " s\"",
                  (offset_us - clock->trusted_us) / US_PER_S, logd->options.clock_settle_ms / 1000);
    } else if (!is_frozen && clock->is_frozen) {
        log_info("the wall clock is trusted again", "action=\"records are removed for their age\"");
    }
    clock->is_frozen = is_frozen;
    return is_frozen;
}

static uint64_t gauge_frozen(void *ud)
{
    const struct retention *self = ud;
    return self->clock.is_frozen;
}

/* --- deciding --- */

static uint64_t max_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

uint64_t retention_decide(const struct retention_limits *limits,
                          const struct retention_facts *facts)
{
    uint64_t first = facts->first_offset;
    uint64_t next = facts->next_offset;
    if (limits->acked && facts->has_groups) {
        uint64_t settled = facts->settled_upto < next ? facts->settled_upto + 1 : next;
        first = max_of(first, settled);
    }
    if (limits->acked && !limits->force) {
        return first;
    }
    if (limits->max_records != 0 && next - first > limits->max_records) {
        first = next - limits->max_records;
    }
    if (limits->max_bytes != 0 && facts->bytes > limits->max_bytes && next > 1) {
        uint64_t cut = facts->bytes_cut < next ? facts->bytes_cut : next - 1;
        first = max_of(first, cut);
    }
    if (limits->max_age_ms != 0) {
        first = max_of(first, facts->age_cut < next ? facts->age_cut : next);
    }
    return first;
}

/* How many records the age rule may remove now. */
static uint64_t age_allowance(struct retained *retained, uint64_t now_ms)
{
    const struct stream *stream = retained->stream;
    uint64_t records = stream->next_offset - stream->first_offset;
    if (retained->minute_ms == 0 || now_ms - retained->minute_ms >= RETENTION_MINUTE_MS) {
        retained->minute_base =
            retained->is_behind ? max_of(retained->minute_base, records) : records;
        retained->minute_ms = max_of(now_ms, 1);
        retained->minute_removed = 0;
        retained->is_behind = false;
    }
    uint64_t max_age_ms = retained->limits.max_age_ms;
    uint64_t base = retained->minute_base;
    uint64_t allowed = max_of(base / 10, RETENTION_RECORDS_MIN);
    if (max_age_ms < 20 * (uint64_t) RETENTION_MINUTE_MS) {
        uint64_t parts = max_age_ms / 1000 + 1; /* of twice a minute */
        allowed = max_of(allowed, base / parts * 120 + 120);
    }
    return allowed > retained->minute_removed ? allowed - retained->minute_removed : 0;
}

/* The first offset that the age rule leaves, and when the one behind it comes of age. */
static uint64_t age_cut(struct retained *retained, uint64_t now_ms, uint64_t *ret_again_ms)
{
    struct stream *stream = retained->stream;
    struct retention *self = stream->logd->retention;
    uint64_t max_age_us = retained->limits.max_age_ms * US_PER_MS;
    uint64_t now_us = timesource_real_us(stream->logd->time);
    uint64_t first = stream->first_offset;
    if (first == stream->next_offset) {
        return first;
    }
    if (retention_is_frozen(self)) {
        *ret_again_ms = RETENTION_AGAIN_MS;
        return first;
    }
    uint64_t cutoff_us = now_us > max_age_us ? now_us - max_age_us : 0;
    uint64_t first_ts_us = stream_first_ts_us(stream);
    if (first_ts_us >= cutoff_us) {
        *ret_again_ms = (first_ts_us - cutoff_us) / US_PER_MS + 1;
        return first;
    }
    uint64_t cut;
    if (stream_find_time(stream, cutoff_us, &cut) != 0) {
        *ret_again_ms = RETENTION_AGAIN_MS;
        return first;
    }
    uint64_t allowed = age_allowance(retained, now_ms);
    if (cut - first > allowed) {
        retained->is_behind = true;
        cut = first + allowed;
    }
    retained->minute_removed += cut - first;
    *ret_again_ms = self->logd->options.retention_ms;
    return cut;
}

/* --- looking --- */

static void look_at(struct retention *self, struct retained *retained, uint64_t at_ms)
{
    bool is_waiting = retained->node.position != 0;
    retained->due_ms = at_ms;
    if (is_waiting) {
        heap_update(&self->looks, &retained->node);
    } else {
        heap_push(&self->looks, &retained->node);
    }
    const struct heap_node *first = heap_peek(&self->looks);
    if (!wheel_timer_is_running(&self->timer) || self->timer.due_ms != look_due(first)) {
        wheel_add(loop_wheel(self->logd->loop), &self->timer, look_due(first));
    }
}

/* Groups that the catalogue knows and that have no position yet have settled nothing. */
static void acked_facts(struct stream *stream, struct retention_facts *facts)
{
    size_t count = groups_settled_upto(stream->groups, &facts->settled_upto);
    facts->has_groups = count != 0 && stream->groups_known <= count;
}

static uint64_t age_late_ms(uint64_t max_age_ms)
{
    uint64_t late_ms = max_age_ms / 100;
    late_ms = late_ms > RETENTION_LATE_MIN_MS ? late_ms : RETENTION_LATE_MIN_MS;
    return late_ms < RETENTION_LATE_MAX_MS ? late_ms : RETENTION_LATE_MAX_MS;
}

/* A look: propose what is to go. Returns when to come again, in ms; UINT64_MAX: when something has happened. */
static uint64_t look(struct retained *retained, uint64_t now_ms)
{
    struct stream *stream = retained->stream;
    const struct retention_limits *limits = &retained->limits;
    uint64_t step_ms = stream->logd->options.retention_ms;
    uint64_t again_ms = UINT64_MAX;
    retained->looked_ms = now_ms;
    if (stream_is_gone(stream) || !stream_is_open(stream)) {
        return UINT64_MAX;
    }
    if (retained->proposed > stream->first_offset) {
        return step_ms; /* in flight */
    }
    struct retention_facts facts = {
        .first_offset = stream->first_offset,
        .next_offset = stream->next_offset,
        .bytes = extents_live_bytes(&stream->extents),
    };
    if (limits->acked) {
        acked_facts(stream, &facts);
    }
    if (limits->max_bytes != 0 && facts.bytes > limits->max_bytes) {
        facts.bytes_cut = extents_offset_after(&stream->extents, facts.bytes - limits->max_bytes);
    }
    if (limits->max_age_ms != 0 && (!limits->acked || limits->force)) {
        facts.age_cut = age_cut(retained, now_ms, &again_ms);
    }
    struct trim trim = {.first_offset = retention_decide(limits, &facts)};
    if (trim.first_offset > stream->first_offset) {
        uint64_t index;
        if (trim_propose(stream, &trim, &index) != 0) {
            return step_ms; /* no room now */
        }
        retained->proposed = trim.first_offset;
    }
    if (again_ms != UINT64_MAX) {
        again_ms += age_late_ms(limits->max_age_ms);
        again_ms = again_ms < RETENTION_NEVER_MS ? again_ms : RETENTION_NEVER_MS;
    }
    return again_ms;
}

void retention_look(struct stream *stream)
{
    if (stream->retained != NULL) {
        (void) look(stream->retained, loop_now_ms(stream->logd->loop));
    }
}

static void retention_on_timer(struct wheel_timer *timer, void *ud)
{
    (void) timer;
    struct retention *self = ud;
    struct logd *logd = self->logd;
    uint64_t now_ms = loop_now_ms(logd->loop);
    for (unsigned i = 0; i < RETENTION_LOOKS_PER_TURN && !logd->failed; i++) {
        struct heap_node *first = heap_peek(&self->looks);
        if (first == NULL || look_due(first) > now_ms) {
            break;
        }
        (void) heap_pop(&self->looks);
        uint64_t again_ms = logd->draining ? UINT64_MAX : look(retained_of(first), now_ms);
        if (again_ms != UINT64_MAX) {
            look_at(self, retained_of(first), now_ms + again_ms);
        }
    }
    const struct heap_node *next = heap_peek(&self->looks);
    if (next != NULL && !wheel_timer_is_running(&self->timer)) {
        wheel_add(loop_wheel(logd->loop), &self->timer, look_due(next));
    }
}

void retention_touch(struct stream *stream)
{
    struct logd *logd = stream->logd;
    struct retained *retained = stream->retained;
    uint64_t now_ms = loop_now_ms(logd->loop);
    uint64_t step_ms = logd->options.retention_ms;
    bool is_waiting = retained->node.position != 0;
    const struct retention_limits *limits = &retained->limits;
    bool only_age = limits->max_bytes == 0 && limits->max_records == 0 && !limits->acked;
    if (is_waiting && (only_age || retained->due_ms <= now_ms + step_ms)) {
        return;
    }
    uint64_t at_ms = retained->looked_ms + step_ms;
    look_at(logd->retention, retained, at_ms > now_ms ? at_ms : now_ms);
}

/* --- the limits --- */

struct retention *retention_new(struct logd *logd)
{
    struct retention *self = MEM_NEW(struct retention);
    self->logd = logd;
    heap_init(&self->looks, look_less);
    wheel_timer_init(&self->timer, retention_on_timer, self);
    self->clock.trusted_us = clock_offset_us(logd);
    self->clock.seen_us = self->clock.trusted_us;
    self->clock.seen_since_us = timesource_monotonic_us(logd->time);
    self->frozen_total =
        metrics_counter(logd->options.metrics, "railgun_retention_clock_jumps_total");
    metrics_gauge(logd->options.metrics, "railgun_retention_frozen", gauge_frozen, self);
    return self;
}

void retention_destroy(struct retention **self)
{
    if (*self == NULL) {
        return;
    }
    wheel_cancel(loop_wheel((*self)->logd->loop), &(*self)->timer);
    heap_release(&(*self)->looks);
    MEM_FREE(*self);
}

void retention_forget(struct retention *self, struct stream *stream)
{
    if (stream->retained == NULL) {
        return;
    }
    if (stream->retained->node.position != 0) {
        heap_remove(&self->looks, &stream->retained->node);
    }
    MEM_FREE(stream->retained);
}

void retention_configure(struct retention *self, struct stream *stream,
                         const struct retention_limits *limits)
{
    if (limits->max_age_ms == 0 && limits->max_bytes == 0 && limits->max_records == 0 &&
        !limits->acked) {
        retention_forget(self, stream);
        return;
    }
    if (stream->retained == NULL) {
        stream->retained = MEM_NEW(struct retained);
        stream->retained->stream = stream;
    }
    stream->retained->limits = *limits;
    look_at(self, stream->retained, loop_now_ms(self->logd->loop));
}
