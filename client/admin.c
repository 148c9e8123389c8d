/* admin: streams and groups: one request, one answer. */
#include <stdio.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/base/uuid.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/scan.h"

#include "client/client_private.h"
#include "client/specs.h"

void start_fill(struct Railgun__Start *out, struct rg_start start)
{
    out->has_at = true;
    switch (start.at) {
    case RG_START_FIRST:
        out->at = RAILGUN__START__AT__AT_FIRST;
        break;
    case RG_START_LATEST:
        out->at = RAILGUN__START__AT__AT_LATEST;
        break;
    case RG_START_LAST_N:
        out->at = RAILGUN__START__AT__AT_LAST_N;
        break;
    case RG_START_OFFSET:
        out->at = RAILGUN__START__AT__AT_OFFSET;
        break;
    case RG_START_TIME:
        out->at = RAILGUN__START__AT__AT_TIMESTAMP;
        break;
    case RG_START_DEFAULT:
    default:
        out->at = RAILGUN__START__AT__AT_DEFAULT;
        break;
    }
    if (start.at == RG_START_TIME) {
        out->has_ts_us = true;
        out->ts_us = start.value;
    } else if (start.at == RG_START_OFFSET || start.at == RG_START_LAST_N) {
        out->has_offset = true;
        out->offset = start.value;
    }
}

/* protobuf-c wants char *, and does not write. */
static char *text_of(const char *text)
{
    char *result;
    memcpy(&result, &text, sizeof(result));
    return result;
}

static ProtobufCBinaryData id_of(const uint8_t *stream_id)
{
    ProtobufCBinaryData id = {0, NULL};
    if (stream_id != NULL) {
        id.len = sizeof(struct uuid);
        memcpy(&id.data, &stream_id, sizeof(id.data)); /* no const there */
    }
    return id;
}

static int admin_check(struct rg_client *client, const char *stream, const char *function)
{
    int result = client_check_blocking(client, function);
    if (result == 0 && stream == NULL) {
        result = error_note(ERR_USAGE, "%s: the name is NULL", function);
    }
    return result;
}

static enum rg_ensure_result ensure_result(Railgun__EnsureOk__Result result)
{
    if (result == RAILGUN__ENSURE_OK__RESULT__CREATED) {
        return RG_CREATED;
    }
    if (result == RAILGUN__ENSURE_OK__RESULT__UPDATED) {
        return RG_UPDATED;
    }
    if (result == RAILGUN__ENSURE_OK__RESULT__STALE_VERSION) {
        return RG_STALE_VERSION;
    }
    if (result == RAILGUN__ENSURE_OK__RESULT__DIFFERS) {
        return RG_DIFFERS;
    }
    return RG_UNCHANGED;
}

static int ensure(struct rg_client *client, const Railgun__Ensure *request,
                  enum rg_ensure_result *ret_result)
{
    struct call call = {.field = RAILGUN__FRAME__BODY_ENSURE, .may_repeat = true};
    Railgun__EnsureOk *ok = NULL;
    scan_pack(&call.body, &request->base);
    int result = call_ask(client, &call, RAILGUN__FRAME__BODY_ENSURE_OK);
    if (result == 0) {
        result = SCAN_UNPACK(call.ret_body.bytes, railgun__ensure_ok, &ok);
        if (result < 0) {
            (void) error_note(result, "the answer cannot be read");
        } else if (ret_result != NULL) {
            *ret_result = ensure_result(ok->result);
        }
        SCAN_FREE(&ok);
    }
    call_release(&call);
    return result;
}

int rg_stream_ensure(struct rg_client *client, const char *stream,
                     const struct rg_stream_spec *spec, enum rg_ensure_result *ret_result)
{
    int result = admin_check(client, stream, "rg_stream_ensure");
    if (result < 0) {
        return result;
    }
    Railgun__Ensure request = RAILGUN__ENSURE__INIT;
    Railgun__StreamSpec stream_spec = RAILGUN__STREAM_SPEC__INIT;
    Railgun__DedupSpec dedup = RAILGUN__DEDUP_SPEC__INIT;
    request.has_kind = true;
    request.kind = RAILGUN__KIND__KIND_STREAM;
    request.name = text_of(stream);
    if (spec != NULL) {
        specs_fill_ensure(&request, spec->version, spec->mode, spec->allow_data_loss);
        specs_fill_stream(&stream_spec, &dedup, spec);
        request.stream = &stream_spec;
    }
    return ensure(client, &request, ret_result);
}

int rg_group_ensure(struct rg_client *client, const char *stream, const char *group,
                    const struct rg_group_spec *spec, enum rg_ensure_result *ret_result)
{
    int result = admin_check(client, stream, "rg_group_ensure");
    if (result == 0 && group == NULL) {
        result = error_note(ERR_USAGE, "rg_group_ensure: the group is NULL");
    }
    if (result < 0) {
        return result;
    }
    Railgun__Ensure request = RAILGUN__ENSURE__INIT;
    Railgun__GroupSpec group_spec = RAILGUN__GROUP_SPEC__INIT;
    Railgun__Start start = RAILGUN__START__INIT;
    Railgun__DlqSpec dlq = RAILGUN__DLQ_SPEC__INIT;
    request.has_kind = true;
    request.kind = RAILGUN__KIND__KIND_GROUP;
    request.name = text_of(stream);
    request.group = text_of(group);
    if (spec != NULL) {
        specs_fill_ensure(&request, spec->version, spec->mode, false);
        specs_fill_group(&group_spec, &dlq, spec);
        if (spec->start.at != RG_START_DEFAULT) {
            start_fill(&start, spec->start);
            group_spec.start = &start;
        }
        request.group_spec = &group_spec;
    }
    return ensure(client, &request, ret_result);
}

int rg_stream_describe(struct rg_client *client, const char *stream,
                       struct rg_stream_info *ret_info)
{
    int result = admin_check(client, stream, "rg_stream_describe");
    if (result < 0) {
        return result;
    }
    if (ret_info == NULL) {
        return error_note(ERR_USAGE, "rg_stream_describe: ret_info is NULL");
    }
    struct call call = {.field = RAILGUN__FRAME__BODY_DESCRIBE, .may_repeat = true};
    Railgun__Describe request = RAILGUN__DESCRIBE__INIT;
    Railgun__DescribeOk *ok = NULL;
    request.has_kind = true;
    request.kind = RAILGUN__KIND__KIND_STREAM;
    request.name = text_of(stream);
    scan_pack(&call.body, &request.base);
    result = call_ask(client, &call, RAILGUN__FRAME__BODY_DESCRIBE_OK);
    if (result == 0) {
        result = SCAN_UNPACK(call.ret_body.bytes, railgun__describe_ok, &ok);
        if (result == 0 &&
            (ok->stream == NULL || (ok->stream->stream_id.len != 0 &&
                                    ok->stream->stream_id.len != sizeof(ret_info->stream_id)))) {
            result = ERR_PROTOCOL;
        }
        if (result < 0) {
            (void) error_note(result, "the answer cannot be read");
        } else {
            *ret_info = (struct rg_stream_info){
                .first_offset = ok->stream->first_offset,
                .next_offset = ok->stream->next_offset,
                .bytes = ok->stream->bytes,
                .version = ok->stream->version,
                .groups = ok->stream->groups,
            };
            if (ok->stream->stream_id.len != 0) {
                memcpy(ret_info->stream_id, ok->stream->stream_id.data,
                       sizeof(ret_info->stream_id));
            }
        }
        SCAN_FREE(&ok);
    }
    call_release(&call);
    return result;
}

/* `group` is NULL but for KIND_GROUP. */
static int admin_delete(struct rg_client *client, Railgun__Kind kind, const char *name,
                        const char *group)
{
    struct call call = {.field = RAILGUN__FRAME__BODY_DELETE};
    Railgun__Delete request = RAILGUN__DELETE__INIT;
    request.has_kind = true;
    request.kind = kind;
    request.name = text_of(name);
    request.group = text_of(group);
    scan_pack(&call.body, &request.base);
    int result = call_ask(client, &call, RAILGUN__FRAME__BODY_DELETE_OK);
    call_release(&call);
    return result;
}

int rg_stream_delete(struct rg_client *client, const char *stream)
{
    int result = admin_check(client, stream, "rg_stream_delete");
    return result == 0 ? admin_delete(client, RAILGUN__KIND__KIND_STREAM, stream, NULL) : result;
}

int rg_group_delete(struct rg_client *client, const char *stream, const char *group)
{
    int result = admin_check(client, stream, "rg_group_delete");
    if (result == 0 && group == NULL) {
        result = error_note(ERR_USAGE, "rg_group_delete: the group is NULL");
    }
    return result == 0 ? admin_delete(client, RAILGUN__KIND__KIND_GROUP, stream, group) : result;
}

int rg_stream_delete_now(struct rg_client *client, const char *stream, const uint8_t *stream_id)
{
    int result = admin_check(client, stream, "rg_stream_delete_now");
    if (result < 0) {
        return result;
    }
    struct call call = {.field = RAILGUN__FRAME__BODY_DELETE};
    Railgun__Delete request = RAILGUN__DELETE__INIT;
    request.has_kind = true;
    request.kind = RAILGUN__KIND__KIND_STREAM;
    request.name = text_of(stream);
    request.has_now = true;
    request.now = true;
    request.has_stream_id = stream_id != NULL;
    request.stream_id = id_of(stream_id);
    scan_pack(&call.body, &request.base);
    result = call_ask(client, &call, RAILGUN__FRAME__BODY_DELETE_OK);
    call_release(&call);
    return result;
}

int rg_stream_undelete(struct rg_client *client, const char *stream, const uint8_t *stream_id)
{
    int result = admin_check(client, stream, "rg_stream_undelete");
    if (result < 0) {
        return result;
    }
    struct call call = {.field = RAILGUN__FRAME__BODY_UNDELETE, .may_repeat = true};
    Railgun__Undelete request = RAILGUN__UNDELETE__INIT;
    request.name = text_of(stream);
    request.has_stream_id = stream_id != NULL;
    request.stream_id = id_of(stream_id);
    scan_pack(&call.body, &request.base);
    result = call_ask(client, &call, RAILGUN__FRAME__BODY_UNDELETE_OK);
    call_release(&call);
    return result;
}

int rg_exchange_delete(struct rg_client *client, const char *exchange)
{
    int result = admin_check(client, exchange, "rg_exchange_delete");
    return result == 0 ? admin_delete(client, RAILGUN__KIND__KIND_EXCHANGE, exchange, NULL)
                       : result;
}

int rg_exchange_ensure(struct rg_client *client, const char *exchange,
                       const struct rg_exchange_spec *spec, enum rg_ensure_result *ret_result)
{
    int result = admin_check(client, exchange, "rg_exchange_ensure");
    if (result < 0) {
        return result;
    }
    Railgun__Ensure request = RAILGUN__ENSURE__INIT;
    Railgun__ExchangeSpec exchange_spec = RAILGUN__EXCHANGE_SPEC__INIT;
    request.has_kind = true;
    request.kind = RAILGUN__KIND__KIND_EXCHANGE;
    request.name = text_of(exchange);
    if (spec != NULL) {
        request.has_version = spec->version != 0;
        request.version = spec->version;
        exchange_spec.description = text_of(spec->description);
        exchange_spec.has_max_subscriptions = spec->max_subscriptions != 0;
        exchange_spec.max_subscriptions = spec->max_subscriptions;
        exchange_spec.has_max_topics = spec->max_topics != 0;
        exchange_spec.max_topics = spec->max_topics;
        exchange_spec.has_max_fanout = spec->max_fanout != 0;
        exchange_spec.max_fanout = spec->max_fanout;
        request.exchange = &exchange_spec;
    }
    return ensure(client, &request, ret_result);
}

/* What changes nothing, or the same when it is done twice. */
static bool field_may_repeat(uint32_t field)
{
    return field == RAILGUN__FRAME__BODY_READ || field == RAILGUN__FRAME__BODY_ENSURE ||
           field == RAILGUN__FRAME__BODY_DESCRIBE || field == RAILGUN__FRAME__BODY_LIST ||
           field == RAILGUN__FRAME__BODY_PENDING || field == RAILGUN__FRAME__BODY_UNDELETE ||
           field == RAILGUN__FRAME__BODY_LOCK || field == RAILGUN__FRAME__BODY_PING;
}

/* Frames whose answers the library itself must see. */
static bool field_is_ours(uint32_t field)
{
    return field == 0 || field >= 1000 || field == RAILGUN__FRAME__BODY_HELLO ||
           field == RAILGUN__FRAME__BODY_PUBLISH || field == RAILGUN__FRAME__BODY_CONSUME ||
           field == RAILGUN__FRAME__BODY_CANCEL || field == RAILGUN__FRAME__BODY_ACK ||
           field == RAILGUN__FRAME__BODY_CREDIT || field == RAILGUN__FRAME__BODY_ES_PUBLISH ||
           field == RAILGUN__FRAME__BODY_ES_SUBSCRIBE || field == RAILGUN__FRAME__BODY_REQUEST ||
           field == RAILGUN__FRAME__BODY_REPLY || field == RAILGUN__FRAME__BODY_REQUEST_CANCEL;
}

int rg_raw_request(struct rg_client *client, uint32_t field, const void *body, size_t size,
                   uint32_t *ret_field, void **ret_body, size_t *ret_size)
{
    int result = client_check_blocking(client, "rg_raw_request");
    if (result < 0) {
        return result;
    }
    if (field_is_ours(field) || (body == NULL && size != 0)) {
        return error_note(ERR_USAGE, "rg_raw_request: field %u has a function of its own", field);
    }
    struct call call = {.field = field, .may_repeat = field_may_repeat(field)};
    buf_append(&call.body, span_make(body, size));
    client_lock(client);
    bool is_too_large = size + FRAME_HEAD_SIZE_MAX > client->limits.frame_bytes_max;
    client_unlock(client);
    result = is_too_large ? error_note(ERR_TOO_LARGE, "larger than a frame may be")
                          : call_ask(client, &call, 0);
    if (call.ret_field != 0 && ret_field != NULL) {
        *ret_field = call.ret_field;
    }
    if (call.ret_field != 0 && ret_body != NULL && ret_size != NULL) {
        struct span answer = call.ret_body.bytes;
        *ret_body = mem_copy(answer.data, answer.size);
        *ret_size = answer.size;
    }
    call_release(&call);
    return result;
}
