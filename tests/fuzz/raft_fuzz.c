/* raft_fuzz: headers, beats and configurations from outside. What decodes must encode to the same bytes, and a replica that gets any sequence of decoded messages
 * keeps its invariants. Input: a byte that chooses; then one object, or for a replica: messages of fixed size without their checksum. */
#include "common/raft/raft.h"

#include <string.h>

#include "common/base/bytes.h"
#include "common/base/crc32c.h"
#include "common/base/invariant.h"
#include "common/raft/node.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LOG_MAX = 512, ENTRIES_MAX = 8, MESSAGE_BYTES = 40 };

struct fuzz_log {
    raft_index base;
    raft_term base_term;
    raft_index last;
    raft_term term[LOG_MAX];
};

static raft_term log_term_at(void *ud, raft_index index)
{
    const struct fuzz_log *log = ud;
    INVARIANT(index >= log->base && index <= log->last);
    return index == log->base ? log->base_term : log->term[index - log->base];
}

static raft_index log_cut(void *ud, raft_index first, raft_index last, uint32_t bytes_max,
                          uint32_t *ret_bytes)
{
    const struct fuzz_log *log = ud;
    INVARIANT(first > log->base && first <= last && last <= log->last);
    (void) bytes_max;
    *ret_bytes = 0;
    return last;
}

static void members_three(struct raft_members *members)
{
    memset(members, 0, sizeof(*members));
    for (uint32_t node = 1; node <= 3; node++) {
        (void) raft_members_put(members, (struct raft_id){node, 1}, RAFT_VOTER, 1);
    }
}

static raft_index log_members_at(void *ud, raft_index index, struct raft_members *ret_members)
{
    const struct fuzz_log *log = ud;
    INVARIANT(index <= log->last);
    members_three(ret_members);
    return log->base > 1 ? log->base : 1;
}

static struct raft_snapshot log_snapshot(void *ud)
{
    const struct fuzz_log *log = ud;
    return (struct raft_snapshot){log->base, log->base_term, 100};
}

static const struct raft_log log_reads = {log_term_at, log_cut, log_members_at, log_snapshot};

static void replica_take(struct fuzz_log *log, const struct raft_message *message,
                         const struct raft_taken *taken)
{
    if (taken->install) {
        log->base = log->last = message->index;
        log->base_term = message->index_term;
    }
    if (taken->count != 0) {
        INVARIANT(taken->first > log->base && taken->first <= log->last + 1);
        log->last = taken->first - 1;
        for (uint32_t i = 0; i < taken->count; i++) {
            log->term[++log->last - log->base] = message->entries[taken->skip + i].term;
        }
    }
}

static void replica_drain(struct raft *raft, struct fuzz_log *log)
{
    struct raft_output output;
    uint8_t bytes[RAFT_HEADER_BYTES];
    struct raft_message back;
    while (raft_drain(raft, &output)) {
        if (output.type == RAFT_OUTPUT_ENTRY) {
            log->term[++log->last - log->base] = output.entry.entry.term;
        } else if (output.type == RAFT_OUTPUT_WRITE) {
            raft_persisted(raft, output.write.wseq);
        } else if (output.type == RAFT_OUTPUT_COMMIT) {
            raft_applied(raft, output.commit);
        } else if (output.type == RAFT_OUTPUT_SEND) {
            raft_message_encode(&output.message, bytes);
            INVARIANT(raft_message_decode(bytes, sizeof(bytes), &back) == 0);
        }
    }
}

/* Small numbers, so that messages have to do with each other. */
static void message_of(const uint8_t *at, struct raft_message *message)
{
    memset(message, 0, sizeof(*message));
    message->type = (uint8_t) (1 + at[0] % (RAFT_MESSAGE_TYPE_COUNT - 1));
    message->flags = at[1] & RAFT_FLAGS_ALL;
    message->from = (struct raft_id){1 + at[2] % 4, 1};
    message->to = (struct raft_id){1, 1};
    message->term = at[3];
    message->index = at[4];
    message->index_term = at[5];
    message->commit = at[6];
    message->appended = at[7];
    message->hint = at[8];
    message->hint_term = at[9];
    message->token = at[10];
    message->round = at[11];
    message->offset = at[12];
    message->total = at[13];
    message->sent = at[14] * UINT64_C(1000);
    message->seq = at[15];
    message->pos = at[16];
    message->count = message->type == RAFT_MESSAGE_APPEND ? at[17] % (ENTRIES_MAX + 1) : 0;
    message->bytes = message->type == RAFT_MESSAGE_SNAPSHOT ? at[18] : 0;
}

static void fuzz_replica(const uint8_t *data, size_t size)
{
    static uint64_t memory[1024];
    static struct fuzz_log log;
    struct raft_config config;
    struct raft_boot boot;
    struct raft_members members;
    struct raft *raft = NULL;
    raft_config_init(&config);
    config.id = (struct raft_id){1, 1};
    config.lease_reads = true;
    config.quiesce_after_us = 400000;
    memset(&boot, 0, sizeof(boot));
    memset(&log, 0, sizeof(log));
    members_three(&members);
    INVARIANT(raft_init(memory, sizeof(memory), &config, &boot, &log_reads, &log, 0, &raft) == 0);
    INVARIANT(raft_bootstrap(raft, &members) == 0);
    log.last = 1;
    log.term[1] = 1;
    raft_time now = 0;
    for (; size >= MESSAGE_BYTES; data += MESSAGE_BYTES, size -= MESSAGE_BYTES) {
        struct raft_message message;
        struct raft_entry entries[ENTRIES_MAX];
        struct raft_taken taken;
        message_of(data, &message);
        for (unsigned i = 0; i < ENTRIES_MAX; i++) {
            entries[i] = (struct raft_entry){.term = data[19 + i], .bytes = data[27 + i]};
        }
        message.entries = entries;
        message.members = &members;
        now += data[36] * UINT64_C(1000);
        if (log.last - log.base + ENTRIES_MAX + 4 >= LOG_MAX) {
            break;
        }
        if (data[37] % 4 == 0) {
            raft_advance(raft, now);
        } else if (data[37] % 4 == 1) {
            struct raft_entry entry = {.bytes = data[38]};
            raft_index first = 0;
            if (raft_propose(raft, &entry, 1, &first) == 0) {
                log.term[++log.last - log.base] = entry.term;
            }
            (void) raft_read(raft, now, data[39]);
        } else {
            (void) raft_recv(raft, now, &message, &taken);
            replica_take(&log, &message, &taken);
        }
        if (data[37] >= 64) { /* else several inputs before one drain */
            replica_drain(raft, &log);
        }
        INVARIANT(raft_check(raft) == NULL);
    }
}

/* The checksum would keep the fuzzer out: it is made right here. */
static bool seal(const uint8_t *data, size_t size, uint8_t *bytes, size_t bytes_size)
{
    if (size < bytes_size) {
        return false;
    }
    memcpy(bytes, data, bytes_size);
    bytes_put_u32(bytes + bytes_size - 4, crc32c_extend(0, span_make(bytes, bytes_size - 4)));
    return true;
}

static void fuzz_header(const uint8_t *data, size_t size)
{
    struct raft_message message;
    uint8_t bytes[RAFT_HEADER_BYTES];
    uint8_t again[RAFT_HEADER_BYTES];
    if (raft_message_decode(data, size, &message) == 0) {
        raft_message_encode(&message, bytes);
        INVARIANT(memcmp(bytes, data, RAFT_HEADER_BYTES) == 0);
    }
    if (seal(data, size, bytes, sizeof(bytes)) &&
        raft_message_decode(bytes, sizeof(bytes), &message) == 0) {
        raft_message_encode(&message, again);
        INVARIANT(memcmp(again, bytes, sizeof(bytes)) == 0);
    }
}

static void fuzz_beat(const uint8_t *data, size_t size)
{
    struct raft_beat beat;
    uint8_t bytes[RAFT_BEAT_BYTES];
    uint8_t again[RAFT_BEAT_BYTES];
    if (raft_beat_decode(data, size, &beat) == 0) {
        raft_beat_encode(&beat, bytes);
        INVARIANT(memcmp(bytes, data, RAFT_BEAT_BYTES) == 0);
    }
    if (seal(data, size, bytes, sizeof(bytes)) &&
        raft_beat_decode(bytes, sizeof(bytes), &beat) == 0) {
        raft_beat_encode(&beat, again);
        INVARIANT(memcmp(again, bytes, sizeof(bytes)) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct raft_members members;
    uint8_t bytes[RAFT_MEMBERS_BYTES_MAX];
    switch (data[0] % 4) {
    case 0:
        fuzz_header(data + 1, size - 1);
        break;
    case 1:
        fuzz_beat(data + 1, size - 1);
        break;
    case 2:
        if (raft_members_decode(data + 1, size - 1, &members) == 0) {
            INVARIANT(raft_members_encode(&members, bytes) == size - 1);
            INVARIANT(memcmp(bytes, data + 1, size - 1) == 0);
        }
        break;
    default:
        fuzz_replica(data + 1, size - 1);
        break;
    }
    return 0;
}
