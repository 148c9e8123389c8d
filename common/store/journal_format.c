/* journal_format: encode and decode the journal's headers. Pure: bytes in, values out. Must accept any bytes. */
#include "common/store/journal_format.h"

#include <string.h>

#include "common/base/bytes.h"
#include "common/base/crc32c.h"
#include "common/base/err.h"
#include "common/base/span.h"

#define JOURNAL_FILE_MAGIC UINT64_C(0x314c4e4a4c494152) /* "RAILJNL1" */

enum { FILE_HEADER_SIZE = 56, FILE_FLAG_FRESH = 1 };

/* Where each field of a frame's header lies. */
enum {
    AT_MAGIC = 0,
    AT_VERSION = 4,
    AT_TYPE = 5,
    AT_KIND = 6,
    AT_FLAGS = 7,
    AT_GROUP = 8,
    AT_TERM = 16,
    AT_INDEX = 24,
    AT_SALT = 32,
    AT_LENGTH = 40,
    AT_COUNT = 44,
    AT_BASE = 48,
    AT_TS = 56,
    AT_DURABLE_UPTO = 64,
    AT_CRC_PAYLOAD = 72,
    AT_CRC_HEADER = 76,
};
_Static_assert(AT_CRC_HEADER + 4 == JOURNAL_FRAME_BYTES, "the header's crc is its last field");

static void file_header_copy_put(const struct journal_file_header *self, uint8_t *at)
{
    bytes_put_u64(at, JOURNAL_FILE_MAGIC);
    bytes_put_u32(at + 8, JOURNAL_VERSION);
    bytes_put_u32(at + 12, self->is_fresh ? FILE_FLAG_FRESH : 0);
    bytes_put_u64(at + 16, self->seq);
    bytes_put_u64(at + 24, self->salt);
    bytes_put_u64(at + 32, self->file_bytes);
    bytes_put_u64(at + 40, self->previous);
    bytes_put_u32(at + 48, 0);
    bytes_put_u32(at + 52, crc32c_extend(0, span_make(at, FILE_HEADER_SIZE - 4)));
}

void journal_file_header_put(const struct journal_file_header *self, uint8_t *at)
{
    memset(at, 0, JOURNAL_FILE_HEADER_BYTES);
    file_header_copy_put(self, at);
    file_header_copy_put(self, at + JOURNAL_HEADER_COPY_AT);
}

static int file_header_copy_get(const uint8_t *at, struct journal_file_header *ret_header)
{
    if (bytes_get_u64(at) != JOURNAL_FILE_MAGIC ||
        bytes_get_u32(at + 52) != crc32c_extend(0, span_make(at, FILE_HEADER_SIZE - 4))) {
        return ERR_CORRUPT;
    }
    if (bytes_get_u32(at + 8) != JOURNAL_VERSION) {
        return ERR_BAD_FORMAT;
    }
    *ret_header = (struct journal_file_header){
        .is_fresh = (bytes_get_u32(at + 12) & FILE_FLAG_FRESH) != 0,
        .seq = bytes_get_u64(at + 16),
        .salt = bytes_get_u64(at + 24),
        .file_bytes = bytes_get_u64(at + 32),
        .previous = bytes_get_u64(at + 40),
    };
    return 0;
}

int journal_file_header_get(const uint8_t *at, struct journal_file_header *ret_header)
{
    int error = file_header_copy_get(at, ret_header);
    if (error == ERR_CORRUPT) {
        error = file_header_copy_get(at + JOURNAL_HEADER_COPY_AT, ret_header);
    }
    return error;
}

void journal_frame_put(const struct journal_frame *frame, uint64_t salt, uint64_t position,
                       uint8_t *at)
{
    const struct journal_entry *entry = &frame->entry;
    bytes_put_u32(at + AT_MAGIC, JOURNAL_FRAME_MAGIC);
    at[AT_VERSION] = JOURNAL_VERSION;
    at[AT_TYPE] = (uint8_t) entry->type;
    at[AT_KIND] = entry->kind;
    at[AT_FLAGS] = frame->flags;
    bytes_put_u64(at + AT_GROUP, entry->group);
    bytes_put_u64(at + AT_TERM, entry->term);
    bytes_put_u64(at + AT_INDEX, entry->index);
    bytes_put_u64(at + AT_SALT, salt ^ position);
    bytes_put_u32(at + AT_LENGTH, frame->length);
    bytes_put_u32(at + AT_COUNT, entry->count);
    bytes_put_u64(at + AT_BASE, entry->base);
    bytes_put_u64(at + AT_TS, entry->ts_us);
    bytes_put_u64(at + AT_DURABLE_UPTO, frame->durable_upto);
    bytes_put_u32(at + AT_CRC_PAYLOAD, frame->crc_payload);
    bytes_put_u32(at + AT_CRC_HEADER, crc32c_extend(0, span_make(at, AT_CRC_HEADER)));
}

bool journal_frame_salt(const uint8_t *at, uint64_t position, struct journal_frame *ret_frame,
                        uint64_t *ret_salt)
{
    uint8_t type = at[AT_TYPE];
    if (bytes_get_u32(at + AT_MAGIC) != JOURNAL_FRAME_MAGIC || at[AT_VERSION] != JOURNAL_VERSION ||
        type < JOURNAL_ENTRY || type > JOURNAL_MARK ||
        bytes_get_u32(at + AT_CRC_HEADER) != crc32c_extend(0, span_make(at, AT_CRC_HEADER))) {
        return false;
    }
    *ret_frame = (struct journal_frame){
        .entry =
            {
                .type = (enum journal_type) type,
                .kind = at[AT_KIND],
                .group = bytes_get_u64(at + AT_GROUP),
                .term = bytes_get_u64(at + AT_TERM),
                .index = bytes_get_u64(at + AT_INDEX),
                .base = bytes_get_u64(at + AT_BASE),
                .count = bytes_get_u32(at + AT_COUNT),
                .ts_us = bytes_get_u64(at + AT_TS),
            },
        .flags = at[AT_FLAGS],
        .length = bytes_get_u32(at + AT_LENGTH),
        .durable_upto = bytes_get_u64(at + AT_DURABLE_UPTO),
        .crc_payload = bytes_get_u32(at + AT_CRC_PAYLOAD),
    };
    *ret_salt = bytes_get_u64(at + AT_SALT) ^ position;
    return true;
}

bool journal_frame_looks_ours(const uint8_t *at, uint64_t salt, uint64_t position)
{
    return bytes_get_u32(at + AT_MAGIC) == JOURNAL_FRAME_MAGIC &&
           bytes_get_u64(at + AT_SALT) == (salt ^ position);
}

bool journal_frame_get(const uint8_t *at, uint64_t salt, uint64_t position,
                       struct journal_frame *ret_frame)
{
    uint64_t found = 0;
    return journal_frame_looks_ours(at, salt, position) &&
           journal_frame_salt(at, position, ret_frame, &found);
}
