/* packet: a message with all that travels behind it, as one run of bytes: header, then for each entry its term, size and type and its payload; or a chunk of a snapshot and, behind the
 * last one, the members. For drivers that need no zero copy; the header alone is message.h. */
#ifndef COMMON_RAFT_PACKET_H
#define COMMON_RAFT_PACKET_H

#include "common/base/buf.h"
#include "common/raft/storage.h"

enum { RAFT_PACKET_ENTRIES_MAX = 1024, RAFT_PACKET_ENTRY_BYTES = 17 };

struct raft_packet { /* decoded; all of it borrows the bytes */
    struct raft_message message;
    struct raft_entry entries[RAFT_PACKET_ENTRIES_MAX];
    struct span payloads[RAFT_PACKET_ENTRIES_MAX];
    struct span chunk;
    uint32_t config_count;
    struct raft_members members[8]; /* of configuration entries, and of a snapshot */
};

/* Append the message to `out` with what the storage has for it: the payloads of its entries, or its chunk. Not 0 (as ops->read, ops->snapshot_read): nothing was
 * appended; what was compacted meanwhile (ERR_NOT_FOUND) is just not sent. */
int raft_packet_encode(const struct raft_message *message, struct raft_storage *storage,
                       struct buf *out);
/* Bytes from outside. 0; ERR_INCOMPLETE; ERR_BAD_FORMAT; ERR_TOO_LARGE: more entries or configurations than there is room for. */
int raft_packet_decode(struct span bytes, struct raft_packet *ret_packet);

#endif
