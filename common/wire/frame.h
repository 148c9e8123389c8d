/* frame: the 4-byte little-endian length before each Frame of the client protocol. */
#ifndef COMMON_WIRE_FRAME_H
#define COMMON_WIRE_FRAME_H

#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/span.h"

enum {
    FRAME_PREFIX_SIZE = 4,
    FRAME_SIZE_MAX_HARD = 64 << 20, /* no configuration goes beyond */
    FRAME_SIZE_MAX_DEFAULT = 8 << 20,
    FRAME_SIZE_MAX_PRE_AUTH = 4 << 10,
    FRAME_HEAD_SIZE_MAX = 40, /* prefix, channel, corr, body tag and length */
};

/* Split the next frame off the front of received bytes. 0: *ret_body is the Frame's bytes and *ret_total what they
 * take with the prefix. ERR_INCOMPLETE: more is needed. ERR_TOO_LARGE: the announced length is over size_max;
 * ERR_PROTOCOL: it is 0. Nothing is allocated for the announced length. */
int frame_split(struct span received, uint32_t size_max, struct span *ret_body, size_t *ret_total);

/* Write the start of a frame whose body message (field `field` of Frame) has `body_size` bytes that follow:
 * length prefix, channel and corr (left out when 0), tag and length of the body. Returns bytes written to `out`. The caller
 * has seen to it that the frame stays within FRAME_SIZE_MAX_HARD. */
size_t frame_put_head(uint8_t out[FRAME_HEAD_SIZE_MAX], uint32_t channel, uint64_t corr,
                      uint32_t field, size_t body_size);

/* A whole frame: head and body bytes appended to `out`. */
void frame_append(struct buf *out, uint32_t channel, uint64_t corr, uint32_t field,
                  struct span body);

/* A frame's outer fields, read in place. */
struct frame_view {
    uint32_t channel;
    uint64_t corr;
    /* which body (the field number in Frame, e.g. 3 = publish); 0: none or unknown */
    uint32_t field;
    struct span body; /* that message's bytes */
};

/* 0 or ERR_PROTOCOL. Unknown fields are skipped, a body of a newer protocol too: `field` is then 0. With several bodies the
 * last one that we know counts, as in protobuf. */
int frame_parse(struct span frame, struct frame_view *ret_view);

#endif
