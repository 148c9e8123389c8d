/* fs: the file system for durable data. Owns nothing: descriptors belong to the callers. Must never hide a
 * failed call and never retry a failed sync. */
#include "common/store/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"

enum { FS_NAME_MAX = 255, FS_FILE_MODE = 0600, FS_DIR_MODE = 0700, FS_READ_STEP = 64 << 10 };

/* --- one wrapper a call: through the table where there is one --- */

int fs_open_file(const struct fs_ops *ops, int dir_fd, const char *name, int flags)
{
    flags |= O_CLOEXEC | O_NOFOLLOW;
    for (;;) {
        int fd = ops != NULL && ops->open != NULL
                     ? ops->open(ops->ud, dir_fd, name, flags, FS_FILE_MODE)
                     : openat(dir_fd, name, flags, FS_FILE_MODE);
        if (fd >= 0) {
            return fd;
        }
        if (errno != EINTR) {
            return err_from_errno(errno);
        }
    }
}

static ssize_t call_pread(const struct fs_ops *ops, int fd, void *data, size_t size,
                          uint64_t position)
{
    return ops != NULL && ops->pread != NULL ? ops->pread(ops->ud, fd, data, size, position)
                                             : pread(fd, data, size, (off_t) position);
}

static ssize_t call_pwritev(const struct fs_ops *ops, int fd, const struct iovec *parts, int count,
                            uint64_t position)
{
    return ops != NULL && ops->pwritev != NULL ? ops->pwritev(ops->ud, fd, parts, count, position)
                                               : pwritev(fd, parts, count, (off_t) position);
}

int fs_datasync(const struct fs_ops *ops, int fd)
{
    int result =
        ops != NULL && ops->fdatasync != NULL ? ops->fdatasync(ops->ud, fd) : fdatasync(fd);
    /* Not even EINTR is retried: after any failure nobody knows which pages were marked clean. */
    return result == 0 ? 0 : err_from_errno(errno);
}

static int fs_sync(const struct fs_ops *ops, int fd)
{
    int result = ops != NULL && ops->fsync != NULL ? ops->fsync(ops->ud, fd) : fsync(fd);
    return result == 0 ? 0 : err_from_errno(errno);
}

int fs_allocate(const struct fs_ops *ops, int fd, uint64_t position, uint64_t size)
{
    for (;;) {
        int result = ops != NULL && ops->fallocate != NULL
                         ? ops->fallocate(ops->ud, fd, position, size)
                         : fallocate(fd, 0, (off_t) position, (off_t) size);
        if (result == 0) {
            return 0;
        }
        if (errno == EOPNOTSUPP || errno == ENOSYS) {
            return ERR_UNSUPPORTED;
        }
        if (errno != EINTR) {
            return err_from_errno(errno);
        }
    }
}

int fs_rename(const struct fs_ops *ops, int dir_fd, const char *from, const char *to)
{
    int result = ops != NULL && ops->renameat != NULL ? ops->renameat(ops->ud, dir_fd, from, to)
                                                      : renameat(dir_fd, from, dir_fd, to);
    return result == 0 ? 0 : err_from_errno(errno);
}

int fs_unlink(const struct fs_ops *ops, int dir_fd, const char *name)
{
    int result = ops != NULL && ops->unlinkat != NULL ? ops->unlinkat(ops->ud, dir_fd, name)
                                                      : unlinkat(dir_fd, name, 0);
    return result == 0 || errno == ENOENT ? 0 : err_from_errno(errno);
}

int fs_sync_dir(const struct fs_ops *ops, int dir_fd)
{
    return fs_sync(ops, dir_fd);
}

/* --- directories --- */

int fs_open_dir(const char *path)
{
    for (;;) {
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0) {
            return fd;
        }
        if (errno != EINTR) {
            return err_from_errno(errno);
        }
    }
}

/* A new directory is an entry in its parent: that is what must be synced. */
static int sync_parent_of(const char *path)
{
    char parent[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        (void) snprintf(parent, sizeof(parent), ".");
    } else {
        size_t size = slash == path ? 1 : (size_t) (slash - path);
        memcpy(parent, path, size);
        parent[size] = '\0';
    }
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    int error = fs_sync(NULL, fd);
    (void) close(fd); /* nothing was written through it */
    return error;
}

static int make_one_dir(const char *path)
{
    if (mkdir(path, FS_DIR_MODE) == 0) {
        return sync_parent_of(path);
    }
    return errno == EEXIST ? 0 : err_from_errno(errno);
}

int fs_make_dirs(const char *path)
{
    char prefix[PATH_MAX];
    size_t size = strlen(path);
    if (size == 0 || size >= sizeof(prefix)) {
        return ERR_TOO_LARGE;
    }
    for (size_t i = 0; i < size; i++) {
        prefix[i] = path[i];
        bool is_end_of_part = (path[i + 1] == '/' || path[i + 1] == '\0') && path[i] != '/';
        if (is_end_of_part) {
            prefix[i + 1] = '\0';
            int error = make_one_dir(prefix);
            if (error != 0) {
                return error;
            }
        }
    }
    struct stat info;
    if (stat(path, &info) != 0) {
        return err_from_errno(errno);
    }
    return S_ISDIR(info.st_mode) ? 0 : ERR_IO;
}

int fs_free_bytes(int dir_fd, uint64_t *ret_bytes)
{
    struct statvfs info;
    if (fstatvfs(dir_fd, &info) != 0) {
        return err_from_errno(errno);
    }
    *ret_bytes = (uint64_t) info.f_bavail * (uint64_t) info.f_frsize;
    return 0;
}

/* --- whole ranges --- */

/* Drop `done` bytes from the front of the parts. */
static void parts_advance(struct iovec **parts, int *count, size_t done)
{
    while (*count > 0 && done >= (*parts)->iov_len) {
        done -= (*parts)->iov_len;
        (*parts)++;
        (*count)--;
    }
    if (done > 0) {
        INVARIANT(*count > 0);
        (*parts)->iov_base = (uint8_t *) (*parts)->iov_base + done;
        (*parts)->iov_len -= done;
    }
}

int fs_pwritev_all(const struct fs_ops *ops, int fd, struct iovec *parts, int count,
                   uint64_t position)
{
    parts_advance(&parts, &count, 0);
    while (count > 0) {
        int some = count < IOV_MAX ? count : IOV_MAX;
        ssize_t written = call_pwritev(ops, fd, parts, some, position);
        if (written < 0) {
            if (errno == EINTR) {
                continue;
            }
            return err_from_errno(errno);
        }
        if (written == 0) {
            return ERR_IO; /* the system promises progress or an error */
        }
        position += (uint64_t) written;
        parts_advance(&parts, &count, (size_t) written);
    }
    return 0;
}

int fs_pread_some(const struct fs_ops *ops, int fd, void *data, size_t size, uint64_t position,
                  size_t *ret_read)
{
    size_t done = 0;
    while (done < size) {
        ssize_t got = call_pread(ops, fd, (uint8_t *) data + done, size - done, position + done);
        if (got < 0) {
            if (errno == EINTR) {
                continue;
            }
            return err_from_errno(errno);
        }
        if (got == 0) {
            break;
        }
        done += (size_t) got;
    }
    *ret_read = done;
    return 0;
}

int fs_pread_all(const struct fs_ops *ops, int fd, void *data, size_t size, uint64_t position)
{
    size_t got = 0;
    int error = fs_pread_some(ops, fd, data, size, position, &got);
    if (error != 0) {
        return error;
    }
    return got == size ? 0 : ERR_INCOMPLETE;
}

/* --- small files --- */

int fs_read_file(int dir_fd, const char *name, size_t size_max, struct buf *out)
{
    int fd = fs_open_file(NULL, dir_fd, name, O_RDONLY);
    if (fd < 0) {
        return fd;
    }
    int error = 0;
    size_t total = 0;
    for (;;) {
        size_t step = size_max - total < FS_READ_STEP ? size_max - total + 1 : FS_READ_STEP;
        uint8_t *at = buf_try_reserve(out, step);
        if (at == NULL) {
            error = ERR_NO_MEMORY;
            break;
        }
        size_t got = 0;
        error = fs_pread_some(NULL, fd, at, step, total, &got);
        if (error != 0 || got == 0) {
            break;
        }
        if (got > size_max - total) {
            error = ERR_TOO_LARGE;
            break;
        }
        buf_advance(out, got);
        total += got;
    }
    (void) close(fd); /* only read */
    if (error != 0) {
        out->size -= total;
    }
    return error;
}

int fs_write_file(const struct fs_ops *ops, int dir_fd, const char *name, struct span content)
{
    char temporary[FS_NAME_MAX + 1];
    int length = snprintf(temporary, sizeof(temporary), "%s.tmp", name);
    if (length < 0 || (size_t) length >= sizeof(temporary)) {
        return ERR_TOO_LARGE;
    }
    int fd = fs_open_file(ops, dir_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC);
    if (fd < 0) {
        return fd;
    }
    uint8_t *writable = NULL; /* iovec has no const; pwritev does not write to it */
    memcpy(&writable, &content.data, sizeof(writable));
    struct iovec part = {writable, content.size};
    int error = fs_pwritev_all(ops, fd, &part, 1, 0);
    if (error == 0) {
        error = fs_sync(ops, fd);
    }
    if (close(fd) != 0 && error == 0) {
        error = err_from_errno(errno);
    }
    if (error == 0) {
        error = fs_rename(ops, dir_fd, temporary, name);
    }
    if (error != 0) {
        (void) fs_unlink(ops, dir_fd, temporary); /* the first error is the one to tell */
        return error;
    }
    return fs_sync_dir(ops, dir_fd);
}
