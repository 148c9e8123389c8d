/* replica: proposals become commits in order, when their own sync has returned and not before; a poisoned journal ends it all. */
#include "tests/lib/test.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/rand.h"
#include "common/run/replica.h"
#include "common/store/journal.h"

enum { GROUPS = 5, APPLIED_MAX = 4096 };

struct group {
    struct fixture *fixture;
    struct replica *replica;
    uint64_t applied[APPLIED_MAX]; /* the number in each payload, by index */
    uint64_t applied_count;
    unsigned propose_more; /* from inside apply */
    bool close_in_apply;
};

struct fixture {
    char dir[160];
    struct journal *journal;
    struct replica_set *set;
    struct group groups[GROUPS];
    unsigned poisoned;
    bool is_proposing;
    _Atomic bool fail_sync; /* read by the writer thread */
    struct fs_ops ops;
};

static int sync_unless_told_to_fail(void *ud, int fd)
{
    const struct fixture *self = (const struct fixture *) ud;
    if (self->fail_sync) {
        errno = EIO;
        return -1;
    }
    return fdatasync(fd);
}

static int propose(struct group *group, uint64_t number)
{
    struct payload *payload = payload_copy(span_make(&number, sizeof(number)));
    struct slice slice = slice_make(payload, payload_span(payload));
    payload_unref(&payload);
    uint64_t index = 0;
    uint64_t before = replica_last_index(group->replica);
    group->fixture->is_proposing = true;
    int error = replica_propose(group->replica, 7, 0, 0, 99, &slice, &index);
    group->fixture->is_proposing = false;
    slice_release(&slice);
    if (error == 0) {
        ck_assert_uint_eq(index, before + 1);
        ck_assert_uint_eq(replica_last_index(group->replica), index);
    } else {
        ck_assert_uint_eq(replica_last_index(group->replica), before);
    }
    return error;
}

static void on_apply(void *ud, const struct journal_entry *entry, uint64_t position,
                     uint32_t frame_bytes)
{
    struct group *group = (struct group *) ud;
    ck_assert(!group->fixture->is_proposing);
    ck_assert_uint_gt(frame_bytes, 0);
    ck_assert_uint_gt(position, 0);
    ck_assert_uint_eq(entry->kind, 7);
    ck_assert_uint_eq(entry->ts_us, 99);
    ck_assert_uint_eq(entry->index, replica_commit_index(group->replica));
    uint64_t number = 0;
    ck_assert_uint_eq(entry->payload.bytes.size, sizeof(number));
    memcpy(&number, entry->payload.bytes.data, sizeof(number));
    group->applied[entry->index] = number;
    group->applied_count++;
    if (group->propose_more > 0) {
        group->propose_more--;
        ck_assert_int_eq(propose(group, number + 1), 0);
    }
    if (group->close_in_apply && replica_in_flight(group->replica) == 0) {
        replica_close(&group->replica);
    }
    memcpy(&number, entry->payload.bytes.data, sizeof(number)); /* still whole */
    ck_assert_uint_eq(number, group->applied[entry->index]);
}

static void on_poisoned(void *ud)
{
    ((struct fixture *) ud)->poisoned++;
}

static void open_all(struct fixture *self)
{
    struct journal_options options = {.dir = self->dir,
                                      .file_bytes = 1 << 20,
                                      .reserve_bytes = 1 << 20,
                                      .ops = self->ops.fdatasync != NULL ? &self->ops : NULL};
    struct journal_visitor visitor = {0};
    struct journal_recovery recovery;
    ck_assert_int_eq(journal_open(&options, &visitor, &recovery, &self->journal), 0);
    struct replica_handlers handlers = {on_apply, on_poisoned, self};
    self->set = replica_set_new(self->journal, &handlers);
    for (unsigned i = 0; i < GROUPS; i++) {
        self->groups[i].fixture = self;
        self->groups[i].replica = replica_open(self->set, i + 1, 1, 0, &self->groups[i]);
    }
}

static struct fixture *fixture_new(void)
{
    static struct fixture self;
    memset(&self, 0, sizeof(self));
    (void) snprintf(self.dir, sizeof(self.dir), "%s/journal", test_folder());
    return &self;
}

static void close_all(struct fixture *self)
{
    for (unsigned i = 0; i < GROUPS; i++) {
        replica_close(&self->groups[i].replica);
    }
    replica_set_destroy(&self->set);
    journal_close(&self->journal);
}

static void poll_until_quiet(struct fixture *self, const struct group *group)
{
    journal_submit(self->journal);
    while (group->replica != NULL && replica_in_flight(group->replica) > 0 && self->poisoned == 0) {
        struct pollfd waiting = {.fd = journal_fd(self->journal), .events = POLLIN};
        ck_assert_int_eq(poll(&waiting, 1, 9000), 1);
        (void) replica_set_poll(self->set);
        journal_submit(self->journal);
    }
}

TEST(what_is_proposed_is_applied_once_in_order_and_never_inside_the_call)
{
    struct fixture *self = fixture_new();
    open_all(self);
    struct group *group = &self->groups[0];
    for (uint64_t i = 1; i <= 1000; i++) {
        ck_assert_int_eq(propose(group, i * 10), 0);
    }
    ck_assert_uint_eq(group->applied_count, 0); /* nothing was even submitted */
    ck_assert_uint_eq(replica_commit_index(group->replica), 0);
    ck_assert_uint_eq(replica_in_flight(group->replica), 1000);
    poll_until_quiet(self, group);
    ck_assert_uint_eq(group->applied_count, 1000);
    ck_assert_uint_eq(replica_commit_index(group->replica), 1000);
    for (uint64_t i = 1; i <= 1000; i++) {
        ck_assert_uint_eq(group->applied[i], i * 10);
    }
    close_all(self);
}

TEST(many_groups_share_one_journal_and_each_keeps_its_order)
{
    struct fixture *self = fixture_new();
    open_all(self);
    struct prng prng;
    prng_init(&prng, 3);
    uint64_t proposed[GROUPS] = {0};
    for (unsigned i = 0; i < 3000; i++) {
        unsigned which = (unsigned) prng_below(&prng, GROUPS);
        ck_assert_int_eq(propose(&self->groups[which], ++proposed[which] * 100 + which), 0);
        if (prng_below(&prng, 20) == 0) {
            journal_submit(self->journal);
            (void) replica_set_poll(self->set);
        }
    }
    for (unsigned g = 0; g < GROUPS; g++) {
        poll_until_quiet(self, &self->groups[g]);
        ck_assert_uint_eq(self->groups[g].applied_count, proposed[g]);
        for (uint64_t i = 1; i <= proposed[g]; i++) {
            ck_assert_uint_eq(self->groups[g].applied[i], i * 100 + g);
        }
    }
    close_all(self);
}

TEST(apply_may_propose_and_may_close_its_group)
{
    struct fixture *self = fixture_new();
    open_all(self);
    struct group *group = &self->groups[1];
    group->propose_more = 100;
    ck_assert_int_eq(propose(group, 1), 0);
    poll_until_quiet(self, group);
    ck_assert_uint_eq(group->applied_count, 101);
    ck_assert_uint_eq(group->applied[101], 101);
    group->close_in_apply = true;
    ck_assert_int_eq(propose(group, 5), 0);
    poll_until_quiet(self, group);
    ck_assert_ptr_null(group->replica);
    close_all(self);
}

TEST(a_group_goes_on_after_its_last_index)
{
    struct fixture *self = fixture_new();
    open_all(self);
    struct group *group = &self->groups[2];
    replica_close(&group->replica);
    group->replica = replica_open(self->set, 3, 4, 41, group);
    ck_assert_uint_eq(replica_term(group->replica), 4);
    ck_assert_uint_eq(replica_commit_index(group->replica), 41);
    ck_assert_int_eq(propose(group, 7), 0);
    poll_until_quiet(self, group);
    ck_assert_uint_eq(group->applied[42], 7);
    close_all(self);
}

TEST(a_refused_proposal_leaves_no_trace)
{
    struct fixture *self = fixture_new();
    open_all(self);
    struct group *group = &self->groups[0];
    struct payload *huge = payload_new(600 << 10); /* over half of a file */
    memset(payload_data(huge), 1, 600 << 10);
    struct slice slice = slice_make(huge, payload_span(huge));
    payload_unref(&huge);
    uint64_t index = 77;
    ck_assert_int_eq(replica_propose(group->replica, 7, 0, 0, 99, &slice, &index), ERR_TOO_LARGE);
    ck_assert_uint_eq(index, 77);
    slice_release(&slice);
    ck_assert_uint_eq(replica_in_flight(group->replica), 0);
    ck_assert_int_eq(propose(group, 1), 0);
    poll_until_quiet(self, group);
    ck_assert_uint_eq(group->applied[1], 1);
    close_all(self);
}

TEST(after_a_failed_sync_nothing_is_applied_and_the_owner_hears_it_once)
{
    struct fixture *self = fixture_new();
    self->ops = (struct fs_ops){.fdatasync = sync_unless_told_to_fail, .ud = self};
    open_all(self);
    struct group *group = &self->groups[0];
    ck_assert_int_eq(propose(group, 1), 0);
    poll_until_quiet(self, group);
    ck_assert_uint_eq(group->applied_count, 1);

    self->fail_sync = true;
    ck_assert_int_eq(propose(group, 2), 0);
    ck_assert_int_eq(propose(&self->groups[1], 2), 0);
    poll_until_quiet(self, group);
    self->fail_sync = false; /* too late */
    ck_assert_uint_eq(self->poisoned, 1);
    ck_assert_uint_eq(group->applied_count, 1);
    ck_assert_int_eq(propose(group, 3), ERR_POISONED);
    (void) replica_set_poll(self->set);
    ck_assert_uint_eq(self->poisoned, 1);
    ck_assert_uint_eq(group->applied_count, 1);
    ck_assert_uint_eq(self->groups[1].applied_count, 0);
    close_all(self);
}
