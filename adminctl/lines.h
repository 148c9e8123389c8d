/* lines: the lines of a file, pipe or terminal, one at a time and as soon as each is there. */
#ifndef ADMINCTL_LINES_H
#define ADMINCTL_LINES_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/buf.h"
#include "common/base/span.h"

/* Larger than any record may be configured to be. */
enum { LINES_LINE_BYTES_MAX = 64 << 20 };

struct lines {
    int fd; /* borrowed */
    /* Once true, nothing is waited for any more: that is the end, and a line that is not whole is left out. NULL: never. May be set after lines_init. */
    bool (*is_stopped)(void);
    bool at_end;
    size_t start;   /* of the next line in `text` */
    size_t scanned; /* up to here there is no newline behind `start` */
    struct buf text;
};

/* Borrows `fd`, which must stay open until lines_release. */
void lines_init(struct lines *self, int fd);

/* The next line without its newline; a last line needs none. 1: *ret_line is valid until the next call; 0: the end. ERR_IO: the file
 * cannot be read; ERR_TOO_LARGE: the line is longer than LINES_LINE_BYTES_MAX; ERR_OVERLOADED: no memory for it. */
int lines_next(struct lines *self, struct span *ret_line);

/* Would lines_next return without waiting, as far as can be told? */
bool lines_is_ready(const struct lines *self);

void lines_release(struct lines *self);

#endif
