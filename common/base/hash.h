/* hash: a table from byte keys, or from 64-bit numbers, to pointers. Open addressing, keyed with a random
 * seed against chosen collisions. The key bytes are borrowed from the value and must live as long as it. */
#ifndef COMMON_BASE_HASH_H
#define COMMON_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/span.h"

/* A fast keyed 64-bit hash of bytes; not for cryptography. */
uint64_t hash_bytes(struct span key, uint64_t seed);

/* --- from bytes --- */
struct hash;
struct hash *hash_new(void);
void hash_destroy(struct hash **self); /* the values are not touched */
size_t hash_count(const struct hash *self);
void *hash_get(const struct hash *self, struct span key);
/* Put or replace; returns the value that was there, or NULL. `key` is borrowed until removed. */
void *hash_put(struct hash *self, struct span key, void *value);
/* Returns the removed value, or NULL. */
void *hash_remove(struct hash *self, struct span key);
/* Walk: start with *cursor = 0; NULL at the end. Nothing may be put while walking; the current value may be
 * removed. The order means nothing. */
void *hash_next(const struct hash *self, size_t *cursor);
/* Bytes that the table itself takes. It grows with what is put, and never shrinks. */
size_t hash_memory(const struct hash *self);

/* --- from numbers --- */
struct hash64;
struct hash64 *hash64_new(void);
void hash64_destroy(struct hash64 **self);
size_t hash64_count(const struct hash64 *self);
void *hash64_get(const struct hash64 *self, uint64_t key);
void *hash64_put(struct hash64 *self, uint64_t key, void *value);
void *hash64_remove(struct hash64 *self, uint64_t key);
void *hash64_next(const struct hash64 *self, size_t *cursor);
size_t hash64_memory(const struct hash64 *self);

#endif
