/* catalog: the same commands always give the same state; ids are never used twice; nothing is left of what is gone. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <string.h>

#include "common/base/err.h"
#include "common/wire/pb.h"
#include "tests/unit/raftd/catalog_lib.h"

struct changes {
    unsigned count[CATALOG_ENDPOINT_PUT + 1];
    char last[64];
};

static void count_change(void *ud, const struct catalog_change *change)
{
    struct changes *changes = (struct changes *) ud;
    changes->count[change->kind]++;
    const char *key = change->stream != NULL     ? change->stream->key
                      : change->group != NULL    ? change->group->key
                      : change->exchange != NULL ? change->exchange->key
                                                 : change->endpoint->key;
    (void) snprintf(changes->last, sizeof(changes->last), "%s", key);
}

static struct catalog *with_bootstrap(struct changes *changes)
{
    struct catalog *catalog = catalog_new(changes != NULL ? count_change : NULL, changes);
    struct buf command = {0};
    command_bootstrap(&command, 7);
    ck_assert_int_eq(apply(catalog, &command), 0);
    buf_release(&command);
    return catalog;
}

static int apply_and_reset(struct catalog *catalog, struct buf *command)
{
    int error = apply(catalog, command);
    buf_reset(command);
    return error;
}

TEST(the_first_command_tells_who_we_are_and_there_is_only_one)
{
    struct catalog *catalog = catalog_new(NULL, NULL);
    struct catalog_outcome outcome;
    struct buf command = {0};
    ck_assert_uint_eq(catalog_node(catalog), 0);
    command_ensure_stream(&command, "a", 1, NULL, 1);
    ck_assert_int_eq(catalog_apply(catalog, 1, buf_span(&command), &outcome), ERR_BAD_FORMAT);
    ck_assert_uint_eq(catalog_revision(catalog), 0);
    buf_reset(&command);
    command_bootstrap(&command, 7);
    ck_assert_int_eq(apply(catalog, &command), 0);
    ck_assert_uint_eq(catalog_node(catalog), 1);
    ck_assert_uint_eq(catalog_cluster(catalog)->bytes[3], 7);
    ck_assert_int_eq(catalog_apply(catalog, 2, buf_span(&command), &outcome), ERR_BAD_FORMAT);
    ck_assert_uint_eq(catalog_revision(catalog), 1);
    buf_release(&command);
    catalog_destroy(&catalog);
}

TEST(a_command_that_is_not_understood_changes_nothing)
{
    struct catalog *catalog = with_bootstrap(NULL);
    struct catalog_outcome outcome;
    uint64_t before = catalog_digest(catalog);
    struct buf command = {0};
    ck_assert_int_eq(catalog_apply(catalog, 2, buf_span(&command), &outcome), ERR_BAD_FORMAT);
    pb_append_varint(&command, 77, 1); /* of a newer version */
    ck_assert_int_eq(catalog_apply(catalog, 2, buf_span(&command), &outcome), ERR_BAD_FORMAT);
    buf_reset(&command);
    buf_append_text(&command, "\xff\xff\xff");
    ck_assert_int_eq(catalog_apply(catalog, 2, buf_span(&command), &outcome), ERR_BAD_FORMAT);
    buf_reset(&command);
    command_ensure_stream(&command, "not a name", 1, NULL, 1);
    ck_assert_int_eq(catalog_apply(catalog, 2, buf_span(&command), &outcome), ERR_BAD_FORMAT);
    ck_assert_uint_eq(catalog_digest(catalog), before);
    buf_release(&command);
    catalog_destroy(&catalog);
}

TEST(streams_and_groups_get_ids_that_are_never_used_again)
{
    struct changes changes = {0};
    struct catalog *catalog = with_bootstrap(&changes);
    struct buf command = {0};
    command_ensure_stream(&command, "a", 1, "x", 3);
    ck_assert_int_eq(apply_and_reset(catalog, &command), 0);
    const struct catalog_stream *a = find_stream(catalog, "a");
    ck_assert_uint_eq(a->log_group, CATALOG_LOG_GROUP_FIRST);
    ck_assert_uint_eq(a->id.bytes[0], 3);
    ck_assert_uint_eq(a->created_us, 1000003);
    ck_assert_str_eq(a->name, "a");
    command_ensure_group(&command, "a", "g", 1, 5);
    ck_assert_int_eq(apply_and_reset(catalog, &command), 0);
    const struct catalog_group *g = find_group(catalog, "a", "g");
    ck_assert_uint_eq(g->id, CATALOG_GROUP_ID_FIRST);
    ck_assert_uint_eq(g->spec.numbers[SPEC_GROUP_MAX_IN_FLIGHT_MEMBER], 5);
    ck_assert_uint_eq(a->group_count, 1);

    command_delete_stream(&command, "a");
    ck_assert_int_eq(apply_and_reset(catalog, &command), 0);
    ck_assert_ptr_null(find_stream(catalog, "a"));
    ck_assert_ptr_null(find_group(catalog, "a", "g"));
    ck_assert_uint_eq(catalog_group_count(catalog), 0);
    ck_assert_uint_eq(changes.count[CATALOG_GROUP_GONE], 1);
    ck_assert_uint_eq(changes.count[CATALOG_STREAM_GONE], 1);
    ck_assert_str_eq(changes.last, "default/a"); /* the groups before the stream */

    command_ensure_stream(&command, "a", 1, "x", 4);
    ck_assert_int_eq(apply_and_reset(catalog, &command), 0);
    command_ensure_group(&command, "a", "g", 1, 5);
    ck_assert_int_eq(apply_and_reset(catalog, &command), 0);
    ck_assert_uint_eq(find_stream(catalog, "a")->log_group, CATALOG_LOG_GROUP_FIRST + 1);
    ck_assert_uint_eq(find_group(catalog, "a", "g")->id, CATALOG_GROUP_ID_FIRST + 1);
    ck_assert_uint_eq(changes.count[CATALOG_STREAM_PUT], 2);
    buf_release(&command);
    catalog_destroy(&catalog);
}

TEST(an_update_changes_what_is_given_and_keeps_id_and_creation)
{
    struct catalog *catalog = with_bootstrap(NULL);
    struct buf command = {0};
    command_ensure_stream(&command, "a", 1, "first", 3);
    ck_assert_int_eq(apply_and_reset(catalog, &command), 0);
    command_ensure_stream(&command, "a", 4, "second", 9);
    ck_assert_int_eq(apply_and_reset(catalog, &command), 0);
    command_ensure_stream(&command, "a", 5, NULL, 9);
    ck_assert_int_eq(apply_and_reset(catalog, &command), 0);
    const struct catalog_stream *a = find_stream(catalog, "a");
    ck_assert_str_eq(spec_text(&a->spec, SPEC_STREAM_DESCRIPTION), "second");
    ck_assert_uint_eq(a->version, 5);
    ck_assert_uint_eq(a->id.bytes[0], 3);
    ck_assert_uint_eq(a->created_us, 1000003);
    ck_assert_uint_eq(a->log_group, CATALOG_LOG_GROUP_FIRST);
    buf_release(&command);
    catalog_destroy(&catalog);
}

TEST(a_group_needs_its_stream_and_a_delete_its_object)
{
    struct catalog *catalog = with_bootstrap(NULL);
    struct buf command = {0};
    command_ensure_group(&command, "a", "g", 1, 5);
    ck_assert_int_eq(apply_and_reset(catalog, &command), ERR_NOT_FOUND);
    command_delete_stream(&command, "a");
    ck_assert_int_eq(apply_and_reset(catalog, &command), ERR_NOT_FOUND);
    command_delete_group(&command, "a", "g");
    ck_assert_int_eq(apply_and_reset(catalog, &command), ERR_NOT_FOUND);
    command_ensure_stream(&command, "a", 1, NULL, 1);
    ck_assert_int_eq(apply_and_reset(catalog, &command), 0);
    command_delete_group(&command, "a", "g");
    ck_assert_int_eq(apply_and_reset(catalog, &command), ERR_NOT_FOUND);
    ck_assert_uint_eq(catalog_revision(catalog), 6); /* each of them is an entry of the log */
    buf_release(&command);
    catalog_destroy(&catalog);
}

TEST(an_exchange_lives_in_its_namespace_from_its_ensure_to_its_delete)
{
    struct changes changes = {0};
    struct catalog *catalog = with_bootstrap(&changes);
    struct buf command = {0};
    command_ensure_exchange(&command, NULL, "ticks", 1, 7);
    ck_assert_int_eq(apply_and_reset(catalog, &command), 0);
    command_ensure_exchange(&command, "games", "ticks", 1, 8);
    ck_assert_int_eq(apply_and_reset(catalog, &command), 0);
    command_ensure_stream(&command, "ticks", 1, NULL, 1); /* another thing of the same name */
    ck_assert_int_eq(apply_and_reset(catalog, &command), 0);
    ck_assert_uint_eq(catalog_exchange_count(catalog), 2);
    const struct catalog_exchange *own = find_exchange(catalog, "default", "ticks");
    const struct catalog_exchange *other = find_exchange(catalog, "games", "ticks");
    ck_assert_uint_eq(own->spec.numbers[SPEC_EXCHANGE_MAX_TOPICS], 7);
    ck_assert_uint_eq(other->spec.numbers[SPEC_EXCHANGE_MAX_TOPICS], 8);
    ck_assert_uint_eq(own->created_us, 1000001);
    ck_assert(spec_is_given(&own->spec, SPEC_EXCHANGE_MAX_FANOUT)); /* all fields are stored */
    ck_assert_str_eq(own->name, "ticks");

    command_ensure_exchange(&command, "games", "ticks", 2, 9);
    ck_assert_int_eq(apply_and_reset(catalog, &command), 0);
    ck_assert_uint_eq(other->spec.numbers[SPEC_EXCHANGE_MAX_TOPICS], 9);
    ck_assert_uint_eq(other->version, 2);
    ck_assert_uint_eq(changes.count[CATALOG_EXCHANGE_PUT], 3);

    command_delete_exchange(&command, "games", "ticks");
    ck_assert_int_eq(apply_and_reset(catalog, &command), 0);
    ck_assert_str_eq(changes.last, "games/ticks");
    command_delete_exchange(&command, "games", "ticks");
    ck_assert_int_eq(apply_and_reset(catalog, &command), ERR_NOT_FOUND);
    ck_assert_ptr_null(find_exchange(catalog, "games", "ticks"));
    ck_assert_ptr_nonnull(find_exchange(catalog, "default", "ticks"));
    ck_assert_ptr_nonnull(find_stream(catalog, "ticks"));
    ck_assert_uint_eq(changes.count[CATALOG_EXCHANGE_GONE], 1);
    buf_release(&command);
    catalog_destroy(&catalog);
}

TEST(there_are_at_most_10000_exchanges)
{
    struct catalog *catalog = with_bootstrap(NULL);
    struct buf command = {0};
    char name[16];
    for (unsigned i = 0; i < CATALOG_EXCHANGES_MAX; i++) {
        (void) snprintf(name, sizeof(name), "e%u", i);
        command_ensure_exchange(&command, i % 2 == 0 ? "a" : "b", name, 1, 0);
        TEST_ASSERT_FAST(apply_and_reset(catalog, &command) == 0);
    }
    command_ensure_exchange(&command, "c", "more", 1, 0);
    ck_assert_int_eq(apply_and_reset(catalog, &command), ERR_QUOTA);
    command_ensure_exchange(&command, "a", "e0", 2, 5);
    ck_assert_int_eq(apply_and_reset(catalog, &command), 0); /* what exists may change */
    command_delete_exchange(&command, "b", "e1");
    ck_assert_int_eq(apply_and_reset(catalog, &command), 0);
    command_ensure_exchange(&command, "c", "more", 1, 0);
    ck_assert_int_eq(apply_and_reset(catalog, &command), 0);
    buf_release(&command);
    catalog_destroy(&catalog);
}

TEST(an_endpoint_is_replaced)
{
    struct changes changes = {0};
    struct catalog *catalog = with_bootstrap(&changes);
    struct buf command = {0};
    command_endpoint(&command, "logd-0", "ipc://one");
    ck_assert_int_eq(apply_and_reset(catalog, &command), 0);
    command_endpoint(&command, "logd-0", "ipc://two");
    ck_assert_int_eq(apply_and_reset(catalog, &command), 0);
    const struct catalog_endpoint *found = catalog_find_endpoint(catalog, span_of("1/logd-0"));
    ck_assert_str_eq(found->endpoint, "ipc://two");
    ck_assert_str_eq(found->daemon, "logd-0");
    ck_assert_uint_eq(changes.count[CATALOG_ENDPOINT_PUT], 2);
    buf_release(&command);
    catalog_destroy(&catalog);
}

TEST_WITHIN(there_are_at_most_100000_streams, 60)
{
    struct catalog *catalog = with_bootstrap(NULL);
    struct buf command = {0};
    char name[16];
    for (unsigned i = 0; i < CATALOG_STREAMS_MAX; i++) {
        (void) snprintf(name, sizeof(name), "s%u", i);
        command_ensure_stream(&command, name, 1, NULL, 1);
        ck_assert_int_eq(apply_and_reset(catalog, &command), 0);
    }
    command_ensure_stream(&command, "more", 1, NULL, 1);
    ck_assert_int_eq(apply_and_reset(catalog, &command), ERR_QUOTA);
    command_ensure_stream(&command, "s5", 2, NULL, 1);
    ck_assert_int_eq(apply_and_reset(catalog, &command), 0); /* what exists may change */
    command_delete_stream(&command, "s6");
    ck_assert_int_eq(apply_and_reset(catalog, &command), 0);
    command_ensure_stream(&command, "more", 1, NULL, 1);
    ck_assert_int_eq(apply_and_reset(catalog, &command), 0);
    buf_release(&command);
    catalog_destroy(&catalog);
}

enum { LIFE = 2000 };

TEST_WITHIN(the_same_commands_give_the_same_state_step_by_step, 60)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct catalog *one = catalog_new(NULL, NULL);
        struct catalog *two = catalog_new(NULL, NULL);
        struct prng prng;
        prng_init(&prng, seed);
        struct buf command = {0};
        uint64_t last = 0;
        unsigned changed = 0;
        for (uint64_t n = 1; n <= LIFE; n++) {
            buf_reset(&command);
            command_random(&prng, n, &command);
            ck_assert_int_eq(apply(one, &command), apply(two, &command));
            uint64_t digest = catalog_digest(one);
            ck_assert_uint_eq(digest, catalog_digest(two));
            changed += digest != last;
            last = digest;
        }
        ck_assert_uint_eq(changed, LIFE); /* the revision is part of the state */
        ck_assert_uint_gt(catalog_stream_count(one), 0);
        ck_assert_uint_gt(catalog_group_count(one), 0);
        ck_assert_uint_gt(catalog_exchange_count(one), 0);
        buf_release(&command);
        catalog_destroy(&one);
        catalog_destroy(&two);
    }
}

TEST(different_states_have_different_digests)
{
    struct catalog *one = with_bootstrap(NULL);
    struct catalog *two = with_bootstrap(NULL);
    ck_assert_uint_eq(catalog_digest(one), catalog_digest(two));
    struct buf command = {0};
    command_ensure_stream(&command, "a", 1, "x", 1);
    ck_assert_int_eq(apply_and_reset(one, &command), 0);
    command_ensure_stream(&command, "a", 1, "y", 1);
    ck_assert_int_eq(apply_and_reset(two, &command), 0);
    ck_assert_uint_ne(catalog_digest(one), catalog_digest(two));
    buf_release(&command);
    catalog_destroy(&one);
    catalog_destroy(&two);
}
