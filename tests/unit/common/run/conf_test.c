/* conf: every type, every source, every kind of mistake with its line and remedy. */
#include "common/run/conf.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/mem.h"

#include "tests/lib/test.h"

struct values {
    char *dir;
    uint64_t port;
    uint64_t memory;
    uint64_t timeout_ms;
    bool verbose;
    char *deep;
    uint64_t huge;
};

#define AT(member) offsetof(struct values, member)
static const struct conf_key keys[] = {
    {"dir", CONF_STRING, AT(dir), "/var/\"lib\"\\x", 1, 20, false, "A folder."},
    {"listen.port", CONF_NUMBER, AT(port), "7470", 1, 65535, false, "A port."},
    {"listen.memory", CONF_SIZE, AT(memory), "8M", 4096, UINT64_C(1) << 40, true, "A size."},
    {"listen.tls.deep", CONF_STRING, AT(deep), "", 0, 10, true, "Something deep."},
    {"timeout", CONF_DURATION, AT(timeout_ms), "5s", 10, 3600000, true, "A time."},
    {"verbose", CONF_BOOL, AT(verbose), "false", 0, 0, true, "Talk."},
    {"huge", CONF_SIZE, AT(huge), "5000000000", 0, UINT64_MAX, false, "Beyond 32 bits."},
};
static const struct conf_table table = {"testd", keys, sizeof(keys) / sizeof(keys[0]),
                                        sizeof(struct values)};

static struct values values;
static struct buf problem;

static int read_text(const char *text)
{
    conf_defaults(&table, &values);
    buf_reset(&problem);
    return conf_read_text(&table, text, &values, &problem);
}

static void done_with(void)
{
    conf_release(&table, &values);
    buf_release(&problem);
}

/* The problem with this text, a line each; the test frees nothing: it ends. */
static const char *problem_of(const char *text)
{
    int rc = read_text(text);
    ck_assert_int_eq(rc, ERR_BAD_CONFIG);
    conf_release(&table, &values);
    return buf_text(&problem);
}

TEST(defaults_are_what_the_table_says)
{
    conf_defaults(&table, &values);
    ck_assert_str_eq(values.dir, "/var/\"lib\"\\x");
    ck_assert_uint_eq(values.port, 7470);
    ck_assert_uint_eq(values.memory, 8 << 20);
    ck_assert_uint_eq(values.timeout_ms, 5000);
    ck_assert(!values.verbose);
    ck_assert_str_eq(values.deep, "");
    done_with();
}

TEST(a_file_sets_every_type_and_leaves_the_rest)
{
    ck_assert_int_eq(
        read_text("# comment\n"
                  "dir = \"/d\"; listen = { port = 1; memory = 65536; tls: { deep = \"x\" } };\n"
                  "timeout = \"250ms\"; verbose = true; huge = 6000000000L;"),
        0);
    ck_assert_str_eq(values.dir, "/d");
    ck_assert_uint_eq(values.port, 1);
    ck_assert_uint_eq(values.memory, 65536);
    ck_assert_str_eq(values.deep, "x");
    ck_assert_uint_eq(values.timeout_ms, 250);
    ck_assert(values.verbose);
    ck_assert_uint_eq(values.huge, UINT64_C(6000000000));
    conf_release(&table, &values);
    ck_assert_int_eq(read_text("listen = { memory = \"64k\" }; timeout = 77;"), 0);
    ck_assert_uint_eq(values.memory, 65536);
    ck_assert_uint_eq(values.timeout_ms, 77);
    ck_assert_uint_eq(values.port, 7470);
    conf_release(&table, &values);
    ck_assert_int_eq(read_text(""), 0);
    done_with();
}

TEST(an_unknown_key_is_an_error_with_its_line_and_a_guess)
{
    ck_assert_str_eq(problem_of("\n\nlisten = { prot = 5; };"),
                     "configuration:3: listen.prot: unknown key; did you mean listen.port?");
    ck_assert_str_eq(
        problem_of("listen = {\n nonsense = { a = 1; };\n};"),
        "configuration:2: listen.nonsense: unknown key; `testd --print-config` lists all keys");
    ck_assert_ptr_nonnull(strstr(problem_of("listen_port = 5;"), "did you mean listen.port?"));
    buf_release(&problem);
}

TEST(all_problems_are_told_at_once)
{
    const char *text = problem_of("verbose = 1;\ntimout = 5;\nlisten = { port = 0; };");
    ck_assert_str_eq(text, "configuration:1: verbose: must be true or false\n"
                           "configuration:2: timout: unknown key; did you mean timeout?\n"
                           "configuration:3: listen.port: 0 is out of limits: 1 to 65535");
    buf_release(&problem);
}

TEST(wrong_types_and_values_out_of_limits_are_errors)
{
    static const struct {
        const char *text;
        const char *says;
    } wrong[] = {
        {"dir = 5;", "must be a text in quotes"},
        {"dir = \"\";", "0 characters are out of limits: 1 to 20"},
        {"dir = \"123456789012345678901\";", "21 characters are out of limits"},
        {"listen = { port = \"7470\"; };", "must be a number"},
        {"listen = { port = 1.5; };", "must be a number"},
        {"listen = { port = -1; };", "must not be negative"},
        {"listen = { port = 65536; };", "out of limits: 1 to 65535"},
        {"listen = { port = [1, 2]; };", "must be a number"},
        {"listen = { port = { }; };", "must be a number"},
        {"listen = { memory = \"8Q\"; };", "must be a size"},
        {"listen = { memory = \"1k\"; };", "1024 is out of limits: 4096 to 1099511627776 bytes"},
        {"timeout = \"5 s\";", "must be a duration"},
        {"timeout = \"2h\";", "7200000 is out of limits: 10 to 3600000 milliseconds"},
        {"timeout = true;", "must be a duration"},
        {"verbose = \"true\";", "must be true or false"},
        {"listen = 5;", "unknown key"},
        {"listen = (1);", "unknown key"},
        {"dir = \"a\"; dir = \"b\";", "configuration:1: duplicate setting"},
        {"dir = ", "syntax error"},
        {"}", "syntax error"},
        {"a b c", "syntax error"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        const char *text = problem_of(wrong[i].text);
        ck_assert_msg(strstr(text, wrong[i].says) != NULL, "'%s' gives '%s'", wrong[i].text, text);
    }
    buf_release(&problem);
}

TEST(no_text_can_name_another_file)
{
    char path[300];
    char text[700];
    (void) snprintf(path, sizeof(path), "%s/other.conf", test_folder());
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    (void) fputs("verbose = true;", file);
    (void) fclose(file);
    static const char *const forms[] = {"@include \"%s\"\n", "dir = \"d\";\n \t@include \"%s\"",
                                        "dir = \"a\n@include \"%s\"\n\";",
                                        "/*\n@include \"%s\"\n*/", "\r\n@include\t\"%s\""};
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        const char *at = strstr(forms[i], "%s");
        (void) snprintf(text, sizeof(text), "%.*s%s%s", (int) (at - forms[i]), forms[i], path,
                        at + 2);
        ck_assert_ptr_nonnull(strstr(problem_of(text), "@include is not supported"));
        ck_assert(!values.verbose);
    }
    ck_assert_int_eq(read_text("dir = \"me@include\";"),
                     0); /* in the middle of a line it is no directive */
    done_with();
}

TEST(nesting_and_length_have_limits)
{
    enum { DEEP = 100000 };
    char *text = mem_new(DEEP + 10);
    memset(text, '(', DEEP);
    memcpy(text, "a=", 2);
    (void) problem_of(text);
    for (unsigned i = 0; i < DEEP; i += 4) {
        memcpy(text + i, "a={\n", 4);
    }
    (void) problem_of(text);
    memset(text, 'a', DEEP); /* a name of 100,000 letters */
    memcpy(text + DEEP, "=1;", 3);
    ck_assert_uint_lt(strlen(problem_of(text)), 500);
    mem_free(text);
    buf_release(&problem);
}

TEST(files_are_read_and_what_is_wrong_with_them_is_told)
{
    char path[300];
    const char *dir = test_folder();
    (void) snprintf(path, sizeof(path), "%s/testd.conf", dir);
    conf_defaults(&table, &values);
    ck_assert_int_eq(conf_read_file(&table, path, &values, &problem), ERR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(buf_text(&problem), "testd.conf: No such file"));
    buf_reset(&problem);
    ck_assert_int_eq(conf_read_file(&table, dir, &values, &problem), ERR_IO);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    (void) fputs("timeout = 99;\nx = 1;", file);
    (void) fclose(file);
    buf_reset(&problem);
    ck_assert_int_eq(conf_read_file(&table, path, &values, &problem), ERR_BAD_CONFIG);
    ck_assert_ptr_nonnull(strstr(buf_text(&problem), "testd.conf:2: x: unknown key"));
    file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite("timeout = 9;\0x = 1;", 1, 19, file), 19);
    (void) fclose(file);
    buf_reset(&problem);
    ck_assert_int_eq(conf_read_file(&table, path, &values, &problem), ERR_BAD_CONFIG);
    ck_assert_ptr_nonnull(strstr(buf_text(&problem), "NUL"));
    file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    (void) fputs("timeout = 99;\n", file);
    (void) fclose(file);
    buf_reset(&problem);
    ck_assert_int_eq(conf_read_file(&table, path, &values, &problem), 0);
    ck_assert_uint_eq(values.timeout_ms, 99);
    ck_assert_int_eq(truncate(path, (2 << 20)), 0);
    ck_assert_int_eq(conf_read_file(&table, path, &values, &problem), ERR_IO);
    done_with();
}

TEST(the_environment_overrides_and_its_mistakes_are_errors)
{
    ck_assert_int_eq(setenv("RAILGUN_TESTD_LISTEN_PORT", "99", 1), 0);
    ck_assert_int_eq(setenv("RAILGUN_TESTD_VERBOSE", "true", 1), 0);
    ck_assert_int_eq(setenv("RAILGUN_TESTD_LISTEN_MEMORY", "16M", 1), 0);
    ck_assert_int_eq(setenv("RAILGUN_TESTDX_FOO", "1", 1), 0); /* somebody else's */
    conf_defaults(&table, &values);
    ck_assert_int_eq(conf_read_environment(&table, &values, &problem), 0);
    ck_assert_uint_eq(values.port, 99);
    ck_assert(values.verbose);
    ck_assert_uint_eq(values.memory, 16 << 20);
    ck_assert_int_eq(setenv("RAILGUN_TESTD_PORT", "99", 1), 0);
    ck_assert_int_eq(setenv("RAILGUN_TESTD_VERBOSE", "yes", 1), 0);
    ck_assert_int_eq(conf_read_environment(&table, &values, &problem), ERR_BAD_CONFIG);
    ck_assert_ptr_nonnull(
        strstr(buf_text(&problem), "environment: RAILGUN_TESTD_PORT: unknown key"));
    ck_assert_ptr_nonnull(
        strstr(buf_text(&problem), "environment: verbose: must be true or false"));
    done_with();
}

TEST(one_assignment_sets_one_key)
{
    conf_defaults(&table, &values);
    ck_assert_int_eq(conf_set(&table, "listen.port=5", &values, &problem), 0);
    ck_assert_uint_eq(values.port, 5);
    ck_assert_int_eq(conf_set(&table, "dir=a=b", &values, &problem), 0);
    ck_assert_str_eq(values.dir, "a=b");
    ck_assert_int_eq(conf_set(&table, "listen.port", &values, &problem), ERR_BAD_CONFIG);
    ck_assert_int_eq(conf_set(&table, "listen.pork=5", &values, &problem), ERR_BAD_CONFIG);
    ck_assert_int_eq(conf_set(&table, "listen.port=", &values, &problem), ERR_BAD_CONFIG);
    ck_assert_ptr_nonnull(strstr(buf_text(&problem), "did you mean listen.port?"));
    done_with();
}

TEST(a_reload_takes_what_may_change_and_names_what_needs_a_restart)
{
    struct values fresh;
    struct buf report = {0};
    ck_assert_int_eq(read_text(""), 0);
    conf_defaults(&table, &fresh);
    ck_assert_uint_eq(conf_reload(&table, &values, &fresh, &report), 0);
    ck_assert_uint_eq(report.size, 0);
    ck_assert_int_eq(conf_set(&table, "listen.port=5", &fresh, &problem), 0);
    ck_assert_int_eq(conf_set(&table, "listen.tls.deep=new", &fresh, &problem), 0);
    ck_assert_int_eq(conf_set(&table, "timeout=1s", &fresh, &problem), 0);
    ck_assert_int_eq(conf_set(&table, "verbose=true", &fresh, &problem), 0);
    ck_assert_uint_eq(conf_reload(&table, &values, &fresh, &report), 3);
    ck_assert_str_eq(buf_text(&report), "listen.port: 7470 -> 5 (needs a restart)\n"
                                        "listen.tls.deep: \"\" -> \"new\"\n"
                                        "timeout: 5000ms -> 1000ms\n"
                                        "verbose: false -> true\n");
    ck_assert_uint_eq(values.port, 7470);
    ck_assert_str_eq(values.deep, "new");
    ck_assert_uint_eq(values.timeout_ms, 1000);
    ck_assert(values.verbose);
    conf_release(&table, &fresh);
    buf_release(&report);
    done_with();
}

TEST(what_is_printed_can_be_read_and_gives_the_defaults)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    ck_assert_ptr_nonnull(out);
    conf_print(&table, out);
    (void) fclose(out);
    struct values defaults;
    conf_defaults(&table, &defaults);
    int rc = read_text(text);
    ck_assert_msg(rc == 0, "%s", buf_text(&problem));
    struct buf report = {0};
    ck_assert_uint_eq(conf_reload(&table, &values, &defaults, &report), 0);
    ck_assert_uint_eq(report.size, 0);
    for (size_t i = 0; i < table.count; i++) {
        ck_assert_ptr_nonnull(strstr(text, keys[i].help));
    }
    /* Every key is really there: each one wrongly typed gives a problem of its own. */
    ck_assert_ptr_nonnull(strstr(text, "listen = {\n"));
    ck_assert_ptr_nonnull(strstr(text, "    tls = {\n"));
    ck_assert_ptr_nonnull(strstr(text, "        deep = \"\";\n"));
    ck_assert_ptr_nonnull(strstr(text, "huge = 5000000000L;\n"));
    conf_release(&table, &defaults);
    mem_free(text); /* open_memstream's */
    done_with();
}
