/* catalog: frontd's copy of raftd's catalogue: which streams, groups and exchanges there are, where they live and what their specifications
 * say. Fed by the CatalogChanges that raftd sends; never guesses. */
#ifndef FRONTD_CATALOG_H
#define FRONTD_CATALOG_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/span.h"
#include "common/base/uuid.h"

struct catalog;

/* Valid until the next catalog_apply. Spans too. */
struct catalog_stream {
    struct span name;
    struct uuid id;
    uint64_t log_group;
    uint64_t version;
    uint64_t created_us;
    struct span spec;    /* StreamSpec message bytes */
    struct span message; /* the whole CatalogStream */
    uint64_t deleted_us; /* 0: it lives */
    size_t group_count;
};

struct catalog_group {
    struct span stream; /* its name */
    struct span name;
    uint64_t group_id;
    uint64_t log_group;
    uint64_t version;
    uint64_t created_us;
    struct span spec;    /* GroupSpec message bytes */
    struct span message; /* the whole CatalogGroup */
};

/* An exchange of ephemeral messages that was ensured. */
struct catalog_exchange {
    struct span namespace_;
    struct span name;
    uint64_t version;
    uint64_t created_us;
    struct span spec; /* ExchangeSpec message bytes */
};

struct catalog *catalog_new(void);
void catalog_destroy(struct catalog **self);

/* Take in one CatalogChanges message. 0, or ERR_PROTOCOL (malformed; nothing or a part of it was taken in: watch anew from 0). */
int catalog_apply(struct catalog *self, struct span changes);

/* The answer to a watch: what revision it reaches. */
void catalog_watched(struct catalog *self, uint64_t revision);
/* The session to raftd is over: a snapshot that was under way will begin anew. */
void catalog_unwatched(struct catalog *self);
/* Forget the revision, so that the next watch brings everything. What is known stays until then. */
void catalog_distrust(struct catalog *self);

/* Has a whole catalogue ever been received? */
bool catalog_is_known(const struct catalog *self);
/* Everything up to here is applied. */
uint64_t catalog_revision(const struct catalog *self);

size_t catalog_stream_count(const struct catalog *self);
size_t catalog_group_count(const struct catalog *self);
size_t catalog_exchange_count(const struct catalog *self);

/* The last one of that name that was deleted and is in its grace. NULL: there is none. */
const struct catalog_stream *catalog_find_deleted(const struct catalog *self, struct span name);
/* Of a deleted stream: when its grace is over. */
uint64_t catalog_undelete_until_us(const struct catalog_stream *stream);
/* Walk the deleted ones, in no order: begin with *cursor = 0; NULL at the end. */
const struct catalog_stream *catalog_next_deleted(const struct catalog *self, size_t *cursor);

/* Only what lives is found and listed by name. NULL: there is none. */
const struct catalog_stream *catalog_find_stream(const struct catalog *self, struct span name);
const struct catalog_group *catalog_find_group(const struct catalog *self,
                                               const struct catalog_stream *stream,
                                               struct span name);

const struct catalog_exchange *catalog_find_exchange(const struct catalog *self,
                                                     struct span namespace_, struct span name);

/* In order of name: the first stream whose name is greater than `after` and begins with `prefix`. NULL: none. */
const struct catalog_stream *catalog_next_stream(struct catalog *self, struct span after,
                                                 struct span prefix);
/* In order of (stream, group): the first group behind (after_stream, after_group) whose name begins with `prefix`; of the stream `only`
 * unless that is empty. NULL: none. */
const struct catalog_group *catalog_next_group(struct catalog *self, struct span after_stream,
                                               struct span after_group, struct span only,
                                               struct span prefix);

/* In order of name: the first exchange of that namespace whose name is greater than `after` and begins with `prefix`. NULL: none. */
const struct catalog_exchange *catalog_next_exchange(struct catalog *self, struct span namespace_,
                                                     struct span after, struct span prefix);

#endif
