/* errors: codes as words, and the detail of a thread's last failed call.
 *
 * The detail is kept for each thread and not in the client: two threads that fail at the same moment must not read each other's
 * reason, and rg_connect has no client yet when it fails. It is the one global of the library. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/name.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"

#include "client/client_private.h"

struct last_error {
    char text[CLIENT_DETAIL_SIZE];
    char kept[CLIENT_DETAIL_SIZE];
};
static _Thread_local struct last_error last_error;

const char *rg_error_name(int code)
{
    return err_name(code);
}

const char *rg_error_text(int code)
{
    return code == 0 ? "no error" : err_text(code);
}

bool error_is_for_now(int code)
{
    const struct err_info *info = err_find(code);
    return info != NULL && info->class_ == ERR_CLASS_RETRY;
}

bool rg_error_is_retryable(int code)
{
    const struct err_info *info = err_find(code);
    return error_is_for_now(code) || (info != NULL && info->class_ == ERR_CLASS_UNSURE) ||
           code == ERR_AGAIN || code == ERR_CLOSED;
}

const char *rg_last_error(struct rg_client *client)
{
    (void) client; /* of this thread's last failed call, on whatever client */
    return last_error.text;
}

const char *error_keep_text(const char *text)
{
    (void) snprintf(last_error.kept, sizeof(last_error.kept), "%s", text);
    return last_error.kept;
}

int error_check_names(const char *stream, const char *group)
{
    const char *problem = stream != NULL ? name_check(span_of(stream)) : NULL;
    if (problem != NULL) {
        return error_note(ERR_BAD_REQUEST, "stream: %s", problem);
    }
    problem = group != NULL ? name_check(span_of(group)) : NULL;
    return problem != NULL ? error_note(ERR_BAD_REQUEST, "group: %s", problem) : 0;
}

int error_note(int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void) vsnprintf(last_error.text, sizeof(last_error.text), format, arguments); /* cut is fine */
    va_end(arguments);
    return code;
}

static void error_append(struct span text)
{
    size_t used = strlen(last_error.text);
    size_t room = sizeof(last_error.text) - 1 - used;
    size_t size = text.size < room ? text.size : room;
    if (size == 0) {
        return;
    }
    memcpy(last_error.text + used, text.data, size);
    last_error.text[used + size] = 0;
}

/* "path: is current, wanted wanted" */
static void error_append_diff(struct span diff)
{
    struct span parts[5] = {{0}};
    struct pb_field field;
    while (pb_next(&diff, &field) == 1) {
        if (field.number < 5 && field.type == PB_BYTES) {
            parts[field.number] = field.bytes;
        }
    }
    error_append(span_of(last_error.text[0] != 0 ? "; " : ""));
    error_append(parts[1]);
    error_append(span_of(": is "));
    error_append(parts[2]);
    error_append(span_of(", wanted "));
    error_append(parts[3]);
}

int error_note_body(int code, struct span body)
{
    struct error_answer answer = {0};
    struct pb_field field;

    last_error.text[0] = 0;
    if (error_read(body, &answer) == 0 && answer.detail.size != 0) {
        error_append(answer.detail);
    }
    while (pb_next(&body, &field) == 1) {
        if (field.number == 10 && field.type == PB_BYTES) {
            error_append_diff(field.bytes);
        }
    }
    if (last_error.text[0] == 0 && code == ERR_OUT_OF_RANGE && answer.next_offset != 0) {
        return answer.first_offset < answer.next_offset
                   ? error_note(code, "the stream holds offsets %" PRIu64 " to %" PRIu64,
                                answer.first_offset, answer.next_offset - 1)
                   : error_note(code, "the stream is empty, and goes on at offset %" PRIu64,
                                answer.next_offset);
    }
    if (last_error.text[0] == 0) {
        error_append(span_of(err_text(code)));
    }
    return code;
}

static int range_read(struct span body, struct error_answer *answer)
{
    struct pb_field field;
    int result = 0;
    while ((result = pb_next(&body, &field)) == 1) {
        if (field.number == 1 && field.type == PB_VARINT) {
            answer->range_first = field.value;
        } else if (field.number == 2 && field.type == PB_VARINT) {
            answer->range_last = field.value;
        }
    }
    answer->has_range = result == 0 && answer->range_first <= answer->range_last;
    return result;
}

/* What only publishes are told. */
static bool error_read_publish(const struct pb_field *field, struct error_answer *answer)
{
    if (field->number == 4 && field->type == PB_VARINT) {
        answer->retry_after_ms = field->value < UINT32_MAX ? (uint32_t) field->value : UINT32_MAX;
    } else if (field->number == 8 && field->type == PB_BYTES) {
        answer->last_id = field->bytes;
    } else if (field->number == 11 && field->type == PB_VARINT) {
        answer->offset = field->value;
    } else if (field->number == 12 && field->type == PB_FIXED64) {
        answer->ts_us = field->value;
    } else if (field->number == 13 && field->type == PB_VARINT) {
        answer->record = (uint32_t) field->value;
    } else {
        return false;
    }
    return true;
}

int error_read(struct span body, struct error_answer *ret_answer)
{
    struct error_answer answer = {.code = ERR_INTERNAL};
    struct pb_field field;
    int result = 0;

    while ((result = pb_next(&body, &field)) == 1) {
        if (field.number == 1 && field.type == PB_VARINT) {
            /* A number of a newer server is passed on, but it must look like an error. */
            answer.code = field.value > 0 && field.value < 1000 ? -(int) field.value : ERR_INTERNAL;
        } else if (field.number == 3 && field.type == PB_BYTES && pb_is_text(field.bytes)) {
            answer.detail = field.bytes;
        } else if (field.number == 5 && field.type == PB_VARINT) {
            answer.next_offset = field.value;
        } else if (field.number == 6 && field.type == PB_VARINT) {
            answer.first_offset = field.value;
        } else if (error_read_publish(&field, &answer)) {
            continue;
        } else if (field.number == 7 && field.type == PB_BYTES) {
            result = range_read(field.bytes, &answer);
            if (result < 0) {
                return result;
            }
        }
    }
    if (result == 0) {
        *ret_answer = answer;
    }
    return result;
}
