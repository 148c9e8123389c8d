/* member: one consumer of a group: the group's side of it (group_member), and the way to it over the bus. */
#ifndef LOGD_MEMBER_H
#define LOGD_MEMBER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/list.h"
#include "common/run/bus.h"
#include "common/wire/client.pb-c.h"
#include "logd/group.h"

struct groups;
struct hosted;
struct member;
struct members;

/* A GroupEvent for a member. Zeroed fields are absent. */
struct told {
    Railgun__GroupEvent__Type type;
    uint64_t first;
    uint64_t last;
    uint64_t count;
    uint64_t epoch;
};
enum { MEMBER_OWED_MAX = 64 };

/* Eight bytes each, without gaps: it is hashed as bytes. */
struct member_key {
    uint64_t link;     /* bus_link_id */
    uint64_t consumer; /* chosen by the frontd */
};

struct member {
    struct group_member share;
    struct groups *groups;
    struct hosted *hosted; /* NULL: cancelled, to be told */
    struct bus_link *link;
    struct member_key key;
    char *name;        /* the consumer's, for people; may be empty */
    char *address;     /* likewise */
    struct told *owed; /* events its link did not take yet, oldest first; it is blocked meanwhile */
    unsigned owed_count;
    bool is_revived;         /* groups_watch.c has put it in again */
    int cancel_error;        /* of a cancelled one */
    uint64_t cancel_last;    /* 0: not told; everything up to here was acknowledged */
    struct list cancel_node; /* in groups.cancels */
    struct list drain_node;  /* in groups.draining */
    uint64_t drain_ticket;
    uint64_t drain_until_ms;
    uint16_t drain_type;
};

/* The member whose part this is. */
static inline struct member *member_of(const struct group_member *share)
{
    return (struct member *) (uintptr_t) share; /* the first member of the struct */
}

/* Join the group: a new member, in the table. Takes the two texts. */
struct member *member_new(struct groups *groups, struct hosted *hosted, struct bus_link *link,
                          uint64_t consumer, char **name, char **address);
/* Out of its group, if it is in one, and out of the table; nulls. */
void member_destroy(struct member **self, bool count_failed);
/* Out of its group, which is going; the consumer is told as soon as the link takes it. */
void member_cancel(struct member *self, int error);
/* Tell those who were cancelled; true when all are told. */
bool members_tell_cancelled(struct groups *groups);

void members_put(struct members *self, struct member *member);
void members_remove(struct members *self, struct member *member);

#endif
