/* dlq: the dead letters of a group: ls, show, replay, drop. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/str.h"

#include "adminctl/ctl.h"
#include "adminctl/format.h"
#include "adminctl/options.h"
#include "adminctl/verbs.h"

enum { PAGE = 1000 };

static int dlq_fail(struct ctl *ctl, int result, const char *verb, const char *stream,
                    const char *group)
{
    return ctl_fail(ctl, result, rg_last_error(ctl->client),
                    "cannot %s the dead letters of group '%s' of stream '%s'", verb, group, stream);
}

static void put_letter(struct output *out, const struct rg_dead_letter *letter)
{
    output_object(out, NULL);
    output_number(out, "offset", letter->offset);
    output_text(out, "state", span_of(letter->dlq_offset != 0 ? "dead" : "dying"));
    output_number(out, "dlq_offset", letter->dlq_offset);
    output_text(out, "dlq_stream", span_of(letter->dlq_stream));
    output_text(out, "reason", span_of(letter->reason));
    output_number(out, "failed", letter->failed);
    output_number(out, "attempts", letter->attempts);
    output_text(out, "last_error", span_of(letter->last_error));
    output_end(out);
}

static int dlq_ls(struct ctl *ctl, int argc, char **argv)
{
    uint64_t after = 0;
    uint64_t limit = PAGE;
    const struct option_spec specs[] = {
        {"after", 0, OPTION_NUMBER, &after, "OFFSET", "only behind this offset"},
        {"limit", 'n', OPTION_NUMBER, &limit, "N", "at most so many (default 1000)"},
    };
    const struct command_help help = {
        "adminctl dlq ls STREAM GROUP [--after OFFSET] [--limit N]",
        "The messages that went to the dead letters and were neither replayed nor dropped: where "
        "they lie in the dead-letter stream (0: on the way there), and why."};
    struct options_result args;
    int exit_code = 0;
    bool more = true;

    if (options_parse(&help, specs, OPTIONS_COUNT(specs), argc, argv, 2, 2, &args, &exit_code) <
        0) {
        return exit_code;
    }
    int result = ctl_connect(ctl);
    if (result != 0) {
        return result;
    }
    struct output *out = output_new(ctl->format);
    output_list(out, NULL);
    while (more && limit > 0) {
        struct rg_dead_letters letters;
        result = rg_dead_letters_list(ctl->client, args.arguments[0], args.arguments[1], after,
                                      (uint32_t) (limit < PAGE ? limit : PAGE), &letters);
        if (result < 0) {
            return dlq_fail(ctl, result, "list", args.arguments[0], args.arguments[1]);
        }
        for (size_t i = 0; i < letters.count && limit > 0; i++, limit--) {
            put_letter(out, &letters.items[i]);
            after = letters.items[i].offset;
        }
        more = letters.more && letters.count > 0;
        rg_dead_letters_free(&letters);
    }
    output_end(out);
    return output_finish(&out) < 0 ? CTL_FAILED : CTL_OK;
}

/* --- show --- */

static int show_record(struct ctl *ctl, const char *dlq_stream, uint64_t dlq_offset)
{
    struct rg_start start = {.at = RG_START_OFFSET, .value = dlq_offset};
    struct rg_reader *reader = NULL;
    struct rg_record record;
    struct buf text = {0};
    int result = rg_reader_open(ctl->client, dlq_stream, start, &reader);
    if (result == 0) {
        result = rg_reader_next(reader, (uint32_t) ctl->timeout_ms, &record);
    }
    if (result < 0) {
        rg_reader_close(&reader);
        return ctl_fail(ctl, result, rg_last_error(ctl->client),
                        "cannot read record %" PRIu64 " of stream '%s'", dlq_offset, dlq_stream);
    }
    if (ctl->format == OUTPUT_JSON) {
        format_json(&text, &record);
    } else {
        format_record(&text,
                      "offset  %o\\nstored  %t\\nid      %i\\nkey     %k\\nheaders %h\\n\\n%p\\n",
                      &record);
    }
    bool is_printed = fwrite(text.data, 1, text.size, stdout) == text.size && fflush(stdout) == 0;
    buf_release(&text);
    rg_reader_close(&reader);
    return is_printed ? CTL_OK : CTL_FAILED;
}

static int dlq_show(struct ctl *ctl, int argc, char **argv)
{
    const struct command_help help = {
        "adminctl dlq show STREAM GROUP OFFSET",
        "The dead letter that was at this offset of the stream, as it lies in the dead-letter "
        "stream: its headers tell what befell it."};
    struct options_result args;
    int exit_code = 0;

    if (options_parse(&help, NULL, 0, argc, argv, 3, 3, &args, &exit_code) < 0) {
        return exit_code;
    }
    uint64_t offset = 0;
    if (str_to_u64(span_of(args.arguments[2]), &offset) != 0 || offset == 0) {
        return ctl_usage("dlq show: an offset is a number from 1, not '%s'", args.arguments[2]);
    }
    int result = ctl_connect(ctl);
    if (result != 0) {
        return result;
    }
    struct rg_dead_letters letters;
    result = rg_dead_letters_list(ctl->client, args.arguments[0], args.arguments[1], offset - 1, 1,
                                  &letters);
    if (result < 0) {
        return dlq_fail(ctl, result, "show", args.arguments[0], args.arguments[1]);
    }
    if (letters.count == 0 || letters.items[0].offset != offset) {
        (void) fprintf(stderr, "adminctl: offset %" PRIu64 " is no dead letter of the group\n",
                       offset);
        result = CTL_NOT_FOUND;
    } else if (letters.items[0].dlq_offset == 0) {
        (void) fprintf(stderr, "adminctl: offset %" PRIu64 " is still on its way to '%s'\n", offset,
                       letters.dlq_stream);
        result = CTL_NOT_FOUND;
    } else if (letters.items[0].dlq_stream[0] == '\0') {
        (void) fprintf(stderr, "adminctl: the stream with the copy of offset %" PRIu64 " is gone\n",
                       offset);
        result = CTL_NOT_FOUND;
    } else {
        result = show_record(ctl, letters.items[0].dlq_stream, letters.items[0].dlq_offset);
    }
    rg_dead_letters_free(&letters);
    return result;
}

/* --- replay, drop --- */

typedef int change_fn(struct rg_client *client, const char *stream, const char *group,
                      uint64_t first, uint64_t last, uint64_t *ret_changed);

/* "7" or "7-9". */
static int range_parse(const char *text, uint64_t *ret_first, uint64_t *ret_last)
{
    const char *dash = strchr(text, '-');
    size_t size = dash != NULL ? (size_t) (dash - text) : strlen(text);
    uint64_t first;
    uint64_t last;
    if (str_to_u64(span_make(text, size), &first) != 0) {
        return -1;
    }
    last = first;
    if ((dash != NULL && str_to_u64(span_of(dash + 1), &last) != 0) || first == 0 || first > last) {
        return -1;
    }
    *ret_first = first;
    *ret_last = last;
    return 0;
}

/* Before anything is changed. 0, or a ctl_exit after having said what is wrong. */
static int ranges_check(const struct options_result *args, const char *verb)
{
    uint64_t first;
    uint64_t last;
    for (int i = 2; i < args->count; i++) {
        if (range_parse(args->arguments[i], &first, &last) < 0) {
            return ctl_usage("dlq %s: a range is N or FIRST-LAST, not '%s'", verb,
                             args->arguments[i]);
        }
    }
    return 0;
}

static int change_all(struct ctl *ctl, const struct options_result *args, bool all,
                      const char *verb, change_fn *change, uint64_t *ret_changed)
{
    int ranges = all ? 1 : args->count - 2;
    for (int i = 0; i < ranges; i++) {
        uint64_t first = 0;
        uint64_t last = 0;
        uint64_t changed = 0;
        if (!all) {
            (void) range_parse(args->arguments[2 + i], &first, &last); /* it was checked */
        }
        int result =
            change(ctl->client, args->arguments[0], args->arguments[1], first, last, &changed);
        if (result < 0) {
            return dlq_fail(ctl, result, verb, args->arguments[0], args->arguments[1]);
        }
        *ret_changed += changed;
    }
    return CTL_OK;
}

static int change_run(struct ctl *ctl, const struct command_help *help, int argc, char **argv,
                      const char *verb, change_fn *change)
{
    bool all = false;
    const struct option_spec specs[] = {
        {"all", 'a', OPTION_FLAG, &all, NULL, "all dead letters of the group"},
    };
    struct options_result args;
    int exit_code = 0;
    uint64_t changed = 0;

    if (options_parse(help, specs, OPTIONS_COUNT(specs), argc, argv, 2, OPTIONS_ARGUMENTS_MAX,
                      &args, &exit_code) < 0) {
        return exit_code;
    }
    if (all == (args.count > 2)) {
        return ctl_usage("dlq %s: which? Offsets (7, 10-20), or --all", verb);
    }
    int result = ranges_check(&args, verb);
    if (result == 0) {
        result = ctl_connect(ctl);
    }
    if (result == 0) {
        result = change_all(ctl, &args, all, verb, change, &changed);
    }
    if (result != 0) {
        return result;
    }
    struct output *out = output_new(ctl->format);
    output_object(out, NULL);
    output_text(out, "group", span_of(args.arguments[1]));
    output_number(out, "messages", changed);
    output_end(out);
    return output_finish(&out) < 0 ? CTL_FAILED : CTL_OK;
}

static int dlq_replay(struct ctl *ctl, int argc, char **argv)
{
    const struct command_help help = {
        "adminctl dlq replay STREAM GROUP OFFSET|FIRST-LAST ... | --all",
        "Deliver dead letters to this group again, to no other: from the stream, or, when it was "
        "trimmed there, the copy. Failures count from 0; attempts go on."};
    return change_run(ctl, &help, argc, argv, "replay", rg_dead_letters_replay);
}

static int dlq_drop(struct ctl *ctl, int argc, char **argv)
{
    const struct command_help help = {
        "adminctl dlq drop STREAM GROUP OFFSET|FIRST-LAST ... | --all",
        "Forget dead letters: they cannot be replayed any more. The records in the dead-letter "
        "stream stay."};
    return change_run(ctl, &help, argc, argv, "drop", rg_dead_letters_drop);
}

int cmd_dlq(struct ctl *ctl, int argc, char **argv)
{
    static const struct verb verbs[] = {
        {"ls", dlq_ls}, {"show", dlq_show}, {"replay", dlq_replay}, {"drop", dlq_drop}};
    return VERBS_RUN("dlq", verbs, ctl, argc, argv);
}
