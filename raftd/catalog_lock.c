/* catalog_lock: an operator's hand on fields. A lock is a set of rows of the table of fields; it is written as paths, so that the table may
 * grow. Decides nothing: see ensure. */
#include "raftd/catalog_private.h"

#include <string.h>

#include "common/base/err.h"

/* Is the row the path, or below it ("dedup" has "dedup.mode")? */
static bool lock_covers(const char *path, const char *row)
{
    size_t size = strlen(path);
    return strncmp(path, row, size) == 0 && (row[size] == '\0' || row[size] == '.');
}

int lock_read(enum spec_kind kind, char *const *paths, size_t count, uint32_t *ret_mask,
              const char **ret_unknown)
{
    unsigned row_count;
    const struct spec_field *rows = spec_fields(kind, &row_count);
    uint32_t mask = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t found = 0;
        for (unsigned row = 0; paths[i][0] != '\0' && row < row_count; row++) {
            found |= lock_covers(paths[i], rows[row].path) ? UINT32_C(1) << row : 0;
        }
        if (found == 0) {
            *ret_unknown = paths[i];
            return ERR_BAD_REQUEST;
        }
        mask |= found;
    }
    *ret_mask = mask;
    return 0;
}

size_t lock_paths(enum spec_kind kind, uint32_t mask, char *ret_paths[SPEC_FIELDS_MAX])
{
    unsigned row_count;
    size_t count = 0;
    const struct spec_field *rows = spec_fields(kind, &row_count);
    for (unsigned row = 0; row < row_count; row++) {
        if ((mask >> row & 1) != 0) {
            ret_paths[count++] = (char *) (uintptr_t) rows[row].path; /* no const in protobuf-c */
        }
    }
    return count;
}

int catalog_apply_lock(struct catalog *self, const Railgun__CatalogLock *message,
                       struct catalog_outcome *outcome)
{
    const Railgun__Lock *what = message->lock;
    uint32_t mask = 0;
    const char *unknown;
    if (what == NULL || message->namespace_ == NULL || what->name == NULL ||
        (what->kind != RAILGUN__KIND__KIND_STREAM && what->group == NULL)) {
        return ERR_BAD_FORMAT;
    }
    outcome->kind = what->kind == RAILGUN__KIND__KIND_STREAM ? SPEC_STREAM : SPEC_GROUP;
    if (lock_read(outcome->kind, what->paths, what->n_paths, &mask, &unknown) != 0) {
        return ERR_BAD_FORMAT; /* a newer version's row */
    }
    struct catalog_stream *stream =
        catalog_stream_of(self, span_of(message->namespace_), span_of(what->name));
    struct catalog_group *group = stream != NULL && outcome->kind == SPEC_GROUP
                                      ? catalog_group_of(self, stream, span_of(what->group))
                                      : NULL;
    if (stream == NULL) {
        outcome->error = catalog_missing(self, span_of(message->namespace_), span_of(what->name));
        return 0;
    }
    if (outcome->kind == SPEC_GROUP && group == NULL) {
        outcome->error = ERR_NOT_FOUND;
        return 0;
    }
    uint32_t *locked = group != NULL ? &group->locked : &stream->locked;
    *locked = what->has_unlock && what->unlock ? *locked & ~mask : *locked | mask;
    outcome->locked = *locked;
    catalog_tell(self, &(struct catalog_change){.kind = group != NULL ? CATALOG_GROUP_PUT
                                                                      : CATALOG_STREAM_PUT,
                                                .stream = group != NULL ? NULL : stream,
                                                .group = group});
    return 0;
}
