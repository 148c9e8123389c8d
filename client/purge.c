/* purge: records removed by request. Not repeated by itself: after a lost connection its outcome is unknown. */
#include <string.h>

#include "common/base/err.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/scan.h"

#include "client/client_private.h"

static int purge_take(struct span body, struct rg_purged *ret_purged)
{
    Railgun__PurgeOk *ok = NULL;
    int result = SCAN_UNPACK(body, railgun__purge_ok, &ok);
    if (result < 0) {
        (void) error_note(result, "the answer cannot be read");
    } else if (ret_purged != NULL) {
        *ret_purged = (struct rg_purged){
            .purged = ok->purged,
            .first_offset = ok->first_offset,
            .next_offset = ok->next_offset,
        };
    }
    SCAN_FREE(&ok);
    return result;
}

int rg_stream_purge(struct rg_client *client, const char *stream, const struct rg_purge *what,
                    struct rg_purged *ret_purged)
{
    int result = client_check_blocking(client, "rg_stream_purge");
    if (result < 0) {
        return result;
    }
    if (stream == NULL || what == NULL) {
        return error_note(ERR_USAGE, "rg_stream_purge: %s is NULL",
                          stream == NULL ? "the name" : "what to purge");
    }
    struct call call = {.field = RAILGUN__FRAME__BODY_PURGE};
    Railgun__Purge request = RAILGUN__PURGE__INIT;
    memcpy(&request.stream, &stream, sizeof(request.stream)); /* protobuf-c has no const strings */
    request.has_before = what->before != 0;
    request.before = what->before;
    request.has_keep = what->before == 0 && what->keep != 0;
    request.keep = what->keep;
    request.has_forget_ids = what->forget_ids;
    request.forget_ids = what->forget_ids;
    scan_pack(&call.body, &request.base);
    result = call_ask(client, &call, RAILGUN__FRAME__BODY_PURGE_OK);
    if (result == 0) {
        result = purge_take(call.ret_body.bytes, ret_purged);
    }
    call_release(&call);
    return result;
}
