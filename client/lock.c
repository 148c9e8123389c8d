/* lock: fields that an operator keeps from being changed, of a stream or a group. Repeated after a lost connection: twice is once. */
#include <string.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/scan.h"

#include "client/client_private.h"

static void locked_fill(const Railgun__LockOk *ok, struct rg_locked *ret_locked)
{
    ret_locked->count = ok->n_locked;
    ret_locked->paths = mem_new_array(ok->n_locked, sizeof(*ret_locked->paths));
    for (size_t i = 0; i < ok->n_locked; i++) {
        ret_locked->paths[i] = mem_strdup(ok->locked[i]);
    }
}

static int lock_ask(struct rg_client *client, const Railgun__Lock *request,
                    struct rg_locked *ret_locked)
{
    struct call call = {.field = RAILGUN__FRAME__BODY_LOCK, .may_repeat = true};
    Railgun__LockOk *ok = NULL;
    scan_pack(&call.body, &request->base);
    int result = call_ask(client, &call, RAILGUN__FRAME__BODY_LOCK_OK);
    if (result == 0) {
        result = SCAN_UNPACK(call.ret_body.bytes, railgun__lock_ok, &ok);
        if (result < 0) {
            (void) error_note(result, "the answer cannot be read");
        } else if (ret_locked != NULL) {
            locked_fill(ok, ret_locked);
        }
        SCAN_FREE(&ok);
    }
    call_release(&call);
    return result;
}

static int lock_change(struct rg_client *client, const char *stream, const char *group,
                       const char *const *paths, size_t count, bool unlock,
                       struct rg_locked *ret_locked)
{
    int result = client_check_blocking(client, "rg_lock");
    bool is_null = stream == NULL || (count > 0 && paths == NULL);
    for (size_t i = 0; !is_null && i < count; i++) {
        is_null = paths[i] == NULL;
    }
    if (result == 0 && is_null) {
        result = error_note(ERR_USAGE, "rg_lock: the stream or a path is NULL");
    }
    if (result < 0) {
        return result;
    }
    Railgun__Lock request = RAILGUN__LOCK__INIT;
    request.has_kind = true;
    request.kind = group != NULL ? RAILGUN__KIND__KIND_GROUP : RAILGUN__KIND__KIND_STREAM;
    memcpy(&request.name, &stream, sizeof(request.name)); /* no const strings there */
    memcpy(&request.group, &group, sizeof(request.group));
    memcpy(&request.paths, &paths, sizeof(request.paths));
    request.n_paths = count;
    request.has_unlock = unlock;
    request.unlock = unlock;
    return lock_ask(client, &request, ret_locked);
}

int rg_lock(struct rg_client *client, const char *stream, const char *group,
            const char *const *paths, size_t count, struct rg_locked *ret_locked)
{
    return lock_change(client, stream, group, paths, count, false, ret_locked);
}

int rg_unlock(struct rg_client *client, const char *stream, const char *group,
              const char *const *paths, size_t count, struct rg_locked *ret_locked)
{
    return lock_change(client, stream, group, paths, count, true, ret_locked);
}

void rg_locked_free(struct rg_locked *locked)
{
    if (locked == NULL) {
        return;
    }
    for (size_t i = 0; i < locked->count; i++) {
        mem_free(locked->paths[i]);
    }
    mem_free(locked->paths);
    *locked = (struct rg_locked){0};
}
