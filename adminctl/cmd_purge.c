/* stream purge: records removed for good. */
#include "adminctl/cmd_purge.h"

#include <stdio.h>
#include <string.h>

#include "common/wire/client.pb-c.h"
#include "common/wire/scan.h"

#include "adminctl/ask.h"
#include "adminctl/ctl.h"
#include "adminctl/options.h"

static int purge_show(struct ctl *ctl, const char *name, const Railgun__PurgeOk *answer)
{
    struct output *out = output_new(ctl->format);
    output_object(out, NULL);
    output_text(out, "stream", span_of(name));
    output_number(out, "purged", answer->purged);
    output_number(out, "first_offset", answer->first_offset);
    output_number(out, "next_offset", answer->next_offset);
    output_end(out);
    return output_finish(&out) < 0 ? CTL_FAILED : CTL_OK;
}

int stream_purge(struct ctl *ctl, int argc, char **argv)
{
    Railgun__Purge request = RAILGUN__PURGE__INIT;
    uint64_t before = UINT64_MAX;
    uint64_t keep = UINT64_MAX;
    bool forget_ids = false;
    const char *confirm = NULL;
    const struct option_spec specs[] = {
        {"before", 0, OPTION_NUMBER, &before, "OFFSET", "remove what lies before this offset"},
        {"keep", 0, OPTION_NUMBER, &keep, "N", "remove all but the newest N records"},
        {"forget-ids", 0, OPTION_FLAG, &forget_ids, NULL,
         "forget the message IDs of what is removed: they may be published again"},
        {"yes", 'y', OPTION_TEXT, &confirm, "NAME",
         "the stream's name once more: there is no way back"},
    };
    const struct command_help help = {
        "adminctl stream purge NAME [--before OFFSET | --keep N] [--forget-ids] --yes NAME",
        "Remove records from the front of a stream; all of them without --before and --keep. "
        "Offsets go on where they were.\n"
        "Groups pass over what they had not acknowledged; their consumers are told the gap."};
    struct options_result args;
    int exit_code = 0;
    char what[320];
    Railgun__PurgeOk *answer = NULL;

    if (options_parse(&help, specs, OPTIONS_COUNT(specs), argc, argv, 1, 1, &args, &exit_code) <
        0) {
        return exit_code;
    }
    if (before != UINT64_MAX && keep != UINT64_MAX) {
        return ctl_usage("stream purge: --before or --keep, not both");
    }
    if (before == 0) {
        return ctl_usage("stream purge: --before: offsets begin with 1");
    }
    if (confirm == NULL || strcmp(confirm, args.arguments[0]) != 0) {
        return ctl_usage("stream purge: repeat the name to confirm: --yes %s", args.arguments[0]);
    }
    memcpy(&request.stream, &args.arguments[0], sizeof(request.stream)); /* no const strings */
    request.has_before = before != UINT64_MAX;
    request.before = before;
    request.has_keep = keep != UINT64_MAX;
    request.keep = keep;
    request.has_forget_ids = forget_ids;
    request.forget_ids = forget_ids;
    (void) snprintf(what, sizeof(what), "purge stream '%.255s'", args.arguments[0]);
    int result = ASK(ctl, ASK_PURGE, &request, railgun__purge_ok, what, &answer);
    if (result == 0) {
        result = purge_show(ctl, args.arguments[0], answer);
        SCAN_FREE(&answer);
    }
    return result;
}
