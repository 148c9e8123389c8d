/* message: the header's bytes. Layout, all little-endian: version 1, type 1, flags 1, zero 1, count 2, zero 2, group 8, from 4+4, to 4+4, then eight bytes
 * each: term, index, index_term, commit, appended, hint, hint_term, token, round, offset, total, sent; then four each: seq, pos, bytes, CRC32C of
 * all before. To change it: a new version number; replicas of a group may run different releases, so the old one is read for one release more. */
#include "common/raft/message.h"

#include <string.h>

#include "common/base/bytes.h"
#include "common/base/crc32c.h"
#include "common/base/err.h"

static const char *const message_names[RAFT_MESSAGE_TYPE_COUNT] = {
    "NONE",   "VOTE",         "VOTE_REPLY", "PRE_VOTE",       "PRE_VOTE_REPLY",
    "APPEND", "APPEND_REPLY", "SNAPSHOT",   "SNAPSHOT_REPLY", "TIMEOUT_NOW",
    "READ",   "READ_REPLY",   "QUIESCE",    "QUIESCE_REPLY",
};

const char *raft_message_name(unsigned type)
{
    return message_names[type < RAFT_MESSAGE_TYPE_COUNT ? type : 0];
}

void raft_message_encode(const struct raft_message *self, uint8_t *at)
{
    memset(at, 0, RAFT_HEADER_BYTES);
    at[0] = RAFT_HEADER_VERSION;
    at[1] = self->type;
    at[2] = self->flags;
    bytes_put_u16(at + 4, self->count);
    bytes_put_u64(at + 8, self->group);
    bytes_put_u32(at + 16, self->from.node);
    bytes_put_u32(at + 20, self->from.incarnation);
    bytes_put_u32(at + 24, self->to.node);
    bytes_put_u32(at + 28, self->to.incarnation);
    const uint64_t wide[] = {self->term,     self->index,  self->index_term, self->commit,
                             self->appended, self->hint,   self->hint_term,  self->token,
                             self->round,    self->offset, self->total,      self->sent};
    for (size_t i = 0; i < sizeof(wide) / sizeof(wide[0]); i++) {
        bytes_put_u64(at + 32 + 8 * i, wide[i]);
    }
    bytes_put_u32(at + 128, self->seq);
    bytes_put_u32(at + 132, self->pos);
    bytes_put_u32(at + 136, self->bytes);
    bytes_put_u32(at + 140, crc32c_extend(0, span_make(at, 140)));
}

/* What no correct peer sends: so that the core need not fear sums that wrap. */
static bool message_is_impossible(const struct raft_message *self)
{
    const uint64_t most = UINT64_MAX / 4;
    if (self->index > most || self->term > most || self->appended > most || self->hint > most ||
        self->commit > most || self->index_term > most || self->hint_term > most ||
        self->offset > most || self->total > most || self->term == 0) {
        return true;
    }
    if (self->type != RAFT_MESSAGE_APPEND && self->count != 0) {
        return true;
    }
    if (self->type != RAFT_MESSAGE_APPEND && self->type != RAFT_MESSAGE_SNAPSHOT &&
        self->bytes != 0) {
        return true;
    }
    if (self->type == RAFT_MESSAGE_SNAPSHOT) {
        bool ends = self->offset + self->bytes == self->total;
        return self->index == 0 || self->index_term == 0 ||
               self->offset + self->bytes > self->total ||
               ends != ((self->flags & RAFT_FLAG_LAST) != 0);
    }
    return raft_id_equal(self->from, self->to);
}

int raft_message_decode(const uint8_t *data, size_t size, struct raft_message *ret_message)
{
    if (size < RAFT_HEADER_BYTES) {
        return ERR_INCOMPLETE;
    }
    if (data[0] != RAFT_HEADER_VERSION || data[1] == 0 || data[1] >= RAFT_MESSAGE_TYPE_COUNT ||
        (data[2] & ~RAFT_FLAGS_ALL) != 0 || data[3] != 0 || bytes_get_u16(data + 6) != 0 ||
        bytes_get_u32(data + 140) != crc32c_extend(0, span_make(data, 140))) {
        return ERR_BAD_FORMAT;
    }
    struct raft_message message;
    memset(&message, 0, sizeof(message));
    message.type = data[1];
    message.flags = data[2];
    message.count = bytes_get_u16(data + 4);
    message.group = bytes_get_u64(data + 8);
    message.from = (struct raft_id){bytes_get_u32(data + 16), bytes_get_u32(data + 20)};
    message.to = (struct raft_id){bytes_get_u32(data + 24), bytes_get_u32(data + 28)};
    uint64_t *const wide[] = {&message.term,      &message.index,    &message.index_term,
                              &message.commit,    &message.appended, &message.hint,
                              &message.hint_term, &message.token,    &message.round,
                              &message.offset,    &message.total,    &message.sent};
    for (size_t i = 0; i < sizeof(wide) / sizeof(wide[0]); i++) {
        *wide[i] = bytes_get_u64(data + 32 + 8 * i);
    }
    message.seq = bytes_get_u32(data + 128);
    message.pos = bytes_get_u32(data + 132);
    message.bytes = bytes_get_u32(data + 136);
    if (raft_id_is_none(message.from) || raft_id_is_none(message.to) ||
        message_is_impossible(&message)) {
        return ERR_BAD_FORMAT;
    }
    *ret_message = message;
    return 0;
}
