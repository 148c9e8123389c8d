/* ensure: what the commands that ensure something share: modes by name, and showing the answer. */
#include "adminctl/ensure.h"

#include <stdio.h>
#include <string.h>

#include "common/base/uuid.h"

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

int ensure_show(struct ctl *ctl, const char *kind, const char *stream, const char *name,
                const Railgun__EnsureOk *answer, bool warn)
{
    struct output *out = output_new(ctl->format);
    output_object(out, NULL);
    if (stream != NULL) {
        output_text(out, "stream", span_of(stream));
    }
    output_text(out, kind, span_of(name));
    output_text(out, "result", span_of(result_text(answer->result)));
    output_number(out, "version", answer->version);
    if (answer->has_stream_id) {
        ensure_put_stream_id(out, answer->stream_id);
    }
    if (answer->n_diff > 0) {
        output_list(out, "differences");
        for (size_t i = 0; i < answer->n_diff; i++) {
            const Railgun__Diff *diff = answer->diff[i];
            output_object(out, NULL);
            output_text(out, "path", span_of(diff->path));
            output_text(out, "current", span_of(diff->current));
            output_text(out, "wanted", span_of(diff->wanted));
            output_text(out, "class", span_of(diff->class_));
            output_end(out);
        }
        output_end(out);
    }
    output_end(out);
    bool differs = answer->result == RAILGUN__ENSURE_OK__RESULT__DIFFERS;
    if (output_finish(&out) < 0) {
        return CTL_FAILED;
    }
    if (differs && !warn) {
        (void) fprintf(stderr, "adminctl: the stored configuration differs: take it over, or "
                               "ensure with a higher --version to change it\n");
        return CTL_CONFLICT;
    }
    return CTL_OK;
}
