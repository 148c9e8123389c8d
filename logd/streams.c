/* streams: the table of all streams of the daemon, and the configuration entries that are to be proposed for them. A stream, once
 * known, stays in the table until the daemon ends: a deleted one answers for what it is. */
#include <inttypes.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "logd/kinds.h"
#include "logd/stream_body.h"

struct stream *streams_find(const struct logd *logd, uint64_t log_group)
{
    return hash64_get(logd->streams, log_group);
}

struct stream *streams_get_or_make(struct logd *logd, uint64_t log_group)
{
    struct stream *stream = streams_find(logd, log_group);
    if (stream == NULL) {
        stream = stream_new(logd, log_group);
        (void) hash64_put(logd->streams, log_group, stream); /* there was none */
        if (log_group > logd->log_group_max) {
            logd->log_group_max = log_group;
        }
    }
    return stream;
}

/* 0, or ERR_AGAIN: no room now. */
static int streams_propose_config(struct logd *logd, struct stream *stream)
{
    struct payload *copy = payload_copy(buf_span(&stream->wanted));
    if (copy == NULL) {
        return ERR_AGAIN;
    }
    struct slice slice = {copy, payload_span(copy)};
    uint64_t ts_us = stream_stamp_us(stream);
    uint64_t index;
    int error = replica_propose(stream->replica, LOG_KIND_CONFIG, 0, 0, ts_us, &slice, &index);
    slice_release(&slice);
    if (error == 0) {
        stream->ts_us = ts_us;
        stream->wanted_index = index;
        (*logd->count.configs)++;
    } else if (error != ERR_POISONED) {
        INVARIANT(error != ERR_TOO_LARGE); /* a configuration is some kilobytes */
        return ERR_AGAIN;
    }
    return 0;
}

void streams_propose_configs(struct logd *logd)
{
    struct list *node;
    while ((node = list_pop_front(&logd->configs)) != NULL) {
        struct stream *stream = LIST_ENTRY(node, struct stream, config_link);
        if (stream->wanted_index != 0) {
            continue;
        }
        if (stream->replica == NULL) {
            stream->replica = replica_open(logd->replicas, stream->log_group, 1, 0, stream);
        }
        if (streams_propose_config(logd, stream) == ERR_AGAIN) {
            list_push_front(&logd->configs, node);
            return;
        }
    }
}

void streams_destroy_all(struct logd *logd)
{
    if (logd->streams == NULL) {
        return;
    }
    size_t cursor = 0;
    struct stream *stream;
    while ((stream = hash64_next(logd->streams, &cursor)) != NULL) {
        (void) hash64_remove(logd->streams, stream->log_group);
        stream_destroy(&stream);
    }
    hash64_destroy(&logd->streams);
    hash_destroy(&logd->stream_ids);
}
