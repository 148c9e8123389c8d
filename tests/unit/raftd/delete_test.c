/* catalog: deletion with grace, undelete, the end of the grace, and locks. */
#include "tests/lib/test.h"

#include <string.h>

#include "common/base/err.h"
#include "tests/unit/raftd/catalog_lib.h"

#define DAY_US UINT64_C(86400000000)

static int run(struct catalog *catalog, struct buf *command)
{
    int error = apply(catalog, command);
    buf_reset(command);
    return error;
}

/* "orders" with the group "g". */
static struct catalog *orders(struct buf *command)
{
    struct catalog *catalog = catalog_new(NULL, NULL);
    command_bootstrap(command, 7);
    ck_assert_int_eq(run(catalog, command), 0);
    command_ensure_stream(command, "orders", 1, "d", 1);
    ck_assert_int_eq(run(catalog, command), 0);
    command_ensure_group(command, "orders", "g", 1, 5);
    ck_assert_int_eq(run(catalog, command), 0);
    return catalog;
}

TEST(a_deleted_stream_frees_its_name_and_comes_back_with_id_and_groups)
{
    struct buf command = {0};
    struct catalog *catalog = orders(&command);
    struct uuid id = find_stream(catalog, "orders")->id;
    uint64_t group_id = find_group(catalog, "orders", "g")->id;
    command_bury_stream(&command, "orders", 100);
    ck_assert_int_eq(run(catalog, &command), 0);
    ck_assert_ptr_null(find_stream(catalog, "orders"));
    ck_assert_ptr_null(find_group(catalog, "orders", "g"));
    ck_assert_uint_eq(catalog_stream_count(catalog), 0);
    ck_assert_uint_eq(catalog_group_count(catalog), 0);
    ck_assert_uint_eq(catalog_deleted_count(catalog), 1);
    ck_assert_uint_eq(find_buried(catalog, "orders")->deleted_us, 100);
    command_bury_stream(&command, "orders", 200);
    ck_assert_int_eq(run(catalog, &command), ERR_NOT_FOUND);

    command_undelete(&command, "orders", NULL);
    ck_assert_int_eq(run(catalog, &command), 0);
    ck_assert(uuid_equal(&find_stream(catalog, "orders")->id, &id));
    ck_assert_uint_eq(find_group(catalog, "orders", "g")->id, group_id);
    ck_assert_uint_eq(catalog_deleted_count(catalog), 0);
    command_undelete(&command, "orders", NULL); /* asked again */
    ck_assert_int_eq(run(catalog, &command), 0);
    command_undelete(&command, "nothing", NULL);
    ck_assert_int_eq(run(catalog, &command), ERR_NOT_FOUND);
    catalog_destroy(&catalog);
    buf_release(&command);
}

TEST(undelete_is_refused_while_another_stream_has_the_name)
{
    struct buf command = {0};
    struct catalog *catalog = orders(&command);
    struct uuid first = find_stream(catalog, "orders")->id;
    command_bury_stream(&command, "orders", 100);
    ck_assert_int_eq(run(catalog, &command), 0);
    command_ensure_stream(&command, "orders", 1, "new", 2);
    ck_assert_int_eq(run(catalog, &command), 0);
    struct uuid second = find_stream(catalog, "orders")->id;
    ck_assert(!uuid_equal(&first, &second));
    ck_assert_ptr_null(find_group(catalog, "orders", "g")); /* the old one's */
    command_undelete(&command, "orders", NULL);
    ck_assert_int_eq(run(catalog, &command), ERR_STREAM_CHANGED);
    command_undelete(&command, "orders", &first);
    ck_assert_int_eq(run(catalog, &command), ERR_STREAM_CHANGED);

    command_bury_stream(&command, "orders", 200);
    ck_assert_int_eq(run(catalog, &command), 0);
    ck_assert_uint_eq(catalog_deleted_count(catalog), 2);
    command_undelete(&command, "orders", NULL); /* which one? */
    ck_assert_int_eq(run(catalog, &command), ERR_BAD_REQUEST);
    command_undelete(&command, "orders", &first);
    ck_assert_int_eq(run(catalog, &command), 0);
    ck_assert(uuid_equal(&find_stream(catalog, "orders")->id, &first));
    ck_assert_ptr_nonnull(find_group(catalog, "orders", "g"));
    catalog_destroy(&catalog);
    buf_release(&command);
}

TEST(a_stream_goes_for_good_when_its_grace_is_over_and_not_before)
{
    struct buf command = {0};
    uint64_t log_groups[4];
    uint64_t next_us;
    struct catalog *catalog = orders(&command);
    uint64_t log_group = find_stream(catalog, "orders")->log_group;
    command_reap(&command, log_group, UINT64_MAX); /* it lives */
    ck_assert_int_eq(run(catalog, &command), 0);
    ck_assert_uint_eq(catalog_reapable(catalog, UINT64_MAX, log_groups, 4, &next_us), 0);
    ck_assert_uint_eq(next_us, UINT64_MAX);
    command_bury_stream(&command, "orders", 100);
    ck_assert_int_eq(run(catalog, &command), 0);
    ck_assert_uint_eq(catalog_reapable(catalog, 99 + DAY_US, log_groups, 4, &next_us), 0);
    ck_assert_uint_eq(next_us, 100 + DAY_US);
    command_reap(&command, log_group, 99 + DAY_US);
    ck_assert_int_eq(run(catalog, &command), 0);
    ck_assert_uint_eq(catalog_deleted_count(catalog), 1);
    ck_assert_uint_eq(catalog_reapable(catalog, 100 + DAY_US, log_groups, 4, &next_us), 1);
    ck_assert_uint_eq(log_groups[0], log_group);
    command_reap(&command, log_group, 100 + DAY_US);
    ck_assert_int_eq(run(catalog, &command), 0);
    ck_assert_uint_eq(catalog_deleted_count(catalog), 0);
    size_t at = 0;
    ck_assert_ptr_null(catalog_next_group(catalog, &at));
    command_undelete(&command, "orders", NULL);
    ck_assert_int_eq(run(catalog, &command), ERR_NOT_FOUND);
    catalog_destroy(&catalog);
    buf_release(&command);
}

TEST(a_delete_as_older_versions_wrote_it_has_no_grace)
{
    struct buf command = {0};
    struct catalog *catalog = orders(&command);
    command_delete_stream(&command, "orders");
    ck_assert_int_eq(run(catalog, &command), 0);
    ck_assert_uint_eq(catalog_deleted_count(catalog), 0);
    ck_assert_uint_eq(catalog_stream_count(catalog), 0);
    catalog_destroy(&catalog);
    buf_release(&command);
}

TEST(a_locked_field_is_left_alone_until_it_is_unlocked)
{
    struct buf command = {0};
    struct catalog *catalog = orders(&command);
    command_lock(&command, "orders", NULL, "description", false);
    ck_assert_int_eq(run(catalog, &command), 0);
    command_lock(&command, "orders", "g", "max_in_flight", false);
    ck_assert_int_eq(run(catalog, &command), 0);
    command_lock(&command, "none", NULL, "description", false);
    ck_assert_int_eq(run(catalog, &command), ERR_NOT_FOUND);
    command_ensure_stream(&command, "orders", 2, "other", 1);
    ck_assert_int_eq(run(catalog, &command), 0);
    command_ensure_group(&command, "orders", "g", 2, 9);
    ck_assert_int_eq(run(catalog, &command), 0);
    const struct catalog_stream *stream = find_stream(catalog, "orders");
    ck_assert_uint_eq(stream->version, 2);
    ck_assert_str_eq(spec_text(&stream->spec, SPEC_STREAM_DESCRIPTION), "d");
    ck_assert_uint_eq(find_group(catalog, "orders", "g")->spec.numbers[SPEC_GROUP_MAX_IN_FLIGHT],
                      5);
    command_lock(&command, "orders", NULL, "description", true);
    ck_assert_int_eq(run(catalog, &command), 0);
    command_ensure_stream(&command, "orders", 3, "other", 1);
    ck_assert_int_eq(run(catalog, &command), 0);
    ck_assert_str_eq(spec_text(&stream->spec, SPEC_STREAM_DESCRIPTION), "other");
    catalog_destroy(&catalog);
    buf_release(&command);
}

TEST(a_lock_of_a_part_locks_all_below_it)
{
    char dedup[] = "dedup";
    char half[] = "ded";
    char empty[] = "";
    char *paths[] = {dedup};
    char *found[SPEC_FIELDS_MAX];
    const char *unknown;
    uint32_t mask = 0;
    ck_assert_int_eq(lock_read(SPEC_STREAM, paths, 1, &mask, &unknown), 0);
    ck_assert_uint_eq(lock_paths(SPEC_STREAM, mask, found), 7);
    ck_assert_str_eq(found[0], "dedup.mode");
    paths[0] = half;
    ck_assert_int_eq(lock_read(SPEC_STREAM, paths, 1, &mask, &unknown), ERR_BAD_REQUEST);
    ck_assert_str_eq(unknown, "ded");
    paths[0] = empty;
    ck_assert_int_eq(lock_read(SPEC_STREAM, paths, 1, &mask, &unknown), ERR_BAD_REQUEST);
}
