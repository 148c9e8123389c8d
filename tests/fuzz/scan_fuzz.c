/* scan_fuzz: what the scan lets through, protobuf-c unpacks within the memory the scan announced; what the scan refuses,
 * protobuf-c refuses too or scan.h says why. Input: a byte for the message type, two for the limits, then the message. */
#include "common/wire/scan.h"

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/catalog.pb-c.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/log.pb-c.h"
#include "tests/fuzz/lib/strict.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const ProtobufCMessageDescriptor *const types[] = {
    &railgun__frame__descriptor,           &railgun__catalog_changes__descriptor,
    &railgun__catalog_command__descriptor, &railgun__entry_acks__descriptor,
    &railgun__group_state__descriptor,     &railgun__log_attach__descriptor,
};

/* protobuf-c's own memory: what it asked for in all, and which request fails (0: none). */
struct meter {
    size_t total;
    unsigned requests;
    unsigned fails_at;
};

static void *meter_alloc(void *context, size_t size)
{
    struct meter *meter = context;
    meter->total += size;
    meter->requests++;
    return meter->requests == meter->fails_at ? NULL : mem_try_new(size);
}

static void meter_free(void *context, void *memory)
{
    (void) context;
    mem_free(memory);
}

static bool unpacks(struct span bytes, const ProtobufCMessageDescriptor *type, struct meter *meter)
{
    ProtobufCAllocator allocator = {meter_alloc, meter_free, meter};
    ProtobufCMessage *message = protobuf_c_message_unpack(type, &allocator, bytes.size, bytes.data);
    if (message != NULL) {
        protobuf_c_message_free_unpacked(message, &allocator);
    }
    return message != NULL;
}

static struct scan_limits limits_of_memory(size_t memory)
{
    return (struct scan_limits){.depth_max = 8,
                                .fields_max = 1 << 20,
                                .repeated_max = 1 << 20,
                                .memory_factor = 0,
                                .memory_extra = memory};
}

static void scan_compare(struct span bytes, const ProtobufCMessageDescriptor *type)
{
    struct scan_limits limits = limits_of_memory((size_t) 1 << 30);
    int result = scan_check(bytes, type, &limits);
    struct meter meter = {0};
    bool unpacked = unpacks(bytes, type, &meter);

    if (result != 0) {
        INVARIANT(result == ERR_PROTOCOL);
        INVARIANT(!unpacked || strict_reason(bytes.data, bytes.size, type, NULL, 16));
        return;
    }
    INVARIANT(unpacked);
    INVARIANT(!strict_reason(bytes.data, bytes.size, type, NULL, 16));
    limits = limits_of_memory(meter.total - 1);
    INVARIANT(scan_check(bytes, type, &limits) == ERR_TOO_LARGE);
    limits = limits_of_memory(meter.total + 5 * bytes.size); /* the tags of unknown fields */
    INVARIANT(scan_check(bytes, type, &limits) == 0);
}

/* Unpack within limits the input chooses, pack it, and get the same again. */
static void scan_round(struct span bytes, const ProtobufCMessageDescriptor *type,
                       const struct scan_limits *limits)
{
    ProtobufCMessage *message = NULL;
    int result = scan_unpack(bytes, type, limits, &message);
    if (result != 0) {
        INVARIANT(result == ERR_PROTOCOL || result == ERR_TOO_LARGE);
        INVARIANT(message == NULL);
        return;
    }
    struct buf once = {0};
    struct buf twice = {0};
    scan_pack(&once, message);
    scan_free(&message);
    INVARIANT(message == NULL);
    INVARIANT(scan_unpack(buf_span(&once), type, limits, &message) != ERR_PROTOCOL);
    if (message != NULL) {
        scan_pack(&twice, message);
        INVARIANT(span_equal(buf_span(&once), buf_span(&twice)));
    }
    scan_free(&message);
    buf_release(&once);
    buf_release(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3) {
        return 0;
    }
    const ProtobufCMessageDescriptor *type = types[data[0] % (sizeof(types) / sizeof(types[0]))];
    struct span bytes = span_make(data + 3, size - 3);
    struct scan_limits limits = {.depth_max = 1 + data[1] % 8,
                                 .fields_max = 1 + data[2] * 8U,
                                 .repeated_max = 1 + data[2],
                                 .memory_factor = data[1] / 8U,
                                 .memory_extra = (size_t) data[2] * 64};
    scan_compare(bytes, type);
    scan_round(bytes, type, &limits);
    scan_round(bytes, type, NULL);
    struct meter meter = {.fails_at =
                              1 + data[1] % 32U}; /* out of memory on the way: no crash, no leak */
    (void) unpacks(bytes, type, &meter);
    return 0;
}
