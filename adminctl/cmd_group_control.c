/* group pause, resume, seek, release: what is done to a group from outside. Each is durable when the command ends. */
#include "adminctl/cmd_group_control.h"

#include <stdio.h>
#include <string.h>

#include "common/base/str.h"

#include "adminctl/ctl.h"
#include "adminctl/options.h"

static int switch_run(struct ctl *ctl, const struct command_help *help, int argc, char **argv,
                      bool is_pause)
{
    struct options_result args;
    int exit_code = 0;
    bool changed = false;
    if (options_parse(help, NULL, 0, argc, argv, 2, 2, &args, &exit_code) < 0) {
        return exit_code;
    }
    int result = ctl_connect(ctl);
    if (result != 0) {
        return result;
    }
    result = is_pause
                 ? rg_group_pause(ctl->client, args.arguments[0], args.arguments[1], &changed)
                 : rg_group_resume(ctl->client, args.arguments[0], args.arguments[1], &changed);
    if (result < 0) {
        return ctl_fail(ctl, result, rg_last_error(ctl->client),
                        "cannot %s group '%s' of stream '%s'", is_pause ? "pause" : "resume",
                        args.arguments[1], args.arguments[0]);
    }
    struct output *out = output_new(ctl->format);
    output_object(out, NULL);
    output_text(out, "group", span_of(args.arguments[1]));
    output_text(out, "state", span_of(is_pause ? "paused" : "running"));
    output_text(out, "changed", span_of(changed ? "yes" : "no"));
    output_end(out);
    return output_finish(&out) < 0 ? CTL_FAILED : CTL_OK;
}

int group_pause(struct ctl *ctl, int argc, char **argv)
{
    const struct command_help help = {
        "adminctl group pause STREAM GROUP",
        "Nothing is delivered to the group until it is resumed; acknowledgements go on."};
    return switch_run(ctl, &help, argc, argv, true);
}

int group_resume(struct ctl *ctl, int argc, char **argv)
{
    const struct command_help help = {
        "adminctl group resume STREAM GROUP",
        "Deliver again, after group pause or after the dead-letter breaker."};
    return switch_run(ctl, &help, argc, argv, false);
}

int group_seek(struct ctl *ctl, int argc, char **argv)
{
    const char *to = NULL;
    const char *gap = "error";
    const char *confirm = NULL;
    const struct option_spec specs[] = {
        {"to", 't', OPTION_TEXT, &to, "WHERE", "the first message that comes: " CTL_START_FORMS},
        {"on-gap", 0, OPTION_TEXT, &gap, "HOW",
         "when the offset is gone already: error (default), first or latest"},
        {"yes", 'y', OPTION_TEXT, &confirm, "GROUP",
         "the group's name once more: its position is lost"},
    };
    const struct command_help help = {
        "adminctl group seek STREAM GROUP --to WHERE --yes GROUP",
        "Set the group's position: all before it counts as acknowledged, all from there on comes "
        "(again). What consumers hold is theirs no more."};
    struct options_result args;
    struct rg_start start = {0};
    enum rg_on_gap on_gap = RG_GAP_ERROR;
    int exit_code = 0;
    uint64_t floor = 0;

    if (options_parse(&help, specs, OPTIONS_COUNT(specs), argc, argv, 2, 2, &args, &exit_code) <
        0) {
        return exit_code;
    }
    if (to == NULL || ctl_start_parse(to, &start) < 0) {
        return ctl_usage("group seek: where to? --to is " CTL_START_FORMS);
    }
    if (ctl_gap_parse(gap, &on_gap) < 0) {
        return ctl_usage("group seek: --on-gap is error, first or latest, not '%s'", gap);
    }
    if (confirm == NULL || strcmp(confirm, args.arguments[1]) != 0) {
        return ctl_usage("group seek: repeat the name to confirm: --yes %s", args.arguments[1]);
    }
    int result = ctl_connect(ctl);
    if (result != 0) {
        return result;
    }
    result =
        rg_group_seek(ctl->client, args.arguments[0], args.arguments[1], start, on_gap, &floor);
    if (result < 0) {
        return ctl_fail(ctl, result, rg_last_error(ctl->client),
                        "cannot seek in group '%s' of stream '%s'", args.arguments[1],
                        args.arguments[0]);
    }
    struct output *out = output_new(ctl->format);
    output_object(out, NULL);
    output_text(out, "group", span_of(args.arguments[1]));
    output_number(out, "floor", floor);
    output_number(out, "next_offset", floor + 1);
    output_end(out);
    return output_finish(&out) < 0 ? CTL_FAILED : CTL_OK;
}

/* "7" or "7-9". */
static int range_parse(const char *text, uint64_t *ret_first, uint64_t *ret_last)
{
    const char *dash = strchr(text, '-');
    struct span word = dash != NULL ? span_make(text, (size_t) (dash - text)) : span_of(text);
    uint64_t first = 0;
    uint64_t last = 0;
    if (str_to_u64(word, &first) < 0 ||
        str_to_u64(dash != NULL ? span_of(dash + 1) : word, &last) < 0 || first == 0 ||
        first > last) {
        return -1;
    }
    *ret_first = first;
    *ret_last = last;
    return 0;
}

int group_release(struct ctl *ctl, int argc, char **argv)
{
    const char *range = NULL;
    uint64_t member = UINT64_MAX;
    const struct option_spec specs[] = {
        {"range", 0, OPTION_TEXT, &range, "FIRST-LAST", "only these offsets"},
        {"member", 0, OPTION_NUMBER, &member, "N",
         "only what this member has in flight (its number: group info)"},
    };
    const struct command_help help = {
        "adminctl group release STREAM GROUP [--range FIRST-LAST] [--member N]",
        "What is in flight or delayed comes again at once, not counted as failed."};
    struct options_result args;
    int exit_code = 0;
    uint64_t first = 0;
    uint64_t last = 0;
    uint64_t released = 0;

    if (options_parse(&help, specs, OPTIONS_COUNT(specs), argc, argv, 2, 2, &args, &exit_code) <
        0) {
        return exit_code;
    }
    if (range != NULL && range_parse(range, &first, &last) < 0) {
        return ctl_usage("group release: --range is an offset or FIRST-LAST, not '%s'", range);
    }
    if (member == 0) {
        return ctl_usage("group release: --member: members are numbered from 1");
    }
    int result = ctl_connect(ctl);
    if (result != 0) {
        return result;
    }
    result = rg_group_release(ctl->client, args.arguments[0], args.arguments[1], first, last,
                              member != UINT64_MAX ? member : 0, &released);
    if (result < 0) {
        return ctl_fail(ctl, result, rg_last_error(ctl->client),
                        "cannot release messages of group '%s' of stream '%s'", args.arguments[1],
                        args.arguments[0]);
    }
    struct output *out = output_new(ctl->format);
    output_object(out, NULL);
    output_text(out, "group", span_of(args.arguments[1]));
    output_number(out, "released", released);
    output_end(out);
    return output_finish(&out) < 0 ? CTL_FAILED : CTL_OK;
}
