/* spec_diff: in which fields a group differs from what a consumer asked for. */
#ifndef FRONTD_SPEC_DIFF_H
#define FRONTD_SPEC_DIFF_H

#include <stdint.h>

#include "common/base/buf.h"
#include "common/wire/client.pb-c.h"

/* Append a Diff as field `number` for each field that `wanted` gives and `stored` has with another value; how many. Where a group starts is for a
 * new one and no difference. */
unsigned spec_diff_group(struct buf *out, uint32_t number, const Railgun__GroupSpec *wanted,
                         const Railgun__GroupSpec *stored);

#endif
