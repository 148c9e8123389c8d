/* catalog: changes, snapshots, names that are given again, and paging. */
#include "frontd/catalog.h"

#include <stdio.h>

#include "common/base/err.h"
#include "common/wire/catalog.pb-c.h"
#include "common/wire/pb.h"

#include "tests/lib/test.h"

/* CatalogChanges being built. */
struct changes {
    struct buf bytes;
};

static void changes_begin(struct changes *self, uint64_t revision, bool reset, bool more)
{
    buf_reset(&self->bytes);
    pb_append_varint(&self->bytes, 1, revision);
    pb_append_varint(&self->bytes, 2, reset);
    pb_append_varint(&self->bytes, 3, more);
}

static void changes_stream(struct changes *self, const char *name, uint64_t log_group)
{
    struct buf stream = {0};
    uint8_t id[16] = {(uint8_t) log_group};
    pb_append_bytes(&stream, 1, span_of("default"));
    pb_append_bytes(&stream, 2, span_of(name));
    pb_append_bytes(&stream, 3, span_make(id, sizeof(id)));
    pb_append_varint(&stream, 4, log_group);
    pb_append_varint(&stream, 5, 1);
    pb_append_bytes(&stream, 6, span_of("spec"));
    pb_append_bytes(&self->bytes, 4, buf_span(&stream));
    buf_release(&stream);
}

static void changes_group(struct changes *self, const char *name, uint64_t id, uint64_t log_group)
{
    struct buf group = {0};
    pb_append_varint(&group, 1, id);
    pb_append_varint(&group, 2, log_group);
    pb_append_bytes(&group, 3, span_of(name));
    pb_append_bytes(&group, 5, span_of("gspec"));
    pb_append_bytes(&self->bytes, 6, buf_span(&group));
    buf_release(&group);
}

static void changes_exchange(struct changes *self, uint32_t number, const char *namespace_,
                             const char *name, const char *spec)
{
    struct buf exchange = {0};
    pb_append_bytes(&exchange, 1, span_of(namespace_));
    pb_append_bytes(&exchange, 2, span_of(name));
    if (spec != NULL) {
        pb_append_varint(&exchange, 3, 4);
        pb_append_bytes(&exchange, 4, span_of(spec));
    }
    pb_append_bytes(&self->bytes, number, buf_span(&exchange));
    buf_release(&exchange);
}

static void apply(struct catalog *catalog, const struct changes *changes)
{
    ck_assert_int_eq(catalog_apply(catalog, buf_span(&changes->bytes)), 0);
}

static const struct catalog_stream *find(const struct catalog *catalog, const char *name)
{
    return catalog_find_stream(catalog, span_of(name));
}

TEST(catalog_is_known_when_the_watch_and_its_changes_have_come)
{
    struct catalog *catalog = catalog_new();
    struct changes changes = {{0}};
    ck_assert(!catalog_is_known(catalog));
    changes_begin(&changes, 7, true, true);
    changes_stream(&changes, "a", 1024);
    apply(catalog, &changes);
    catalog_watched(catalog, 7);
    ck_assert(!catalog_is_known(catalog));
    changes_begin(&changes, 7, true, false);
    changes_stream(&changes, "b", 1025);
    apply(catalog, &changes);
    ck_assert(catalog_is_known(catalog));
    ck_assert_uint_eq(catalog_revision(catalog), 7);
    ck_assert_uint_eq(catalog_stream_count(catalog), 2);
    catalog_unwatched(catalog);
    ck_assert(catalog_is_known(catalog));
    catalog_destroy(&catalog);
    buf_release(&changes.bytes);
}

TEST(catalog_finds_streams_and_groups_with_what_is_known_of_them)
{
    struct catalog *catalog = catalog_new();
    struct changes changes = {{0}};
    changes_begin(&changes, 1, false, false);
    changes_stream(&changes, "orders", 1024);
    changes_group(&changes, "billing", 5, 1024);
    apply(catalog, &changes);
    const struct catalog_stream *stream = find(catalog, "orders");
    ck_assert_ptr_nonnull(stream);
    ck_assert_uint_eq(stream->log_group, 1024);
    ck_assert_uint_eq(stream->group_count, 1);
    ck_assert(span_is(stream->spec, "spec"));
    const struct catalog_group *group = catalog_find_group(catalog, stream, span_of("billing"));
    ck_assert_ptr_nonnull(group);
    ck_assert_uint_eq(group->group_id, 5);
    ck_assert(span_is(group->spec, "gspec"));
    ck_assert(span_is(group->stream, "orders"));
    ck_assert_ptr_null(find(catalog, "order"));
    ck_assert_ptr_null(catalog_find_group(catalog, stream, span_of("other")));
    catalog_destroy(&catalog);
    buf_release(&changes.bytes);
}

TEST(catalog_drops_what_is_deleted_and_the_groups_with_their_stream)
{
    struct catalog *catalog = catalog_new();
    struct changes changes = {{0}};
    changes_begin(&changes, 1, false, false);
    changes_stream(&changes, "a", 1024);
    changes_stream(&changes, "b", 1025);
    changes_group(&changes, "g", 5, 1024);
    changes_group(&changes, "h", 6, 1024);
    changes_group(&changes, "g", 7, 1025);
    apply(catalog, &changes);
    ck_assert_uint_eq(catalog_group_count(catalog), 3);
    changes_begin(&changes, 2, false, false);
    pb_append_varint(&changes.bytes, 7, 6); /* groups_deleted */
    apply(catalog, &changes);
    ck_assert_ptr_null(catalog_find_group(catalog, find(catalog, "a"), span_of("h")));
    ck_assert_uint_eq(find(catalog, "a")->group_count, 1);
    changes_begin(&changes, 3, false, false);
    pb_append_varint(&changes.bytes, 5, 1024); /* streams_deleted */
    pb_append_varint(&changes.bytes, 5, 9999); /* never heard of */
    apply(catalog, &changes);
    ck_assert_ptr_null(find(catalog, "a"));
    ck_assert_uint_eq(catalog_group_count(catalog), 1);
    catalog_destroy(&catalog);
    buf_release(&changes.bytes);
}

TEST(catalog_keeps_serving_during_a_snapshot_and_sweeps_at_its_end)
{
    struct catalog *catalog = catalog_new();
    struct changes changes = {{0}};
    changes_begin(&changes, 1, false, false);
    changes_stream(&changes, "stays", 1024);
    changes_stream(&changes, "goes", 1025);
    changes_group(&changes, "goes-too", 9, 1024);
    apply(catalog, &changes);
    changes_begin(&changes, 8, true, true);
    changes_stream(&changes, "stays", 1024);
    apply(catalog, &changes);
    ck_assert_ptr_nonnull(find(catalog, "goes"));
    changes_begin(&changes, 8, false, false);
    changes_stream(&changes, "new", 1026);
    apply(catalog, &changes);
    ck_assert_ptr_null(find(catalog, "goes"));
    ck_assert_ptr_nonnull(find(catalog, "stays"));
    ck_assert_ptr_nonnull(find(catalog, "new"));
    ck_assert_uint_eq(catalog_group_count(catalog), 0);
    catalog_destroy(&catalog);
    buf_release(&changes.bytes);
}

TEST(catalog_shows_the_new_stream_when_a_name_is_given_again)
{
    struct catalog *catalog = catalog_new();
    struct changes changes = {{0}};
    changes_begin(&changes, 1, false, false);
    changes_stream(&changes, "a", 1024);
    apply(catalog, &changes);
    changes_begin(&changes, 3, false, false);
    changes_stream(&changes, "a", 1030);
    apply(catalog, &changes);
    ck_assert_uint_eq(find(catalog, "a")->log_group, 1030);
    ck_assert_uint_eq(catalog_stream_count(catalog), 1);
    /* The late news that the old one is gone does not touch the new one. */
    changes_begin(&changes, 4, false, false);
    pb_append_varint(&changes.bytes, 5, 1024);
    apply(catalog, &changes);
    ck_assert_ptr_nonnull(find(catalog, "a"));
    catalog_destroy(&catalog);
    buf_release(&changes.bytes);
}

TEST(catalog_refuses_what_cannot_be_read)
{
    struct catalog *catalog = catalog_new();
    struct changes changes = {{0}};
    changes_begin(&changes, 1, false, false);
    pb_append_bytes(&changes.bytes, 4, span_of("\xff\xff"));
    ck_assert_int_eq(catalog_apply(catalog, buf_span(&changes.bytes)), ERR_PROTOCOL);
    changes_begin(&changes, 1, false, false);
    changes_group(&changes, "g", 5, 4444); /* of a stream that nobody named */
    ck_assert_int_eq(catalog_apply(catalog, buf_span(&changes.bytes)), ERR_PROTOCOL);
    ck_assert_int_eq(catalog_apply(catalog, span_of("\x08")), ERR_PROTOCOL);
    ck_assert_uint_eq(catalog_revision(catalog), 0);
    catalog_destroy(&catalog);
    buf_release(&changes.bytes);
}

TEST(catalog_lists_streams_by_name_from_anywhere)
{
    struct catalog *catalog = catalog_new();
    struct changes changes = {{0}};
    const char *names[] = {"b", "a", "ab", "abc", "c", "aa"};
    const char *sorted[] = {"a", "aa", "ab", "abc", "b", "c"};
    changes_begin(&changes, 1, false, false);
    for (unsigned i = 0; i < 6; i++) {
        changes_stream(&changes, names[i], 1024 + i);
    }
    apply(catalog, &changes);
    struct span after = {0};
    const struct catalog_stream *stream = NULL;
    unsigned count = 0;
    while ((stream = catalog_next_stream(catalog, after, (struct span){0})) != NULL) {
        ck_assert_uint_lt(count, 6);
        ck_assert(span_is(stream->name, sorted[count++]));
        after = stream->name;
    }
    ck_assert_uint_eq(count, 6);
    stream = catalog_next_stream(catalog, span_of("ab"), span_of("a"));
    ck_assert(span_is(stream->name, "abc"));
    ck_assert_ptr_null(catalog_next_stream(catalog, span_of("abc"), span_of("a")));
    stream = catalog_next_stream(catalog, span_of(""), span_of("ab"));
    ck_assert(span_is(stream->name, "ab"));
    catalog_destroy(&catalog);
    buf_release(&changes.bytes);
}

TEST(catalog_lists_groups_by_stream_and_name)
{
    struct catalog *catalog = catalog_new();
    struct changes changes = {{0}};
    changes_begin(&changes, 1, false, false);
    changes_stream(&changes, "s", 1024);
    changes_stream(&changes, "r", 1025);
    changes_group(&changes, "b", 1, 1024);
    changes_group(&changes, "a", 2, 1024);
    changes_group(&changes, "c", 3, 1025);
    apply(catalog, &changes);
    struct span none = {0};
    const struct catalog_group *group = catalog_next_group(catalog, none, none, none, none);
    ck_assert(span_is(group->name, "c"));
    group = catalog_next_group(catalog, group->stream, group->name, none, none);
    ck_assert(span_is(group->name, "a"));
    group = catalog_next_group(catalog, group->stream, group->name, none, none);
    ck_assert(span_is(group->name, "b"));
    ck_assert_ptr_null(catalog_next_group(catalog, group->stream, group->name, none, none));
    group = catalog_next_group(catalog, none, none, span_of("s"), none);
    ck_assert(span_is(group->name, "a"));
    group = catalog_next_group(catalog, none, none, span_of("s"), span_of("b"));
    ck_assert(span_is(group->name, "b"));
    ck_assert_ptr_null(catalog_next_group(catalog, none, none, span_of("r"), span_of("b")));
    catalog_destroy(&catalog);
    buf_release(&changes.bytes);
}

TEST(catalog_holds_ten_thousand_streams_through_a_reset)
{
    struct catalog *catalog = catalog_new();
    struct changes changes = {{0}};
    for (unsigned round = 0; round < 2; round++) {
        changes_begin(&changes, round + 1, true, false);
        for (unsigned i = 0; i < 10000; i++) {
            char name[32];
            (void) snprintf(name, sizeof(name), "stream-%05u", i);
            changes_stream(&changes, name, 1024 + i);
        }
        apply(catalog, &changes);
        ck_assert_uint_eq(catalog_stream_count(catalog), 10000);
    }
    ck_assert_uint_eq(find(catalog, "stream-07777")->log_group, 1024 + 7777);
    catalog_destroy(&catalog);
    buf_release(&changes.bytes);
}

enum { EXCHANGES = 9, EXCHANGES_DELETED = 10 };

static const struct catalog_exchange *exchange(const struct catalog *catalog,
                                               const char *namespace_, const char *name)
{
    return catalog_find_exchange(catalog, span_of(namespace_), span_of(name));
}

TEST(catalog_knows_exchanges_by_namespace_and_name)
{
    struct catalog *catalog = catalog_new();
    struct changes changes = {{0}};
    ck_assert_ptr_null(catalog_next_exchange(catalog, span_of("a"), span_of(""), span_of("")));
    changes_begin(&changes, 1, false, false);
    changes_exchange(&changes, EXCHANGES, "a", "x", "one");
    changes_exchange(&changes, EXCHANGES, "b", "x", "two");
    apply(catalog, &changes);
    ck_assert_uint_eq(catalog_exchange_count(catalog), 2);
    ck_assert(span_is(exchange(catalog, "a", "x")->spec, "one"));
    ck_assert(span_is(exchange(catalog, "b", "x")->spec, "two"));
    ck_assert(span_is(exchange(catalog, "b", "x")->namespace_, "b"));
    ck_assert(span_is(exchange(catalog, "b", "x")->name, "x"));
    ck_assert_uint_eq(exchange(catalog, "a", "x")->version, 4);
    ck_assert_ptr_null(exchange(catalog, "a", "y"));
    changes_begin(&changes, 2, false, false);
    changes_exchange(&changes, EXCHANGES, "a", "x", "changed");
    apply(catalog, &changes);
    ck_assert(span_is(exchange(catalog, "a", "x")->spec, "changed"));
    changes_begin(&changes, 3, false, false);
    changes_exchange(&changes, EXCHANGES_DELETED, "b", "x", NULL);
    changes_exchange(&changes, EXCHANGES_DELETED, "b", "unheard-of", NULL);
    apply(catalog, &changes);
    ck_assert_ptr_null(exchange(catalog, "b", "x"));
    ck_assert_ptr_nonnull(exchange(catalog, "a", "x"));
    changes_begin(&changes, 4, true, true);
    changes_exchange(&changes, EXCHANGES, "c", "new", "");
    apply(catalog, &changes);
    ck_assert_ptr_nonnull(exchange(catalog, "a", "x")); /* until the snapshot is whole */
    changes_begin(&changes, 4, false, false);
    apply(catalog, &changes);
    ck_assert_ptr_null(exchange(catalog, "a", "x"));
    ck_assert_ptr_nonnull(exchange(catalog, "c", "new"));
    changes_begin(&changes, 5, false, false);
    changes_exchange(&changes, EXCHANGES, "c", "", "");
    ck_assert_int_eq(catalog_apply(catalog, buf_span(&changes.bytes)), ERR_PROTOCOL);
    catalog_destroy(&catalog);
    buf_release(&changes.bytes);
}

static void check_exchanges(struct catalog *catalog, const char *prefix, const char *const *names)
{
    struct span after = {0};
    const struct catalog_exchange *found;
    while ((found = catalog_next_exchange(catalog, span_of("n"), after, span_of(prefix))) != NULL) {
        ck_assert_ptr_nonnull(*names);
        ck_assert(span_is(found->name, *names));
        names++;
        after = found->name;
    }
    ck_assert_ptr_null(*names);
}

TEST(catalog_lists_the_exchanges_of_a_namespace_by_name)
{
    struct catalog *catalog = catalog_new();
    struct changes changes = {{0}};
    static const char *const names[] = {"b", "a", "ab", "abc", "aa"};
    changes_begin(&changes, 1, false, false);
    for (size_t i = 0; i < 5; i++) {
        changes_exchange(&changes, EXCHANGES, "n", names[i], "");
        changes_exchange(&changes, EXCHANGES, "m", names[i], ""); /* the namespaces around it */
        changes_exchange(&changes, EXCHANGES, "o", names[i], "");
    }
    apply(catalog, &changes);
    check_exchanges(catalog, "", (const char *const[]){"a", "aa", "ab", "abc", "b", NULL});
    check_exchanges(catalog, "ab", (const char *const[]){"ab", "abc", NULL});
    check_exchanges(catalog, "c", (const char *const[]){NULL});
    changes_begin(&changes, 2, false, false);
    changes_exchange(&changes, EXCHANGES_DELETED, "n", "ab", NULL);
    apply(catalog, &changes);
    check_exchanges(catalog, "", (const char *const[]){"a", "aa", "abc", "b", NULL});
    catalog_destroy(&catalog);
    buf_release(&changes.bytes);
}

static void changes_deleted_stream(struct changes *self, const char *name, uint64_t log_group,
                                   uint64_t deleted_us)
{
    struct buf spec = {0};
    struct buf stream = {0};
    uint8_t id[16] = {(uint8_t) log_group};
    pb_append_varint(&spec, 11, 5); /* delete_grace_ms */
    pb_append_bytes(&stream, 2, span_of(name));
    pb_append_bytes(&stream, 3, span_make(id, sizeof(id)));
    pb_append_varint(&stream, 4, log_group);
    pb_append_bytes(&stream, 6, buf_span(&spec));
    pb_append_fixed64(&stream, 8, deleted_us);
    pb_append_bytes(&self->bytes, 4, buf_span(&stream));
    buf_release(&stream);
    buf_release(&spec);
}

TEST(catalog_hides_a_deleted_stream_and_shows_it_again)
{
    struct catalog *catalog = catalog_new();
    struct changes changes = {{0}};
    changes_begin(&changes, 1, false, false);
    changes_stream(&changes, "a", 1024);
    changes_group(&changes, "g", 5, 1024);
    apply(catalog, &changes);
    ck_assert_ptr_null(catalog_find_deleted(catalog, span_of("a")));
    changes_begin(&changes, 2, false, false);
    changes_deleted_stream(&changes, "a", 1024, 77);
    apply(catalog, &changes);
    ck_assert_ptr_null(find(catalog, "a"));
    ck_assert_uint_eq(catalog_stream_count(catalog), 0);
    ck_assert_uint_eq(catalog_group_count(catalog), 0);
    ck_assert_ptr_null(
        catalog_next_group(catalog, span_of(""), span_of(""), span_of(""), span_of("")));
    const struct catalog_stream *deleted = catalog_find_deleted(catalog, span_of("a"));
    ck_assert_uint_eq(deleted->log_group, 1024);
    ck_assert_uint_eq(catalog_undelete_until_us(deleted), 5077);

    changes_begin(&changes, 3, false, false);
    changes_stream(&changes, "a", 1030); /* the name is given again: the old one stays apart */
    apply(catalog, &changes);
    ck_assert_uint_eq(find(catalog, "a")->log_group, 1030);
    ck_assert_uint_eq(find(catalog, "a")->group_count, 0);
    size_t cursor = 0;
    ck_assert_uint_eq(catalog_next_deleted(catalog, &cursor)->log_group, 1024);
    ck_assert_ptr_null(catalog_next_deleted(catalog, &cursor));
    changes_begin(&changes, 4, false, false);
    pb_append_varint(&changes.bytes, 5, 1030);
    apply(catalog, &changes);
    changes_begin(&changes, 5, false, false);
    changes_stream(&changes, "a", 1024); /* undeleted */
    apply(catalog, &changes);
    ck_assert_uint_eq(find(catalog, "a")->log_group, 1024);
    ck_assert_uint_eq(find(catalog, "a")->group_count, 1);
    ck_assert_uint_eq(catalog_group_count(catalog), 1);
    ck_assert_ptr_null(catalog_find_deleted(catalog, span_of("a")));
    changes_begin(&changes, 6, true, false); /* a snapshot forgets the deleted ones, too */
    changes_deleted_stream(&changes, "b", 1040, 9);
    apply(catalog, &changes);
    ck_assert_ptr_null(find(catalog, "a"));
    ck_assert_ptr_nonnull(catalog_find_deleted(catalog, span_of("b")));
    catalog_destroy(&catalog);
    buf_release(&changes.bytes);
}
