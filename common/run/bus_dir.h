/* bus_dir: the run directory: where the sockets lie, who listens under which name, and paths that are too long for a
 * socket address. */
#ifndef COMMON_RUN_BUS_DIR_H
#define COMMON_RUN_BUS_DIR_H

#include <stdbool.h>

#include "common/base/buf.h"

struct bus_dir {
    char *path;
    int fd; /* O_PATH; -1: not open */
};

/* Make it (0750) if missing, and open it. 0, ERR_NOT_FOUND (the folder above is missing), ERR_IO, ERR_STORAGE_FULL. */
int bus_dir_open(struct bus_dir *self, const char *path);
void bus_dir_close(struct bus_dir *self);

/* "ipc://RUN_DIR/<name>.sock", or through /proc/self/fd when that is too long for a socket address. */
void bus_dir_endpoint(const struct bus_dir *self, const char *name, struct buf *out);

/* Own the name as long as the returned descriptor (>= 0) is open. ERR_LOCKED: a live process does; ERR_IO. */
int bus_dir_lock(const struct bus_dir *self, const char *name);
/* Does a live process (this one too) own the name? Takes nothing. `otherwise` is the answer when the system refuses to tell: no
 * descriptors left, no permission. */
bool bus_dir_is_locked(const struct bus_dir *self, const char *name, bool otherwise);

/* A listening socket under the name, 0660, in place of a dead process's: a descriptor >= 0, or ERR_IO. For the holder of the
 * lock. */
int bus_dir_listen(const struct bus_dir *self, const char *name);
/* Remove the name's socket. For the holder of the lock. */
void bus_dir_unlink(const struct bus_dir *self, const char *name);

#endif
