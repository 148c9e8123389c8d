/* presence: which daemons of one kind live on this host. A daemon lives as long as its process holds the lock of its name in the run directory
 * (bus_lock), also when it stands still or has no session with us. Looks at the directory when it changes (inotify) and a few times a second.
 * @thread loop */
#ifndef COMMON_RUN_PRESENCE_H
#define COMMON_RUN_PRESENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/run/loop.h"

enum { PRESENCE_INSTANCES_MAX = 64 };

struct presence;
/* It has come to life or died. One that died and is back between two looks is not reported: its new session tells. */
typedef void presence_fn(void *ud, unsigned instance, bool is_live);

/* `kind`: "frontd". The first look is made in the loop's next turn, not in here. NULL: the system refused a descriptor. */
struct presence *presence_new(struct loop *loop, const char *run_dir, const char *kind,
                              presence_fn *on_change, void *ud);
/* Not inside on_change. Accepts NULL. */
void presence_destroy(struct presence **self);

/* As last looked at. */
bool presence_is_live(const struct presence *self, unsigned instance);
uint64_t presence_mask(const struct presence *self); /* a bit for each instance */
/* Look now (calls on_change): for who must not act on what is half a second old. Inside on_change it does nothing. */
void presence_look(struct presence *self);

/* "frontd-3" -> 3 for kind "frontd"; -1: another name. */
int presence_instance(const char *kind, const char *name);

#endif
