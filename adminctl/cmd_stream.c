/* stream: ls, info, delete; purge is in cmd_purge.c, ensure is in configure.c. */
#include <stdio.h>
#include <string.h>

#include "common/wire/client.pb-c.h"
#include "common/wire/scan.h"

#include "adminctl/ask.h"
#include "adminctl/change.h"
#include "adminctl/cmd_purge.h"
#include "adminctl/configure.h"
#include "adminctl/ctl.h"
#include "adminctl/ensure.h"
#include "adminctl/options.h"
#include "adminctl/retire.h"
#include "adminctl/setting.h"
#include "adminctl/verbs.h"

static int stream_ls(struct ctl *ctl, int argc, char **argv)
{
    const char *prefix = NULL;
    bool deleted = false;
    const struct option_spec specs[] = {
        {"prefix", 0, OPTION_TEXT, &prefix, "TEXT", "only names that begin so"},
        {"deleted", 0, OPTION_FLAG, &deleted, NULL, "those that can be undeleted"}};
    const struct command_help help = {"adminctl stream ls [--prefix TEXT] [--deleted]",
                                      "The streams, in order of name."};
    struct options_result args;
    int exit_code = 0;
    char after[300] = "";
    char human[32];
    bool more = true;

    if (options_parse(&help, specs, OPTIONS_COUNT(specs), argc, argv, 0, 0, &args, &exit_code) <
        0) {
        return exit_code;
    }
    if (deleted) {
        return retire_list(ctl, prefix);
    }
    struct output *out = output_new(ctl->format);
    output_list(out, NULL);
    while (more) {
        Railgun__List request = RAILGUN__LIST__INIT;
        Railgun__ListOk *answer = NULL;
        request.has_kind = true;
        request.kind = RAILGUN__KIND__KIND_STREAM;
        memcpy(&request.prefix, &prefix, sizeof(request.prefix));
        request.after = after;
        int result = ASK(ctl, ASK_LIST, &request, railgun__list_ok, "list streams", &answer);
        if (result != 0) {
            output_discard(&out);
            return result;
        }
        for (size_t i = 0; i < answer->n_items; i++) {
            const Railgun__ListItem *item = answer->items[i];
            output_object(out, NULL);
            output_text(out, "name", span_of(item->name));
            output_number(out, "version", item->version);
            ensure_put_stream_id(out, item->stream_id);
            output_text(out, "created", span_of(output_time_us(item->created_us, human)));
            output_text(out, "description",
                        span_of(item->description != NULL ? item->description : ""));
            output_end(out);
            (void) snprintf(after, sizeof(after), "%s", item->name);
        }
        more = answer->more && answer->n_items > 0;
        SCAN_FREE(&answer);
    }
    output_end(out);
    return output_finish(&out) < 0 ? CTL_FAILED : CTL_OK;
}

enum { DEDUP_WINDOW_MS = 600000 };

/* 0 is none: it remembers none, or all of them. */
static void put_dedup(struct output *out, const Railgun__StreamInfo *info)
{
    char human[32];
    uint64_t window_ms = 0;
    const char *words = "off";
    const Railgun__DedupSpec *spec = info->spec != NULL ? info->spec->dedup : NULL;
    if (spec != NULL && spec->forever) {
        words = "for ever";
    } else if (spec != NULL && spec->mode != RAILGUN__DEDUP_SPEC__MODE__DEDUP_OFF) {
        window_ms = spec->window_ms != 0 ? spec->window_ms : (uint64_t) DEDUP_WINDOW_MS;
        words = output_duration(window_ms, human);
    }
    output_number_as(out, "dedup_window_ms", window_ms, words);
    output_number(out, "dedup_ids", info->dedup_ids);
    output_number_as(out, "dedup_bytes", info->dedup_bytes, output_bytes(info->dedup_bytes, human));
}

static void put_info(struct output *out, const Railgun__StreamInfo *info)
{
    char human[32];
    output_object(out, NULL);
    output_text(out, "name", span_of(info->name != NULL ? info->name : ""));
    ensure_put_stream_id(out, info->stream_id);
    output_number(out, "version", info->version);
    output_text(out, "description",
                span_of(info->spec != NULL && info->spec->description != NULL
                            ? info->spec->description
                            : ""));
    output_text(out, "created", span_of(output_time_us(info->created_us, human)));
    output_text(out, "first_record", span_of(output_time_us(info->first_ts_us, human)));
    output_text(out, "last_record", span_of(output_time_us(info->last_ts_us, human)));
    output_number(out, "first_offset", info->first_offset);
    output_number(out, "next_offset", info->next_offset);
    output_number(out, "records", info->records);
    output_number_as(out, "bytes", info->bytes, output_bytes(info->bytes, human));
    output_number_as(out, "pinned_bytes", info->pinned_bytes,
                     output_bytes(info->pinned_bytes, human));
    put_dedup(out, info);
    output_number(out, "groups", info->groups);
    output_number(out, "log_group", info->log_group);
    output_number(out, "term", info->term);
    output_number(out, "commit_index", info->commit_index);
    if (info->spec != NULL) {
        output_object(out, "spec");
        setting_show(out, &info->spec->base);
        output_end(out);
    }
    ensure_put_locked(out, info->locked, info->n_locked);
    output_list(out, "corrupt");
    for (size_t i = 0; i < info->n_corrupt; i++) {
        output_object(out, NULL);
        output_number(out, "first", info->corrupt[i]->first);
        output_number(out, "last", info->corrupt[i]->last);
        output_text(out, "detail",
                    span_of(info->corrupt[i]->detail != NULL ? info->corrupt[i]->detail : ""));
        output_end(out);
    }
    output_end(out);
    output_end(out);
}

static int stream_info(struct ctl *ctl, int argc, char **argv)
{
    const struct command_help help = {
        "adminctl stream info NAME",
        "Offsets, size, message IDs, groups and configuration of a stream, "
        "and ranges of damaged data if there are any."};
    struct options_result args;
    int exit_code = 0;
    char what[320];
    Railgun__DescribeOk *answer = NULL;

    if (options_parse(&help, NULL, 0, argc, argv, 1, 1, &args, &exit_code) < 0) {
        return exit_code;
    }
    (void) snprintf(what, sizeof(what), "describe stream '%.255s'", args.arguments[0]);
    int result = ask_describe(ctl, args.arguments[0], NULL, what, &answer);
    if (result != 0) {
        return result;
    }
    struct output *out = output_new(ctl->format);
    put_info(out, answer->stream);
    SCAN_FREE(&answer);
    return output_finish(&out) < 0 ? CTL_FAILED : CTL_OK;
}

int cmd_stream(struct ctl *ctl, int argc, char **argv)
{
    static const struct verb verbs[] = {{"ensure", configure_stream_ensure},
                                        {"ls", stream_ls},
                                        {"info", stream_info},
                                        {"purge", stream_purge},
                                        {"set", change_stream_set},
                                        {"lock", change_stream_lock},
                                        {"unlock", change_stream_unlock},
                                        {"delete", retire_delete},
                                        {"undelete", retire_undelete}};
    return VERBS_RUN("stream", verbs, ctl, argc, argv);
}
