/* journal_writer: the writer thread: takes what was submitted, writes it with as few calls as possible, syncs once, and
 * only then hands the completions over. It owns the file that is appended to; while it rests, the owner may borrow
 * all of it for one round (journal_submit_now). The order in a round is the promise:
 *   1 place   each entry gets its position; headers go to an arena, payloads are listed, not copied
 *   2 write   one pwritev (more only when the list is too long)
 *   3 sync    fdatasync: from here on the round is durable
 *   4 done    durable_upto moves, then the owner is told
 * After any failure of 2 or 3 the journal is poisoned and nothing is tried again. A round may end one file and
 * begin the next: the old file is ended, synced and left before the first byte goes to the new one. */
#include "common/store/journal_private.h"

#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/crc32c.h"
#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"

void journal_writer_init(struct journal_writer *self)
{
    self->file.fd = -1;
    list_init(&self->work);
}

void journal_writer_release(struct journal_writer *self)
{
    journal_index_release(&self->index);
    if (self->file.fd >= 0) {
        (void) close(self->file.fd); /* everything promised was synced */
        self->file.fd = -1;
    }
}

static uint64_t now_us(void)
{
    return timesource_monotonic_us(timesource_system());
}

static uint64_t writer_position(const struct journal_writer *self)
{
    return journal_position(self->file.header.seq, self->end);
}

/* --- gathering a write --- */

/* The next `size` bytes of the arena as part of the write. The caller has made room. */
static uint8_t *gather_arena(struct journal_writer *self, size_t size)
{
    uint8_t *at = self->arena + self->arena_used;
    self->arena_used += size;
    struct iovec *last = self->part_count > 0 ? &self->parts[self->part_count - 1] : NULL;
    if (last != NULL && (uint8_t *) last->iov_base + last->iov_len == at) {
        last->iov_len += size;
    } else {
        self->parts[self->part_count++] = (struct iovec){at, size};
    }
    return at;
}

static void gather_payload(struct journal_writer *self, struct span bytes)
{
    if (bytes.size == 0) {
        return;
    }
    if (bytes.size <= JOURNAL_COPY_MAX) {
        memcpy(gather_arena(self, bytes.size), bytes.data, bytes.size);
        return;
    }
    struct iovec *part = &self->parts[self->part_count++];
    memcpy(&part->iov_base, &bytes.data, sizeof(part->iov_base)); /* iovec has no const */
    part->iov_len = bytes.size;
}

/* Put one frame at the end of what is gathered; it fits into the file and into the arena. */
static void gather_frame(struct journal *journal, const struct journal_entry *entry, uint8_t flags)
{
    struct journal_writer *self = &journal->writer;
    struct span payload = entry->payload.bytes;
    uint64_t size = journal_frame_size(payload.size);
    struct journal_frame frame = {
        .entry = *entry,
        .flags = flags,
        .length = (uint32_t) payload.size,
        .durable_upto = atomic_load(&journal->durable_upto),
        .crc_payload = crc32c_extend(0, payload),
    };
    journal_frame_put(&frame, self->file.header.salt, writer_position(self),
                      gather_arena(self, JOURNAL_FRAME_BYTES));
    gather_payload(self, payload);
    size_t padding = (size_t) (size - JOURNAL_FRAME_BYTES - payload.size);
    if (padding != 0) {
        memset(gather_arena(self, padding), 0, padding);
    }
    self->end += (uint32_t) size;
    self->gathered += size;
}

/* Write what is gathered; poisons on failure. */
static void writer_flush(struct journal *journal)
{
    struct journal_writer *self = &journal->writer;
    if (self->part_count == 0 || atomic_load(&journal->is_poisoned)) {
        return;
    }
    uint64_t begin = now_us();
    int error = fs_pwritev_all(journal->ops, self->file.fd, self->parts, self->part_count,
                               self->end - self->gathered);
    uint64_t took = now_us() - begin;
    pthread_mutex_lock(&journal->lock);
    journal->stats.write_us_total += took;
    journal->stats.bytes += self->gathered;
    pthread_mutex_unlock(&journal->lock);
    self->part_count = 0;
    self->arena_used = 0;
    self->gathered = 0;
    if (error != 0) {
        journal_poison(journal);
    }
}

/* Make what was written durable, and say so. */
static void writer_sync(struct journal *journal)
{
    struct journal_writer *self = &journal->writer;
    writer_flush(journal);
    if (atomic_load(&journal->is_poisoned)) {
        return;
    }
    uint64_t begin = now_us();
    int error = fs_datasync(journal->ops, self->file.fd);
    if (error != 0) {
        journal_poison(journal); /* the page cache lies from here on: no second attempt */
        return;
    }
    uint64_t took = now_us() - begin;
    atomic_store(&journal->durable_upto, writer_position(self));
    unsigned slow = atomic_load_explicit(&journal->slow_rounds, memory_order_relaxed);
    slow = took > JOURNAL_SLOW_SYNC_US ? JOURNAL_SLOW_ROUNDS : slow > 0 ? slow - 1 : 0;
    atomic_store_explicit(&journal->slow_rounds, slow, memory_order_relaxed);
    pthread_mutex_lock(&journal->lock);
    journal->stats.rounds++;
    journal->stats.sync_us_total += took;
    if (took > journal->stats.sync_us_max) {
        journal->stats.sync_us_max = took;
    }
    pthread_mutex_unlock(&journal->lock);
}

/* --- files --- */

void journal_writer_show_room(struct journal *journal)
{
    const struct journal_writer *self = &journal->writer;
    uint64_t used = (uint64_t) self->end + JOURNAL_ROOM_SLACK;
    uint64_t size = self->file.header.file_bytes;
    atomic_store(&journal->room, self->is_ended || used > size ? 0 : size - used);
}

/* Room for this and for the end mark behind it? */
static bool writer_fits(const struct journal_writer *self, uint64_t size)
{
    return !self->is_ended &&
           self->end + size + JOURNAL_FRAME_BYTES <= self->file.header.file_bytes;
}

/* Room in arena and list for one more frame. */
static void writer_make_room(struct journal *journal)
{
    struct journal_writer *self = &journal->writer;
    if (self->part_count + 3 > JOURNAL_PARTS_MAX ||
        self->arena_used + JOURNAL_FRAME_BYTES + JOURNAL_COPY_MAX + JOURNAL_ALIGN >
            JOURNAL_ARENA_BYTES ||
        self->gathered >= journal->round_bytes_max) {
        writer_flush(journal);
    }
}

static void writer_put_mark(struct journal *journal, uint8_t flags)
{
    const struct journal_entry mark = {.type = JOURNAL_MARK};
    writer_make_room(journal);
    gather_frame(journal, &mark, flags);
    if ((flags & JOURNAL_FLAG_END) != 0) {
        journal->writer.is_ended = true;
    }
}

/* Everything in the file is durable and nothing more comes; its index goes to the preparer. */
static void writer_finish_file(struct journal *journal)
{
    struct journal_writer *self = &journal->writer;
    if (!self->is_ended) {
        writer_put_mark(journal, JOURNAL_FLAG_END);
    }
    writer_sync(journal);
    if (atomic_load(&journal->is_poisoned)) {
        return;
    }
    struct journal_finished *finished = MEM_NEW(struct journal_finished);
    finished->header = self->file.header;
    finished->end = self->end;
    finished->index = self->index;
    journal_index_init(&self->index);
    (void) close(self->file.fd); /* synced */
    self->file.fd = -1;
    pthread_mutex_lock(&journal->lock);
    list_push_back(&journal->finished, &finished->node);
    pthread_cond_signal(&journal->preparer_wake);
    pthread_mutex_unlock(&journal->lock);
}

static void writer_ask_next(struct journal *journal)
{
    journal->writer.next_asked = true;
    pthread_mutex_lock(&journal->lock);
    journal->next_wanted = true;
    pthread_cond_signal(&journal->preparer_wake);
    pthread_mutex_unlock(&journal->lock);
}

/* Wait until a next file is ready; the reserve becomes it when the disk is full and the frame fits there.
 * ERR_STORAGE_FULL, ERR_POISONED. */
static int writer_await_next(struct journal *journal, bool may_use_reserve)
{
    int error = 0;
    pthread_mutex_lock(&journal->lock);
    journal->next_urgent = true;
    journal->next_wanted = true;
    pthread_cond_signal(&journal->preparer_wake);
    while (journal->next_state != JOURNAL_NEXT_READY) {
        if (atomic_load(&journal->is_poisoned)) {
            error = ERR_POISONED;
            break;
        }
        if (journal->next_failed) {
            if (!may_use_reserve || !journal->reserve_ready) {
                error = ERR_STORAGE_FULL;
                break;
            }
            journal->reserve_wanted = true;
            pthread_cond_signal(&journal->preparer_wake);
        }
        (void) pthread_cond_wait(&journal->next_change, &journal->lock);
    }
    journal->next_urgent = false;
    journal->reserve_wanted = false;
    pthread_mutex_unlock(&journal->lock);
    return error;
}

/* Go on in the next file. */
static int writer_rotate(struct journal *journal, uint64_t size)
{
    struct journal_writer *self = &journal->writer;
    bool fits_reserve =
        JOURNAL_FILE_HEADER_BYTES + size + JOURNAL_FRAME_BYTES <= journal->reserve_bytes;
    int error = writer_await_next(journal, fits_reserve);
    if (error != 0) {
        return error;
    }
    writer_finish_file(journal);
    if (atomic_load(&journal->is_poisoned)) {
        return ERR_POISONED;
    }
    pthread_mutex_lock(&journal->lock);
    self->file = journal->next;
    journal->next_state = JOURNAL_NEXT_NONE;
    journal->next.fd = -1;
    journal_files_add(journal, &self->file.header);
    pthread_mutex_unlock(&journal->lock);
    self->end = JOURNAL_FILE_HEADER_BYTES;
    self->is_ended = false;
    self->next_asked = false;
    journal_writer_show_room(journal);
    return 0;
}

/* --- rounds --- */

/* Give the entry its place: it was promised when it was accepted, so having none is as bad as a failed write. 0 or
 * ERR_POISONED. */
static int writer_place(struct journal *journal, struct journal_slot *slot)
{
    struct journal_writer *self = &journal->writer;
    while (!writer_fits(self, slot->frame_bytes)) {
        if (writer_rotate(journal, slot->frame_bytes) != 0) {
            journal_poison(journal);
            return ERR_POISONED;
        }
    }
    writer_make_room(journal);
    if (atomic_load(&journal->is_poisoned)) {
        return ERR_POISONED;
    }
    slot->position = writer_position(self);
    gather_frame(journal, &slot->entry, 0);
    /* Out of memory here loses only the .idx, but a wrong .idx would be worse than none: end as for a failed write. */
    if (journal_index_add(&self->index, &slot->entry, slot->entry.payload.bytes, slot->position,
                          slot->frame_bytes) != 0) {
        journal_poison(journal);
        return ERR_POISONED;
    }
    return 0;
}

/* Take blocks worth one write from the work list. */
static void writer_take_round(struct journal *journal, struct list *ret_round)
{
    uint64_t bytes = 0;
    list_init(ret_round);
    while (bytes < journal->round_bytes_max) {
        struct list *node = list_pop_front(&journal->writer.work);
        if (node == NULL) {
            return;
        }
        bytes += LIST_ENTRY(node, struct journal_block, node)->bytes;
        list_push_back(ret_round, node);
    }
}

void journal_writer_round(struct journal *journal)
{
    struct journal_writer *self = &journal->writer;
    struct list round;
    uint64_t placed = 0;
    writer_take_round(journal, &round);
    LIST_FOREACH (&round, node) {
        struct journal_block *block = LIST_ENTRY(node, struct journal_block, node);
        for (unsigned i = 0; i < block->count; i++) {
            struct journal_slot *slot = &block->slots[i];
            slot->error = atomic_load_explicit(&journal->is_poisoned, memory_order_relaxed)
                              ? ERR_POISONED
                              : writer_place(journal, slot);
            placed += slot->error == 0;
        }
    }
    if (placed != 0) {
        writer_sync(journal);
        self->mark_due = true;
    }
    if (atomic_load(&journal->is_poisoned)) {
        uint64_t durable_upto = atomic_load(&journal->durable_upto);
        LIST_FOREACH (&round, node) {
            struct journal_block *block = LIST_ENTRY(node, struct journal_block, node);
            for (unsigned i = 0; i < block->count; i++) {
                struct journal_slot *slot = &block->slots[i];
                if (slot->error == 0 && slot->position >= durable_upto) {
                    slot->error = ERR_POISONED;
                }
            }
        }
    }
    /* before the completions: the owner counts a frame in one of the two, never in none */
    journal_writer_show_room(journal);
    pthread_mutex_lock(&journal->lock);
    journal->stats.frames += placed;
    while (!list_is_empty(&round)) {
        list_push_back(&journal->done, list_pop_front(&round));
    }
    pthread_mutex_unlock(&journal->lock);
    if (!self->next_asked && self->end >= self->file.header.file_bytes / 8) {
        writer_ask_next(journal);
    }
}

/* Cover the last round, so that damage to it can be told from a torn tail. */
static void writer_mark(struct journal *journal, bool synced)
{
    struct journal_writer *self = &journal->writer;
    self->mark_due = false;
    if (self->is_ended || atomic_load(&journal->is_poisoned)) {
        return;
    }
    /* At the very end of a file the end mark does the same work. */
    writer_put_mark(journal, writer_fits(self, JOURNAL_FRAME_BYTES) ? 0 : JOURNAL_FLAG_END);
    if (synced) {
        writer_sync(journal);
    } else {
        writer_flush(journal);
    }
    journal_writer_show_room(journal);
}

/* Rest until there is work or, with a mark due, for the time of its delay. True: that time is over. */
static bool writer_rest_locked(struct journal *journal)
{
    bool is_over = false;
    journal->writer_rests = true;
    journal->writer_rests_long = journal->writer_lent || !journal->writer.mark_due;
    if (journal->writer_rests_long) {
        (void) pthread_cond_wait(&journal->writer_wake, &journal->lock);
    } else {
        is_over = !journal_wait_locked(journal, &journal->writer_wake, JOURNAL_IDLE_MARK_MS);
    }
    journal->writer_rests = false;
    return is_over;
}

/* Move what was submitted to the work list; waits if there is none, and while the writer is lent. False: stop. */
static bool writer_take_work(struct journal *journal)
{
    struct journal_writer *self = &journal->writer;
    bool go_on = true;
    pthread_mutex_lock(&journal->lock);
    while (journal->writer_lent || list_is_empty(&journal->submitted)) {
        if (journal->is_stopping_writer && !journal->writer_lent) {
            go_on = false;
            break;
        }
        bool is_over = writer_rest_locked(journal);
        if (is_over && !journal->writer_lent && list_is_empty(&journal->submitted)) {
            pthread_mutex_unlock(&journal->lock);
            writer_mark(journal, false);
            pthread_mutex_lock(&journal->lock);
        }
    }
    while (!list_is_empty(&journal->submitted)) {
        list_push_back(&self->work, list_pop_front(&journal->submitted));
    }
    pthread_mutex_unlock(&journal->lock);
    return go_on;
}

void *journal_writer_main(void *arg)
{
    struct journal *journal = arg;
    while (writer_take_work(journal)) {
        while (!list_is_empty(&journal->writer.work)) {
            journal_writer_round(journal);
            journal_notify(journal);
        }
    }
    writer_mark(journal, true);
    return NULL;
}
