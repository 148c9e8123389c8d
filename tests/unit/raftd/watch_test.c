/* watch: whoever follows ends with the same state, by the history or by a snapshot, however rarely it may be sent to. The test's followers
 * apply events as a daemon does, strictly, and are compared with the catalogue. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/wire/catalog.pb-c.h"
#include "common/wire/scan.h"
#include "raftd/watch.h"
#include "tests/unit/raftd/catalog_lib.h"

enum { FOLLOWERS = 4, NAMES = 1024 };

/* What a daemon would know: which stream ids, group ids and endpoints there are, with their versions. */
struct follower {
    uint64_t revision;
    bool is_in_snapshot;
    bool more;       /* the last event said that more of the same follows */
    unsigned credit; /* events that may still be sent */
    unsigned events;
    unsigned snapshots;
    size_t biggest;
    struct {
        uint64_t id; /* 0: free */
        uint64_t version;
    } streams[NAMES], groups[NAMES], exchanges[NAMES];
};

struct world {
    struct follower followers[FOLLOWERS];
    struct watch *watch;
    struct catalog *catalog;
};

static void put(uint64_t *id, uint64_t *version, uint64_t new_id, uint64_t new_version)
{
    *id = new_id;
    *version = new_version;
}

#define TABLE_PUT(table, new_id, new_version)                                                      \
    do {                                                                                           \
        unsigned at_ = 0;                                                                          \
        while (at_ < NAMES && (table)[at_].id != (new_id)) {                                       \
            at_++;                                                                                 \
        }                                                                                          \
        for (unsigned free_ = 0; at_ == NAMES && free_ < NAMES; free_++) {                         \
            at_ = (table)[free_].id == 0 ? free_ : at_;                                            \
        }                                                                                          \
        ck_assert_uint_lt(at_, NAMES);                                                             \
        put(&(table)[at_].id, &(table)[at_].version, new_id, new_version);                         \
    } while (0)

#define TABLE_REMOVE(table, old_id)                                                                \
    do {                                                                                           \
        unsigned at_ = 0;                                                                          \
        while (at_ < NAMES && (table)[at_].id != (old_id)) {                                       \
            at_++;                                                                                 \
        }                                                                                          \
        ck_assert_uint_lt(at_, NAMES); /* it was told of it before */                              \
        put(&(table)[at_].id, &(table)[at_].version, 0, 0);                                        \
    } while (0)

/* A number for its names. */
static uint64_t exchange_id(const Railgun__CatalogExchange *message)
{
    return hash_bytes(span_of(message->namespace_), 1) ^ hash_bytes(span_of(message->name), 2);
}

static void follower_apply(struct follower *self, const Railgun__CatalogChanges *changes)
{
    if (changes->has_reset && changes->reset) {
        memset(self->streams, 0, sizeof(self->streams));
        memset(self->groups, 0, sizeof(self->groups));
        memset(self->exchanges, 0, sizeof(self->exchanges));
        self->snapshots++;
        self->is_in_snapshot = true;
    } else if (self->is_in_snapshot) {
        ck_assert_uint_eq(changes->revision, self->revision);
    } else {
        ck_assert_uint_gt(changes->revision, self->revision); /* never again, never back */
    }
    self->revision = changes->revision;
    self->is_in_snapshot = self->is_in_snapshot && changes->more;
    bool deletes =
        changes->n_streams_deleted + changes->n_groups_deleted + changes->n_exchanges_deleted > 0;
    bool puts =
        changes->n_streams + changes->n_groups + changes->n_exchanges + changes->n_endpoints > 0;
    ck_assert(!(deletes && puts));
    for (size_t i = 0; i < changes->n_streams; i++) {
        TABLE_PUT(self->streams, changes->streams[i]->log_group, changes->streams[i]->version);
    }
    for (size_t i = 0; i < changes->n_groups; i++) {
        TABLE_PUT(self->groups, changes->groups[i]->group_id, changes->groups[i]->version);
    }
    for (size_t i = 0; i < changes->n_exchanges; i++) {
        TABLE_PUT(self->exchanges, exchange_id(changes->exchanges[i]),
                  changes->exchanges[i]->version);
    }
    for (size_t i = 0; i < changes->n_exchanges_deleted; i++) {
        TABLE_REMOVE(self->exchanges, exchange_id(changes->exchanges_deleted[i]));
    }
    for (size_t i = 0; i < changes->n_streams_deleted; i++) {
        TABLE_REMOVE(self->streams, changes->streams_deleted[i]);
    }
    for (size_t i = 0; i < changes->n_groups_deleted; i++) {
        TABLE_REMOVE(self->groups, changes->groups_deleted[i]);
    }
}

/* A link is only an address here. */
static struct bus_link *link_of(struct follower *follower)
{
    return (struct bus_link *) (void *) follower;
}

static int on_send(void *ud, struct bus_link *link, struct span bytes)
{
    (void) ud;
    struct follower *follower = (struct follower *) (void *) link;
    if (follower->credit == 0) {
        return ERR_AGAIN;
    }
    follower->credit--;
    follower->events++;
    follower->biggest = bytes.size > follower->biggest ? bytes.size : follower->biggest;
    Railgun__CatalogChanges *changes = NULL;
    struct scan_limits limits = scan_limits_default();
    limits.repeated_max = 100000;
    limits.fields_max = 1000000;
    limits.memory_factor = 20;
    ck_assert_int_eq(scan_unpack(bytes, &railgun__catalog_changes__descriptor, &limits,
                                 (ProtobufCMessage **) (void *) &changes),
                     0);
    follower->more = changes->has_more && changes->more;
    if (follower->biggest < 200000) { /* the big ones are only counted */
        follower_apply(follower, changes);
    } else {
        follower->revision = changes->revision;
        follower->snapshots += changes->has_reset && changes->reset;
    }
    SCAN_FREE(&changes);
    return 0;
}

static void on_change(void *ud, const struct catalog_change *change)
{
    struct world *world = (struct world *) ud;
    if (world->watch != NULL) {
        watch_put(world->watch, change);
    }
}

static struct world *world_new(void)
{
    struct world *world = MEM_NEW(struct world);
    world->catalog = catalog_new(on_change, world);
    struct buf command = {0};
    command_bootstrap(&command, 7);
    ck_assert_int_eq(apply(world->catalog, &command), 0);
    buf_release(&command);
    world->watch = watch_new(world->catalog, on_send, world);
    return world;
}

static void world_destroy(struct world *world)
{
    watch_destroy(&world->watch);
    catalog_destroy(&world->catalog);
    mem_free(world);
}

static void change(struct world *world, struct buf *command)
{
    (void) apply(world->catalog, command); /* refusals are revisions, too */
    watch_seal(world->watch);
    buf_reset(command);
}

static void give_credit(struct world *world, struct follower *follower, unsigned credit)
{
    follower->credit += credit;
    watch_ready(world->watch, link_of(follower));
}

static void check_same(const struct world *world, const struct follower *follower)
{
    ck_assert_uint_eq(follower->revision, catalog_revision(world->catalog));
    size_t streams = 0;
    size_t groups = 0;
    size_t exchanges = 0;
    for (unsigned i = 0; i < NAMES; i++) {
        streams += follower->streams[i].id != 0;
        groups += follower->groups[i].id != 0;
        exchanges += follower->exchanges[i].id != 0;
    }
    size_t group_count = 0;
    for (size_t at = 0; catalog_next_group(world->catalog, &at) != NULL;) {
        group_count++; /* the deleted ones', too */
    }
    ck_assert_uint_eq(streams,
                      catalog_stream_count(world->catalog) + catalog_deleted_count(world->catalog));
    ck_assert_uint_eq(groups, group_count);
    ck_assert_uint_eq(exchanges, catalog_exchange_count(world->catalog));
    const struct catalog_stream *stream;
    for (size_t at = 0; (stream = catalog_next_stream(world->catalog, &at)) != NULL;) {
        unsigned i = 0;
        while (i < NAMES && follower->streams[i].id != stream->log_group) {
            i++;
        }
        ck_assert_uint_lt(i, NAMES);
        ck_assert_uint_eq(follower->streams[i].version, stream->version);
    }
}

TEST(a_new_watcher_gets_a_snapshot_also_of_nothing)
{
    struct world *world = world_new();
    struct follower *follower = &world->followers[0];
    watch_add(world->watch, link_of(follower), 0);
    follower->credit = 10;
    watch_flush(world->watch);
    ck_assert_uint_eq(follower->snapshots, 1);
    ck_assert_uint_eq(follower->events, 1);
    check_same(world, follower);
    watch_flush(world->watch);
    ck_assert_uint_eq(follower->events, 1); /* nothing new, nothing sent */
    world_destroy(world);
}

TEST(a_watcher_that_is_up_to_date_gets_only_what_comes)
{
    struct world *world = world_new();
    struct follower *follower = &world->followers[0];
    struct buf command = {0};
    follower->revision = 1;
    follower->credit = 10;
    watch_add(world->watch, link_of(follower), 1);
    watch_flush(world->watch);
    ck_assert_uint_eq(follower->events, 0);
    command_ensure_stream(&command, "a", 1, NULL, 1);
    change(world, &command);
    command_ensure_group(&command, "a", "g", 1, 5);
    change(world, &command);
    watch_flush(world->watch);
    ck_assert_uint_eq(follower->snapshots, 0);
    ck_assert_uint_eq(follower->events, 1); /* joined */
    check_same(world, follower);
    /* changes nothing, but is a revision that askers may name */
    command_delete_stream(&command, "none");
    change(world, &command);
    watch_flush(world->watch);
    check_same(world, follower);
    buf_release(&command);
    world_destroy(world);
}

TEST(a_revision_from_the_future_or_from_before_the_history_means_a_snapshot)
{
    struct world *world = world_new();
    struct buf command = {0};
    command_ensure_stream(&command, "a", 1, NULL, 1);
    change(world, &command);
    world->followers[0].credit = 10;
    world->followers[1].credit = 10;
    watch_add(world->watch, link_of(&world->followers[0]), 99);
    watch_add(world->watch, link_of(&world->followers[1]), 1);
    watch_flush(world->watch);
    ck_assert_uint_eq(world->followers[0].snapshots, 1);
    ck_assert_uint_eq(world->followers[1].snapshots, 0);
    for (unsigned i = 0; i < WATCH_HISTORY_MAX; i++) {
        command_ensure_stream(&command, "a", i + 2, NULL, 1);
        change(world, &command);
    }
    world->followers[2].credit = 10;
    world->followers[3].credit = 10;
    watch_add(world->watch, link_of(&world->followers[2]), 2); /* just within */
    watch_add(world->watch, link_of(&world->followers[3]), 1); /* just not */
    watch_flush(world->watch);
    ck_assert_uint_eq(world->followers[2].snapshots, 0);
    ck_assert_uint_eq(world->followers[3].snapshots, 1);
    buf_release(&command);
    world_destroy(world);
}

TEST_WITHIN(followers_with_little_credit_end_with_the_same_state, 60)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct world *world = world_new();
        struct prng prng;
        prng_init(&prng, seed);
        struct buf command = {0};
        for (unsigned f = 0; f < FOLLOWERS; f++) {
            watch_add(world->watch, link_of(&world->followers[f]), 0);
        }
        for (uint64_t n = 2; n < 3000; n++) {
            command_random(&prng, n, &command);
            change(world, &command);
            unsigned f = (unsigned) prng_below(&prng, FOLLOWERS);
            if (prng_below(&prng, 8) == 0 && f > 0) {
                give_credit(world, &world->followers[f], 1 + (unsigned) prng_below(&prng, 3));
            }
            give_credit(world, &world->followers[0], 1); /* this one keeps up */
            if (prng_below(&prng, 1000) == 0) {          /* a session ends and begins again */
                struct follower *back = &world->followers[3];
                watch_remove(world->watch, link_of(back));
                back->is_in_snapshot = false;
                watch_add(world->watch, link_of(back), 0);
            }
            if (prng_below(&prng, 3) == 0) {
                watch_flush(world->watch);
            }
        }
        for (unsigned f = 0; f < FOLLOWERS; f++) {
            give_credit(world, &world->followers[f], 100000);
        }
        watch_flush(world->watch);
        for (unsigned f = 0; f < FOLLOWERS; f++) {
            check_same(world, &world->followers[f]);
        }
        ck_assert_uint_eq(world->followers[0].snapshots, 1);
        buf_release(&command);
        world_destroy(world);
    }
}

TEST(one_that_hears_nothing_for_long_gets_another_snapshot)
{
    struct world *world = world_new();
    struct follower *follower = &world->followers[0];
    struct buf command = {0};
    watch_add(world->watch, link_of(follower), 0);
    give_credit(world, follower, 1);
    watch_flush(world->watch);
    for (unsigned i = 0; i < 3 * WATCH_HISTORY_MAX; i++) {
        command_ensure_stream(&command, "a", i + 1, NULL, 1);
        change(world, &command);
        watch_flush(world->watch);
    }
    ck_assert_uint_eq(follower->events, 1);
    give_credit(world, follower, 10);
    watch_flush(world->watch);
    ck_assert_uint_eq(follower->snapshots, 2);
    check_same(world, follower);
    buf_release(&command);
    world_destroy(world);
}

TEST_WITHIN(a_big_snapshot_comes_in_parts_and_the_changes_after_it, 60)
{
    enum { MANY = 10000 };
    struct world *world = world_new();
    struct buf command = {0};
    char name[16];
    for (unsigned i = 0; i < MANY; i++) {
        (void) snprintf(name, sizeof(name), "s%u", i);
        command_ensure_stream(&command, name, 1, NULL, 1);
        change(world, &command);
    }
    struct follower *follower = &world->followers[0];
    follower->biggest = 1 << 20; /* count only */
    watch_add(world->watch, link_of(follower), 0);
    give_credit(world, follower, 2);
    watch_flush(world->watch);
    ck_assert_uint_eq(follower->events, 2);
    ck_assert(follower->more);
    uint64_t of_snapshot = follower->revision;
    command_ensure_stream(&command, "later", 1, NULL, 1);
    change(world, &command);
    give_credit(world, follower, 1);
    watch_flush(world->watch);
    ck_assert_uint_eq(follower->revision, of_snapshot); /* still a part of it */
    give_credit(world, follower, 1000);
    watch_flush(world->watch);
    ck_assert_uint_eq(follower->snapshots, 1);
    ck_assert_uint_eq(follower->revision, of_snapshot + 1);
    ck_assert_uint_lt(follower->events, 40);
    ck_assert(!follower->more);
    watch_remove(world->watch, link_of(follower));
    ck_assert_uint_eq(watch_count(world->watch), 0);
    buf_release(&command);
    world_destroy(world);
}
