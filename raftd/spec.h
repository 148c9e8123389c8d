/* spec: the configuration of a stream, a consumer group or an exchange as values in one table: which fields there are, their limits, defaults and
 * classes. Everything else (validation, differences, defaults) walks the table, so a new field is a new row.
 *
 * Defaults and classes decide what a command of the log does when it is replayed: a row may be added, and `built` may be set, but a default or
 * class that was released never changes. */
#ifndef RAFTD_SPEC_H
#define RAFTD_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/wire/client.pb-c.h"

enum spec_kind { SPEC_STREAM, SPEC_GROUP, SPEC_EXCHANGE };

enum spec_stream_field {
    SPEC_STREAM_REPLICAS,
    SPEC_STREAM_MAX_AGE,
    SPEC_STREAM_MAX_BYTES,
    SPEC_STREAM_MAX_RECORDS,
    SPEC_STREAM_RECORD_MAX,
    SPEC_STREAM_DESCRIPTION,
    SPEC_STREAM_DEDUP_MODE,
    SPEC_STREAM_DEDUP_WINDOW,
    SPEC_STREAM_DEDUP_MAX_IDS,
    SPEC_STREAM_DEDUP_REJECT,
    SPEC_STREAM_DEDUP_SHRINK,
    SPEC_STREAM_DEDUP_REFRESH,
    SPEC_STREAM_DEDUP_FOREVER,
    SPEC_STREAM_RETENTION,
    SPEC_STREAM_RETENTION_FORCE,
    SPEC_STREAM_FENCE,
    SPEC_STREAM_DELETE_GRACE,
    SPEC_STREAM_FIELD_COUNT
};

enum spec_group_field {
    SPEC_GROUP_MODE,
    SPEC_GROUP_MAX_IN_FLIGHT,
    SPEC_GROUP_MAX_IN_FLIGHT_MEMBER,
    SPEC_GROUP_MAX_HOLES,
    SPEC_GROUP_ACK_WAIT,
    SPEC_GROUP_START_AT,
    SPEC_GROUP_START_OFFSET,
    SPEC_GROUP_START_TS,
    SPEC_GROUP_START_ALLOW_FUTURE,
    SPEC_GROUP_DESCRIPTION,
    SPEC_GROUP_ORDER,
    SPEC_GROUP_MAX_DELAYED,
    SPEC_GROUP_BACKOFF,
    SPEC_GROUP_BACKOFF_JITTER,
    SPEC_GROUP_DRAIN_TIMEOUT,
    SPEC_GROUP_INACTIVE_TTL,
    SPEC_GROUP_DLQ_STREAM,
    SPEC_GROUP_DLQ_MAX_FAILED,
    SPEC_GROUP_DLQ_MAX_DISTANCE,
    SPEC_GROUP_DLQ_MAX_AGE,
    SPEC_GROUP_DLQ_ON_ERROR,
    SPEC_GROUP_DLQ_BREAKER_RATIO,
    SPEC_GROUP_DLQ_BREAKER_WINDOW,
    SPEC_GROUP_DLQ_BREAKER_MIN,
    SPEC_GROUP_FIELD_COUNT
};

enum spec_exchange_field {
    SPEC_EXCHANGE_MAX_SUBSCRIPTIONS,
    SPEC_EXCHANGE_MAX_TOPICS,
    SPEC_EXCHANGE_MAX_FANOUT,
    SPEC_EXCHANGE_DESCRIPTION,
    SPEC_EXCHANGE_FIELD_COUNT
};

enum {
    SPEC_FIELDS_MAX = 24,
    SPEC_TEXTS_MAX = 2,
    SPEC_LIST_MAX = 16, /* values in a list */
    SPEC_DESCRIPTION_MAX = 1024,
    SPEC_FENCE_MAX = 128,
};

enum spec_class {
    SPEC_DYNAMIC,   /* may change at any time */
    SPEC_IMMUTABLE, /* may not */
    SPEC_ON_OFF,    /* immutable between 0 and something, dynamic else */
    SPEC_RETENTION, /* dynamic when it grows (0 is endless), shrinks_data when it shrinks */
    SPEC_STRICTER,  /* shrinks_data when it grows, dynamic when it shrinks */
};

enum spec_type {
    SPEC_NUMBER,
    SPEC_BOOL,
    SPEC_NAMED,
    SPEC_TEXT,
    SPEC_NAME, /* a text that is empty or a name (common/base/name.h) */
    SPEC_LIST  /* of numbers; an empty one cannot be given */
};

/* Which message has the field. */
enum spec_part { SPEC_PART_TOP, SPEC_PART_DEDUP, SPEC_PART_START, SPEC_PART_DLQ, SPEC_PARTS };

/* Where it lies in the C struct of that message. */
struct spec_place {
    enum spec_part part;
    size_t at;
    size_t has;  /* of its has_, of lists: its n_; texts have none */
    size_t size; /* of numbers */
};

struct spec_field {
    const char *path; /* as users know it: "dedup.mode" */
    enum spec_type type;
    enum spec_class class_;
    uint64_t normal; /* the default; of texts "" */
    uint64_t min;    /* of numbers, and each in a list; of texts: bytes */
    uint64_t max;
    bool built; /* false: anything but the default is refused as UNSUPPORTED for now */
    const char *const *names;    /* SPEC_NAMED: text of each value up to max */
    unsigned slot;               /* of texts: which of spec.texts */
    const uint64_t *normal_list; /* of lists: `normal` values */
    struct spec_place place;
};

const struct spec_field *spec_fields(enum spec_kind kind, unsigned *ret_count);

/* The field with this path: true with its number. */
bool spec_field_find(enum spec_kind kind, const char *path, unsigned *ret_field);

/* The values. `given` tells which fields are set (bit by field); all of them in a stored spec. */
struct spec {
    enum spec_kind kind;
    uint32_t given;
    uint64_t numbers[SPEC_FIELDS_MAX]; /* by field; of a list: how many */
    char *texts[SPEC_TEXTS_MAX];       /* by slot; owned; NULL is "" */
    uint64_t *list;                    /* owned; no kind has two */
};

void spec_init(struct spec *self, enum spec_kind kind);
void spec_release(struct spec *self);
void spec_copy(struct spec *to, const struct spec *from); /* `to` is not initialised before */
bool spec_is_given(const struct spec *self, unsigned field);

/* Set what is not given to its default. */
void spec_fill(struct spec *self);
/* Take over the fields that `from` gives, of those in `allowed` (bit by field). */
void spec_merge(struct spec *self, const struct spec *from, uint32_t allowed);

/* Do two specs differ in this field? Both give it. */
bool spec_field_differs(const struct spec *a, const struct spec *b, unsigned field);
/* What class a change of this field from `from` to `to` is of: "dynamic", "immutable", "shrinks_data" (borrowed for ever). */
const char *spec_class_of(const struct spec *from, const struct spec *to, unsigned field);
/* The value for people, appended. */
void spec_format(const struct spec *self, unsigned field, struct buf *out);

/* Is every given value within limits and built? 0, ERR_BAD_CONFIG or ERR_UNSUPPORTED with the path and the reason in `problem`. */
int spec_check(const struct spec *self, struct buf *problem);

/* --- as messages --- */
/* NULL messages give nothing. The result is released by the caller. */
void spec_from_stream(const Railgun__StreamSpec *message, struct spec *ret_spec);
void spec_from_group(const Railgun__GroupSpec *message, struct spec *ret_spec);
void spec_from_exchange(const Railgun__ExchangeSpec *message, struct spec *ret_spec);

/* Room for the message of a spec; it borrows texts and list. Only the member of the spec's kind is filled. */
struct spec_message {
    Railgun__StreamSpec stream;
    Railgun__DedupSpec dedup;
    Railgun__GroupSpec group;
    Railgun__Start start;
    Railgun__DlqSpec dlq;
    Railgun__ExchangeSpec exchange;
};
void spec_to_message(const struct spec *self, struct spec_message *ret_message);

/* --- for the files of spec alone --- */
void spec_set(struct spec *self, unsigned field, uint64_t value);
void spec_set_text(struct spec *self, unsigned field, const char *text);
void spec_set_list(struct spec *self, unsigned field, const uint64_t *values, size_t count);
const char *spec_text(const struct spec *self, unsigned field); /* never NULL */

#endif
