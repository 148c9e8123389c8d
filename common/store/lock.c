/* lock: one owner for a data directory, by flock: the kernel drops it when the process ends, however it ends. */
#include "common/store/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/str.h"
#include "common/store/fs.h"

/* The pid that the owner wrote; 0 when there is none that makes sense. */
static int lock_owner(int fd)
{
    char text[16];
    ssize_t size = pread(fd, text, sizeof(text), 0);
    if (size <= 0) {
        return 0;
    }
    if (text[size - 1] == '\n') {
        size--;
    }
    uint64_t pid = 0;
    if (str_to_u64(span_make(text, (size_t) size), &pid) != 0 || pid > INT32_MAX) {
        return 0;
    }
    return (int) pid;
}

int dirlock_take(const char *dir, int *ret_pid)
{
    int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0) {
        return err_from_errno(errno);
    }
    int fd = fs_open_file(NULL, dir_fd, "lock", O_RDWR | O_CREAT);
    (void) close(dir_fd); /* only looked up */
    if (fd < 0) {
        return fd;
    }
    int result;
    do {
        result = flock(fd, LOCK_EX | LOCK_NB);
    } while (result != 0 && errno == EINTR);
    if (result != 0) {
        int error = errno == EWOULDBLOCK ? ERR_LOCKED : err_from_errno(errno);
        if (error == ERR_LOCKED) {
            *ret_pid = lock_owner(fd);
        }
        (void) close(fd); /* nothing written */
        return error;
    }
    char text[16];
    int size = snprintf(text, sizeof(text), "%d\n", (int) getpid());
    /* The pid is for people only: without it the lock still holds. */
    if (ftruncate(fd, 0) == 0) {
        (void) !pwrite(fd, text, (size_t) size, 0);
    }
    return fd;
}
