/* answer: Error frames, the same wherever they are sent from. */
#ifndef FRONTD_ANSWER_H
#define FRONTD_ANSWER_H

#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/span.h"

/* Append the body of an Error message (client.proto): code, text and detail (may be NULL). More fields may be appended. */
void answer_error_body(struct buf *out, int error, const char *detail);

/* Append a whole Error frame. */
void answer_error_frame(struct buf *out, uint32_t channel, uint64_t corr, int error,
                        const char *detail);

/* Append a message's fields but those whose numbers (below 64) are set in `without`: another daemon's answer, of which this one knows some fields better. A
 * singular message field may not come twice: no client would read it. */
void answer_append_without(struct buf *out, struct span message, uint64_t without);

#endif
