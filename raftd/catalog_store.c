/* catalog_store: see the header. Owns the database and the one transaction that is open while changes gather. It must never decide
 * anything: it writes what the catalogue says. */
#include "raftd/catalog_store.h"

#include <inttypes.h>

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/store/bdb.h"

enum { STORE_CLEAR_BATCH = 1000 };

enum catalog_store_table {
    STORE_STREAMS,   /* key -> CatalogStream */
    STORE_GROUPS,    /* key -> CatalogGroup */
    STORE_EXCHANGES, /* key -> CatalogExchange */
    STORE_ENDPOINTS, /* key -> CatalogEndpoint */
    STORE_STATE,     /* "state" -> CatalogState: with the applied index */
    STORE_TABLE_COUNT
};
static const char *const catalog_store_names[STORE_TABLE_COUNT] = {"streams", "groups", "exchanges",
                                                                   "endpoints", "state"};
static const char CATALOG_STORE_STATE_KEY[] = "state";

struct catalog_store {
    struct bdb *bdb;
    struct bdb_table *tables[STORE_TABLE_COUNT];
    struct bdb_txn *txn;     /* open while there are changes */
    uint64_t pending;        /* changes in it */
    uint64_t saved_revision; /* of the last commit */
    int error;               /* the first of a put since the last commit */
    struct buf packed;       /* scratch */
    struct buf key;          /* scratch */
};

int catalog_store_open(const char *dir, uint64_t cache_bytes, bool *ret_rebuilt,
                       struct catalog_store **ret_store)
{
    struct catalog_store *self = MEM_NEW(struct catalog_store);
    bool rebuilt = false;
    int error = bdb_open(dir, cache_bytes, &rebuilt, &self->bdb);
    for (unsigned i = 0; error == 0 && i < STORE_TABLE_COUNT; i++) {
        error = bdb_table_open(self->bdb, catalog_store_names[i], &self->tables[i]);
    }
    if (error != 0) {
        catalog_store_close(&self);
        return error;
    }
    *ret_rebuilt = rebuilt;
    *ret_store = self;
    return 0;
}

void catalog_store_close(struct catalog_store **self)
{
    if (*self == NULL) {
        return;
    }
    bdb_abort(&(*self)->txn);
    bdb_close(&(*self)->bdb);
    buf_release(&(*self)->packed);
    buf_release(&(*self)->key);
    MEM_FREE(*self);
}

/* --- loading ----------------------------------------------------------------------------------------------- */

struct catalog_store_loading {
    struct catalog *catalog;
    int (*restore)(struct catalog *catalog, struct span message);
    int error;
};

static int catalog_store_load_one(void *ud, struct span key, struct span value)
{
    (void) key; /* It is in the value, too. */
    struct catalog_store_loading *loading = (struct catalog_store_loading *) ud;
    loading->error = loading->restore(loading->catalog, value);
    return loading->error;
}

int catalog_store_load(struct catalog_store *self, struct catalog *catalog)
{
    /* The state comes last: it sets the revision, after which nothing may be restored. */
    static int (*const restores[STORE_TABLE_COUNT])(struct catalog *, struct span) = {
        catalog_restore_stream, catalog_restore_group, catalog_restore_exchange,
        catalog_restore_endpoint, catalog_restore_state};
    for (unsigned i = 0; i < STORE_TABLE_COUNT; i++) {
        struct catalog_store_loading loading = {catalog, restores[i], 0};
        int error = bdb_walk(self->tables[i], span_of(""), catalog_store_load_one, &loading);
        if (error != 0 || loading.error != 0) {
            return error != 0 ? error : loading.error;
        }
    }
    bool has_objects = catalog_stream_count(catalog) != 0 || catalog_deleted_count(catalog) != 0 ||
                       catalog_group_count(catalog) != 0 || catalog_exchange_count(catalog) != 0;
    if (catalog_revision(catalog) == 0 && has_objects) {
        return ERR_BAD_FORMAT; /* objects of nobody knows when */
    }
    self->saved_revision = catalog_revision(catalog);
    return 0;
}

/* Some keys of a table, each with its length before it. */
struct catalog_store_keys {
    struct buf keys;
    unsigned count;
};

static int catalog_store_collect(void *ud, struct span key, struct span value)
{
    (void) value;
    struct catalog_store_keys *collected = (struct catalog_store_keys *) ud;
    uint8_t size[4];
    bytes_put_u32(size, (uint32_t) key.size);
    buf_append(&collected->keys, span_make(size, sizeof(size)));
    buf_append(&collected->keys, key);
    return ++collected->count == STORE_CLEAR_BATCH;
}

static int catalog_store_delete_keys(struct catalog_store *self, struct bdb_table *table,
                                     struct span keys)
{
    struct bdb_txn *txn;
    int error = bdb_begin(self->bdb, &txn);
    if (error != 0) {
        return error;
    }
    while (error == 0 && keys.size > 0) {
        uint32_t size = bytes_get_u32(keys.data);
        error = bdb_delete(table, txn, span_make(keys.data + 4, size));
        keys = span_make(keys.data + 4 + size, keys.size - 4 - size);
    }
    if (error != 0) {
        bdb_abort(&txn);
        return error;
    }
    return bdb_commit(&txn);
}

int catalog_store_clear(struct catalog_store *self)
{
    bdb_abort(&self->txn);
    self->pending = 0;
    self->saved_revision = 0;
    int error = 0;
    struct catalog_store_keys collected = {0};
    /* The state first: without it nothing else counts, should this be interrupted. */
    for (unsigned i = STORE_TABLE_COUNT; i-- > 0 && error == 0;) {
        do {
            buf_reset(&collected.keys);
            collected.count = 0;
            error = bdb_walk(self->tables[i], span_of(""), catalog_store_collect, &collected);
            if (error == 0) {
                error = catalog_store_delete_keys(self, self->tables[i], buf_span(&collected.keys));
            }
        } while (error == 0 && collected.count == STORE_CLEAR_BATCH);
    }
    buf_release(&collected.keys);
    return error;
}

/* --- saving ------------------------------------------------------------------------------------------------ */

static int catalog_store_begin(struct catalog_store *self)
{
    return self->txn != NULL ? 0 : bdb_begin(self->bdb, &self->txn);
}

/* Where an object lies: under its key, or, while its stream is deleted, under a key that cannot be given to another one. */
static struct span catalog_store_key(struct catalog_store *self, const char *key,
                                     uint64_t log_group, bool deleted)
{
    buf_reset(&self->key);
    buf_append_text(&self->key, key);
    if (deleted) {
        buf_printf(&self->key, "@%" PRIu64, log_group); /* no '@' in names */
    }
    return buf_span(&self->key);
}

static int catalog_store_put_stream(struct catalog_store *self, const struct catalog_stream *stream)
{
    buf_reset(&self->packed);
    catalog_stream_pack(stream, &self->packed);
    return bdb_put(self->tables[STORE_STREAMS], self->txn,
                   catalog_store_key(self, stream->key, stream->log_group, stream->deleted_us != 0),
                   buf_span(&self->packed));
}

static int catalog_store_remove_stream(struct catalog_store *self,
                                       const struct catalog_stream *stream, bool deleted)
{
    return bdb_delete(self->tables[STORE_STREAMS], self->txn,
                      catalog_store_key(self, stream->key, stream->log_group, deleted));
}

static int catalog_store_put_group(struct catalog_store *self, const struct catalog_group *group)
{
    const struct catalog_stream *stream = group->stream;
    buf_reset(&self->packed);
    catalog_group_pack(group, &self->packed);
    return bdb_put(self->tables[STORE_GROUPS], self->txn,
                   catalog_store_key(self, group->key, stream->log_group, stream->deleted_us != 0),
                   buf_span(&self->packed));
}

static int catalog_store_remove_group(struct catalog_store *self, const struct catalog_group *group,
                                      bool deleted)
{
    return bdb_delete(self->tables[STORE_GROUPS], self->txn,
                      catalog_store_key(self, group->key, group->stream->log_group, deleted));
}

/* A stream was deleted or undeleted: it and its groups lie elsewhere now. */
static int catalog_store_move(struct catalog_store *self, const struct catalog_stream *stream)
{
    bool was_deleted = stream->deleted_us == 0;
    int error = catalog_store_remove_stream(self, stream, was_deleted);
    if (error == 0) {
        error = catalog_store_put_stream(self, stream);
    }
    LIST_FOREACH (&stream->groups, node) {
        const struct catalog_group *group = LIST_ENTRY(node, struct catalog_group, link);
        if (error == 0) {
            error = catalog_store_remove_group(self, group, was_deleted);
        }
        if (error == 0) {
            error = catalog_store_put_group(self, group);
        }
    }
    return error;
}

static int catalog_store_write(struct catalog_store *self, const struct catalog_change *change)
{
    int error = catalog_store_begin(self);
    if (error != 0) {
        return error;
    }
    buf_reset(&self->packed);
    switch (change->kind) {
    case CATALOG_STREAM_PUT:
        return catalog_store_put_stream(self, change->stream);
    case CATALOG_STREAM_BURIED:
    case CATALOG_STREAM_DUG_OUT:
        return catalog_store_move(self, change->stream);
    case CATALOG_STREAM_GONE:
        return catalog_store_remove_stream(self, change->stream, change->stream->deleted_us != 0);
    case CATALOG_GROUP_PUT:
        return catalog_store_put_group(self, change->group);
    case CATALOG_GROUP_GONE:
        return catalog_store_remove_group(self, change->group,
                                          change->group->stream->deleted_us != 0);
    case CATALOG_EXCHANGE_PUT:
        catalog_exchange_pack(change->exchange, &self->packed);
        return bdb_put(self->tables[STORE_EXCHANGES], self->txn, span_of(change->exchange->key),
                       buf_span(&self->packed));
    case CATALOG_EXCHANGE_GONE:
        return bdb_delete(self->tables[STORE_EXCHANGES], self->txn, span_of(change->exchange->key));
    case CATALOG_ENDPOINT_PUT:
        catalog_endpoint_pack(change->endpoint, &self->packed);
        return bdb_put(self->tables[STORE_ENDPOINTS], self->txn, span_of(change->endpoint->key),
                       buf_span(&self->packed));
    }
    return 0;
}

void catalog_store_put(struct catalog_store *self, const struct catalog_change *change)
{
    if (self->error == 0) {
        self->error = catalog_store_write(self, change);
        self->pending++;
    }
}

int catalog_store_commit(struct catalog_store *self, const struct catalog *catalog)
{
    if (self->error != 0) {
        return self->error;
    }
    if (self->saved_revision == catalog_revision(catalog)) {
        return 0;
    }
    self->error = catalog_store_begin(self);
    if (self->error == 0) {
        buf_reset(&self->packed);
        catalog_pack_state(catalog, &self->packed);
        self->error = bdb_put(self->tables[STORE_STATE], self->txn,
                              span_of(CATALOG_STORE_STATE_KEY), buf_span(&self->packed));
    }
    if (self->error == 0) {
        self->error = bdb_commit(&self->txn);
    }
    if (self->error == 0) {
        self->pending = 0;
        self->saved_revision = catalog_revision(catalog);
    }
    return self->error;
}

uint64_t catalog_store_pending(const struct catalog_store *self)
{
    return self->pending;
}

int catalog_store_checkpoint(struct catalog_store *self)
{
    return bdb_checkpoint(self->bdb);
}

const char *catalog_store_problem(const struct catalog_store *self)
{
    return bdb_problem(self->bdb);
}
