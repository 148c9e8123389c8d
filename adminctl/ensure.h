/* ensure: the answer to an Ensure for people and programs, and the names of its modes. */
#ifndef ADMINCTL_ENSURE_H
#define ADMINCTL_ENSURE_H

#include "common/wire/client.pb-c.h"

#include "adminctl/ctl.h"

/* "update", "check", "warn", "create-only". */
bool ensure_mode_parse(const char *text, Railgun__Ensure__Mode *ret_mode);

void ensure_put_stream_id(struct output *out, ProtobufCBinaryData id);

/* "locked": the paths, as a text with spaces. */
void ensure_put_locked(struct output *out, char *const *paths, size_t count);

/* Print what came of it, with the differences; `kind` names its field ("stream"); `stream` is the group's, else NULL. A ctl_exit: CTL_CONFLICT when it differs, unless `warn`. */
int ensure_show(struct ctl *ctl, const char *kind, const char *stream, const char *name,
                const Railgun__EnsureOk *answer, bool warn);

#endif
