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

#endif
