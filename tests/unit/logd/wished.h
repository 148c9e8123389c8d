/* wished: a logd whose stream has message IDs as a test wishes, on a clock that the test moves; batches and answers as text. */
#ifndef TESTS_UNIT_LOGD_WISHED_H
#define TESTS_UNIT_LOGD_WISHED_H

#include "common/base/clock.h"
#include "tests/unit/logd/node_lib.h"

#define PUBLISH RAILGUN__BUS_TYPE__BUS_LOG_PUBLISH
#define DEDUP   RAILGUN__BUS_TYPE__BUS_LOG_DEDUP

enum { OPTIONAL = 1, REQUIRED = 2 };

struct wish {
    unsigned mode;
    uint64_t window_ms;
    uint64_t max_ids;
    bool reject;
    bool shrink;
    bool refresh;
    bool for_ever;
    const char *fence;
};

struct wished_time {
    struct timesource source;
    uint64_t real_us;
};
extern struct wished_time wished_time;

/* The stream as it is in a catalogue of that version. */
void wish_encode(const struct wish *wish, uint64_t version, struct buf *changes);
void wished_start(struct node *node, const struct wish *wish);
/* The same with little memory for IDs. */
void wished_small_start(struct node *node, const struct wish *wish, uint64_t ids_bytes);
void wished_restart(struct node *node, bool remove_db);

/* "id=payload id=payload": "=payload" has no ID. */
struct slice wished_batch(const char *text);
void wished_send(struct node *node, const char *text, const struct buf *meta,
                 struct answer *answer);
/* What the answer says, as text: "+2@5 1=DUPLICATE@3" (two stored from offset 5 on, record 1 is a duplicate of offset 3), "WRONG_OFFSET next=3". */
const char *wished_answer(struct answer *answer);
/* Sends, waits, and tells what the answer says; takes what is in `meta`. */
const char *wished_publish_meta(struct node *node, const char *text, struct buf *meta);
const char *wished_publish(struct node *node, const char *text);
/* Each record by itself: not all or nothing. */
const char *wished_publish_each(struct node *node, const char *text);

#define SAYS(call, wanted) ck_assert_str_eq((call), (wanted))

/* All payloads of the stream, one behind the other. */
const char *wished_stored(struct node *node);

#endif
