/* pub_batch: lines gathered into batches with their IDs, and publishing them one after the other under a condition. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "common/base/err.h"
#include "common/base/mem.h"

#include "adminctl/pub.h"

/* --- IDs --- */

enum pub_part { PART_TEXT, PART_NUMBER, PART_HASH, PART_LINE };

static const char *const part_names[] = {
    [PART_NUMBER] = "{n}", [PART_HASH] = "{hash}", [PART_LINE] = "{line}"};

/* What the pattern begins with, and how long that is. */
static enum pub_part part_next(const char *pattern, size_t *ret_size)
{
    for (unsigned i = PART_NUMBER; i <= PART_LINE; i++) {
        size_t size = strlen(part_names[i]);
        if (strncmp(pattern, part_names[i], size) == 0) {
            *ret_size = size;
            return (enum pub_part) i;
        }
    }
    *ret_size = 1;
    return PART_TEXT;
}

void pub_id_append(struct buf *out, const char *pattern, uint64_t number, struct span line)
{
    size_t size;
    for (const char *at = pattern; *at != '\0'; at += size) {
        XXH128_hash_t hash;
        switch (part_next(at, &size)) {
        case PART_NUMBER:
            buf_printf(out, "%" PRIu64, number);
            break;
        case PART_HASH:
            hash = XXH3_128bits(line.data, line.size);
            buf_printf(out, "%016" PRIx64 "%016" PRIx64, (uint64_t) hash.high64,
                       (uint64_t) hash.low64);
            break;
        case PART_LINE:
            buf_append(out, line);
            break;
        case PART_TEXT:
        default:
            buf_append_byte(out, (uint8_t) *at);
            break;
        }
    }
}

const char *pub_id_problem(const char *pattern)
{
    size_t size;
    if (pattern[0] == '\0') {
        return "it is empty";
    }
    for (const char *at = pattern; *at != '\0'; at += size) {
        enum pub_part part = part_next(at, &size);
        if (part == PART_TEXT && *at == '{') {
            return "{n}, {hash} or {line} is meant?";
        }
    }
    return NULL;
}

/* --- batches --- */

static struct span batch_part(const struct pub_batch *self, size_t part)
{
    size_t start = part > 0 ? self->ends[part - 1] : 0;
    return span_make(self->text.data + start, self->ends[part] - start);
}

static void batch_add(struct pub_batch *self, struct pub *pub, struct span line)
{
    self->messages[self->count] = pub->template;
    buf_append(&self->text, line);
    self->ends[2 * self->count] = self->text.size;
    pub->lines++;
    if (pub->id != NULL) {
        pub_id_append(&self->text, pub->id, pub->lines, line);
    }
    self->ends[2 * self->count + 1] = self->text.size;
    self->count++;
}

int pub_batch_fill(struct pub_batch *self, struct pub *pub, struct lines *lines, size_t lines_max,
                   bool *ret_at_end)
{
    struct span line;
    int got = 1;
    while (self->count < lines_max && self->count < PUB_BATCH_LINES &&
           self->text.size < PUB_BATCH_BYTES && (self->count == 0 || lines_is_ready(lines)) &&
           (got = lines_next(lines, &line)) == 1) {
        batch_add(self, pub, line);
    }
    for (size_t i = 0; i < self->count; i++) { /* now that the text does not move any more */
        struct span payload = batch_part(self, 2 * i);
        struct span id = batch_part(self, 2 * i + 1);
        self->messages[i].payload = (struct rg_bytes){payload.data, payload.size};
        self->messages[i].id = (struct rg_bytes){id.data, id.size};
    }
    *ret_at_end = got == 0;
    return got < 0 ? got : 0;
}

void pub_batch_reset(struct pub_batch *self)
{
    self->count = 0;
    buf_reset(&self->text);
}

static void note_result(struct pub *self, const struct rg_record_result *result)
{
    if (result->code != RG_OK && result->code != RG_DUPLICATE) {
        self->failed++;
        self->first_error = self->first_error == 0 ? result->code : self->first_error;
        return;
    }
    self->published++;
    self->duplicates += result->code == RG_DUPLICATE;
    self->first_offset = self->first_offset == 0 ? result->offset : self->first_offset;
    self->last_offset = result->offset;
}

static int publish_in_order(struct pub *self, struct pub_batch *batch, struct rg_expect *expect)
{
    struct rg_published published = {0};
    struct rg_record_result results[PUB_BATCH_LINES];
    int result = rg_publish_each(self->ctl->client, self->stream, batch->messages, batch->count,
                                 expect, results, &published);
    if (result == RG_ERR_WRONG_OFFSET) {
        (void) fprintf(stderr, "adminctl: the next offset is %" PRIu64 ", the last ID '%.*s'\n",
                       published.next_offset, (int) published.last_id_size,
                       (const char *) published.last_id);
    }
    if (result < 0) {
        self->unknown += result == RG_ERR_TIMEOUT ? batch->count : 0;
        self->failed += result == RG_ERR_TIMEOUT ? 0 : batch->count;
        return result;
    }
    for (size_t i = 0; i < batch->count; i++) {
        note_result(self, &results[i]);
    }
    if (expect->what != RG_EXPECT_NOTHING && published.count > 0) {
        expect->what = RG_EXPECT_NEXT_OFFSET;
        expect->next_offset = published.base_offset + published.count;
    }
    pace_step(&self->pace, batch->count);
    return self->first_error;
}

int pub_in_order(struct pub *self, struct lines *lines, const struct rg_expect *expect)
{
    struct pub_batch *batch = MEM_NEW(struct pub_batch);
    struct rg_expect next = *expect;
    bool at_end = false;
    int result = 0;
    while (result == 0 && !at_end) {
        result = pub_batch_fill(batch, self, lines, PUB_BATCH_LINES, &at_end);
        if (result == 0 && batch->count > 0) {
            result = publish_in_order(self, batch, &next);
        }
        pub_batch_reset(batch);
    }
    buf_release(&batch->text);
    mem_free(batch);
    return result;
}
