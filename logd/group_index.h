/* group_index: in which stream a consumer group lives, by the group's id. */
#ifndef LOGD_GROUP_INDEX_H
#define LOGD_GROUP_INDEX_H

#include <stdint.h>

#include "common/base/buf.h"

struct group_index;
struct stream;

struct group_index *group_index_new(void);
void group_index_destroy(struct group_index **self);

void group_index_put(struct group_index *self, uint64_t group_id, struct stream *stream);
void group_index_remove(struct group_index *self, uint64_t group_id);
struct stream *group_index_find(const struct group_index *self, uint64_t group_id); /* or NULL */
/* Append all ids, 8 bytes each, little-endian: what is walked may change meanwhile. */
void group_index_list(const struct group_index *self, struct buf *out);

#endif
