/* journal_private: what the journal's own files share. Nobody else includes this.
 *
 *   owner thread            writer thread               preparer thread
 *   journal.c               journal_writer.c            journal_prepare.c
 *   append, submit ----->   submitted blocks
 *                           write, sync
 *   poll      <----------   done blocks
 *                           takes the next file <-----  prepares it ahead
 *                           finished file's index --->  writes its .idx
 *   release_before ------------------------------->     recycles the file
 *
 * All arrows are lists and fields under one lock, held for list moves only. */
#ifndef COMMON_STORE_JOURNAL_PRIVATE_H
#define COMMON_STORE_JOURNAL_PRIVATE_H

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/base/buf.h"
#include "common/base/hash.h"
#include "common/base/list.h"
#include "common/store/journal.h"
#include "common/store/journal_format.h"

enum {
    JOURNAL_BLOCK_ENTRIES = 64,
    /* a block takes no more entries above this: acknowledgements go by block */
    JOURNAL_BLOCK_BYTES = 512 << 10,
    JOURNAL_FREE_BLOCKS_MAX = 256,
    JOURNAL_ARENA_BYTES = 256 << 10, /* frame headers, padding and small payloads of one write */
    JOURNAL_PARTS_MAX = 1024,        /* IOV_MAX */
    JOURNAL_COPY_MAX = 512,          /* payloads up to this are cheaper copied than listed */
    JOURNAL_IDLE_MARK_MS = 5,
    JOURNAL_SPARES_MAX = 4,
    JOURNAL_LENT_BYTES_MAX = 64 << 10, /* a round that the owner may run itself */
    JOURNAL_SLOW_SYNC_US = 2000, /* a sync that takes longer is not for the owner's thread ... */
    JOURNAL_SLOW_ROUNDS = 1000,  /* ... nor are so many rounds after it */
    JOURNAL_ROOM_SLACK = 4096,   /* of a file: for marks that the owner does not know of */
    JOURNAL_READERS_MAX = 64,
    JOURNAL_NAME_BYTES = 32,
    JOURNAL_QUICK_BYTES =
        8
        << 20, /* the first file after opening is no longer than this: it is filled while the owner waits */
};

/* --- journal_file.c: files and their names --- */

struct journal_file {
    struct journal_file_header header;
    int fd;
};

#define JOURNAL_TMP_NAME     "prepare.tmp"
#define JOURNAL_RESERVE_NAME "reserve"

void journal_file_name(uint64_t seq, char name[JOURNAL_NAME_BYTES]);
void journal_index_name(uint64_t seq, char name[JOURNAL_NAME_BYTES]);
void journal_spare_name(unsigned slot, char name[JOURNAL_NAME_BYTES]);
/* The number in "0000000001.jnl"; false for any other name. */
bool journal_name_seq(const char *name, const char *suffix, uint64_t *ret_seq);

/* What is in the directory: readdir it, then closedir. */
int journal_list_open(int dir_fd, DIR **ret_list);
/* Create `name` of `bytes` allocated zero bytes; returns a descriptor for reading and writing, or ERR and no file. */
int journal_file_allocate(const struct fs_ops *ops, int dir_fd, const char *name, uint64_t bytes);
/* Write zeros over a range and sync them, so that overwriting needs no metadata commit. */
int journal_file_fill(const struct fs_ops *ops, int fd, uint64_t from, uint64_t bytes);
/* Begin a life: header with a new salt, synced, renamed to its final name, directory synced. Takes no descriptor. */
int journal_file_adopt(const struct fs_ops *ops, int dir_fd, const char *name, int fd,
                       struct journal_file_header *header);

/* --- journal_index.c: what a file holds --- */

struct journal_control {
    uint64_t position;
    struct journal_entry entry; /* payload empty: see payload_at */
    size_t payload_at;
    uint32_t payload_size;
};

struct journal_index {
    struct extent *extents; /* in order of position */
    size_t extent_count, extent_capacity;
    struct journal_control *controls; /* in order of position */
    size_t control_count, control_capacity;
    struct buf payloads;
    struct hash64 *open; /* group -> number + 1 of its last extent, which may still grow */
    uint64_t last_group; /* a shortcut past the hash */
    size_t last_number;  /* + 1; 0: none */
};

void journal_index_init(struct journal_index *self);
void journal_index_release(struct journal_index *self);
/* Note an intact frame; `payload` matters for hard states and truncations only. ERR_NO_MEMORY. */
int journal_index_add(struct journal_index *self, const struct journal_entry *entry,
                      struct span payload, uint64_t position, uint32_t frame_bytes);
/* No extent grows across this point. */
void journal_index_break(struct journal_index *self);
/* Forget what begins at or behind this position. */
void journal_index_cut(struct journal_index *self, uint64_t position);
/* Report what begins in [from, upto), in order of position. */
void journal_index_visit(const struct journal_index *self, const struct journal_visitor *visitor,
                         uint64_t from, uint64_t upto);
void journal_index_encode(const struct journal_index *self, uint64_t seq, uint64_t salt,
                          uint32_t end, struct buf *out);
/* 0, ERR_CORRUPT, ERR_NO_MEMORY. `self` is initialised and empty. */
int journal_index_decode(struct journal_index *self, struct span bytes, uint64_t seq,
                         uint64_t *ret_salt, uint32_t *ret_end);

/* --- journal_scan.c: reading a file without an index --- */

struct journal_bad {
    uint64_t position;
    uint64_t bytes;
    bool is_known; /* the header is intact, the payload is not */
    struct journal_entry known;
};

struct journal_scan {
    struct journal_index index;
    struct journal_bad *bad; /* in order of position */
    size_t bad_count, bad_capacity;
    uint64_t durable_upto; /* the highest any intact header names */
    uint32_t end;          /* behind the last frame that was recognised */
    /* > end: there are remains up to here that are no frames (or lie behind the end mark) */
    uint32_t dirty_end;
    bool has_end_mark;
    uint64_t frames, bytes;
};

void journal_scan_init(struct journal_scan *self);
void journal_scan_release(struct journal_scan *self);
void journal_scan_add_bad(struct journal_scan *self, const struct journal_bad *bad);
/* ERR_IO, ERR_NO_MEMORY. */
int journal_scan_file(struct journal_scan *self, const struct fs_ops *ops, int fd,
                      const struct journal_file_header *header);
/* Find the salt that the frames of a file without header agree on; ERR_NOT_FOUND. */
int journal_scan_salt(const struct fs_ops *ops, int fd, const struct journal_file_header *header,
                      uint64_t *ret_salt);

/* --- the journal --- */

/* One appended entry on its way. */
struct journal_slot {
    struct journal_entry entry;
    uint64_t wseq;
    uint64_t position;
    uint32_t frame_bytes;
    int error;
};

/* The unit that travels between the threads; belongs to whoever's list it is in. */
struct journal_block {
    struct list node;
    unsigned count;
    uint64_t bytes;
    struct journal_slot slots[JOURNAL_BLOCK_ENTRIES];
};

/* A finished file whose .idx waits to be written. */
struct journal_finished {
    struct list node;
    struct journal_file_header header;
    uint32_t end;
    struct journal_index index;
};

/* A file that nobody needs any more. */
struct journal_released {
    struct list node;
    struct journal_file_header header;
};

enum journal_next { JOURNAL_NEXT_NONE, JOURNAL_NEXT_READY };

/* Descriptor cache of journal_read. */
struct journal_reader {
    int fd; /* -1: empty */
    struct journal_file_header header;
};

struct journal_writer {
    struct journal_file file; /* being appended to */
    uint32_t end;             /* where the next frame goes */
    bool is_ended;            /* its end mark is written */
    bool mark_due;            /* frames were written since the last mark */
    bool next_asked;
    struct journal_index index; /* of this file */
    uint8_t arena[JOURNAL_ARENA_BYTES];
    size_t arena_used;
    struct iovec parts[JOURNAL_PARTS_MAX];
    int part_count;
    uint64_t gathered; /* bytes in parts; they go to end - gathered */
    struct list work;  /* taken and not yet written */
    pthread_t thread;
};

struct journal_preparer {
    uint64_t next_seq;
    bool spares[JOURNAL_SPARES_MAX]; /* which spare files exist */
    bool is_room_ok;                 /* the last look at the free space */
    pthread_t thread;
};

struct journal {
    /* constant after opening */
    int dir_fd;
    const struct fs_ops *ops;
    bool read_only;
    bool is_running; /* threads started */
    uint64_t file_bytes, queue_bytes_max, round_bytes_max, reserve_bytes, disk_free_min;
    uint64_t frame_bytes_max;
    int event_fd;

    /* owner's */
    struct list pending; /* blocks not yet submitted; the last one is being filled */
    struct list free_blocks;
    unsigned free_count;
    uint64_t wseq_next;
    uint64_t queued_bytes;
    struct journal_reader *readers;

    /* shared, under the lock */
    pthread_mutex_t lock;
    pthread_cond_t writer_wake;
    pthread_cond_t preparer_wake;
    pthread_cond_t next_change; /* the writer waits here for a file */
    struct list submitted;
    struct list done;
    struct list finished;
    struct list released;
    bool writer_rests;      /* waits, and holds nothing half done */
    bool writer_rests_long; /* without a time limit: no mark is due */
    bool writer_lent;       /* the owner runs a round; the writer keeps still */
    bool is_stopping_writer, is_stopping_preparer;
    struct journal_file_header *files; /* all that can be read, oldest first */
    size_t file_count, file_capacity;
    enum journal_next next_state;
    struct journal_file next;
    bool next_wanted;    /* prepare one */
    bool next_urgent;    /* the writer waits: no filling */
    bool next_failed;    /* no room for it at the last attempt */
    bool reserve_wanted; /* turn the reserve into the next file */
    bool reserve_ready;
    struct journal_stats stats;

    /* read anywhere */
    atomic_bool is_full;
    atomic_bool is_poisoned;
    atomic_uint_fast64_t durable_upto;
    atomic_uint slow_rounds; /* > 0: syncs have been slow lately */
    /* bytes for frames in the file being appended to; see journal_promise in journal.c */
    atomic_uint_fast64_t room;

    struct journal_writer writer;     /* writer thread's, or the owner's while it is lent */
    struct journal_preparer preparer; /* preparer thread's */
};

/* After this nothing is written or acknowledged. @thread writer; preparer (it holds the lock) */
void journal_poison(struct journal *self);
void journal_poison_locked(struct journal *self);
/* Wait for the condition at most so long; the lock is held. False: the time is over. @thread writer, preparer */
bool journal_wait_locked(struct journal *self, pthread_cond_t *cond, int timeout_ms);
/* @thread writer, preparer */
void journal_notify(struct journal *self);
/* One round of the work list: after it everything in it lies in `done`. @thread writer; owner while the writer is lent */
void journal_writer_round(struct journal *journal);
/* Tell the owner how much room is left in this file. @thread writer, or before the threads start */
void journal_writer_show_room(struct journal *self);
/* Add to the files that can be read. @thread any, under the lock or before the threads start */
void journal_files_add(struct journal *self, const struct journal_file_header *header);

/* journal_recover.c: bring self->writer (file, end, index), files, spares and reserve to where appending can go on. */
int journal_recover(struct journal *self, const struct journal_visitor *visitor,
                    struct journal_recovery *ret_recovery);

/* journal_writer.c. @thread owner: init, release; the rest inside */
void journal_writer_init(struct journal_writer *self);
void journal_writer_release(struct journal_writer *self);
void *journal_writer_main(void *journal);

/* journal_prepare.c */
void *journal_preparer_main(void *journal);
/* Make a file of at most `bytes` from a spare or new room, filled while `keep_filling` says so. Before the threads start, or by the
 * preparer. ERR_STORAGE_FULL. */
int journal_prepare_file(struct journal *self, uint64_t bytes,
                         bool (*keep_filling)(struct journal *), struct journal_file *ret_file);
/* Turn the reserve into a file. */
int journal_prepare_from_reserve(struct journal *self, struct journal_file *ret_file);
/* Make sure that the reserve lies there. Sets reserve_ready; ERR_STORAGE_FULL is no error here. */
int journal_prepare_reserve(struct journal *self);
/* Give a file's room to the spares, or back to the system. */
int journal_prepare_recycle(struct journal *self, const struct journal_file_header *header);
/* Note which spares exist; remove remains. */
int journal_prepare_look(struct journal *self);
/* Is there room as disk_free_min asks, after taking `bytes` more? */
bool journal_prepare_has_room(struct journal *self, uint64_t bytes);

/* journal_read.c */
void journal_readers_init(struct journal *self);
void journal_readers_release(struct journal *self);
void journal_readers_forget(struct journal *self, uint64_t seq);

#endif
