/* journal_lib: what the journal's tests share: a journal in a folder of its own, entries whose content follows from
 * their group and index (so that wrong data is always seen), and a collector of what recovery reports. */
#ifndef TESTS_UNIT_COMMON_STORE_JOURNAL_LIB_H
#define TESTS_UNIT_COMMON_STORE_JOURNAL_LIB_H

#include <stdbool.h>
#include <stdint.h>

#include "common/store/journal.h"

enum { LIB_ITEMS_MAX = 4096, LIB_FILE_BYTES = 1 << 20 };

struct seen_corrupt {
    uint64_t position, bytes;
    bool is_known;
    uint64_t group, index;
};

struct seen_control {
    enum journal_type type;
    uint64_t group, term, index;
    size_t payload_bytes;
};

/* What a visitor was told. */
struct seen {
    struct extent extents[LIB_ITEMS_MAX];
    size_t extent_count;
    struct seen_control controls[LIB_ITEMS_MAX];
    size_t control_count;
    struct seen_corrupt corrupt[64];
    size_t corrupt_count;
    uint64_t last_position; /* reports must come in order */
    struct journal_recovery recovery;
};

/* Options for small files in `dir`. */
struct journal_options lib_options(const char *dir);

/* Open and collect; `seen` may be NULL. Returns the error. */
int lib_try_open(const struct journal_options *options, struct seen *seen,
                 struct journal **ret_journal);
struct journal *lib_open(const char *dir, struct seen *seen);

/* The payload that an entry must have: `size` bytes that follow from group and index. */
struct payload *lib_payload(uint64_t group, uint64_t index, size_t size);
bool lib_payload_is_right(uint64_t group, uint64_t index, struct span bytes);

/* Append one data entry of one record. Returns the error. */
int lib_append(struct journal *journal, uint64_t group, uint64_t index, size_t size);
int lib_append_control(struct journal *journal, enum journal_type type, uint64_t group,
                       uint64_t index, size_t size);

/* Wait for `count` completions; returns how many had no error, and puts the last error into *ret_error. */
struct lib_done {
    unsigned count, good, bad;
    uint64_t last_wseq;
    uint64_t last_position;
    int last_error;
};
/* For journal_poll, with a struct lib_done. */
void lib_note_done(void *ud, const struct journal_done *one);
void lib_wait(struct journal *journal, struct lib_done *done, unsigned count);
/* Append `count` entries of a group from index `first` and wait until they are durable. */
void lib_fill(struct journal *journal, uint64_t group, uint64_t first, unsigned count, size_t size);

/* Read back what an extent holds and check every payload. Returns how many entries, or the error. */
int lib_read_extent(struct journal *journal, const struct extent *extent, uint64_t *ret_corrupt_at);
/* All extents must be readable; returns the number of entries of the group. */
uint64_t lib_count_group(struct journal *journal, const struct seen *seen, uint64_t group);

/* Files: whole ones in memory, for damage. Returned memory is the caller's. */
uint8_t *lib_load(const char *dir, const char *name, size_t *ret_size);
void lib_save(const char *dir, const char *name, const void *data, size_t size);
void lib_remove(const char *dir, const char *name);
bool lib_exists(const char *dir, const char *name);
void lib_copy_dir(const char *from, const char *to);
void lib_empty_dir(const char *dir);
/* Wait up to some seconds until the condition holds. */
bool lib_eventually(bool (*is_true)(void *ud), void *ud);

#endif
