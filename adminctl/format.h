/* format: how a record is printed: %o offset, %p payload, %t time, %i id, %k key, %a attempt, %h headers (name=value ...), %s size, %%; and
 * \n \t \0 \\. */
#ifndef ADMINCTL_FORMAT_H
#define ADMINCTL_FORMAT_H

#include "adminctl/output.h"
#include "client/railgun.h"
#include "common/base/buf.h"

/* NULL if valid, else what is wrong. */
const char *format_check(const char *format);

/* Append the record in this format; the format was checked. */
void format_record(struct buf *out, const char *format, const struct rg_record *record);

/* Append one JSON object and a newline: offset, ts_us, payload (text, or base64 in payload_base64 when it is not UTF-8), id, key, headers, attempt. */
void format_json(struct buf *out, const struct rg_record *record);

#endif
