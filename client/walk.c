/* walk: from a batch's bytes to records with offset, time and attempt. Owns a reference to the bytes. Copies nothing. */
#include "client/walk.h"

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/wire/batch.h"
#include "common/wire/pb.h"

enum { DELIVER_TIMES = 4, DELIVER_REDELIVERED = 5, READ_OK_TIMES = 6 };

/* The next field of that number; its bytes are checked by the hot reader already. */
static bool field_next(struct span *rest, uint32_t number, struct span *ret_bytes)
{
    struct pb_field field;
    while (pb_next(rest, &field) == 1) {
        if (field.number == number && field.type == PB_BYTES) {
            *ret_bytes = field.bytes;
            return true;
        }
    }
    return false;
}

static void walk_next_mark(struct walk *self)
{
    struct span bytes;
    self->has_mark = field_next(&self->marks, self->marks_field, &bytes) &&
                     hot_time_read(bytes, &self->mark) == 0;
}

static void walk_next_redelivered(struct walk *self)
{
    struct span bytes;
    self->has_redelivered = field_next(&self->redeliveries, DELIVER_REDELIVERED, &bytes) &&
                            hot_redelivered_read(bytes, &self->redelivered) == 0;
}

static void walk_open(struct walk *self, struct slice *body, const struct hot_delivery *delivery,
                      uint32_t marks_field)
{
    INVARIANT(self->owner.owner == NULL);

    *self = (struct walk){
        .owner = *body,
        .rest = delivery->batch,
        .offset = delivery->base_offset,
        .left = delivery->count,
        .marks = body->bytes,
        .marks_field = marks_field,
        .redeliveries = body->bytes,
    };
    *body = (struct slice){0};
    if (delivery->has_times) {
        walk_next_mark(self);
    }
}

void walk_open_deliver(struct walk *self, struct slice *body, const struct hot_delivery *delivery)
{
    walk_open(self, body, delivery, DELIVER_TIMES);
    self->epoch = delivery->epoch;
    if (delivery->has_redelivered) {
        walk_next_redelivered(self);
    }
}

void walk_open_read_ok(struct walk *self, struct slice *body, const struct hot_delivery *delivery)
{
    walk_open(self, body, delivery, READ_OK_TIMES);
}

void walk_close(struct walk *self)
{
    slice_release(&self->owner);
    *self = (struct walk){0};
}

static void walk_attempt(struct walk *self, struct rg_record *record)
{
    while (self->has_redelivered && self->redelivered.last < record->offset) {
        walk_next_redelivered(self);
    }
    if (self->has_redelivered && self->redelivered.first <= record->offset) {
        record->attempt = self->redelivered.attempt;
        record->failed = self->redelivered.failed;
    }
}

int walk_next(struct walk *self, struct rg_record *ret_record)
{
    struct batch_record record;
    if (self->left == 0) {
        return self->rest.size == 0 ? 0 : ERR_PROTOCOL;
    }
    if (batch_next(&self->rest, &record) != 1) {
        return ERR_PROTOCOL;
    }
    while (self->has_mark && self->mark.after <= self->done) {
        self->ts_us = self->mark.ts_us;
        walk_next_mark(self);
    }
    *ret_record = (struct rg_record){
        .offset = self->offset,
        .ts_us = self->ts_us,
        .payload = {record.payload.data, record.payload.size},
        .id = {record.id.data, record.id.size},
        .key = {record.key.data, record.key.size},
        .raw = {record.raw.data, record.raw.size},
    };
    if (self->marks_field == DELIVER_TIMES) {
        ret_record->attempt = 1;
        ret_record->epoch = self->epoch;
        walk_attempt(self, ret_record);
    }
    self->offset++;
    self->done++;
    self->left--;
    return 1;
}
