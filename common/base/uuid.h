/* uuid: 128-bit ids (RFC 9562 version 4) and their text form. */
#ifndef COMMON_BASE_UUID_H
#define COMMON_BASE_UUID_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/span.h"

enum { UUID_TEXT_SIZE = 37 }; /* 8-4-4-4-12 and the NUL */

struct uuid {
    uint8_t bytes[16];
};

struct uuid uuid_random(void);
bool uuid_is_nil(const struct uuid *self);
bool uuid_equal(const struct uuid *a, const struct uuid *b);
void uuid_format(const struct uuid *self, char ret_text[UUID_TEXT_SIZE]);
/* 0, or ERR_BAD_FORMAT. */
int uuid_parse(struct span text, struct uuid *ret_uuid);
/* From 16 raw bytes: 0, or ERR_BAD_FORMAT for another size. */
int uuid_from_bytes(struct span bytes, struct uuid *ret_uuid);

#endif
