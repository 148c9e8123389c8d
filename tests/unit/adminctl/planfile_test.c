/* planfile: what a file may say, and what is refused with its line. */
#include "tests/lib/test.h"

#include "adminctl/planfile.h"
#include "common/base/err.h"

TEST(a_plan_file_gives_streams_before_their_groups_and_exchanges)
{
    struct planfile file;
    struct buf problem = {0};
    ck_assert_int_eq(
        planfile_parse("streams = ( { name = \"a\"; version = 7; max_age = \"1h\";\n"
                       "  dedup = { mode = \"required\"; }; dedup.forever = true;\n"
                       "  groups = ( { name = \"g\"; backoff = [ \"1s\", \"2s\" ]; } ); },\n"
                       "  { name = \"b\"; max_records = 5000000000L; } );\n"
                       "exchanges = ( { name = \"x\"; max_topics = 3; } );\n",
                       &file, &problem),
        ERR_BAD_FORMAT); /* a key has no dots: groups have members */
    buf_reset(&problem);
    ck_assert_int_eq(
        planfile_parse("streams = ( { name = \"a\"; version = 7; max_age = \"1h\";\n"
                       "  dedup = { mode = \"required\"; forever = true; };\n"
                       "  groups = ( { name = \"g\"; backoff = [ \"1s\", \"2s\" ]; } ); },\n"
                       "  { name = \"b\"; max_records = 5000000000L; } );\n"
                       "exchanges = ( { name = \"x\"; max_topics = 3; } );\n",
                       &file, &problem),
        0);
    ck_assert_uint_eq(file.count, 4);
    const Railgun__StreamSpec *a = (const Railgun__StreamSpec *) file.objects[0].spec;
    const Railgun__GroupSpec *g = (const Railgun__GroupSpec *) file.objects[1].spec;
    const Railgun__StreamSpec *b = (const Railgun__StreamSpec *) file.objects[2].spec;
    ck_assert_uint_eq(file.objects[0].version, 7);
    ck_assert_uint_eq(a->max_age_ms, 3600000);
    ck_assert(a->dedup->forever);
    ck_assert_str_eq(file.objects[1].name, "a");
    ck_assert_str_eq(file.objects[1].group, "g");
    ck_assert_uint_eq(file.objects[1].version, 1);
    ck_assert_uint_eq(g->n_backoff_ms, 2);
    ck_assert_uint_eq(b->max_records, UINT64_C(5000000000));
    ck_assert_int_eq(file.objects[3].kind, RAILGUN__KIND__KIND_EXCHANGE);
    planfile_release(&file);
    buf_release(&problem);
}

static void check_refused(const char *text, const char *reason)
{
    struct planfile file;
    struct buf problem = {0};
    ck_assert_int_eq(planfile_parse(text, &file, &problem), ERR_BAD_FORMAT);
    ck_assert_str_eq(buf_text(&problem), reason);
    buf_release(&problem);
}

TEST(a_slip_of_the_pen_in_a_plan_file_is_refused_with_its_line)
{
    check_refused("stream = ();", "line 1: only streams and exchanges stand here");
    check_refused("streams = 3;", "line 1: a list is needed: ( { name = ...; }, ... )");
    check_refused("streams = ( 3 );",
                  "line 1: a stream, group or exchange is written { name = ...; }");
    check_refused("streams = (\n{ version = 1; } );", "line 2: name: missing");
    check_refused("streams = ( { name = \"a\"; version = 0; } );",
                  "line 1: version: a number from 1");
    check_refused("streams = (\n{ name = \"a\";\n maxage = 1; } );",
                  "line 3: maxage: no such field");
    check_refused("streams = ( { name = \"a\"; dedup = { mode = \"on\"; }; } );",
                  "line 1: dedup.mode: 'on' is none of off, optional, required");
    check_refused("exchanges = ( { name = \"a\"; groups = (); } );",
                  "line 1: groups: only streams have them");
    check_refused("streams = ( { name = \"a\"; dedup = { mode = { a = 1; }; }; } );",
                  "line 1: dedup.mode: not a text, a number or a list of them");
    check_refused("  @include \"/etc/passwd\"\n", "@include is not supported");
    check_refused("streams = (", "line 1: syntax error");
    check_refused("streams = ( { name = \"a\"; }, { name = \"b\"; }, { name = \"a\"; } );",
                  "a is there twice");
    check_refused(
        "streams = ( { name = \"a\"; groups = ( { name = \"g\"; }, { name = \"g\"; } ); } );",
        "a/g is there twice");
}

TEST(an_empty_plan_file_is_no_error)
{
    struct planfile file;
    struct buf problem = {0};
    ck_assert_int_eq(planfile_parse("", &file, &problem), 0);
    ck_assert_uint_eq(file.count, 0);
    planfile_release(&file);
    buf_release(&problem);
}
