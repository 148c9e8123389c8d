/* lines: reads what is there, never more than it must wait for: a line that a pipe has delivered is handed out although the next one is
 * not there yet (fread would wait for a full block). Owns the bytes read ahead; never closes the file. */
#include "adminctl/lines.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "common/base/err.h"

enum { READ_BYTES = 64 << 10, LOOK_MS = 100 };

void lines_init(struct lines *self, int fd)
{
    *self = (struct lines){.fd = fd};
}

void lines_release(struct lines *self)
{
    buf_release(&self->text);
}

/* false: we are to stop, and nothing is there. A signal may come just before the wait, so it is looked at now and then. */
static bool lines_wait(const struct lines *self)
{
    struct pollfd input = {.fd = self->fd, .events = POLLIN};
    while (self->is_stopped != NULL && poll(&input, 1, LOOK_MS) <= 0) {
        if (self->is_stopped()) {
            return false;
        }
    }
    return true;
}

/* More bytes behind those that are there. 0, also at the end. */
static int lines_fill(struct lines *self)
{
    if (self->start > 0) {
        buf_consume(&self->text, self->start);
        self->scanned -= self->start;
        self->start = 0;
    }
    if (self->text.size > LINES_LINE_BYTES_MAX) {
        return ERR_TOO_LARGE;
    }
    uint8_t *room = buf_try_reserve(&self->text, READ_BYTES);
    if (room == NULL) {
        return ERR_OVERLOADED;
    }
    if (!lines_wait(self)) {
        self->at_end = true;
        buf_reset(&self->text); /* the half of a line */
        self->scanned = 0;
        return 0;
    }
    ssize_t got;
    do {
        got = read(self->fd, room, READ_BYTES);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return ERR_IO;
    }
    self->at_end = got == 0;
    buf_advance(&self->text, (size_t) got);
    return 0;
}

bool lines_is_ready(const struct lines *self)
{
    struct pollfd input = {.fd = self->fd, .events = POLLIN};
    size_t left = self->text.size - self->start;
    return self->at_end ||
           (left > 0 && memchr(self->text.data + self->start, '\n', left) != NULL) ||
           poll(&input, 1, 0) > 0;
}

int lines_next(struct lines *self, struct span *ret_line)
{
    for (;;) {
        size_t ahead = self->text.size - self->scanned;
        const uint8_t *newline =
            ahead > 0 ? memchr(self->text.data + self->scanned, '\n', ahead) : NULL;
        size_t end = newline != NULL ? (size_t) (newline - self->text.data) : self->text.size;
        if (newline != NULL || (self->at_end && end > self->start)) {
            *ret_line = span_make(self->text.data + self->start, end - self->start);
            self->start = newline != NULL ? end + 1 : end;
            self->scanned = self->start;
            return 1;
        }
        if (self->at_end) {
            return 0;
        }
        self->scanned = self->text.size;
        int error = lines_fill(self);
        if (error < 0) {
            return error;
        }
    }
}
