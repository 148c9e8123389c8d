/* raft_packet_fuzz: what travels behind a header. Input: a byte that chooses; then a whole packet as it is, or type, flags and small numbers of a header that is made valid
 * here (its checksum would keep the fuzzer out), and the bytes behind it. What decodes must encode to the same bytes. */
#include <string.h>

#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/raft/memory.h"
#include "common/raft/packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Put what was decoded into a log, and send it from there. */
static void encode_again(const struct raft_packet *packet, struct span bytes)
{
    struct raft_message message = packet->message;
    struct raft_memory *memory = raft_memory_new();
    struct raft_storage *storage = raft_memory_storage(memory);
    struct buf out = {0};
    message.index = 0; /* the log begins with the first entry */
    for (unsigned i = 0; i < message.count; i++) {
        struct span part = packet->payloads[i];
        struct payload *payload = part.size != 0 ? payload_copy(part) : NULL;
        struct slice slice = {payload, payload != NULL ? payload_span(payload) : part};
        INVARIANT(raft_storage_put(storage, 1 + i, &packet->entries[i], 1, &slice) == 0);
        payload_unref(&payload);
    }
    INVARIANT(raft_packet_encode(&message, storage, &out) == 0);
    if ((message.flags & RAFT_FLAG_WITNESS) == 0) {
        INVARIANT(out.size == bytes.size);
        INVARIANT(memcmp(out.data + RAFT_HEADER_BYTES, bytes.data + RAFT_HEADER_BYTES,
                         out.size - RAFT_HEADER_BYTES) == 0);
    }
    buf_release(&out);
    raft_memory_destroy(&memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct raft_packet packet;
    if (size < 8) {
        return 0;
    }
    if (data[0] % 4 == 0) {
        (void) raft_packet_decode(span_make(data + 1, size - 1), &packet);
        return 0;
    }
    struct raft_message message = {.group = 1,
                                   .from = {2, 1},
                                   .to = {1, 1},
                                   .term = data[2],
                                   .index = data[3],
                                   .index_term = data[4]};
    bool is_append = data[0] % 2 == 0;
    message.type = is_append ? RAFT_MESSAGE_APPEND : RAFT_MESSAGE_SNAPSHOT;
    message.flags = data[1] & RAFT_FLAGS_ALL;
    message.count = is_append ? data[5] : 0;
    message.bytes = data[6];
    message.total = is_append ? 0 : data[7];
    uint8_t *bytes = mem_new(RAFT_HEADER_BYTES + size);
    raft_message_encode(&message, bytes);
    memcpy(bytes + RAFT_HEADER_BYTES, data + 8, size - 8);
    struct span all = span_make(bytes, RAFT_HEADER_BYTES + size - 8);
    if (raft_packet_decode(all, &packet) == 0 && is_append) {
        encode_again(&packet, all);
    }
    mem_free(bytes);
    return 0;
}
