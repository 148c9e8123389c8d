/* log: a line is a line, whatever is put into it. */
#include "common/run/log.h"

#include <string.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/mem.h"

#include "tests/lib/test.h"

static int saved_stderr;
static int pipes[2];

static void capture_start(void)
{
    saved_stderr = dup(STDERR_FILENO);
    ck_assert_int_eq(pipe(pipes), 0);
    ck_assert_int_eq(dup2(pipes[1], STDERR_FILENO), STDERR_FILENO);
    (void) close(pipes[1]);
}

/* What was written to standard error meanwhile (less than a pipe holds). */
static const char *capture_end(void)
{
    static char text[60000];
    size_t used = 0;
    ssize_t got;
    ck_assert_int_eq(dup2(saved_stderr, STDERR_FILENO), STDERR_FILENO);
    (void) close(saved_stderr);
    while ((got = read(pipes[0], text + used, sizeof(text) - 1 - used)) > 0) {
        used += (size_t) got;
    }
    text[used] = '\0';
    (void) close(pipes[0]);
    return text;
}

TEST(a_line_has_time_level_daemon_event_and_what_varies)
{
    log_setup("logd-0", LOG_LEVEL_INFO);
    capture_start();
    log_info("journal is open", "files=%d size=%zu", 3, (size_t) 4096);
    const char *text = capture_end();
    ck_assert_uint_eq(strspn(text + 5, "0123456789-T:.Z"), 24);
    ck_assert_int_eq(strncmp(text, "time=20", 7), 0);
    ck_assert_str_eq(text + 29,
                     " level=info daemon=logd-0 event=\"journal is open\" files=3 size=4096\n");
}

TEST(levels_below_the_lowest_are_not_shown)
{
    log_setup("d", LOG_LEVEL_WARN);
    capture_start();
    log_debug("a", "x=%d", 1);
    log_info("b", "x=%d", 1);
    log_warn("c", "x=%d", 1);
    log_error("d", "x=%d", 1);
    const char *text = capture_end();
    ck_assert_ptr_null(strstr(text, "event=\"a\""));
    ck_assert_ptr_null(strstr(text, "event=\"b\""));
    ck_assert_ptr_nonnull(strstr(text, "level=warn daemon=d event=\"c\" x=1\n"));
    ck_assert_ptr_nonnull(strstr(text, "level=error daemon=d event=\"d\" x=1\n"));
}

TEST(nothing_printed_can_begin_a_new_line_or_steer_a_terminal)
{
    log_setup("d\n2", LOG_LEVEL_INFO);
    capture_start();
    log_info("e", "text=\"%s\"", "one\ntime=2026 level=error\x1b[31m\r\x7f");
    const char *text = capture_end();
    ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
    ck_assert_ptr_null(strchr(text, '\x1b'));
    ck_assert_ptr_null(strchr(text, '\r'));
    ck_assert_ptr_null(strchr(text, '\x7f'));
    ck_assert_ptr_nonnull(strstr(text, "daemon=d\\x0a2 "));
}

TEST(a_long_line_is_cut_with_dots_and_still_ends)
{
    char *large = mem_new(20001);
    memset(large, 'x', 20000);
    large[20000] = '\0';
    log_setup("d", LOG_LEVEL_INFO);
    capture_start();
    log_info("e", "text=%s", large);
    log_info(large, "x=%d", 1);
    log_info("after", "%s", "");
    const char *text = capture_end();
    const char *first = strchr(text, '\n');
    ck_assert_ptr_nonnull(first);
    ck_assert_int_le(first - text, 4096);
    ck_assert_int_eq(strncmp(first - 4, "x...", 4), 0);
    const char *second = strchr(first + 1, '\n');
    ck_assert_ptr_nonnull(second);
    ck_assert_int_le(second - first, 4097);
    ck_assert_str_eq(second + 30, " level=info daemon=d event=\"after\"\n");
    mem_free(large);
}

TEST(level_names_are_read)
{
    enum log_level level = LOG_LEVEL_DEBUG;
    ck_assert_int_eq(log_level_parse("warn", &level), 0);
    ck_assert_int_eq(level, LOG_LEVEL_WARN);
    ck_assert_int_eq(log_level_parse("Warn", &level), ERR_BAD_FORMAT);
    ck_assert_int_eq(log_level_parse("", &level), ERR_BAD_FORMAT);
    ck_assert_int_eq(level, LOG_LEVEL_WARN);
}

TEST(a_limit_lets_some_through_each_second_and_counts_the_rest)
{
    struct log_limit limit = {0};
    uint64_t suppressed = 99;
    unsigned passed = 0;
    for (unsigned i = 0; i < 100; i++) {
        passed += log_limit_pass(&limit, 5000 + i, 10, &suppressed) ? 1 : 0;
    }
    ck_assert_uint_eq(passed, 10);
    ck_assert_uint_eq(suppressed, 0);
    ck_assert(log_limit_pass(&limit, 6000, 10, &suppressed));
    ck_assert_uint_eq(suppressed, 90);
    ck_assert(log_limit_pass(&limit, 6000, 10, &suppressed));
    ck_assert_uint_eq(suppressed, 0);
}
