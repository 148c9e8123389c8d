/* messages: walks over runs of messages. Owns nothing. Must never be given bytes whose form nobody has checked (messages_are_sound does). */
#include "frontd/messages.h"

#include "common/base/invariant.h"
#include "common/wire/es.h"
#include "common/wire/pb.h"

enum { TAG_MESSAGES = 15 << 3 | 2, MESSAGE_TOPIC = 1, MESSAGE_KEY = 3 };

/* The place behind the field at `at`: its tag is of one byte nearly always, its length of one or two. */
static inline const uint8_t *field_end(const uint8_t *at, const uint8_t *end)
{
    if (end - at > 3 && at[0] == TAG_MESSAGES) {
        if (at[1] < 0x80) {
            return at + 2 + at[1];
        }
        if (at[2] < 0x80) {
            return at + 3 + ((size_t) (at[1] & 0x7f) | (size_t) at[2] << 7);
        }
    }
    struct span rest = span_make(at, (size_t) (end - at));
    struct pb_field field;
    INVARIANT(pb_next(&rest, &field) == 1);
    return rest.data;
}

size_t messages_prefix(struct span run, uint32_t count_max, uint64_t bytes_max, uint32_t *ret_count)
{
    const uint8_t *at = run.data;
    const uint8_t *end = at + run.size;
    const uint8_t *stop = bytes_max < run.size ? at + bytes_max : end;
    uint32_t count = 0;
    while (at != stop && count != count_max) {
        const uint8_t *next = field_end(at, end);
        if (next > stop) {
            break;
        }
        at = next;
        count++;
    }
    *ret_count = count;
    return (size_t) (at - run.data);
}

size_t messages_prefix_at_least(struct span run, uint32_t count_min, uint64_t bytes_min,
                                uint32_t *ret_count, size_t *ret_last)
{
    const uint8_t *at = run.data;
    const uint8_t *end = at + run.size;
    const uint8_t *last = at;
    uint32_t count = 0;
    while (at != end && (count < count_min || (uint64_t) (at - run.data) < bytes_min)) {
        last = at;
        at = field_end(at, end);
        count++;
    }
    *ret_count = count;
    *ret_last = (size_t) (last - run.data);
    return (size_t) (at - run.data);
}

/* A part of the first message. */
static struct span message_part(struct span run, uint32_t number)
{
    struct pb_field field;
    struct span part = {0};
    INVARIANT(pb_next(&run, &field) == 1);
    struct span message = field.bytes;
    while (pb_next(&message, &field) == 1) {
        if (field.number == number && field.type == PB_BYTES) {
            part = field.bytes;
            break;
        }
    }
    return part;
}

struct span messages_topic(struct span run)
{
    return message_part(run, MESSAGE_TOPIC);
}

struct span messages_key(struct span run)
{
    return message_part(run, MESSAGE_KEY);
}

bool messages_are_sound(struct span run, uint32_t count)
{
    struct es_limits limits = es_limits_default();
    struct es_message message;
    const uint8_t *end = run.data;
    const uint8_t *run_end = run.data + run.size;
    uint32_t found = 0;
    int result = 0;
    limits.message_bytes_max = UINT64_MAX; /* the frontd that took them had its own limit */
    while ((result = es_next(&run, &limits, &message)) == 1) {
        if (message.field.data != end) {
            return false;
        }
        end += message.field.size;
        found++;
    }
    return result == 0 && end == run_end && found == count && count != 0;
}
