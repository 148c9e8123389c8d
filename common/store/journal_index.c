/* journal_index: what a journal file holds, as extents and control entries. Built frame by frame while a file is
 * written or scanned, kept beside the file as .idx, so that a restart reads no data. Derivable: when in doubt, scan.
 * Owns its arrays. Must accept any bytes when decoding. */
#include "common/store/journal_private.h"

#include <stdint.h>

#include "common/base/bytes.h"
#include "common/base/crc32c.h"
#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"

#define INDEX_MAGIC UINT64_C(0x31584449304c4a52) /* "RJL0IDX1" */

enum {
    INDEX_HEADER_BYTES = 64,
    INDEX_EXTENT_BYTES = 80,
    INDEX_CONTROL_BYTES = 56,
    INDEX_FLAG_CONTROL = 1,
};

void journal_index_init(struct journal_index *self)
{
    *self = (struct journal_index){.open = hash64_new()};
}

void journal_index_release(struct journal_index *self)
{
    MEM_FREE(self->extents);
    MEM_FREE(self->controls);
    buf_release(&self->payloads);
    hash64_destroy(&self->open);
}

/* --- building --- */

static void *number_to_value(size_t number)
{
    return (void *) (uintptr_t) number;
}

/* The group's extent that may still grow: its number + 1, or 0. */
static size_t open_number(const struct journal_index *self, uint64_t group)
{
    if (self->last_number != 0 && self->last_group == group) {
        return self->last_number;
    }
    return (size_t) (uintptr_t) hash64_get(self->open, group);
}

static int add_extent(struct journal_index *self, const struct journal_entry *entry,
                      uint64_t position, uint32_t frame_bytes)
{
    size_t number = open_number(self, entry->group);
    if (number == 0 || !extent_add(&self->extents[number - 1], entry, position, frame_bytes)) {
        if (self->extent_count == self->extent_capacity) {
            size_t capacity = self->extent_capacity != 0 ? self->extent_capacity * 2 : 64;
            struct extent *extents = mem_try_resize(self->extents, capacity, sizeof(*extents));
            if (extents == NULL) {
                return ERR_NO_MEMORY;
            }
            self->extents = extents;
            self->extent_capacity = capacity;
        }
        self->extents[self->extent_count++] = extent_of(entry, position, frame_bytes);
        number = self->extent_count;
        (void) hash64_put(self->open, entry->group, number_to_value(number));
    }
    self->last_group = entry->group;
    self->last_number = number;
    return 0;
}

static int add_control(struct journal_index *self, const struct journal_entry *entry,
                       struct span payload, uint64_t position)
{
    if (self->control_count == self->control_capacity) {
        size_t capacity = self->control_capacity != 0 ? self->control_capacity * 2 : 16;
        struct journal_control *controls =
            mem_try_resize(self->controls, capacity, sizeof(*controls));
        if (controls == NULL) {
            return ERR_NO_MEMORY;
        }
        self->controls = controls;
        self->control_capacity = capacity;
    }
    size_t payload_at = self->payloads.size;
    if (payload.size != 0) {
        if (buf_try_reserve(&self->payloads, payload.size) == NULL) {
            return ERR_NO_MEMORY;
        }
        buf_append(&self->payloads, payload);
    }
    struct journal_control *control = &self->controls[self->control_count++];
    *control = (struct journal_control){
        .position = position,
        .entry = *entry,
        .payload_at = payload_at,
        .payload_size = (uint32_t) payload.size,
    };
    control->entry.payload = (struct slice){0};
    return 0;
}

int journal_index_add(struct journal_index *self, const struct journal_entry *entry,
                      struct span payload, uint64_t position, uint32_t frame_bytes)
{
    switch (entry->type) {
    case JOURNAL_ENTRY:
        return add_extent(self, entry, position, frame_bytes);
    case JOURNAL_TRUNCATE:
        /* An extent is reported before what lies inside it: entries behind a truncation must not join one that
         * began before it, or the truncation would seem to void them. */
        (void) hash64_remove(self->open, entry->group);
        if (self->last_group == entry->group) {
            self->last_number = 0;
        }
        return add_control(self, entry, payload, position);
    case JOURNAL_HARD_STATE:
        return add_control(self, entry, payload, position);
    case JOURNAL_MARK:
        return 0;
    }
    return 0;
}

void journal_index_break(struct journal_index *self)
{
    hash64_destroy(&self->open);
    self->open = hash64_new();
    self->last_number = 0;
}

void journal_index_cut(struct journal_index *self, uint64_t position)
{
    while (self->extent_count > 0 && self->extents[self->extent_count - 1].position >= position) {
        self->extent_count--;
    }
    while (self->control_count > 0 &&
           self->controls[self->control_count - 1].position >= position) {
        self->control_count--;
        self->payloads.size = self->controls[self->control_count].payload_at;
    }
    journal_index_break(self);
}

/* --- reporting --- */

static void visit_control(const struct journal_index *self, const struct journal_control *control,
                          const struct journal_visitor *visitor)
{
    if (visitor->on_control == NULL) {
        return;
    }
    struct journal_entry entry = control->entry;
    if (control->payload_size != 0) {
        /* Borrowed: without an owner the slice holds no reference. */
        entry.payload.bytes =
            span_make(self->payloads.data + control->payload_at, control->payload_size);
    }
    visitor->on_control(visitor->ud, &entry);
}

void journal_index_visit(const struct journal_index *self, const struct journal_visitor *visitor,
                         uint64_t from, uint64_t upto)
{
    size_t e = 0;
    size_t c = 0;
    while (e < self->extent_count && self->extents[e].position < from) {
        e++;
    }
    while (c < self->control_count && self->controls[c].position < from) {
        c++;
    }
    for (;;) {
        uint64_t extent_at = e < self->extent_count ? self->extents[e].position : UINT64_MAX;
        uint64_t control_at = c < self->control_count ? self->controls[c].position : UINT64_MAX;
        if (extent_at >= upto && control_at >= upto) {
            return;
        }
        if (extent_at < control_at) {
            if (visitor->on_extent != NULL) {
                visitor->on_extent(visitor->ud, &self->extents[e]);
            }
            e++;
        } else {
            visit_control(self, &self->controls[c], visitor);
            c++;
        }
    }
}

/* --- the .idx file --- */

static void extent_put(const struct extent *extent, uint8_t *at)
{
    bytes_put_u64(at, extent->group);
    bytes_put_u32(at + 8, position_byte(extent->position));
    bytes_put_u32(at + 12, extent->bytes);
    bytes_put_u32(at + 16, extent->own_bytes);
    bytes_put_u32(at + 20, extent->has_control ? INDEX_FLAG_CONTROL : 0);
    bytes_put_u64(at + 24, extent->first_index);
    bytes_put_u64(at + 32, extent->last_index);
    bytes_put_u64(at + 40, extent->term);
    bytes_put_u64(at + 48, extent->base);
    bytes_put_u64(at + 56, extent->records);
    bytes_put_u64(at + 64, extent->first_ts_us);
    bytes_put_u64(at + 72, extent->last_ts_us);
}

static void extent_get(struct extent *extent, uint64_t seq, const uint8_t *at)
{
    *extent = (struct extent){
        .group = bytes_get_u64(at),
        .position = journal_position(seq, bytes_get_u32(at + 8)),
        .bytes = bytes_get_u32(at + 12),
        .own_bytes = bytes_get_u32(at + 16),
        .has_control = (bytes_get_u32(at + 20) & INDEX_FLAG_CONTROL) != 0,
        .first_index = bytes_get_u64(at + 24),
        .last_index = bytes_get_u64(at + 32),
        .term = bytes_get_u64(at + 40),
        .base = bytes_get_u64(at + 48),
        .records = bytes_get_u64(at + 56),
        .first_ts_us = bytes_get_u64(at + 64),
        .last_ts_us = bytes_get_u64(at + 72),
    };
}

static void control_put(const struct journal_control *control, uint8_t *at)
{
    const struct journal_entry *entry = &control->entry;
    bytes_put_u32(at, position_byte(control->position));
    at[4] = (uint8_t) entry->type;
    at[5] = entry->kind;
    bytes_put_u16(at + 6, 0);
    bytes_put_u64(at + 8, entry->group);
    bytes_put_u64(at + 16, entry->term);
    bytes_put_u64(at + 24, entry->index);
    bytes_put_u64(at + 32, entry->base);
    bytes_put_u64(at + 40, entry->ts_us);
    bytes_put_u32(at + 48, entry->count);
    bytes_put_u32(at + 52, control->payload_size);
}

void journal_index_encode(const struct journal_index *self, uint64_t seq, uint64_t salt,
                          uint32_t end, struct buf *out)
{
    buf_reset(out);
    size_t size = INDEX_HEADER_BYTES + self->extent_count * INDEX_EXTENT_BYTES +
                  self->control_count * INDEX_CONTROL_BYTES + self->payloads.size;
    uint8_t *at = buf_reserve(out, size);
    bytes_put_u64(at, INDEX_MAGIC);
    bytes_put_u32(at + 8, JOURNAL_VERSION);
    bytes_put_u32(at + 12, end);
    bytes_put_u64(at + 16, seq);
    bytes_put_u64(at + 24, salt);
    bytes_put_u64(at + 32, self->extent_count);
    bytes_put_u64(at + 40, self->control_count);
    bytes_put_u64(at + 48, self->payloads.size);
    bytes_put_u32(at + 56, 0);
    bytes_put_u32(at + 60, 0); /* counts as zero in its own checksum */
    uint8_t *body = at + INDEX_HEADER_BYTES;
    for (size_t i = 0; i < self->extent_count; i++, body += INDEX_EXTENT_BYTES) {
        extent_put(&self->extents[i], body);
    }
    for (size_t i = 0; i < self->control_count; i++, body += INDEX_CONTROL_BYTES) {
        control_put(&self->controls[i], body);
    }
    buf_advance(out, size - self->payloads.size);
    buf_append(out, buf_span(&self->payloads));
    bytes_put_u32(at + 60, crc32c_extend(0, buf_span(out)));
}

/* Are magic, version, checksum and all counts right for this many bytes? */
static bool index_is_intact(struct span bytes, uint64_t seq)
{
    static const uint8_t no_crc[4];
    if (bytes.size < INDEX_HEADER_BYTES) {
        return false;
    }
    const uint8_t *at = bytes.data;
    uint32_t crc = crc32c_extend(0, span_make(at, INDEX_HEADER_BYTES - 4));
    crc = crc32c_extend(crc, span_make(no_crc, sizeof(no_crc)));
    crc = crc32c_extend(crc, span_make(at + INDEX_HEADER_BYTES, bytes.size - INDEX_HEADER_BYTES));
    if (bytes_get_u64(at) != INDEX_MAGIC || bytes_get_u32(at + 8) != JOURNAL_VERSION ||
        bytes_get_u64(at + 16) != seq || bytes_get_u32(at + 60) != crc) {
        return false;
    }
    uint64_t left = bytes.size - INDEX_HEADER_BYTES;
    uint64_t extents = bytes_get_u64(at + 32);
    if (extents > left / INDEX_EXTENT_BYTES) {
        return false;
    }
    left -= extents * INDEX_EXTENT_BYTES;
    uint64_t controls = bytes_get_u64(at + 40);
    if (controls > left / INDEX_CONTROL_BYTES) {
        return false;
    }
    return left - controls * INDEX_CONTROL_BYTES == bytes_get_u64(at + 48);
}

static bool decode_extents(struct journal_index *self, uint64_t seq, uint32_t end,
                           const uint8_t *at)
{
    uint64_t before = 0;
    for (size_t i = 0; i < self->extent_count; i++, at += INDEX_EXTENT_BYTES) {
        struct extent *extent = &self->extents[i];
        extent_get(extent, seq, at);
        uint32_t byte = position_byte(extent->position);
        if (extent->position <= before || byte < JOURNAL_FILE_HEADER_BYTES || byte > end ||
            extent->bytes > end - byte || extent->own_bytes > extent->bytes ||
            extent->first_index > extent->last_index || extent->group == 0) {
            return false;
        }
        before = extent->position;
    }
    return true;
}

static bool decode_controls(struct journal_index *self, uint64_t seq, uint32_t end,
                            const uint8_t *at)
{
    uint64_t before = 0;
    size_t payload_at = 0;
    for (size_t i = 0; i < self->control_count; i++, at += INDEX_CONTROL_BYTES) {
        struct journal_control *control = &self->controls[i];
        *control = (struct journal_control){
            .position = journal_position(seq, bytes_get_u32(at)),
            .entry =
                {
                    .type = (enum journal_type) at[4],
                    .kind = at[5],
                    .group = bytes_get_u64(at + 8),
                    .term = bytes_get_u64(at + 16),
                    .index = bytes_get_u64(at + 24),
                    .base = bytes_get_u64(at + 32),
                    .ts_us = bytes_get_u64(at + 40),
                    .count = bytes_get_u32(at + 48),
                },
            .payload_at = payload_at,
            .payload_size = bytes_get_u32(at + 52),
        };
        if (control->position <= before || position_byte(control->position) >= end ||
            (at[4] != JOURNAL_HARD_STATE && at[4] != JOURNAL_TRUNCATE) ||
            control->payload_size > self->payloads.size - payload_at) {
            return false;
        }
        before = control->position;
        payload_at += control->payload_size;
    }
    return payload_at == self->payloads.size;
}

int journal_index_decode(struct journal_index *self, struct span bytes, uint64_t seq,
                         uint64_t *ret_salt, uint32_t *ret_end)
{
    INVARIANT(self->extent_count == 0);
    if (!index_is_intact(bytes, seq)) {
        return ERR_CORRUPT;
    }
    const uint8_t *at = bytes.data;
    uint32_t end = bytes_get_u32(at + 12);
    size_t extent_count = (size_t) bytes_get_u64(at + 32);
    size_t control_count = (size_t) bytes_get_u64(at + 40);
    size_t payload_bytes = (size_t) bytes_get_u64(at + 48);
    struct span payloads = span_make(at + bytes.size - payload_bytes, payload_bytes);

    self->extents = mem_try_new_array(extent_count, sizeof(*self->extents));
    self->controls = mem_try_new_array(control_count, sizeof(*self->controls));
    if (self->extents == NULL || self->controls == NULL ||
        buf_try_reserve(&self->payloads, payload_bytes) == NULL) {
        return ERR_NO_MEMORY;
    }
    buf_append(&self->payloads, payloads);
    self->extent_count = self->extent_capacity = extent_count;
    self->control_count = self->control_capacity = control_count;
    const uint8_t *body = at + INDEX_HEADER_BYTES;
    if (!decode_extents(self, seq, end, body) ||
        !decode_controls(self, seq, end, body + extent_count * INDEX_EXTENT_BYTES)) {
        return ERR_CORRUPT;
    }
    *ret_salt = bytes_get_u64(at + 24);
    *ret_end = end;
    return 0;
}
