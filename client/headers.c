/* headers: checked as the server checks them, so that one bad message does not take others with it. */
#include "client/headers.h"

#include "common/base/err.h"
#include "common/wire/batch.h"
#include "common/wire/pb.h"

#include "client/client_private.h"

bool bytes_are_null(const struct rg_bytes *bytes)
{
    return bytes->data == NULL && bytes->size != 0;
}

bool headers_have_null(const struct rg_header *headers, size_t count)
{
    bool has = headers == NULL && count != 0;
    /* More than are allowed are refused for that. */
    for (size_t i = 0; !has && i < count && i < HEADERS_MAX; i++) {
        has = bytes_are_null(&headers[i].name) || bytes_are_null(&headers[i].value);
    }
    return has;
}

int headers_encode(struct buf *out, const struct rg_header *headers, size_t count)
{
    buf_reset(out);
    if (count > HEADERS_MAX) {
        return error_note(ERR_TOO_LARGE, "more than 32 headers");
    }
    for (size_t i = 0; i < count; i++) {
        struct span name = span_make(headers[i].name.data, headers[i].name.size);
        struct span value = span_make(headers[i].value.data, headers[i].value.size);
        if (!pb_is_text(name)) {
            return error_note(ERR_BAD_REQUEST, "a header's name is not UTF-8 text");
        }
        if (name.size > HEADER_BYTES_MAX || value.size > HEADER_BYTES_MAX ||
            out->size > HEADER_BYTES_MAX) {
            return error_note(ERR_TOO_LARGE, "the headers are larger than 16 KiB");
        }
        batch_header_append(out, name, value);
    }
    if (out->size > HEADER_BYTES_MAX) {
        return error_note(ERR_TOO_LARGE, "the headers are larger than 16 KiB");
    }
    return 0;
}
