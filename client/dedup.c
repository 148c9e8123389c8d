/* dedup: what is asked about a stream's message IDs, and letting some be new. */
#include <string.h>

#include "common/base/err.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/scan.h"

#include "client/client_private.h"

static int dedup_take(struct span body, struct rg_dedup_info *ret_info)
{
    Railgun__DedupOk *ok = NULL;
    int result = SCAN_UNPACK(body, railgun__dedup_ok, &ok);
    if (result < 0) {
        (void) error_note(result, "the answer cannot be read");
    } else if (ret_info != NULL) {
        *ret_info = (struct rg_dedup_info){
            .ids = ok->ids,
            .hot = ok->hot,
            .cold = ok->cold,
            .memory_bytes = ok->memory_bytes,
            .oldest_us = ok->oldest_us,
            .shrunk = ok->shrunk,
            .found = ok->found,
            .offset = ok->offset,
            .ts_us = ok->ts_us,
            .forgotten = ok->forgotten,
        };
    }
    SCAN_FREE(&ok);
    return result;
}

static int dedup_ask(struct rg_client *client, const char *stream, Railgun__Dedup *request,
                     struct rg_dedup_info *ret_info, const char *function)
{
    int result = client_check_blocking(client, function);
    if (result < 0) {
        return result;
    }
    if (stream == NULL) {
        return error_note(ERR_USAGE, "%s: the name is NULL", function);
    }
    struct call call = {.field = RAILGUN__FRAME__BODY_DEDUP, .may_repeat = true};
    memcpy(&request->stream, &stream,
           sizeof(request->stream)); /* protobuf-c has no const strings */
    scan_pack(&call.body, &request->base);
    result = call_ask(client, &call, RAILGUN__FRAME__BODY_DEDUP_OK);
    if (result == 0) {
        result = dedup_take(call.ret_body.bytes, ret_info);
    }
    call_release(&call);
    return result;
}

static void dedup_set_id(Railgun__Dedup *request, const struct rg_bytes *id)
{
    request->has_id = true;
    request->id.len = id->size;
    memcpy(&request->id.data, &id->data, sizeof(request->id.data)); /* it is only read */
}

int rg_dedup_describe(struct rg_client *client, const char *stream, struct rg_dedup_info *ret_info)
{
    Railgun__Dedup request = RAILGUN__DEDUP__INIT;
    return dedup_ask(client, stream, &request, ret_info, "rg_dedup_describe");
}

int rg_dedup_find(struct rg_client *client, const char *stream, struct rg_bytes id,
                  struct rg_dedup_info *ret_info)
{
    Railgun__Dedup request = RAILGUN__DEDUP__INIT;
    if (id.data == NULL || id.size == 0) {
        return error_note(ERR_USAGE, "rg_dedup_find: no id");
    }
    dedup_set_id(&request, &id);
    return dedup_ask(client, stream, &request, ret_info, "rg_dedup_find");
}

int rg_dedup_forget(struct rg_client *client, const char *stream, struct rg_bytes id,
                    struct rg_dedup_info *ret_info)
{
    Railgun__Dedup request = RAILGUN__DEDUP__INIT;
    if (id.data == NULL && id.size != 0) {
        return error_note(ERR_USAGE, "rg_dedup_forget: data that is NULL has a size");
    }
    request.has_forget = true;
    request.forget = true;
    if (id.data != NULL) {
        dedup_set_id(&request, &id);
    } else {
        request.has_all = true;
        request.all = true;
    }
    return dedup_ask(client, stream, &request, ret_info, "rg_dedup_forget");
}
