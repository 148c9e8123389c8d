/* configure: stream ensure and group ensure. Every field of a specification has an option; what the options cannot say, --set PATH=VALUE says. Checks
 * nothing but the form: the server knows the limits. */
#include "adminctl/configure.h"

#include <stdio.h>
#include <string.h>

#include "common/base/invariant.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/scan.h"

#include "adminctl/ask.h"
#include "adminctl/ensure.h"
#include "adminctl/options.h"
#include "adminctl/plan.h"
#include "adminctl/setting.h"

/* An option that sets one field. */
struct configure_field {
    const char *option;
    const char *path;
    const char *value_name;
    const char *help;
};

static const struct configure_field stream_fields[] = {
    {"description", "description", "TEXT", "for people"},
    {"record-max", "record_max_bytes", "SIZE", "largest record (default: the server's)"},
    {"replicas", "replicas", "N", "copies of the stream (1 until clustering is built)"},
    {"max-age", "max_age_ms", "TIME", "records older than this go; 0: no limit (default)"},
    {"max-bytes", "max_bytes", "SIZE", "the oldest records go when there is more; 0: no limit"},
    {"max-records", "max_records", "N", "the oldest records go when there are more; 0: no limit"},
    {"retention", "retention", "HOW",
     "limits (default), or acked: kept until every durable group has acknowledged them"},
    {"retention-force", "retention_force", "BOOL",
     "with acked: the limits above hold all the same"},
    {"dedup", "dedup.mode", "MODE", "message ids: off (default), optional, required"},
    {"dedup-window", "dedup.window_ms", "TIME", "an id is known for so long (default 10m)"},
    {"dedup-max-ids", "dedup.max_ids", "N", "ids known at a time (default 4,000,000)"},
    {"dedup-reject", "dedup.reject_duplicates", "BOOL", "a duplicate is an error"},
    {"dedup-shrink", "dedup.shrink_when_full", "BOOL", "the oldest ids go instead of DEDUP_FULL"},
    {"dedup-refresh", "dedup.refresh", "BOOL", "a duplicate begins the window of its id anew"},
    {"dedup-forever", "dedup.forever", "BOOL", "no window"},
    {"fence", "fence", "TEXT", "appends that bring another fence are refused; '': none"},
    {"delete-grace", "delete_grace_ms", "TIME", "time to undelete after a deletion (default 24h)"},
};

static const struct configure_field group_fields[] = {
    {"description", "description", "TEXT", "for people"},
    {"group-mode", "mode", "MODE", "shared (default), exclusive"},
    {"order", "order", "ORDER", "of exclusive groups: strict (default), relaxed"},
    {"max-in-flight", "max_in_flight", "N", "unacknowledged messages (default 10,000)"},
    {"max-in-flight-member", "max_in_flight_member", "N", "of one member (default: as the group)"},
    {"max-holes", "max_holes", "N", "acknowledged ranges above the floor (default 10,000)"},
    {"max-delayed", "max_delayed", "N", "messages nacked with a delay (default 100,000)"},
    {"ack-wait", "ack_wait_ms", "TIME", "to acknowledge; 0: while the consumer lives (default)"},
    {"backoff", "backoff_ms", "TIMES", "of nacks without a delay (default 1s,5s,30s,2m,10m)"},
    {"backoff-jitter", "backoff_jitter_percent", "N", "default 10"},
    {"drain-timeout", "drain_timeout_ms", "TIME", "of consumers that leave (default 30s)"},
    {"inactive-ttl", "inactive_ttl_ms", "TIME", "deleted without members for so long; 0: never"},
    {"dlq", "dlq.stream", "STREAM", "where dead letters go; '': there are none (default)"},
    {"dlq-max-failed", "dlq.max_failed", "N", "dead after so many failures (default 20); 0: no"},
    {"dlq-max-distance", "dlq.max_distance", "N", "dead so far behind the newest acked; 0: no"},
    {"dlq-max-age", "dlq.max_age_ms", "TIME", "dead when so old; 0: no (default)"},
    {"dlq-on-error", "dlq.on_error", "WHAT", "block (default), park"},
    {"breaker-ratio", "dlq.breaker_ratio_percent", "N", "pause when so many are dead; 0: no"},
    {"breaker-window", "dlq.breaker_window_ms", "TIME", "default 60s"},
    {"breaker-min", "dlq.breaker_min", "N", "settled messages before it is looked at (100)"},
};

enum { CONFIGURE_FIELDS_MAX = 24, CONFIGURE_OWN_OPTIONS = 6 };
_Static_assert(OPTIONS_COUNT(stream_fields) <= (int) CONFIGURE_FIELDS_MAX &&
                   OPTIONS_COUNT(group_fields) <= (int) CONFIGURE_FIELDS_MAX,
               "there is room for every option");

/* A command line, read. */
struct configure {
    uint64_t version;
    const char *mode;
    const char *from; /* of groups */
    bool allow_data_loss;
    const char *file; /* of streams */
    bool dry_run;
    struct option_texts sets;
    const char *values[CONFIGURE_FIELDS_MAX]; /* by row; NULL: not given */
    struct options_result args;
};

/* 0, or -1 with *ret_exit. */
static int configure_parse(struct configure *self, const struct command_help *help,
                           const struct configure_field *fields, size_t count, int argc,
                           char **argv, bool is_group, int *ret_exit)
{
    struct option_spec specs[CONFIGURE_FIELDS_MAX + CONFIGURE_OWN_OPTIONS] = {
        {"version", 'V', OPTION_NUMBER, &self->version, "N",
         "of this configuration; a change needs a higher one (default 1)"},
        {"mode", 'm', OPTION_TEXT, &self->mode, "MODE",
         "update (default), check, warn, create-only"},
        {"allow-data-loss", 0, OPTION_FLAG, &self->allow_data_loss, NULL,
         "permit changes that drop data"},
        {"set", 's', OPTION_TEXTS, &self->sets, "PATH=VALUE",
         "any field by its path, as max_age_ms=24h; may be given several times"},
    };
    size_t own = 4;
    if (is_group) {
        specs[own++] = (struct option_spec){
            "from",      0,       OPTION_TEXT,
            &self->from, "WHERE", "where a new group starts (default: first): " CTL_START_FORMS};
    } else {
        specs[own++] = (struct option_spec){
            "file",      'f',    OPTION_TEXT,
            &self->file, "FILE", "many at once: see below; - is standard input"};
        specs[own++] =
            (struct option_spec){"dry-run",      0,    OPTION_FLAG,
                                 &self->dry_run, NULL, "change nothing, tell what would happen"};
    }
    int arguments = is_group ? 2 : 1;
    self->version = UINT64_MAX; /* not given */
    for (size_t i = 0; i < count; i++) {
        specs[own + i] = (struct option_spec){fields[i].option,     0,
                                              OPTION_TEXT,          &self->values[i],
                                              fields[i].value_name, fields[i].help};
    }
    return options_parse(help, specs, own + count, argc, argv, is_group ? 2 : 0, arguments,
                         &self->args, ret_exit);
}

/* 0 or a ctl_exit. */
static int configure_fill(const struct configure *self, const struct configure_field *fields,
                          size_t count, ProtobufCMessage *spec)
{
    struct buf problem = {0};
    int error = 0;
    for (size_t i = 0; error == 0 && i < count; i++) {
        if (self->values[i] != NULL) {
            error = setting_put(spec, fields[i].path, self->values[i], &problem);
        }
    }
    for (size_t i = 0; error == 0 && i < self->sets.count; i++) {
        error = setting_assign(spec, self->sets.values[i], &problem);
    }
    int result = error != 0 ? ctl_usage("%s", buf_text(&problem)) : 0;
    buf_release(&problem);
    return result;
}

/* Mode, version and so on. 0 or a ctl_exit. */
static int configure_request(const struct configure *self, Railgun__Ensure *request)
{
    if (!ensure_mode_parse(self->mode != NULL ? self->mode : "update", &request->mode)) {
        return ctl_usage("ensure: --mode is update, check, warn or create-only, not '%s'",
                         self->mode);
    }
    memcpy(&request->name, &self->args.arguments[0], sizeof(request->name)); /* no const there */
    request->has_kind = true;
    request->has_version = true;
    request->version = self->version != UINT64_MAX ? self->version : 1;
    request->has_mode = true;
    request->has_allow_data_loss = self->allow_data_loss;
    request->allow_data_loss = self->allow_data_loss;
    return 0;
}

/* Is there an option that says how one stream must be? */
static bool configure_is_given(const struct configure *self)
{
    bool is_given = self->mode != NULL || self->version != UINT64_MAX || self->sets.count > 0;
    for (size_t i = 0; i < CONFIGURE_FIELDS_MAX; i++) {
        is_given = is_given || self->values[i] != NULL;
    }
    return is_given;
}

/* 0 or a ctl_exit. */
static int configure_plan(struct ctl *ctl, const struct configure *self,
                          const Railgun__Ensure *request)
{
    if (self->mode != NULL) {
        return ctl_usage("stream ensure: --dry-run or --mode, not both");
    }
    const struct planfile_object object = {.kind = request->kind,
                                           .name = request->name,
                                           .version = request->version,
                                           .spec = &request->stream->base};
    return plan_one(ctl, &object, self->allow_data_loss);
}

int configure_stream_ensure(struct ctl *ctl, int argc, char **argv)
{
    const struct command_help help = {
        "adminctl stream ensure NAME [options]",
        "Make sure the stream exists as given; what is not given does not matter. Doing it again "
        "changes nothing.\n"
        "Exit code 4 when it exists with another configuration (the differences are shown).\n\n"
        "adminctl stream ensure -f FILE [--dry-run] [--allow-data-loss]\n"
        "Streams with their groups, and exchanges, from a file (see etc/streams.conf): plan all of "
        "it, then apply it: streams and exchanges, then groups. When a part is refused nothing is "
        "applied.\n"
        "Exit code 0: nothing is refused; 4: something is."};
    struct configure self = {0};
    int result = 0;
    Railgun__Ensure request = RAILGUN__ENSURE__INIT;

    if (configure_parse(&self, &help, stream_fields, OPTIONS_COUNT(stream_fields), argc, argv,
                        false, &result) < 0) {
        return result;
    }
    if ((self.file != NULL) == (self.args.count == 1)) {
        return ctl_usage("stream ensure: a NAME, or --file");
    }
    if (self.file != NULL && configure_is_given(&self)) {
        return ctl_usage("stream ensure: with --file, the file alone says how all of it must be");
    }
    if (self.file != NULL) {
        return plan_run(ctl, self.file, self.dry_run, self.allow_data_loss);
    }
    ProtobufCMessage *spec = setting_new(&railgun__stream_spec__descriptor);
    result = configure_fill(&self, stream_fields, OPTIONS_COUNT(stream_fields), spec);
    if (result == 0) {
        result = configure_request(&self, &request);
    }
    if (result == 0) {
        request.kind = RAILGUN__KIND__KIND_STREAM;
        request.stream = (Railgun__StreamSpec *) spec;
        const struct ensure_object object = {"stream", NULL, self.args.arguments[0]};
        result = self.dry_run ? configure_plan(ctl, &self, &request)
                              : ensure_ask(ctl, &object, &request);
    }
    scan_free(&spec);
    return result;
}

/* 0 or a ctl_exit. */
static int configure_start(const char *from, Railgun__GroupSpec *spec)
{
    struct rg_start start = {0};
    if (from == NULL) {
        return 0;
    }
    if (ctl_start_parse(from, &start) < 0) {
        return ctl_usage("group ensure: --from is " CTL_START_FORMS ", not '%s'", from);
    }
    if (spec->start == NULL) {
        spec->start = (Railgun__Start *) setting_new(&railgun__start__descriptor);
    }
    spec->start->has_at = true;
    spec->start->at = (Railgun__Start__At) start.at; /* the same numbers */
    spec->start->has_offset = start.at == RG_START_OFFSET || start.at == RG_START_LAST_N;
    spec->start->offset = start.value;
    spec->start->has_ts_us = start.at == RG_START_TIME;
    spec->start->ts_us = start.value;
    return 0;
}

int configure_group_ensure(struct ctl *ctl, int argc, char **argv)
{
    const struct command_help help = {
        "adminctl group ensure STREAM GROUP [options]",
        "Make sure the group exists as given; what is not given does not matter. Doing it again "
        "changes nothing.\n"
        "Exit code 4 when it exists with another configuration (the differences are shown)."};
    struct configure self = {0};
    int result = 0;
    Railgun__Ensure request = RAILGUN__ENSURE__INIT;

    if (configure_parse(&self, &help, group_fields, OPTIONS_COUNT(group_fields), argc, argv, true,
                        &result) < 0) {
        return result;
    }
    ProtobufCMessage *spec = setting_new(&railgun__group_spec__descriptor);
    result = configure_fill(&self, group_fields, OPTIONS_COUNT(group_fields), spec);
    if (result == 0) {
        result = configure_start(self.from, (Railgun__GroupSpec *) spec);
    }
    if (result == 0) {
        result = configure_request(&self, &request);
    }
    if (result == 0) {
        request.kind = RAILGUN__KIND__KIND_GROUP;
        memcpy(&request.group, &self.args.arguments[1], sizeof(request.group)); /* no const there */
        request.group_spec = (Railgun__GroupSpec *) spec;
        const struct ensure_object object = {"group", self.args.arguments[0],
                                             self.args.arguments[1]};
        result = ensure_ask(ctl, &object, &request);
    }
    scan_free(&spec);
    return result;
}
