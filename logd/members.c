/* members: the daemon's table of consumers, by link and consumer id. Owns nothing but itself: members are their groups'. */
#include "common/base/hash.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "logd/groups.h"
#include "logd/member.h"

struct members {
    struct hash *by_key;
};

static_assert(sizeof(struct member_key) == 16, "hashed as bytes");

static struct span key_span(const struct member_key *key)
{
    return span_make(key, sizeof *key);
}

struct members *members_new(void)
{
    struct members *self = MEM_NEW(struct members);
    self->by_key = hash_new();
    return self;
}

void members_destroy(struct members **self)
{
    if (*self == NULL) {
        return;
    }
    INVARIANT(hash_count((*self)->by_key) == 0); /* the streams go first */
    hash_destroy(&(*self)->by_key);
    MEM_FREE(*self);
}

struct member *members_find(const struct members *self, const struct bus_link *link,
                            uint64_t consumer)
{
    struct member_key key = {bus_link_id(link), consumer};
    return hash_get(self->by_key, key_span(&key));
}

void members_put(struct members *self, struct member *member)
{
    INVARIANT(hash_put(self->by_key, key_span(&member->key), member) == NULL);
}

void members_remove(struct members *self, struct member *member)
{
    INVARIANT(hash_remove(self->by_key, key_span(&member->key)) == member);
}
