/* ids_key: hashing message IDs. Pure. The library's code is compiled in: the hash of sixteen bytes costs less than a call. */
#include "logd/ids_key.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "common/base/bytes.h"
#include "common/wire/batch.h"

static struct ids_key key_hash(uint64_t seed, struct span id)
{
    XXH128_hash_t hash = XXH3_128bits_withSeed(id.data, id.size, seed);
    if (hash.high64 == 0) {
        hash.high64 = 1; /* zero says that there is none */
    }
    return (struct ids_key){hash.low64, hash.high64};
}

static uint64_t seed_of(const struct uuid *stream_id)
{
    return bytes_get_u64(stream_id->bytes) ^ bytes_get_u64(stream_id->bytes + 8);
}

struct ids_key ids_key_make(const struct uuid *stream_id, struct span id)
{
    return key_hash(seed_of(stream_id), id);
}

uint64_t ids_payload_hash(struct span payload)
{
    return XXH3_64bits(payload.data, payload.size);
}

uint32_t ids_marks_read(const struct uuid *stream_id, struct span batch, struct ids_mark *marks,
                        uint32_t count, uint32_t *ret_suspects)
{
    uint64_t seed = seed_of(stream_id);
    uint32_t with_id = 0;
    uint32_t suspects = 0;
    struct span rest = batch;
    struct batch_record record;
    for (uint32_t i = 0; i < count; i++) {
        if (batch_next(&rest, &record) != 1 || record.id.size == 0) {
            marks[i] = (struct ids_mark){0};
            continue;
        }
        marks[i].key = key_hash(seed, record.id);
        marks[i].payload = ids_payload_hash(record.payload);
        with_id++;
        suspects += record.id.size >= UUID_TEXT_SIZE && record.id.data[UUID_TEXT_SIZE - 1] == '/';
    }
    if (ret_suspects != NULL) {
        *ret_suspects = suspects;
    }
    return with_id;
}
