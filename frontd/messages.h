/* messages: a run of whole `messages` fields (EsPublish, EsDeliver) whose form was checked before (es_next), walked without reading the messages: how many fit,
 * where they may be cut, which topics are at its ends. */
#ifndef FRONTD_MESSAGES_H
#define FRONTD_MESSAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/span.h"

/* Bytes of the longest prefix of whole messages that is at most count_max messages and bytes_max bytes; *ret_count is set. */
size_t messages_prefix(struct span run, uint32_t count_max, uint64_t bytes_max,
                       uint32_t *ret_count);
/* Bytes of the shortest prefix that is at least `count_min` messages and `bytes_min` bytes; all when there is no such. *ret_last is where its last message
 * begins. */
size_t messages_prefix_at_least(struct span run, uint32_t count_min, uint64_t bytes_min,
                                uint32_t *ret_count, size_t *ret_last);
/* The run without its first `bytes` bytes. */
static inline struct span messages_behind(struct span run, size_t bytes)
{
    return span_make(run.data + bytes, run.size - bytes);
}
static inline struct span messages_first(struct span run, size_t bytes)
{
    return span_make(run.data, bytes);
}

/* Topic and key of the first message; empty when absent. */
struct span messages_topic(struct span run);
struct span messages_key(struct span run);

/* Bytes from another process: are they `count` (> 0) whole messages that es_next takes, and nothing else? */
bool messages_are_sound(struct span run, uint32_t count);

#endif
