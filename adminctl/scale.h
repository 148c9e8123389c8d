/* scale: how many frontds and routerds a node in one folder runs. The wish is DIR/etc/scale.conf, for people too; what the supervisor has made of it so far is
 * DIR/state, which only it writes. Both are replaced as a whole. */
#ifndef ADMINCTL_SCALE_H
#define ADMINCTL_SCALE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base/buf.h"

enum { SCALE_MAX = 16, SCALE_TEXT_MAX = 2048 };

struct scale {
    unsigned frontd; /* 1..SCALE_MAX */
    unsigned routerd;
};

/* 0; one of each when nobody ever wished anything. ERR_BAD_FORMAT with the reason in `problem`; ERR_IO. */
int scale_read(const char *dir, struct scale *ret_scale, struct buf *problem);
int scale_write(const char *dir, const struct scale *scale);

struct scale_state {
    pid_t pid;                    /* of the supervisor */
    struct scale wish;            /* the one it works on */
    bool is_settled;              /* all of it are ready, and nobody else runs */
    char failing[SCALE_TEXT_MAX]; /* who never becomes ready, and why; "" */
};

/* `daemons`: a line for each, for people. */
int scale_state_write(const char *dir, const struct scale_state *state, const char *daemons);
/* 0; ERR_NOT_FOUND; ERR_BAD_FORMAT. */
int scale_state_read(const char *dir, struct scale_state *ret_state);
void scale_state_remove(const char *dir);

#endif
