/* ensure: an Ensure and its answer for people and programs, and the names of its modes. */
#ifndef ADMINCTL_ENSURE_H
#define ADMINCTL_ENSURE_H

#include "common/wire/client.pb-c.h"

#include "adminctl/ctl.h"

/* "update", "check", "warn", "create-only". */
bool ensure_mode_parse(const char *text, Railgun__Ensure__Mode *ret_mode);

void ensure_put_stream_id(struct output *out, ProtobufCBinaryData id);

/* "locked": the paths, as a text with spaces. */
void ensure_put_locked(struct output *out, char *const *paths, size_t count);

/* What is ensured, as it is shown. Borrows. */
struct ensure_object {
    const char *kind;   /* names its field: "stream" */
    const char *stream; /* of a group, else NULL */
    const char *name;
};

/* Ask for it and print what came of it. A ctl_exit: CTL_CONFLICT when it differs, unless the mode is to warn. */
int ensure_ask(struct ctl *ctl, const struct ensure_object *object, const Railgun__Ensure *request);

/* The two halves of it. An answer, with its differences; */
int ensure_show(struct ctl *ctl, const struct ensure_object *object,
                const Railgun__EnsureOk *answer, bool warn);
/* and an error (taken: the refusal, may be NULL): its differences as result "differs", then why "cannot <what>". `has_version`: the command takes --version. */
int ensure_explain(struct ctl *ctl, const struct ensure_object *object, int error,
                   Railgun__Error *refusal, const char *what, bool has_version);

#endif
