/* fs: whole reads and writes, durable small files, directories. */
#include "common/store/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "tests/lib/test.h"

static char path[512];

static const char *below(const char *folder, const char *name)
{
    (void) snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

TEST(directories_are_made_with_their_parents)
{
    const char *folder = test_folder();
    ck_assert_int_eq(fs_make_dirs(below(folder, "a/b/c")), 0);
    ck_assert_int_eq(fs_make_dirs(below(folder, "a/b/c")), 0);
    ck_assert_int_eq(fs_make_dirs(below(folder, "a/b//d/")), 0);
    struct stat info;
    ck_assert_int_eq(stat(below(folder, "a/b/c"), &info), 0);
    ck_assert_int_eq(info.st_mode & 0777, 0700);
    ck_assert_int_eq(fs_make_dirs(""), ERR_TOO_LARGE);
}

TEST(a_file_in_the_way_of_a_directory_is_an_error)
{
    const char *folder = test_folder();
    int fd = open(below(folder, "a"), O_CREAT | O_WRONLY, 0600);
    (void) close(fd);
    ck_assert_int_ne(fs_make_dirs(below(folder, "a")), 0);
    ck_assert_int_ne(fs_make_dirs(below(folder, "a/b")), 0);
}

TEST(a_symbolic_link_is_not_opened_as_a_directory)
{
    const char *folder = test_folder();
    ck_assert_int_eq(symlink("/tmp", below(folder, "link")), 0);
    ck_assert_int_lt(fs_open_dir(path), 0);
    ck_assert_int_eq(fs_open_dir(below(folder, "nothing")), ERR_NOT_FOUND);
}

TEST(a_small_file_is_written_and_read_as_a_whole)
{
    const char *folder = test_folder();
    int dir = fs_open_dir(folder);
    struct buf out = {0};
    ck_assert_int_eq(fs_read_file(dir, "f", 100, &out), ERR_NOT_FOUND);
    ck_assert_int_eq(fs_write_file(NULL, dir, "f", span_of("hello")), 0);
    ck_assert_int_eq(fs_write_file(NULL, dir, "f", span_of("hello again")), 0);
    ck_assert_int_eq(fs_read_file(dir, "f", 11, &out), 0);
    ck_assert(span_is(buf_span(&out), "hello again"));
    buf_reset(&out);
    ck_assert_int_eq(fs_read_file(dir, "f", 10, &out), ERR_TOO_LARGE);
    ck_assert_uint_eq(out.size, 0);
    struct stat info;
    ck_assert_int_eq(fstatat(dir, "f", &info, 0), 0);
    ck_assert_int_eq(info.st_mode & 0777, 0600);
    ck_assert_int_ne(fstatat(dir, "f.tmp", &info, 0), 0);
    ck_assert_int_eq(fs_write_file(NULL, dir, "empty", span_of("")), 0);
    ck_assert_int_eq(fs_read_file(dir, "empty", 0, &out), 0);
    ck_assert_uint_eq(out.size, 0);
    buf_release(&out);
    (void) close(dir);
}

TEST(files_larger_than_one_step_are_read_whole)
{
    int dir = fs_open_dir(test_folder());
    size_t size = 300001;
    uint8_t *data = mem_new(size);
    for (size_t i = 0; i < size; i++) {
        data[i] = (uint8_t) (i * 7 + i / 251);
    }
    struct buf out = {0};
    ck_assert_int_eq(fs_write_file(NULL, dir, "f", span_make(data, size)), 0);
    ck_assert_int_eq(fs_read_file(dir, "f", size, &out), 0);
    ck_assert(span_equal(buf_span(&out), span_make(data, size)));
    buf_release(&out);
    mem_free(data);
    (void) close(dir);
}

/* A disk that takes and gives few bytes at a time, interrupted in between. */
struct slow {
    unsigned calls;
};

static ssize_t slow_pwritev(void *ud, int fd, const struct iovec *parts, int count,
                            uint64_t position)
{
    struct slow *self = ud;
    ck_assert_int_le(count, IOV_MAX);
    if (self->calls++ % 3 == 2) {
        errno = EINTR;
        return -1;
    }
    size_t size = parts->iov_len < 5 ? parts->iov_len : 5;
    return pwrite(fd, parts->iov_base, size, (off_t) position);
}

static ssize_t slow_pread(void *ud, int fd, void *data, size_t size, uint64_t position)
{
    struct slow *self = ud;
    if (self->calls++ % 3 == 2) {
        errno = EINTR;
        return -1;
    }
    return pread(fd, data, size < 7 ? size : 7, (off_t) position);
}

TEST(short_counts_and_interruptions_are_completed)
{
    int dir = fs_open_dir(test_folder());
    struct slow slow = {0};
    struct fs_ops ops = {.pwritev = slow_pwritev, .pread = slow_pread, .ud = &slow};
    int fd = fs_open_file(&ops, dir, "f", O_RDWR | O_CREAT);
    char text[3000];
    struct iovec parts[1500];
    for (size_t i = 0; i < 1500; i++) {
        text[i * 2] = (char) ('a' + i % 26);
        text[i * 2 + 1] = (char) ('A' + i % 26);
        parts[i] = (struct iovec){text + i * 2, i % 100 == 7 ? 0 : 2};
    }
    size_t expected = (size_t) 2 * (1500 - 15);
    ck_assert_int_eq(fs_pwritev_all(&ops, fd, parts, 1500, 3), 0);
    char back[3003];
    size_t got = 0;
    ck_assert_int_eq(fs_pread_some(&ops, fd, back, sizeof(back), 0, &got), 0);
    ck_assert_uint_eq(got, expected + 3);
    ck_assert_int_eq(memcmp(back + 3, text, 14), 0);
    ck_assert_int_eq(memcmp(back + 3 + 14, text + 16, 180), 0);
    ck_assert_int_eq(fs_pread_all(&ops, fd, back, expected + 4, 0), ERR_INCOMPLETE);
    (void) close(fd);
    (void) close(dir);
}

static int failing_sync(void *ud, int fd)
{
    (void) fd;
    ++*(int *) ud;
    errno = EINTR;
    return -1;
}

TEST(a_failed_sync_is_never_tried_again)
{
    int dir = fs_open_dir(test_folder());
    int calls = 0;
    struct fs_ops ops = {.fdatasync = failing_sync, .fsync = failing_sync, .ud = &calls};
    int fd = fs_open_file(&ops, dir, "f", O_RDWR | O_CREAT);
    ck_assert_int_ne(fs_datasync(&ops, fd), 0);
    ck_assert_int_eq(calls, 1);
    ck_assert_int_ne(fs_write_file(&ops, dir, "g", span_of("x")), 0);
    struct stat info;
    ck_assert_int_ne(fstatat(dir, "g", &info, 0), 0);
    ck_assert_int_ne(fstatat(dir, "g.tmp", &info, 0), 0);
    (void) close(fd);
    (void) close(dir);
}

TEST(removing_what_is_not_there_is_success)
{
    int dir = fs_open_dir(test_folder());
    ck_assert_int_eq(fs_unlink(NULL, dir, "nothing"), 0);
    ck_assert_int_eq(fs_rename(NULL, dir, "nothing", "more"), ERR_NOT_FOUND);
    uint64_t bytes = 0;
    ck_assert_int_eq(fs_free_bytes(dir, &bytes), 0);
    ck_assert_uint_gt(bytes, 0);
    (void) close(dir);
}
