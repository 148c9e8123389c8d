/* packet: a message with all that travels behind it, as one run of bytes: header, then for each entry its term, size and type and its payload; or a chunk of a snapshot and, behind the
 * last one, the members. For drivers that need no zero copy; the header alone is message.h. */
#ifndef COMMON_RAFT_PACKET_H
#define COMMON_RAFT_PACKET_H

#include "common/base/buf.h"
#include "common/raft/storage.h"

enum { RAFT_PACKET_ENTRIES_MAX = 1024, RAFT_PACKET_ENTRY_BYTES = 17 };

/* Decoded; all of it borrows the bytes. Zeroed before the first use; one may be used again and again. */
struct raft_packet {
    struct raft_message message;
    struct raft_entry entries[RAFT_PACKET_ENTRIES_MAX];
    struct span payloads[RAFT_PACKET_ENTRIES_MAX];
    struct span chunk;
    struct raft_members *members; /* owned: of configuration entries, or of a snapshot */
    uint32_t config_count;
    uint32_t config_capacity;
};

/* Append the message to `out` with what the storage has for it: the payloads of its entries, or its chunk. Not 0 (as ops->read, ops->snapshot_read): nothing was
 * appended; what was compacted meanwhile (ERR_NOT_FOUND) is just not sent. */
int raft_packet_encode(const struct raft_message *message, struct raft_storage *storage,
                       struct buf *out);
/* Bytes from outside. 0; ERR_INCOMPLETE; ERR_BAD_FORMAT; ERR_TOO_LARGE: more than RAFT_PACKET_ENTRIES_MAX entries; ERR_NO_MEMORY. */
int raft_packet_decode(struct span bytes, struct raft_packet *ret_packet);
void raft_packet_release(struct raft_packet *self);

#endif
