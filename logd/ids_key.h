/* ids_key: what is remembered of a message ID: 128 bits of (stream id, ID), and 64 bits of the payload that it named. They lie in the database: the
 * functions (XXH3 of libxxhash, whose output is stable) never change. */
#ifndef LOGD_IDS_KEY_H
#define LOGD_IDS_KEY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/span.h"
#include "common/base/uuid.h"

struct ids_key {
    uint64_t low;
    uint64_t high;
};

/* A record with an ID; `key.high` 0: it has none, or one that it may not have. */
struct ids_mark {
    struct ids_key key;
    uint64_t payload;
};

static inline bool ids_key_is_none(const struct ids_key *key)
{
    return key->high == 0;
}

static inline struct ids_key ids_key_reserved(void)
{
    return (struct ids_key){.low = 1};
}

static inline bool ids_key_is_reserved(const struct ids_key *key)
{
    return key->high == 0 && key->low == 1;
}

static inline bool ids_key_equal(const struct ids_key *a, const struct ids_key *b)
{
    return a->low == b->low && a->high == b->high;
}

struct ids_key ids_key_make(const struct uuid *stream_id, struct span id);
uint64_t ids_payload_hash(struct span payload);

/* The marks of all records of a batch that batch_check has let through, in order; `marks` has room for `count`. Returns how many have
 * an ID. *ret_suspects (may be NULL): how many have one with a slash where those of dead letters have it. */
uint32_t ids_marks_read(const struct uuid *stream_id, struct span batch, struct ids_mark *marks,
                        uint32_t count, uint32_t *ret_suspects);

#endif
