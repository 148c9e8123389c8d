/* members: the algebra of configurations and quorums. Pure functions over values; every rule of changing members that needs no log stands here. */
#include "common/raft/members.h"

#include <string.h>

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/raft/mutants.h"

enum {
    MEMBERS_VERSION = 1,
    MEMBERS_VERSION_ADDRESSED = 2, /* at least one member has an address */
    MEMBERS_HEAD_BYTES = 4,
    MEMBER_BYTES = 10,
    EXPLICIT_LEAVE = 1
};

static const uint8_t no_address[RAFT_ADDRESS_BYTES];

static bool has_address(const struct raft_member *member)
{
    return memcmp(member->address, no_address, sizeof(no_address)) != 0;
}

static int id_order(struct raft_id a, struct raft_id b)
{
    if (a.node != b.node) {
        return a.node < b.node ? -1 : 1;
    }
    return a.incarnation == b.incarnation ? 0 : a.incarnation < b.incarnation ? -1 : 1;
}

const struct raft_member *raft_members_find(const struct raft_members *self, struct raft_id id)
{
    for (uint32_t i = 0; i < self->count; i++) {
        if (raft_id_equal(self->member[i].id, id)) {
            return &self->member[i];
        }
    }
    return NULL;
}

int raft_members_put(struct raft_members *self, struct raft_id id, unsigned set, unsigned priority)
{
    uint32_t at = 0;
    while (at < self->count && id_order(self->member[at].id, id) < 0) {
        at++;
    }
    if (at == self->count || !raft_id_equal(self->member[at].id, id)) {
        if (self->count == RAFT_MEMBERS_MAX) {
            return ERR_OUT_OF_RANGE;
        }
        memmove(&self->member[at + 1], &self->member[at],
                (self->count - at) * sizeof(self->member[0]));
        self->count++;
        memset(&self->member[at], 0, sizeof(self->member[at]));
    }
    self->member[at].id = id;
    self->member[at].set = (uint8_t) set;
    self->member[at].priority = (uint8_t) priority;
    return 0;
}

static struct raft_member *find(struct raft_members *self, struct raft_id id)
{
    for (uint32_t i = 0; i < self->count; i++) {
        if (raft_id_equal(self->member[i].id, id)) {
            return &self->member[i];
        }
    }
    return NULL;
}

int raft_members_set_address(struct raft_members *self, struct raft_id id, const void *address,
                             size_t size)
{
    struct raft_member *member = find(self, id);
    if (member == NULL || size > RAFT_ADDRESS_BYTES) {
        return member == NULL ? ERR_NOT_FOUND : ERR_TOO_LARGE;
    }
    memset(member->address, 0, sizeof(member->address));
    if (size != 0) {
        memcpy(member->address, address, size);
    }
    return 0;
}

void raft_members_keep_addresses(struct raft_members *self, const struct raft_members *from)
{
    for (uint32_t i = 0; i < self->count; i++) {
        const struct raft_member *was = raft_members_find(from, self->member[i].id);
        if (was != NULL && !has_address(&self->member[i])) {
            memcpy(self->member[i].address, was->address, sizeof(was->address));
        }
    }
}

void raft_members_remove(struct raft_members *self, struct raft_id id)
{
    for (uint32_t i = 0; i < self->count; i++) {
        if (raft_id_equal(self->member[i].id, id)) {
            self->count--;
            memmove(&self->member[i], &self->member[i + 1],
                    (self->count - i) * sizeof(self->member[0]));
            memset(&self->member[self->count], 0, sizeof(self->member[0]));
            return;
        }
    }
}

bool raft_members_equal(const struct raft_members *a, const struct raft_members *b)
{
    if (a->count != b->count || a->explicit_leave != b->explicit_leave) {
        return false;
    }
    for (uint32_t i = 0; i < a->count; i++) {
        if (!raft_id_equal(a->member[i].id, b->member[i].id) ||
            a->member[i].set != b->member[i].set ||
            a->member[i].priority != b->member[i].priority ||
            memcmp(a->member[i].address, b->member[i].address, RAFT_ADDRESS_BYTES) != 0) {
            return false;
        }
    }
    return true;
}

static unsigned members_with(const struct raft_members *self, unsigned set)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < self->count; i++) {
        count += (self->member[i].set & set) != 0;
    }
    return count;
}

bool raft_members_is_joint(const struct raft_members *self)
{
    return members_with(self, RAFT_OLD) != 0;
}

unsigned raft_members_voters(const struct raft_members *self)
{
    return members_with(self, RAFT_VOTER);
}

static bool half_can_lead(const struct raft_members *self, unsigned half)
{
    for (uint32_t i = 0; i < self->count; i++) {
        const struct raft_member *member = &self->member[i];
        if ((member->set & half) != 0 && (member->set & RAFT_WITNESS) == 0 &&
            member->priority != 0) {
            return true;
        }
    }
    return false;
}

int raft_members_check(const struct raft_members *self)
{
    if (self->count > RAFT_MEMBERS_MAX || self->explicit_leave > 1) {
        return ERR_BAD_CONFIG;
    }
    for (uint32_t i = 0; i < self->count; i++) {
        const struct raft_member *member = &self->member[i];
        unsigned role = member->set & (RAFT_VOTER | RAFT_OLD | RAFT_LEARNER);
        if (raft_id_is_none(member->id) || role == 0 || member->set > 15 ||
            (role & (RAFT_VOTER | RAFT_LEARNER)) == (RAFT_VOTER | RAFT_LEARNER) ||
            (role == RAFT_LEARNER && (member->set & RAFT_WITNESS) != 0) ||
            (i > 0 && id_order(self->member[i - 1].id, member->id) >= 0)) {
            return ERR_BAD_CONFIG;
        }
    }
    if (!half_can_lead(self, RAFT_VOTER) ||
        (raft_members_is_joint(self) && !half_can_lead(self, RAFT_OLD))) {
        return ERR_BAD_CONFIG;
    }
    return 0;
}

void raft_members_leave(const struct raft_members *joint, struct raft_members *ret_members)
{
    struct raft_members members;
    memset(&members, 0, sizeof(members));
    for (uint32_t i = 0; i < joint->count; i++) {
        struct raft_member member = joint->member[i];
        member.set &= (uint8_t) ~RAFT_OLD;
        if ((member.set & RAFT_LEARNER) != 0) {
            member.set = RAFT_LEARNER; /* it was an outgoing voter, perhaps a witness */
        }
        if ((member.set & (RAFT_VOTER | RAFT_LEARNER)) != 0) {
            members.member[members.count++] = member;
        }
    }
    *ret_members = members;
}

/* How many voters come, go, or turn from or into a witness. */
static unsigned voters_changed(const struct raft_members *a, const struct raft_members *b)
{
    unsigned changed = 0;
    for (uint32_t i = 0; i < a->count; i++) {
        const struct raft_member *other = raft_members_find(b, a->member[i].id);
        unsigned was = a->member[i].set & (RAFT_VOTER | RAFT_WITNESS);
        unsigned is = other != NULL ? other->set & (RAFT_VOTER | RAFT_WITNESS) : 0;
        changed += was != is && ((was | is) & RAFT_VOTER) != 0;
    }
    for (uint32_t i = 0; i < b->count; i++) {
        changed +=
            (b->member[i].set & RAFT_VOTER) != 0 && raft_members_find(a, b->member[i].id) == NULL;
    }
    return changed;
}

/* The union: voters of `from` get RAFT_OLD, those of `target` stay voters. */
static int members_join(const struct raft_members *from, const struct raft_members *target,
                        struct raft_members *ret_joint)
{
    struct raft_members joint = *target;
    for (uint32_t i = 0; i < from->count; i++) {
        const struct raft_member *old = &from->member[i];
        if ((old->set & RAFT_VOTER) == 0) {
            continue; /* a learner that the target leaves out goes at once */
        }
        const struct raft_member *after = raft_members_find(target, old->id);
        unsigned set = RAFT_OLD | (old->set & RAFT_WITNESS);
        if (after != NULL) {
            /* One bit tells of witnesses in both halves, and in between is no such thing. */
            if ((after->set & RAFT_VOTER) != 0 && ((after->set ^ old->set) & RAFT_WITNESS) != 0) {
                return ERR_BAD_CONFIG;
            }
            set |= after->set;
        }
        int error =
            raft_members_put(&joint, old->id, set, after != NULL ? after->priority : old->priority);
        if (error < 0) {
            return ERR_BAD_CONFIG;
        }
    }
    raft_members_keep_addresses(&joint, from);
    *ret_joint = joint;
    return raft_members_check(ret_joint);
}

int raft_members_next(const struct raft_members *from, const struct raft_members *target,
                      bool force_joint, struct raft_members *ret_next)
{
    if (raft_members_check(target) < 0 || raft_members_is_joint(target)) {
        return ERR_BAD_CONFIG;
    }
    struct raft_members next;
    memset(&next, 0, sizeof(next));
    if (raft_members_is_joint(from)) {
        raft_members_leave(from, &next);
        struct raft_members wanted = *target;
        wanted.explicit_leave = 0;
        raft_members_keep_addresses(&wanted, from);
        if (!raft_members_equal(&next, &wanted)) {
            return ERR_BAD_CONFIG;
        }
        *ret_next = next;
        return 0;
    }
    for (uint32_t i = 0; i < from->count; i++) {
        const struct raft_member *after = raft_members_find(target, from->member[i].id);
        if ((from->member[i].set & RAFT_WITNESS) != 0 && after != NULL &&
            (after->set & RAFT_WITNESS) == 0) {
            return ERR_BAD_CONFIG; /* its log has no payloads */
        }
    }
    next = *target;
    next.explicit_leave = 0;
    raft_members_keep_addresses(&next, from);
    if (raft_members_equal(from, &next)) {
        return ERR_ALREADY;
    }
    if ((voters_changed(from, target) > 1 && !MUTANT(MANY_IN_ONE_STEP)) || force_joint) {
        struct raft_members wanted = next;
        wanted.explicit_leave = target->explicit_leave;
        int error = members_join(from, &wanted, &next);
        if (error < 0) {
            return error;
        }
    }
    *ret_next = next;
    return 0;
}

size_t raft_members_encode(const struct raft_members *self, uint8_t *at)
{
    bool addressed = false;
    for (uint32_t i = 0; i < self->count; i++) {
        addressed |= has_address(&self->member[i]);
    }
    at[0] = addressed ? MEMBERS_VERSION_ADDRESSED : MEMBERS_VERSION;
    at[1] = (uint8_t) self->count;
    at[2] = self->explicit_leave != 0 ? EXPLICIT_LEAVE : 0;
    at[3] = 0;
    uint8_t *next = at + MEMBERS_HEAD_BYTES;
    for (uint32_t i = 0; i < self->count; i++) {
        bytes_put_u32(next, self->member[i].id.node);
        bytes_put_u32(next + 4, self->member[i].id.incarnation);
        next[8] = self->member[i].set;
        next[9] = self->member[i].priority;
        next += MEMBER_BYTES;
        if (addressed) {
            memcpy(next, self->member[i].address, RAFT_ADDRESS_BYTES);
            next += RAFT_ADDRESS_BYTES;
        }
    }
    return (size_t) (next - at);
}

int raft_members_decode(const uint8_t *data, size_t size, struct raft_members *ret_members)
{
    if (size < MEMBERS_HEAD_BYTES || data[0] < MEMBERS_VERSION ||
        data[0] > MEMBERS_VERSION_ADDRESSED || data[1] > RAFT_MEMBERS_MAX ||
        data[2] > EXPLICIT_LEAVE || data[3] != 0) {
        return ERR_BAD_FORMAT;
    }
    bool addressed = data[0] == MEMBERS_VERSION_ADDRESSED;
    size_t step = addressed ? MEMBER_BYTES + RAFT_ADDRESS_BYTES : MEMBER_BYTES;
    if (size != MEMBERS_HEAD_BYTES + data[1] * step) {
        return ERR_BAD_FORMAT;
    }
    struct raft_members members;
    memset(&members, 0, sizeof(members));
    bool any = false;
    members.count = data[1];
    members.explicit_leave = data[2];
    for (uint32_t i = 0; i < members.count; i++) {
        const uint8_t *at = data + MEMBERS_HEAD_BYTES + i * step;
        members.member[i].id = (struct raft_id){bytes_get_u32(at), bytes_get_u32(at + 4)};
        members.member[i].set = at[8];
        members.member[i].priority = at[9];
        if (addressed) {
            memcpy(members.member[i].address, at + MEMBER_BYTES, RAFT_ADDRESS_BYTES);
            any |= has_address(&members.member[i]);
        }
    }
    if (raft_members_check(&members) < 0 || any != addressed) {
        return ERR_BAD_FORMAT;
    }
    *ret_members = members;
    return 0;
}
