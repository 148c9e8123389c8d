/* bdb: what survives kill -9, what is moved aside, what is refused. */
#include "tests/lib/test.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/rand.h"
#include "common/store/bdb.h"

static struct bdb *open_ok(const char *dir)
{
    struct bdb *bdb = NULL;
    bool rebuilt = true;
    ck_assert_int_eq(bdb_open(dir, 0, &rebuilt, &bdb), 0);
    ck_assert(!rebuilt);
    return bdb;
}

static struct bdb *open_rebuilt(const char *dir)
{
    struct bdb *bdb = NULL;
    bool rebuilt = false;
    ck_assert_int_eq(bdb_open(dir, 0, &rebuilt, &bdb), 0);
    ck_assert(rebuilt);
    return bdb;
}

static struct bdb_table *table_ok(struct bdb *bdb, const char *name)
{
    struct bdb_table *table = NULL;
    ck_assert_int_eq(bdb_table_open(bdb, name, &table), 0);
    return table;
}

static void put_ok(struct bdb *bdb, struct bdb_table *table, const char *key, const char *value)
{
    struct bdb_txn *txn;
    ck_assert_int_eq(bdb_begin(bdb, &txn), 0);
    ck_assert_int_eq(bdb_put(table, txn, span_of(key), span_of(value)), 0);
    ck_assert_int_eq(bdb_commit(&txn), 0);
    ck_assert_ptr_null(txn);
}

static void check_value(struct bdb_table *table, struct bdb_txn *txn, const char *key,
                        const char *value)
{
    struct buf out = {0};
    buf_append_text(&out, "old content");
    int error = bdb_get(table, txn, span_of(key), &out);
    if (value == NULL) {
        ck_assert_int_eq(error, ERR_NOT_FOUND);
    } else {
        ck_assert_int_eq(error, 0);
        ck_assert(span_is(buf_span(&out), value));
    }
    buf_release(&out);
}

static const char *folder_db(void)
{
    static char path[160];
    (void) snprintf(path, sizeof(path), "%s/db", test_folder());
    return path;
}

/* How many entries of the directory's parent begin with "<name of dir>.bad-"? */
static unsigned bad_count(const char *dir)
{
    char parent[160];
    (void) snprintf(parent, sizeof(parent), "%s/..", dir);
    char prefix[64];
    (void) snprintf(prefix, sizeof(prefix), "%s.bad-", strrchr(dir, '/') + 1);
    DIR *list = opendir(parent);
    ck_assert_ptr_nonnull(list);
    unsigned count = 0;
    struct dirent *entry;
    while ((entry = readdir(list)) != NULL) {
        count += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    }
    (void) closedir(list);
    return count;
}

static unsigned log_count(const char *dir)
{
    DIR *list = opendir(dir);
    ck_assert_ptr_nonnull(list);
    unsigned count = 0;
    struct dirent *entry;
    while ((entry = readdir(list)) != NULL) {
        count += strncmp(entry->d_name, "log.", 4) == 0;
    }
    (void) closedir(list);
    return count;
}

TEST(a_committed_value_is_read_back_also_after_reopening)
{
    const char *dir = folder_db();
    struct bdb *bdb = open_ok(dir);
    struct bdb_table *table = table_ok(bdb, "streams");
    put_ok(bdb, table, "a", "1");
    put_ok(bdb, table, "a", "2");
    put_ok(bdb, table, "empty", "");
    check_value(table, NULL, "a", "2");
    check_value(table, NULL, "b", NULL);
    bdb_close(&bdb);
    ck_assert_ptr_null(bdb);

    bdb = open_ok(dir);
    table = table_ok(bdb, "streams");
    ck_assert_ptr_eq(table, table_ok(bdb, "streams"));
    check_value(table, NULL, "a", "2");
    check_value(table, NULL, "empty", "");
    bdb_close(&bdb);
    bdb_close(&bdb); /* nothing to close is fine */
}

TEST(an_aborted_transaction_leaves_nothing_and_a_read_without_one_sees_what_is_open)
{
    struct bdb *bdb = open_ok(folder_db());
    struct bdb_table *table = table_ok(bdb, "streams");
    put_ok(bdb, table, "kept", "1");
    struct bdb_txn *txn;
    ck_assert_int_eq(bdb_begin(bdb, &txn), 0);
    ck_assert_int_eq(bdb_put(table, txn, span_of("kept"), span_of("2")), 0);
    ck_assert_int_eq(bdb_put(table, txn, span_of("new"), span_of("2")), 0);
    check_value(table, txn, "new", "2");
    check_value(table, NULL, "new", "2");
    bdb_abort(&txn);
    ck_assert_ptr_null(txn);
    bdb_abort(&txn);
    check_value(table, NULL, "kept", "1");
    check_value(table, NULL, "new", NULL);
    bdb_close(&bdb);
}

TEST(closing_aborts_what_is_open)
{
    const char *dir = folder_db();
    struct bdb *bdb = open_ok(dir);
    struct bdb_table *table = table_ok(bdb, "streams");
    struct bdb_txn *txn;
    ck_assert_int_eq(bdb_begin(bdb, &txn), 0);
    ck_assert_int_eq(bdb_put(table, txn, span_of("new"), span_of("2")), 0);
    bdb_close(&bdb);
    bdb = open_ok(dir);
    check_value(table_ok(bdb, "streams"), NULL, "new", NULL);
    bdb_close(&bdb);
}

TEST(deleting_an_absent_key_is_no_error)
{
    struct bdb *bdb = open_ok(folder_db());
    struct bdb_table *table = table_ok(bdb, "streams");
    put_ok(bdb, table, "a", "1");
    struct bdb_txn *txn;
    ck_assert_int_eq(bdb_begin(bdb, &txn), 0);
    ck_assert_int_eq(bdb_delete(table, txn, span_of("a")), 0);
    ck_assert_int_eq(bdb_delete(table, txn, span_of("a")), 0);
    ck_assert_int_eq(bdb_commit(&txn), 0);
    check_value(table, NULL, "a", NULL);
    bdb_close(&bdb);
}

struct walked {
    char keys[256];
    int stop_after;
};

static int walk_one(void *ud, struct span key, struct span value)
{
    struct walked *walked = (struct walked *) ud;
    size_t used = strlen(walked->keys);
    (void) snprintf(walked->keys + used, sizeof(walked->keys) - used, "%.*s=%.*s ", (int) key.size,
                    (const char *) key.data, (int) value.size, (const char *) value.data);
    return --walked->stop_after == 0;
}

TEST(a_walk_visits_one_prefix_in_byte_order_until_it_is_stopped)
{
    struct bdb *bdb = open_ok(folder_db());
    struct bdb_table *table = table_ok(bdb, "streams");
    struct walked none = {.stop_after = 99};
    ck_assert_int_eq(bdb_walk(table, span_of(""), walk_one, &none), 0);
    ck_assert_str_eq(none.keys, "");
    put_ok(bdb, table, "b/2", "y");
    put_ok(bdb, table, "a", "0");
    put_ok(bdb, table, "b/10", "x");
    put_ok(bdb, table, "c", "9");
    struct walked all = {.stop_after = 99};
    ck_assert_int_eq(bdb_walk(table, span_of(""), walk_one, &all), 0);
    ck_assert_str_eq(all.keys, "a=0 b/10=x b/2=y c=9 ");
    struct walked some = {.stop_after = 99};
    ck_assert_int_eq(bdb_walk(table, span_of("b/"), walk_one, &some), 0);
    ck_assert_str_eq(some.keys, "b/10=x b/2=y ");
    struct walked one = {.stop_after = 1};
    ck_assert_int_eq(bdb_walk(table, span_of("b/"), walk_one, &one), 0);
    ck_assert_str_eq(one.keys, "b/10=x ");
    struct walked last = {.stop_after = 99};
    ck_assert_int_eq(bdb_walk(table, span_of("d"), walk_one, &last), 0);
    ck_assert_str_eq(last.keys, "");
    bdb_close(&bdb);
}

/* The child commits transaction after transaction: each writes 20 keys and the number of the transaction, like a daemon its applied
 * index. It tells the parent of each commit, and never ends by itself. */
enum { CHILD_KEYS = 20 };

_Noreturn static void child_commit_for_ever(const char *dir, int progress, bool checkpoints)
{
    struct bdb *bdb;
    bool rebuilt;
    if (bdb_open(dir, 0, &rebuilt, &bdb) != 0 || rebuilt) {
        _exit(1);
    }
    struct bdb_table *table;
    struct bdb_table *applied;
    struct buf out = {0};
    if (bdb_table_open(bdb, "data", &table) != 0 || bdb_table_open(bdb, "applied", &applied) != 0) {
        _exit(2);
    }
    uint64_t n = 0;
    if (bdb_get(applied, NULL, span_of("n"), &out) == 0) {
        n = bytes_get_u64(out.data);
    }
    for (;;) {
        struct bdb_txn *txn;
        uint8_t number[8];
        n++;
        bytes_put_u64(number, n);
        if (bdb_begin(bdb, &txn) != 0) {
            _exit(3);
        }
        for (uint64_t i = 0; i < CHILD_KEYS; i++) {
            char key[32];
            (void) snprintf(key, sizeof(key), "%llu", (unsigned long long) ((n * 7 + i) % 1000));
            if (bdb_put(table, txn, span_of(key), span_make(number, sizeof(number))) != 0) {
                _exit(4);
            }
        }
        if (bdb_put(applied, txn, span_of("n"), span_make(number, sizeof(number))) != 0) {
            _exit(5);
        }
        if (bdb_commit(&txn) != 0 || write(progress, number, sizeof(number)) < 0) {
            _exit(6);
        }
        if (checkpoints && n % 16 == 0 && bdb_checkpoint(bdb) != 0) {
            _exit(7);
        }
    }
}

/* After the kill: exactly the first n transactions, n at least what was reported. */
static uint64_t check_state(const char *dir, uint64_t n_min)
{
    struct bdb *bdb = open_ok(dir);
    struct bdb_table *table = table_ok(bdb, "data");
    struct bdb_table *applied = table_ok(bdb, "applied");
    struct buf out = {0};
    uint64_t expected[1000] = {0};
    uint64_t n = 0;
    if (bdb_get(applied, NULL, span_of("n"), &out) == 0) {
        n = bytes_get_u64(out.data);
    }
    ck_assert_uint_ge(n, n_min);
    for (uint64_t i = 1; i <= n; i++) {
        for (uint64_t k = 0; k < CHILD_KEYS; k++) {
            expected[(i * 7 + k) % 1000] = i;
        }
    }
    for (unsigned i = 0; i < 1000; i++) {
        char key[32];
        (void) snprintf(key, sizeof(key), "%u", i);
        int error = bdb_get(table, NULL, span_of(key), &out);
        if (expected[i] == 0) {
            ck_assert_int_eq(error, ERR_NOT_FOUND);
        } else {
            ck_assert_int_eq(error, 0);
            ck_assert_uint_eq(bytes_get_u64(out.data), expected[i]);
        }
    }
    buf_release(&out);
    bdb_close(&bdb);
    return n;
}

static void kill_in_commits(bool checkpoints)
{
    const char *dir = folder_db();
    struct prng prng;
    prng_init(&prng, 7);
    uint64_t n = 0;
    for (unsigned round = 0; round < 8; round++) {
        int progress[2];
        ck_assert_int_eq(pipe(progress), 0);
        pid_t child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0) {
            (void) close(progress[0]);
            child_commit_for_ever(dir, progress[1], checkpoints);
        }
        (void) close(progress[1]);
        uint8_t number[8];
        uint64_t wanted = n + 1 + prng_below(&prng, 100);
        uint64_t seen = n;
        while (seen < wanted && read(progress[0], number, sizeof(number)) == sizeof(number)) {
            seen = bytes_get_u64(number);
        }
        ck_assert_int_eq(kill(child, SIGKILL), 0);
        int status;
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert(WIFSIGNALED(status)); /* it did not end by an error of its own */
        (void) close(progress[0]);
        n = check_state(dir, seen);
    }
    ck_assert_uint_eq(bad_count(dir), 0);
}

TEST_WITHIN(after_kill_9_every_commit_is_whole_and_none_that_was_reported_is_missing, 60)
{
    kill_in_commits(false);
}

TEST_WITHIN(the_same_with_checkpoints_in_between, 60)
{
    kill_in_commits(true);
}

TEST(after_kill_9_an_open_transaction_is_gone)
{
    const char *dir = folder_db();
    int progress[2];
    ck_assert_int_eq(pipe(progress), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        struct bdb *bdb = open_ok(dir);
        struct bdb_table *table = table_ok(bdb, "streams");
        put_ok(bdb, table, "a", "1");
        struct bdb_txn *txn;
        ck_assert_int_eq(bdb_begin(bdb, &txn), 0);
        ck_assert_int_eq(bdb_put(table, txn, span_of("a"), span_of("2")), 0);
        ck_assert_int_eq(bdb_put(table, txn, span_of("b"), span_of("2")), 0);
        ck_assert_int_eq(bdb_checkpoint(bdb), 0); /* the open transaction's pages reach the files */
        (void) !write(progress[1], "x", 1);
        for (;;) {
            (void) pause();
        }
    }
    (void) close(progress[1]);
    char byte;
    ck_assert_int_eq(read(progress[0], &byte, 1), 1);
    (void) kill(child, SIGKILL);
    (void) waitpid(child, NULL, 0);
    struct bdb *bdb = open_ok(dir);
    struct bdb_table *table = table_ok(bdb, "streams");
    check_value(table, NULL, "a", "1");
    check_value(table, NULL, "b", NULL);
    bdb_close(&bdb);
}

static void overwrite(const char *dir, const char *file, off_t position, size_t size)
{
    char path[256];
    (void) snprintf(path, sizeof(path), "%s/%s", dir, file);
    int fd = open(path, O_RDWR);
    ck_assert_int_ge(fd, 0);
    for (size_t i = 0; i < size; i++) {
        ck_assert_int_eq(pwrite(fd, "\xa5", 1, position + (off_t) i), 1);
    }
    (void) close(fd);
}

static void check_damage_is_moved_aside(const char *dir)
{
    test_allow_leaks();
    struct bdb *bdb = open_rebuilt(dir);
    struct bdb_table *table = table_ok(bdb, "streams");
    check_value(table, NULL, "a", NULL);
    put_ok(bdb, table, "a", "again");
    bdb_close(&bdb);
    ck_assert_uint_eq(bad_count(dir), 1);
    bdb = open_ok(dir);
    check_value(table_ok(bdb, "streams"), NULL, "a", "again");
    bdb_close(&bdb);
}

static const char *made_with_one_value(void)
{
    const char *dir = folder_db();
    struct bdb *bdb = open_ok(dir);
    put_ok(bdb, table_ok(bdb, "streams"), "a", "1");
    bdb_close(&bdb);
    return dir;
}

TEST(a_damaged_table_head_is_moved_aside)
{
    const char *dir = made_with_one_value();
    overwrite(dir, "streams.db", 100, 8); /* the checksum of the head no longer holds */
    check_damage_is_moved_aside(dir);
}

TEST(a_table_that_is_not_one_is_moved_aside)
{
    const char *dir = made_with_one_value();
    char path[256];
    (void) snprintf(path, sizeof(path), "%s/streams.db", dir);
    ck_assert_int_eq(truncate(path, 0), 0);
    check_damage_is_moved_aside(dir);
}

TEST(a_damaged_log_is_moved_aside)
{
    const char *dir = made_with_one_value();
    overwrite(dir, "log.0000000001", 0, 200);
    check_damage_is_moved_aside(dir);
}

TEST(tables_whose_log_is_gone_are_moved_aside)
{
    const char *dir = made_with_one_value();
    char path[256];
    (void) snprintf(path, sizeof(path), "%s/log.0000000001", dir);
    ck_assert_int_eq(unlink(path), 0);
    check_damage_is_moved_aside(dir);
}

TEST(a_damaged_page_is_never_read_as_data_and_the_next_opening_starts_anew)
{
    const char *dir = made_with_one_value();
    overwrite(dir, "streams.db", 4096 + 4000, 8); /* inside the root page: DB_CHKSUM finds it */
    struct bdb *bdb = open_ok(dir);
    struct bdb_table *table = table_ok(bdb, "streams");
    struct buf out = {0};
    int error = bdb_get(table, NULL, span_of("a"), &out);
    ck_assert_int_ne(error, 0);
    ck_assert_int_ne(error, ERR_NOT_FOUND);
    ck_assert_str_ne(bdb_problem(bdb), "");
    ck_assert_int_eq(bdb_get(table, NULL, span_of("b"), &out), ERR_POISONED);
    struct bdb_txn *txn;
    ck_assert_int_eq(bdb_begin(bdb, &txn), ERR_POISONED);
    ck_assert_int_eq(bdb_checkpoint(bdb), ERR_POISONED);
    bdb_close(&bdb);
    buf_release(&out);
    check_damage_is_moved_aside(dir);
}

TEST(a_db_config_is_refused)
{
    const char *dir = made_with_one_value();
    char path[256];
    (void) snprintf(path, sizeof(path), "%s/DB_CONFIG", dir);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    ck_assert_int_ge(fd, 0);
    (void) close(fd);
    struct bdb *bdb = NULL;
    bool rebuilt;
    ck_assert_int_eq(bdb_open(dir, 0, &rebuilt, &bdb), ERR_BAD_FORMAT);
    ck_assert_ptr_null(bdb);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(symlink("/nonexistent", path), 0);
    ck_assert_int_eq(bdb_open(dir, 0, &rebuilt, &bdb), ERR_BAD_FORMAT);
    ck_assert_int_eq(unlink(path), 0);
    bdb = open_ok(dir);
    check_value(table_ok(bdb, "streams"), NULL, "a", "1");
    bdb_close(&bdb);
}

TEST(the_environment_variables_of_the_library_mean_nothing)
{
    const char *elsewhere = test_folder();
    char other[160];
    (void) snprintf(other, sizeof(other), "%s", elsewhere);
    ck_assert_int_eq(setenv("DB_HOME", other, 1), 0);
    ck_assert_int_eq(setenv("TMPDIR", other, 1), 0);
    const char *dir = made_with_one_value();
    DIR *list = opendir(other);
    ck_assert_ptr_nonnull(list);
    struct dirent *entry;
    while ((entry = readdir(list)) != NULL) {
        ck_assert_int_eq(entry->d_name[0], '.');
    }
    (void) closedir(list);
    struct bdb *bdb = open_ok(dir);
    check_value(table_ok(bdb, "streams"), NULL, "a", "1");
    bdb_close(&bdb);
}

TEST(a_second_opener_is_refused)
{
    const char *dir = folder_db();
    struct bdb *bdb = open_ok(dir);
    struct bdb *second = NULL;
    bool rebuilt;
    ck_assert_int_eq(bdb_open(dir, 0, &rebuilt, &second), ERR_LOCKED);
    ck_assert_ptr_null(second);
    bdb_close(&bdb);
    bdb = open_ok(dir);
    bdb_close(&bdb);
}

TEST(nobody_else_may_read_the_files)
{
    const char *dir = made_with_one_value();
    struct stat info;
    ck_assert_int_eq(stat(dir, &info), 0);
    ck_assert_uint_eq(info.st_mode & 0777, 0700);
    DIR *list = opendir(dir);
    ck_assert_ptr_nonnull(list);
    struct dirent *entry;
    while ((entry = readdir(list)) != NULL) {
        ck_assert_int_eq(fstatat(dirfd(list), entry->d_name, &info, 0), 0);
        if (S_ISREG(info.st_mode)) {
            ck_assert_uint_eq(info.st_mode & 0077, 0);
        }
    }
    (void) closedir(list);
}

TEST_WITHIN(a_checkpoint_removes_log_files_that_are_not_needed, 30)
{
    const char *dir = folder_db();
    struct bdb *bdb = open_ok(dir);
    struct bdb_table *table = table_ok(bdb, "streams");
    char value[4001];
    memset(value, 'v', 4000);
    value[4000] = '\0';
    unsigned most = 0;
    for (unsigned i = 0; i < 6000; i++) { /* some 24 MB through a log of 1 MiB files */
        char key[16];
        (void) snprintf(key, sizeof(key), "%u", i % 100);
        put_ok(bdb, table, key, value);
        if (i % 1000 == 999) {
            most = log_count(dir) > most ? log_count(dir) : most;
        }
    }
    ck_assert_uint_ge(most, 4);
    ck_assert_int_eq(bdb_checkpoint(bdb), 0);
    ck_assert_uint_le(log_count(dir), 2);
    bdb_close(&bdb);
}

TEST(room_on_the_disk_is_held_back_and_stays_when_damage_is_moved_aside)
{
    const char *dir = made_with_one_value();
    char path[256];
    struct stat info;
    (void) snprintf(path, sizeof(path), "%s/room", dir);
    ck_assert_int_eq(stat(path, &info), 0);
    ck_assert_int_ge(info.st_size, 4 << 20);
    ck_assert_int_ge(info.st_blocks * 512, 4 << 20);
    ino_t before = info.st_ino;
    overwrite(dir, "log.0000000001", 0, 200);
    check_damage_is_moved_aside(dir);
    ck_assert_int_eq(stat(path, &info), 0);
    ck_assert_uint_eq(info.st_ino, before);
}
