/* reaper: see the header. Owns one timer. It decides nothing: whether a stream really goes is decided when the command is applied, by the time in it. */
#include "raftd/reaper.h"

#include "common/base/mem.h"
#include "raftd/raftd.h"

enum {
    REAPER_BATCH_MAX = 256,     /* streams in a command */
    REAPER_WAIT_MAX_MS = 60000, /* the clock may be set meanwhile */
    REAPER_RETRY_MS = 1000,
};

struct reaper {
    struct raftd *raftd;
    struct loop *loop;
    struct wheel_timer timer;
};

static void reaper_on_timer(struct wheel_timer *timer, void *ud)
{
    (void) timer;
    struct reaper *self = (struct reaper *) ud;
    uint64_t log_groups[REAPER_BATCH_MAX];
    uint64_t next_us;
    uint64_t now_us = raftd_now_us(self->raftd);
    size_t count = catalog_reapable(raftd_catalog(self->raftd), now_us, log_groups,
                                    REAPER_BATCH_MAX, &next_us);
    uint64_t wait_ms = next_us == UINT64_MAX ? UINT64_MAX
                       : next_us <= now_us   ? 0
                                             : (next_us - now_us) / 1000 + 1;
    if (count > 0) {
        Railgun__CatalogReap reap = RAILGUN__CATALOG_REAP__INIT;
        Railgun__CatalogCommand command = RAILGUN__CATALOG_COMMAND__INIT;
        reap.n_log_groups = count;
        reap.log_groups = log_groups;
        command.reap = &reap;
        raftd_propose_own(self->raftd, &command);
        wait_ms = REAPER_RETRY_MS; /* when it is applied we look earlier */
    }
    if (wait_ms != UINT64_MAX) {
        loop_timer_start(self->loop, &self->timer,
                         wait_ms < REAPER_WAIT_MAX_MS ? wait_ms : REAPER_WAIT_MAX_MS);
    }
}

struct reaper *reaper_new(struct raftd *raftd, struct loop *loop)
{
    struct reaper *self = MEM_NEW(struct reaper);
    self->raftd = raftd;
    self->loop = loop;
    wheel_timer_init(&self->timer, reaper_on_timer, self);
    reaper_look(self);
    return self;
}

void reaper_destroy(struct reaper **self)
{
    if (*self == NULL) {
        return;
    }
    wheel_cancel(loop_wheel((*self)->loop), &(*self)->timer);
    MEM_FREE(*self);
}

void reaper_look(struct reaper *self)
{
    loop_timer_start(self->loop, &self->timer, 0);
}
