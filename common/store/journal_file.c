/* journal_file: the journal's files as things with names, sizes and lives. Owns no state: the callers hold the
 * descriptors. Must never give a file its final name before its header is on the disk. */
#include "common/store/journal_private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/rand.h"
#include "common/base/str.h"

enum { SEQ_DIGITS = 10, FILL_STEP_BYTES = 1 << 20 };

void journal_file_name(uint64_t seq, char name[JOURNAL_NAME_BYTES])
{
    (void) snprintf(name, JOURNAL_NAME_BYTES, "%010" PRIu32 ".jnl", (uint32_t) seq);
}

void journal_index_name(uint64_t seq, char name[JOURNAL_NAME_BYTES])
{
    (void) snprintf(name, JOURNAL_NAME_BYTES, "%010" PRIu32 ".idx", (uint32_t) seq);
}

void journal_spare_name(unsigned slot, char name[JOURNAL_NAME_BYTES])
{
    (void) snprintf(name, JOURNAL_NAME_BYTES, "spare-%u", slot);
}

bool journal_name_seq(const char *name, const char *suffix, uint64_t *ret_seq)
{
    if (strlen(name) != SEQ_DIGITS + strlen(suffix) || strcmp(name + SEQ_DIGITS, suffix) != 0) {
        return false;
    }
    uint64_t seq = 0;
    if (str_to_u64(span_make(name, SEQ_DIGITS), &seq) != 0 || seq == 0 || seq > UINT32_MAX) {
        return false;
    }
    *ret_seq = seq;
    return true;
}

int journal_list_open(int dir_fd, DIR **ret_list)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd >= 0 ? fdopendir(fd) : NULL;
    if (list == NULL) {
        int error = err_from_errno(errno);
        if (fd >= 0) {
            (void) close(fd); /* only read */
        }
        return error;
    }
    *ret_list = list;
    return 0;
}

int journal_file_fill(const struct fs_ops *ops, int fd, uint64_t from, uint64_t bytes)
{
    static const uint8_t zeros[64 << 10];
    struct iovec parts[FILL_STEP_BYTES / sizeof(zeros)];
    while (bytes > 0) {
        uint64_t step = bytes < FILL_STEP_BYTES ? bytes : FILL_STEP_BYTES;
        int count = 0;
        for (uint64_t done = 0; done < step; count++) {
            uint64_t some = step - done < sizeof(zeros) ? step - done : sizeof(zeros);
            const uint8_t *data = zeros; /* iovec has no const; pwritev does not write to it */
            memcpy(&parts[count].iov_base, &data, sizeof(data));
            parts[count].iov_len = some;
            done += some;
        }
        int error = fs_pwritev_all(ops, fd, parts, count, from);
        if (error != 0) {
            return error;
        }
        from += step;
        bytes -= step;
    }
    return fs_datasync(ops, fd);
}

int journal_file_allocate(const struct fs_ops *ops, int dir_fd, const char *name, uint64_t bytes)
{
    int fd = fs_open_file(ops, dir_fd, name, O_RDWR | O_CREAT | O_TRUNC);
    if (fd < 0) {
        return fd;
    }
    int error = fs_allocate(ops, fd, 0, bytes);
    if (error == ERR_UNSUPPORTED) {
        error = journal_file_fill(ops, fd, 0, bytes); /* the slow way to hold the room */
    }
    if (error != 0) {
        (void) close(fd);                    /* the file goes anyway */
        (void) fs_unlink(ops, dir_fd, name); /* a remain is removed at the next start */
        return error;
    }
    return fd;
}

int journal_file_adopt(const struct fs_ops *ops, int dir_fd, const char *name, int fd,
                       struct journal_file_header *header)
{
    char final[JOURNAL_NAME_BYTES];
    uint8_t block[JOURNAL_FILE_HEADER_BYTES];

    header->salt = entropy_u64();
    journal_file_header_put(header, block);
    struct iovec part = {block, sizeof(block)};
    int error = fs_pwritev_all(ops, fd, &part, 1, 0);
    if (error == 0) {
        error = fs_datasync(ops, fd);
    }
    journal_file_name(header->seq, final);
    if (error == 0) {
        error = fs_rename(ops, dir_fd, name, final);
    }
    if (error == 0) {
        error = fs_sync_dir(ops, dir_fd);
    }
    return error;
}
