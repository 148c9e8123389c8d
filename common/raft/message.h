/* message: what replicas of a group say to each other, as a header of fixed size. Payloads of entries and chunks of snapshots travel behind
 * it; the core never sees them. Lost, doubled, late and reordered messages are all right; changed ones are the transport's to refuse. */
#ifndef COMMON_RAFT_MESSAGE_H
#define COMMON_RAFT_MESSAGE_H

#include "common/raft/members.h"

/* Numbers are on the wire: append only. */
enum raft_message_type {
    RAFT_MESSAGE_VOTE =
        1, /* RequestVote (paper 5.2): index, index_term = the candidate's last entry */
    RAFT_MESSAGE_VOTE_REPLY = 2, /* RAFT_FLAG_REJECT */
    RAFT_MESSAGE_PRE_VOTE =
        3, /* dissertation 9.6: as VOTE, with the term the candidate would take */
    RAFT_MESSAGE_PRE_VOTE_REPLY =
        4, /* granted: that term; rejected: the voter's own term, to be adopted */
    RAFT_MESSAGE_APPEND =
        5, /* AppendEntries: index, index_term = previous entry; commit; count, bytes; seq, round, pos, sent */
    RAFT_MESSAGE_APPEND_REPLY =
        6, /* index = durable and matching; appended = taken; REJECT: hint, hint_term; echoes */
    RAFT_MESSAGE_SNAPSHOT =
        7, /* InstallSnapshot: index, index_term = of the snapshot; offset, bytes, total; echoes as APPEND */
    RAFT_MESSAGE_SNAPSHOT_REPLY =
        8, /* index = of the snapshot, offset = the next byte wanted; echoes */
    RAFT_MESSAGE_TIMEOUT_NOW =
        9, /* dissertation 3.10: index, index_term = the leader's last entry, which the target must have */
    RAFT_MESSAGE_READ = 10,       /* a follower asks for a read index: token */
    RAFT_MESSAGE_READ_REPLY = 11, /* token, index; REJECT: ask again elsewhere */
    RAFT_MESSAGE_QUIESCE =
        12, /* an idle leader: index, index_term = last = commit: sleep while our nodes' session lives; seq, sent */
    RAFT_MESSAGE_QUIESCE_REPLY = 13, /* asleep; REJECT: not up to date; echoes */
    RAFT_MESSAGE_TYPE_COUNT
};

enum {
    RAFT_FLAG_REJECT = 1,
    RAFT_FLAG_TRANSFER =
        2, /* VOTE: the leader itself asked for this election: voters do not protect it */
    RAFT_FLAG_END = 4,      /* APPEND: reaches the leader's last entry */
    RAFT_FLAG_SILENT = 8,   /* APPEND: only tells the commit index; no reply wanted */
    RAFT_FLAG_WITNESS = 16, /* APPEND: the receiver is a witness: payloads may be left out */
    RAFT_FLAG_LAST =
        32, /* SNAPSHOT: the last chunk: the configuration as of the snapshot travels behind it */
    RAFT_FLAGS_ALL = 63
};

/* What the core knows of an entry. */
enum raft_entry_type {
    RAFT_ENTRY_NORMAL = 0,
    RAFT_ENTRY_BLANK = 1,  /* a new leader's first (paper 8) */
    RAFT_ENTRY_CONFIG = 2, /* payload: raft_members_encode */
};

struct raft_entry {
    raft_term term;
    uint32_t bytes; /* payload size, for windows and limits */
    uint8_t type;   /* enum raft_entry_type */
    const struct raft_members
        *members; /* CONFIG: decoded by the driver; borrowed during the call; else NULL */
};

struct raft_message {
    uint64_t group;
    struct raft_id from;
    struct raft_id to;
    raft_term term;
    raft_index index;
    raft_term index_term;
    raft_index commit;
    raft_index appended;
    raft_index hint;
    raft_term hint_term;
    uint64_t token;  /* READ*: the caller's number for a read */
    uint64_t round;  /* of read confirmation; echoed */
    uint64_t offset; /* SNAPSHOT* */
    uint64_t total;  /* SNAPSHOT: size of the whole */
    raft_time sent;  /* the leader's clock when sending; echoed; base of its lease */
    uint32_t seq;    /* counts the leader's messages to this peer; echoed */
    /* counts payload bytes sent to this peer; echoed once durable: the window needs no list */
    uint32_t pos;
    uint32_t bytes; /* of payloads behind this header */
    uint16_t count; /* APPEND: entries behind this header */
    uint8_t type;   /* enum raft_message_type */
    uint8_t flags;
    /* Not part of the header. Given by the receiving driver from what travels behind it, borrowed during raft_recv. */
    const struct raft_entry *entries;   /* APPEND: `count` of them */
    const struct raft_members *members; /* SNAPSHOT with RAFT_FLAG_LAST */
};

enum { RAFT_HEADER_BYTES = 144, RAFT_HEADER_VERSION = 1 };

/* Write exactly RAFT_HEADER_BYTES: version, type, flags, ... all integers little-endian, CRC32C of the header at its end. */
void raft_message_encode(const struct raft_message *self, uint8_t *at);
/* Bytes from outside. 0; ERR_INCOMPLETE: shorter than a header; ERR_BAD_FORMAT: version, checksum, unknown type or flag, node 0 as sender or
 * receiver, or fields that this type cannot have. On success `entries` and `members` are NULL: decode what follows, then set them. */
int raft_message_decode(const uint8_t *data, size_t size, struct raft_message *ret_message);
const char *raft_message_name(unsigned type); /* "APPEND"; never NULL */

#endif
