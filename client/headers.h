/* headers: what a caller gives as headers of a message, checked and encoded. */
#ifndef CLIENT_HEADERS_H
#define CLIENT_HEADERS_H

#include "common/base/buf.h"

#include "client/railgun.h"

enum { HEADERS_MAX = 32, HEADER_BYTES_MAX = 16 << 10, KEY_BYTES_MAX = 128 };

/* Data that is NULL and has a size? */
bool bytes_are_null(const struct rg_bytes *bytes);
bool headers_have_null(const struct rg_header *headers, size_t count);

/* Into `out`, which is emptied first. 0; ERR_TOO_LARGE, ERR_BAD_REQUEST: noted. */
int headers_encode(struct buf *out, const struct rg_header *headers, size_t count);

#endif
