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

static int explain(struct ctl *ctl, int error, uint32_t field, struct span body, const char *what)
{
    Railgun__Error *answer = NULL;
    if (what == NULL) {
        return CTL_FAILED;
    }
    if (field == ASK_ERROR_FIELD && SCAN_UNPACK(body, railgun__error, &answer) == 0) {
        int exit_code = ctl_fail(ctl, error, answer->detail, "cannot %s", what);
        for (size_t i = 0; i < answer->n_diff; i++) {
            const Railgun__Diff *diff = answer->diff[i];
            (void) fprintf(stderr, "  %s: is %s, wanted %s (%s)\n", diff->path, diff->current,
                           diff->wanted, diff->class_);
        }
        SCAN_FREE(&answer);
        return exit_code;
    }
    return ctl_fail(ctl, error, rg_last_error(ctl->client), "cannot %s", what);
}

/* An answer came, and is of no use. */
static int refuse_answer(struct ctl *ctl, int error, const char *detail, const char *what)
{
    return what != NULL ? ctl_fail(ctl, error, detail, "cannot %s", what) : CTL_FAILED;
}

int ask(struct ctl *ctl, enum ask_field field, const ProtobufCMessage *request,
        const ProtobufCMessageDescriptor *answer_type, const char *what,
        ProtobufCMessage **ret_answer)
{
    struct buf packed = {0};
    uint32_t answer_field = 0;
    void *body = NULL;
    size_t size = 0;

    int result = ctl_connect(ctl);
    if (result != 0) {
        return result;
    }
    scan_pack(&packed, request);
    int error = rg_raw_request(ctl->client, (uint32_t) field, packed.data, packed.size,
                               &answer_field, &body, &size);
    buf_release(&packed);
    if (error < 0) {
        result = explain(ctl, error, body != NULL ? answer_field : 0, span_make(body, size), what);
    } else if (answer_field != (uint32_t) field + 1) {
        result = refuse_answer(ctl, ERR_PROTOCOL, "the answer is of another kind", what);
    } else {
        error = scan_unpack(span_make(body, size), answer_type, &ask_limits, ret_answer);
        result = error < 0 ? refuse_answer(ctl, error, "the answer cannot be read", what) : 0;
    }
    rg_free(body);
    return result;
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
