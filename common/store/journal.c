/* journal: the owner's side: opening, appending, completions, closing. Owns the queue until it is submitted and the
 * memory of everything shared with its two threads. Must never touch the disk after opening, except for reads.
 * @thread owner */
#include "common/store/journal_private.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"

enum {
    FILE_BYTES_DEFAULT = 64 << 20,
    FILE_BYTES_MIN = 1 << 20,
    FILE_BYTES_MAX = 1 << 30,
    QUEUE_BYTES_DEFAULT = 64 << 20,
    ROUND_BYTES_DEFAULT = 4 << 20,
    RESERVE_BYTES_DEFAULT = 64 << 20,
    SIZE_ALIGN = 4096,
};

/* --- opening and closing --- */

static uint64_t round_size(uint64_t bytes)
{
    return (bytes + SIZE_ALIGN - 1) / SIZE_ALIGN * SIZE_ALIGN;
}

static int set_options(struct journal *self, const struct journal_options *options)
{
    uint64_t file_bytes = options->file_bytes != 0 ? options->file_bytes : FILE_BYTES_DEFAULT;
    uint64_t reserve = options->reserve_bytes != 0 ? options->reserve_bytes : RESERVE_BYTES_DEFAULT;
    if (file_bytes < FILE_BYTES_MIN || file_bytes > FILE_BYTES_MAX || reserve < FILE_BYTES_MIN ||
        reserve > FILE_BYTES_MAX) {
        return ERR_USAGE;
    }
    self->ops = options->ops;
    self->read_only = options->read_only;
    self->file_bytes = round_size(file_bytes);
    self->reserve_bytes = round_size(reserve);
    self->queue_bytes_max =
        options->queue_bytes_max != 0 ? options->queue_bytes_max : QUEUE_BYTES_DEFAULT;
    self->round_bytes_max =
        options->round_bytes_max != 0 ? options->round_bytes_max : ROUND_BYTES_DEFAULT;
    self->disk_free_min = options->disk_free_min;
    self->frame_bytes_max = self->file_bytes / 2 - JOURNAL_FILE_HEADER_BYTES;
    return 0;
}

static struct journal *journal_new(void)
{
    struct journal *self = MEM_NEW(struct journal);
    pthread_condattr_t monotonic;

    self->dir_fd = -1;
    self->event_fd = -1;
    self->next.fd = -1;
    self->wseq_next = 1;
    list_init(&self->pending);
    list_init(&self->free_blocks);
    list_init(&self->submitted);
    list_init(&self->done);
    list_init(&self->finished);
    list_init(&self->released);
    (void) pthread_mutex_init(&self->lock, NULL); /* these cannot fail on Linux */
    (void) pthread_condattr_init(&monotonic);
    (void) pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void) pthread_cond_init(&self->writer_wake, &monotonic);
    (void) pthread_cond_init(&self->preparer_wake, &monotonic);
    (void) pthread_cond_init(&self->next_change, &monotonic);
    (void) pthread_condattr_destroy(&monotonic);
    journal_writer_init(&self->writer);
    journal_readers_init(self);
    return self;
}

/* Signals are the loop thread's business. */
static int start_thread(pthread_t *ret_thread, void *(*run)(void *), struct journal *self)
{
    sigset_t all;
    sigset_t before;
    (void) sigfillset(&all);
    (void) pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = pthread_create(ret_thread, NULL, run, self);
    (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result == 0 ? 0 : err_from_errno(result);
}

static void stop_preparer(struct journal *self)
{
    pthread_mutex_lock(&self->lock);
    self->is_stopping_preparer = true;
    pthread_cond_signal(&self->preparer_wake);
    pthread_mutex_unlock(&self->lock);
    (void) pthread_join(self->preparer.thread, NULL); /* it is ours and joined once */
}

static int start_threads(struct journal *self)
{
    int error = start_thread(&self->preparer.thread, journal_preparer_main, self);
    if (error != 0) {
        return error;
    }
    error = start_thread(&self->writer.thread, journal_writer_main, self);
    if (error != 0) {
        stop_preparer(self);
        return error;
    }
    self->is_running = true;
    return 0;
}

int journal_open(const struct journal_options *options, const struct journal_visitor *visitor,
                 struct journal_recovery *ret_recovery, struct journal **ret_journal)
{
    struct journal *self = journal_new();
    int error = set_options(self, options);
    if (error == 0 && !self->read_only) {
        error = fs_make_dirs(options->dir);
    }
    if (error == 0) {
        self->dir_fd = fs_open_dir(options->dir);
        error = self->dir_fd < 0 ? self->dir_fd : 0;
    }
    if (error == 0) {
        self->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        error = self->event_fd < 0 ? err_from_errno(errno) : 0;
    }
    if (error == 0) {
        error = journal_recover(self, visitor, ret_recovery);
    }
    if (error == 0 && !self->read_only) {
        self->preparer.is_room_ok = journal_prepare_has_room(self, 0);
        atomic_store(&self->is_full, !self->reserve_ready || !self->preparer.is_room_ok);
        atomic_store(&self->durable_upto,
                     journal_position(self->writer.file.header.seq, self->writer.end));
        journal_writer_show_room(self);
        error = start_threads(self);
    }
    if (error != 0) {
        journal_close(&self);
        return error;
    }
    *ret_journal = self;
    return 0;
}

static void free_blocks(struct list *blocks)
{
    for (struct list *node = list_pop_front(blocks); node != NULL; node = list_pop_front(blocks)) {
        struct journal_block *block = LIST_ENTRY(node, struct journal_block, node);
        for (unsigned i = 0; i < block->count; i++) {
            slice_release(&block->slots[i].entry.payload);
        }
        mem_free(block);
    }
}

static void journal_free(struct journal *self)
{
    free_blocks(&self->pending);
    free_blocks(&self->submitted);
    free_blocks(&self->writer.work);
    free_blocks(&self->done);
    free_blocks(&self->free_blocks);
    INVARIANT(list_is_empty(&self->finished));
    INVARIANT(list_is_empty(&self->released));
    journal_writer_release(&self->writer);
    journal_readers_release(self);
    if (self->next.fd >= 0) {
        (void) close(self->next.fd); /* synced */
    }
    if (self->event_fd >= 0) {
        (void) close(self->event_fd); /* holds no data */
    }
    if (self->dir_fd >= 0) {
        (void) close(self->dir_fd); /* synced */
    }
    (void) pthread_cond_destroy(&self->next_change);
    (void) pthread_cond_destroy(&self->preparer_wake);
    (void) pthread_cond_destroy(&self->writer_wake);
    (void) pthread_mutex_destroy(&self->lock);
    mem_free(self->files);
    mem_free(self);
}

void journal_close(struct journal **journal)
{
    struct journal *self = *journal;
    *journal = NULL;
    if (self == NULL) {
        return;
    }
    if (self->is_running) {
        journal_submit(self);
        pthread_mutex_lock(&self->lock);
        self->is_stopping_writer = true;
        pthread_cond_signal(&self->writer_wake);
        pthread_mutex_unlock(&self->lock);
        (void) pthread_join(self->writer.thread, NULL); /* it is ours and joined once */
        stop_preparer(self);                            /* after: the writer may need a file */
    }
    journal_free(self);
}

/* --- appending --- */

/* The block to put the next entry into. */
static struct journal_block *pending_block(struct journal *self)
{
    if (!list_is_empty(&self->pending)) {
        struct journal_block *last = LIST_ENTRY(self->pending.previous, struct journal_block, node);
        if (last->count < JOURNAL_BLOCK_ENTRIES && last->bytes < JOURNAL_BLOCK_BYTES) {
            return last;
        }
    }
    struct list *node = list_pop_front(&self->free_blocks);
    struct journal_block *block;
    if (node != NULL) {
        block = LIST_ENTRY(node, struct journal_block, node);
        self->free_count--;
    } else {
        block = MEM_NEW(struct journal_block);
        list_init(&block->node);
    }
    block->count = 0;
    block->bytes = 0;
    list_push_back(&self->pending, &block->node);
    return block;
}

/* What fits into a file of this size, behind its header, for sure. */
static uint64_t file_room(uint64_t file_bytes)
{
    return file_bytes - JOURNAL_FILE_HEADER_BYTES - JOURNAL_ROOM_SLACK;
}

/* Room for the frame and for all that is queued before it must be certain before it is accepted: an entry that is refused later would
 * leave a hole in its group. The queue fits for sure when it fits as a whole into what is left of this file, or into the next
 * file, or, should there be no room for a next one, into the reserve (data only into half of it: the rest is for
 * control entries while the disk is full). 0; ERR_STORAGE_FULL; ERR_AGAIN: the next file is still being made. */
static int journal_promise(struct journal *self, bool is_data, uint64_t frame_bytes)
{
    uint64_t wanted = self->queued_bytes + frame_bytes;
    bool is_full = atomic_load_explicit(&self->is_full, memory_order_relaxed);
    if (is_data && is_full) {
        return ERR_STORAGE_FULL;
    }
    if (wanted <= atomic_load(&self->room)) {
        return 0;
    }
    uint64_t reserve = file_room(self->reserve_bytes);
    int error = 0;
    pthread_mutex_lock(&self->lock);
    bool has_next =
        self->next_state == JOURNAL_NEXT_READY && wanted <= file_room(self->next.header.file_bytes);
    bool has_reserve = self->reserve_ready && wanted <= (is_data ? reserve / 2 : reserve);
    if (!has_next && !has_reserve) {
        error = is_full || self->next_failed ? ERR_STORAGE_FULL : ERR_AGAIN;
        if (error == ERR_AGAIN && self->next_state == JOURNAL_NEXT_NONE) {
            self->next_wanted = true;
            self->next_urgent = true;
            pthread_cond_signal(&self->preparer_wake);
        }
    }
    pthread_mutex_unlock(&self->lock);
    return error;
}

int journal_append(struct journal *self, const struct journal_entry *entry, uint64_t *ret_wseq)
{
    INVARIANT(entry->group != 0);
    INVARIANT(entry->type >= JOURNAL_ENTRY && entry->type <= JOURNAL_TRUNCATE);

    if (self->read_only) {
        return ERR_READ_ONLY;
    }
    if (atomic_load_explicit(&self->is_poisoned, memory_order_relaxed)) {
        return ERR_POISONED;
    }
    if (entry->payload.bytes.size > self->frame_bytes_max ||
        journal_frame_size(entry->payload.bytes.size) > self->frame_bytes_max) {
        return ERR_TOO_LARGE;
    }
    uint32_t frame_bytes = (uint32_t) journal_frame_size(entry->payload.bytes.size);
    /* An empty queue takes anything, else a frame above the limit could never be written. */
    if (self->queued_bytes != 0 && self->queued_bytes + frame_bytes > self->queue_bytes_max) {
        return ERR_AGAIN;
    }
    int error = journal_promise(self, entry->count > 0, frame_bytes);
    if (error != 0) {
        return error;
    }
    struct journal_block *block = pending_block(self);
    struct journal_slot *slot = &block->slots[block->count++];
    slot->entry = *entry;
    slot->entry.payload = slice_ref(&entry->payload);
    slot->wseq = self->wseq_next++;
    slot->position = 0;
    slot->frame_bytes = frame_bytes;
    slot->error = 0;
    block->bytes += frame_bytes;
    self->queued_bytes += frame_bytes;
    *ret_wseq = slot->wseq;
    return 0;
}

void journal_submit(struct journal *self)
{
    if (list_is_empty(&self->pending)) {
        return;
    }
    pthread_mutex_lock(&self->lock);
    while (!list_is_empty(&self->pending)) {
        list_push_back(&self->submitted, list_pop_front(&self->pending));
    }
    pthread_cond_signal(&self->writer_wake);
    pthread_mutex_unlock(&self->lock);
}

/* One small entry, nothing else under way, room in the file (making another could wait long), quick syncs? */
static bool may_borrow_writer(const struct journal *self)
{
    const struct journal_block *block = LIST_ENTRY(self->pending.next, struct journal_block, node);
    return !list_is_empty(&self->pending) && block->count == 1 &&
           self->queued_bytes == block->bytes && block->bytes <= JOURNAL_LENT_BYTES_MAX &&
           block->bytes <= atomic_load(&self->room) &&
           atomic_load_explicit(&self->slow_rounds, memory_order_relaxed) == 0;
}

bool journal_submit_now(struct journal *self)
{
    bool borrowed = false;
    if (may_borrow_writer(self)) {
        pthread_mutex_lock(&self->lock);
        borrowed = self->writer_rests && list_is_empty(&self->submitted);
        self->writer_lent = borrowed;
        pthread_mutex_unlock(&self->lock);
    }
    if (!borrowed) {
        journal_submit(self);
        return false;
    }
    list_push_back(&self->writer.work, list_pop_front(&self->pending));
    journal_writer_round(self);
    pthread_mutex_lock(&self->lock);
    self->writer_lent = false;
    if (self->writer_rests_long) {
        pthread_cond_signal(&self->writer_wake); /* a mark is due */
    }
    pthread_mutex_unlock(&self->lock);
    return true;
}

/* --- completions --- */

int journal_fd(const struct journal *self)
{
    return self->event_fd;
}

void journal_notify(struct journal *self)
{
    uint64_t one = 1;
    (void) !write(self->event_fd, &one, sizeof(one)); /* EAGAIN: it is readable already */
}

bool journal_wait_locked(struct journal *self, pthread_cond_t *cond, int timeout_ms)
{
    struct timespec until;
    (void) clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long) timeout_ms % 1000 * 1000000;
    until.tv_sec += timeout_ms / 1000 + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return pthread_cond_timedwait(cond, &self->lock, &until) == 0;
}

void journal_poison_locked(struct journal *self)
{
    atomic_store(&self->is_poisoned, true);
    pthread_cond_broadcast(&self->next_change);
    journal_notify(self);
}

void journal_poison(struct journal *self)
{
    pthread_mutex_lock(&self->lock);
    journal_poison_locked(self);
    pthread_mutex_unlock(&self->lock);
}

/* Tell the owner about a block and keep its memory for the next one. */
static void block_done(struct journal *self, struct journal_block *block, journal_done_fn *done,
                       void *ud)
{
    for (unsigned i = 0; i < block->count; i++) {
        struct journal_slot *slot = &block->slots[i];
        struct journal_done one = {
            .wseq = slot->wseq,
            .group = slot->entry.group,
            .index = slot->entry.index,
            .type = slot->entry.type,
            .kind = slot->entry.kind,
            .position = slot->position,
            .frame_bytes = slot->frame_bytes,
            .error = slot->error,
        };
        self->queued_bytes -= slot->frame_bytes;
        slice_release(&slot->entry.payload);
        done(ud, &one);
    }
    block->count = 0;
    if (self->free_count < JOURNAL_FREE_BLOCKS_MAX) {
        list_push_back(&self->free_blocks, &block->node);
        self->free_count++;
    } else {
        mem_free(block);
    }
}

unsigned journal_poll(struct journal *self, journal_done_fn *done, void *ud)
{
    struct list blocks;
    uint64_t count = 0;
    unsigned total = 0;
    (void) !read(self->event_fd, &count, sizeof(count)); /* EAGAIN: nothing was signalled */
    pthread_mutex_lock(&self->lock);
    list_take_all(&blocks, &self->done);
    pthread_mutex_unlock(&self->lock);
    for (struct list *node = list_pop_front(&blocks); node != NULL;
         node = list_pop_front(&blocks)) {
        struct journal_block *block = LIST_ENTRY(node, struct journal_block, node);
        total += block->count;
        block_done(self, block, done, ud);
    }
    return total;
}

/* --- the files --- */

void journal_files_add(struct journal *self, const struct journal_file_header *header)
{
    if (self->file_count == self->file_capacity) {
        self->file_capacity = self->file_capacity != 0 ? self->file_capacity * 2 : 16;
        self->files = mem_resize(self->files, self->file_capacity, sizeof(*self->files));
    }
    INVARIANT(self->file_count == 0 || self->files[self->file_count - 1].seq < header->seq);
    self->files[self->file_count++] = *header;
}

void journal_release_before(struct journal *self, uint64_t position)
{
    if (!self->is_running) {
        return;
    }
    pthread_mutex_lock(&self->lock);
    size_t count = 0;
    /* The last one is being written. */
    while (count + 1 < self->file_count && self->files[count].seq < position_seq(position)) {
        struct journal_released *released = MEM_NEW(struct journal_released);
        released->header = self->files[count];
        list_push_back(&self->released, &released->node);
        self->stats.released_bytes += released->header.file_bytes;
        journal_readers_forget(self, released->header.seq);
        count++;
    }
    if (count > 0) {
        self->file_count -= count;
        memmove(self->files, self->files + count, self->file_count * sizeof(*self->files));
        pthread_cond_signal(&self->preparer_wake);
    }
    pthread_mutex_unlock(&self->lock);
}

/* --- state --- */

uint64_t journal_durable_upto(const struct journal *self)
{
    return atomic_load(&self->durable_upto);
}

uint64_t journal_queued_bytes(const struct journal *self)
{
    return self->queued_bytes;
}

bool journal_is_full(const struct journal *self)
{
    return atomic_load(&self->is_full);
}

bool journal_is_poisoned(const struct journal *self)
{
    return atomic_load(&self->is_poisoned);
}

/* Locking changes nothing that a caller can see. */
static pthread_mutex_t *journal_lock_of(const struct journal *self)
{
    pthread_mutex_t *lock = NULL;
    const pthread_mutex_t *source = &self->lock;
    memcpy(&lock, &source, sizeof(lock));
    return lock;
}

uint64_t journal_file_bytes(const struct journal *self, uint64_t first_seq, uint64_t last_seq)
{
    uint64_t bytes = 0;
    pthread_mutex_t *lock = journal_lock_of(self);
    pthread_mutex_lock(lock);
    for (size_t i = 0; i < self->file_count && self->files[i].seq <= last_seq; i++) {
        bytes += self->files[i].seq >= first_seq ? self->files[i].file_bytes : 0;
    }
    pthread_mutex_unlock(lock);
    return bytes;
}

void journal_stats_read(const struct journal *self, struct journal_stats *ret_stats)
{
    pthread_mutex_t *lock = journal_lock_of(self);
    pthread_mutex_lock(lock);
    *ret_stats = self->stats;
    ret_stats->files = self->file_count;
    ret_stats->first_seq = self->file_count != 0 ? self->files[0].seq : 0;
    ret_stats->disk_bytes = 0;
    for (size_t i = 0; i < self->file_count; i++) {
        ret_stats->disk_bytes += self->files[i].file_bytes;
    }
    pthread_mutex_unlock(lock);
}
