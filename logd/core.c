/* core: the daemon as a whole: opening in the right order, the end of each turn, housekeeping, drain and closing. Owns every part. It must
 * never answer a publish before the journal has it, and never go on after the journal or the database failed. */
#include "logd/core.h"

#include <inttypes.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/store/fs.h"
#include "common/store/lock.h"
#include "logd/append.h"
#include "logd/catalog_client.h"
#include "logd/cold.h"
#include "logd/deadletter.h"
#include "logd/events.h"
#include "logd/group_index.h"
#include "logd/ids_cold.h"
#include "logd/parking.h"
#include "logd/readers.h"
#include "logd/release.h"
#include "logd/retention.h"
#include "logd/state.h"
#include "logd/stream_body.h"

enum {
    CLUSTER_FILE_MAX = 64,
    TAIL_IDLE_SECONDS = 20, /* without news: the tail is cut to an eighth */
    DRAIN_FLUSH_AHEAD_MS = 60000,
};

static const char CLUSTER_FILE[] = "cluster-id";

void logd_options_default(struct logd_options *self)
{
    *self = (struct logd_options){
        .limits = batch_limits_default(),
        .tail_bytes = 32 << 20,
        .cold_bytes = 2 << 20,
        .ids_bytes = 192 << 20,
        .waiting_bytes_max = 64 << 20,
        .waiting_max = 16384,
        .parked_max = 1024,
        .park_ms = 5000,
        .readers_max = 4096,
        .save_ms = 1000,
        .checkpoint_ms = 30000,
        .retention_ms = 1000,
        .clock_settle_ms = 3600000,
        .release_ms = 1000,
    };
}

/* --- what the parts ask of the whole --- */

struct bus *logd_bus(struct logd *self)
{
    return self->bus;
}

struct loop *logd_loop(struct logd *self)
{
    return self->loop;
}

struct events *logd_events(struct logd *self)
{
    return self->events;
}

struct members *logd_members(struct logd *self)
{
    return self->members;
}

struct metrics *logd_metrics(struct logd *self)
{
    return self->options.metrics;
}

uint64_t logd_stamp_us(struct logd *self)
{
    if (self->turn_real_us == 0) {
        self->turn_real_us = timesource_real_us(self->time);
    }
    return self->turn_real_us;
}

bool logd_trusts_clock(struct logd *self)
{
    return !retention_is_frozen(self->retention);
}

uint64_t logd_real_ms(struct logd *self)
{
    return timesource_real_us(self->time) / 1000;
}

void logd_fail(struct logd *self, const char *event, const char *detail)
{
    if (self->failed) {
        return;
    }
    self->failed = true;
    if (self->options.on_fail != NULL) {
        self->options.on_fail(self->options.ud, event, detail);
    }
}

void logd_became_ready(struct logd *self)
{
    if (!self->ready) {
        self->ready = true;
        if (self->options.on_ready != NULL) {
            self->options.on_ready(self->options.ud);
        }
    }
}

void logd_mark_dirty(struct logd *self, struct stream *stream)
{
    if (!list_is_linked(&stream->dirty_link)) {
        list_push_back(&self->dirty, &stream->dirty_link);
    }
}

/* --- flushing at a time --- */

static uint64_t flush_due(const struct heap_node *node)
{
    return ((const struct stream_flush *) (const void *) node)->at_ms; /* its first member */
}

static bool flush_less(const struct heap_node *a, const struct heap_node *b)
{
    return flush_due(a) < flush_due(b);
}

static struct stream *flush_stream(struct heap_node *node)
{
    return LIST_ENTRY(node, struct stream, flush.node);
}

static void flush_start_timer(struct logd *self)
{
    struct heap_node *first = heap_peek(&self->flushes);
    if (first == NULL) {
        wheel_cancel(loop_wheel(self->loop), &self->flush_timer);
    } else if (!wheel_timer_is_running(&self->flush_timer) ||
               self->flush_timer.due_ms != flush_due(first)) {
        wheel_add(loop_wheel(self->loop), &self->flush_timer, flush_due(first));
    }
}

void logd_flush_at(struct logd *self, struct stream *stream, uint64_t at_ms)
{
    bool is_waiting = stream->flush.node.position != 0;
    if (is_waiting && stream->flush.at_ms <= at_ms) {
        return;
    }
    stream->flush.at_ms = at_ms;
    if (is_waiting) {
        heap_update(&self->flushes, &stream->flush.node);
    } else {
        heap_push(&self->flushes, &stream->flush.node);
    }
    flush_start_timer(self);
}

static void logd_on_flush_timer(struct wheel_timer *timer, void *ud)
{
    (void) timer;
    struct logd *self = ud;
    uint64_t now_ms = loop_now_ms(self->loop);
    struct heap_node *first;
    while ((first = heap_peek(&self->flushes)) != NULL && flush_due(first) <= now_ms) {
        (void) heap_pop(&self->flushes);
        logd_mark_dirty(self, flush_stream(first));
    }
    flush_start_timer(self);
}

/* --- the end of a turn --- */

static void logd_check_drained(struct logd *self)
{
    if (self->draining && !self->drained && append_open_count(self->append) == 0 &&
        journal_queued_bytes(self->journal) == 0) {
        self->drained = true;
        if (self->options.on_drained != NULL) {
            self->options.on_drained(self->options.ud);
        }
    }
}

static void logd_turn_stream(struct logd *self, struct stream *stream)
{
    if (stream->has_fresh) {
        stream->has_fresh = false;
        readers_wake(stream);
    }
    if (stream->groups == NULL) {
        return;
    }
    groups_wake(stream->groups);
    /* At the end nothing waits for company: what was accepted must not come again after a stop that was asked for. */
    uint64_t now_ms = self->draining ? UINT64_MAX : loop_now_ms(self->loop);
    uint64_t at_ms = groups_flush(stream->groups, now_ms);
    if (at_ms != UINT64_MAX) {
        logd_flush_at(self, stream, at_ms);
    }
}

static void logd_take_completions(struct logd *self)
{
    if (self->failed) {
        return;
    }
    (void) replica_set_poll(self->replicas);
    if (self->failed) {
        return;
    }
    streams_propose_configs(self);
    append_retry(self->append);
}

static void logd_on_completions(void *ud, unsigned events)
{
    (void) events;
    logd_take_completions(ud);
}

static void logd_turn_end(void *ud)
{
    struct logd *self = ud;
    if (self->failed || self->journal == NULL) {
        return;
    }
    /* What gets dirty meanwhile waits for the next turn, so that a turn is bounded. */
    struct list dirty;
    list_take_all(&dirty, &self->dirty);
    struct list *node;
    while ((node = list_pop_front(&dirty)) != NULL) {
        logd_turn_stream(self, LIST_ENTRY(node, struct stream, dirty_link));
    }
    events_flush(self->events);
    if (journal_submit_now(self->journal)) {
        logd_take_completions(self);
        if (self->failed) {
            return;
        }
        journal_submit(self->journal); /* what that made room for */
    }
    self->turn_real_us = 0;
    bool is_busy = ids_cold_turn(self->ids);
    if (!list_is_empty(&self->dirty) || is_busy) {
        loop_wake(self->loop);
    }
    logd_check_drained(self);
}

/* --- housekeeping: only while there is something to do, so that an idle daemon sleeps --- */

static void logd_save(struct logd *self)
{
    int error = state_save(self->state, loop_now_ms(self->loop));
    if (error != 0) {
        logd_fail(self, "database failed", err_name(error));
    }
}

static void logd_age_caches(struct logd *self)
{
    self->idle_seconds++;
    if (self->idle_seconds % TAIL_IDLE_SECONDS == 0) {
        tail_shrink(self->tail, self->options.tail_bytes / 8);
        cold_age(self->cold);
    }
}

static bool logd_has_chores(const struct logd *self)
{
    return state_is_dirty(self->state) || cold_bytes(self->cold) != 0 ||
           tail_bytes(self->tail) > self->options.tail_bytes / 8 || !list_is_empty(&self->configs);
}

static void logd_on_save_timer(struct wheel_timer *timer, void *ud)
{
    (void) timer;
    struct logd *self = ud;
    if (self->failed) {
        return;
    }
    logd_save(self);
    logd_age_caches(self);
    streams_propose_configs(self);
    if (logd_has_chores(self)) {
        loop_timer_start(self->loop, &self->save_timer, self->options.save_ms);
    }
}

void logd_start_saving(struct logd *self)
{
    if (!wheel_timer_is_running(&self->save_timer)) {
        loop_timer_start(self->loop, &self->save_timer, self->options.save_ms);
    } else if (self->state != NULL && state_is_urgent(self->state) &&
               self->save_timer.due_ms > loop_now_ms(self->loop)) {
        loop_timer_start(self->loop, &self->save_timer, 0);
    }
}

/* --- the cluster --- */

static int logd_read_cluster(struct logd *self)
{
    struct buf text = {0};
    int error = fs_read_file(self->dir_fd, CLUSTER_FILE, CLUSTER_FILE_MAX, &text);
    if (error == 0) {
        while (text.size > 0 && text.data[text.size - 1] == '\n') {
            text.size--;
        }
        error = uuid_parse(buf_span(&text), &self->cluster);
    } else if (error == ERR_NOT_FOUND) {
        error = 0;
    }
    buf_release(&text);
    if (error != 0) {
        log_error("the cluster id cannot be read", "file=%s/%s error=%s action=\"not started\"",
                  self->options.data_dir, CLUSTER_FILE, err_name(error));
    } else if (!uuid_is_nil(&self->cluster) && self->bus != NULL) {
        bus_set_cluster(self->bus, &self->cluster);
    }
    return error;
}

int logd_adopt_cluster(struct logd *self, const struct uuid *cluster)
{
    if (!uuid_is_nil(&self->cluster)) {
        return uuid_equal(&self->cluster, cluster) ? 0 : ERR_WRONG_CLUSTER;
    }
    char text[UUID_TEXT_SIZE + 1];
    uuid_format(cluster, text);
    text[UUID_TEXT_SIZE - 1] = '\n';
    text[UUID_TEXT_SIZE] = '\0';
    int error = fs_write_file(NULL, self->dir_fd, CLUSTER_FILE, span_of(text));
    if (error != 0) {
        log_error("the cluster id cannot be written",
                  "file=%s/%s error=%s action=\"asked again later\"", self->options.data_dir,
                  CLUSTER_FILE, err_name(error));
        return error;
    }
    self->cluster = *cluster;
    if (self->bus != NULL) {
        bus_set_cluster(self->bus, cluster);
    }
    text[UUID_TEXT_SIZE - 1] = '\0';
    log_info("joined a cluster", "cluster=%s", text);
    return 0;
}

/* --- opening and closing --- */

static uint64_t gauge_streams(void *ud)
{
    const struct logd *self = ud;
    return hash64_count(self->streams);
}

static uint64_t gauge_queued(void *ud)
{
    const struct logd *self = ud;
    return journal_queued_bytes(self->journal);
}

static uint64_t gauge_tail(void *ud)
{
    const struct logd *self = ud;
    return tail_bytes(self->tail);
}

static uint64_t gauge_full(void *ud)
{
    const struct logd *self = ud;
    return journal_is_full(self->journal);
}

#define GAUGE_OF_JOURNAL(field)                                                                    \
    static uint64_t gauge_##field(void *ud)                                                        \
    {                                                                                              \
        const struct logd *self = ud;                                                              \
        struct journal_stats stats;                                                                \
        journal_stats_read(self->journal, &stats);                                                 \
        return stats.field;                                                                        \
    }
GAUGE_OF_JOURNAL(rounds)
GAUGE_OF_JOURNAL(frames)
GAUGE_OF_JOURNAL(bytes)
GAUGE_OF_JOURNAL(files)
GAUGE_OF_JOURNAL(disk_bytes)
GAUGE_OF_JOURNAL(released_bytes)
GAUGE_OF_JOURNAL(sync_us_total)
GAUGE_OF_JOURNAL(sync_us_max)
GAUGE_OF_JOURNAL(write_us_total)

static void logd_make_counters(struct logd *self)
{
    struct metrics *metrics = self->options.metrics;
    self->count = (struct logd_counters){
        .publishes = metrics_counter(metrics, "railgun_publish_batches_total"),
        .records = metrics_counter(metrics, "railgun_publish_records_total"),
        .bytes = metrics_counter(metrics, "railgun_publish_bytes_total"),
        .refused = metrics_counter(metrics, "railgun_publish_refused_total"),
        .overloaded = metrics_counter(metrics, "railgun_overloaded_total"),
        .parked = metrics_counter(metrics, "railgun_parked_total"),
        .waited = metrics_counter(metrics, "railgun_publish_waited_total"),
        .reads = metrics_counter(metrics, "railgun_reads_total"),
        .tail_hits = metrics_counter(metrics, "railgun_read_tail_hits_total"),
        .cold_reads = metrics_counter(metrics, "railgun_read_cold_total"),
        .corrupt_ranges = metrics_counter(metrics, "railgun_corrupt_ranges"),
        .configs = metrics_counter(metrics, "railgun_stream_configs_total"),
        .saves = metrics_counter(metrics, "railgun_state_saves_total"),
        .checkpoints = metrics_counter(metrics, "railgun_state_checkpoints_total"),
        .unknown_events = metrics_counter(metrics, "railgun_unknown_events_total"),
        .trimmed = metrics_counter(metrics, "railgun_retention_trimmed_records_total"),
        .purged = metrics_counter(metrics, "railgun_purged_records_total"),
        .states = metrics_counter(metrics, "railgun_stream_states_total"),
    };
}

static void logd_make_gauges(struct logd *self)
{
    struct metrics *metrics = self->options.metrics;
    metrics_gauge(metrics, "railgun_streams", gauge_streams, self);
    metrics_gauge(metrics, "railgun_tail_bytes", gauge_tail, self);
    metrics_gauge(metrics, "railgun_journal_queued_bytes", gauge_queued, self);
    metrics_gauge(metrics, "railgun_journal_full", gauge_full, self);
    metrics_gauge(metrics, "railgun_journal_rounds_total", gauge_rounds, self);
    metrics_gauge(metrics, "railgun_journal_frames_total", gauge_frames, self);
    metrics_gauge(metrics, "railgun_journal_bytes_total", gauge_bytes, self);
    metrics_gauge(metrics, "railgun_journal_files", gauge_files, self);
    metrics_gauge(metrics, "railgun_journal_disk_bytes", gauge_disk_bytes, self);
    metrics_gauge(metrics, "railgun_journal_released_bytes_total", gauge_released_bytes, self);
    metrics_gauge(metrics, "railgun_journal_sync_us_total", gauge_sync_us_total, self);
    metrics_gauge(metrics, "railgun_journal_sync_us_max", gauge_sync_us_max, self);
    metrics_gauge(metrics, "railgun_journal_write_us_total", gauge_write_us_total, self);
}

static int logd_open_dir(struct logd *self)
{
    const char *dir = self->options.data_dir;
    int error = fs_make_dirs(dir);
    if (error == 0) {
        self->dir_fd = fs_open_dir(dir);
        error = self->dir_fd < 0 ? self->dir_fd : 0;
    }
    if (error != 0) {
        log_error("the data directory cannot be opened", "dir=%s error=%s action=\"not started\"",
                  dir, err_name(error));
        return error;
    }
    int pid = 0;
    self->lock_fd = dirlock_take(dir, &pid);
    if (self->lock_fd < 0) {
        log_error("the data directory is in use", "dir=%s pid=%d error=%s action=\"not started\"",
                  dir, pid, err_name(self->lock_fd));
        return self->lock_fd;
    }
    return logd_read_cluster(self);
}

static int logd_open_data(struct logd *self)
{
    bool rebuilt = false;
    int error = logd_open_dir(self);
    if (error == 0) {
        error = state_open(self, self->options.data_dir, self->options.db_cache_bytes, &rebuilt,
                           &self->state);
    }
    if (error == 0 && rebuilt) {
        log_warn("the database was damaged", "dir=%s/db action=\"rebuilt from the journal\"",
                 self->options.data_dir);
    }
    if (error == 0) {
        error = state_load(self->state);
    }
    if (error == 0) {
        error = ids_cold_load(self->ids, state_bdb(self->state));
    }
    if (error == 0) {
        error = recovery_run(self);
    }
    return error;
}

static struct logd *logd_new(const struct logd_options *options)
{
    struct logd *self = MEM_NEW(struct logd);
    self->options = *options;
    self->loop = options->loop;
    self->bus = options->bus;
    self->time = options->time != NULL ? options->time : timesource_system();
    self->dir_fd = -1;
    self->lock_fd = -1;
    list_init(&self->dirty);
    list_init(&self->configs);
    heap_init(&self->flushes, flush_less);
    wheel_timer_init(&self->flush_timer, logd_on_flush_timer, self);
    wheel_timer_init(&self->save_timer, logd_on_save_timer, self);
    logd_make_counters(self);
    self->streams = hash64_new();
    self->stream_ids = hash_new();
    self->links = hash64_new();
    self->groups = group_index_new();
    self->tail = tail_new(options->tail_bytes);
    self->members = members_new();
    self->append = append_new(self);
    self->ids = ids_pool_new(self, options->ids_bytes);
    self->readers = readers_new(self);
    self->parking = parking_new(self);
    self->retention = retention_new(self);
    self->release = release_new(self);
    self->events = events_new(self);
    self->deadletter = deadletter_new(self);
    return self;
}

int logd_open(const struct logd_options *options, struct logd **ret_logd)
{
    struct logd *self = logd_new(options);
    uint64_t began_us = timesource_monotonic_us(self->time);
    int error = logd_open_data(self);
    if (error == 0) {
        self->journal_watch = loop_fd_add(self->loop, journal_fd(self->journal), LOOP_READ,
                                          logd_on_completions, self);
        error = self->journal_watch == NULL ? ERR_IO : 0;
    }
    if (error != 0) {
        logd_close(&self);
        return error;
    }
    self->recovered = true;
    release_note(self->release);
    logd_make_gauges(self);
    loop_on_turn_end(self->loop, logd_turn_end, self);
    log_info("recovered", "streams=%zu ms=%" PRIu64, hash64_count(self->streams),
             (timesource_monotonic_us(self->time) - began_us) / 1000);
    if (self->bus != NULL && options->catalog != NULL) {
        self->catalog = catalog_client_new(self, options->catalog);
    }
    *ret_logd = self;
    if (self->catalog == NULL || !uuid_is_nil(&self->cluster)) {
        logd_became_ready(self);
    } else if (options->on_not_ready != NULL) {
        options->on_not_ready(options->ud, "waiting for raftd");
    }
    return 0;
}

void logd_bus_closed(struct logd *self)
{
    self->bus = NULL;
}

void logd_drain(struct logd *self)
{
    self->draining = true;
    parking_refuse(self->parking, ERR_GOING_AWAY);
    size_t cursor = 0;
    struct stream *stream;
    while ((stream = hash64_next(self->streams, &cursor)) != NULL) {
        readers_refuse(stream, ERR_GOING_AWAY);
        if (stream->groups != NULL) { /* what waits for company does not wait any longer */
            (void) groups_flush(stream->groups, loop_now_ms(self->loop) + DRAIN_FLUSH_AHEAD_MS);
        }
    }
    loop_wake(self->loop); /* the end of that turn looks whether anything is open */
}

void logd_close(struct logd **self)
{
    struct logd *logd = *self;
    if (logd == NULL) {
        return;
    }
    loop_fd_remove(&logd->journal_watch);
    if (logd->recovered && !logd->failed) {
        int error = state_save_all(logd->state);
        if (error != 0) {
            log_error("the database cannot be saved",
                      "error=%s action=\"the journal is replayed at the next start\"",
                      err_name(error));
        }
    }
    catalog_client_destroy(&logd->catalog);
    parking_destroy(&logd->parking);
    release_destroy(&logd->release);
    journal_close(&logd->journal);
    tail_shrink(logd->tail, 0); /* all at once is cheaper than stream by stream */
    streams_destroy_all(logd);
    append_destroy(&logd->append);
    deadletter_destroy(&logd->deadletter);
    ids_pool_destroy(&logd->ids);
    readers_destroy(&logd->readers);
    retention_destroy(&logd->retention);
    links_destroy_all(logd);
    replica_set_destroy(&logd->replicas);
    cold_destroy(&logd->cold);
    tail_destroy(&logd->tail);
    members_destroy(&logd->members);
    events_destroy(&logd->events);
    group_index_destroy(&logd->groups);
    state_close(&logd->state);
    wheel_cancel(loop_wheel(logd->loop), &logd->flush_timer);
    wheel_cancel(loop_wheel(logd->loop), &logd->save_timer);
    heap_release(&logd->flushes);
    buf_release(&logd->scratch);
    if (logd->dir_fd >= 0) {
        (void) close(logd->dir_fd); /* only a handle for names */
    }
    if (logd->lock_fd >= 0) {
        (void) close(logd->lock_fd); /* gives the lock back */
    }
    MEM_FREE(*self);
}
