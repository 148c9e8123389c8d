/* changes: the head of a CatalogChanges message. It is read to the end before anything of it is applied, so that a message cut short changes nothing.
 * Owns nothing. */
#include "common/wire/changes.h"

#include "common/wire/pb.h"

int changes_read_head(struct span message, struct changes_head *ret_head)
{
    struct changes_head head = {0};
    struct pb_field field;
    int result = 0;
    while ((result = pb_next(&message, &field)) == 1) {
        if (field.type != PB_VARINT) {
            continue;
        }
        if (field.number == CHANGES_REVISION) {
            head.revision = field.value;
        } else if (field.number == CHANGES_RESET) {
            head.reset = field.value != 0;
        } else if (field.number == CHANGES_MORE) {
            head.more = field.value != 0;
        }
    }
    if (result == 0) {
        *ret_head = head;
    }
    return result;
}
