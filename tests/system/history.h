/* history: what the clients of one stream did and saw, in the order they noticed it. Written by clients only, never by servers; from any thread. Every record
 * has a unique value (producer << 40 | counter, counter from 1), which its payload carries with a checksum. */
#ifndef TESTS_SYSTEM_HISTORY_H
#define TESTS_SYSTEM_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/span.h"

enum outcome {
    OUTCOME_OPEN,    /* no answer yet */
    OUTCOME_OK,      /* done and durable */
    OUTCOME_FAIL,    /* certainly not done */
    OUTCOME_UNKNOWN, /* either */
};

/* One record that somebody tried to publish. */
struct published {
    uint64_t value;
    uint32_t batch; /* records with the same number are one atomic batch */
    enum outcome outcome;
    uint64_t offset;   /* with OUTCOME_OK */
    uint32_t attempts; /* how often it was sent */
    bool has_id;       /* it must be stored once, however often it was sent */
    bool is_duplicate; /* answered so: it had been stored before */
};

enum event_type {
    EVENT_READ,        /* a reader of its own saw `offset` */
    EVENT_FINAL,       /* the last read of all, from the first offset to the end */
    EVENT_DELIVERED,   /* to a member of a group */
    EVENT_ACKED,       /* answered with ok; `is_sync`: durable by then */
    EVENT_ACK_POSTED,  /* given to the library, which answers nothing */
    EVENT_NACKED,      /* about to be sent; not to come again before `due_ns` */
    EVENT_NACK_KEPT,   /* its answer says that it is durable */
    EVENT_ACK_BEGAN,   /* about to be sent */
    EVENT_REWOUND,     /* a strict group told its member that all from `offset` on comes again */
    EVENT_DEAD,        /* the dead-letter stream holds it */
    EVENT_GAP,         /* the group passed over [offset, value] */
    EVENT_FAULT_BEGAN, /* something is broken from now on: a daemon killed, a member gone */
    EVENT_FAULT_ENDED,
};

struct event {
    enum event_type type;
    uint64_t time_ns;
    uint32_t session; /* reader or member; a new number after it began anew */
    uint32_t group;
    uint64_t offset;
    uint64_t value;    /* of what was seen */
    uint32_t attempt;  /* EVENT_DELIVERED */
    bool is_intact;    /* the payload's checksum was right */
    bool is_sync;      /* EVENT_ACKED */
    uint64_t epoch;    /* of exclusive groups; else 0 */
    uint64_t began_ns; /* EVENT_ACKED: when it was sent; 0: not known */
    uint64_t due_ns;   /* EVENT_NACKED */
};

struct drained { /* a group that was consumed to the end */
    uint32_t group;
    uint64_t first;
    uint64_t last;
};

/* What is known of a group besides: histories without it say nothing of these. */
struct group_facts {
    uint32_t group;
    bool is_strict;      /* exclusive, in order */
    uint32_t max_failed; /* of its dead letters; 0: it has none */
};

enum { HISTORY_DRAINED_MAX = 16, HISTORY_GROUPS_MAX = 16 };

struct history;

/* NULL: the system's clock. */
struct history *history_new(const struct timesource *time);
void history_destroy(struct history **self);

/* --- payloads --- */

uint64_t history_value(uint32_t producer, uint64_t counter);
/* A payload of `size` bytes (at least 12) that carries the value, appended to `out`. */
void history_payload_put(struct buf *out, uint64_t value, size_t size);
/* false: it is damaged, or none of ours. */
bool history_payload_get(struct span payload, uint64_t *ret_value);

/* --- publishing --- */

/* `count` records, values first_value and up, are about to be sent as one batch. Returns the batch's number. */
uint32_t history_publish_begin(struct history *self, uint64_t first_value, uint32_t count);
/* The same batch is about to be sent once more. */
void history_publish_again(struct history *self, uint32_t batch);
/* Its records have message IDs; before it is sent. */
void history_publish_ids(struct history *self, uint32_t batch);
/* The answer said that all of it had been stored before; comes before history_publish_end. */
void history_publish_duplicate(struct history *self, uint32_t batch);
void history_publish_end(struct history *self, uint32_t batch, enum outcome outcome,
                         uint64_t base_offset);

/* --- seeing --- */

void history_read(struct history *self, uint32_t session, uint64_t offset, struct span payload);
void history_final(struct history *self, uint64_t offset, struct span payload);
/* The final read is complete: [first, next) is what the stream says it holds. */
void history_final_end(struct history *self, uint64_t first, uint64_t next);
void history_delivered(struct history *self, uint32_t group, uint32_t session, uint64_t offset,
                       uint32_t attempt, struct span payload);
void history_acked(struct history *self, uint32_t group, uint64_t offset, bool is_sync);
void history_ack_posted(struct history *self, uint32_t group, uint64_t offset);
void history_nacked(struct history *self, uint32_t group, uint64_t offset);
/* Everything in [first, last] must have been delivered to the group by now. */
/* The same with what exclusive groups and delays know. */
void history_delivered_in(struct history *self, uint32_t group, uint32_t session, uint64_t epoch,
                          uint64_t offset, uint32_t attempt, struct span payload);
/* Returns the time, for history_acked_in. */
uint64_t history_ack_began(struct history *self, uint32_t group, uint64_t epoch, uint64_t offset);
void history_acked_in(struct history *self, uint32_t group, uint64_t epoch, uint64_t offset,
                      bool is_sync, uint64_t began_ns);
void history_nacked_for(struct history *self, uint32_t group, uint64_t epoch, uint64_t offset,
                        uint64_t delay_ms);
void history_rewound(struct history *self, uint32_t group, uint64_t epoch, uint64_t offset);
void history_nack_kept(struct history *self, uint32_t group, uint64_t offset);
/* Found in the dead-letter stream, at the end. */
void history_dead(struct history *self, uint32_t group, uint64_t offset, struct span payload);
void history_gap(struct history *self, uint32_t group, uint64_t first, uint64_t last);
void history_group(struct history *self, const struct group_facts *facts);
void history_drained(struct history *self, uint32_t group, uint64_t first, uint64_t last);

/* --- faults: redeliveries are excused around them --- */

void history_fault_began(struct history *self);
void history_fault_ended(struct history *self);

/* --- for the checker, when nobody writes any more: borrowed --- */

const struct published *history_records(const struct history *self, size_t *ret_count);
const struct event *history_events(const struct history *self, size_t *ret_count);
const struct drained *history_drained_list(const struct history *self, size_t *ret_count);
const struct group_facts *history_groups(const struct history *self, size_t *ret_count);
/* false: there was no final read. */
bool history_final_range(const struct history *self, uint64_t *ret_first, uint64_t *ret_next);

/* How many records have this outcome; how many deliveries there were. @thread any */
uint64_t history_count(struct history *self, enum outcome outcome);
uint64_t history_count_delivered(struct history *self);

#endif
