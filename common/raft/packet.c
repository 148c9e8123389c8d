/* packet: bytes between replicas. Owns the room for configurations. It must never trust a length from outside. */
#include "common/raft/packet.h"

#include <string.h>

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/mem.h"

static void append(struct buf *out, const void *data, size_t size)
{
    if (size != 0) {
        buf_append(out, span_make(data, size));
    }
}

static int encode_entries(const struct raft_message *message, struct raft_storage *storage,
                          struct buf *out)
{
    for (unsigned i = 0; i < message->count; i++) {
        raft_index index = message->index + 1 + i;
        if (raft_trail_at(&storage->trail, index) == NULL) {
            return ERR_NOT_FOUND;
        }
        struct raft_entry entry = raft_trail_entry(&storage->trail, index);
        uint8_t config[RAFT_MEMBERS_BYTES_MAX];
        uint8_t head[RAFT_PACKET_ENTRY_BYTES];
        struct slice payload = {0};
        struct span bytes = span_make(config, 0);
        if (entry.type == RAFT_ENTRY_CONFIG) {
            bytes.size = raft_members_encode(entry.members, config);
        } else if ((message->flags & RAFT_FLAG_WITNESS) == 0) {
            int error = storage->ops->read(storage, index, &payload);
            if (error != 0) {
                return error;
            }
            bytes = payload.bytes;
        }
        bytes_put_u64(head, entry.term);
        bytes_put_u32(head + 8, entry.bytes);
        bytes_put_u32(head + 12, (uint32_t) bytes.size);
        head[16] = entry.type;
        append(out, head, sizeof(head));
        append(out, bytes.data, bytes.size);
        slice_release(&payload);
    }
    return 0;
}

static int encode_chunk(const struct raft_message *message, struct raft_storage *storage,
                        struct buf *out)
{
    struct slice state = {0};
    uint8_t config[RAFT_MEMBERS_BYTES_MAX];
    struct raft_members members;
    int error = storage->ops->snapshot_read(storage, &state);
    if (error == 0 && (storage->trail.snapshot.index != message->index ||
                       message->offset + message->bytes > state.bytes.size)) {
        error = ERR_NOT_FOUND; /* there is a newer one */
    }
    if (error == 0 && message->bytes != 0) {
        append(out, state.bytes.data + message->offset, message->bytes);
    }
    slice_release(&state);
    if (error == 0 && (message->flags & RAFT_FLAG_LAST) != 0) {
        (void) raft_trail_reads.members_at(&storage->trail, message->index, &members);
        append(out, config, raft_members_encode(&members, config));
    }
    return error;
}

int raft_packet_encode(const struct raft_message *message, struct raft_storage *storage,
                       struct buf *out)
{
    size_t before = out->size;
    uint8_t header[RAFT_HEADER_BYTES];
    int error = 0;
    raft_message_encode(message, header);
    append(out, header, sizeof(header));
    if (message->type == RAFT_MESSAGE_APPEND) {
        error = encode_entries(message, storage, out);
    } else if (message->type == RAFT_MESSAGE_SNAPSHOT) {
        error = encode_chunk(message, storage, out);
    }
    if (error != 0) {
        out->size = before;
    }
    return error;
}

/* The next configuration of a packet. Growing moves them: who points at them is told when all are there. */
static int decode_members(struct raft_packet *packet, struct span bytes)
{
    if (packet->config_count == packet->config_capacity) {
        uint32_t capacity = packet->config_capacity == 0 ? 2 : 2 * packet->config_capacity;
        struct raft_members *members = mem_try_resize(packet->members, capacity, sizeof(*members));
        if (members == NULL) {
            return ERR_NO_MEMORY;
        }
        packet->members = members;
        packet->config_capacity = capacity;
    }
    int error = raft_members_decode(bytes.data, bytes.size, &packet->members[packet->config_count]);
    packet->config_count += error == 0;
    return error;
}

static void point_at_members(struct raft_packet *packet)
{
    uint32_t next = 0;
    for (unsigned i = 0; i < packet->message.count; i++) {
        struct raft_entry *entry = &packet->entries[i];
        entry->members = entry->type == RAFT_ENTRY_CONFIG ? &packet->members[next++] : NULL;
    }
}

static int decode_entries(struct raft_packet *packet, struct span rest)
{
    for (unsigned i = 0; i < packet->message.count; i++) {
        struct raft_entry *entry = &packet->entries[i];
        if (rest.size < RAFT_PACKET_ENTRY_BYTES) {
            return ERR_INCOMPLETE;
        }
        uint32_t length = bytes_get_u32(rest.data + 12);
        *entry = (struct raft_entry){.term = bytes_get_u64(rest.data),
                                     .bytes = bytes_get_u32(rest.data + 8),
                                     .type = rest.data[16]};
        rest = span_make(rest.data + RAFT_PACKET_ENTRY_BYTES, rest.size - RAFT_PACKET_ENTRY_BYTES);
        if (length > rest.size) {
            return ERR_INCOMPLETE;
        }
        struct span bytes = span_make(rest.data, length);
        rest = span_make(rest.data + length, rest.size - length);
        packet->payloads[i] = entry->type == RAFT_ENTRY_CONFIG ? span_make(NULL, 0) : bytes;
        if (entry->type == RAFT_ENTRY_CONFIG) {
            int error = decode_members(packet, bytes);
            if (error != 0) {
                return error;
            }
        } else if (entry->type > RAFT_ENTRY_CONFIG ||
                   (length != entry->bytes &&
                    (length != 0 || (packet->message.flags & RAFT_FLAG_WITNESS) == 0))) {
            return ERR_BAD_FORMAT;
        }
    }
    point_at_members(packet);
    return rest.size == 0 ? 0 : ERR_BAD_FORMAT;
}

int raft_packet_decode(struct span bytes, struct raft_packet *ret_packet)
{
    struct raft_message *message = &ret_packet->message;
    int error = raft_message_decode(bytes.data, bytes.size, message);
    if (error != 0) {
        return error;
    }
    struct span rest = span_make(bytes.data + RAFT_HEADER_BYTES, bytes.size - RAFT_HEADER_BYTES);
    ret_packet->config_count = 0;
    ret_packet->chunk = span_make(NULL, 0);
    if (message->type == RAFT_MESSAGE_APPEND) {
        if (message->count > RAFT_PACKET_ENTRIES_MAX) {
            return ERR_TOO_LARGE;
        }
        message->entries = ret_packet->entries;
        return decode_entries(ret_packet, rest);
    }
    if (message->type == RAFT_MESSAGE_SNAPSHOT) {
        if (message->bytes > rest.size) {
            return ERR_INCOMPLETE;
        }
        ret_packet->chunk = span_make(rest.data, message->bytes);
        rest = span_make(rest.data + message->bytes, rest.size - message->bytes);
        if ((message->flags & RAFT_FLAG_LAST) != 0) {
            error = decode_members(ret_packet, rest);
            message->members = error == 0 ? ret_packet->members : NULL;
            return error;
        }
    }
    return rest.size == 0 ? 0 : ERR_BAD_FORMAT;
}

void raft_packet_release(struct raft_packet *self)
{
    MEM_FREE(self->members);
    self->config_count = 0;
    self->config_capacity = 0;
}
