/* ids_cold: runs of message IDs in the database: their filters and looking in them. Writing and deleting runs: ids_spill.c. */
#include "logd/ids_cold.h"

#include <string.h>

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/store/bdb.h"
#include "logd/ids_run.h"
#include "logd/stream_body.h"

/* --- the filter: a block of 64 bytes by one part of the hash, eight bits in it by another --- */

enum { FILTER_BLOCK = 64, FILTER_BITS_PER_ID = 12, FILTER_PROBES = 8 };

size_t ids_filter_bytes(uint64_t ids)
{
    return (ids * FILTER_BITS_PER_ID / 8 / FILTER_BLOCK + 1) * FILTER_BLOCK;
}

static uint8_t *filter_block(uint8_t *filter, size_t bytes, const struct ids_key *key)
{
    uint64_t blocks = bytes / FILTER_BLOCK;
    return filter + ((key->low >> 32) * blocks >> 32) * FILTER_BLOCK;
}

void ids_filter_add(uint8_t *filter, size_t bytes, const struct ids_key *key)
{
    uint8_t *block = filter_block(filter, bytes, key);
    uint64_t bits = key->low * UINT64_C(0x9e3779b97f4a7c15) ^ key->high;
    for (unsigned i = 0; i < FILTER_PROBES; i++, bits = bits >> 9 | bits << 55) {
        block[(bits & 511) / 8] |= (uint8_t) (1 << (bits & 7));
    }
}

static bool filter_has(const struct ids_run *run, const struct ids_key *key)
{
    const uint8_t *block = filter_block(run->filter, run->filter_bytes, key);
    uint64_t bits = key->low * UINT64_C(0x9e3779b97f4a7c15) ^ key->high;
    for (unsigned i = 0; i < FILTER_PROBES; i++, bits = bits >> 9 | bits << 55) {
        if ((block[(bits & 511) / 8] & 1 << (bits & 7)) == 0) {
            return false;
        }
    }
    return true;
}

/* --- keys and blocks --- */

static void put_big(uint8_t *at, uint64_t number)
{
    for (unsigned i = 0; i < 8; i++) { /* big-endian: in order of number */
        at[i] = (uint8_t) (number >> (8 * (7 - i)));
    }
}

uint64_t ids_get_big(const uint8_t *at)
{
    uint64_t number = 0;
    for (unsigned i = 0; i < 8; i++) {
        number = number << 8 | at[i];
    }
    return number;
}

struct span ids_run_key(uint8_t key[IDS_RUN_KEY_SIZE], uint64_t log_group, uint64_t run,
                        uint32_t part)
{
    put_big(key, log_group);
    put_big(key + 8, run);
    for (unsigned i = 0; i < 4; i++) {
        key[16 + i] = (uint8_t) (part >> (8 * (3 - i)));
    }
    return span_make(key, IDS_RUN_KEY_SIZE);
}

uint32_t ids_block_of(const struct ids_key *key, unsigned bits)
{
    return bits != 0 ? (uint32_t) (key->high >> (64 - bits)) : 0;
}

void ids_block_append(struct buf *block, const struct ids_entry *entry)
{
    uint8_t bytes[IDS_BLOCK_ENTRY_SIZE];
    bytes_put_u64(bytes, entry->key.low);
    bytes_put_u64(bytes + 8, entry->key.high);
    bytes_put_u64(bytes + 16, entry->payload);
    bytes_put_u64(bytes + 24, entry->offset);
    bytes_put_u64(bytes + 32, entry->ts_us);
    buf_append(block, span_make(bytes, sizeof(bytes)));
}

static struct ids_entry block_entry(const uint8_t *at)
{
    return (struct ids_entry){
        .key = {bytes_get_u64(at), bytes_get_u64(at + 8)},
        .payload = bytes_get_u64(at + 16),
        .offset = bytes_get_u64(at + 24),
        .ts_us = bytes_get_u64(at + 32),
    };
}

/* Where it stands in the block, or SIZE_MAX. */
static size_t block_find(const struct buf *block, const struct ids_key *key)
{
    uint8_t wanted[16];
    bytes_put_u64(wanted, key->low);
    bytes_put_u64(wanted + 8, key->high);
    for (size_t at = 0; at + IDS_BLOCK_ENTRY_SIZE <= block->size; at += IDS_BLOCK_ENTRY_SIZE) {
        if (memcmp(block->data + at, wanted, sizeof(wanted)) == 0) {
            return at;
        }
    }
    return SIZE_MAX;
}

/* 0, ERR_NOT_FOUND, or another error of the database, after which the daemon ends. */
static int run_get_block(struct ids *ids, const struct ids_run *run, const struct ids_key *key)
{
    struct ids_pool *pool = ids->pool;
    uint8_t bytes[IDS_RUN_KEY_SIZE];
    struct span at = ids_run_key(bytes, stream_log_group(ids->stream), run->number,
                                 ids_block_of(key, run->bits));
    int error = bdb_get(pool->blocks, NULL, at, &pool->block);
    if (error != 0 && error != ERR_NOT_FOUND) {
        logd_fail(pool->logd, "database failed", err_name(error));
    }
    return error;
}

/* --- runs --- */

uint64_t ids_run_alive(const struct ids_run *run)
{
    return run->count - run->count * run->gone / IDS_RUN_STEPS;
}

void ids_run_free(struct ids_run *run)
{
    list_remove(&run->link);
    mem_free(run->filter);
    mem_free(run);
}

void ids_cold_release(struct ids *ids)
{
    while (!list_is_empty(&ids->runs)) {
        ids_run_free(LIST_ENTRY(ids->runs.next, struct ids_run, link));
    }
}

void ids_cold_drop_all(struct ids *ids)
{
    ids_spill_cancel(ids);
    while (!list_is_empty(&ids->runs)) {
        ids_run_drop(ids, LIST_ENTRY(ids->runs.next, struct ids_run, link));
    }
}

uint64_t ids_cold_count(const struct ids *ids)
{
    return ids->cold_count;
}

uint64_t ids_cold_memory(const struct ids *ids)
{
    return ids->cold_memory;
}

uint64_t ids_cold_upto(const struct ids *ids)
{
    return ids->cold_upto;
}

/* So many steps of it are gone. */
static void run_set_gone(struct ids *ids, struct ids_run *run, unsigned gone)
{
    uint64_t before = ids_run_alive(run);
    run->gone = gone;
    ids->cold_count -= before - ids_run_alive(run);
    if (gone == IDS_RUN_STEPS) {
        ids_run_drop(ids, run);
    }
}

int ids_cold_find(struct ids *ids, const struct ids_key *key, struct ids_entry *ret_entry)
{
    for (struct list *node = ids->runs.previous; node != &ids->runs; node = node->previous) {
        const struct ids_run *run = LIST_ENTRY(node, struct ids_run, link);
        if (!filter_has(run, key)) {
            continue;
        }
        int error = run_get_block(ids, run, key);
        if (error == ERR_NOT_FOUND) {
            continue;
        }
        if (error != 0) {
            return error;
        }
        size_t at = block_find(&ids->pool->block, key);
        if (at != SIZE_MAX) { /* the newest of that ID: an older one is no better */
            struct ids_entry entry = block_entry(ids->pool->block.data + at);
            if (entry.ts_us <= ids_window_start(ids, ids->now_us) ||
                entry.offset < ids->forgotten_below || entry.offset < ids->evicted_below) {
                return 0;
            }
            *ret_entry = entry;
            return 1;
        }
    }
    return 0;
}

void ids_cold_expire(struct ids *ids, uint64_t start_us)
{
    while (!list_is_empty(&ids->runs)) {
        struct ids_run *run = LIST_ENTRY(ids->runs.next, struct ids_run, link);
        unsigned gone = run->gone;
        while (gone < IDS_RUN_STEPS && run->steps[gone + 1].ts_us <= start_us) {
            gone++;
        }
        if (gone != run->gone) {
            run_set_gone(ids, run, gone);
        }
        if (gone < IDS_RUN_STEPS) {
            return;
        }
    }
}

void ids_cold_forget_below(struct ids *ids, uint64_t offset)
{
    for (struct list *node = ids->runs.next; node != &ids->runs;) {
        struct ids_run *run = LIST_ENTRY(node, struct ids_run, link);
        node = node->next;
        unsigned gone = run->gone;
        while (gone < IDS_RUN_STEPS && run->steps[gone + 1].offset < offset) {
            gone++;
        }
        if (gone != run->gone) {
            run_set_gone(ids, run, gone);
        }
    }
}

uint64_t ids_cold_shrink(struct ids *ids)
{
    if (list_is_empty(&ids->runs)) {
        return 0;
    }
    struct ids_run *run = LIST_ENTRY(ids->runs.next, struct ids_run, link);
    uint64_t before = ids->cold_count;
    uint64_t last = run->steps[run->gone + 1].offset;
    if (last >= ids->evicted_below) {
        ids->evicted_below = last + 1;
    }
    run_set_gone(ids, run, run->gone + 1);
    return before - ids->cold_count;
}

bool ids_cold_oldest(const struct ids *ids, uint64_t *ret_ts_us)
{
    if (ids->cold_count == 0) {
        return false;
    }
    const struct list *node = ids->runs.next;
    const struct ids_run *run =
        (const void *) ((const char *) node - offsetof(struct ids_run, link));
    *ret_ts_us = run->steps[run->gone].ts_us;
    return true;
}

/* The block without it. */
static int run_cut_entry(struct ids *ids, const struct ids_run *run, const struct ids_key *key,
                         size_t at)
{
    struct ids_pool *pool = ids->pool;
    struct buf *block = &pool->block;
    size_t rest = block->size - at - IDS_BLOCK_ENTRY_SIZE;
    memmove(block->data + at, block->data + at + IDS_BLOCK_ENTRY_SIZE, rest);
    block->size -= IDS_BLOCK_ENTRY_SIZE;
    uint8_t bytes[IDS_RUN_KEY_SIZE];
    struct span name = ids_run_key(bytes, stream_log_group(ids->stream), run->number,
                                   ids_block_of(key, run->bits));
    struct bdb_txn *txn = NULL;
    int error = bdb_begin(pool->bdb, &txn);
    if (error == 0) {
        error = bdb_put(pool->blocks, txn, name, buf_span(block));
    }
    if (error == 0) {
        error = bdb_commit(&txn);
    }
    if (error != 0) {
        bdb_abort(&txn);
        logd_fail(pool->logd, "database failed", err_name(error));
    }
    return error;
}

bool ids_cold_forget(struct ids *ids, const struct ids_key *key, uint64_t below)
{
    bool was_known = false;
    ids_spill_cancel(ids); /* it may just be written */
    LIST_FOREACH (&ids->runs, node) {
        struct ids_run *run = LIST_ENTRY(node, struct ids_run, link);
        if (!filter_has(run, key) || run_get_block(ids, run, key) != 0) {
            continue;
        }
        size_t at = block_find(&ids->pool->block, key);
        if (at == SIZE_MAX || block_entry(ids->pool->block.data + at).offset >= below ||
            run_cut_entry(ids, run, key, at) != 0) {
            continue;
        }
        was_known = true;
    }
    return was_known;
}
