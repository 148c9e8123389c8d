/* answer: builds Error messages. Owns nothing. Must never put a local error (ERR_CLASS_LOCAL) on the wire: clients get
 * INTERNAL for it. */
#include "frontd/answer.h"

#include <stddef.h>

#include "common/base/err.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/frame.h"
#include "common/wire/pb.h"

enum { ERROR_CODE = 1, ERROR_TEXT = 2, ERROR_DETAIL = 3 };

void answer_error_body(struct buf *out, int error, const char *detail)
{
    const struct err_info *info = err_find(error);
    if (info == NULL || info->class_ == ERR_CLASS_LOCAL) {
        info = err_find(ERR_INTERNAL);
    }
    pb_append_varint(out, ERROR_CODE, (uint64_t) info->number);
    pb_append_bytes(out, ERROR_TEXT, span_of(info->meaning));
    if (detail != NULL) {
        pb_append_bytes(out, ERROR_DETAIL, span_of(detail));
    }
}

void answer_error_frame(struct buf *out, uint32_t channel, uint64_t corr, int error,
                        const char *detail)
{
    struct buf body = {0};
    answer_error_body(&body, error, detail);
    frame_append(out, channel, corr, RAILGUN__FRAME__BODY_ERROR, buf_span(&body));
    buf_release(&body);
}

void answer_append_without(struct buf *out, struct span message, uint64_t without)
{
    struct span rest = message;
    struct pb_field field;
    while (pb_next(&rest, &field) == 1) {
        bool is_left_out = field.number < 64 && (without >> field.number & 1) != 0;
        if (!is_left_out) {
            buf_append(out, span_make(message.data, message.size - rest.size));
        }
        message = rest;
    }
}
