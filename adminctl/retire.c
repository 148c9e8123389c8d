/* retire: see the header. Asks for the name once more before anything goes. */
#include "adminctl/retire.h"

#include <stdio.h>
#include <string.h>

#include "common/base/uuid.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/scan.h"

#include "adminctl/ask.h"
#include "adminctl/ensure.h"
#include "adminctl/options.h"

/* 0 with *ret_has_id (false: text is NULL), or a ctl_exit. */
static int id_parse(const char *text, struct uuid *ret_id, bool *ret_has_id)
{
    *ret_has_id = text != NULL;
    if (text != NULL && uuid_parse(span_of(text), ret_id) != 0) {
        return ctl_usage("stream: --id is a stream id as `stream ls --deleted` shows it, not '%s'",
                         text);
    }
    return 0;
}

static int show_deleted(struct ctl *ctl, const char *name, const Railgun__DeleteOk *answer)
{
    char human[32];
    struct output *out = output_new(ctl->format);
    output_object(out, NULL);
    output_text(out, "stream", span_of(name));
    output_text(out, "result", span_of("deleted"));
    ensure_put_stream_id(out, answer->stream_id);
    output_text(out, "undelete_until",
                span_of(answer->has_undelete_until_us
                            ? output_time_us(answer->undelete_until_us, human)
                            : ""));
    output_end(out);
    return output_finish(&out) < 0 ? CTL_FAILED : CTL_OK;
}

int retire_delete(struct ctl *ctl, int argc, char **argv)
{
    const char *confirm = NULL;
    const char *id_text = NULL;
    bool now = false;
    const struct option_spec specs[] = {
        {"yes", 'y', OPTION_TEXT, &confirm, "NAME", "the stream's name once more"},
        {"now", 0, OPTION_FLAG, &now, NULL,
         "for good, without grace: there is no way back; also what was deleted before"},
        {"id", 0, OPTION_TEXT, &id_text, "ID", "only the stream with this id"}};
    const struct command_help help = {
        "adminctl stream delete NAME --yes NAME [--now] [--id ID]",
        "Delete a stream, its records and its groups. Its name is free at once; until its "
        "delete_grace_ms have passed (24 h) `stream undelete` brings it back."};
    struct options_result args;
    int result = 0;
    char what[320];
    struct uuid id = {{0}};
    bool has_id = false;
    Railgun__Delete request = RAILGUN__DELETE__INIT;
    Railgun__DeleteOk *answer = NULL;

    if (options_parse(&help, specs, OPTIONS_COUNT(specs), argc, argv, 1, 1, &args, &result) < 0) {
        return result;
    }
    if (confirm == NULL || strcmp(confirm, args.arguments[0]) != 0) {
        return ctl_usage("stream delete: repeat the name to confirm: --yes %s", args.arguments[0]);
    }
    result = id_parse(id_text, &id, &has_id);
    if (result != 0) {
        return result;
    }
    memcpy(&request.name, &args.arguments[0], sizeof(request.name)); /* no const there */
    request.has_kind = true;
    request.kind = RAILGUN__KIND__KIND_STREAM;
    request.has_now = now;
    request.now = now;
    request.has_stream_id = has_id;
    request.stream_id = (ProtobufCBinaryData){sizeof(id.bytes), id.bytes};
    (void) snprintf(what, sizeof(what), "delete stream '%.255s'", args.arguments[0]);
    result = ASK(ctl, ASK_DELETE, &request, railgun__delete_ok, what, &answer);
    if (result == 0) {
        result = show_deleted(ctl, args.arguments[0], answer);
        SCAN_FREE(&answer);
    }
    return result;
}

int retire_undelete(struct ctl *ctl, int argc, char **argv)
{
    const char *id_text = NULL;
    const struct option_spec specs[] = {
        {"id", 0, OPTION_TEXT, &id_text, "ID",
         "which one, when several of that name were deleted (`stream ls --deleted`)"}};
    const struct command_help help = {
        "adminctl stream undelete NAME [--id ID]",
        "Bring a deleted stream back within its grace: records, groups and their positions.\n"
        "Exit code 4 when the name was given to another stream meanwhile."};
    struct options_result args;
    int result = 0;
    char what[320];
    struct uuid id = {{0}};
    bool has_id = false;
    Railgun__Undelete request = RAILGUN__UNDELETE__INIT;
    Railgun__UndeleteOk *answer = NULL;

    if (options_parse(&help, specs, OPTIONS_COUNT(specs), argc, argv, 1, 1, &args, &result) < 0) {
        return result;
    }
    result = id_parse(id_text, &id, &has_id);
    if (result != 0) {
        return result;
    }
    memcpy(&request.name, &args.arguments[0], sizeof(request.name)); /* no const there */
    request.has_stream_id = has_id;
    request.stream_id = (ProtobufCBinaryData){sizeof(id.bytes), id.bytes};
    (void) snprintf(what, sizeof(what), "undelete stream '%.255s'", args.arguments[0]);
    result = ASK(ctl, ASK_UNDELETE, &request, railgun__undelete_ok, what, &answer);
    if (result != 0) {
        return result;
    }
    struct output *out = output_new(ctl->format);
    output_object(out, NULL);
    output_text(out, "stream", span_of(args.arguments[0]));
    output_text(out, "result", span_of("undeleted"));
    ensure_put_stream_id(out, answer->stream_id);
    output_end(out);
    SCAN_FREE(&answer);
    return output_finish(&out) < 0 ? CTL_FAILED : CTL_OK;
}

int retire_list(struct ctl *ctl, const char *prefix)
{
    char human[32];
    Railgun__List request = RAILGUN__LIST__INIT;
    Railgun__ListOk *answer = NULL;
    request.has_kind = true;
    request.kind = RAILGUN__KIND__KIND_STREAM;
    request.has_deleted = true;
    request.deleted = true;
    request.has_limit = true;
    request.limit = UINT32_MAX;
    memcpy(&request.prefix, &prefix, sizeof(request.prefix)); /* no const there */
    int result = ASK(ctl, ASK_LIST, &request, railgun__list_ok, "list deleted streams", &answer);
    if (result != 0) {
        return result;
    }
    struct output *out = output_new(ctl->format);
    output_list(out, NULL);
    for (size_t i = 0; i < answer->n_items; i++) {
        const Railgun__ListItem *item = answer->items[i];
        output_object(out, NULL);
        output_text(out, "name", span_of(item->name));
        ensure_put_stream_id(out, item->stream_id);
        output_text(out, "deleted", span_of(output_time_us(item->deleted_us, human)));
        output_text(out, "undelete_until", span_of(output_time_us(item->undelete_until_us, human)));
        output_text(out, "description",
                    span_of(item->description != NULL ? item->description : ""));
        output_end(out);
    }
    output_end(out);
    SCAN_FREE(&answer);
    return output_finish(&out) < 0 ? CTL_FAILED : CTL_OK;
}
