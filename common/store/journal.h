/* journal: one append-only log on disk for all groups of a daemon. A commit round takes all that was appended while the last sync
 * ran: one gathered write, one fdatasync, then every completion. The cost of durability does not grow with the number of groups.
 *
 * Threads: the owner (the daemon's loop thread) calls everything here; a writer thread inside writes and syncs; a preparer
 * makes the next file ready. Completions come back through an event descriptor: poll journal_fd, then call journal_poll.
 *
 * Files: DIR/<seq, 10 digits>.jnl, preallocated, `file_bytes` long (a first one after opening, and one made of the reserve, may be
 * shorter or longer: each header tells its own); DIR/<seq>.idx beside each full one: its extents, so that a
 * restart reads no data (derivable: a missing or bad one is rebuilt by scanning). A position is seq << 32 | byte in the file; it grows
 * for ever. Layout, recovery rules and the procedure to change them: docs/disk-format.md and journal_format.h.
 *
 * A failed write or sync poisons the journal: every entry not yet durable completes with ERR_POISONED, and so does all later; nothing
 * is retried. The owner must stop acknowledging and end the process.
 *
 * The journal keeps all data: files go only by journal_release_before, whole, the oldest first. */
#ifndef COMMON_STORE_JOURNAL_H
#define COMMON_STORE_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/payload.h"
#include "common/base/span.h"
#include "common/store/extent.h"
#include "common/store/fs.h"

struct journal;

/* What a frame is to the consensus driver; what its payload means to the state machine is `kind`, which the journal only keeps. */
enum journal_type {
    JOURNAL_ENTRY = 1,      /* a log entry: term, index, payload */
    JOURNAL_HARD_STATE = 2, /* term and vote of a group (payload), no index */
    JOURNAL_TRUNCATE = 3,   /* entries of the group with index >= this one are void */
    JOURNAL_MARK = 4,       /* no group: carries durable_upto when the journal goes idle or stops */
};

struct journal_entry {
    enum journal_type type;
    uint8_t kind;
    uint64_t group; /* != 0 */
    uint64_t term;
    uint64_t index;
    uint64_t base;  /* offset of the first record, 0 when count is 0 */
    uint32_t count; /* records; 0 for control entries */
    uint64_t ts_us;
    struct slice payload; /* appended as is; journal_append takes a reference of its own */
};

struct journal_done {
    uint64_t wseq;
    uint64_t group;
    uint64_t index;
    enum journal_type type;
    uint8_t kind;
    uint64_t position; /* of the frame */
    uint32_t frame_bytes;
    int error; /* 0: durable, or ERR_POISONED. Never ERR_STORAGE_FULL: see journal_append */
};

struct journal_options {
    const char *dir;          /* created if missing */
    uint64_t file_bytes;      /* 0: 64 MiB; 1 MiB..1 GiB; a frame never exceeds half a file */
    uint64_t queue_bytes_max; /* 0: 64 MiB: appended and not yet durable */
    uint64_t round_bytes_max; /* 0: 4 MiB: one write */
    /* 0: 64 MiB: held back (a preallocated file) so that control entries go on when the disk is full */
    uint64_t reserve_bytes;
    /* 0: 0: below this much free space data entries (count > 0) get ERR_STORAGE_FULL */
    uint64_t disk_free_min;
    const struct fs_ops *ops; /* NULL: the system */
    bool read_only;           /* inspect: no writer, nothing on disk changes */
};

/* What recovery found, for logs and `adminctl inspect`. */
struct journal_recovery {
    uint64_t files;
    uint64_t files_scanned; /* the others came from their .idx */
    uint64_t frames_scanned;
    uint64_t bytes_scanned;
    uint64_t torn_bytes;     /* cut off behind the last durable frame (kept in trash/) */
    uint64_t corrupt_ranges; /* quarantined: below durable_upto and unreadable */
};

/* What the owner learns while the journal opens, in order of position: every extent (see extent.h), every hard state and truncation, and every damaged range. */
struct journal_visitor {
    void (*on_extent)(void *ud, const struct extent *extent);
    /* TRUNCATE and HARD_STATE frames; `payload` is borrowed: it has no owner, so copy its bytes, never take a slice_ref. */
    void (*on_control)(void *ud, const struct journal_entry *entry);
    /* Bytes [position, position + bytes) cannot be trusted. If the frame's header is intact, `known` tells whose it is (payload
     * bad), else it is NULL and each group finds the hole by the gap in its own sequence. */
    void (*on_corrupt)(void *ud, uint64_t position, uint64_t bytes,
                       const struct journal_entry *known);
    void *ud;
};

/* Recover what is in the directory, then be ready to append. Everything reported to the visitor is on stable storage when this returns
 * 0. Errors: ERR_IO, ERR_STORAGE_FULL (a new journal without room for the reserve, or no room at all for a needed file; an old journal whose
 * reserve is used up opens and is full), ERR_BAD_FORMAT (a newer version), ERR_USAGE (sizes out of range), ERR_NO_MEMORY. After an error it may
 * be tried again: recovery can be interrupted at any point. The owner holds the directory's lock (lock.h). */
int journal_open(const struct journal_options *options, const struct journal_visitor *visitor,
                 struct journal_recovery *ret_recovery, struct journal **ret_journal);

/* Finish what is queued, write a mark that covers it, stop the threads. Nulls the pointer; accepts NULL. */
void journal_close(struct journal **self);

/* Queue one entry. Entries become durable in the order of appending. 0 and its wseq (from 1, consecutive), or nothing queued and: ERR_AGAIN (queue
 * full: wait for completions), ERR_TOO_LARGE, ERR_STORAGE_FULL (data entry while below the reserve), ERR_POISONED. An entry that was accepted has its
 * room: space is promised at the time of appending, out of the current file and the files made ready (ERR_AGAIN while the next is still being
 * made). A hole in a group's indexes for lack of space is therefore impossible. */
int journal_append(struct journal *self, const struct journal_entry *entry, uint64_t *ret_wseq);

/* Hand what was appended since the last call to the writer. Call once at the end of a loop turn: what one turn gathered is one
 * round (more may join while the disk is busy). */
void journal_submit(struct journal *self);

/* The same, but when a single small entry is all there is, the writer rests and the last syncs were quick, its round runs on this thread: the
 * two hand-overs between threads cost about as much as a quick sync's fifth. Blocks for that one sync (a slow one sends the next
 * thousand rounds to the writer). True: completions wait now, call journal_poll (journal_fd does not tell). */
bool journal_submit_now(struct journal *self);

/* Readable when completions wait. */
int journal_fd(const struct journal *self);

typedef void journal_done_fn(void *ud, const struct journal_done *done);
/* Call `done` for each completion, in order of wseq. Returns how many. */
unsigned journal_poll(struct journal *self, journal_done_fn *done, void *ud);

/* Read the frames of one group in [position, position + bytes), a range inside one file, e.g. an extent. Blocking file read.
 * `visit` is called for each intact frame of that group, oldest first (payload: a slice of one shared buffer; take a slice_ref to keep
 * it); returns non-zero to stop early. A damaged frame ends the walk with ERR_CORRUPT and *ret_corrupt_at its position (frames before it
 * were visited). 0 when all were visited or visit stopped. ERR_NOT_FOUND: that file was released; ERR_OUT_OF_RANGE; ERR_IO; ERR_NO_MEMORY. */
typedef int journal_visit_fn(void *ud, const struct journal_entry *entry, uint64_t position,
                             uint32_t frame_bytes);
int journal_read(struct journal *self, uint64_t group, uint64_t position, uint64_t bytes,
                 journal_visit_fn *visit, void *ud, uint64_t *ret_corrupt_at);

/* Where to go on behind a damaged frame: the first frame, of any group, with an intact header in [position, position + bytes), a range inside
 * one file. 0; ERR_NOT_FOUND; as journal_read. Blocking file read. */
int journal_find(struct journal *self, uint64_t position, uint64_t bytes, uint64_t *ret_position);

/* Every intact frame of every group (entries, hard states, truncations), once, in order of position, and each damaged stretch between two of them where it lies (damage at a
 * file's end only the visitor of journal_open learns). Right after opening, before anything is appended. */
struct journal_walker {
    /* As journal_visit_fn. */
    journal_visit_fn *on_frame;
    void (*on_corrupt)(void *ud, uint64_t position, uint64_t bytes,
                       const struct journal_entry *known);
    void *ud;
};
/* Blocking file reads. 0, also when a visit stopped it; ERR_IO, ERR_NO_MEMORY. */
int journal_walk(struct journal *self, const struct journal_walker *walker);

/* Nothing before this position is needed any more: whole files below it are recycled. */
void journal_release_before(struct journal *self, uint64_t position);

/* First position not yet known durable. */
uint64_t journal_durable_upto(const struct journal *self);
uint64_t journal_queued_bytes(const struct journal *self);
bool journal_is_full(const struct journal *self); /* below the reserve now */
bool journal_is_poisoned(const struct journal *self);

struct journal_stats {
    uint64_t rounds, frames, bytes, sync_us_total, sync_us_max, write_us_total;
    uint64_t files, files_recycled;
    uint64_t first_seq;  /* of the oldest file that is kept */
    uint64_t disk_bytes; /* of the files that are kept */
    uint64_t released_bytes;
};
/* Bytes of the files with these numbers, both included. */
uint64_t journal_file_bytes(const struct journal *self, uint64_t first_seq, uint64_t last_seq);
void journal_stats_read(const struct journal *self, struct journal_stats *ret_stats);

#endif
