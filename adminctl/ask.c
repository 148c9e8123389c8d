/* ask: one request of the client protocol and its typed answer. */
#include "adminctl/ask.h"

#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/scan.h"

enum { ASK_ERROR_FIELD = 23 };

/* A page of a long list is our own server's: give it room. */
static const struct scan_limits ask_limits = {.depth_max = 8,
                                              .fields_max = 1 << 20,
                                              .repeated_max = 1 << 18,
                                              .memory_factor = 64,
                                              .memory_extra = 1 << 20};

int ask_explain(struct ctl *ctl, int error, Railgun__Error *refusal, const char *what)
{
    if (refusal == NULL) {
        return ctl_fail(ctl, error, rg_last_error(ctl->client), "cannot %s", what);
    }
    int exit_code = ctl_fail(ctl, error, refusal->detail, "cannot %s", what);
    for (size_t i = 0; i < refusal->n_diff; i++) {
        const Railgun__Diff *diff = refusal->diff[i];
        (void) fprintf(stderr, "  %s: is %s, wanted %s (%s)\n", diff->path, diff->current,
                       diff->wanted, diff->class_);
    }
    SCAN_FREE(&refusal);
    return exit_code;
}

/* An answer came, and is of no use. */
static int refuse_answer(struct ctl *ctl, int error, const char *detail, const char *what)
{
    return what != NULL ? ctl_fail(ctl, error, detail, "cannot %s", what) : CTL_FAILED;
}

int ask_quietly(struct ctl *ctl, enum ask_field field, const ProtobufCMessage *request,
                const ProtobufCMessageDescriptor *answer_type, ProtobufCMessage **ret_answer,
                Railgun__Error **ret_refusal)
{
    struct buf packed = {0};
    uint32_t answer_field = 0;
    void *body = NULL;
    size_t size = 0;

    *ret_refusal = NULL;
    scan_pack(&packed, request);
    int error = rg_raw_request(ctl->client, (uint32_t) field, packed.data, packed.size,
                               &answer_field, &body, &size);
    buf_release(&packed);
    if (error < 0 && body != NULL && answer_field == ASK_ERROR_FIELD) {
        /* One that cannot be read is as none. */
        (void) SCAN_UNPACK(span_make(body, size), railgun__error, ret_refusal);
    } else if (error == 0 && answer_field != (uint32_t) field + 1) {
        error = ERR_PROTOCOL;
    } else if (error == 0) {
        error = scan_unpack(span_make(body, size), answer_type, &ask_limits, ret_answer);
    }
    rg_free(body);
    return error;
}

int ask(struct ctl *ctl, enum ask_field field, const ProtobufCMessage *request,
        const ProtobufCMessageDescriptor *answer_type, const char *what,
        ProtobufCMessage **ret_answer)
{
    Railgun__Error *refusal = NULL;
    int result = ctl_connect(ctl);
    if (result != 0) {
        return result;
    }
    int error = ask_quietly(ctl, field, request, answer_type, ret_answer, &refusal);
    if (error == 0) {
        return 0;
    }
    if (what != NULL) {
        return ask_explain(ctl, error, refusal, what);
    }
    SCAN_FREE(&refusal);
    return CTL_FAILED;
}

int ask_describe(struct ctl *ctl, const char *name, const char *group, const char *what,
                 struct Railgun__DescribeOk **ret_answer)
{
    Railgun__Describe request = RAILGUN__DESCRIBE__INIT;
    Railgun__DescribeOk *answer = NULL;
    request.has_kind = true;
    request.kind = name == NULL    ? RAILGUN__KIND__KIND_NODE
                   : group == NULL ? RAILGUN__KIND__KIND_STREAM
                                   : RAILGUN__KIND__KIND_GROUP;
    memcpy(&request.name, &name, sizeof(request.name)); /* protobuf-c has no const strings */
    memcpy(&request.group, &group, sizeof(request.group));
    int result = ASK(ctl, ASK_DESCRIBE, &request, railgun__describe_ok, what, &answer);
    if (result != 0) {
        return result;
    }
    INVARIANT(answer != NULL); /* as ask promises */
    bool is_there = name == NULL    ? answer->node != NULL
                    : group == NULL ? answer->stream != NULL
                                    : answer->group != NULL;
    if (!is_there) {
        SCAN_FREE(&answer);
        return refuse_answer(ctl, ERR_PROTOCOL, "the answer does not hold what was asked for",
                             what);
    }
    *ret_answer = answer;
    return 0;
}

int ask_delete(struct ctl *ctl, const char *stream, const char *group)
{
    char what[600];
    Railgun__Delete request = RAILGUN__DELETE__INIT;
    Railgun__DeleteOk *answer = NULL;
    request.has_kind = true;
    request.kind = group != NULL ? RAILGUN__KIND__KIND_GROUP : RAILGUN__KIND__KIND_STREAM;
    memcpy(&request.name, &stream, sizeof(request.name)); /* protobuf-c has no const strings */
    memcpy(&request.group, &group, sizeof(request.group));
    (void) snprintf(what, sizeof(what), "delete %s '%.255s'", group != NULL ? "group" : "stream",
                    group != NULL ? group : stream);
    int result = ASK(ctl, ASK_DELETE, &request, railgun__delete_ok, what, &answer);
    if (result != 0) {
        return result;
    }
    SCAN_FREE(&answer);
    struct output *out = output_new(ctl->format);
    output_object(out, NULL);
    output_text(out, "stream", span_of(stream));
    if (group != NULL) {
        output_text(out, "group", span_of(group));
    }
    output_text(out, "result", span_of("deleted"));
    output_end(out);
    return output_finish(&out) < 0 ? CTL_FAILED : CTL_OK;
}
