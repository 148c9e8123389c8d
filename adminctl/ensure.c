/* ensure: what the commands that ensure something share: modes by name, asking, and showing the answer. */
#include "adminctl/ensure.h"

#include <stdio.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/uuid.h"
#include "common/wire/scan.h"

#include "adminctl/ask.h"

static const char *result_text(Railgun__EnsureOk__Result result)
{
    switch (result) {
    case RAILGUN__ENSURE_OK__RESULT__CREATED:
        return "created";
    case RAILGUN__ENSURE_OK__RESULT__UNCHANGED:
        return "unchanged";
    case RAILGUN__ENSURE_OK__RESULT__UPDATED:
        return "updated";
    case RAILGUN__ENSURE_OK__RESULT__STALE_VERSION:
        return "stale_version";
    case RAILGUN__ENSURE_OK__RESULT__DIFFERS:
        return "differs";
    case RAILGUN__ENSURE_OK__RESULT__RESULT_NONE:
    case _RAILGUN__ENSURE_OK__RESULT_IS_INT_SIZE:
    default:
        return "unknown";
    }
}

/* "check" and so on, from client.proto's enum. */
bool ensure_mode_parse(const char *text, Railgun__Ensure__Mode *ret_mode)
{
    static const struct {
        const char *name;
        Railgun__Ensure__Mode mode;
    } modes[] = {{"update", RAILGUN__ENSURE__MODE__MODE_UPDATE},
                 {"check", RAILGUN__ENSURE__MODE__MODE_CHECK},
                 {"warn", RAILGUN__ENSURE__MODE__MODE_WARN},
                 {"create-only", RAILGUN__ENSURE__MODE__MODE_CREATE_ONLY}};
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (strcmp(modes[i].name, text) == 0) {
            *ret_mode = modes[i].mode;
            return true;
        }
    }
    return false;
}

void ensure_put_stream_id(struct output *out, ProtobufCBinaryData id)
{
    char text[UUID_TEXT_SIZE] = "";
    struct uuid uuid;
    if (uuid_from_bytes(span_make(id.data, id.len), &uuid) == 0) {
        uuid_format(&uuid, text);
    }
    output_text(out, "stream_id", span_of(text));
}

void ensure_put_locked(struct output *out, char *const *paths, size_t count)
{
    struct buf text = {0};
    for (size_t i = 0; i < count; i++) {
        buf_printf(&text, "%s%s", i == 0 ? "" : " ", paths[i]);
    }
    output_text(out, "locked", buf_span(&text));
    buf_release(&text);
}

static const char HINT_DIFFERS[] =
    "take over what is stored, or ensure with a higher --version to change it";

/* What a refused change says beside the text that every error has; may be NULL. */
static const char *refusal_hint(int error, bool has_version)
{
    if (error == ERR_VERSION_CONFLICT) {
        return has_version ? HINT_DIFFERS : "others change it at the same moment: try again";
    }
    return error == ERR_DIFFERS ? "--allow-data-loss permits it" : NULL;
}

/* `version` 0: not known. */
static int show(const struct ctl *ctl, const struct ensure_object *object, const char *result,
                int error, uint64_t version, const ProtobufCBinaryData *stream_id,
                Railgun__Diff *const *diffs, size_t diff_count)
{
    struct output *out = output_new(ctl->format);
    output_object(out, NULL);
    if (object->stream != NULL) {
        output_text(out, "stream", span_of(object->stream));
    }
    output_text(out, object->kind, span_of(object->name));
    output_text(out, "result", span_of(result));
    if (error != 0) {
        output_text(out, "error", span_of(err_name(error)));
    }
    if (version != 0) {
        output_number(out, "version", version);
    }
    if (stream_id != NULL) {
        ensure_put_stream_id(out, *stream_id);
    }
    if (diff_count > 0) {
        output_list(out, "differences");
        for (size_t i = 0; i < diff_count; i++) {
            output_object(out, NULL);
            output_text(out, "path", span_of(diffs[i]->path));
            output_text(out, "current", span_of(diffs[i]->current));
            output_text(out, "wanted", span_of(diffs[i]->wanted));
            output_text(out, "class", span_of(diffs[i]->class_));
            output_end(out);
        }
        output_end(out);
    }
    output_end(out);
    return output_finish(&out) < 0 ? CTL_FAILED : CTL_OK;
}

int ensure_show(struct ctl *ctl, const struct ensure_object *object,
                const Railgun__EnsureOk *answer, bool warn)
{
    bool is_conflict = answer->result == RAILGUN__ENSURE_OK__RESULT__DIFFERS && !warn;
    int result = show(ctl, object, result_text(answer->result), is_conflict ? ERR_DIFFERS : 0,
                      answer->version, answer->has_stream_id ? &answer->stream_id : NULL,
                      answer->diff, answer->n_diff);
    if (result == CTL_OK && is_conflict) {
        (void) fprintf(stderr, "adminctl: the stored configuration differs: %s\n", HINT_DIFFERS);
        result = CTL_CONFLICT;
    }
    return result;
}

int ensure_explain(struct ctl *ctl, const struct ensure_object *object, int error,
                   Railgun__Error *refusal, const char *what, bool has_version)
{
    const char *hint = refusal_hint(error, has_version);
    if (refusal != NULL && refusal->n_diff > 0) {
        (void) show(ctl, object, result_text(RAILGUN__ENSURE_OK__RESULT__DIFFERS), error, 0, NULL,
                    refusal->diff, refusal->n_diff); /* it is a failure already */
    }
    int result = ask_explain(ctl, error, refusal, what);
    if (hint != NULL) {
        (void) fprintf(stderr, "  %s\n", hint);
    }
    return result;
}

int ensure_ask(struct ctl *ctl, const struct ensure_object *object, const Railgun__Ensure *request)
{
    char what[320];
    Railgun__EnsureOk *answer = NULL;
    Railgun__Error *refusal = NULL;
    int result = ctl_connect(ctl);
    if (result != 0) {
        return result;
    }
    int error = ask_quietly(ctl, ASK_ENSURE, &request->base, &railgun__ensure_ok__descriptor,
                            (ProtobufCMessage **) (void *) &answer, &refusal);
    if (error != 0) {
        (void) snprintf(what, sizeof(what), "ensure %s '%.255s'", object->kind, object->name);
        return ensure_explain(ctl, object, error, refusal, what, true);
    }
    result = ensure_show(ctl, object, answer, request->mode == RAILGUN__ENSURE__MODE__MODE_WARN);
    SCAN_FREE(&answer);
    return result;
}
