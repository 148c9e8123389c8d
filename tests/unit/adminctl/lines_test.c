/* Tests of adminctl/lines. */
#include "adminctl/lines.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/err.h"

#include "tests/lib/test.h"

static void give(int fd, const char *text)
{
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t) strlen(text));
}

static void expect(struct lines *lines, const char *text)
{
    struct span line;
    ck_assert_int_eq(lines_next(lines, &line), 1);
    ck_assert_msg(span_is(line, text), "expected '%s', got '%.*s'", text, (int) line.size,
                  (const char *) line.data);
}

static void expect_end(struct lines *lines)
{
    struct span line;
    ck_assert_int_eq(lines_next(lines, &line), 0);
    ck_assert_int_eq(lines_next(lines, &line), 0);
}

TEST(a_line_is_there_before_the_next_one_is_written)
{
    int ends[2];
    struct lines lines;
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    lines_init(&lines, ends[0]);
    give(ends[1], "one\n");
    expect(&lines, "one");
    give(ends[1], "two\nthr");
    expect(&lines, "two");
    give(ends[1], "ee\n");
    expect(&lines, "three");
    (void) close(ends[1]);
    expect_end(&lines);
    lines_release(&lines);
    (void) close(ends[0]);
}

TEST(the_last_line_needs_no_newline_and_empty_lines_count)
{
    int ends[2];
    struct lines lines;
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    lines_init(&lines, ends[0]);
    give(ends[1], "\n\nlast");
    (void) close(ends[1]);
    expect(&lines, "");
    expect(&lines, "");
    expect(&lines, "last");
    expect_end(&lines);
    lines_release(&lines);
    (void) close(ends[0]);
}

TEST(nothing_has_no_lines)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct lines lines;
    lines_init(&lines, fd);
    expect_end(&lines);
    lines_release(&lines);
    (void) close(fd);
}

TEST(lines_longer_than_a_block_come_whole)
{
    enum { LINES = 40, STEP = 7919 };
    char path[300];
    (void) snprintf(path, sizeof(path), "%s/lines", test_folder());
    FILE *file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    for (int i = 0; i < LINES; i++) {
        for (int j = 0; j < i * STEP; j++) {
            (void) fputc('a' + (i + j) % 26, file);
        }
        (void) fputc('\n', file);
    }
    ck_assert_int_eq(fclose(file), 0);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct lines lines;
    struct span line;
    lines_init(&lines, fd);
    for (size_t i = 0; i < LINES; i++) {
        ck_assert_int_eq(lines_next(&lines, &line), 1);
        ck_assert_uint_eq(line.size, i * STEP);
        for (size_t j = 0; j < line.size; j++) {
            TEST_ASSERT_FAST(line.data[j] == 'a' + (i + j) % 26);
        }
    }
    expect_end(&lines);
    lines_release(&lines);
    (void) close(fd);
}

TEST(a_line_without_end_is_refused)
{
    int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    struct lines lines;
    struct span line;
    lines_init(&lines, fd);
    ck_assert_int_eq(lines_next(&lines, &line), ERR_TOO_LARGE);
    lines_release(&lines);
    (void) close(fd);
}

TEST(what_cannot_be_read_is_an_error_and_no_end)
{
    int fd = open(test_folder(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct lines lines;
    struct span line;
    lines_init(&lines, fd);
    ck_assert_int_eq(lines_next(&lines, &line), ERR_IO);
    lines_release(&lines);
    (void) close(fd);
}

static bool always(void)
{
    return true;
}

TEST(who_is_to_stop_waits_no_longer_and_gets_no_half_line)
{
    int ends[2];
    struct lines lines;
    ck_assert_int_eq(pipe(ends), 0);
    lines_init(&lines, ends[0]);
    lines.is_stopped = always;
    give(ends[1], "one\nha");
    expect(&lines, "one");
    expect_end(&lines); /* although the other end is open */
    lines_release(&lines);
    (void) close(ends[0]);
    (void) close(ends[1]);
}
