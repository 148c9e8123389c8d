/* str: numbers, sizes and durations from text, and text that is safe to print. */
#ifndef COMMON_BASE_STR_H
#define COMMON_BASE_STR_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/span.h"

/* The whole text as an unsigned decimal number; 0 or ERR_BAD_FORMAT (also on overflow, sign, space, empty). */
int str_to_u64(struct span text, uint64_t *ret_value);
/* "4096", "64k", "8M", "8MiB", "2G": powers of 1024. 0 or ERR_BAD_FORMAT. */
int str_to_size(struct span text, uint64_t *ret_bytes);
/* "250ms", "5s", "10m", "1h", "30d"; a bare number is milliseconds. 0 or ERR_BAD_FORMAT. */
int str_to_duration_ms(struct span text, uint64_t *ret_ms);

/* Copy at most `capacity - 1` bytes of foreign text, control and non-ASCII bytes and quotes escaped as \xNN, cut with
 * "..." when too long; always NUL-terminated. Returns `out`. For logs and messages. */
const char *str_escape(struct span text, char *out, size_t capacity);

/* Copy into a fixed array, always NUL-terminated; 0, or ERR_TOO_LARGE and an empty string. */
int str_copy(char *out, size_t capacity, struct span text);

#endif
