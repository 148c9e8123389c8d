/* conn_read: the input of a connection: from bytes, however they come, to whole frames. A frame that came whole is shown where it was read; one that did not is
 * pieced together in memory of its own, whose size follows what has come, never what was announced. */
#include "frontd/conn_private.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "common/base/err.h"
#include "common/wire/frame.h"

enum {
    FRAMES_PER_TURN = 256,
    READ_BYTES_MAX = 256 << 10,   /* of one read */
    READ_BYTES_SCARCE = 16 << 10, /* of one read, when much is held already */
    PARTIAL_BYTES_MIN = 512,
    PARTIAL_GROWTH = 4, /* room for a frame is at most so many times what has come of it */
};

void conn_account(struct conn *self)
{
    uint64_t bytes = self->pending[0].bytes.size + self->pending[1].bytes.size;
    if (self->partial != NULL) {
        bytes += payload_size(self->partial);
    }
    self->set->inbound_bytes += bytes - self->inbound_bytes;
    self->inbound_bytes = bytes;
}

/* How much to read at once: whoever cannot be served now shall not hold much. */
static size_t conn_read_bytes(const struct conn *self)
{
    bool is_scarce = self->set->inbound_bytes > self->set->options.inbound_total_bytes_max / 4;
    return is_scarce ? READ_BYTES_SCARCE : READ_BYTES_MAX;
}

static uint32_t conn_frame_max(const struct conn *self)
{
    return self->sm.state == CONN_CONNECTED ? (uint32_t) FRAME_SIZE_MAX_PRE_AUTH
                                            : self->set->options.frame_bytes_max;
}

/* Show the whole frames at the front of *run; they are taken off. 0: only an incomplete one is left, or nothing; ERR_AGAIN: stopped in
 * between; ERR_CLOSED: the connection takes no more. */
static int conn_show(struct conn *self, struct payload *owner, struct span *run, unsigned *budget)
{
    while (run->size != 0) {
        struct span frame;
        size_t total = 0;
        int result = frame_split(*run, conn_frame_max(self), &frame, &total);
        if (result == ERR_INCOMPLETE) {
            return 0;
        }
        if (result != 0) {
            conn_fail(self, result, "frame length");
            return ERR_CLOSED;
        }
        if (*budget == 0) {
            return ERR_AGAIN;
        }
        --*budget;
        result = self->events->on_frame(self->ud, frame, owner);
        if (!conn_takes_frames(self)) {
            return ERR_CLOSED;
        }
        if (result == ERR_AGAIN) {
            if (!self->is_blocked) {
                self->is_blocked = true;
                self->set->blocked_count++;
                list_push_back(&self->set->blocked, &self->of_stop);
            }
            return ERR_AGAIN;
        }
        if (result != 0) {
            conn_fail(self, result, "malformed frame");
            return ERR_CLOSED;
        }
        self->set->counts.frames_in++;
        *run = span_make(run->data + total, run->size - total);
    }
    return 0;
}

/* The room for a frame of which `have` bytes are there: never more than a few times that. */
static size_t partial_capacity(size_t have, size_t total)
{
    if (total == 0) {
        return FRAME_PREFIX_SIZE;
    }
    size_t capacity = have * PARTIAL_GROWTH > PARTIAL_BYTES_MIN ? have * PARTIAL_GROWTH
                                                                : (size_t) PARTIAL_BYTES_MIN;
    return capacity < total ? capacity : total;
}

/* What a frame takes whose first bytes these are; 0 while that is unknown. */
static size_t partial_total(struct span start)
{
    if (start.size < FRAME_PREFIX_SIZE) {
        return 0;
    }
    return FRAME_PREFIX_SIZE + ((size_t) start.data[0] | (size_t) start.data[1] << 8 |
                                (size_t) start.data[2] << 16 | (size_t) start.data[3] << 24);
}

/* Keep the beginning of a frame (its length is within the limit): a copy that has room for more. */
static void conn_keep_partial(struct conn *self, struct span start)
{
    size_t total = partial_total(start);
    size_t capacity = partial_capacity(start.size, total);
    if (self->set->inbound_bytes + capacity > self->set->options.inbound_total_bytes_max) {
        conn_fail(self, ERR_OVERLOADED, "too much is being received at once");
        return;
    }
    struct payload *room = payload_new(capacity);
    if (room == NULL) {
        conn_fail(self, ERR_OVERLOADED, "no memory for the frame");
        return;
    }
    memcpy(payload_data(room), start.data, start.size);
    if (self->partial == NULL) {
        self->partial_since_ms = conn_now_ms(self);
        if (self->timer.due_ms > self->partial_since_ms + self->set->options.frame_grace_ms) {
            loop_timer_start(self->set->loop, &self->timer, self->set->options.frame_grace_ms);
        }
    }
    payload_unref(&self->partial);
    self->partial = room;
    self->partial_size = start.size;
    self->partial_total = total;
}

/* Show what was read: a frame that was pieced together (may be NULL) and a run of bytes in a chunk. */
static void conn_show_read(struct conn *self, struct payload *pieced, struct payload *owner,
                           struct span run)
{
    unsigned budget = FRAMES_PER_TURN;
    if (pieced != NULL) {
        struct span frame = payload_span(pieced);
        int result = conn_show(self, pieced, &frame, &budget);
        if (result == ERR_AGAIN) {
            self->pending[0] = slice_make(pieced, frame);
            if (run.size != 0) {
                self->pending[1] = slice_make(owner, run);
            }
            conn_update_watch(self, (self->interest & LOOP_WRITE) != 0);
            return;
        }
        if (result != 0) {
            return;
        }
    }
    int result = conn_show(self, owner, &run, &budget);
    if (result == ERR_AGAIN) {
        self->pending[0] = slice_make(owner, run);
        if (!self->is_blocked) {
            conn_resume_soon(self);
        }
        conn_update_watch(self, (self->interest & LOOP_WRITE) != 0);
    } else if (result == 0 && run.size != 0) {
        conn_keep_partial(self, run);
    }
}

void conn_show_pending(struct conn *self)
{
    struct slice first = self->pending[0];
    struct slice second = self->pending[1];
    self->pending[0] = (struct slice){0};
    self->pending[1] = (struct slice){0};

    unsigned budget = FRAMES_PER_TURN;
    int result = conn_show(self, first.owner, &first.bytes, &budget);
    if (result == ERR_AGAIN) {
        self->pending[0] = first;
        self->pending[1] = second;
        if (!self->is_blocked) {
            conn_resume_soon(self);
        }
        return;
    }
    if (result == 0 && second.owner != NULL) {
        /* The first was one whole frame. */
        conn_show_read(self, NULL, second.owner, second.bytes);
    } else if (result == 0 && first.bytes.size != 0) {
        conn_keep_partial(self, first.bytes);
    }
    slice_release(&first);
    slice_release(&second);
    conn_account(self);
    if (conn_takes_frames(self)) {
        conn_update_watch(self, (self->interest & LOOP_WRITE) != 0);
    }
}

/* The partial frame has grown by `count` bytes: more room for it, or it is whole. Returns it when whole (owned by the caller). */
static struct payload *conn_partial_grown(struct conn *self, size_t count)
{
    self->partial_size += count;
    struct span have = span_make(payload_data(self->partial), self->partial_size);
    if (self->partial_size < payload_size(self->partial)) {
        return NULL;
    }
    if (self->partial_total == 0) {
        struct span frame;
        size_t total = 0;
        int result = frame_split(have, conn_frame_max(self), &frame, &total);
        if (result != ERR_INCOMPLETE) {
            conn_fail(self, result != 0 ? result : ERR_PROTOCOL, "frame length");
            return NULL;
        }
    }
    if (self->partial_total != 0 && self->partial_size == self->partial_total) {
        struct payload *whole = self->partial;
        self->partial = NULL;
        self->partial_size = 0;
        self->partial_total = 0;
        return whole;
    }
    conn_keep_partial(self, have);
    return NULL;
}

static int conn_read(struct conn *self, struct iovec *iov, int count, size_t *ret_size)
{
    ssize_t got = 0;
    do {
        got = readv(self->fd, iov, count);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return err_from_errno(errno);
    }
    if (got == 0) {
        self->is_ended = true;
        return ERR_CLOSED;
    }
    *ret_size = (size_t) got;
    self->set->counts.bytes_in += (uint64_t) got;
    self->received_ms = conn_now_ms(self);
    return 0;
}

static void conn_readable(struct conn *self)
{
    struct iovec iov[2];
    int count = 0;
    size_t partial_room = 0;
    size_t read_max = conn_read_bytes(self);
    uint8_t *at = NULL;
    size_t room = 0;
    struct payload *chunk = chunks_room(self->set->chunks, &at, &room);
    if (chunk == NULL) {
        conn_fail(self, ERR_OVERLOADED, "no memory to read into");
        return;
    }
    if (self->partial != NULL) {
        partial_room = payload_size(self->partial) - self->partial_size;
        iov[count++] =
            (struct iovec){payload_data(self->partial) + self->partial_size, partial_room};
    }
    if (self->partial == NULL || payload_size(self->partial) == self->partial_total) {
        iov[count++] = (struct iovec){at, room < read_max ? room : read_max};
    }
    size_t got = 0;
    int result = conn_read(self, iov, count, &got);
    if (result == ERR_AGAIN) {
        return;
    }
    if (result == ERR_CLOSED && self->is_ended) {
        if (self->is_end_held) {
            conn_touch(self); /* nothing is read any more */
        } else {
            conn_finish(self); /* what it asked before is lost, what is queued goes out */
        }
        return;
    }
    if (result != 0) {
        conn_close(self);
        return;
    }
    size_t to_partial = got < partial_room ? got : partial_room;
    struct payload *pieced = to_partial != 0 ? conn_partial_grown(self, to_partial) : NULL;
    if (pieced != NULL || to_partial == 0) {
        conn_show_read(self, pieced, chunk, span_make(at, got - to_partial));
    }
    payload_unref(&pieced);
    conn_account(self);
    chunks_done(self->set->chunks, got - to_partial);
}

/* CLOSING: throw away what comes in, until the peer has ended too. */
static void conn_discard(struct conn *self)
{
    uint8_t *at = NULL;
    size_t room = 0;
    size_t got = 0;
    if (chunks_room(self->set->chunks, &at, &room) == NULL) {
        conn_close(self);
        return;
    }
    struct iovec iov = {at, room};
    int result = conn_read(self, &iov, 1, &got);
    if (result == ERR_CLOSED && self->is_ended) {
        conn_touch(self);
    } else if (result != 0 && result != ERR_AGAIN) {
        conn_close(self);
    }
}

void conn_event(void *ud, unsigned events)
{
    struct conn *self = ud;
    if ((events & LOOP_WRITE) != 0) {
        conn_touch(self); /* written at the end of the turn, with all else */
    }
    if ((events & LOOP_READ) != 0 && self->sm.state == CONN_CLOSING) {
        conn_discard(self);
    } else if ((events & LOOP_READ) != 0 && conn_takes_frames(self) &&
               self->pending[0].owner == NULL) {
        conn_readable(self);
    } else if ((events & LOOP_HANGUP) != 0) {
        conn_close(self);
    }
}
