/* plan: see the header. Planning is an Ensure of each object that changes nothing; applying is the same with MODE_UPDATE. It must never apply a part of a file
 * of which it knows that the rest is refused. */
#include "adminctl/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/scan.h"

#include "adminctl/ask.h"
#include "adminctl/setting.h"

/* What becomes, or became, of one object. */
struct step {
    const char *action; /* create, update, unchanged, stale, refused; or created, updated */
    int error;          /* refused: why */
    const char *detail; /* of it, when it is ours; borrowed for ever; NULL: the refusal's */
    uint64_t version;   /* stored before; 0: none */
    Railgun__EnsureOk *answer;
    Railgun__Error *refusal;
};

static void step_release(struct step *self)
{
    SCAN_FREE(&self->answer);
    SCAN_FREE(&self->refusal);
}

/* What an answer to a plan means; MODE_CHECK answers DIFFERS where an update is a VERSION_CONFLICT. */
static void step_read(struct step *self, bool applied)
{
    switch ((int) self->answer->result) {
    case RAILGUN__ENSURE_OK__RESULT__CREATED:
        self->action = applied ? "created" : "create";
        break;
    case RAILGUN__ENSURE_OK__RESULT__UPDATED:
        self->action = applied ? "updated" : "update";
        break;
    case RAILGUN__ENSURE_OK__RESULT__UNCHANGED:
        self->action = "unchanged";
        break;
    case RAILGUN__ENSURE_OK__RESULT__STALE_VERSION:
        self->action = "stale";
        break;
    default:
        self->action = "refused";
        self->error = ERR_VERSION_CONFLICT;
        break;
    }
    self->version = self->answer->version;
}

static void step_ask(struct ctl *ctl, const struct planfile_object *object, bool dry_run,
                     bool allow_data_loss, struct step *ret_step)
{
    struct step step = {.action = "refused"};
    Railgun__Ensure request = RAILGUN__ENSURE__INIT;
    request.has_kind = true;
    request.kind = object->kind;
    request.name = object->name;
    request.group = object->group;
    request.has_version = true;
    request.version = object->version;
    request.has_mode = true;
    request.mode = dry_run ? RAILGUN__ENSURE__MODE__MODE_CHECK : RAILGUN__ENSURE__MODE__MODE_UPDATE;
    request.has_allow_data_loss = allow_data_loss;
    request.allow_data_loss = allow_data_loss;
    if (object->kind == RAILGUN__KIND__KIND_STREAM) {
        request.stream = (Railgun__StreamSpec *) object->spec;
    } else if (object->kind == RAILGUN__KIND__KIND_GROUP) {
        request.group_spec = (Railgun__GroupSpec *) object->spec;
    } else {
        request.exchange = (Railgun__ExchangeSpec *) object->spec;
    }
    step.error = ask_quietly(ctl, ASK_ENSURE, &request.base, &railgun__ensure_ok__descriptor,
                             (ProtobufCMessage **) (void *) &step.answer, &step.refusal);
    if (step.error == 0) {
        step_read(&step, !dry_run);
    } else if (dry_run && (step.error == ERR_NOT_FOUND || step.error == ERR_STREAM_DELETED)) {
        /* the stream of a group comes before it in the file, and is made */
        step.action = "create";
        step.error = 0;
        SCAN_FREE(&step.refusal); /* that it is not there is no news */
    }
    *ret_step = step;
}

/* --- showing ----------------------------------------------------------------------------------------------- */

static const char *kind_text(Railgun__Kind kind)
{
    return kind == RAILGUN__KIND__KIND_STREAM  ? "stream"
           : kind == RAILGUN__KIND__KIND_GROUP ? "group"
                                               : "exchange";
}

static Railgun__Diff **step_diffs(const struct step *step, size_t *ret_count)
{
    if (step->answer != NULL) {
        *ret_count = step->answer->n_diff;
        return step->answer->diff;
    }
    *ret_count = step->refusal != NULL ? step->refusal->n_diff : 0;
    return step->refusal != NULL ? step->refusal->diff : NULL;
}

static const char *step_detail(const struct step *step)
{
    if (step->detail != NULL) {
        return step->detail;
    }
    return step->refusal != NULL && step->refusal->detail != NULL ? step->refusal->detail : "";
}

/* Of what is made: the fields that the file gives. */
static void step_print_wanted(const struct planfile_object *object)
{
    (void) fflush(stdout); /* an error shows at the next one */
    struct output *out = output_new(OUTPUT_TABLE);
    output_object(out, NULL);
    setting_show(out, object->spec);
    output_end(out);
    (void) output_finish(&out); /* the same */
}

static void step_print(const struct planfile_object *object, const struct step *step)
{
    size_t count;
    Railgun__Diff **diffs = step_diffs(step, &count);
    (void) printf("%-10s %s %s%s%s (version %" PRIu64 ")", step->action, kind_text(object->kind),
                  object->name, object->group != NULL ? "/" : "",
                  object->group != NULL ? object->group : "", object->version);
    if (step->error != 0) {
        (void) printf(": %s%s%s", err_name(step->error), step_detail(step)[0] != '\0' ? ": " : "",
                      step_detail(step));
    } else if (strcmp(step->action, "stale") == 0) {
        (void) printf(": version %" PRIu64 " is stored", step->version);
    }
    (void) printf("\n");
    if (strncmp(step->action, "create", 6) == 0) {
        step_print_wanted(object);
    }
    for (size_t i = 0; i < count; i++) {
        (void) printf("             %s: %s -> %s (%s)\n", diffs[i]->path, diffs[i]->current,
                      diffs[i]->wanted, diffs[i]->class_);
    }
}

static void step_output(struct output *out, const struct planfile_object *object,
                        const struct step *step)
{
    size_t count;
    Railgun__Diff **diffs = step_diffs(step, &count);
    output_object(out, NULL);
    output_text(out, "kind", span_of(kind_text(object->kind)));
    output_text(out, object->kind == RAILGUN__KIND__KIND_EXCHANGE ? "exchange" : "stream",
                span_of(object->name));
    if (object->group != NULL) {
        output_text(out, "group", span_of(object->group));
    }
    output_text(out, "action", span_of(step->action));
    output_number(out, "version", object->version);
    output_number(out, "stored_version", step->version);
    output_text(out, "error", span_of(step->error != 0 ? err_name(step->error) : ""));
    output_text(out, "detail", span_of(step_detail(step)));
    output_object(out, "wanted");
    setting_show(out, object->spec);
    output_end(out);
    output_list(out, "differences");
    for (size_t i = 0; i < count; i++) {
        output_object(out, NULL);
        output_text(out, "path", span_of(diffs[i]->path));
        output_text(out, "current", span_of(diffs[i]->current));
        output_text(out, "wanted", span_of(diffs[i]->wanted));
        output_text(out, "class", span_of(diffs[i]->class_));
        output_end(out);
    }
    output_end(out);
    output_end(out);
}

/* 0 or a ctl_exit. */
static int steps_show(struct ctl *ctl, const struct planfile *file, const struct step *steps)
{
    if (ctl->format == OUTPUT_TABLE) {
        for (size_t i = 0; i < file->count; i++) {
            step_print(&file->objects[i], &steps[i]);
        }
        return fflush(stdout) != 0 ? CTL_FAILED : 0;
    }
    struct output *out = output_new(ctl->format);
    output_list(out, NULL);
    for (size_t i = 0; i < file->count; i++) {
        step_output(out, &file->objects[i], &steps[i]);
    }
    output_end(out);
    return output_finish(&out) < 0 ? CTL_FAILED : 0;
}

/* Is it the server's word on this object, and not that nobody could be asked? */
static bool is_verdict(const struct step *step)
{
    const struct err_info *info = err_find(step->error);
    return step->error == 0 || step->error == ERR_VERSION_CONFLICT ||
           (step->refusal != NULL && info != NULL && info->class_ == ERR_CLASS_REJECT);
}

/* --- dead letters: what the server cannot see as long as nothing of the file is there ------------------------ */

/* The stream that a group's dead letters are to go to; NULL: the file says nothing of it. */
static const char *dead_letters_of(const struct planfile_object *object)
{
    if (object->kind != RAILGUN__KIND__KIND_GROUP) {
        return NULL;
    }
    const Railgun__GroupSpec *spec = (const Railgun__GroupSpec *) object->spec;
    const char *name = spec->dlq != NULL ? spec->dlq->stream : NULL;
    return name != NULL && name[0] != '\0' ? name : NULL;
}

static bool has_ids(const struct planfile_object *object)
{
    const Railgun__StreamSpec *spec = (const Railgun__StreamSpec *) object->spec;
    return spec->dedup != NULL && spec->dedup->has_mode &&
           spec->dedup->mode != RAILGUN__DEDUP_SPEC__MODE__DEDUP_OFF;
}

/* NULL, or why this group would be refused for another object of the file; groups before it are applied before it. */
static const char *dead_letters_problem(const struct planfile *file, const struct step *steps,
                                        size_t at)
{
    const struct planfile_object *group = &file->objects[at];
    const char *target = dead_letters_of(group);
    for (size_t i = 0; target != NULL && i < file->count; i++) {
        const struct planfile_object *other = &file->objects[i];
        const char *others = strcmp(steps[i].action, "stale") != 0 ? dead_letters_of(other) : NULL;
        if (other->kind == RAILGUN__KIND__KIND_STREAM && strcmp(other->name, target) == 0 &&
            strcmp(steps[i].action, "create") == 0 && !has_ids(other)) {
            return "dlq.stream: that stream has no deduplication in this file";
        }
        if (i < at && others != NULL && strcmp(others, group->name) == 0) {
            return "dlq.stream: this stream holds dead letters: its own groups have none";
        }
        if (i < at && others != NULL && strcmp(other->name, target) == 0) {
            return "dlq.stream: that stream's own groups have dead letters: it cannot hold any";
        }
    }
    return NULL;
}

/* True: some are refused now. */
static bool steps_check_dead_letters(const struct planfile *file, struct step *steps)
{
    bool refused = false;
    for (size_t i = 0; i < file->count; i++) {
        const char *problem = steps[i].error == 0 && strcmp(steps[i].action, "stale") != 0
                                  ? dead_letters_problem(file, steps, i)
                                  : NULL;
        if (problem != NULL) {
            steps[i].action = "refused";
            steps[i].error = ERR_BAD_CONFIG;
            steps[i].detail = problem;
            refused = true;
        }
    }
    return refused;
}

/* --- the run ----------------------------------------------------------------------------------------------- */

/* Ask about each: streams and exchanges, then groups, which may make a stream for their dead letters that the file describes. 0; CTL_CONFLICT: some are refused;
 * another ctl_exit when it cannot be said, with the reason said. */
static int steps_ask(struct ctl *ctl, const struct planfile *file, bool dry_run,
                     bool allow_data_loss, struct step *steps)
{
    int result = 0;
    for (unsigned pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < file->count; i++) {
            bool is_group = file->objects[i].kind == RAILGUN__KIND__KIND_GROUP;
            if (is_group != (pass == 1)) {
                continue;
            }
            step_release(&steps[i]);
            step_ask(ctl, &file->objects[i], dry_run, allow_data_loss, &steps[i]);
            if (!is_verdict(&steps[i])) {
                Railgun__Error *refusal = steps[i].refusal;
                steps[i].refusal = NULL;
                return ask_explain(ctl, steps[i].error, refusal, "ask about the plan");
            }
            if (steps[i].error != 0) {
                result = CTL_CONFLICT;
            }
        }
    }
    if (dry_run && steps_check_dead_letters(file, steps)) {
        result = CTL_CONFLICT;
    }
    return result;
}

static int plan_file(struct ctl *ctl, const struct planfile *file, struct step *steps, bool dry_run,
                     bool allow_data_loss)
{
    int result = ctl_connect(ctl);
    if (result != 0) {
        return result;
    }
    result = steps_ask(ctl, file, true, allow_data_loss, steps);
    if (result == 0 && !dry_run) {
        result = steps_ask(ctl, file, false, allow_data_loss, steps);
    } else if (result == CTL_CONFLICT && !dry_run) {
        (void) fprintf(stderr, "adminctl: nothing was applied: a part of the file is refused\n");
    }
    if (result == 0 || result == CTL_CONFLICT) {
        int shown = steps_show(ctl, file, steps);
        result = result == 0 ? shown : result;
    }
    return result;
}

int plan_run(struct ctl *ctl, const char *path, bool dry_run, bool allow_data_loss)
{
    struct planfile file;
    struct buf problem = {0};
    if (planfile_load(path, &file, &problem) != 0) {
        int result = ctl_usage("%s", buf_text(&problem));
        buf_release(&problem);
        return result;
    }
    struct step *steps = MEM_NEW_ARRAY(file.count, struct step);
    int result = plan_file(ctl, &file, steps, dry_run, allow_data_loss);
    for (size_t i = 0; i < file.count; i++) {
        step_release(&steps[i]);
    }
    mem_free(steps);
    planfile_release(&file);
    return result;
}

int plan_one(struct ctl *ctl, const struct planfile_object *object, bool allow_data_loss)
{
    struct planfile_object copy = *object;
    const struct planfile file = {&copy, 1};
    struct step step = {0};
    int result = plan_file(ctl, &file, &step, true, allow_data_loss);
    step_release(&step);
    return result;
}
