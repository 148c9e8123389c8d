/* walk: the records of one Deliver or ReadOk, read where they lie. */
#ifndef CLIENT_WALK_H
#define CLIENT_WALK_H

#include <stdint.h>

#include "common/base/payload.h"
#include "common/wire/hot.h"

#include "client/railgun.h"

/* A zeroed walk is at its end. */
struct walk {
    struct slice owner; /* keeps all the bytes below */
    struct span rest;   /* of the batch */
    uint64_t offset;    /* of the next record */
    uint32_t left;      /* records */
    uint32_t done;
    uint64_t epoch;
    /* times and redeliveries, in the order of offsets */
    struct span marks;
    uint32_t marks_field;
    bool has_mark;
    struct hot_time mark; /* the next one */
    uint64_t ts_us;       /* of the current record */
    struct span redeliveries;
    bool has_redelivered;
    struct hot_redelivered redelivered; /* the current or next one */
};

/* Takes the slice (the body of the message) and what hot_deliver_read or hot_read_ok_read found in it. Nothing may be in the walk. */
void walk_open_deliver(struct walk *self, struct slice *body, const struct hot_delivery *delivery);
void walk_open_read_ok(struct walk *self, struct slice *body, const struct hot_delivery *delivery);
void walk_close(struct walk *self);

/* 1: *ret_record; 0: the end; ERR_PROTOCOL: the batch is not what the message said. */
int walk_next(struct walk *self, struct rg_record *ret_record);

#endif
