/* handle_dead: the dead letters of a group, listed, replayed, dropped. What changes something is answered when the entry with it is applied. */
#include "logd/groups.h"

#include "common/base/err.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/hot.h"
#include "common/wire/log.pb-c.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"
#include "logd/deadletter.h"
#include "logd/groups_own.h"

/* Numbers of log.proto and client.proto. */
enum {
    LOG_GROUP_ID = 1,
    LOG_ASK = 2,
    ASK_OP = 3,
    ASK_RANGES = 4,
    ASK_ALL = 5,
    ASK_AFTER = 6,
    ASK_LIMIT = 7,
    LETTER_OFFSET = 1,
    LETTER_DLQ_OFFSET = 2,
    LETTER_REASON = 3,
    LETTER_FAILED = 4,
    LETTER_ATTEMPTS = 5,
    LETTER_ERROR = 6,
    LETTER_DLQ_STREAM = 7,
    OK_STREAM = 1,
    OK_ITEMS = 2,
    OK_MORE = 3,
    OK_CHANGED = 4,
};
enum { LIST_DEFAULT = 1000, LIST_MAX = 4000, RANGES_MAX = 65536 };

struct ask {
    uint64_t group_id;
    uint64_t op;
    struct span body; /* DeadLetters, for its ranges */
    bool all;
    unsigned ranges;
    uint64_t after;
    uint64_t limit;
};

static int ask_read_body(struct span body, struct ask *ask)
{
    struct pb_field field;
    struct hot_range range;
    ask->body = body;
    while (pb_next(&body, &field) > 0) {
        if (field.number == ASK_OP) {
            ask->op = field.value;
        } else if (field.number == ASK_RANGES) {
            if (hot_range_read(field.bytes, &range) < 0 || range.first == 0 ||
                range.first > range.last || ++ask->ranges > RANGES_MAX) {
                return ERR_BAD_REQUEST;
            }
        } else if (field.number == ASK_ALL) {
            ask->all = field.value != 0;
        } else if (field.number == ASK_AFTER) {
            ask->after = field.value;
        } else if (field.number == ASK_LIMIT) {
            ask->limit = field.value;
        }
    }
    return 0;
}

static int ask_read(struct span meta, struct ask *ret_ask)
{
    struct ask ask = {0};
    struct pb_field field;
    int error = scan_check(meta, &railgun__log_dead_letters__descriptor, NULL);
    while (error == 0 && pb_next(&meta, &field) > 0) {
        if (field.number == LOG_GROUP_ID) {
            ask.group_id = field.value;
        } else if (field.number == LOG_ASK) {
            error = ask_read_body(field.bytes, &ask);
        }
    }
    if (error != 0) {
        return ERR_BAD_REQUEST;
    }
    *ret_ask = ask;
    return 0;
}

/* --- listing --- */

static void letter_append(struct groups *self, struct hosted *hosted,
                          const struct group_grave *grave, uint64_t offset, bool is_dead)
{
    struct buf *part = &self->part;
    buf_reset(part);
    pb_append_varint(part, LETTER_OFFSET, offset);
    if (is_dead) {
        pb_append_varint(part, LETTER_DLQ_OFFSET, grave->dlq_first + (offset - grave->first));
    }
    pb_append_bytes(part, LETTER_REASON, span_of(deadletter_reason(grave->reason)));
    pb_append_varint(part, LETTER_FAILED, grave->failed);
    pb_append_varint(part, LETTER_ATTEMPTS, grave->attempts);
    if (grave->error != NULL) {
        pb_append_bytes(part, LETTER_ERROR, span_of(grave->error));
    }
    if (is_dead && grave->dlq_log_group != 0) {
        struct span name = deadletter_copy_in(self, hosted, grave);
        if (!span_equal(
                name, group_limits_dlq_stream(buf_span(&group_replicated(hosted->group)->spec)))) {
            pb_append_bytes(part, LETTER_DLQ_STREAM, name);
        }
    }
    pb_append_bytes(&self->meta, OK_ITEMS, buf_span(part));
}

/* Both lists, in order of offset. */
static void letters_list(struct groups *self, struct hosted *hosted, uint64_t after, uint64_t limit)
{
    const struct group_dead *dead = &group_replicated(hosted->group)->dead;
    uint64_t at = after + 1;
    uint64_t count = 0;
    while (after < GROUP_OFFSET_MAX) {
        const struct group_grave *dying = group_graves_from(&dead->dying, at);
        const struct group_grave *buried = group_graves_from(&dead->dead, at);
        bool is_dead = buried != NULL && (dying == NULL || buried->first < dying->first);
        const struct group_grave *grave = is_dead ? buried : dying;
        if (grave == NULL) {
            return;
        }
        at = at > grave->first ? at : grave->first;
        if (count == limit) {
            pb_append_varint(&self->meta, OK_MORE, 1);
            return;
        }
        letter_append(self, hosted, grave, at, is_dead);
        count++;
        at++;
    }
}

/* hosted NULL: nobody has consumed yet, there are none. */
static void list_answer(struct groups *self, struct hosted *hosted, const struct ask *ask,
                        const struct bus_message *message)
{
    uint64_t limit = ask->limit == 0 ? LIST_DEFAULT : ask->limit;
    buf_reset(&self->meta);
    if (hosted != NULL) {
        const struct group_state *state = group_replicated(hosted->group);
        pb_append_bytes(&self->meta, OK_STREAM, group_limits_dlq_stream(buf_span(&state->spec)));
        letters_list(self, hosted, ask->after, limit < LIST_MAX ? limit : LIST_MAX);
    }
    struct bus_outgoing out = {.type = message->type, .meta = buf_span(&self->meta)};
    (void) bus_reply(groups_bus(self), message->ticket, &out);
}

/* --- changing --- */

static uint64_t change_range(struct hosted *hosted, bool is_replay, uint64_t first, uint64_t last)
{
    const struct group_graves *dead = &group_replicated(hosted->group)->dead.dead;
    last = last < GROUP_OFFSET_MAX ? last : GROUP_OFFSET_MAX;
    uint64_t count = first <= last ? group_graves_count_in(dead, first, last) : 0;
    if (count > 0 && is_replay) {
        group_note_replayed(hosted->group, first, last);
    } else if (count > 0) {
        group_note_dropped(hosted->group, first, last);
    }
    return count;
}

static uint64_t change_all(struct hosted *hosted, const struct ask *ask)
{
    bool is_replay = ask->op == RAILGUN__DEAD_LETTERS__OP__REPLAY;
    if (ask->all) {
        return change_range(hosted, is_replay, 1, GROUP_OFFSET_MAX);
    }
    uint64_t changed = 0;
    struct span rest = ask->body;
    struct pb_field field;
    struct hot_range range;
    while (pb_next(&rest, &field) > 0) {
        if (field.number == ASK_RANGES && hot_range_read(field.bytes, &range) == 0) {
            changed += change_range(hosted, is_replay, range.first, range.last);
        }
    }
    return changed;
}

static void change_answer(struct groups *self, struct hosted *hosted, const struct ask *ask,
                          const struct bus_message *message)
{
    const struct group_state *state = group_replicated(hosted->group);
    struct buf reply = {0};
    groups_tick(self, hosted);
    uint64_t changed = change_all(hosted, ask);
    groups_touched(self, hosted);
    pb_append_bytes(&reply, OK_STREAM, group_limits_dlq_stream(buf_span(&state->spec)));
    pb_append_varint(&reply, OK_CHANGED, changed);
    groups_sync_wait(self, message->ticket, message->type, &reply);
    buf_release(&reply);
}

void groups_handle_dead(struct groups *self, struct bus_message *message)
{
    struct ask ask = {0};
    const char *detail = "LogDeadLetters";
    int error = ask_read(message->meta, &ask);
    struct hosted *hosted = error == 0 ? groups_find(self, ask.group_id) : NULL;
    bool is_list = ask.op == RAILGUN__DEAD_LETTERS__OP__LIST;
    bool is_change =
        ask.op == RAILGUN__DEAD_LETTERS__OP__REPLAY || ask.op == RAILGUN__DEAD_LETTERS__OP__DROP;
    if (error == 0 && !is_list && !is_change) {
        error = ERR_BAD_REQUEST;
        detail = "op";
    } else if (error == 0 && is_change && ask.all == (ask.ranges > 0)) {
        error = ERR_BAD_REQUEST;
        detail = "either ranges or all";
    } else if (error == 0 && self->sync_count >= GROUPS_SYNCS_MAX) {
        error = ERR_OVERLOADED;
        detail = "too many requests wait";
    }
    if (error != 0) {
        (void) bus_reply_error(groups_bus(self), message->ticket, error, detail);
    } else if (is_list || hosted == NULL) {
        list_answer(self, hosted, &ask, message);
    } else {
        change_answer(self, hosted, &ask, message);
    }
}
