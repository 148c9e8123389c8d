/* ids_spill: writing runs of message IDs into the database, and deleting them, a piece each turn. Owns the one run that is being written. Its IDs stay in memory
 * until it is complete. */
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/store/bdb.h"
#include "logd/ids_cold.h"
#include "logd/ids_run.h"
#include "logd/stream_body.h"

enum {
    SPILL_IDS_MAX = 256 << 10,
    SPILL_BLOCK_IDS = 100,
    SPILL_BLOCKS_PER_TURN = 64,
    SPILL_AHEAD = 2, /* IDs written for each that came meanwhile */
    FILTER_PIECE = 64 << 10,
    HEAD_VERSION = 1,
    HEAD_SIZE = 32 + 16 * (IDS_RUN_STEPS + 1),
};

enum head_state { HEAD_WRITING, HEAD_COMPLETE, HEAD_DELETING };

struct spill {
    struct ids *ids;
    struct ids_run *run;
    struct ids_entry *entries;
    uint32_t *order;  /* of the entries, by block */
    uint32_t *starts; /* of each block in `order`, and the end */
    uint32_t block;   /* the next */
    uint64_t end;     /* place in memory behind the last of them */
};

struct ids_drop {
    struct list link;
    uint64_t log_group;
    uint64_t number;
    uint32_t block;
    uint32_t blocks;
    uint32_t pieces;
    struct buf head;
};

/* --- the head --- */

static void head_encode(const struct ids_run *run, enum head_state state, struct buf *out)
{
    uint8_t head[HEAD_SIZE] = {HEAD_VERSION, (uint8_t) state, (uint8_t) run->bits};
    bytes_put_u64(head + 8, run->count);
    bytes_put_u64(head + 16, run->upto);
    bytes_put_u64(head + 24, run->filter_bytes);
    for (size_t i = 0; i <= IDS_RUN_STEPS; i++) {
        bytes_put_u64(head + 32 + 16 * i, run->steps[i].offset);
        bytes_put_u64(head + 40 + 16 * i, run->steps[i].ts_us);
    }
    buf_reset(out);
    buf_append(out, span_make(head, sizeof(head)));
}

/* false: it is not one. */
static bool head_decode(struct span head, struct ids_run *run, enum head_state *ret_state)
{
    if (head.size != HEAD_SIZE || head.data[0] != HEAD_VERSION || head.data[1] > HEAD_DELETING ||
        head.data[2] > 31) {
        return false;
    }
    *ret_state = (enum head_state) head.data[1];
    run->bits = head.data[2];
    run->count = bytes_get_u64(head.data + 8);
    run->upto = bytes_get_u64(head.data + 16);
    run->filter_bytes = bytes_get_u64(head.data + 24);
    for (size_t i = 0; i <= IDS_RUN_STEPS; i++) {
        run->steps[i].offset = bytes_get_u64(head.data + 32 + 16 * i);
        run->steps[i].ts_us = bytes_get_u64(head.data + 40 + 16 * i);
    }
    return run->count <= SPILL_IDS_MAX && run->filter_bytes == ids_filter_bytes(run->count);
}

static uint32_t filter_pieces(size_t bytes)
{
    return (uint32_t) ((bytes + FILTER_PIECE - 1) / FILTER_PIECE);
}

/* --- lists --- */

void ids_run_add(struct ids *ids, struct ids_run *run)
{
    list_push_back(&ids->runs, &run->link);
    ids->cold_count += ids_run_alive(run);
    ids->cold_memory += sizeof(*run) + run->filter_bytes;
    ids->cold_upto = run->upto > ids->cold_upto ? run->upto : ids->cold_upto;
    ids->next_run = run->number >= ids->next_run ? run->number + 1 : ids->next_run;
}

static void drop_add(struct ids_pool *pool, uint64_t log_group, const struct ids_run *run)
{
    struct ids_drop *drop = MEM_NEW(struct ids_drop);
    drop->log_group = log_group;
    drop->number = run->number;
    drop->blocks = UINT32_C(1) << run->bits;
    drop->pieces = filter_pieces(run->filter_bytes);
    head_encode(run, HEAD_DELETING, &drop->head);
    list_init(&drop->link);
    list_push_back(&pool->drops, &drop->link);
    if (pool->logd->recovered) {
        loop_wake(pool->logd->loop);
    }
}

static void drop_free(struct ids_drop *drop)
{
    list_remove(&drop->link);
    buf_release(&drop->head);
    mem_free(drop);
}

void ids_run_drop(struct ids *ids, struct ids_run *run)
{
    drop_add(ids->pool, stream_log_group(ids->stream), run);
    ids->cold_count -= ids_run_alive(run);
    ids->cold_memory -= sizeof(*run) + run->filter_bytes;
    ids_run_free(run);
}

/* --- writing --- */

static void spill_free(struct ids_pool *pool)
{
    struct spill *spill = pool->spill;
    mem_free(spill->entries);
    mem_free(spill->order);
    mem_free(spill->starts);
    MEM_FREE(pool->spill);
}

void ids_spill_cancel(struct ids *ids)
{
    struct ids_pool *pool = ids->pool;
    if (pool->spill == NULL || pool->spill->ids != ids) {
        return;
    }
    struct ids_run *run = pool->spill->run;
    drop_add(pool, stream_log_group(ids->stream), run);
    ids_run_free(run);
    spill_free(pool);
}

/* The oldest that are committed and lie below `upto`, in order. */
static uint32_t spill_gather(struct spill *spill, uint64_t upto)
{
    struct ids *ids = spill->ids;
    uint64_t committed = ids->stream->next_offset;
    uint64_t cursor = 0;
    uint64_t place = 0;
    uint32_t count = 0;
    uint64_t most = ids_hot_count(ids->hot);
    most = most < SPILL_IDS_MAX ? most : (uint64_t) SPILL_IDS_MAX;
    struct ids_entry entry;
    spill->entries = mem_new_array(most, sizeof(*spill->entries));
    while (count < most && ids_hot_next(ids->hot, &cursor, &entry) && entry.offset < committed &&
           (entry.offset < upto || count < most / 2)) {
        spill->entries[count++] = entry;
        place = cursor;
        if (entry.offset >= spill->run->upto) {
            spill->run->upto = entry.offset + 1;
        }
    }
    spill->end = place;
    return count;
}

static void spill_sort(struct spill *spill, uint32_t count)
{
    struct ids_run *run = spill->run;
    uint32_t blocks = UINT32_C(1) << run->bits;
    spill->order = mem_new_array(count, sizeof(*spill->order));
    spill->starts = mem_new_array((size_t) blocks + 2, sizeof(*spill->starts));
    for (uint32_t i = 0; i < count; i++) {
        spill->starts[ids_block_of(&spill->entries[i].key, run->bits) + 2]++;
        ids_filter_add(run->filter, run->filter_bytes, &spill->entries[i].key);
    }
    for (uint32_t i = 2; i < blocks + 2; i++) {
        spill->starts[i] += spill->starts[i - 1];
    }
    for (uint32_t i = 0; i < count; i++) {
        spill->order[spill->starts[ids_block_of(&spill->entries[i].key, run->bits) + 1]++] = i;
    }
}

static void run_set_steps(struct ids_run *run, const struct ids_entry *entries)
{
    uint64_t offset = 0;
    uint64_t done = 0;
    for (size_t i = 0; i <= IDS_RUN_STEPS; i++) {
        uint64_t end = run->count * i / IDS_RUN_STEPS;
        for (; done < end;
             done++) { /* an old ID whose time began anew may stand among newer ones */
            offset = entries[done].offset > offset ? entries[done].offset : offset;
        }
        const struct ids_entry *last = &entries[end > 0 ? end - 1 : 0];
        run->steps[i] = (struct ids_step){offset, last->ts_us};
    }
}

bool ids_cold_begin(struct ids *ids, uint64_t upto)
{
    struct ids_pool *pool = ids->pool;
    if (pool->spill != NULL || pool->bdb == NULL) {
        return false;
    }
    struct spill *spill = MEM_NEW(struct spill);
    struct ids_run *run = MEM_NEW(struct ids_run);
    list_init(&run->link);
    run->number = ids->next_run;
    spill->ids = ids;
    spill->run = run;
    pool->spill = spill;
    uint32_t count = spill_gather(spill, upto);
    if (count == 0) {
        ids_run_free(run);
        spill_free(pool);
        return false;
    }
    ids->next_run++;
    run->count = count;
    while ((UINT32_C(1) << run->bits) * SPILL_BLOCK_IDS < count) {
        run->bits++;
    }
    run->filter_bytes = ids_filter_bytes(count);
    run->filter = mem_new(run->filter_bytes);
    run_set_steps(run, spill->entries);
    spill_sort(spill, count);
    return true;
}

static int spill_put_head(struct ids_pool *pool, struct bdb_txn *txn, enum head_state state)
{
    const struct spill *spill = pool->spill;
    uint8_t key[IDS_RUN_KEY_SIZE];
    uint64_t log_group = stream_log_group(spill->ids->stream);
    head_encode(spill->run, state, &pool->block);
    return bdb_put(pool->runs, txn, ids_run_key(key, log_group, spill->run->number, 0),
                   buf_span(&pool->block));
}

static int spill_put_filter(struct ids_pool *pool, struct bdb_txn *txn)
{
    const struct ids_run *run = pool->spill->run;
    uint64_t log_group = stream_log_group(pool->spill->ids->stream);
    int error = 0;
    for (uint32_t i = 0; error == 0 && i < filter_pieces(run->filter_bytes); i++) {
        uint8_t key[IDS_RUN_KEY_SIZE];
        size_t at = (size_t) i * FILTER_PIECE;
        size_t size =
            run->filter_bytes - at < FILTER_PIECE ? run->filter_bytes - at : (size_t) FILTER_PIECE;
        error = bdb_put(pool->runs, txn, ids_run_key(key, log_group, run->number, i + 1),
                        span_make(run->filter + at, size));
    }
    return error;
}

static int spill_put_block(struct ids_pool *pool, struct bdb_txn *txn, uint32_t block)
{
    const struct spill *spill = pool->spill;
    uint8_t key[IDS_RUN_KEY_SIZE];
    buf_reset(&pool->block);
    for (uint32_t i = spill->starts[block]; i < spill->starts[block + 1]; i++) {
        ids_block_append(&pool->block, &spill->entries[spill->order[i]]);
    }
    if (pool->block.size == 0) {
        return 0;
    }
    uint64_t log_group = stream_log_group(spill->ids->stream);
    return bdb_put(pool->blocks, txn, ids_run_key(key, log_group, spill->run->number, block),
                   buf_span(&pool->block));
}

static int spill_write(struct ids_pool *pool, struct bdb_txn *txn, uint64_t blocks)
{
    struct spill *spill = pool->spill;
    uint32_t all = UINT32_C(1) << spill->run->bits;
    int error = spill->block == 0 ? spill_put_head(pool, txn, HEAD_WRITING) : 0;
    for (uint64_t i = 0; error == 0 && i < blocks && spill->block < all; i++) {
        error = spill_put_block(pool, txn, spill->block++);
    }
    if (error == 0 && spill->block == all) {
        error = spill_put_filter(pool, txn);
        error = error == 0 ? spill_put_head(pool, txn, HEAD_COMPLETE) : error;
    }
    return error;
}

/* It is complete: what it holds leaves the memory. */
static void spill_end(struct ids_pool *pool)
{
    struct spill *spill = pool->spill;
    struct ids *ids = spill->ids;
    ids_run_add(ids, spill->run);
    ids_hot_pop_to(ids->hot, spill->end);
    spill_free(pool);
    ids_account(ids);
    if (pool->logd->recovered) {
        stream_mark_unsaved(ids->stream, STREAM_UNSAVED_OFFSETS);
    }
}

/* 0, or an error of the database. */
static int spill_step(struct ids_pool *pool, uint64_t blocks)
{
    struct bdb_txn *txn = NULL;
    int error = bdb_begin(pool->bdb, &txn);
    if (error == 0) {
        error = spill_write(pool, txn, blocks);
    }
    if (error == 0) {
        error = bdb_commit(&txn);
    }
    if (error != 0) {
        bdb_abort(&txn);
        return error;
    }
    if (pool->spill->block == UINT32_C(1) << pool->spill->run->bits) {
        spill_end(pool);
    }
    return 0;
}

/* --- deleting --- */

static int drop_delete(struct ids_pool *pool, struct bdb_txn *txn, struct ids_drop *drop)
{
    uint8_t key[IDS_RUN_KEY_SIZE];
    int error = 0;
    if (drop->block == 0) {
        error = bdb_put(pool->runs, txn, ids_run_key(key, drop->log_group, drop->number, 0),
                        buf_span(&drop->head));
    }
    for (unsigned i = 0; error == 0 && i < SPILL_BLOCKS_PER_TURN && drop->block < drop->blocks;
         i++) {
        error = bdb_delete(pool->blocks, txn,
                           ids_run_key(key, drop->log_group, drop->number, drop->block++));
    }
    for (uint32_t i = drop->pieces + 1; error == 0 && drop->block == drop->blocks && i > 0; i--) {
        error = bdb_delete(pool->runs, txn, ids_run_key(key, drop->log_group, drop->number, i - 1));
    }
    return error;
}

static int drop_step(struct ids_pool *pool)
{
    struct ids_drop *drop = LIST_ENTRY(pool->drops.next, struct ids_drop, link);
    struct bdb_txn *txn = NULL;
    int error = bdb_begin(pool->bdb, &txn);
    if (error == 0) {
        error = drop_delete(pool, txn, drop);
    }
    if (error == 0) {
        error = bdb_commit(&txn);
    }
    if (error != 0) {
        bdb_abort(&txn);
    } else if (drop->block == drop->blocks) {
        drop_free(drop);
    }
    return error;
}

/* --- turns --- */

/* Of whom it pays most; one that must give some up for the journal goes first. */
static bool pool_begin_spill(struct ids_pool *pool)
{
    bool is_over = pool->memory > pool->bytes_max;
    struct ids *best = NULL;
    LIST_FOREACH (&pool->members, node) {
        struct ids *ids = LIST_ENTRY(node, struct ids, pool_link);
        if (ids->keep_target != 0) {
            best = ids;
            break;
        }
        if (is_over && (best == NULL || ids_hot_count(ids->hot) > ids_hot_count(best->hot))) {
            best = ids;
        }
    }
    return best != NULL &&
           ids_cold_begin(best, best->keep_target != 0 ? best->keep_target : UINT64_MAX);
}

bool ids_cold_turn(struct ids_pool *pool)
{
    int error = 0;
    if (pool->bdb == NULL) {
        return false;
    }
    uint64_t blocks = SPILL_BLOCKS_PER_TURN + pool->put * SPILL_AHEAD / SPILL_BLOCK_IDS;
    pool->put = 0;
    if (pool->spill == NULL && (pool->memory > pool->bytes_max || pool->wants_spill)) {
        pool->wants_spill = false;
        (void) pool_begin_spill(pool); /* or there is nothing that may go */
    }
    if (pool->spill != NULL) {
        error = spill_step(pool, blocks);
    } else if (!list_is_empty(&pool->drops)) {
        error = drop_step(pool);
    } else {
        return false;
    }
    if (error != 0) {
        logd_fail(pool->logd, "database failed", err_name(error));
        return false;
    }
    return pool->spill != NULL || !list_is_empty(&pool->drops);
}

int ids_cold_relieve(struct ids_pool *pool)
{
    int error = 0;
    while (error == 0 && pool->memory > pool->bytes_max && pool_begin_spill(pool)) {
        while (error == 0 && pool->spill != NULL) {
            error = spill_step(pool, UINT64_MAX);
        }
    }
    return error;
}

int ids_keep_below(struct stream *stream, uint64_t offset)
{
    struct ids *ids = stream->ids;
    struct ids_entry entry;
    if (ids == NULL || !ids_hot_first(ids->hot, &entry) || entry.offset >= offset) {
        if (ids != NULL) {
            ids->keep_target = 0;
        }
        return 0;
    }
    ids->keep_target = offset < stream->next_offset ? offset : stream->next_offset;
    ids->pool->wants_spill = true;
    loop_wake(ids->pool->logd->loop);
    return ERR_AGAIN;
}

/* --- loading --- */

struct loading {
    struct ids_pool *pool;
    struct ids *ids; /* of the run at hand; NULL: it is not wanted */
    struct ids_run *run;
    enum head_state state;
    uint64_t log_group;
    size_t filled; /* bytes of its filter */
};

/* The run at hand is whole, or it is deleted. */
static void loading_end(struct loading *self)
{
    struct ids_run *run = self->run;
    if (run == NULL) {
        return;
    }
    if (self->ids != NULL && self->state == HEAD_COMPLETE && self->filled == run->filter_bytes) {
        ids_run_add(self->ids, run);
    } else {
        if (self->ids != NULL && run->number >= self->ids->next_run) {
            self->ids->next_run = run->number + 1;
        }
        drop_add(self->pool, self->log_group, run);
        ids_run_free(run);
    }
    self->run = NULL;
}

static int loading_visit(void *ud, struct span key, struct span value)
{
    struct loading *self = ud;
    if (key.size != IDS_RUN_KEY_SIZE) {
        return 0;
    }
    uint64_t log_group = ids_get_big(key.data);
    uint64_t number = ids_get_big(key.data + 8);
    bool is_head = key.data[16] == 0 && key.data[17] == 0 && key.data[18] == 0 && key.data[19] == 0;
    if (is_head) {
        loading_end(self);
        struct stream *stream = streams_find(self->pool->logd, log_group);
        self->ids = stream != NULL ? stream->ids : NULL;
        self->log_group = log_group;
        self->filled = 0;
        self->run = MEM_NEW(struct ids_run);
        list_init(&self->run->link);
        self->run->number = number;
        if (!head_decode(value, self->run, &self->state)) {
            self->ids = NULL;
            self->run->filter_bytes = 0;
        }
        if (self->ids != NULL) {
            self->run->filter = mem_new(self->run->filter_bytes);
        }
        return 0;
    }
    struct ids_run *run = self->run;
    if (run != NULL && run->filter != NULL && log_group == self->log_group &&
        number == run->number && value.size <= run->filter_bytes - self->filled) {
        memcpy(run->filter + self->filled, value.data, value.size);
        self->filled += value.size;
    }
    return 0;
}

int ids_cold_load(struct ids_pool *pool, struct bdb *bdb)
{
    struct loading loading = {.pool = pool};
    int error = bdb_table_open(bdb, "idruns", &pool->runs);
    if (error == 0) {
        error = bdb_table_open(bdb, "ids", &pool->blocks);
    }
    if (error == 0) {
        pool->bdb = bdb;
        error = bdb_walk(pool->runs, (struct span){0}, loading_visit, &loading);
    }
    loading_end(&loading);
    LIST_FOREACH (&pool->members, node) {
        ids_account(LIST_ENTRY(node, struct ids, pool_link));
    }
    return error;
}

void ids_cold_pool_release(struct ids_pool *pool)
{
    INVARIANT(pool->spill == NULL);
    while (!list_is_empty(&pool->drops)) { /* begun again at the next start */
        drop_free(LIST_ENTRY(pool->drops.next, struct ids_drop, link));
    }
    buf_release(&pool->block);
}
