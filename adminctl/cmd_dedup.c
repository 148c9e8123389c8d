/* dedup: the message IDs that a stream remembers. */
#include <stdio.h>
#include <string.h>

#include "adminctl/ctl.h"
#include "adminctl/options.h"
#include "adminctl/verbs.h"

static int show(const struct ctl *ctl, const char *stream, const char *id, bool forget,
                const struct rg_dedup_info *info)
{
    char human[32];
    struct output *out = output_new(ctl->format);
    output_object(out, NULL);
    output_text(out, "stream", span_of(stream));
    if (forget) {
        output_number(out, "forgotten", info->forgotten);
    }
    if (id != NULL && !forget) {
        output_text(out, "id", span_of(id));
        output_text(out, "found", span_of(info->found ? "yes" : "no"));
        if (info->found) {
            output_number(out, "offset", info->offset);
            output_number_as(out, "ts_us", info->ts_us, output_time_us(info->ts_us, human));
        }
    }
    output_number(out, "ids", info->ids);
    output_number(out, "hot", info->hot);
    output_number(out, "cold", info->cold);
    output_number_as(out, "memory_bytes", info->memory_bytes,
                     output_bytes(info->memory_bytes, human));
    if (info->oldest_us != 0) {
        output_number_as(out, "oldest_us", info->oldest_us, output_time_us(info->oldest_us, human));
    }
    output_number(out, "shrunk", info->shrunk);
    output_end(out);
    return output_finish(&out) < 0 ? CTL_FAILED : CTL_OK;
}

static int dedup_show(struct ctl *ctl, int argc, char **argv)
{
    const char *id = NULL;
    const struct option_spec specs[] = {
        {"id", 'i', OPTION_TEXT, &id, "ID", "is it known, and where does its record lie?"},
    };
    const struct command_help help = {
        "adminctl dedup show STREAM [--id ID]",
        "The message IDs that a stream remembers: how many, in memory (hot) and in the server's "
        "database (cold), since when; or one of them."};
    struct options_result args;
    struct rg_dedup_info info;
    int exit_code = 0;

    if (options_parse(&help, specs, OPTIONS_COUNT(specs), argc, argv, 1, 1, &args, &exit_code) <
        0) {
        return exit_code;
    }
    const char *stream = args.arguments[0];
    int result = ctl_connect(ctl);
    if (result != 0) {
        return result;
    }
    int error = id != NULL
                    ? rg_dedup_find(ctl->client, stream, (struct rg_bytes){id, strlen(id)}, &info)
                    : rg_dedup_describe(ctl->client, stream, &info);
    if (error < 0) {
        return ctl_fail(ctl, error, rg_last_error(ctl->client), "cannot show the IDs of '%s'",
                        stream);
    }
    result = show(ctl, stream, id, false, &info);
    return result == CTL_OK && id != NULL && !info.found ? CTL_NOT_FOUND : result;
}

static int dedup_forget(struct ctl *ctl, int argc, char **argv)
{
    const char *id = NULL;
    bool all = false;
    const struct option_spec specs[] = {
        {"id", 'i', OPTION_TEXT, &id, "ID", "this one"},
        {"all", 'a', OPTION_FLAG, &all, NULL, "all of them"},
    };
    const struct command_help help = {
        "adminctl dedup forget STREAM --id ID | --all",
        "Let message IDs be new: the next record that brings one is stored, though it may be "
        "there already."};
    struct options_result args;
    struct rg_dedup_info info;
    int exit_code = 0;

    if (options_parse(&help, specs, OPTIONS_COUNT(specs), argc, argv, 1, 1, &args, &exit_code) <
        0) {
        return exit_code;
    }
    if ((id != NULL) == all) {
        return ctl_usage("dedup forget: --id ID or --all");
    }
    const char *stream = args.arguments[0];
    int result = ctl_connect(ctl);
    if (result != 0) {
        return result;
    }
    int error = rg_dedup_forget(ctl->client, stream,
                                (struct rg_bytes){id, id != NULL ? strlen(id) : 0}, &info);
    if (error < 0) {
        return ctl_fail(ctl, error, rg_last_error(ctl->client), "cannot forget IDs of '%s'",
                        stream);
    }
    return show(ctl, stream, id, true, &info);
}

int cmd_dedup(struct ctl *ctl, int argc, char **argv)
{
    static const struct verb verbs[] = {{"show", dedup_show}, {"forget", dedup_forget}};
    return verbs_run("dedup", verbs, sizeof(verbs) / sizeof(verbs[0]), ctl, argc, argv);
}
