/* presence: reads the names of the lock files in the run directory and asks of each of its kind whether it is held. Owns its
 * descriptors of the directory and of inotify, and a timer. It takes no lock and writes nothing.
 *
 * inotify only says when a look is worth while: a daemon writes its pid into the file once it has the lock, makes and removes
 * its socket, and the kernel closes all of it when the process ends, shortly before it drops the lock: hence the second
 * look soon after. The look by the timer is what can be relied on. */
#include "common/run/presence.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "common/run/bus_dir.h"
#include "common/run/bus_head.h"

enum { PRESENCE_LOOK_MS = 250, PRESENCE_AGAIN_MS = 5 };

static const char presence_suffix[] = ".lock";

struct presence {
    struct loop *loop;
    struct bus_dir dir;
    char *kind;
    int inotify_fd;
    struct loop_fd *watch;
    struct wheel_timer timer;
    uint64_t mask;
    bool looking;
    presence_fn *on_change;
    void *ud;
};

/* "frontd-3" of `size` bytes. */
static int presence_parse(const char *kind, const char *name, size_t size)
{
    size_t at = strlen(kind) + 1;
    unsigned instance = 0;

    if (size <= at || size > at + 2 || strncmp(name, kind, at - 1) != 0 || name[at - 1] != '-' ||
        (name[at] == '0' && size > at + 1)) {
        return -1;
    }
    for (; at < size; at++) {
        if (name[at] < '0' || name[at] > '9') {
            return -1;
        }
        instance = 10 * instance + (unsigned) (name[at] - '0');
    }
    return instance < PRESENCE_INSTANCES_MAX ? (int) instance : -1;
}

int presence_instance(const char *kind, const char *name)
{
    return presence_parse(kind, name, strlen(name));
}

/* "frontd-3.lock" */
static int presence_lock_instance(const char *kind, const char *file)
{
    size_t size = strlen(file);
    size_t suffix = sizeof(presence_suffix) - 1;
    if (size <= suffix || strcmp(file + size - suffix, presence_suffix) != 0) {
        return -1;
    }
    return presence_parse(kind, file, size - suffix);
}

static uint64_t presence_bit(unsigned instance)
{
    return (uint64_t) 1 << instance;
}

/* Who is alive; what cannot be told stays as it was. */
static uint64_t presence_read(const struct presence *self)
{
    uint64_t mask = 0;
    struct dirent *entry;
    int fd = openat(self->dir.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *files = fd >= 0 ? fdopendir(fd) : NULL;

    if (files == NULL) {
        if (fd >= 0) {
            (void) close(fd);
        }
        return self->mask;
    }
    while ((entry = readdir(files)) != NULL) {
        int instance = presence_lock_instance(self->kind, entry->d_name);
        if (instance >= 0) {
            char name[BUS_NAME_MAX + 1];
            (void) snprintf(name, sizeof(name), "%s-%d", self->kind, instance); /* it fits */
            bool was_live = presence_is_live(self, (unsigned) instance);
            if (bus_dir_is_locked(&self->dir, name, was_live)) {
                mask |= presence_bit((unsigned) instance);
            }
        }
    }
    (void) closedir(files);
    return mask;
}

void presence_look(struct presence *self)
{
    if (self->looking) {
        return;
    }
    self->looking = true;
    uint64_t mask = presence_read(self);
    for (unsigned i = 0; i < PRESENCE_INSTANCES_MAX; i++) {
        if (((self->mask ^ mask) & presence_bit(i)) != 0) {
            self->mask ^= presence_bit(i);
            self->on_change(self->ud, i, presence_is_live(self, i));
        }
    }
    self->looking = false;
}

static void presence_on_timer(struct wheel_timer *timer, void *ud)
{
    struct presence *self = ud;
    presence_look(self);
    loop_timer_start(self->loop, timer, PRESENCE_LOOK_MS);
}

static void presence_on_inotify(void *ud, unsigned events)
{
    struct presence *self = ud;
    _Alignas(struct inotify_event) char told[8192];
    (void) events;
    /* Which file it was does not matter, nor that events were lost: it is time to look. What is left comes in the next turn. */
    ssize_t size = read(self->inotify_fd, told, sizeof(told));
    if (size > 0) {
        presence_look(self);
        loop_timer_start(self->loop, &self->timer, PRESENCE_AGAIN_MS);
    }
}

static bool presence_start(struct presence *self, const char *run_dir)
{
    if (bus_dir_open(&self->dir, run_dir) != 0) {
        return false;
    }
    self->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (self->inotify_fd < 0 ||
        inotify_add_watch(self->inotify_fd, run_dir,
                          IN_CREATE | IN_DELETE | IN_MODIFY | IN_CLOSE_WRITE | IN_ONLYDIR) < 0) {
        return false;
    }
    self->watch = loop_fd_add(self->loop, self->inotify_fd, LOOP_READ, presence_on_inotify, self);
    return self->watch != NULL;
}

struct presence *presence_new(struct loop *loop, const char *run_dir, const char *kind,
                              presence_fn *on_change, void *ud)
{
    struct presence *self = MEM_NEW(struct presence);
    self->loop = loop;
    self->inotify_fd = -1;
    self->kind = mem_strdup(kind);
    self->on_change = on_change;
    self->ud = ud;
    wheel_timer_init(&self->timer, presence_on_timer, self);
    if (!presence_start(self, run_dir)) {
        presence_destroy(&self);
        return NULL;
    }
    loop_timer_start(loop, &self->timer, 0);
    return self;
}

void presence_destroy(struct presence **self)
{
    struct presence *presence = *self;
    *self = NULL;
    if (presence == NULL) {
        return;
    }
    wheel_cancel(loop_wheel(presence->loop), &presence->timer);
    loop_fd_remove(&presence->watch);
    if (presence->inotify_fd >= 0) {
        (void) close(presence->inotify_fd);
    }
    bus_dir_close(&presence->dir);
    MEM_FREE(presence->kind);
    mem_free(presence);
}

bool presence_is_live(const struct presence *self, unsigned instance)
{
    return instance < PRESENCE_INSTANCES_MAX && (self->mask & presence_bit(instance)) != 0;
}

uint64_t presence_mask(const struct presence *self)
{
    return self->mask;
}
