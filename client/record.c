/* record: a record's headers, decoded one at a time. */
#include "common/wire/batch.h"

#include "client/railgun.h"

bool rg_record_header(const struct rg_record *record, size_t *cursor, struct rg_header *ret_header)
{
    struct span name = {0};
    struct span value = {0};
    if (record == NULL || cursor == NULL || ret_header == NULL || *cursor > record->raw.size ||
        record->raw.data == NULL) {
        return false;
    }
    const uint8_t *start = record->raw.data;
    struct span rest = span_make(start + *cursor, record->raw.size - *cursor);
    if (batch_header_next(&rest, &name, &value) != 1) {
        return false;
    }
    *cursor = record->raw.size - rest.size;
    *ret_header = (struct rg_header){{name.data, name.size}, {value.data, value.size}};
    return true;
}
