/* groups_configure: what the catalogue says of a group that has a position here becomes an entry of the log, so that it holds for the members that are
 * there, and for a group without members, too. Owns what could not be proposed yet. Groups without a position need nothing: who opens them
 * brings the configuration. */
#include "logd/groups.h"

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/client.pb-c.h"
#include "logd/groups_own.h"
#include "logd/logd.h"
#include "logd/stream.h"

enum { CONFIGURE_AGAIN_MS = 10, CONFIGURE_FULL_MS = 1000 };

struct wanted {
    struct list node;
    uint64_t group_id;
    uint64_t revision; /* of the catalogue */
    struct buf name;
    struct buf spec;
};

static void wanted_destroy(struct wanted *wanted)
{
    list_remove(&wanted->node);
    buf_release(&wanted->name);
    buf_release(&wanted->spec);
    mem_free(wanted);
}

void groups_configure_forget(struct groups *self, uint64_t group_id)
{
    LIST_FOREACH (&self->configures, node) {
        struct wanted *wanted = LIST_ENTRY(node, struct wanted, node);
        if (group_id == 0 || wanted->group_id == group_id) {
            wanted_destroy(wanted);
        }
    }
}

static bool group_is_opening(const struct groups *self, uint64_t group_id)
{
    LIST_FOREACH (&self->attaches, node) {
        if (LIST_ENTRY(node, struct attach, node)->group_id == group_id) {
            return true;
        }
    }
    return false;
}

/* 0: it is done, or not wanted any more. */
static int wanted_propose(struct groups *self, const struct wanted *wanted)
{
    struct hosted *hosted = groups_find(self, wanted->group_id);
    if (hosted == NULL) {
        return group_is_opening(self, wanted->group_id) ? ERR_AGAIN : 0;
    }
    const struct group_state *state = group_replicated(hosted->group);
    if (wanted->revision < hosted->spec_revision ||
        (hosted->configs == 0 && span_equal(buf_span(&state->spec), buf_span(&wanted->spec)))) {
        return 0;
    }
    int error = groups_propose_config(self, wanted->group_id, buf_span(&wanted->name),
                                      buf_span(&wanted->spec));
    if (error == 0) {
        hosted->spec_revision = wanted->revision; /* what an older frontd brings is older */
        hosted->configs++;
    }
    return error;
}

uint64_t groups_configure_turn(struct groups *self, uint64_t now_ms)
{
    LIST_FOREACH (&self->configures, node) {
        struct wanted *wanted = LIST_ENTRY(node, struct wanted, node);
        int error = wanted_propose(self, wanted);
        if (error != 0) {
            uint64_t after_ms = error == ERR_AGAIN ? CONFIGURE_AGAIN_MS : CONFIGURE_FULL_MS;
            return now_ms > UINT64_MAX - after_ms ? UINT64_MAX : now_ms + after_ms;
        }
        wanted_destroy(wanted);
    }
    return UINT64_MAX;
}

void groups_configure(struct groups *self, uint64_t group_id, struct span name, struct span spec,
                      uint64_t revision)
{
    struct group_state probe;
    group_state_init(&probe, group_id);
    int error = group_state_configure(&probe, name, spec);
    group_state_release(&probe);
    if (error != 0 || (groups_find(self, group_id) == NULL && !group_is_opening(self, group_id))) {
        return; /* a newer version's, or without a position */
    }
    groups_configure_forget(self, group_id);
    struct wanted *wanted = MEM_NEW(struct wanted);
    wanted->group_id = group_id;
    wanted->revision = revision;
    buf_append(&wanted->name, name);
    buf_append(&wanted->spec, spec);
    list_push_back(&self->configures, &wanted->node);
    if (wanted_propose(self, wanted) == 0) {
        wanted_destroy(wanted);
    } else {
        logd_mark_dirty(stream_logd(self->stream), self->stream);
    }
}

void groups_configured(struct groups *self, struct hosted *hosted, uint64_t ack_wait_ms)
{
    uint64_t now_wait_ms = group_replicated(hosted->group)->limits.ack_wait_ms;
    if (group_member_count(hosted->group) == 0) {
        return;
    }
    if (now_wait_ms != ack_wait_ms) {
        groups_tell_all(self, hosted,
                        &(struct told){.type = RAILGUN__GROUP_EVENT__TYPE__EVENT_ACK_WAIT,
                                       .count = now_wait_ms});
    }
    groups_touched(self, hosted);
}
