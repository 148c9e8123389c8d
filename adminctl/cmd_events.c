/* events: prints what happens in streams and groups, as it happens. */
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/err.h"

#include "adminctl/ctl.h"
#include "adminctl/message.h"
#include "adminctl/options.h"

enum { LOOK_MS = 200 };

static void json_text(struct buf *out, const char *name, const char *text)
{
    if (text[0] != '\0') {
        buf_printf(out, ",\"%s\":", name);
        output_json_text(out, span_of(text));
    }
}

static void json_number(struct buf *out, const char *name, uint64_t value)
{
    if (value != 0) {
        buf_printf(out, ",\"%s\":%llu", name, (unsigned long long) value);
    }
}

static void event_json(struct buf *out, const struct rg_watch_event *event)
{
    buf_printf(out, "{\"event\":\"%s\"", rg_watch_event_name(event->type));
    json_number(out, "ts_us", event->ts_us);
    json_text(out, "stream", event->stream);
    json_text(out, "group", event->group);
    json_number(out, "first", event->first);
    json_number(out, "last", event->last);
    json_number(out, "count", event->count);
    json_number(out, "epoch", event->epoch);
    json_text(out, "consumer", event->consumer);
    json_text(out, "detail", event->detail);
    buf_printf(out, "}\n");
}

static void event_line(struct buf *out, const struct rg_watch_event *event)
{
    char time[32] = "-";
    if (event->ts_us != 0) {
        (void) output_time_us(event->ts_us, time);
    }
    buf_printf(out, "%-24s  %-18s", time, rg_watch_event_name(event->type));
    if (event->stream[0] != '\0') {
        buf_printf(out, "  %s", event->stream);
    }
    if (event->group[0] != '\0') {
        buf_printf(out, "/%s", event->group);
    }
    if (event->first != 0) {
        buf_printf(out, "  %llu-%llu", (unsigned long long) event->first,
                   (unsigned long long) event->last);
    }
    if (event->count != 0) {
        buf_printf(out, "  count %llu", (unsigned long long) event->count);
    }
    if (event->epoch != 0) {
        buf_printf(out, "  epoch %llu", (unsigned long long) event->epoch);
    }
    if (event->consumer[0] != '\0') {
        buf_printf(out, "  consumer %s", event->consumer);
    }
    if (event->detail[0] != '\0') {
        buf_printf(out, "  (%s)", event->detail);
    }
    buf_append(out, span_of("\n"));
}

struct showing {
    struct ctl *ctl;
    uint64_t count;
    const char *only; /* an event's name; NULL: all */
    uint64_t until_ms;
};

static int events_show(struct showing *self, struct rg_watch *watch)
{
    struct buf out = {0};
    int result = 0;
    while (self->count > 0 && !message_is_stopped() && !message_output_is_closed()) {
        struct rg_watch_event event;
        if (self->until_ms != 0 && timesource_monotonic_ms(timesource_system()) >= self->until_ms) {
            break;
        }
        result = rg_watch_next(watch, LOOK_MS, &event);
        if (result == RG_ERR_AGAIN) {
            result = 0;
            continue;
        }
        if (result < 0) {
            result = ctl_fail(self->ctl, result, rg_last_error(self->ctl->client),
                              "the server ended it");
            break;
        }
        if (self->only != NULL && strcmp(self->only, rg_watch_event_name(event.type)) != 0) {
            continue;
        }
        if (self->ctl->format == OUTPUT_JSON) {
            event_json(&out, &event);
        } else {
            event_line(&out, &event);
        }
        self->count--;
        result = message_flush(&out);
        if (result != 0) {
            result = result == RG_ERR_CLOSED ? 0 : CTL_FAILED;
            break;
        }
    }
    buf_release(&out);
    return result;
}

static bool is_event_name(const char *name)
{
    for (unsigned type = RG_WATCH_GAP; type <= RG_WATCH_GROUP_DELETED; type++) {
        if (strcmp(rg_watch_event_name((enum rg_watch_event_type) type), name) == 0) {
            return true;
        }
    }
    return false;
}

int cmd_events(struct ctl *ctl, int argc, char **argv)
{
    const char *group = NULL;
    uint64_t for_ms = UINT64_MAX; /* without an end */
    struct showing showing = {.ctl = ctl, .count = UINT64_MAX};
    const struct option_spec specs[] = {
        {"group", 'g', OPTION_TEXT, &group, "GROUP", "of this group only"},
        {"event", 'e', OPTION_TEXT, &showing.only, "EVENT", "of this kind only, as it is printed"},
        {"count", 'n', OPTION_NUMBER, &showing.count, "N", "stop after N events"},
        {"for", 0, OPTION_DURATION, &for_ms, "TIME", "stop after this time, such as 30s"},
    };
    const struct command_help help = {
        "adminctl events [STREAM] [options]",
        "Print what happens in STREAM (default: in all) from now on: GAP, DEADLINE, "
        "DUPLICATE_MISMATCH, BREAKER, EPOCH, PAUSED, RESUMED, DEAD_LETTER, DEDUP_FULL, "
        "TRIMMED ... With -o json: one object a line. LOST: so many were not told, because this "
        "was too slow."};
    struct options_result args;
    struct rg_watch *watch = NULL;
    int exit_code = 0;
    if (options_parse(&help, specs, OPTIONS_COUNT(specs), argc, argv, 0, 1, &args, &exit_code) <
        0) {
        return exit_code;
    }
    const char *stream = args.count > 0 ? args.arguments[0] : NULL;
    if (group != NULL && stream == NULL) {
        return ctl_usage("events: --group needs its STREAM");
    }
    if (showing.only != NULL && !is_event_name(showing.only)) {
        return ctl_usage("events: --event: there is no '%s'; they are written as GAP, EPOCH, "
                         "DUPLICATE_MISMATCH",
                         showing.only);
    }
    int result = ctl_connect(ctl);
    if (result != 0) {
        return result;
    }
    result = rg_watch_open(ctl->client, stream, group, &watch);
    if (result < 0) {
        return ctl_fail(ctl, result, rg_last_error(ctl->client), "cannot watch %s",
                        stream != NULL ? stream : "the streams");
    }
    message_catch_stop();
    showing.until_ms =
        for_ms != UINT64_MAX ? timesource_monotonic_ms(timesource_system()) + for_ms : 0;
    result = events_show(&showing, watch);
    rg_watch_close(&watch);
    return result;
}
