/* hot: Publish, PublishOk, Deliver, ReadOk, Ack, Credit and their parts read where they lie. Owns nothing, allocates
 * nothing. Must never see another value than protobuf-c would in the same bytes; where it is stricter, hot.h says so. */
#include "common/wire/hot.h"

#include "common/base/err.h"

#include "common/wire/pb.h"

static bool is_varint(const struct pb_field *field)
{
    return field->type == PB_VARINT;
}

static bool is_fixed64(const struct pb_field *field)
{
    return field->type == PB_FIXED64;
}

static bool is_bytes(const struct pb_field *field)
{
    return field->type == PB_BYTES;
}

static bool is_text(const struct pb_field *field)
{
    return field->type == PB_BYTES && pb_is_text(field->bytes);
}

int hot_expect_read(struct span body, struct hot_expect *ret_expect)
{
    struct hot_expect expect = {0};
    struct pb_field field;
    int result = 0;

    while ((result = pb_next(&body, &field)) == 1) {
        bool valid = true;
        switch (field.number) {
        case 1:
            valid = is_varint(&field);
            expect =
                (struct hot_expect){.kind = HOT_EXPECT_NEXT_OFFSET, .next_offset = field.value};
            break;
        case 2:
        case 3:
            valid = is_varint(&field);
            expect = (struct hot_expect){.wanted = field.value != 0};
            expect.kind = field.number == 2 ? HOT_EXPECT_NO_STREAM : HOT_EXPECT_STREAM_EXISTS;
            break;
        case 4:
            valid = is_bytes(&field);
            expect = (struct hot_expect){.kind = HOT_EXPECT_LAST_ID, .last_id = field.bytes};
            break;
        default:
            break;
        }
        if (!valid) {
            return ERR_PROTOCOL;
        }
    }
    if (result == 0) {
        *ret_expect = expect;
    }
    return result;
}

int hot_publish_read(struct span body, struct hot_publish *ret_publish)
{
    struct hot_publish publish = {.atomic = true};
    struct hot_expect expect;
    struct pb_field field;
    int result = 0;

    while ((result = pb_next(&body, &field)) == 1) {
        bool valid = true;
        switch (field.number) {
        case 1:
            valid = is_text(&field);
            publish.stream = field.bytes;
            break;
        case 2:
            valid = is_bytes(&field) && !publish.has_batch;
            publish.has_batch = true;
            publish.batch = field.bytes;
            break;
        case 3:
            valid = is_bytes(&field) && !publish.has_expect &&
                    hot_expect_read(field.bytes, &expect) == 0;
            publish.has_expect = true;
            publish.expect = field.bytes;
            break;
        case 4:
            valid = is_bytes(&field);
            publish.fence = field.bytes;
            break;
        case 5:
            valid = is_varint(&field);
            publish.atomic = field.value != 0;
            break;
        case 6:
            valid = is_bytes(&field);
            publish.stream_id = field.bytes;
            break;
        default:
            break;
        }
        if (!valid) {
            return ERR_PROTOCOL;
        }
    }
    if (result == 0) {
        *ret_publish = publish;
    }
    return result;
}

int hot_result_read(struct span body, struct hot_result *ret_result)
{
    struct hot_result record = {0};
    struct pb_field field;
    int result = 0;

    while ((result = pb_next(&body, &field)) == 1) {
        bool valid = true;
        switch (field.number) {
        case 1:
            valid = is_varint(&field);
            record.record = (uint32_t) field.value;
            break;
        case 2:
            valid = is_varint(&field);
            record.code = (uint32_t) field.value;
            break;
        case 3:
            valid = is_varint(&field);
            record.has_offset = true;
            record.offset = field.value;
            break;
        case 4:
            valid = is_fixed64(&field);
            record.ts_us = field.value;
            break;
        case 5:
            valid = is_text(&field);
            record.detail = field.bytes;
            break;
        default:
            break;
        }
        if (!valid) {
            return ERR_PROTOCOL;
        }
    }
    if (result == 0) {
        *ret_result = record;
    }
    return result;
}

int hot_publish_ok_read(struct span body, struct hot_publish_ok *ret_ok)
{
    struct hot_publish_ok ok = {0};
    struct hot_result exception;
    struct pb_field field;
    int result = 0;

    while ((result = pb_next(&body, &field)) == 1) {
        bool valid = true;
        switch (field.number) {
        case 1:
            valid = is_varint(&field);
            ok.base_offset = field.value;
            break;
        case 2:
            valid = is_varint(&field);
            ok.count = (uint32_t) field.value;
            break;
        case 3:
            valid = is_fixed64(&field);
            ok.ts_us = field.value;
            break;
        case 4:
            valid = is_bytes(&field) && hot_result_read(field.bytes, &exception) == 0;
            ok.exceptions++;
            break;
        case 5:
            valid = is_varint(&field);
            ok.has_window = true;
            ok.publish_window = field.value;
            break;
        default:
            break;
        }
        if (!valid) {
            return ERR_PROTOCOL;
        }
    }
    if (result == 0) {
        *ret_ok = ok;
    }
    return result;
}

int hot_time_read(struct span body, struct hot_time *ret_time)
{
    struct hot_time time = {0};
    struct pb_field field;
    int result = 0;

    while ((result = pb_next(&body, &field)) == 1) {
        if (field.number == 1 && is_varint(&field)) {
            time.after = (uint32_t) field.value;
        } else if (field.number == 2 && is_fixed64(&field)) {
            time.ts_us = field.value;
        } else if (field.number <= 2) {
            return ERR_PROTOCOL;
        }
    }
    if (result == 0) {
        *ret_time = time;
    }
    return result;
}

int hot_redelivered_read(struct span body, struct hot_redelivered *ret_redelivered)
{
    struct hot_redelivered redelivered = {0};
    struct pb_field field;
    int result = 0;

    while ((result = pb_next(&body, &field)) == 1) {
        if (field.number > 4) {
            continue;
        }
        if (!is_varint(&field)) {
            return ERR_PROTOCOL;
        }
        switch (field.number) {
        case 1:
            redelivered.first = field.value;
            break;
        case 2:
            redelivered.last = field.value;
            break;
        case 3:
            redelivered.attempt = (uint32_t) field.value;
            break;
        default:
            redelivered.failed = (uint32_t) field.value;
            break;
        }
    }
    if (result == 0) {
        *ret_redelivered = redelivered;
    }
    return result;
}

static bool is_time(const struct pb_field *field)
{
    struct hot_time time;
    return is_bytes(field) && hot_time_read(field->bytes, &time) == 0;
}

static bool is_redelivered(const struct pb_field *field)
{
    struct hot_redelivered redelivered;
    return is_bytes(field) && hot_redelivered_read(field->bytes, &redelivered) == 0;
}

/* The batch of a delivery, which may come once. */
static bool batch_take(const struct pb_field *field, bool *has_batch, struct hot_delivery *delivery)
{
    if (!is_bytes(field) || *has_batch) {
        return false;
    }
    *has_batch = true;
    delivery->batch = field->bytes;
    return true;
}

int hot_deliver_read(struct span body, struct hot_delivery *ret_delivery)
{
    struct hot_delivery delivery = {0};
    struct pb_field field;
    bool has_batch = false;
    int result = 0;

    while ((result = pb_next(&body, &field)) == 1) {
        bool valid = true;
        switch (field.number) {
        case 1:
            valid = is_varint(&field);
            delivery.epoch = field.value;
            break;
        case 2:
            valid = is_varint(&field);
            delivery.base_offset = field.value;
            break;
        case 3:
            valid = is_varint(&field);
            delivery.count = (uint32_t) field.value;
            break;
        case 4:
            valid = is_time(&field);
            delivery.has_times = true;
            break;
        case 5:
            valid = is_redelivered(&field);
            delivery.has_redelivered = true;
            break;
        case 15:
            valid = batch_take(&field, &has_batch, &delivery);
            break;
        default:
            break;
        }
        if (!valid) {
            return ERR_PROTOCOL;
        }
    }
    if (result == 0) {
        *ret_delivery = delivery;
    }
    return result;
}

int hot_read_ok_read(struct span body, struct hot_delivery *ret_delivery)
{
    struct hot_delivery delivery = {0};
    struct pb_field field;
    bool has_batch = false;
    int result = 0;

    while ((result = pb_next(&body, &field)) == 1) {
        bool valid = field.number > 5 || is_varint(&field);
        switch (field.number) {
        case 1:
            delivery.base_offset = field.value;
            break;
        case 2:
            delivery.count = (uint32_t) field.value;
            break;
        case 3:
            delivery.next_offset = field.value;
            break;
        case 4:
            delivery.first_offset = field.value;
            break;
        case 5:
            delivery.end_offset = field.value;
            break;
        case 6:
            valid = is_time(&field);
            delivery.has_times = true;
            break;
        case 7:
            valid = is_bytes(&field);
            delivery.stream_id = field.bytes;
            break;
        case 15:
            valid = batch_take(&field, &has_batch, &delivery);
            break;
        default:
            break;
        }
        if (!valid) {
            return ERR_PROTOCOL;
        }
    }
    if (result == 0) {
        *ret_delivery = delivery;
    }
    return result;
}

/* A message whose fields 1 and 2 are uint64: OffsetRange and Credit. */
static int pair_read(struct span body, uint64_t *ret_first, uint64_t *ret_second)
{
    uint64_t first = 0;
    uint64_t second = 0;
    struct pb_field field;
    int result = 0;

    while ((result = pb_next(&body, &field)) == 1) {
        if (field.number > 2) {
            continue;
        }
        if (!is_varint(&field)) {
            return ERR_PROTOCOL;
        }
        if (field.number == 1) {
            first = field.value;
        } else {
            second = field.value;
        }
    }
    if (result == 0) {
        *ret_first = first;
        *ret_second = second;
    }
    return result;
}

int hot_range_read(struct span body, struct hot_range *ret_range)
{
    return pair_read(body, &ret_range->first, &ret_range->last);
}

int hot_credit_read(struct span body, struct hot_credit *ret_credit)
{
    return pair_read(body, &ret_credit->messages, &ret_credit->bytes);
}

static int nack_read(struct span body, struct hot_nack *ret_nack)
{
    struct hot_nack nack = {0};
    struct pb_field field;
    bool has_range = false;
    int result = 0;

    while ((result = pb_next(&body, &field)) == 1) {
        bool valid = true;
        switch (field.number) {
        case 1:
            valid = is_bytes(&field) && !has_range && hot_range_read(field.bytes, &nack.range) == 0;
            has_range = true;
            break;
        case 2:
            valid = is_varint(&field);
            nack.has_delay = true;
            nack.delay_ms = field.value;
            break;
        case 3:
            valid = is_varint(&field);
            nack.no_count = field.value != 0;
            break;
        case 4:
            valid = is_varint(&field);
            nack.reject = field.value != 0;
            break;
        case 5:
            valid = is_text(&field);
            nack.reason = field.bytes;
            break;
        default:
            break;
        }
        if (!valid) {
            return ERR_PROTOCOL;
        }
    }
    if (result == 0) {
        *ret_nack = nack;
    }
    return result;
}

int hot_ack_read(struct span body, struct hot_ack *ret_ack)
{
    struct hot_ack ack = {.body = body};
    struct hot_range range;
    struct hot_nack nack;
    struct pb_field field;
    int result = 0;

    while ((result = pb_next(&body, &field)) == 1) {
        bool valid = true;
        switch (field.number) {
        case 1:
            valid = is_bytes(&field) && hot_range_read(field.bytes, &range) == 0;
            ack.ranges++;
            break;
        case 2:
            valid = is_varint(&field);
            ack.has_up_to = true;
            ack.up_to = field.value;
            break;
        case 3:
            valid = is_bytes(&field) && nack_read(field.bytes, &nack) == 0;
            ack.nacks++;
            break;
        case 4:
            valid = is_varint(&field);
            ack.sync = field.value != 0;
            break;
        case 5:
            valid = is_varint(&field);
            ack.epoch = field.value;
            break;
        default:
            break;
        }
        if (!valid) {
            return ERR_PROTOCOL;
        }
    }
    if (result == 0) {
        *ret_ack = ack;
    }
    return result;
}

int hot_ack_next(struct span *rest, bool *ret_is_nack, struct hot_range *ret_range,
                 struct hot_nack *ret_nack)
{
    struct span after = *rest;
    struct pb_field field;
    int result = 0;

    while ((result = pb_next(&after, &field)) == 1) {
        if (field.number != 1 && field.number != 3) {
            continue;
        }
        if (!is_bytes(&field)) {
            return ERR_PROTOCOL;
        }
        result = field.number == 1 ? hot_range_read(field.bytes, ret_range)
                                   : nack_read(field.bytes, ret_nack);
        if (result < 0) {
            return result;
        }
        *ret_is_nack = field.number == 3;
        *rest = after;
        return 1;
    }
    return result;
}
