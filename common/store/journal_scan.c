/* journal_scan: read a journal file frame by frame, tell what is intact, what is damaged and where it ends. It
 * judges nothing: whether damage is a torn tail or corruption is decided in journal_recover.c, when every file
 * was seen. Owns a read window; changes nothing on disk. Must accept any bytes, and visits each at most a few
 * times, so that a hostile file cannot make it slow. */
#include "common/store/journal_private.h"

#include <string.h>

#include "common/base/bytes.h"
#include "common/base/crc32c.h"
#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"

enum {
    WINDOW_BYTES = 1 << 20,
    WINDOW_ALIGN = 4096, /* for O_DIRECT: offset, size and memory */
    PIECE_BYTES = 256 << 10,
    SALTS_MAX = 8,
};

/* A sliding view of the file. Bytes behind its end read as zeros. */
struct window {
    const struct fs_ops *ops;
    int fd;
    uint8_t *memory;
    uint8_t *data; /* aligned inside memory */
    uint64_t start;
    size_t size;    /* valid bytes in data */
    uint64_t limit; /* of the file */
    int error;      /* the first one; everything reads as zeros from then on */
};

static int window_init(struct window *self, const struct fs_ops *ops, int fd, uint64_t limit)
{
    *self = (struct window){.ops = ops, .fd = fd, .limit = limit};
    size_t size = limit < WINDOW_BYTES ? (size_t) limit + WINDOW_ALIGN : WINDOW_BYTES;
    self->memory = mem_try_new(size + WINDOW_ALIGN);
    if (self->memory == NULL) {
        return ERR_NO_MEMORY;
    }
    size_t skip = (WINDOW_ALIGN - (uintptr_t) self->memory % WINDOW_ALIGN) % WINDOW_ALIGN;
    self->data = self->memory + skip;
    return 0;
}

static void window_release(struct window *self)
{
    MEM_FREE(self->memory);
}

static void window_load(struct window *self, uint64_t at)
{
    self->start = at - at % WINDOW_ALIGN;
    uint64_t left = self->limit - self->start;
    left += (WINDOW_ALIGN - left % WINDOW_ALIGN) % WINDOW_ALIGN;
    self->size = left < WINDOW_BYTES ? (size_t) left : WINDOW_BYTES;
    size_t got = 0;
    if (self->error == 0) {
        int error = fs_pread_some(self->ops, self->fd, self->data, self->size, self->start, &got);
        if (error != 0) {
            self->error = error;
            got = 0;
        }
    }
    memset(self->data + got, 0, self->size - got);
}

/* `size` bytes at `at`, both inside the limit; valid until the next call. */
static const uint8_t *window_at(struct window *self, uint64_t at, size_t size)
{
    INVARIANT(size <= WINDOW_BYTES - WINDOW_ALIGN);
    INVARIANT(at <= self->limit && size <= self->limit - at);
    if (at < self->start || at + size > self->start + self->size) {
        window_load(self, at);
    }
    return self->data + (at - self->start);
}

static bool is_all_zero(const uint8_t *at, size_t size)
{
    return size == 0 || (at[0] == 0 && memcmp(at, at + 1, size - 1) == 0);
}

void journal_scan_init(struct journal_scan *self)
{
    *self = (struct journal_scan){0};
    journal_index_init(&self->index);
}

void journal_scan_release(struct journal_scan *self)
{
    journal_index_release(&self->index);
    MEM_FREE(self->bad);
}

void journal_scan_add_bad(struct journal_scan *self, const struct journal_bad *bad)
{
    if (self->bad_count == self->bad_capacity) {
        self->bad_capacity = self->bad_capacity != 0 ? self->bad_capacity * 2 : 4;
        self->bad = mem_resize(self->bad, self->bad_capacity, sizeof(*self->bad));
    }
    self->bad[self->bad_count++] = *bad;
}

/* An intact header at this place whose frame lies inside the file. */
static bool frame_at(struct window *window, const struct journal_file_header *header, uint64_t at,
                     struct journal_frame *ret_frame)
{
    if (window->limit - at < JOURNAL_FRAME_BYTES) {
        return false;
    }
    const uint8_t *bytes = window_at(window, at, JOURNAL_FRAME_BYTES);
    return journal_frame_get(bytes, header->salt, journal_position(header->seq, at), ret_frame) &&
           journal_frame_size(ret_frame->length) <= window->limit - at;
}

/* Check the payload; hard states and truncations are copied into `keep`. */
static bool payload_is_intact(struct window *window, const struct journal_frame *frame, uint64_t at,
                              struct buf *keep)
{
    uint32_t crc = 0;
    uint64_t left = frame->length;
    at += JOURNAL_FRAME_BYTES;
    while (left > 0) {
        size_t piece = left < PIECE_BYTES ? (size_t) left : PIECE_BYTES;
        const uint8_t *bytes = window_at(window, at, piece);
        crc = crc32c_extend(crc, span_make(bytes, piece));
        if (keep != NULL) {
            if (buf_try_reserve(keep, piece) == NULL) {
                window->error = ERR_NO_MEMORY;
                return false;
            }
            buf_append(keep, span_make(bytes, piece));
        }
        at += piece;
        left -= piece;
    }
    return crc == frame->crc_payload;
}

/* The next intact header at or behind `from`; limit when there is none. *remains moves to the end of the last
 * block in between that is not all zeros. */
static uint64_t resync(struct window *window, const struct journal_file_header *header,
                       uint64_t from, uint64_t *remains)
{
    struct journal_frame frame;
    uint64_t at = from;
    while (window->limit > at) {
        uint64_t left = window->limit - at;
        /* Up to the next block boundary, so that an aligned zero block is one comparison. */
        uint64_t step = WINDOW_ALIGN - at % WINDOW_ALIGN;
        size_t size = left < step ? (size_t) left : (size_t) step;
        const uint8_t *bytes = window_at(window, at, size);
        if (!is_all_zero(bytes, size)) {
            for (size_t i = 0; i + JOURNAL_ALIGN <= size; i += JOURNAL_ALIGN) {
                bytes = window_at(window, at, size);
                if (bytes_get_u32(bytes + i) == JOURNAL_FRAME_MAGIC &&
                    frame_at(window, header, at + i, &frame)) {
                    return at + i;
                }
            }
            *remains = at + size;
        }
        at += size;
    }
    return window->limit;
}

/* One intact header: note the frame, or that its payload is damaged. Returns where the next begins. */
static uint64_t scan_frame(struct journal_scan *self, struct window *window, uint64_t seq,
                           uint64_t at, const struct journal_frame *frame, struct buf *payload)
{
    uint64_t position = journal_position(seq, at);
    uint64_t size = journal_frame_size(frame->length);
    bool is_control =
        frame->entry.type == JOURNAL_HARD_STATE || frame->entry.type == JOURNAL_TRUNCATE;

    if (frame->durable_upto > self->durable_upto) {
        self->durable_upto = frame->durable_upto;
    }
    buf_reset(payload);
    if (!payload_is_intact(window, frame, at, is_control ? payload : NULL)) {
        struct journal_bad bad = {position, size, true, frame->entry};
        journal_scan_add_bad(self, &bad);
        journal_index_break(&self->index);
        return at + size;
    }
    self->frames++;
    if (frame->entry.group != 0) {
        int error = journal_index_add(&self->index, &frame->entry, buf_span(payload), position,
                                      (uint32_t) size);
        if (error != 0) {
            window->error = error;
        }
    }
    if (frame->entry.type == JOURNAL_MARK && (frame->flags & JOURNAL_FLAG_END) != 0) {
        self->has_end_mark = true;
    }
    return at + size;
}

/* What lies behind the last frame: nothing, or remains of a write that never finished. */
static void scan_remains(struct journal_scan *self, struct window *window,
                         const struct journal_file_header *header, uint64_t remains)
{
    uint64_t at = self->end;
    if (header->is_fresh) {
        /* It was all zeros before us, so anything else was ours. */
        self->dirty_end = remains > at ? (uint32_t) remains : 0;
    } else if (window->limit - at >= JOURNAL_FRAME_BYTES &&
               journal_frame_looks_ours(window_at(window, at, JOURNAL_FRAME_BYTES), header->salt,
                                        journal_position(header->seq, at))) {
        self->dirty_end = (uint32_t) at + JOURNAL_FRAME_BYTES;
    }
}

static void scan_frames(struct journal_scan *self, struct window *window,
                        const struct journal_file_header *header, struct buf *payload)
{
    struct journal_frame frame;
    uint64_t at = JOURNAL_FILE_HEADER_BYTES;
    uint64_t remains = 0;
    while (window->error == 0) {
        if (!self->has_end_mark && frame_at(window, header, at, &frame)) {
            at = scan_frame(self, window, header->seq, at, &frame, payload);
            continue;
        }
        self->end = (uint32_t) at;
        uint64_t next = resync(window, header, at, &remains);
        if (next == window->limit) {
            scan_remains(self, window, header, remains);
            return;
        }
        if (self->has_end_mark) {
            /* Frames behind the end: a cut that was not finished. They were never promised. */
            self->dirty_end = (uint32_t) window->limit;
            return;
        }
        uint64_t position = journal_position(header->seq, at);
        struct journal_bad bad = {.position = position, .bytes = next - at};
        journal_scan_add_bad(self, &bad);
        journal_index_break(&self->index);
        at = next;
    }
}

int journal_scan_file(struct journal_scan *self, const struct fs_ops *ops, int fd,
                      const struct journal_file_header *header)
{
    struct window window;
    int error = window_init(&window, ops, fd, header->file_bytes);
    if (error != 0) {
        return error;
    }
    struct buf payload = {0};
    scan_frames(self, &window, header, &payload);
    self->bytes = self->end - JOURNAL_FILE_HEADER_BYTES;
    error = window.error;
    buf_release(&payload);
    window_release(&window);
    return error;
}

/* --- a file that lost both its headers --- */

struct salt_votes {
    uint64_t salt[SALTS_MAX];
    uint64_t votes[SALTS_MAX];
    size_t count;
};

static void salt_vote(struct salt_votes *self, uint64_t salt)
{
    for (size_t i = 0; i < self->count; i++) {
        if (self->salt[i] == salt) {
            self->votes[i]++;
            return;
        }
    }
    if (self->count < SALTS_MAX) {
        self->salt[self->count] = salt;
        self->votes[self->count++] = 1;
    }
}

/* A vote only from frames of this life: those of an earlier life of the file name older files as durable, because
 * a file is recycled only when at least one newer file is in use, and its next life comes behind that. */
static bool is_of_this_life(const struct journal_frame *frame, uint64_t seq)
{
    uint64_t durable_seq = position_seq(frame->durable_upto);
    return durable_seq == seq || durable_seq + 1 == seq;
}

int journal_scan_salt(const struct fs_ops *ops, int fd, const struct journal_file_header *header,
                      uint64_t *ret_salt)
{
    struct window window;
    int error = window_init(&window, ops, fd, header->file_bytes);
    if (error != 0) {
        return error;
    }
    struct salt_votes votes = {0};
    uint64_t at = JOURNAL_FILE_HEADER_BYTES;
    while (window.error == 0 && window.limit >= at + JOURNAL_FRAME_BYTES) {
        struct journal_frame frame;
        uint64_t salt = 0;
        const uint8_t *bytes = window_at(&window, at, JOURNAL_FRAME_BYTES);
        uint64_t size = JOURNAL_ALIGN;
        if (bytes_get_u32(bytes) == JOURNAL_FRAME_MAGIC &&
            journal_frame_salt(bytes, journal_position(header->seq, at), &frame, &salt) &&
            is_of_this_life(&frame, header->seq)) {
            salt_vote(&votes, salt);
            size = journal_frame_size(frame.length);
        }
        at += size;
    }
    error = window.error;
    window_release(&window);
    size_t best = 0;
    for (size_t i = 1; i < votes.count; i++) {
        best = votes.votes[i] > votes.votes[best] ? i : best;
    }
    if (error == 0 && votes.count == 0) {
        error = ERR_NOT_FOUND;
    }
    if (error == 0) {
        *ret_salt = votes.salt[best];
    }
    return error;
}
