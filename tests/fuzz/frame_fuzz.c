/* frame_fuzz: the splitter fed in chunks of any size sees the same frames as in one go, and each frame's outer fields
 * are what protobuf-c sees. Input: a byte for the size limit, a byte for the chunks, then the stream. */
#include "common/wire/frame.h"

#include <string.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"
#include "tests/fuzz/lib/strict.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Some body in the frame is no such message: then protobuf-c refuses it, and frame_parse has not looked. */
static bool body_is_bad(struct span frame)
{
    struct pb_field field;
    while (pb_next(&frame, &field) == 1) {
        const ProtobufCFieldDescriptor *known =
            protobuf_c_message_descriptor_get_field(&railgun__frame__descriptor, field.number);
        if (known == NULL || known->type != PROTOBUF_C_TYPE_MESSAGE) {
            continue;
        }
        ProtobufCMessage *body =
            protobuf_c_message_unpack(known->descriptor, NULL, field.bytes.size, field.bytes.data);
        if (body == NULL) {
            return true;
        }
        protobuf_c_message_free_unpacked(body, NULL);
    }
    return false;
}

static void frame_compare(struct span bytes)
{
    struct frame_view view;
    int result = frame_parse(bytes, &view);
    Railgun__Frame *frame = railgun__frame__unpack(NULL, bytes.size, bytes.data);

    bool refuses = strict_reason(bytes.data, bytes.size, &railgun__frame__descriptor, NULL, 1);

    if (result != 0) {
        INVARIANT(result == ERR_PROTOCOL);
        INVARIANT(frame == NULL || refuses);
    } else if (frame == NULL) {
        INVARIANT(body_is_bad(bytes));
    } else {
        INVARIANT(!refuses);
        INVARIANT(view.channel == frame->channel);
        INVARIANT(view.corr == frame->corr);
        INVARIANT(view.field == (uint32_t) frame->body_case);
    }
    if (frame != NULL) {
        railgun__frame__free_unpacked(frame, NULL);
    }
    if (result != 0 || view.field == 0) {
        return;
    }
    struct buf again = {0};
    struct span body;
    struct frame_view twin;
    size_t total = 0;
    frame_append(&again, view.channel, view.corr, view.field, view.body);
    INVARIANT(frame_split(buf_span(&again), FRAME_SIZE_MAX_HARD, &body, &total) == 0);
    INVARIANT(total == again.size);
    INVARIANT(frame_parse(body, &twin) == 0);
    INVARIANT(twin.channel == view.channel && twin.corr == view.corr && twin.field == view.field);
    INVARIANT(span_equal(twin.body, view.body));
    buf_release(&again);
}

/* What is received so far, in a block of exactly its size: a sanitizer sees each look beyond. */
static int split_exact(struct span received, uint32_t size_max, size_t *ret_total)
{
    uint8_t *copy = mem_new(received.size);
    struct span body;
    if (received.size != 0) {
        memcpy(copy, received.data, received.size);
    }
    int result = frame_split(span_make(copy, received.size), size_max, &body, ret_total);
    if (result == 0) {
        INVARIANT(body.data == copy + FRAME_PREFIX_SIZE);
        INVARIANT(body.size + FRAME_PREFIX_SIZE == *ret_total && *ret_total <= received.size);
        INVARIANT(body.size <= size_max && body.size != 0);
    }
    mem_free(copy);
    return result;
}

/* Feed the stream in chunks; returns the end of the last whole frame, and how it went on from there. */
static size_t split_in_chunks(struct span stream, uint32_t size_max, uint32_t seed, int *ret_result)
{
    size_t start = 0;
    size_t end = 0;
    int result = ERR_INCOMPLETE;
    while (result == ERR_INCOMPLETE) {
        size_t total = 0;
        result = split_exact(span_make(stream.data + start, end - start), size_max, &total);
        if (result == 0) {
            start += total;
            result = ERR_INCOMPLETE;
        } else if (end == stream.size) {
            break;
        } else {
            seed = seed * 1664525 + 1013904223;
            size_t chunk = 1 + (seed >> 16) % 37;
            end += chunk < stream.size - end ? chunk : stream.size - end;
        }
    }
    *ret_result = result;
    return start;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3) {
        return 0;
    }
    uint32_t size_max = data[0] == 255 ? FRAME_SIZE_MAX_HARD : 16U * (data[0] + 1U);
    struct span stream = span_make(data + 2, size - 2);
    struct span rest = stream;
    struct span body;
    size_t total = 0;
    int result = 0;

    while ((result = frame_split(rest, size_max, &body, &total)) == 0) {
        frame_compare(body);
        rest = span_make(rest.data + total, rest.size - total);
    }
    int result_chunks = 0;
    size_t end = split_in_chunks(stream, size_max, data[1], &result_chunks);
    INVARIANT(end == stream.size - rest.size);
    INVARIANT(result_chunks == result);
    return 0;
}
