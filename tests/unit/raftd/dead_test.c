/* The stream that a group's dead letters go to: made along with the group, never in a circle, and the same in every replay. */
#include "raftd/catalog.h"

#include <string.h>

#include "common/base/err.h"
#include "common/wire/catalog.pb-c.h"
#include "common/wire/scan.h"
#include "tests/lib/test.h"
#include "tests/unit/raftd/catalog_lib.h"

/* A group with dead letters, as raftd proposes it (`with_id`), or as a version did that knew nothing of their stream. */
static void command_ensure_dead(struct buf *out, const char *stream, const char *dlq,
                                uint64_t version, bool with_id)
{
    Railgun__CatalogCommand command = RAILGUN__CATALOG_COMMAND__INIT;
    Railgun__CatalogEnsure ensure = RAILGUN__CATALOG_ENSURE__INIT;
    Railgun__Ensure what = RAILGUN__ENSURE__INIT;
    Railgun__GroupSpec spec = RAILGUN__GROUP_SPEC__INIT;
    Railgun__DlqSpec dead = RAILGUN__DLQ_SPEC__INIT;
    uint8_t fresh[16] = {7, 7};
    char group[] = "g";
    char namespace_[] = "default";
    what.has_kind = what.has_version = command.has_now_us = 1;
    what.kind = RAILGUN__KIND__KIND_GROUP;
    memcpy(&what.name, &stream, sizeof stream); /* protobuf-c has no const strings */
    memcpy(&dead.stream, &dlq, sizeof dlq);
    what.group = group;
    what.version = version;
    what.group_spec = &spec;
    spec.dlq = &dead;
    ensure.namespace_ = namespace_;
    ensure.ensure = &what;
    command.ensure = &ensure;
    command.now_us = 5;
    command.has_fresh_id = 1;
    command.fresh_id = (ProtobufCBinaryData){sizeof fresh, fresh};
    command.has_fresh_dlq_id = with_id;
    command.fresh_dlq_id = (ProtobufCBinaryData){sizeof fresh, fresh};
    buf_reset(out);
    scan_pack(out, &command.base);
}

static int do_stream(struct catalog *catalog, const char *name)
{
    struct buf command = {0};
    command_ensure_stream(&command, name, 1, "", (uint8_t) name[0]);
    int error = apply(catalog, &command);
    buf_release(&command);
    return error;
}

static int do_dead(struct catalog *catalog, const char *stream, const char *dlq, uint64_t version,
                   bool with_id)
{
    struct buf command = {0};
    command_ensure_dead(&command, stream, dlq, version, with_id);
    int error = apply(catalog, &command);
    buf_release(&command);
    return error;
}

static struct catalog *begin(void)
{
    struct catalog *catalog = catalog_new(NULL, NULL);
    struct buf command = {0};
    command_bootstrap(&command, 1);
    ck_assert_int_eq(apply(catalog, &command), 0);
    buf_release(&command);
    ck_assert_int_eq(do_stream(catalog, "orders"), 0);
    ck_assert_int_eq(do_stream(catalog, "plain"), 0);
    return catalog;
}

TEST(the_dead_letter_stream_is_made_along_with_the_group)
{
    struct catalog *catalog = begin();
    ck_assert_int_eq(do_dead(catalog, "orders", "dead", 1, true), 0);
    const struct catalog_stream *dead = find_stream(catalog, "dead");
    ck_assert_ptr_nonnull(dead);
    ck_assert_uint_eq(dead->id.bytes[0], 7);
    ck_assert_uint_eq(dead->created_us, 5);
    ck_assert_uint_eq(dead->spec.numbers[SPEC_STREAM_DEDUP_MODE],
                      RAILGUN__DEDUP_SPEC__MODE__DEDUP_OPTIONAL);
    ck_assert_uint_eq(dead->spec.numbers[SPEC_STREAM_DEDUP_WINDOW], UINT64_C(2592000000));
    ck_assert_uint_eq(dead->spec.numbers[SPEC_STREAM_DEDUP_SHRINK], 1);
    ck_assert_ptr_nonnull(find_group(catalog, "orders", "g"));
    size_t streams = catalog_stream_count(catalog);
    ck_assert_int_eq(do_dead(catalog, "plain", "dead", 1, true), 0); /* it is there */
    ck_assert_uint_eq(catalog_stream_count(catalog), streams);
    catalog_destroy(&catalog);
}

TEST(an_update_makes_the_stream_that_it_names)
{
    struct catalog *catalog = begin();
    ck_assert_int_eq(do_dead(catalog, "orders", "", 1, true), 0);
    ck_assert_ptr_null(find_stream(catalog, "dead"));
    ck_assert_int_eq(do_dead(catalog, "orders", "dead", 2, true), 0);
    ck_assert_ptr_nonnull(find_stream(catalog, "dead"));
    catalog_destroy(&catalog);
}

TEST(dead_letters_do_not_go_in_circles_nor_into_streams_without_ids)
{
    struct catalog *catalog = begin();
    uint64_t digest = catalog_digest(catalog);
    ck_assert_int_eq(do_dead(catalog, "orders", "orders", 1, true), ERR_BAD_CONFIG);
    ck_assert_int_eq(do_dead(catalog, "orders", "plain", 1, true), ERR_BAD_CONFIG);
    ck_assert_ptr_null(find_group(catalog, "orders", "g"));
    ck_assert_uint_ne(digest, catalog_digest(catalog)); /* but for the revision nothing changed */
    ck_assert_uint_eq(catalog_stream_count(catalog), 2);
    ck_assert_int_eq(do_dead(catalog, "orders", "dead", 1, true), 0);
    ck_assert_int_eq(do_dead(catalog, "dead", "deader", 1, true), ERR_BAD_CONFIG);
    ck_assert_int_eq(do_dead(catalog, "plain", "orders", 1, true), ERR_BAD_CONFIG);
    ck_assert_ptr_null(find_stream(catalog, "deader"));
    catalog_destroy(&catalog);
}

/* What raftd would answer to a CHECK. */
static int check_dead(const struct catalog *catalog, const char *stream, const char *dlq)
{
    struct buf packed = {0};
    Railgun__CatalogCommand *command = NULL;
    struct ensure_request request;
    struct ensure_decision decision;
    struct buf problem = {0};
    command_ensure_dead(&packed, stream, dlq, 1, true);
    ck_assert_int_eq(SCAN_UNPACK(buf_span(&packed), railgun__catalog_command, &command), 0);
    ck_assert_int_eq(ensure_read("default", command->ensure->ensure, &request, &problem), 0);
    request.mode = ENSURE_MODE_CHECK;
    catalog_decide(catalog, &request, &decision);
    catalog_dead_decide(catalog, &request, &decision);
    int error = decision.error;
    ensure_decision_release(&decision);
    ensure_request_release(&request);
    SCAN_FREE(&command);
    buf_release(&packed);
    buf_release(&problem);
    return error;
}

TEST(a_check_says_when_a_group_could_not_be_made_for_its_dead_letters)
{
    struct catalog *catalog = begin();
    ck_assert_int_eq(check_dead(catalog, "orders", "orders"), ERR_BAD_CONFIG);
    ck_assert_int_eq(check_dead(catalog, "orders", "plain"), ERR_BAD_CONFIG);
    ck_assert_int_eq(check_dead(catalog, "fresh", "plain"), ERR_BAD_CONFIG);
    ck_assert_int_eq(check_dead(catalog, "orders", "dead"), ERR_NOT_FOUND);
    ck_assert_int_eq(check_dead(catalog, "fresh", "dead"), ERR_NOT_FOUND);
    ck_assert_int_eq(check_dead(catalog, "orders", ""), ERR_NOT_FOUND);
    catalog_destroy(&catalog);
}

TEST(a_command_of_a_version_without_dead_letters_is_replayed_as_it_was)
{
    struct catalog *catalog = begin();
    ck_assert_int_eq(do_dead(catalog, "orders", "plain", 1, false), 0);
    ck_assert_ptr_nonnull(find_group(catalog, "orders", "g"));
    ck_assert_int_eq(do_dead(catalog, "plain", "nowhere", 1, false), 0);
    ck_assert_ptr_null(find_stream(catalog, "nowhere"));
    catalog_destroy(&catalog);
}
