/* ensure: the rules of the row Ensure in the semantics, as one pure function. It must never ask for a time, a random number or a
 * setting: what it decides is replayed. */
#include "raftd/ensure.h"

#include <string.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/base/name.h"

static const char ENSURE_NAMESPACE[] = "default";

/* --- the request ------------------------------------------------------------------------------------------- */

const char *ensure_name_problem(const char *name)
{
    return name == NULL ? "missing" : name_check(span_of(name));
}

static int ensure_refuse(int error, struct buf *problem, const char *path, const char *reason)
{
    buf_printf(problem, "%s: %s", path, reason);
    return error;
}

static int ensure_read_names(const Railgun__Ensure *message, struct ensure_request *request,
                             struct buf *problem)
{
    const char *reason = ensure_name_problem(message->name);
    if (reason != NULL) {
        return ensure_refuse(ERR_BAD_REQUEST, problem, "name", reason);
    }
    request->name = span_of(message->name);
    if (request->kind == SPEC_GROUP) {
        reason = ensure_name_problem(message->group);
        if (reason != NULL) {
            return ensure_refuse(ERR_BAD_REQUEST, problem, "group", reason);
        }
        request->group = span_of(message->group);
    } else if (message->group != NULL && message->group[0] != '\0') {
        return ensure_refuse(ERR_BAD_REQUEST, problem, "group", "for groups only");
    }
    return 0;
}

static int ensure_read_mode(const Railgun__Ensure *message, struct ensure_request *request,
                            struct buf *problem)
{
    int mode = message->has_mode ? (int) message->mode : RAILGUN__ENSURE__MODE__MODE_UPDATE;
    switch (mode) {
    case RAILGUN__ENSURE__MODE__MODE_UPDATE:
        request->mode = ENSURE_MODE_UPDATE;
        return 0;
    case RAILGUN__ENSURE__MODE__MODE_CHECK:
        request->mode = ENSURE_MODE_CHECK;
        return 0;
    case RAILGUN__ENSURE__MODE__MODE_WARN:
        request->mode = ENSURE_MODE_WARN;
        return 0;
    case RAILGUN__ENSURE__MODE__MODE_CREATE_ONLY:
        request->mode = ENSURE_MODE_CREATE_ONLY;
        return 0;
    case RAILGUN__ENSURE__MODE__MODE_UPDATE_ONLY:
        request->mode = ENSURE_MODE_UPDATE_ONLY;
        return 0;
    default:
        return ensure_refuse(ERR_BAD_REQUEST, problem, "mode", "unknown");
    }
}

bool ensure_kind(Railgun__Kind kind, enum spec_kind *ret_kind)
{
    switch ((int) kind) { /* whatever number the message has */
    case RAILGUN__KIND__KIND_STREAM:
        *ret_kind = SPEC_STREAM;
        return true;
    case RAILGUN__KIND__KIND_GROUP:
        *ret_kind = SPEC_GROUP;
        return true;
    case RAILGUN__KIND__KIND_EXCHANGE:
        *ret_kind = SPEC_EXCHANGE;
        return true;
    default:
        return false;
    }
}

int ensure_namespace(const char *namespace_, enum spec_kind kind, struct span *ret_namespace,
                     const char **ret_problem)
{
    const char *name = namespace_ != NULL ? namespace_ : ENSURE_NAMESPACE;
    if (kind != SPEC_EXCHANGE && strcmp(name, ENSURE_NAMESPACE) != 0) {
        *ret_problem = "only \"default\" is built in so far";
        return ERR_UNSUPPORTED;
    }
    *ret_problem = ensure_name_problem(name);
    if (*ret_problem != NULL) {
        return ERR_BAD_REQUEST;
    }
    *ret_namespace = span_of(name);
    return 0;
}

/* The specification of the request's kind, and no other. An `exchange` beside another kind was never looked at: the log may have it. */
static int ensure_read_spec(const Railgun__Ensure *message, struct ensure_request *request,
                            struct buf *problem)
{
    if (request->kind != SPEC_STREAM && message->stream != NULL) {
        return ensure_refuse(ERR_BAD_REQUEST, problem, "stream",
                             "a specification of the other kind");
    }
    if (request->kind != SPEC_GROUP && message->group_spec != NULL) {
        return ensure_refuse(ERR_BAD_REQUEST, problem, "group_spec",
                             "a specification of the other kind");
    }
    switch (request->kind) {
    case SPEC_STREAM:
        spec_from_stream(message->stream, &request->wanted);
        break;
    case SPEC_GROUP:
        spec_from_group(message->group_spec, &request->wanted);
        break;
    case SPEC_EXCHANGE:
        spec_from_exchange(message->exchange, &request->wanted);
        break;
    }
    return 0;
}

int ensure_read(const char *namespace_, const Railgun__Ensure *message,
                struct ensure_request *ret_request, struct buf *problem)
{
    struct ensure_request request = {0};
    const char *reason = NULL;
    if (message == NULL) {
        return ensure_refuse(ERR_BAD_REQUEST, problem, "ensure", "missing");
    }
    if (!message->has_kind || !ensure_kind(message->kind, &request.kind)) {
        return ensure_refuse(ERR_BAD_REQUEST, problem, "kind", "must be stream, group or exchange");
    }
    int error = ensure_namespace(namespace_, request.kind, &request.namespace_, &reason);
    if (error != 0) {
        return ensure_refuse(error, problem, "namespace", reason);
    }
    error = ensure_read_names(message, &request, problem);
    if (error == 0) {
        error = ensure_read_mode(message, &request, problem);
    }
    if (error != 0) {
        return error;
    }
    request.version = message->has_version ? message->version : 1;
    if (request.version == 0) {
        return ensure_refuse(ERR_BAD_REQUEST, problem, "version", "versions begin with 1");
    }
    request.allow_data_loss = message->has_allow_data_loss && message->allow_data_loss != 0;
    error = ensure_read_spec(message, &request, problem);
    if (error == 0) {
        *ret_request = request;
    }
    return error;
}

void ensure_request_release(struct ensure_request *self)
{
    spec_release(&self->wanted);
}

/* --- the decision ------------------------------------------------------------------------------------------ */

static const char ENSURE_CLASS_SHRINKS[] = "shrinks_data";
static const char ENSURE_CLASS_IMMUTABLE[] = "immutable";
static const char ENSURE_CLASS_LOCKED[] = "locked";

static char *ensure_value(const struct spec *spec, unsigned field)
{
    struct buf text = {0};
    spec_format(spec, field, &text);
    char *copy = mem_strdup(buf_text(&text));
    buf_release(&text);
    return copy;
}

/* Returns whether something differs that is not locked. */
static bool ensure_compare(const struct spec *current, const struct spec *wanted, uint32_t locked,
                           struct ensure_decision *decision)
{
    unsigned count;
    bool differs = false;
    const struct spec_field *fields = spec_fields(current->kind, &count);
    for (unsigned i = 0; i < count; i++) {
        if (!spec_is_given(wanted, i) || !spec_field_differs(current, wanted, i)) {
            continue;
        }
        struct ensure_diff *diff = &decision->diffs[decision->diff_count++];
        diff->path = fields[i].path;
        bool is_locked = (locked >> i & 1) != 0;
        differs = differs || !is_locked;
        diff->class_ = is_locked ? ENSURE_CLASS_LOCKED : spec_class_of(current, wanted, i);
        diff->current = ensure_value(current, i);
        diff->wanted = ensure_value(wanted, i);
    }
    return differs;
}

static bool ensure_has_class(const struct ensure_decision *decision, const char *class_)
{
    for (unsigned i = 0; i < decision->diff_count; i++) {
        if (strcmp(decision->diffs[i].class_, class_) == 0) {
            return true;
        }
    }
    return false;
}

static void ensure_decide_missing(const struct ensure_request *request,
                                  struct ensure_decision *decision)
{
    if (request->mode == ENSURE_MODE_CHECK || request->mode == ENSURE_MODE_UPDATE_ONLY) {
        decision->error = ERR_NOT_FOUND;
        return;
    }
    decision->result = ENSURE_CREATED;
    decision->action = ENSURE_DO_CREATE;
    decision->version = request->version;
    spec_copy(&decision->effective, &request->wanted);
    spec_fill(&decision->effective);
}

/* A higher version: all of it or nothing. */
static void ensure_decide_higher(const struct ensure_request *request, const struct spec *current,
                                 uint32_t locked, struct ensure_decision *decision)
{
    bool immutable = ensure_has_class(decision, ENSURE_CLASS_IMMUTABLE);
    bool shrinks = ensure_has_class(decision, ENSURE_CLASS_SHRINKS) && !request->allow_data_loss;
    if (immutable || shrinks) {
        if (request->mode == ENSURE_MODE_WARN) {
            decision->result = ENSURE_DIFFERS;
        } else {
            decision->error = immutable ? ERR_IMMUTABLE : ERR_DIFFERS;
            decision->detail =
                immutable ? NULL : "stored data would be lost: allow_data_loss is needed";
        }
        return;
    }
    decision->result = ENSURE_UPDATED;
    if (request->mode == ENSURE_MODE_CHECK) {
        return;
    }
    decision->action = ENSURE_DO_UPDATE;
    decision->version = request->version;
    spec_copy(&decision->effective, current);
    spec_merge(&decision->effective, &request->wanted, ~locked);
}

void ensure_decide(const struct ensure_request *request, const struct spec *current,
                   uint64_t current_version, uint32_t locked, struct ensure_decision *ret_decision)
{
    struct ensure_decision *decision = ret_decision;
    memset(decision, 0, sizeof(*decision));
    if (current == NULL) {
        ensure_decide_missing(request, decision);
        return;
    }
    INVARIANT(current->kind == request->kind);

    decision->version = current_version;
    bool differs = ensure_compare(current, &request->wanted, locked, decision);
    if (request->version < current_version) {
        decision->result = ENSURE_STALE_VERSION; /* an old program starts again: its way is free */
    } else if (request->version > current_version && request->mode != ENSURE_MODE_CREATE_ONLY) {
        ensure_decide_higher(request, current, locked, decision);
    } else if (!differs) {
        decision->result = ENSURE_UNCHANGED;
    } else if (request->mode == ENSURE_MODE_UPDATE || request->mode == ENSURE_MODE_UPDATE_ONLY) {
        decision->error = ERR_VERSION_CONFLICT; /* two specifications under one number */
    } else {
        decision->result = ENSURE_DIFFERS;
    }
}

void ensure_decide_error(int error, const char *detail, struct ensure_decision *ret_decision)
{
    memset(ret_decision, 0, sizeof(*ret_decision));
    ret_decision->error = error;
    ret_decision->detail = detail;
}

void ensure_decision_release(struct ensure_decision *self)
{
    for (unsigned i = 0; i < self->diff_count; i++) {
        mem_free(self->diffs[i].current);
        mem_free(self->diffs[i].wanted);
    }
    self->diff_count = 0;
    spec_release(&self->effective);
}
