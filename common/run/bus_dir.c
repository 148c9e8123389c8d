/* bus_dir: makes the socket itself instead of leaving it to ZeroMQ: so it has its permissions before anybody can connect,
 * and nobody but the holder of the name's lock ever removes it (ZeroMQ unlinks by path, later, from its own thread, and
 * would take away the successor's). */
#include "common/run/bus_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/mem.h"

enum { BUS_DIR_BACKLOG = 1024, BUS_DIR_FILE_MAX = 80 };

int bus_dir_open(struct bus_dir *self, const char *path)
{
    if (mkdir(path, 0750) == 0) {
        (void) chmod(path, 0750); /* whatever the umask is; the owner is us */
    } else if (errno != EEXIST) {
        return err_from_errno(errno);
    }
    self->fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (self->fd < 0) {
        return err_from_errno(errno);
    }
    self->path = mem_strdup(path);
    return 0;
}

void bus_dir_close(struct bus_dir *self)
{
    if (self->path != NULL) {
        (void) close(self->fd);
        MEM_FREE(self->path);
        self->fd = -1;
    }
}

void bus_dir_endpoint(const struct bus_dir *self, const char *name, struct buf *out)
{
    const struct sockaddr_un *address = NULL;
    size_t size = strlen(self->path) + 1 + strlen(name) + strlen(".sock");
    /* '@' at the front would mean an abstract socket, which has no permissions, and '*' a chosen name. */
    if (size < sizeof(address->sun_path) && self->path[0] != '@' && self->path[0] != '*') {
        buf_printf(out, "ipc://%s/%s.sock", self->path, name);
    } else {
        buf_printf(out, "ipc:///proc/self/fd/%d/%s.sock", self->fd, name);
    }
}

/* Of the open file description: asking who holds it takes nothing, so that a look never stands in a starting daemon's way; and
 * it goes with the last descriptor, however the process ends. */
int bus_dir_lock(const struct bus_dir *self, const char *name)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char file[BUS_DIR_FILE_MAX];
    (void) snprintf(file, sizeof(file), "%s.lock", name);
    int fd = openat(self->fd, file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    if (fcntl(fd, F_OFD_SETLK, &lock) != 0) {
        int rc = errno == EAGAIN || errno == EACCES ? ERR_LOCKED : err_from_errno(errno);
        (void) close(fd);
        return rc;
    }
    char text[32];
    int size = snprintf(text, sizeof(text), "%ld\n", (long) getpid());
    if (ftruncate(fd, 0) == 0) {
        ssize_t written = write(fd, text, (size_t) size);
        (void) written; /* only for people: the lock is what counts */
    }
    return fd;
}

bool bus_dir_is_locked(const struct bus_dir *self, const char *name, bool otherwise)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char file[BUS_DIR_FILE_MAX];
    (void) snprintf(file, sizeof(file), "%s.lock", name);
    int fd = openat(self->fd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return errno == ENOENT || errno == ELOOP ? false : otherwise;
    }
    bool is_locked = fcntl(fd, F_OFD_GETLK, &lock) == 0 ? lock.l_type != F_UNLCK : otherwise;
    (void) close(fd);
    return is_locked;
}

int bus_dir_listen(const struct bus_dir *self, const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char file[BUS_DIR_FILE_MAX];

    (void) snprintf(file, sizeof(file), "%s.sock", name);
    (void) snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", self->fd,
                    file);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    bus_dir_unlink(self, name);
    /* Nobody can connect before listen, and by then the permissions are right. */
    if (bind(fd, (const struct sockaddr *) &address, sizeof(address)) != 0 ||
        fchmodat(self->fd, file, 0660, 0) != 0 || listen(fd, BUS_DIR_BACKLOG) != 0) {
        int rc = err_from_errno(errno);
        (void) close(fd);
        return rc;
    }
    return fd;
}

void bus_dir_unlink(const struct bus_dir *self, const char *name)
{
    char file[BUS_DIR_FILE_MAX];
    (void) snprintf(file, sizeof(file), "%s.sock", name);
    (void) unlinkat(self->fd, file, 0); /* absent is what we want */
}
