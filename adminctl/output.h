/* output: a table for people or JSON for programs, from the same calls. A list prints as a table of its columns, or as a JSON array of objects; a record prints as
 * "name  value" lines, or as one JSON object. JSON keys never change once released. */
#ifndef ADMINCTL_OUTPUT_H
#define ADMINCTL_OUTPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/span.h"

enum output_format { OUTPUT_TABLE, OUTPUT_JSON };

struct output;

/* Everything is gathered and printed on standard output by output_finish. */
struct output *output_new(enum output_format format);

/* Begin an object: a row of the list opened before, a nested object, or (first of all) the whole. NULL name in lists and at the top. */
void output_object(struct output *self, const char *name);
void output_list(struct output *self, const char *name);
void output_end(struct output *self);

/* Fields. Text is foreign: it is escaped as the format needs. `human` of output_number_as is what a table shows instead ("4.2 GiB"). */
void output_text(struct output *self, const char *name, struct span text);
void output_number(struct output *self, const char *name, uint64_t value);
void output_number_as(struct output *self, const char *name, uint64_t value, const char *human);
void output_real(struct output *self, const char *name, double value, unsigned decimals);

/* Print, flush and destroy. 0, or ERR_IO (a closed pipe or full disk). */
int output_finish(struct output **self);
/* Nothing of it: half a list misleads. */
void output_discard(struct output **self);

/* For output that is streamed, record by record: a JSON string with its quotes; is the text UTF-8? */
void output_json_text(struct buf *out, struct span text);
bool output_is_utf8(struct span text);

/* Human forms, into `out` (at least 32 bytes); return out. */
const char *output_bytes(uint64_t bytes, char *out); /* "8.0 MiB" */
const char *output_time_us(uint64_t us, char *out);  /* "2026-11-20T21:40:22.123Z" */
const char *output_duration(uint64_t ms, char *out); /* "3 h 12 m" */

#endif
