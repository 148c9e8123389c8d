/* readiness: when the tables are whole. After a start, and after this process stood still, they are not until each frontd that lives has told all it has; who is
 * silent for a lease is not waited for. */
#include <inttypes.h>
#include <stdio.h>

#include "common/wire/route_lease.h"

#include "routerd/router_own.h"

enum { NOBODY = TABLE_FRONTDS_MAX, NOT_TOLD };

static bool readiness_wants(const struct router *self, const struct frontd *frontd)
{
    return (frontd->is_live || frontd->is_up) && !frontd->is_synced &&
           frontd_is_waited_for(self, frontd);
}

void readiness_check(struct router *self)
{
    if (self->is_ready || !self->is_started) {
        return;
    }
    unsigned wanted = 0;
    while (wanted < TABLE_FRONTDS_MAX && !readiness_wants(self, &self->frontds[wanted])) {
        wanted++;
    }
    if (wanted < TABLE_FRONTDS_MAX) {
        if (self->waiting_for != wanted) {
            char reason[64];
            (void) snprintf(reason, sizeof(reason), "waiting for frontd-%u", wanted);
            self->out.on_ready(self->out.ud, reason);
        }
        self->waiting_for = wanted;
        return;
    }
    self->is_ready = true;
    self->waiting_for = NOBODY;
    self->changes.is_wanted = true;
    self->out.on_ready(self->out.ud, NULL);
}

void readiness_pause(struct router *self, uint64_t stood_still_ms)
{
    bool has_sessions = false;
    for (unsigned i = 0; i < TABLE_FRONTDS_MAX; i++) {
        struct frontd *frontd = &self->frontds[i];
        frontd->quiet_ms = self->now_ms; /* it was we who did not listen */
        if (frontd->is_up) {
            has_sessions = true;
            frontd->is_synced = false;
            frontd_close(self, frontd, "this process stood still");
        }
    }
    log_warn("this process stood still", "ms=%" PRIu64 " action=\"%s\"", stood_still_ms,
             has_sessions ? "the tables are built anew" : "none: there is no session");
    self->counts.resets++;
    if (self->is_started) {
        self->is_ready = false;
        self->waiting_for = NOT_TOLD;
    }
}

void readiness_check_leases(struct router *self)
{
    for (unsigned i = 0; i < TABLE_FRONTDS_MAX; i++) {
        struct frontd *frontd = &self->frontds[i];
        if (!frontd_is_owing(frontd) || frontd_is_waited_for(self, frontd)) {
            continue;
        }
        if (!frontd->is_given_up) {
            frontd->is_given_up = true;
            self->counts.given_up++;
            log_warn("a frontd is silent", "frontd=%u for_ms=%u action=\"it is not waited for\"", i,
                     (unsigned) ROUTE_LEASE_MS);
        }
    }
}
