/* raftd: the coordinator's main function: configuration, the parts put together, and the order of one turn. Requests are decided by
 * handle_*.c, kept by the catalogue, made durable by its log, told by watch. Nothing is answered before it is durable. */
#include "raftd/raftd.h"

#include <inttypes.h>
#include <stddef.h>

#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/run/daemon.h"
#include "common/run/log.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/scan.h"
#include "raftd/asks.h"
#include "raftd/handle.h"
#include "raftd/reaper.h"
#include "raftd/recovery.h"

enum { RAFTD_STORE_PENDING_MAX = 1024 };

struct raftd_conf {
    struct daemon_conf daemon;
    uint64_t journal_file_bytes;
    uint64_t journal_reserve_bytes;
    uint64_t db_cache_bytes;
    uint64_t db_commit_ms;
    uint64_t db_checkpoint_ms;
};

#define KEY(name, type, field, text, min, max, reloadable, help)                                   \
    {                                                                                              \
        name, type, offsetof(struct raftd_conf, field), text, min, max, reloadable, help           \
    }

static const struct conf_key raftd_keys[] = {
    DAEMON_KEYS(struct raftd_conf, "/var/lib/railgun/raftd"),
    KEY("journal.file_bytes", CONF_SIZE, journal_file_bytes, "8M", 1 << 20, 1 << 30, false,
        "Size of one journal file, preallocated."),
    KEY("journal.reserve", CONF_SIZE, journal_reserve_bytes, "8M", 1 << 20, 1 << 30, false,
        "Held back so that the catalogue can still change when the disk is full."),
    KEY("db.cache", CONF_SIZE, db_cache_bytes, "4M", 256 << 10, 1 << 30, false,
        "Memory of the database's cache."),
    KEY("db.commit_every", CONF_DURATION, db_commit_ms, "1s", 10, 60000, true,
        "How long changes gather before the database takes them; the log has them at once."),
    KEY("db.checkpoint_every", CONF_DURATION, db_checkpoint_ms, "60s", 1000, 3600000, true,
        "Shortest time between two checkpoints of the database."),
};

static const struct conf_table raftd_table = {
    .daemon = "raftd",
    .keys = raftd_keys,
    .count = sizeof(raftd_keys) / sizeof(raftd_keys[0]),
    .size = sizeof(struct raftd_conf),
};

struct raftd {
    struct daemon_context *context;
    const struct raftd_conf *conf;
    struct recovery parts; /* catalogue, mirror and log */
    struct watch *watch;
    struct asks *asks;
    struct reaper *reaper;
    struct loop_fd *log_fd;
    struct wheel_timer commit_timer; /* runs while the mirror is behind */
    uint64_t checkpoint_due_ms;
    uint64_t *ensures;
    uint64_t *commands;
    bool is_draining;
    bool is_failed; /* the log is poisoned */
};

struct bus *raftd_bus(struct raftd *self)
{
    return daemon_bus(self->context);
}

const struct catalog *raftd_catalog(const struct raftd *self)
{
    return self->parts.catalog;
}

struct watch *raftd_watch(struct raftd *self)
{
    return self->watch;
}

bool raftd_is_pending(const struct raftd *self, struct span key)
{
    return asks_has_key(self->asks, key);
}

/* --- proposing and applying -------------------------------------------------------------------------------- */

uint64_t raftd_now_us(const struct raftd *self)
{
    return timesource_real_us(self->parts.time);
}

static int raftd_log(struct raftd *self, Railgun__CatalogCommand *command, uint64_t *ret_index)
{
    command->has_now_us = 1;
    command->now_us = raftd_now_us(self);
    struct buf packed = {0};
    scan_pack(&packed, &command->base);
    int error = catalog_log_propose(self->parts.log, buf_span(&packed), ret_index);
    buf_release(&packed);
    return error;
}

void raftd_propose_own(struct raftd *self, Railgun__CatalogCommand *command)
{
    uint64_t index;
    int error = self->is_draining || self->is_failed ? 0 : raftd_log(self, command, &index);
    if (error != 0) {
        log_warn("a command of the catalogue waits", "error=%s action=\"tried again\"",
                 err_name(error));
    }
}

void raftd_propose(struct raftd *self, Railgun__CatalogCommand *command, uint64_t ticket,
                   struct span key)
{
    uint64_t index = 0;
    int error = asks_is_full(self->asks) ? ERR_OVERLOADED : raftd_log(self, command, &index);
    if (error == 0) {
        asks_add(self->asks, index, ticket, key);
        return;
    }
    if (error == ERR_AGAIN || error == ERR_NO_MEMORY) {
        error = ERR_OVERLOADED; /* what the asker can understand: nothing was done, try again */
    } else if (error == ERR_POISONED) {
        error = ERR_READ_ONLY;
    }
    (void) bus_reply_error(raftd_bus(self), ticket, error, NULL); /* The asker may be gone. */
}

static void raftd_mirror_off(struct raftd *self, int error)
{
    log_warn(
        "the database failed",
        "error=%s detail=\"%s\" action=\"going on without it until the next start: the log has "
        "everything\"",
        err_name(error), catalog_store_problem(self->parts.store));
    catalog_store_close(&self->parts.store);
}

static void raftd_save(struct raftd *self)
{
    if (self->parts.store == NULL) {
        return;
    }
    int error = catalog_store_commit(self->parts.store, self->parts.catalog);
    uint64_t now_ms = loop_now_ms(daemon_loop(self->context));
    if (error == 0 && now_ms >= self->checkpoint_due_ms) {
        self->checkpoint_due_ms = now_ms + self->conf->db_checkpoint_ms;
        error = catalog_store_checkpoint(self->parts.store);
    }
    if (error != 0) {
        raftd_mirror_off(self, error);
    }
}

static void raftd_on_commit_timer(struct wheel_timer *timer, void *ud)
{
    (void) timer;
    raftd_save((struct raftd *) ud);
}

static void raftd_on_change(void *ud, const struct catalog_change *change)
{
    struct raftd *self = (struct raftd *) ud;
    if (self->parts.store != NULL) {
        catalog_store_put(self->parts.store, change);
    }
    if (self->watch != NULL) {
        watch_put(self->watch, change);
    }
    if (self->reaper != NULL && change->kind == CATALOG_STREAM_BURIED) {
        reaper_look(self->reaper);
    }
}

static void raftd_answer(struct raftd *self, uint64_t ticket, const struct catalog_outcome *outcome)
{
    switch (outcome->command) {
    case CATALOG_BOOTSTRAP:
        break; /* nobody asked for it */
    case CATALOG_ENSURE:
        handle_ensure_reply(self, ticket, &outcome->ensure);
        break;
    case CATALOG_DELETE:
        handle_delete_reply(self, ticket, outcome);
        break;
    case CATALOG_UNDELETE:
        handle_undelete_reply(self, ticket, outcome);
        break;
    case CATALOG_REAP:
        break; /* nobody asked for it */
    case CATALOG_LOCK:
        handle_lock_reply(self, ticket, outcome);
        break;
    case CATALOG_ENDPOINT:
        handle_register_reply(self, ticket, outcome->error);
        break;
    }
}

static void raftd_on_apply(void *ud, uint64_t index, struct span command)
{
    struct raftd *self = (struct raftd *) ud;
    struct catalog_outcome outcome;
    int error = catalog_apply(self->parts.catalog, index, command, &outcome);
    INVARIANT(error == 0); /* we wrote it ourselves, in this life */
    if (self->watch != NULL) {
        watch_seal(self->watch);
    }
    uint64_t ticket;
    if (self->asks != NULL && asks_take(self->asks, index, &ticket)) {
        raftd_answer(self, ticket, &outcome);
        (*self->commands)++;
    }
    if (self->reaper != NULL && outcome.command == CATALOG_REAP) {
        reaper_look(self->reaper); /* there may be more than one command takes */
    }
    catalog_outcome_release(&outcome);
    if (self->parts.store == NULL) {
        return;
    }
    if (catalog_store_pending(self->parts.store) >= RAFTD_STORE_PENDING_MAX) {
        raftd_save(self);
    } else if (self->asks != NULL && !wheel_timer_is_running(&self->commit_timer)) {
        loop_timer_start(daemon_loop(self->context), &self->commit_timer, self->conf->db_commit_ms);
    }
}

static void raftd_on_poisoned(void *ud)
{
    struct raftd *self = (struct raftd *) ud;
    self->is_failed = true;
    daemon_fail(self->context, "the journal failed",
                "a write or sync returned an error; repair the disk, then start again");
}

/* --- the turn ---------------------------------------------------------------------------------------------- */

static void raftd_check_drained(struct raftd *self)
{
    if (self->is_draining && asks_count(self->asks) == 0) {
        daemon_drained(self->context);
    }
}

static void raftd_on_log_ready(void *ud, unsigned events)
{
    (void) events;
    struct raftd *self = (struct raftd *) ud;
    catalog_log_poll(self->parts.log);
    raftd_check_drained(self);
}

/* First what must reach the disk, then what others are told meanwhile. */
static void raftd_on_turn_end(void *ud)
{
    struct raftd *self = (struct raftd *) ud;
    if (!self->is_failed) {
        catalog_log_submit(self->parts.log);
    }
    watch_flush(self->watch);
}

static int raftd_send_changes(void *ud, struct bus_link *link, struct span changes)
{
    (void) ud;
    struct bus_outgoing out = {.type = RAILGUN__BUS_TYPE__BUS_CATALOG_CHANGES, .meta = changes};
    return bus_event(link, &out);
}

/* --- the bus ----------------------------------------------------------------------------------------------- */

static void raftd_on_down(void *ud, struct bus_link *link)
{
    watch_remove(((struct raftd *) ud)->watch, link);
}

static void raftd_on_credit(void *ud, struct bus_link *link)
{
    watch_ready(((struct raftd *) ud)->watch, link); /* sent at the end of this turn */
}

static void raftd_on_message(void *ud, struct bus_link *link, struct bus_message *message)
{
    struct raftd *self = (struct raftd *) ud;
    if (!message->is_request) {
        return; /* No event is meant for us; a newer daemon may know better. */
    }
    if (self->is_draining) {
        /* may be gone */
        (void) bus_reply_error(raftd_bus(self), message->ticket, ERR_GOING_AWAY, NULL);
        return;
    }
    switch ((int) message->type) {
    case RAILGUN__BUS_TYPE__BUS_CATALOG_ENSURE:
        (*self->ensures)++;
        handle_ensure(self, message);
        break;
    case RAILGUN__BUS_TYPE__BUS_CATALOG_DELETE:
        handle_delete(self, message);
        break;
    case RAILGUN__BUS_TYPE__BUS_CATALOG_UNDELETE:
        handle_undelete(self, message);
        break;
    case RAILGUN__BUS_TYPE__BUS_CATALOG_LOCK:
        handle_lock(self, message);
        break;
    case RAILGUN__BUS_TYPE__BUS_CATALOG_REGISTER:
        handle_register(self, message);
        break;
    case RAILGUN__BUS_TYPE__BUS_CATALOG_WATCH:
        handle_watch(self, link, message);
        break;
    default:
        /* may be gone */
        (void) bus_reply_error(raftd_bus(self), message->ticket, ERR_UNKNOWN_FRAME, NULL);
        break;
    }
}

/* --- start and stop ---------------------------------------------------------------------------------------- */

static uint64_t raftd_read_revision(void *ud)
{
    return catalog_revision(((const struct raftd *) ud)->parts.catalog);
}

static uint64_t raftd_read_streams(void *ud)
{
    return catalog_stream_count(((const struct raftd *) ud)->parts.catalog);
}

static uint64_t raftd_read_deleted(void *ud)
{
    return catalog_deleted_count(((const struct raftd *) ud)->parts.catalog);
}

static uint64_t raftd_read_groups(void *ud)
{
    return catalog_group_count(((const struct raftd *) ud)->parts.catalog);
}

static uint64_t raftd_read_exchanges(void *ud)
{
    return catalog_exchange_count(((const struct raftd *) ud)->parts.catalog);
}

static uint64_t raftd_read_watchers(void *ud)
{
    return watch_count(((const struct raftd *) ud)->watch);
}

static void raftd_add_metrics(struct raftd *self)
{
    struct metrics *metrics = daemon_metrics(self->context);
    metrics_gauge(metrics, "railgun_catalog_revision", raftd_read_revision, self);
    metrics_gauge(metrics, "railgun_catalog_streams", raftd_read_streams, self);
    metrics_gauge(metrics, "railgun_catalog_streams_deleted", raftd_read_deleted, self);
    metrics_gauge(metrics, "railgun_catalog_groups", raftd_read_groups, self);
    metrics_gauge(metrics, "railgun_catalog_exchanges", raftd_read_exchanges, self);
    metrics_gauge(metrics, "railgun_catalog_watchers", raftd_read_watchers, self);
    self->ensures = metrics_counter(metrics, "railgun_catalog_ensures_total");
    self->commands = metrics_counter(metrics, "railgun_catalog_commands_total");
}

static void raftd_stop(void *ud)
{
    struct raftd *self = (struct raftd *) ud;
    if (self == NULL) {
        return;
    }
    raftd_save(self);
    loop_fd_remove(&self->log_fd);
    wheel_cancel(loop_wheel(daemon_loop(self->context)), &self->commit_timer);
    reaper_destroy(&self->reaper);
    watch_destroy(&self->watch);
    asks_destroy(&self->asks);
    recovery_release(&self->parts);
    mem_free(self);
}

static int raftd_open(struct raftd *self)
{
    self->parts = (struct recovery){
        .data_dir = self->conf->daemon.data_dir,
        .cache_bytes = self->conf->db_cache_bytes,
        .journal = {.file_bytes = self->conf->journal_file_bytes,
                    .reserve_bytes = self->conf->journal_reserve_bytes},
        .handlers = {raftd_on_apply, raftd_on_poisoned, self},
        .on_change = raftd_on_change,
        .on_change_ud = self,
        .time = timesource_system(),
    };
    int error = recovery_run(&self->parts);
    if (error != 0) {
        return error;
    }
    self->asks = asks_new();
    self->watch = watch_new(self->parts.catalog, raftd_send_changes, self);
    self->reaper = reaper_new(self, daemon_loop(self->context));
    self->log_fd = loop_fd_add(daemon_loop(self->context), catalog_log_fd(self->parts.log),
                               LOOP_READ, raftd_on_log_ready, self);
    if (self->log_fd == NULL) {
        log_error("the journal cannot be watched", "error=%s", err_name(ERR_NO_MEMORY));
        return ERR_NO_MEMORY;
    }
    raftd_add_metrics(self);
    bus_set_cluster(raftd_bus(self), catalog_cluster(self->parts.catalog));
    error = bus_bind(raftd_bus(self));
    if (error != 0) {
        log_error("the bus cannot be bound", "run_dir=\"%s\" error=%s", self->conf->daemon.run_dir,
                  err_name(error));
    }
    return error;
}

static int raftd_start(struct daemon_context *context, void **ret_self)
{
    struct raftd *self = MEM_NEW(struct raftd);
    self->context = context;
    self->conf = (const struct raftd_conf *) daemon_values(context);
    wheel_timer_init(&self->commit_timer, raftd_on_commit_timer, self);
    int error = raftd_open(self);
    if (error != 0) {
        raftd_stop(self);
        return error;
    }
    loop_on_turn_end(daemon_loop(context), raftd_on_turn_end, self);
    *ret_self = self;
    daemon_ready(context);
    return 0;
}

static void raftd_drain(void *ud)
{
    struct raftd *self = (struct raftd *) ud;
    self->is_draining = true;
    raftd_check_drained(self);
}

static const struct daemon_program raftd_program = {
    .name = "raftd",
    .purpose = "Railgun's coordinator: keeps the catalogue of streams, groups and nodes.",
    .table = &raftd_table,
    .start = raftd_start,
    .drain = raftd_drain,
    .stop = raftd_stop,
    .handlers = {.on_down = raftd_on_down,
                 .on_message = raftd_on_message,
                 .on_credit = raftd_on_credit},
};

int main(int argc, char **argv)
{
    return daemon_main(argc, argv, &raftd_program);
}
