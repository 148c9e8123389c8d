/* group: what is done to a group from outside: pause, resume, seek, release. Each is durable when it returns. Seek and release are not repeated by
 * themselves: after a lost connection the outcome is unknown. */
#include <string.h>

#include "common/base/err.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/scan.h"

#include "client/client_private.h"

static int control_take(struct span body, Railgun__GroupControlOk **ret_ok)
{
    int result = SCAN_UNPACK(body, railgun__group_control_ok, ret_ok);
    return result < 0 ? error_note(result, "the answer cannot be read") : 0;
}

/* *ret_ok is owned (SCAN_FREE). */
static int control(struct rg_client *client, const char *stream, const char *group,
                   Railgun__GroupControl *request, Railgun__GroupControl__Op op,
                   Railgun__GroupControlOk **ret_ok)
{
    int result = client_check_blocking(client, "rg_group_*");
    if (result == 0 && (stream == NULL || group == NULL)) {
        result = error_note(ERR_USAGE, "rg_group_*: the stream or the group is NULL");
    }
    if (result < 0) {
        return result;
    }
    bool may_repeat =
        op == RAILGUN__GROUP_CONTROL__OP__PAUSE || op == RAILGUN__GROUP_CONTROL__OP__RESUME;
    struct call call = {.field = RAILGUN__FRAME__BODY_GROUP_CONTROL, .may_repeat = may_repeat};
    memcpy(&request->stream, &stream, sizeof(request->stream)); /* no const strings there */
    memcpy(&request->group, &group, sizeof(request->group));
    request->has_op = true;
    request->op = op;
    scan_pack(&call.body, &request->base);
    result = call_ask(client, &call, RAILGUN__FRAME__BODY_GROUP_CONTROL_OK);
    if (result == 0) {
        result = control_take(call.ret_body.bytes, ret_ok);
    }
    call_release(&call);
    return result;
}

static int control_switch(struct rg_client *client, const char *stream, const char *group,
                          Railgun__GroupControl__Op op, bool *ret_changed)
{
    Railgun__GroupControl request = RAILGUN__GROUP_CONTROL__INIT;
    Railgun__GroupControlOk *ok = NULL;
    int result = control(client, stream, group, &request, op, &ok);
    if (result == 0 && ret_changed != NULL) {
        *ret_changed = ok->changed;
    }
    SCAN_FREE(&ok);
    return result;
}

int rg_group_pause(struct rg_client *client, const char *stream, const char *group,
                   bool *ret_changed)
{
    return control_switch(client, stream, group, RAILGUN__GROUP_CONTROL__OP__PAUSE, ret_changed);
}

int rg_group_resume(struct rg_client *client, const char *stream, const char *group,
                    bool *ret_changed)
{
    return control_switch(client, stream, group, RAILGUN__GROUP_CONTROL__OP__RESUME, ret_changed);
}

int rg_group_seek(struct rg_client *client, const char *stream, const char *group,
                  struct rg_start to, enum rg_on_gap on_gap, uint64_t *ret_floor)
{
    Railgun__GroupControl request = RAILGUN__GROUP_CONTROL__INIT;
    Railgun__GroupControlOk *ok = NULL;
    Railgun__Start start = RAILGUN__START__INIT;
    if (to.at == RG_START_DEFAULT) {
        return error_note(ERR_USAGE, "rg_group_seek: where to?");
    }
    start_fill(&start, to);
    request.to = &start;
    request.has_on_gap = true;
    request.on_gap = (Railgun__Consume__OnGap) on_gap; /* the same numbers */
    int result = control(client, stream, group, &request, RAILGUN__GROUP_CONTROL__OP__SEEK, &ok);
    if (result == 0 && ret_floor != NULL) {
        *ret_floor = ok->floor;
    }
    SCAN_FREE(&ok);
    return result;
}

int rg_group_release(struct rg_client *client, const char *stream, const char *group,
                     uint64_t first, uint64_t last, uint64_t member, uint64_t *ret_released)
{
    Railgun__GroupControl request = RAILGUN__GROUP_CONTROL__INIT;
    Railgun__GroupControlOk *ok = NULL;
    Railgun__OffsetRange range = RAILGUN__OFFSET_RANGE__INIT;
    if (last != 0) {
        range.has_first = range.has_last = true;
        range.first = first != 0 ? first : 1;
        range.last = last;
        request.range = &range;
    }
    request.has_member = member != 0;
    request.member = member;
    int result = control(client, stream, group, &request, RAILGUN__GROUP_CONTROL__OP__RELEASE, &ok);
    if (result == 0 && ret_released != NULL) {
        *ret_released = ok->released;
    }
    SCAN_FREE(&ok);
    return result;
}
