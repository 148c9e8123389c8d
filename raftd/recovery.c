/* recovery: see the header. */
#include "raftd/recovery.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/str.h"
#include "common/run/log.h"
#include "common/store/fs.h"
#include "common/store/lock.h"
#include "common/wire/catalog.pb-c.h"
#include "common/wire/scan.h"
#include "raftd/identity.h"

enum {
    RECOVERY_PATH_MAX = 4200,
    RECOVERY_BOOTSTRAP_MS_MAX = 30000,
    RECOVERY_NODE = 1,
    RECOVERY_STORE_PENDING_MAX = 1024
};

/* Whose log it is, by its first entry. */
struct recovery_owner {
    struct uuid cluster;
    uint64_t node;
};

static void recovery_log_problem(const char *event, int error, struct buf *problem,
                                 const char *remedy)
{
    char shown[512];
    (void) str_escape(buf_span(problem), shown, sizeof(shown));
    log_error(event, "error=%s detail=\"%s\" remedy=\"%s\"", err_name(error), shown, remedy);
}

/* --- the directory ----------------------------------------------------------------------------------------- */

static int recovery_lock(struct recovery *self)
{
    int error = fs_make_dirs(self->data_dir);
    if (error != 0) {
        log_error("data directory cannot be made", "dir=\"%s\" error=%s", self->data_dir,
                  err_name(error));
        return error;
    }
    int pid = 0;
    int fd = dirlock_take(self->data_dir, &pid);
    if (fd < 0) {
        log_error("data directory cannot be locked",
                  "dir=\"%s\" error=%s owner_pid=%d remedy=\"%s\"", self->data_dir, err_name(fd),
                  pid, "stop the other process, or give another data_dir");
        return fd;
    }
    self->lock_fd = fd;
    return 0;
}

/* --- the mirror -------------------------------------------------------------------------------------------- */

static void recovery_mirror_off(struct recovery *self, int error)
{
    const char *problem = self->store != NULL ? catalog_store_problem(self->store) : "";
    log_warn("the database cannot be used",
             "error=%s detail=\"%s\" action=\"going on without it: the log has everything\"",
             err_name(error), problem);
    catalog_store_close(&self->store);
}

static void recovery_new_catalog(struct recovery *self)
{
    catalog_destroy(&self->catalog);
    self->catalog = catalog_new(self->on_change, self->on_change_ud);
}

/* Empty it: the whole log is replayed into it. */
static void recovery_clear_mirror(struct recovery *self, const char *reason)
{
    log_warn("the database is emptied", "reason=\"%s\" action=\"rebuilt from the log\"", reason);
    recovery_new_catalog(self);
    int error = catalog_store_clear(self->store);
    if (error != 0) {
        recovery_mirror_off(self, error);
    }
}

/* 0 also without a mirror; an error where going on would hide a mistake. */
static int recovery_open_mirror(struct recovery *self)
{
    char dir[RECOVERY_PATH_MAX];
    (void) snprintf(dir, sizeof(dir), "%s/db", self->data_dir);
    bool rebuilt = false;
    int error = catalog_store_open(dir, self->cache_bytes, &rebuilt, &self->store);
    if (error == ERR_BAD_FORMAT || error == ERR_LOCKED || error == ERR_TIMEOUT) {
        log_error("the database is refused", "dir=\"%s\" error=%s remedy=\"%s\"", dir,
                  err_name(error),
                  error == ERR_BAD_FORMAT ? "remove the DB_CONFIG file"
                  : error == ERR_LOCKED   ? "stop the process that uses it"
                                          : "start again: it was moved aside");
        return error;
    }
    if (error != 0) {
        recovery_mirror_off(self, error);
        return 0;
    }
    if (rebuilt) {
        log_warn("the database was damaged",
                 "dir=\"%s\" action=\"moved aside, rebuilt from the log\"", dir);
    }
    return 0;
}

static int recovery_load_mirror(struct recovery *self)
{
    recovery_new_catalog(self);
    int error = recovery_open_mirror(self);
    if (error != 0 || self->store == NULL) {
        return error;
    }
    error = catalog_store_load(self->store, self->catalog);
    if (error == ERR_BAD_FORMAT) {
        recovery_clear_mirror(self, "its content is not understood");
        return 0;
    }
    if (error != 0) {
        /* Damage found while reading: it has been marked, so opening it again moves it aside. */
        catalog_store_close(&self->store);
        recovery_new_catalog(self);
        return recovery_open_mirror(self);
    }
    return 0;
}

/* --- the log ----------------------------------------------------------------------------------------------- */

static int recovery_open_log(struct recovery *self)
{
    char dir[RECOVERY_PATH_MAX];
    (void) snprintf(dir, sizeof(dir), "%s/journal", self->data_dir);
    struct journal_options options = self->journal;
    options.dir = dir;
    struct journal_recovery found = {0};
    int error = catalog_log_open(&options, &self->handlers, &found, &self->log);
    if (error != 0) {
        log_error("the journal cannot be opened", "dir=\"%s\" error=%s remedy=\"%s\"", dir,
                  err_name(error),
                  error == ERR_BAD_FORMAT ? "start the version that wrote it, or a newer one"
                                          : "check the disk, its free space and the permissions");
        return error;
    }
    log_info("journal open",
             "files=%" PRIu64 " frames_scanned=%" PRIu64 " torn_bytes=%" PRIu64
             " corrupt_ranges=%" PRIu64 " last_index=%" PRIu64,
             found.files, found.frames_scanned, found.torn_bytes, found.corrupt_ranges,
             catalog_log_last_index(self->log));
    return 0;
}

/* 0, or ERR_NOT_FOUND: the log is empty, or ERR_CORRUPT. */
static int recovery_read_owner(struct recovery *self, struct recovery_owner *ret_owner)
{
    struct buf first = {0};
    int error = catalog_log_first(self->log, &first);
    Railgun__CatalogCommand *command = NULL;
    if (error == 0 && SCAN_UNPACK(buf_span(&first), railgun__catalog_command, &command) != 0) {
        error = ERR_CORRUPT;
    }
    buf_release(&first);
    if (error != 0) {
        return error;
    }
    const Railgun__CatalogNode *node = command->bootstrap;
    if (node == NULL || !node->has_node || !node->has_cluster ||
        uuid_from_bytes(span_make(node->cluster.data, node->cluster.len), &ret_owner->cluster) !=
            0) {
        error = ERR_CORRUPT;
    } else {
        ret_owner->node = node->node;
    }
    SCAN_FREE(&command);
    return error;
}

static int recovery_replay_one(void *ud, uint64_t index, struct span command)
{
    struct recovery *self = (struct recovery *) ud;
    struct catalog_outcome outcome;
    int error = catalog_apply(self->catalog, index, command, &outcome);
    if (error != 0) {
        return error;
    }
    catalog_outcome_release(&outcome);
    if (self->store != NULL && catalog_store_pending(self->store) >= RECOVERY_STORE_PENDING_MAX) {
        int saved = catalog_store_commit(self->store, self->catalog);
        if (saved != 0) {
            recovery_mirror_off(self, saved);
        }
    }
    return 0;
}

static int recovery_replay(struct recovery *self)
{
    struct buf problem = {0};
    uint64_t from = catalog_revision(self->catalog);
    int error = catalog_log_replay(self->log, from, recovery_replay_one, self, &problem);
    if (error != 0) {
        recovery_log_problem("the catalogue cannot be rebuilt", error, &problem,
                             error == ERR_BAD_FORMAT
                                 ? "start the version that wrote it, or a newer one"
                                 : "restore the data directory from a copy");
    } else {
        log_info("catalogue recovered",
                 "revision=%" PRIu64 " replayed=%" PRIu64 " streams=%zu groups=%zu exchanges=%zu",
                 catalog_revision(self->catalog), catalog_revision(self->catalog) - from,
                 catalog_stream_count(self->catalog), catalog_group_count(self->catalog),
                 catalog_exchange_count(self->catalog));
    }
    buf_release(&problem);
    return error;
}

/* --- a new cluster ----------------------------------------------------------------------------------------- */

static int recovery_propose_bootstrap(struct recovery *self)
{
    struct uuid cluster = uuid_random();
    uint64_t now_us = timesource_real_us(self->time);
    Railgun__CatalogNode node = RAILGUN__CATALOG_NODE__INIT;
    node.has_node = 1;
    node.node = RECOVERY_NODE;
    node.has_cluster = 1;
    node.cluster = (ProtobufCBinaryData){sizeof(cluster.bytes), cluster.bytes};
    node.has_created_us = 1;
    node.created_us = now_us;
    Railgun__CatalogCommand command = RAILGUN__CATALOG_COMMAND__INIT;
    command.has_now_us = 1;
    command.now_us = now_us;
    command.bootstrap = &node;
    struct buf packed = {0};
    scan_pack(&packed, &command.base);
    uint64_t index = 0;
    int error = catalog_log_propose(self->log, buf_span(&packed), &index);
    buf_release(&packed);
    return error;
}

/* The one time that anybody waits for the log: nothing can be served without an identity. */
static int recovery_bootstrap(struct recovery *self)
{
    int error = recovery_propose_bootstrap(self);
    uint64_t deadline_ms = timesource_monotonic_ms(self->time) + RECOVERY_BOOTSTRAP_MS_MAX;
    if (error == 0) {
        catalog_log_submit(self->log);
    }
    while (error == 0 && catalog_revision(self->catalog) == 0) {
        uint64_t now_ms = timesource_monotonic_ms(self->time);
        struct pollfd waiting = {.fd = catalog_log_fd(self->log), .events = POLLIN};
        int ready = now_ms < deadline_ms ? poll(&waiting, 1, (int) (deadline_ms - now_ms)) : 0;
        if (ready == 0) {
            error = ERR_TIMEOUT;
        } else if (ready < 0 && errno != EINTR) {
            error = err_from_errno(errno);
        } else {
            catalog_log_poll(self->log);
        }
    }
    if (error != 0) {
        log_error("the first entry of the log could not be written", "error=%s", err_name(error));
        return error;
    }
    char text[UUID_TEXT_SIZE];
    uuid_format(catalog_cluster(self->catalog), text);
    log_info("new cluster", "cluster=%s node=%" PRIu64, text, catalog_node(self->catalog));
    return 0;
}

/* --- all together ------------------------------------------------------------------------------------------ */

/* The log is empty: that is right only where nothing else says that there was one. */
static int recovery_begin_anew(struct recovery *self, const struct identity *identity)
{
    if (identity->has_cluster || identity->has_node || catalog_revision(self->catalog) != 0) {
        log_error("the log is empty but this is no new directory",
                  "dir=\"%s\" found=\"%s\" remedy=\"%s\"", self->data_dir,
                  identity->has_cluster ? "cluster-id"
                  : identity->has_node  ? "node-id"
                                        : "db",
                  "restore journal/ from a copy; or, to begin an empty cluster, remove cluster-id, "
                  "node-id and db");
        return ERR_WRONG_CLUSTER;
    }
    return recovery_bootstrap(self);
}

static int recovery_continue(struct recovery *self, const struct identity *identity,
                             const struct recovery_owner *owner)
{
    struct buf problem = {0};
    int error = identity_check(identity, &owner->cluster, owner->node, &problem);
    if (error != 0) {
        recovery_log_problem("this data directory is put together from two", error, &problem,
                             "restore the right one from a copy");
        buf_release(&problem);
        return error;
    }
    buf_release(&problem);
    if (catalog_revision(self->catalog) != 0 &&
        (!uuid_equal(catalog_cluster(self->catalog), &owner->cluster) ||
         catalog_node(self->catalog) != owner->node)) {
        recovery_clear_mirror(self, "it belongs to another cluster or node");
    }
    return recovery_replay(self);
}

static int recovery_join_parts(struct recovery *self, const struct identity *identity)
{
    struct recovery_owner owner;
    int error = recovery_read_owner(self, &owner);
    if (error == ERR_NOT_FOUND) {
        error = recovery_begin_anew(self, identity);
    } else if (error == 0) {
        error = recovery_continue(self, identity, &owner);
    } else {
        log_error("the first entry of the log cannot be read", "error=%s remedy=\"%s\"",
                  err_name(error), "restore the data directory from a copy");
    }
    if (error != 0 || (identity->has_cluster && identity->has_node)) {
        return error;
    }
    error =
        identity_write(self->data_dir, catalog_cluster(self->catalog), catalog_node(self->catalog));
    if (error != 0) {
        log_error("cluster-id and node-id cannot be written", "dir=\"%s\" error=%s", self->data_dir,
                  err_name(error));
    }
    return error;
}

int recovery_run(struct recovery *self)
{
    self->lock_fd = -1;
    int error = recovery_lock(self);
    if (error != 0) {
        return error;
    }
    struct identity identity;
    struct buf problem = {0};
    error = identity_read(self->data_dir, &identity, &problem);
    if (error != 0) {
        recovery_log_problem("the identity cannot be read", error, &problem,
                             "restore the file, or remove it: the log knows its content");
    }
    buf_release(&problem);
    if (error == 0) {
        error = recovery_load_mirror(self);
    }
    if (error == 0) {
        error = recovery_open_log(self);
    }
    if (error == 0) {
        error = recovery_join_parts(self, &identity);
    }
    if (error == 0 && self->store != NULL) {
        int saved = catalog_store_commit(self->store, self->catalog);
        if (saved != 0) {
            recovery_mirror_off(self, saved);
        }
    }
    return error;
}

void recovery_release(struct recovery *self)
{
    catalog_log_close(&self->log);
    catalog_store_close(&self->store);
    catalog_destroy(&self->catalog);
    if (self->lock_fd >= 0) {
        (void) close(self->lock_fd);
        self->lock_fd = -1;
    }
}
