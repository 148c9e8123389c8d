/* kinds: what the payload of an entry in a stream's log means. Numbers reach the disk: never change or re-use one. */
#ifndef LOGD_KINDS_H
#define LOGD_KINDS_H

enum log_kind {
    LOG_KIND_BATCH = 1,  /* a RecordBatch as the publisher made it; base and count in the frame */
    LOG_KIND_CONFIG = 2, /* EntryConfig of log.proto */
    LOG_KIND_GROUP = 3,  /* EntryGroup */
    LOG_KIND_ACKS = 4,   /* EntryAcks */
    LOG_KIND_TRIM = 5,   /* EntryTrim */
    LOG_KIND_IDS = 6,    /* EntryIds */
    LOG_KIND_STATE = 7,  /* EntryState */
};

#endif
