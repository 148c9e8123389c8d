/* catalog_store: what was committed comes back as the same state; what was not is as if it never had been. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <string.h>

#include "common/base/err.h"
#include "common/store/bdb.h"
#include "raftd/catalog_store.h"
#include "tests/unit/raftd/catalog_lib.h"

static const char *folder_db(void)
{
    static char path[160];
    (void) snprintf(path, sizeof(path), "%s/db", test_folder());
    return path;
}

static struct catalog_store *open_ok(const char *dir)
{
    struct catalog_store *store = NULL;
    bool rebuilt = true;
    ck_assert_int_eq(catalog_store_open(dir, 0, &rebuilt, &store), 0);
    ck_assert(!rebuilt);
    return store;
}

static void on_change(void *ud, const struct catalog_change *change)
{
    struct catalog_store **store = (struct catalog_store **) ud;
    if (*store != NULL) {
        catalog_store_put(*store, change);
    }
}

static uint64_t loaded_digest(const char *dir, uint64_t *ret_revision)
{
    struct catalog_store *store = open_ok(dir);
    struct catalog *catalog = catalog_new(NULL, NULL);
    ck_assert_int_eq(catalog_store_load(store, catalog), 0);
    *ret_revision = catalog_revision(catalog);
    uint64_t digest = catalog_digest(catalog);
    catalog_destroy(&catalog);
    catalog_store_close(&store);
    return digest;
}

TEST(a_new_store_loads_as_nothing)
{
    uint64_t revision = 1;
    (void) loaded_digest(folder_db(), &revision);
    ck_assert_uint_eq(revision, 0);
}

/* A random life, closed at random moments with or without a commit before; the log (the seed) is replayed from what was loaded. */
TEST_WITHIN(load_and_replay_give_the_state_that_was, 60)
{
    enum { LIFE = 600 };
    const char *dir = folder_db();
    struct catalog *truth = catalog_new(NULL, NULL);
    struct buf commands[LIFE + 1];
    memset(commands, 0, sizeof(commands));
    uint64_t digests[LIFE + 1];
    struct prng prng;
    prng_init(&prng, 11);
    for (uint64_t n = 1; n <= LIFE; n++) {
        command_random(&prng, n, &commands[n]);
        (void) apply(truth, &commands[n]); /* refusals are part of life */
        digests[n] = catalog_digest(truth);
    }
    uint64_t at = 0;
    while (at < LIFE) {
        struct catalog_store *store = open_ok(dir);
        struct catalog *catalog = catalog_new(on_change, &store);
        ck_assert_int_eq(catalog_store_load(store, catalog), 0);
        ck_assert_uint_eq(catalog_revision(catalog), at);
        uint64_t until = at + 1 + prng_below(&prng, 80);
        for (uint64_t n = at + 1; n <= until && n <= LIFE; n++) {
            (void) apply(catalog, &commands[n]);
            ck_assert_uint_eq(catalog_digest(catalog), digests[n]);
            if (prng_below(&prng, 20) == 0) {
                ck_assert_int_eq(catalog_store_commit(store, catalog), 0);
                ck_assert_uint_eq(catalog_store_pending(store), 0);
                at = n;
            }
        }
        if (prng_below(&prng, 4) == 0) {
            ck_assert_int_eq(catalog_store_checkpoint(store), 0);
        }
        catalog_destroy(&catalog);
        catalog_store_close(&store);
        if (at > 0) {
            uint64_t revision;
            ck_assert_uint_eq(loaded_digest(dir, &revision), digests[at]);
            ck_assert_uint_eq(revision, at);
        }
        if (until > LIFE) {
            break;
        }
    }
    ck_assert_uint_gt(at, 0);
    for (uint64_t n = 1; n <= LIFE; n++) {
        buf_release(&commands[n]);
    }
    catalog_destroy(&truth);
}

TEST(a_command_without_changes_still_moves_the_revision)
{
    const char *dir = folder_db();
    struct catalog_store *store = open_ok(dir);
    struct catalog *catalog = catalog_new(on_change, &store);
    struct buf command = {0};
    command_bootstrap(&command, 7);
    ck_assert_int_eq(apply(catalog, &command), 0);
    ck_assert_int_eq(catalog_store_commit(store, catalog), 0);
    buf_reset(&command);
    command_delete_stream(&command, "none");
    ck_assert_int_eq(apply(catalog, &command), ERR_NOT_FOUND);
    ck_assert_int_eq(catalog_store_commit(store, catalog), 0);
    ck_assert_int_eq(catalog_store_commit(store, catalog), 0);
    uint64_t digest = catalog_digest(catalog);
    catalog_destroy(&catalog);
    catalog_store_close(&store);
    uint64_t revision;
    ck_assert_uint_eq(loaded_digest(dir, &revision), digest);
    ck_assert_uint_eq(revision, 2);
    buf_release(&command);
}

TEST(clearing_leaves_nothing_and_the_store_can_be_filled_again)
{
    const char *dir = folder_db();
    struct catalog_store *store = open_ok(dir);
    struct catalog *catalog = catalog_new(on_change, &store);
    struct buf command = {0};
    char name[16];
    command_bootstrap(&command, 7);
    ck_assert_int_eq(apply(catalog, &command), 0);
    for (unsigned i = 0; i < 2500; i++) { /* more than one batch of deletions */
        buf_reset(&command);
        (void) snprintf(name, sizeof(name), "s%u", i);
        command_ensure_stream(&command, name, 1, NULL, 1);
        ck_assert_int_eq(apply(catalog, &command), 0);
    }
    ck_assert_int_eq(catalog_store_commit(store, catalog), 0);
    uint64_t digest = catalog_digest(catalog);
    catalog_store_close(&store);
    uint64_t revision;
    ck_assert_uint_eq(loaded_digest(dir, &revision), digest);

    store = open_ok(dir);
    ck_assert_int_eq(catalog_store_clear(store), 0);
    catalog_store_close(&store);
    (void) loaded_digest(dir, &revision);
    ck_assert_uint_eq(revision, 0);
    catalog_destroy(&catalog);
    buf_release(&command);
}

TEST(content_that_is_not_understood_is_told)
{
    const char *dir = folder_db();
    struct bdb *bdb;
    struct bdb_table *table;
    struct bdb_txn *txn;
    bool rebuilt;
    ck_assert_int_eq(bdb_open(dir, 0, &rebuilt, &bdb), 0);
    ck_assert_int_eq(bdb_table_open(bdb, "groups", &table), 0);
    ck_assert_int_eq(bdb_begin(bdb, &txn), 0);
    ck_assert_int_eq(bdb_put(table, txn, span_of("default/a/g"), span_of("\xff")), 0);
    ck_assert_int_eq(bdb_commit(&txn), 0);
    bdb_close(&bdb);
    struct catalog_store *store = open_ok(dir);
    struct catalog *catalog = catalog_new(NULL, NULL);
    ck_assert_int_eq(catalog_store_load(store, catalog), ERR_BAD_FORMAT);
    catalog_destroy(&catalog);
    ck_assert_int_eq(catalog_store_clear(store), 0);
    catalog = catalog_new(NULL, NULL);
    ck_assert_int_eq(catalog_store_load(store, catalog), 0);
    catalog_destroy(&catalog);
    catalog_store_close(&store);
}

static void put_packed(struct bdb *bdb, const char *table_name, const char *key,
                       const struct buf *value)
{
    struct bdb_table *table;
    struct bdb_txn *txn;
    ck_assert_int_eq(bdb_table_open(bdb, table_name, &table), 0);
    ck_assert_int_eq(bdb_begin(bdb, &txn), 0);
    ck_assert_int_eq(bdb_put(table, txn, span_of(key), buf_span(value)), 0);
    ck_assert_int_eq(bdb_commit(&txn), 0);
}

/* As version 0.1.0 left it: no table of exchanges. */
TEST(a_database_from_before_there_were_exchanges_is_taken_over)
{
    const char *dir = folder_db();
    struct catalog *truth = catalog_new(NULL, NULL);
    struct buf command = {0};
    struct buf value = {0};
    struct bdb *bdb;
    bool rebuilt;
    command_bootstrap(&command, 7);
    ck_assert_int_eq(apply(truth, &command), 0);
    buf_reset(&command);
    command_ensure_stream(&command, "a", 1, NULL, 1);
    ck_assert_int_eq(apply(truth, &command), 0);
    ck_assert_int_eq(bdb_open(dir, 0, &rebuilt, &bdb), 0);
    catalog_stream_pack(find_stream(truth, "a"), &value);
    put_packed(bdb, "streams", "default/a", &value);
    buf_reset(&value);
    catalog_pack_state(truth, &value);
    put_packed(bdb, "state", "state", &value);
    bdb_close(&bdb);

    uint64_t revision;
    ck_assert_uint_eq(loaded_digest(dir, &revision), catalog_digest(truth));
    ck_assert_uint_eq(revision, 2);
    struct catalog_store *store = open_ok(dir);
    struct catalog *catalog = catalog_new(on_change, &store);
    ck_assert_int_eq(catalog_store_load(store, catalog), 0);
    buf_reset(&command);
    command_ensure_exchange(&command, "games", "e", 1, 5);
    ck_assert_int_eq(apply(catalog, &command), 0);
    ck_assert_int_eq(catalog_store_commit(store, catalog), 0);
    uint64_t digest = catalog_digest(catalog);
    catalog_store_close(&store);
    ck_assert_uint_eq(loaded_digest(dir, &revision), digest);
    ck_assert_uint_eq(revision, 3);
    catalog_destroy(&catalog);
    catalog_destroy(&truth);
    buf_release(&command);
    buf_release(&value);
}
