/* journal_format: the bytes of the journal: a file's header and a frame's header. Integers are little-endian, put byte by byte; every
 * header carries its own CRC32C. The layouts are drawn in docs/disk-format.md.
 *
 * To change a layout: raise JOURNAL_VERSION, keep the reader of the old version beside the new one (a file has one version), write only the
 * new one, and extend docs/disk-format.md. A reader that meets a higher version refuses with ERR_BAD_FORMAT and touches nothing. */
#ifndef COMMON_STORE_JOURNAL_FORMAT_H
#define COMMON_STORE_JOURNAL_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/store/journal.h"

enum {
    JOURNAL_VERSION = 1,
    JOURNAL_ALIGN = 8,        /* frames begin at multiples of this */
    JOURNAL_FRAME_BYTES = 80, /* a frame's header */
    JOURNAL_FILE_HEADER_BYTES = 4096,
    JOURNAL_HEADER_COPY_AT = 2048, /* the second copy, in another sector */
    JOURNAL_FLAG_END = 1,          /* of a JOURNAL_MARK: nothing follows in this file */
};

#define JOURNAL_FRAME_MAGIC UINT32_C(0x4d524a52) /* "RJRM" */

/* A position: seq << 32 | byte in the file. */
static inline uint64_t journal_position(uint64_t seq, uint64_t byte)
{
    return seq << 32 | byte;
}

static inline uint64_t position_seq(uint64_t position)
{
    return position >> 32;
}

static inline uint32_t position_byte(uint64_t position)
{
    return (uint32_t) position;
}

/* What a file says about itself. */
struct journal_file_header {
    uint64_t seq;
    uint64_t salt;       /* random, another one in each life of a recycled file */
    uint64_t file_bytes; /* its size */
    uint64_t previous;   /* seq of the file before; 0: none */
    bool is_fresh;       /* every byte behind the header was zero when this life began */
};

/* Fill JOURNAL_FILE_HEADER_BYTES: both copies. */
void journal_file_header_put(const struct journal_file_header *self, uint8_t *at);

/* The first intact copy. 0; ERR_BAD_FORMAT: intact, but of a newer version; ERR_CORRUPT: neither is intact. */
int journal_file_header_get(const uint8_t *at, struct journal_file_header *ret_header);

/* A frame's header as read. */
struct journal_frame {
    struct journal_entry entry; /* payload empty */
    uint8_t flags;
    uint32_t length; /* bytes of payload behind the header */
    /* everything before this position was synced when the frame was written */
    uint64_t durable_upto;
    uint32_t crc_payload;
};

/* Bytes in the file: header, payload, padding. Up to 2^32 - 1 + 87, so the caller must have bounded `length`. */
static inline uint64_t journal_frame_size(uint64_t length)
{
    return (JOURNAL_FRAME_BYTES + length + JOURNAL_ALIGN - 1) & ~(uint64_t) (JOURNAL_ALIGN - 1);
}

/* Put the header of a frame that lies at `position` in the file with this salt. Both are woven into it, so that it is valid nowhere else.
 * frame->entry.payload is not looked at. */
void journal_frame_put(const struct journal_frame *frame, uint64_t salt, uint64_t position,
                       uint8_t *at);

/* Is this an intact header that belongs here? */
bool journal_frame_get(const uint8_t *at, uint64_t salt, uint64_t position,
                       struct journal_frame *ret_frame);

/* The quick part of that: magic and salt. */
bool journal_frame_looks_ours(const uint8_t *at, uint64_t salt, uint64_t position);

/* The salt of the file, if this is an intact header of any life; false otherwise. */
bool journal_frame_salt(const uint8_t *at, uint64_t position, struct journal_frame *ret_frame,
                        uint64_t *ret_salt);

#endif
