/* group: ls, info, pending, delete; ensure is in configure.c, pause, resume, seek and release in cmd_group_control.c. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/err.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/scan.h"

#include "adminctl/ask.h"
#include "adminctl/change.h"
#include "adminctl/cmd_group_control.h"
#include "adminctl/configure.h"
#include "adminctl/ctl.h"
#include "adminctl/ensure.h"
#include "adminctl/options.h"
#include "adminctl/setting.h"
#include "adminctl/verbs.h"

static int group_ls(struct ctl *ctl, int argc, char **argv)
{
    const struct command_help help = {"adminctl group ls [STREAM]",
                                      "The consumer groups of a stream, or of all streams."};
    struct options_result args;
    int exit_code = 0;
    char after[600] = "";
    char human[32];
    bool more = true;

    if (options_parse(&help, NULL, 0, argc, argv, 0, 1, &args, &exit_code) < 0) {
        return exit_code;
    }
    struct output *out = output_new(ctl->format);
    output_list(out, NULL);
    while (more) {
        Railgun__List request = RAILGUN__LIST__INIT;
        Railgun__ListOk *answer = NULL;
        request.has_kind = true;
        request.kind = RAILGUN__KIND__KIND_GROUP;
        memcpy(&request.stream, &args.arguments[0], sizeof(request.stream));
        request.after = after;
        int result = ASK(ctl, ASK_LIST, &request, railgun__list_ok, "list groups", &answer);
        if (result != 0) {
            output_discard(&out);
            return result;
        }
        for (size_t i = 0; i < answer->n_items; i++) {
            const Railgun__ListItem *item = answer->items[i];
            const char *group = item->group != NULL ? item->group : "";
            output_object(out, NULL);
            output_text(out, "stream", span_of(item->name));
            output_text(out, "group", span_of(group));
            output_number(out, "version", item->version);
            output_text(out, "created", span_of(output_time_us(item->created_us, human)));
            output_text(out, "description",
                        span_of(item->description != NULL ? item->description : ""));
            output_end(out);
            (void) snprintf(after, sizeof(after), "%s/%s", item->name, group);
        }
        more = answer->more && answer->n_items > 0;
        SCAN_FREE(&answer);
    }
    output_end(out);
    return output_finish(&out) < 0 ? CTL_FAILED : CTL_OK;
}

static void put_members(struct output *out, const Railgun__GroupInfo *info)
{
    char human[32];
    output_list(out, "members");
    for (size_t i = 0; i < info->n_members; i++) {
        const Railgun__MemberInfo *member = info->members[i];
        output_object(out, NULL);
        output_number(out, "member", member->member);
        output_text(out, "consumer", span_of(member->consumer != NULL ? member->consumer : ""));
        output_text(out, "address", span_of(member->address != NULL ? member->address : ""));
        output_number(out, "in_flight", member->in_flight);
        output_number(out, "credit_messages", member->credit_messages);
        output_number_as(out, "credit_bytes", member->credit_bytes,
                         output_bytes(member->credit_bytes, human));
        output_number(out, "delivered", member->delivered);
        output_number(out, "acked", member->acked);
        if (info->epoch != 0) {
            output_text(out, "role", span_of(member->active ? "active" : "standby"));
            output_number(out, "priority", member->priority);
        }
        if (member->draining) {
            output_text(out, "draining", span_of("yes"));
        }
        output_end(out);
    }
    output_end(out);
}

static int group_info(struct ctl *ctl, int argc, char **argv)
{
    const struct command_help help = {"adminctl group info STREAM GROUP",
                                      "Where a group stands: floor (all up to here acknowledged), "
                                      "in flight, waiting for redelivery, lag; and its members."};
    struct options_result args;
    int exit_code = 0;
    char what[600];
    char human[32];
    Railgun__DescribeOk *answer = NULL;

    if (options_parse(&help, NULL, 0, argc, argv, 2, 2, &args, &exit_code) < 0) {
        return exit_code;
    }
    (void) snprintf(what, sizeof(what), "describe group '%.255s' of stream '%.255s'",
                    args.arguments[1], args.arguments[0]);
    int result = ask_describe(ctl, args.arguments[0], args.arguments[1], what, &answer);
    if (result != 0) {
        return result;
    }
    const Railgun__GroupInfo *info = answer->group;
    struct output *out = output_new(ctl->format);
    output_object(out, NULL);
    output_text(out, "stream", span_of(info->stream != NULL ? info->stream : ""));
    output_text(out, "group", span_of(info->name != NULL ? info->name : ""));
    output_number(out, "version", info->version);
    output_number(out, "floor", info->floor);
    output_number(out, "acked_above_floor", info->acked_above);
    output_number(out, "holes", info->holes);
    output_number(out, "in_flight", info->in_flight);
    output_number(out, "redelivery", info->redelivery);
    output_number(out, "next_offset", info->next_offset);
    output_number(out, "lag", info->lag);
    output_number(out, "redelivered_total", info->redelivered_total);
    output_number(out, "delayed", info->delayed);
    output_text(out, "next_due",
                span_of(info->next_due_us != 0 ? output_time_us(info->next_due_us, human) : ""));
    output_text(
        out, "paused",
        span_of(info->paused ? info->pause_reason != NULL ? info->pause_reason : "yes" : "no"));
    output_number(out, "dead", info->dead);
    output_number(out, "dying", info->dying);
    output_number(out, "skipped", info->skipped);
    output_number(out, "gap_records", info->gap_records);
    output_number(out, "reattached", info->reattached);
    output_number(out, "check_errors", info->check_errors);
    if (info->spec != NULL) {
        output_number(out, "max_in_flight", info->spec->max_in_flight);
        output_number(out, "max_holes", info->spec->max_holes);
        output_object(out, "spec");
        setting_show(out, &info->spec->base);
        output_end(out);
        ensure_put_locked(out, info->locked, info->n_locked);
    }
    if (info->ephemeral) {
        output_text(out, "ephemeral", span_of("yes"));
    }
    if (info->epoch != 0) {
        output_number(out, "epoch", info->epoch);
        output_text(out, "owner", span_of(info->owner != NULL ? info->owner : ""));
    }
    put_members(out, info);
    output_end(out);
    SCAN_FREE(&answer);
    return output_finish(&out) < 0 ? CTL_FAILED : CTL_OK;
}

static const char *pending_state(Railgun__PendingRange__State state)
{
    switch (state) {
    case RAILGUN__PENDING_RANGE__STATE__IN_FLIGHT:
        return "in_flight";
    case RAILGUN__PENDING_RANGE__STATE__WAITING:
        return "waiting";
    case RAILGUN__PENDING_RANGE__STATE__DELAYED:
        return "delayed";
    case RAILGUN__PENDING_RANGE__STATE__SKIPPED:
        return "skipped";
    case RAILGUN__PENDING_RANGE__STATE__DYING:
        return "dying";
    case _RAILGUN__PENDING_RANGE__STATE_IS_INT_SIZE:
    default:
        return "unknown";
    }
}

static void put_pending(struct output *out, const Railgun__PendingRange *range)
{
    char human[32];
    output_object(out, NULL);
    output_number(out, "first", range->first);
    output_number(out, "last", range->last);
    output_text(out, "state", span_of(pending_state(range->state)));
    output_text(out, "consumer", span_of(range->consumer != NULL ? range->consumer : ""));
    output_number(out, "attempt", range->attempt);
    output_number(out, "failed", range->failed);
    output_number_as(out, "age_ms", range->age_ms, output_duration(range->age_ms, human));
    output_text(out, "due",
                span_of(range->due_us != 0 ? output_time_us(range->due_us, human) : ""));
    output_text(out, "deadline_in",
                span_of(range->has_deadline_ms ? output_duration(range->deadline_ms, human) : ""));
    output_end(out);
}

static int group_pending(struct ctl *ctl, int argc, char **argv)
{
    uint64_t after = 0;
    uint64_t limit = 1000;
    const struct option_spec specs[] = {
        {"after", 0, OPTION_NUMBER, &after, "OFFSET", "only behind this offset"},
        {"limit", 'n', OPTION_NUMBER, &limit, "N", "at most so many ranges (default 1000)"},
    };
    const struct command_help help = {
        "adminctl group pending STREAM GROUP [--after OFFSET] [--limit N]",
        "What is unacknowledged: offset ranges, with whom they are, which attempt, how long."};
    struct options_result args;
    int exit_code = 0;
    char what[600];
    bool more = true;

    if (options_parse(&help, specs, OPTIONS_COUNT(specs), argc, argv, 2, 2, &args, &exit_code) <
        0) {
        return exit_code;
    }
    (void) snprintf(what, sizeof(what), "show what is pending in group '%.255s' of stream '%.255s'",
                    args.arguments[1], args.arguments[0]);
    struct output *out = output_new(ctl->format);
    output_list(out, NULL);
    while (more && limit > 0) {
        Railgun__Pending request = RAILGUN__PENDING__INIT;
        Railgun__PendingOk *answer = NULL;
        memcpy(&request.stream, &args.arguments[0], sizeof(request.stream));
        memcpy(&request.group, &args.arguments[1], sizeof(request.group));
        request.has_after = true;
        request.after = after;
        request.has_limit = true;
        request.limit = (uint32_t) (limit < 1000 ? limit : 1000);
        int result = ASK(ctl, ASK_PENDING, &request, railgun__pending_ok, what, &answer);
        if (result != 0) {
            output_discard(&out);
            return result;
        }
        for (size_t i = 0; i < answer->n_ranges && limit > 0; i++, limit--) {
            put_pending(out, answer->ranges[i]);
            after = answer->ranges[i]->last;
        }
        more = answer->more && answer->n_ranges > 0;
        SCAN_FREE(&answer);
    }
    output_end(out);
    return output_finish(&out) < 0 ? CTL_FAILED : CTL_OK;
}

static int group_delete(struct ctl *ctl, int argc, char **argv)
{
    const char *confirm = NULL;
    const struct option_spec specs[] = {{"yes", 'y', OPTION_TEXT, &confirm, "GROUP",
                                         "the group's name once more: its position is lost"}};
    const struct command_help help = {"adminctl group delete STREAM GROUP --yes GROUP",
                                      "Delete a group and its position; the records stay."};
    struct options_result args;
    int exit_code = 0;

    if (options_parse(&help, specs, OPTIONS_COUNT(specs), argc, argv, 2, 2, &args, &exit_code) <
        0) {
        return exit_code;
    }
    if (confirm == NULL || strcmp(confirm, args.arguments[1]) != 0) {
        return ctl_usage("group delete: repeat the name to confirm: --yes %s", args.arguments[1]);
    }
    return ask_delete(ctl, args.arguments[0], args.arguments[1]);
}

int cmd_group(struct ctl *ctl, int argc, char **argv)
{
    static const struct verb verbs[] = {{"ensure", configure_group_ensure},
                                        {"set", change_group_set},
                                        {"lock", change_group_lock},
                                        {"unlock", change_group_unlock},
                                        {"ls", group_ls},
                                        {"info", group_info},
                                        {"pending", group_pending},
                                        {"pause", group_pause},
                                        {"resume", group_resume},
                                        {"seek", group_seek},
                                        {"release", group_release},
                                        {"delete", group_delete}};
    return VERBS_RUN("group", verbs, ctl, argc, argv);
}
