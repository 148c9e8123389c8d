/* pub: what the ways of `adminctl pub` share. */
#ifndef ADMINCTL_PUB_H
#define ADMINCTL_PUB_H

#include <stdbool.h>

#include "common/base/buf.h"
#include "common/base/span.h"

#include "adminctl/ctl.h"
#include "adminctl/lines.h"
#include "adminctl/pace.h"

enum { PUB_BATCH_LINES = 512, PUB_BATCH_BYTES = 256 << 10 };

struct pub {
    struct ctl *ctl;
    const char *stream;
    struct rg_message template; /* of every record: key, headers */
    const char *id;             /* pattern: see pub_id_append; NULL: none */
    struct pace pace;
    uint64_t lines;
    uint64_t published;
    uint64_t duplicates; /* of them: stored before */
    uint64_t unknown;
    uint64_t failed;
    int first_error;
    uint64_t first_offset;
    uint64_t last_offset;
    uint64_t repeated; /* batches sent again under --once */
};

/* The ID of a line by the pattern: {n} is its number from 1 on, {hash} 32 hex digits of its content, {line} the line itself; all else stands for itself. */
void pub_id_append(struct buf *out, const char *pattern, uint64_t number, struct span line);
/* NULL, or what is wrong with the pattern. */
const char *pub_id_problem(const char *pattern);

/* A batch of lines. Zeroed: empty. */
struct pub_batch {
    struct rg_message messages[PUB_BATCH_LINES];
    size_t ends[2 * PUB_BATCH_LINES]; /* in `text`: of each line, and of its ID behind it */
    size_t count;
    struct buf text;
};
/* Lines until it is full, or there are none for now (it waits for the first only), at most `lines_max`. 0, or what lines_next said; *ret_at_end. */
int pub_batch_fill(struct pub_batch *self, struct pub *pub, struct lines *lines, size_t lines_max,
                   bool *ret_at_end);
void pub_batch_reset(struct pub_batch *self);

/* Batch after batch, each where the one before ended; the first where `expect` says. 0, or a negative rg_err. */
int pub_in_order(struct pub *self, struct lines *lines, const struct rg_expect *expect);

#endif
