/* change: see the header. A set is an ensure with the next version: when somebody else took that number meanwhile, it reads again and tries
 * once more, so that two sets at the same moment both come about, one after the other. What it would change is asked first: a set that would change
 * nothing, because it is so already or because it is locked, must not raise the version. */
#include "adminctl/change.h"

#include <stdio.h>
#include <string.h>

#include "common/base/err.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/scan.h"

#include "adminctl/ask.h"
#include "adminctl/ensure.h"
#include "adminctl/options.h"
#include "adminctl/setting.h"

enum { CHANGE_TRIES = 20 };

/* The stored version: 0 and it, or a ctl_exit. */
static int version_read(struct ctl *ctl, const char *stream, const char *group, const char *what,
                        uint64_t *ret_version)
{
    Railgun__DescribeOk *answer = NULL;
    int result = ask_describe(ctl, stream, group, what, &answer);
    if (result == 0) {
        *ret_version = group != NULL ? answer->group->version : answer->stream->version;
        SCAN_FREE(&answer);
    }
    return result;
}

static size_t count_locked(const Railgun__EnsureOk *answer)
{
    size_t count = 0;
    for (size_t i = 0; i < answer->n_diff; i++) {
        count += strcmp(answer->diff[i]->class_, "locked") == 0;
    }
    return count;
}

/* It is done. */
static int set_show(struct ctl *ctl, const struct ensure_object *object,
                    const Railgun__EnsureOk *answer)
{
    int result = ensure_show(ctl, object, answer, false);
    if (result == 0 && count_locked(answer) != 0) {
        (void) fprintf(stderr, "adminctl: a locked field stays as it is: unlock it to change it\n");
        result = CTL_CONFLICT;
    }
    return result;
}

/* One ensure in this mode: 0 and the answer, or an error. ERR_VERSION_CONFLICT: somebody else took that version. */
static int set_try(struct ctl *ctl, Railgun__Ensure *request, Railgun__Ensure__Mode mode,
                   Railgun__EnsureOk **ret_answer, Railgun__Error **ret_refusal)
{
    Railgun__EnsureOk *answer = NULL;
    request->mode = mode;
    int error = ask_quietly(ctl, ASK_ENSURE, &request->base, &railgun__ensure_ok__descriptor,
                            (ProtobufCMessage **) (void *) &answer, ret_refusal);
    if (error == 0 && answer->result == RAILGUN__ENSURE_OK__RESULT__STALE_VERSION) {
        SCAN_FREE(&answer);
        return ERR_VERSION_CONFLICT;
    }
    *ret_answer = answer;
    return error;
}

/* Ask what it would change, then do it, if that is anything. */
static int set_once(struct ctl *ctl, Railgun__Ensure *request, Railgun__EnsureOk **ret_answer,
                    Railgun__Error **ret_refusal)
{
    Railgun__EnsureOk *answer = NULL;
    int error = set_try(ctl, request, RAILGUN__ENSURE__MODE__MODE_CHECK, &answer, ret_refusal);
    if (error == 0 && count_locked(answer) == answer->n_diff) {
        answer->result = RAILGUN__ENSURE_OK__RESULT__UNCHANGED;
    } else if (error == 0) {
        SCAN_FREE(&answer);
        error =
            set_try(ctl, request, RAILGUN__ENSURE__MODE__MODE_UPDATE_ONLY, &answer, ret_refusal);
    }
    *ret_answer = answer;
    return error;
}

/* The request has all but its version and mode. */
static int set_ask(struct ctl *ctl, Railgun__Ensure *request, const char *group, const char *what)
{
    int result = 0;
    const struct ensure_object object = {group != NULL ? "group" : "stream",
                                         group != NULL ? request->name : NULL,
                                         group != NULL ? group : request->name};
    for (unsigned tries = 1; result == 0; tries++) {
        uint64_t version = 0;
        Railgun__EnsureOk *answer = NULL;
        Railgun__Error *refusal = NULL;
        result = version_read(ctl, request->name, group, what, &version);
        if (result != 0) {
            break;
        }
        request->has_version = true;
        request->version = version + 1;
        int error = set_once(ctl, request, &answer, &refusal);
        if (error == ERR_VERSION_CONFLICT && tries < CHANGE_TRIES) {
            SCAN_FREE(&answer);
            SCAN_FREE(&refusal);
            continue;
        }
        result = error != 0 ? ensure_explain(ctl, &object, error, refusal, what, false)
                            : set_show(ctl, &object, answer);
        SCAN_FREE(&answer);
        break;
    }
    return result;
}

/* 0 or a ctl_exit. */
static int set_fill(ProtobufCMessage *spec, const struct options_result *args, int first)
{
    struct buf problem = {0};
    int error = 0;
    for (int i = first; error == 0 && i < args->count; i++) {
        error = setting_assign(spec, args->arguments[i], &problem);
    }
    int result = error != 0 ? ctl_usage("set: %s", buf_text(&problem)) : 0;
    buf_release(&problem);
    return result;
}

static int set_run(struct ctl *ctl, int argc, char **argv, bool is_group)
{
    bool allow_data_loss = false;
    const struct option_spec specs[] = {{"allow-data-loss", 0, OPTION_FLAG, &allow_data_loss, NULL,
                                         "permit changes that drop data"}};
    const struct command_help help = {
        is_group ? "adminctl group set STREAM GROUP PATH=VALUE..."
                 : "adminctl stream set NAME PATH=VALUE...",
        "Change fields of what is there, as max_age_ms=24h or dedup.window=5m; the version goes up "
        "by one,\n"
        "unless all of it is so already.\n"
        "Exit code 4 when a field cannot change or is locked."};
    struct options_result args;
    int result = 0;
    int first = is_group ? 2 : 1;
    char what[320];
    Railgun__Ensure request = RAILGUN__ENSURE__INIT;

    if (options_parse(&help, specs, OPTIONS_COUNT(specs), argc, argv, first + 1,
                      OPTIONS_ARGUMENTS_MAX, &args, &result) < 0) {
        return result;
    }
    ProtobufCMessage *spec = setting_new(is_group ? &railgun__group_spec__descriptor
                                                  : &railgun__stream_spec__descriptor);
    memcpy(&request.name, &args.arguments[0], sizeof(request.name)); /* no const there */
    request.has_kind = true;
    request.kind = is_group ? RAILGUN__KIND__KIND_GROUP : RAILGUN__KIND__KIND_STREAM;
    request.has_mode = true;
    request.has_allow_data_loss = allow_data_loss;
    request.allow_data_loss = allow_data_loss;
    if (is_group) {
        memcpy(&request.group, &args.arguments[1], sizeof(request.group)); /* no const there */
        request.group_spec = (Railgun__GroupSpec *) spec;
    } else {
        request.stream = (Railgun__StreamSpec *) spec;
    }
    (void) snprintf(what, sizeof(what), "set %s '%.255s'", is_group ? "group" : "stream",
                    args.arguments[first - 1]);
    result = set_fill(spec, &args, first);
    if (result == 0) {
        result = set_ask(ctl, &request, is_group ? args.arguments[1] : NULL, what);
    }
    scan_free(&spec);
    return result;
}

int change_stream_set(struct ctl *ctl, int argc, char **argv)
{
    return set_run(ctl, argc, argv, false);
}

int change_group_set(struct ctl *ctl, int argc, char **argv)
{
    return set_run(ctl, argc, argv, true);
}

/* --- locks ------------------------------------------------------------------------------------------------- */

static int lock_show(struct ctl *ctl, const struct options_result *args, bool is_group,
                     const Railgun__LockOk *answer)
{
    struct output *out = output_new(ctl->format);
    output_object(out, NULL);
    output_text(out, "stream", span_of(args->arguments[0]));
    if (is_group) {
        output_text(out, "group", span_of(args->arguments[1]));
    }
    output_list(out, "locked");
    for (size_t i = 0; i < answer->n_locked; i++) {
        output_object(out, NULL);
        output_text(out, "path", span_of(answer->locked[i]));
        output_end(out);
    }
    output_end(out);
    output_end(out);
    return output_finish(&out) < 0 ? CTL_FAILED : CTL_OK;
}

static int lock_run(struct ctl *ctl, int argc, char **argv, bool is_group, bool unlock)
{
    static const char *const usages[2][2] = {
        {"adminctl stream lock NAME [PATH...]", "adminctl stream unlock NAME [PATH...]"},
        {"adminctl group lock STREAM GROUP [PATH...]",
         "adminctl group unlock STREAM GROUP [PATH...]"}};
    const struct command_help help = {
        usages[is_group][unlock],
        "Locked fields are an operator's: an ensure reports them with class locked and leaves them "
        "as they are.\n"
        "PATH: max_age_ms, or dedup for all of it. Without a PATH: show what is locked."};
    struct options_result args;
    int result = 0;
    int first = is_group ? 2 : 1;
    char what[320];
    char *paths[OPTIONS_ARGUMENTS_MAX];
    Railgun__Lock request = RAILGUN__LOCK__INIT;
    Railgun__LockOk *answer = NULL;

    if (options_parse(&help, NULL, 0, argc, argv, first, OPTIONS_ARGUMENTS_MAX, &args, &result) <
        0) {
        return result;
    }
    memcpy(&request.name, &args.arguments[0], sizeof(request.name)); /* no const there */
    if (is_group) {
        memcpy(&request.group, &args.arguments[1], sizeof(request.group));
    }
    for (int i = first; i < args.count; i++) {
        memcpy(&paths[i - first], &args.arguments[i], sizeof(paths[0]));
    }
    request.has_kind = true;
    request.kind = is_group ? RAILGUN__KIND__KIND_GROUP : RAILGUN__KIND__KIND_STREAM;
    request.n_paths = (size_t) (args.count - first);
    request.paths = paths;
    request.has_unlock = true;
    request.unlock = unlock;
    (void) snprintf(what, sizeof(what), "%s fields of %s '%.255s'", unlock ? "unlock" : "lock",
                    is_group ? "group" : "stream", args.arguments[first - 1]);
    result = ASK(ctl, ASK_LOCK, &request, railgun__lock_ok, what, &answer);
    if (result == 0) {
        result = lock_show(ctl, &args, is_group, answer);
        SCAN_FREE(&answer);
    }
    return result;
}

int change_stream_lock(struct ctl *ctl, int argc, char **argv)
{
    return lock_run(ctl, argc, argv, false, false);
}

int change_stream_unlock(struct ctl *ctl, int argc, char **argv)
{
    return lock_run(ctl, argc, argv, false, true);
}

int change_group_lock(struct ctl *ctl, int argc, char **argv)
{
    return lock_run(ctl, argc, argv, true, false);
}

int change_group_unlock(struct ctl *ctl, int argc, char **argv)
{
    return lock_run(ctl, argc, argv, true, true);
}
