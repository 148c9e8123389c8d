/* format: how a record or an ephemeral message is printed: %p payload, %k key, %h headers (name=value ...), %s size; of records also %o offset, %t time,
 * %i id, %a attempt; of messages also %T topic, %r reply address; %%; and \n \t \0 \\. */
#ifndef ADMINCTL_FORMAT_H
#define ADMINCTL_FORMAT_H

#include "adminctl/output.h"
#include "client/railgun.h"
#include "common/base/buf.h"

/* NULL if valid, else what is wrong. */
const char *format_check(const char *format);
const char *format_check_delivery(const char *format);

/* Append the record in this format; the format was checked. */
void format_record(struct buf *out, const char *format, const struct rg_record *record);

/* Append one JSON object and a newline: offset, ts_us, payload (text, or base64 in payload_base64 when it is not UTF-8), id, key, headers, attempt. */
void format_json(struct buf *out, const struct rg_record *record);

/* The same for ephemeral messages: topic, payload, key, headers, reply_to. */
void format_delivery(struct buf *out, const char *format, const struct rg_es_delivery *delivery);
void format_delivery_json(struct buf *out, const struct rg_es_delivery *delivery);

#endif
