/* bdb: one Berkeley DB environment as a store of derived state. Owns the directory (by its lock), the environment, the
 * tables and at most one transaction. The environment is private to the process and has no lock subsystem: one
 * thread uses it, one transaction at a time. It must never outlive an error that it does not understand: the first one poisons it,
 * and damage leaves a mark in the directory so that the next opening starts anew. */
#include "common/store/bdb.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <db.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/list.h"
#include "common/base/mem.h"
#include "common/store/bdb_room.h"
#include "common/store/fs.h"
#include "common/store/lock.h"

enum {
    BDB_CACHE_DEFAULT = 4 << 20,
    BDB_LOG_FILE_BYTES = 1 << 20, /* small: recovery writes the current one full, see bdb_room.h */
    BDB_LOG_BUFFER_BYTES = 256 << 10,
    BDB_RECOVER_SECONDS_MAX = 30,
    BDB_FILE_MODE = 0600,
    BDB_NAME_MAX = 64,
    BDB_PROBLEM_MAX = 256,
    BDB_BAD_TRIES = 1000,
    BDB_DIR_MAX = 4000,
    BDB_PATH_MAX = BDB_DIR_MAX + 200,
};

static const char BDB_LOCK_FILE[] = "lock";
static const char BDB_DAMAGED_FILE[] = "damaged";

struct bdb {
    char *dir;
    uint64_t cache_bytes;
    int lock_fd;
    DB_ENV *env;
    struct list tables; /* of bdb_table.link */
    struct bdb_txn *txn;
    bool poisoned;
    char problem[BDB_PROBLEM_MAX]; /* the library's last message */
};

struct bdb_table {
    struct list link;
    struct bdb *bdb;
    DB *db;
    char name[BDB_NAME_MAX];
};

struct bdb_txn {
    struct bdb *bdb;
    DB_TXN *txn;
};

/* --- errors ------------------------------------------------------------------------------------------------ */

static void bdb_on_message(const DB_ENV *env, const char *prefix, const char *message)
{
    (void) prefix;
    struct bdb *self = (struct bdb *) env->app_private;
    (void) snprintf(self->problem, sizeof(self->problem), "%s", message);
}

/* Is it the world around us (no room, no permission) rather than the content that is wrong? */
static bool bdb_is_worldly(int error)
{
    switch (error) {
    case ENOSPC:
    case EDQUOT:
    case ENOMEM:
    case EACCES:
    case EPERM:
    case EROFS:
    case EMFILE:
    case ENFILE:
        return true;
    default:
        return false;
    }
}

static int bdb_error(int error)
{
    if (error == DB_NOTFOUND) {
        return ERR_NOT_FOUND;
    }
    if (error == DB_LOCK_DEADLOCK) {
        return ERR_AGAIN;
    }
    if (bdb_is_worldly(error)) {
        return err_from_errno(error);
    }
    if (error == ETIMEDOUT) {
        return ERR_TIMEOUT;
    }
    return error == EIO ? ERR_IO : ERR_CORRUPT;
}

static void bdb_mark_damaged(const struct bdb *self)
{
    char path[BDB_PATH_MAX];
    (void) snprintf(path, sizeof(path), "%s/%s", self->dir, BDB_DAMAGED_FILE);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, BDB_FILE_MODE);
    if (fd >= 0) {
        (void) fsync(
            fd); /* Without the mark the next life meets the same damage and marks it then. */
        (void) close(fd);
    }
}

/* Turn the library's answer into ours; all but the three harmless ones are final. */
static int bdb_check(struct bdb *self, int error)
{
    if (error == 0) {
        return 0;
    }
    if (error != DB_NOTFOUND && error != DB_LOCK_DEADLOCK && !self->poisoned) {
        self->poisoned = true;
        /* A full disk ends in all kinds of errors, which are no damage. */
        if (!bdb_is_worldly(error) && !bdb_room_is_short(self->dir)) {
            bdb_mark_damaged(self);
        }
    }
    return bdb_error(error);
}

/* --- opening ----------------------------------------------------------------------------------------------- */

static int bdb_env_open(struct bdb *self)
{
    int error = db_env_create(&self->env, 0);
    if (error != 0) {
        self->env = NULL;
        return error;
    }
    DB_ENV *env = self->env;
    env->app_private = self;
    env->set_errcall(env, bdb_on_message);
    if ((error = env->set_cachesize(env, (u_int32_t) (self->cache_bytes >> 30),
                                    (u_int32_t) (self->cache_bytes & ((1U << 30) - 1)), 1)) != 0 ||
        (error = env->set_lg_bsize(env, BDB_LOG_BUFFER_BYTES)) != 0 ||
        (error = env->set_lg_max(env, BDB_LOG_FILE_BYTES)) != 0 ||
        (error = env->set_tmp_dir(env, ".")) != 0 || /* else the library asks the environment */
        (error = env->set_flags(env, DB_TXN_WRITE_NOSYNC, 1)) != 0) {
        return error;
    }
    /* No DB_USE_ENVIRON: DB_HOME and its like mean nothing to us. */
    return env->open(env, self->dir,
                     DB_CREATE | DB_PRIVATE | DB_RECOVER | DB_INIT_TXN | DB_INIT_LOG |
                         DB_INIT_MPOOL,
                     BDB_FILE_MODE);
}

static struct bdb_table *bdb_table_find(struct bdb *self, const char *name)
{
    LIST_FOREACH (&self->tables, node) {
        struct bdb_table *table = LIST_ENTRY(node, struct bdb_table, link);
        if (strcmp(table->name, name) == 0) {
            return table;
        }
    }
    return NULL;
}

/* The library's error, not ours. */
static int bdb_table_make(struct bdb *self, const char *name, u_int32_t flags,
                          struct bdb_table **ret_table)
{
    char file[BDB_NAME_MAX + 4];
    (void) snprintf(file, sizeof(file), "%s.db", name);
    DB *db = NULL;
    int error = db_create(&db, self->env, 0);
    if (error != 0) {
        return error;
    }
    if ((error = db->set_flags(db, DB_CHKSUM)) != 0 ||
        (error = db->open(db, NULL, file, NULL, DB_BTREE, flags | DB_AUTO_COMMIT, BDB_FILE_MODE)) !=
            0) {
        (void) db->close(db, DB_NOSYNC); /* The first error is the one that counts. */
        return error;
    }
    struct bdb_table *table = MEM_NEW(struct bdb_table);
    table->bdb = self;
    table->db = db;
    (void) snprintf(table->name, sizeof(table->name), "%s", name);
    list_push_back(&self->tables, &table->link);
    *ret_table = table;
    return 0;
}

static bool bdb_is_table_file(const char *name)
{
    size_t size = strlen(name);
    return size > 3 && size - 3 < BDB_NAME_MAX && strcmp(name + size - 3, ".db") == 0 &&
           strncmp(name, "__db", 4) != 0;
}

/* Tables without a log: the library would open them and fail much later. */
static bool bdb_lost_its_log(const char *path)
{
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return false; /* Opening the environment says why. */
    }
    bool has_table = false;
    bool has_log = false;
    struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        has_table = has_table || bdb_is_table_file(entry->d_name);
        has_log = has_log || strncmp(entry->d_name, "log.", 4) == 0;
    }
    (void) closedir(dir); /* It was only read. */
    return has_table && !has_log;
}

/* Open every table that exists now: a damaged head shows here, where it can still be repaired, not later. */
static int bdb_tables_open(struct bdb *self)
{
    DIR *dir = opendir(self->dir);
    if (dir == NULL) {
        return errno;
    }
    int error = 0;
    struct dirent *entry;
    while (error == 0 && (entry = readdir(dir)) != NULL) {
        if (!bdb_is_table_file(entry->d_name)) {
            continue;
        }
        size_t size = strlen(entry->d_name);
        char name[BDB_NAME_MAX];
        (void) snprintf(name, sizeof(name), "%.*s", (int) (size - 3), entry->d_name);
        struct bdb_table *table;
        error = bdb_table_make(self, name, 0, &table);
    }
    (void) closedir(dir); /* It was only read. */
    return error;
}

/* Give the library's handles back, good or bad. */
static void bdb_env_close(struct bdb *self)
{
    u_int32_t flags = self->poisoned ? DB_NOSYNC : 0;
    struct list *node;
    while ((node = list_pop_front(&self->tables)) != NULL) {
        struct bdb_table *table = LIST_ENTRY(node, struct bdb_table, link);
        (void) table->db->close(table->db, flags); /* What was not written is replayed. */
        mem_free(table);
    }
    if (self->env != NULL) {
        (void) self->env->close(self->env, 0);
        self->env = NULL;
    }
}

/* Recovery runs in a thread of its own so that a library that never comes back cannot stop the daemon for ever. */
struct bdb_opening {
    struct bdb *bdb;
    int error;
};

static void *bdb_opening_run(void *ud)
{
    struct bdb_opening *opening = (struct bdb_opening *) ud;
    opening->error = bdb_env_open(opening->bdb);
    if (opening->error == 0) {
        opening->error = bdb_tables_open(opening->bdb);
    }
    return NULL;
}

/* 0 or the library's error. ETIMEDOUT: the thread is still inside and must be left with what it holds. */
static int bdb_try_open(struct bdb *self)
{
    struct bdb_opening *opening = MEM_NEW(struct bdb_opening);
    opening->bdb = self;
    pthread_t thread;
    int error = pthread_create(&thread, NULL, bdb_opening_run, opening);
    if (error != 0) {
        mem_free(opening);
        return error == EAGAIN ? ENOMEM : error;
    }
    struct timespec deadline;
    (void) clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += BDB_RECOVER_SECONDS_MAX;
    if (pthread_timedjoin_np(thread, NULL, &deadline) != 0) {
        (void) pthread_detach(thread);
        return ETIMEDOUT;
    }
    error = opening->error;
    mem_free(opening);
    if (error != 0) {
        self->poisoned = true;
        bdb_env_close(self);
        self->poisoned = false;
    }
    return error;
}

/* A new directory DIR.bad-<time>, with a number behind it when there is one already. */
static int bdb_make_bad_dir(const struct bdb *self, char *path, size_t path_size)
{
    unsigned long long now = (unsigned long long) time(NULL);
    for (unsigned i = 0; i < BDB_BAD_TRIES; i++) {
        char number[16] = "";
        if (i > 0) {
            (void) snprintf(number, sizeof(number), "-%u", i);
        }
        int size = snprintf(path, path_size, "%s.bad-%llu%s", self->dir, now, number);
        if (size < 0 || (size_t) size >= path_size) {
            return ERR_TOO_LARGE;
        }
        if (mkdir(path, 0700) == 0) {
            return 0;
        }
        if (errno != EEXIST) {
            return err_from_errno(errno);
        }
    }
    return ERR_IO;
}

/* Everything but the lock and the room, durably. */
static int bdb_move_files(DIR *from, int to_fd)
{
    int from_fd = dirfd(from);
    struct dirent *entry;
    while ((entry = readdir(from)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            strcmp(entry->d_name, BDB_LOCK_FILE) == 0 ||
            strcmp(entry->d_name, BDB_ROOM_FILE) == 0) {
            continue;
        }
        if (renameat(from_fd, entry->d_name, to_fd, entry->d_name) < 0) {
            return err_from_errno(errno);
        }
    }
    return fsync(to_fd) < 0 || fsync(from_fd) < 0 ? err_from_errno(errno) : 0;
}

static int bdb_move_aside(const struct bdb *self)
{
    char bad[BDB_PATH_MAX];
    int error = bdb_make_bad_dir(self, bad, sizeof(bad));
    if (error != 0) {
        return error;
    }
    DIR *from = opendir(self->dir);
    if (from == NULL) {
        return err_from_errno(errno);
    }
    int to_fd = open(bad, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    error = to_fd < 0 ? err_from_errno(errno) : bdb_move_files(from, to_fd);
    if (to_fd >= 0) {
        (void) close(to_fd);
    }
    (void) closedir(from); /* It was only read. */
    return error;
}

static bool bdb_has_file(const char *dir, const char *name)
{
    char path[BDB_PATH_MAX];
    struct stat info;
    (void) snprintf(path, sizeof(path), "%s/%s", dir, name);
    return lstat(path, &info) == 0;
}

static void bdb_free(struct bdb *self)
{
    if (self->lock_fd >= 0) {
        (void) close(self->lock_fd);
    }
    mem_free(self->dir);
    mem_free(self);
}

/* The library's error. A full disk looks like damage; with the room given up it is seen what it is. */
static int bdb_try_with_room(struct bdb *self)
{
    int result = bdb_try_open(self);
    if (result == 0 || result == ETIMEDOUT || !bdb_room_is_short(self->dir)) {
        return result;
    }
    if (bdb_room_give(self->dir)) {
        result = bdb_try_open(self);
    }
    return result != 0 && result != ETIMEDOUT && bdb_room_is_short(self->dir) ? ENOSPC : result;
}

static int bdb_open_or_rebuild(struct bdb *self, bool *ret_rebuilt)
{
    bool rebuilt = bdb_has_file(self->dir, BDB_DAMAGED_FILE) || bdb_lost_its_log(self->dir);
    int error = rebuilt ? bdb_move_aside(self) : 0;
    if (error != 0) {
        return error;
    }
    int result = bdb_try_with_room(self);
    if (result == ETIMEDOUT) {
        (void) bdb_move_aside(self); /* the next life finds an empty directory */
        return ERR_TIMEOUT;
    }
    if (result != 0 && !bdb_is_worldly(result) && !rebuilt) {
        rebuilt = true;
        error = bdb_move_aside(self);
        if (error != 0) {
            return error;
        }
        result = bdb_try_with_room(self);
    }
    *ret_rebuilt = rebuilt;
    return result != 0 ? bdb_error(result) : 0;
}

int bdb_open(const char *dir, uint64_t cache_bytes, bool *ret_rebuilt, struct bdb **ret_bdb)
{
    if (strlen(dir) > BDB_DIR_MAX) {
        return ERR_TOO_LARGE;
    }
    int error = fs_make_dirs(dir);
    if (error != 0) {
        return error;
    }
    if (bdb_has_file(dir, "DB_CONFIG")) {
        return ERR_BAD_FORMAT;
    }
    int pid;
    int lock_fd = dirlock_take(dir, &pid);
    if (lock_fd < 0) {
        return lock_fd;
    }
    struct bdb *self = MEM_NEW(struct bdb);
    self->dir = mem_strdup(dir);
    self->cache_bytes = cache_bytes != 0 ? cache_bytes : BDB_CACHE_DEFAULT;
    self->lock_fd = lock_fd;
    list_init(&self->tables);

    bool rebuilt = false;
    error = bdb_open_or_rebuild(self, &rebuilt);
    if (error == ERR_TIMEOUT) {
        return error; /* the thread holds `self` and the lock until the process ends */
    }
    if (error != 0) {
        bdb_free(self);
        return error;
    }
    bdb_room_take(dir);
    *ret_rebuilt = rebuilt;
    *ret_bdb = self;
    return 0;
}

void bdb_close(struct bdb **self)
{
    struct bdb *bdb = *self;
    if (bdb == NULL) {
        return;
    }
    bdb_abort(&bdb->txn);
    (void) bdb_checkpoint(bdb); /* It only shortens the next recovery. */
    bdb_env_close(bdb);
    bdb_free(bdb);
    *self = NULL;
}

const char *bdb_problem(const struct bdb *self)
{
    return self->problem;
}

/* --- tables ------------------------------------------------------------------------------------------------ */

int bdb_table_open(struct bdb *self, const char *name, struct bdb_table **ret_table)
{
    INVARIANT(strlen(name) < BDB_NAME_MAX);

    if (self->poisoned) {
        return ERR_POISONED;
    }
    struct bdb_table *table = bdb_table_find(self, name);
    if (table == NULL) {
        int error = bdb_check(self, bdb_table_make(self, name, DB_CREATE, &table));
        if (error != 0) {
            return error;
        }
    }
    *ret_table = table;
    return 0;
}

/* --- transactions ------------------------------------------------------------------------------------------ */

int bdb_begin(struct bdb *self, struct bdb_txn **ret_txn)
{
    INVARIANT(self->txn == NULL); /* There is no lock subsystem that would keep two apart. */

    if (self->poisoned) {
        return ERR_POISONED;
    }
    DB_TXN *txn;
    int error = bdb_check(self, self->env->txn_begin(self->env, NULL, &txn, 0));
    if (error != 0) {
        return error;
    }
    self->txn = MEM_NEW(struct bdb_txn);
    self->txn->bdb = self;
    self->txn->txn = txn;
    *ret_txn = self->txn;
    return 0;
}

int bdb_commit(struct bdb_txn **txn)
{
    struct bdb *self = (*txn)->bdb;
    INVARIANT(self->txn == *txn);

    if (self->poisoned) {
        bdb_abort(txn);
        return ERR_POISONED;
    }
    int error = bdb_check(self, (*txn)->txn->commit((*txn)->txn, 0));
    mem_free(*txn); /* The library's handle is gone whatever commit said. */
    self->txn = NULL;
    *txn = NULL;
    return error;
}

void bdb_abort(struct bdb_txn **txn)
{
    struct bdb_txn *self = *txn;
    if (self == NULL) {
        return;
    }
    struct bdb *bdb = self->bdb;
    (void) bdb_check(bdb, self->txn->abort(self->txn)); /* A failure poisons: nobody goes on. */
    *txn = NULL;
    bdb->txn = NULL;
    mem_free(self);
}

/* --- values ------------------------------------------------------------------------------------------------ */

static DBT bdb_dbt(struct span bytes)
{
    DBT dbt;
    memset(&dbt, 0, sizeof(dbt));
    dbt.data =
        (void *) (uintptr_t) bytes.data; /* The library does not write into what it is given. */
    dbt.size = (u_int32_t) bytes.size;
    return dbt;
}

int bdb_get(struct bdb_table *table, struct bdb_txn *txn, struct span key, struct buf *out)
{
    if (table->bdb->poisoned) {
        return ERR_POISONED;
    }
    DBT wanted = bdb_dbt(key);
    DBT found = bdb_dbt(span_make(NULL, 0)); /* The library's memory, good until the next call. */
    int error = bdb_check(
        table->bdb, table->db->get(table->db, txn != NULL ? txn->txn : NULL, &wanted, &found, 0));
    if (error != 0) {
        return error;
    }
    buf_reset(out);
    if (buf_try_reserve(out, found.size) == NULL) {
        return ERR_NO_MEMORY;
    }
    buf_append(out, span_make(found.data, found.size));
    return 0;
}

int bdb_put(struct bdb_table *table, struct bdb_txn *txn, struct span key, struct span value)
{
    INVARIANT(txn != NULL);
    INVARIANT(key.size < UINT32_MAX && value.size < UINT32_MAX);

    if (table->bdb->poisoned) {
        return ERR_POISONED;
    }
    DBT wanted = bdb_dbt(key);
    DBT content = bdb_dbt(value);
    return bdb_check(table->bdb, table->db->put(table->db, txn->txn, &wanted, &content, 0));
}

int bdb_delete(struct bdb_table *table, struct bdb_txn *txn, struct span key)
{
    INVARIANT(txn != NULL);

    if (table->bdb->poisoned) {
        return ERR_POISONED;
    }
    DBT wanted = bdb_dbt(key);
    int error = bdb_check(table->bdb, table->db->del(table->db, txn->txn, &wanted, 0));
    return error == ERR_NOT_FOUND ? 0 : error;
}

int bdb_walk(struct bdb_table *table, struct span prefix, bdb_visit_fn *visit, void *ud)
{
    struct bdb *self = table->bdb;
    if (self->poisoned) {
        return ERR_POISONED;
    }
    DBC *cursor;
    DB_TXN *txn = self->txn != NULL ? self->txn->txn : NULL;
    int error = bdb_check(self, table->db->cursor(table->db, txn, &cursor, 0));
    if (error != 0) {
        return error;
    }
    DBT key = bdb_dbt(prefix);
    DBT value = bdb_dbt(span_make(NULL, 0));
    u_int32_t move = prefix.size > 0 ? DB_SET_RANGE : DB_FIRST;
    bool stopped = false;
    int result = 0;
    while (!stopped && (result = cursor->get(cursor, &key, &value, move)) == 0) {
        struct span at = span_make(key.data, key.size);
        if (at.size < prefix.size || !span_equal(span_make(at.data, prefix.size), prefix)) {
            break;
        }
        stopped = visit(ud, at, span_make(value.data, value.size)) != 0;
        move = DB_NEXT;
    }
    error = bdb_check(self, result);
    int closed = bdb_check(self, cursor->close(cursor));
    if (error == ERR_NOT_FOUND) {
        error = 0; /* the end */
    }
    return error != 0 ? error : closed;
}

int bdb_checkpoint(struct bdb *self)
{
    if (self->poisoned) {
        return ERR_POISONED;
    }
    int error = bdb_check(self, self->env->txn_checkpoint(self->env, 0, 0, 0));
    if (error != 0) {
        return error;
    }
    error = bdb_check(self, self->env->log_archive(self->env, NULL, DB_ARCH_REMOVE));
    bdb_room_take(self->dir); /* if it was given up: the disk may have room again */
    return error;
}
