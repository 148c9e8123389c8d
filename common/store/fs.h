/* fs: the only way to the file system for durable data: every call checks, retries EINTR and short counts, and turns
 * errno into ERR_x on its own line. Tests replace it by a table that fails the n-th call (struct fs_ops). */
#ifndef COMMON_STORE_FS_H
#define COMMON_STORE_FS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/base/buf.h"
#include "common/base/payload.h"
#include "common/base/span.h"

/* The seam for fault injection. NULL `ops` anywhere below, or a NULL member, means the system's call. Return values and errno as the
 * system calls of the same names. @thread any */
struct fs_ops {
    int (*open)(void *ud, int dir_fd, const char *name, int flags, unsigned mode);
    ssize_t (*pread)(void *ud, int fd, void *data, size_t size, uint64_t position);
    ssize_t (*pwritev)(void *ud, int fd, const struct iovec *parts, int count, uint64_t position);
    int (*fdatasync)(void *ud, int fd);
    int (*fsync)(void *ud, int fd);
    int (*fallocate)(void *ud, int fd, uint64_t position, uint64_t size);
    int (*renameat)(void *ud, int dir_fd, const char *from, const char *to);
    int (*unlinkat)(void *ud, int dir_fd, const char *name);
    void *ud;
};

/* Create a directory (0700) and its missing parents, each made durable in its parent. 0 when it exists. */
int fs_make_dirs(const char *path);

/* Open a directory for the *at calls; symbolic links are not followed. Returns fd >= 0 or ERR. */
int fs_open_dir(const char *path);

/* Make creations, renames and removals in this directory durable. */
int fs_sync_dir(const struct fs_ops *ops, int dir_fd);

/* All bytes or an error. fs_pwritev_all advances through `parts` (it changes them). */
int fs_pwritev_all(const struct fs_ops *ops, int fd, struct iovec *parts, int count,
                   uint64_t position);
/* Exactly `size` bytes, or ERR_INCOMPLETE at the end of the file, or ERR_IO. */
int fs_pread_all(const struct fs_ops *ops, int fd, void *data, size_t size, uint64_t position);
int fs_datasync(const struct fs_ops *ops, int fd);
/* Up to `size` bytes; fewer only at the end of the file. */
int fs_pread_some(const struct fs_ops *ops, int fd, void *data, size_t size, uint64_t position,
                  size_t *ret_read);

/* openat with O_CLOEXEC and O_NOFOLLOW, created 0600. Returns fd >= 0 or ERR. */
int fs_open_file(const struct fs_ops *ops, int dir_fd, const char *name, int flags);
/* Reserve blocks and set the size: ERR_STORAGE_FULL when there is no room, ERR_UNSUPPORTED where the file system cannot. */
int fs_allocate(const struct fs_ops *ops, int fd, uint64_t position, uint64_t size);
/* Durable only after fs_sync_dir. Removing what is not there is success. */
int fs_rename(const struct fs_ops *ops, int dir_fd, const char *from, const char *to);
int fs_unlink(const struct fs_ops *ops, int dir_fd, const char *name);

/* A small file as a whole: read (at most size_max, else ERR_TOO_LARGE; ERR_NOT_FOUND), and written durably: temporary
 * name, synced, renamed, directory synced. Files are 0600. */
int fs_read_file(int dir_fd, const char *name, size_t size_max, struct buf *out);
int fs_write_file(const struct fs_ops *ops, int dir_fd, const char *name, struct span content);

/* Free bytes for us on the file system of this directory. */
int fs_free_bytes(int dir_fd, uint64_t *ret_bytes);

#endif
