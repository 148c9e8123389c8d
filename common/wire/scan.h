/* scan: protobuf-c behind a door. protobuf-c 1.4.1 has no limits: a 34 KB frame nested 10,000 deep overflows the stack, 1 MiB of
 * empty messages takes 44 MiB. So foreign bytes are walked first (depth, fields, repeated counts, memory that unpacking would
 * take) and only then unpacked, with an allocator that stops at the same bound. */
#ifndef COMMON_WIRE_SCAN_H
#define COMMON_WIRE_SCAN_H

#include <protobuf-c/protobuf-c.h>

#include "common/base/buf.h"
#include "common/base/span.h"

struct scan_limits {
    unsigned depth_max;    /* 8 messages, the outermost counted */
    unsigned fields_max;   /* 65,536 in all; an element of a packed field counts as one */
    unsigned repeated_max; /* 4,096 elements of one repeated field in one message */
    /* 4: memory <= factor * bytes + memory_extra, all that is ever asked for counted */
    size_t memory_factor;
    size_t
        memory_extra; /* 1 MiB: 4,096 small elements take 64 to 256 bytes each, from 6 on the wire. Before
                            * authentication 64 KiB is plenty. */
};
struct scan_limits scan_limits_default(void);

/* 0, ERR_PROTOCOL (malformed), ERR_TOO_LARGE (over a limit). Stricter than protobuf-c: ERR_PROTOCOL too for strings with a NUL
 * or that are not UTF-8, for a singular sub-message given twice (merging is quadratic; no encoder writes it), for a bool that
 * is no varint, and for what pb_next refuses. NULL limits: the default. */
int scan_check(struct span bytes, const ProtobufCMessageDescriptor *type,
               const struct scan_limits *limits);

/* Check, then unpack. On 0 the caller owns *ret_message and gives it back with scan_free. Errors as scan_check, and
 * ERR_NO_MEMORY. NULL limits: the default. */
int scan_unpack(struct span bytes, const ProtobufCMessageDescriptor *type,
                const struct scan_limits *limits, ProtobufCMessage **ret_message);

/* Accepts NULL and nulls the pointer. */
void scan_free(ProtobufCMessage **message);

/* The message packed at the end of `out`. */
void scan_pack(struct buf *out, const ProtobufCMessage *message);

/* Typed: `Railgun__Ensure *ensure; SCAN_UNPACK(bytes, railgun__ensure, &ensure)` */
#define SCAN_UNPACK(bytes, lower, ret_message)                                                     \
    scan_unpack((bytes), &lower##__descriptor, NULL, (ProtobufCMessage **) (void *) (ret_message))
#define SCAN_FREE(message) scan_free((ProtobufCMessage **) (void *) (message))

#endif
