/* ids_run: what ids_cold and ids_spill share: a run, and how it lies in the database.
 *
 * Table idruns: log group, run (8 bytes each, big-endian), part (4) -> part 0: the head; from 1 on: the filter in pieces.
 * Table ids:    log group, run, block                              -> entries of 40 bytes: key, payload hash, offset, time (little-endian)
 * The head, little-endian: version 1 (1 byte), state (1), bits (1), zero (5), count (8), upto (8), filter bytes (8), then IDS_RUN_STEPS + 1 times offset (8), time
 * (8). States: 0 is being written, 1 complete, 2 is being deleted. To change any of it: raise the version, and let a run of another version be deleted when it is loaded (the
 * journal has what it held) or keep its reader in a file of its own. */
#ifndef LOGD_IDS_RUN_H
#define LOGD_IDS_RUN_H

#include "common/base/buf.h"
#include "logd/ids_body.h"

enum {
    IDS_RUN_KEY_SIZE = 20,
    IDS_BLOCK_ENTRY_SIZE = 40,
    IDS_RUN_STEPS = 64,
};

/* Where a 64th of the run ends, in the order the IDs came: [0] is the first ID, [i] the last one of step i. */
struct ids_step {
    uint64_t offset;
    uint64_t ts_us;
};

struct ids_run {
    struct list link; /* in ids.runs, oldest first */
    uint64_t number;
    unsigned bits; /* it has 2^bits blocks */
    uint64_t count;
    uint64_t upto; /* behind the last of its records */
    unsigned gone; /* steps that are out of the window */
    struct ids_step steps[IDS_RUN_STEPS + 1];
    uint8_t *filter;
    size_t filter_bytes;
};

uint64_t ids_get_big(const uint8_t *at);
struct span ids_run_key(uint8_t key[IDS_RUN_KEY_SIZE], uint64_t log_group, uint64_t run,
                        uint32_t part);
uint32_t ids_block_of(const struct ids_key *key, unsigned bits);
void ids_block_append(struct buf *block, const struct ids_entry *entry);
size_t ids_filter_bytes(uint64_t ids);
void ids_filter_add(uint8_t *filter, size_t bytes, const struct ids_key *key);
uint64_t ids_run_alive(const struct ids_run *run);
void ids_run_free(struct ids_run *run);

/* Put a complete run into its stream's list. */
void ids_run_add(struct ids *ids, struct ids_run *run);
/* Out of the list, and to be deleted from the database in time. */
void ids_run_drop(struct ids *ids, struct ids_run *run);
/* If one of this stream is being written, it is given up. */
void ids_spill_cancel(struct ids *ids);

#endif
