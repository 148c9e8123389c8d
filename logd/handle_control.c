/* handle_control: what operators do to a group: pause, resume, seek, release. It holds at once for what is delivered; the answer comes when the entry
 * with it is applied. A group that nobody has consumed from yet is opened for it. */
#include "logd/groups.h"

#include "common/base/err.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/hot.h"
#include "common/wire/log.pb-c.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"
#include "logd/groups_own.h"
#include "logd/start.h"

/* Numbers of log.proto and client.proto. */
enum {
    LOG_GROUP_ID = 1,
    LOG_CONTROL = 2,
    LOG_SPEC = 3,
    CONTROL_GROUP = 2,
    CONTROL_OP = 3,
    CONTROL_TO = 4,
    CONTROL_RANGE = 5,
    CONTROL_MEMBER = 6,
    CONTROL_ON_GAP = 7,
    OK_FLOOR = 1,
    OK_RELEASED = 2,
    OK_CHANGED = 3,
};

struct control {
    uint64_t group_id;
    struct span group;
    struct span spec;
    bool has_spec;
    bool has_range;
    uint64_t op;
    struct start to;
    enum start_gap on_gap;
    struct hot_range range;
    uint64_t member;
};

static int control_read_inner(struct span bytes, struct control *control)
{
    struct pb_field field;
    int error = 0;
    control->range = (struct hot_range){1, GROUP_OFFSET_MAX};
    while (error == 0 && pb_next(&bytes, &field) > 0) {
        if (field.number == CONTROL_GROUP) {
            control->group = field.bytes;
        } else if (field.number == CONTROL_OP) {
            control->op = field.value;
        } else if (field.number == CONTROL_TO) {
            error = start_read(field.bytes, &control->to);
        } else if (field.number == CONTROL_RANGE) {
            error = hot_range_read(field.bytes, &control->range);
            control->has_range = true;
        } else if (field.number == CONTROL_MEMBER) {
            control->member = field.value;
        } else if (field.number == CONTROL_ON_GAP) {
            control->on_gap = (enum start_gap) field.value;
            error = field.value <= START_GAP_LATEST ? 0 : ERR_BAD_REQUEST;
        }
    }
    return error == 0 && control->range.first <= control->range.last ? 0 : ERR_BAD_REQUEST;
}

static int control_read(struct span meta, struct control *ret_control)
{
    struct control control = {0};
    struct pb_field field;
    int error = scan_check(meta, &railgun__log_group_control__descriptor, NULL);
    while (error == 0 && pb_next(&meta, &field) > 0) {
        if (field.number == LOG_GROUP_ID) {
            control.group_id = field.value;
        } else if (field.number == LOG_CONTROL) {
            error = control_read_inner(field.bytes, &control);
        } else if (field.number == LOG_SPEC) {
            control.spec = field.bytes;
            control.has_spec = true;
        }
    }
    if (error != 0) {
        return ERR_BAD_REQUEST;
    }
    *ret_control = control;
    return 0;
}

bool groups_pause(struct groups *self, struct hosted *hosted, uint32_t how)
{
    if (!group_pause(hosted->group, how)) {
        return false;
    }
    struct told told = {.type = RAILGUN__GROUP_EVENT__TYPE__EVENT_RESUMED};
    struct event event = {.type = RAILGUN__EVENT__TYPE__RESUMED};
    if (how == RAILGUN__GROUP_PAUSE__PAUSED_BY_BREAKER) {
        told.type = RAILGUN__GROUP_EVENT__TYPE__EVENT_BREAKER;
        event.type = RAILGUN__EVENT__TYPE__BREAKER;
    } else if (how != RAILGUN__GROUP_PAUSE__NOT_PAUSED) {
        told.type = RAILGUN__GROUP_EVENT__TYPE__EVENT_PAUSED;
        event.type = RAILGUN__EVENT__TYPE__PAUSED;
    }
    groups_tell_all(self, hosted, &told);
    groups_note(self, hosted, &event);
    groups_touched(self, hosted);
    return true;
}

static int control_seek(struct groups *self, struct hosted *hosted, const struct control *control)
{
    uint64_t floor;
    int error = groups_start_floor(self, &control->to, control->on_gap, &floor);
    if (error != 0) {
        return error;
    }
    group_seek(hosted->group, floor);
    groups_tell_all(self, hosted, &(struct told){.type = RAILGUN__GROUP_EVENT__TYPE__EVENT_SEEK});
    return 0;
}

/* NULL, or what is wrong with it in itself. */
static const char *control_problem(const struct control *control)
{
    if (control->op < RAILGUN__GROUP_CONTROL__OP__PAUSE ||
        control->op > RAILGUN__GROUP_CONTROL__OP__RELEASE) {
        return "op: PAUSE, RESUME, SEEK or RELEASE is needed";
    }
    if (control->op == RAILGUN__GROUP_CONTROL__OP__SEEK && control->to.at == START_DEFAULT) {
        return "to: where to?"; /* not to the first by mistake */
    }
    if (control->op == RAILGUN__GROUP_CONTROL__OP__SEEK && control->to.at == START_OFFSET &&
        control->to.offset == 0) {
        return "to: offsets begin with 1";
    }
    return NULL;
}

/* 0 with what is to be told, or why not. */
static int control_do(struct groups *self, struct hosted *hosted, const struct control *control,
                      uint64_t *ret_released, bool *ret_changed)
{
    int error = 0;
    *ret_released = 0;
    *ret_changed = true;
    switch (control->op) {
    case RAILGUN__GROUP_CONTROL__OP__PAUSE:
        *ret_changed = groups_pause(self, hosted, RAILGUN__GROUP_PAUSE__PAUSED_BY_OPERATOR);
        break;
    case RAILGUN__GROUP_CONTROL__OP__RESUME:
        *ret_changed = groups_pause(self, hosted, RAILGUN__GROUP_PAUSE__NOT_PAUSED);
        break;
    case RAILGUN__GROUP_CONTROL__OP__SEEK:
        error = control_seek(self, hosted, control);
        break;
    case RAILGUN__GROUP_CONTROL__OP__RELEASE:
        if (control->member != 0 && !control->has_range &&
            groups_put_back(self, hosted, control->member, ret_released)) {
            break;
        }
        *ret_released = group_release_range(hosted->group, control->member, control->range.first,
                                            control->range.last);
        *ret_changed = *ret_released > 0;
        break;
    default:
        error = ERR_BAD_REQUEST;
        break;
    }
    return error;
}

static void control_refuse(struct groups *self, uint64_t ticket, uint16_t type, int error,
                           const char *detail)
{
    if (error == ERR_OUT_OF_RANGE) {
        groups_answer_range(self, ticket, type);
    } else {
        (void) bus_reply_error(groups_bus(self), ticket, error, detail);
    }
}

static void control_answer(struct groups *self, struct hosted *hosted,
                           const struct control *control, uint64_t ticket, uint16_t type)
{
    uint64_t released = 0;
    bool changed = false;
    groups_tick(self, hosted);
    int error = control_do(self, hosted, control, &released, &changed);
    if (error != 0) {
        control_refuse(self, ticket, type, error, NULL);
        return;
    }
    groups_touched(self, hosted);
    struct group_numbers numbers;
    struct buf reply = {0};
    group_numbers(hosted->group, &numbers);
    pb_append_varint(&reply, OK_FLOOR, numbers.floor);
    pb_append_varint(&reply, OK_RELEASED, released);
    pb_append_varint(&reply, OK_CHANGED, changed);
    groups_sync_wait(self, ticket, type, &reply);
    buf_release(&reply);
}

/* Nobody has consumed yet. A pause and a position are kept, and need a group to be kept in; of the rest there is nothing to do. */
static int control_unopened(struct groups *self, const struct control *control,
                            const struct bus_message *message, const char **ret_detail)
{
    struct groups_opening opening = {
        .group_id = control->group_id,
        .group = control->group,
        .spec = control->spec,
        .control = message->meta,
    };
    struct bus_outgoing out = {.type = message->type};
    switch (control->op) {
    case RAILGUN__GROUP_CONTROL__OP__SEEK:
        opening.start = control->to;
        opening.on_gap = control->on_gap;
        return groups_open(self, message, &opening, ret_detail);
    case RAILGUN__GROUP_CONTROL__OP__PAUSE:
        return groups_open(self, message, &opening, ret_detail);
    case RAILGUN__GROUP_CONTROL__OP__RESUME:
    case RAILGUN__GROUP_CONTROL__OP__RELEASE:
        (void) bus_reply(groups_bus(self), message->ticket, &out);
        return 0;
    default:
        return ERR_BAD_REQUEST;
    }
}

void groups_control_opened(struct groups *self, struct hosted *hosted, uint64_t ticket,
                           uint16_t type, struct span meta)
{
    struct control control = {0};
    int error = control_read(meta, &control);
    if (error == 0 && self->sync_count >= GROUPS_SYNCS_MAX) {
        error = ERR_OVERLOADED;
    }
    if (error != 0) {
        control_refuse(self, ticket, type, error, NULL);
        return;
    }
    control_answer(self, hosted, &control, ticket, type);
}

void groups_handle_control(struct groups *self, struct bus_message *message)
{
    struct control control = {0};
    const char *detail = "op, to, range or on_gap: not valid";
    int error = control_read(message->meta, &control);
    struct hosted *hosted = NULL;
    if (error == 0 && control_problem(&control) != NULL) {
        error = ERR_BAD_REQUEST;
        detail = control_problem(&control);
    }
    if (error == 0) {
        hosted = control.group_id != 0 ? groups_find(self, control.group_id)
                                       : ephemerals_find(self, control.group);
    }
    if (error == 0 && hosted == NULL && !control.has_spec) {
        error = ERR_NOT_FOUND;
        detail = "no such group";
    } else if (error == 0 && self->sync_count >= GROUPS_SYNCS_MAX) {
        error = ERR_OVERLOADED;
        detail = "too many requests wait";
    } else if (error == 0 && hosted == NULL) {
        error = control_unopened(self, &control, message, &detail);
    } else if (error == 0) {
        control_answer(self, hosted, &control, message->ticket, message->type);
    }
    if (error != 0) {
        control_refuse(self, message->ticket, message->type, error, detail);
    }
}
