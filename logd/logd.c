/* logd: the log. The durable streams of a node: one log group a stream, all in one journal, read and consumed from here. This file is the
 * main function: configuration, and the daemon's hooks around core. */
#include "logd/logd.h"

#include <inttypes.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/run/daemon.h"
#include "logd/core.h"

struct logd_conf {
    struct daemon_conf daemon;
    char *catalog;
    uint64_t journal_file_bytes;
    uint64_t journal_queue_bytes;
    uint64_t journal_round_bytes;
    uint64_t journal_reserve_bytes;
    uint64_t journal_disk_free_bytes;
    uint64_t tail_bytes;
    uint64_t cold_bytes;
    uint64_t db_cache_bytes;
    uint64_t ids_bytes;
    uint64_t save_ms;
    uint64_t checkpoint_ms;
    uint64_t retention_ms;
    uint64_t clock_settle_ms;
    uint64_t release_ms;
    uint64_t record_bytes_max;
    uint64_t batch_bytes_max;
    uint64_t batch_records_max;
    uint64_t waiting_max;
    uint64_t waiting_bytes_max;
    uint64_t parked_max;
    uint64_t park_ms;
    uint64_t readers_max;
};

#define KEY(name, type, field, text, min, max, help)                                               \
    {                                                                                              \
        name, type, offsetof(struct logd_conf, field), text, min, max, false, help                 \
    }
#define MIB(count) ((uint64_t) (count) << 20)

static const struct conf_key logd_keys[] = {
    DAEMON_KEYS(struct logd_conf, "/var/lib/railgun/logd"),
    KEY("catalog", CONF_STRING, catalog, "raftd-0", 1, 64,
        "The raftd whose catalogue says which streams there are."),
    KEY("journal.file_size", CONF_SIZE, journal_file_bytes, "64M", MIB(1), MIB(1024),
        "Size of one journal file; files are made ahead and re-used."),
    KEY("journal.queue_size", CONF_SIZE, journal_queue_bytes, "64M", MIB(1), MIB(1024),
        "Bytes taken from publishers and not yet on disk; beyond it they wait."),
    KEY("journal.round_size", CONF_SIZE, journal_round_bytes, "4M", 64 << 10, MIB(64),
        "Most bytes of one write, so of one sync."),
    KEY("journal.reserve", CONF_SIZE, journal_reserve_bytes, "64M", MIB(1), MIB(1024),
        "Disk space held back so that acknowledgements and deletions go on when the disk is full."),
    KEY("journal.disk_free", CONF_SIZE, journal_disk_free_bytes, "16M", 0, MIB(1 << 20),
        "With less free space than this publishes get STORAGE_FULL; the database lives on it."),
    KEY("journal.release_interval", CONF_DURATION, release_ms, "1s", 10, 3600000,
        "How often is looked for journal files that nothing needs any more."),
    KEY("memory.tail", CONF_SIZE, tail_bytes, "32M", 0, MIB(16384),
        "Memory for the records published last, of all streams; taken only as used."),
    KEY("memory.cold", CONF_SIZE, cold_bytes, "2M", 0, MIB(4096),
        "Memory for pieces of the journal that were read back last."),
    KEY("memory.ids", CONF_SIZE, ids_bytes, "192M", MIB(1), MIB(16384),
        "Memory for message IDs of streams with deduplication; older ones go into the database."),
    KEY("db.cache", CONF_SIZE, db_cache_bytes, "4M", 256 << 10, MIB(1024),
        "Cache of the database of derived state."),
    KEY("db.save_interval", CONF_DURATION, save_ms, "1s", 50, 60000,
        "How often acknowledgements are carried into the database; a crash replays the rest."),
    KEY("db.checkpoint_interval", CONF_DURATION, checkpoint_ms, "30s", 1000, 3600000,
        "How often the database is written through."),
    KEY("retention.interval", CONF_DURATION, retention_ms, "1s", 10, 3600000,
        "A stream's limits are looked at no more often than this."),
    KEY("retention.clock_settle", CONF_DURATION, clock_settle_ms, "1h", 1000, UINT64_C(2592000000),
        "When the wall clock jumped by more than a minute, no record goes for its age until the "
        "clock is back or has stood for so long."),
    KEY("limits.record_size", CONF_SIZE, record_bytes_max, "1M", 1, MIB(32),
        "Largest record, encoded."),
    KEY("limits.batch_size", CONF_SIZE, batch_bytes_max, "4M", 1, MIB(32),
        "Largest batch of one publish."),
    KEY("limits.batch_records", CONF_NUMBER, batch_records_max, "65536", 1, 1 << 20,
        "Most records in one batch."),
    KEY("limits.waiting", CONF_NUMBER, waiting_max, "16384", 1, 1 << 20,
        "Publishes that wait for room in the journal; beyond it they get OVERLOADED."),
    KEY("limits.waiting_size", CONF_SIZE, waiting_bytes_max, "64M", MIB(1), MIB(4096),
        "Bytes of those."),
    KEY("limits.parked", CONF_NUMBER, parked_max, "1024", 1, 1 << 20,
        "Requests for a stream that the catalogue has not shown yet."),
    KEY("limits.park_time", CONF_DURATION, park_ms, "5s", 1, 60000, "How long those wait for it."),
    KEY("limits.readers", CONF_NUMBER, readers_max, "4096", 1, 1 << 20,
        "Reads that wait at the end of a stream."),
};

static const struct conf_table logd_table = {
    .daemon = "logd",
    .keys = logd_keys,
    .count = sizeof(logd_keys) / sizeof(logd_keys[0]),
    .size = sizeof(struct logd_conf),
};

/* --- the process around the core --- */

static void logd_tell_ready(void *ud)
{
    daemon_ready(ud);
}

static void logd_tell_not_ready(void *ud, const char *reason)
{
    daemon_not_ready(ud, reason);
}

static void logd_tell_drained(void *ud)
{
    daemon_drained(ud);
}

static void logd_tell_fail(void *ud, const char *event, const char *detail)
{
    daemon_fail(ud, event, detail);
}

static struct logd_options logd_make_options(struct daemon_context *context)
{
    const struct logd_conf *conf = daemon_values(context);
    struct logd_options options;
    logd_options_default(&options);
    options.data_dir = conf->daemon.data_dir;
    options.loop = daemon_loop(context);
    options.bus = daemon_bus(context);
    options.metrics = daemon_metrics(context);
    options.catalog = conf->catalog;
    options.journal = (struct journal_options){
        .file_bytes = conf->journal_file_bytes,
        .queue_bytes_max = conf->journal_queue_bytes,
        .round_bytes_max = conf->journal_round_bytes,
        .reserve_bytes = conf->journal_reserve_bytes,
        .disk_free_min = conf->journal_disk_free_bytes,
    };
    options.limits.record_bytes_max = conf->record_bytes_max;
    options.limits.batch_bytes_max = conf->batch_bytes_max;
    options.limits.records_max = (uint32_t) conf->batch_records_max;
    options.tail_bytes = conf->tail_bytes;
    options.cold_bytes = conf->cold_bytes;
    options.db_cache_bytes = conf->db_cache_bytes;
    options.ids_bytes = conf->ids_bytes;
    options.waiting_max = (uint32_t) conf->waiting_max;
    options.waiting_bytes_max = conf->waiting_bytes_max;
    options.parked_max = (uint32_t) conf->parked_max;
    options.park_ms = conf->park_ms;
    options.readers_max = (uint32_t) conf->readers_max;
    options.save_ms = conf->save_ms;
    options.checkpoint_ms = conf->checkpoint_ms;
    options.retention_ms = conf->retention_ms;
    options.clock_settle_ms = conf->clock_settle_ms;
    options.release_ms = conf->release_ms;
    options.on_ready = logd_tell_ready;
    options.on_not_ready = logd_tell_not_ready;
    options.on_drained = logd_tell_drained;
    options.on_fail = logd_tell_fail;
    options.ud = context;
    return options;
}

static int logd_check(const void *values, struct buf *problem)
{
    const struct logd_conf *conf = values;
    if (conf->batch_bytes_max > conf->journal_file_bytes / 4) {
        buf_append_text(problem,
                        "journal.file_size: must be at least four times limits.batch_size");
        return ERR_BAD_CONFIG;
    }
    return 0;
}

static int logd_start(struct daemon_context *context, void **ret_self)
{
    struct logd_options options = logd_make_options(context);
    struct logd *logd = NULL;
    int error = logd_open(&options, &logd);
    if (error != 0) {
        return error;
    }
    *ret_self = logd;
    error = bus_bind(daemon_bus(context));
    if (error != 0) {
        log_error("the bus cannot be bound", "name=%s error=%s action=\"not started\"",
                  daemon_name(context), err_name(error));
    }
    return error;
}

static void logd_on_drain(void *self)
{
    logd_drain(self);
}

/* The bus is closed by now. */
static void logd_stop(void *self)
{
    struct logd *logd = self;
    if (logd != NULL) {
        logd_bus_closed(logd);
        logd_close(&logd);
    }
}

int main(int argc, char **argv)
{
    static const struct daemon_program program = {
        .name = "logd",
        .purpose = "The log of a Railgun node: keeps persistent streams, serves reads and "
                   "consumer groups.",
        .table = &logd_table,
        .check = logd_check,
        .start = logd_start,
        .drain = logd_on_drain,
        .stop = logd_stop,
        .handlers =
            {
                .on_up = logd_on_up,
                .on_down = logd_on_down,
                .on_message = logd_on_message,
                .on_credit = logd_on_credit,
            },
    };
    return daemon_main(argc, argv, &program);
}
