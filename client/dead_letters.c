/* dead_letters: the dead letters of a group: listed, replayed, dropped. All are repeated after a lost connection: twice is once. */
#include <string.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/scan.h"

#include "client/client_private.h"

/* *ret_ok is owned (SCAN_FREE). */
static int dead_ask(struct rg_client *client, const char *stream, const char *group,
                    Railgun__DeadLetters *request, Railgun__DeadLetters__Op op,
                    Railgun__DeadLettersOk **ret_ok)
{
    int result = client_check_blocking(client, "rg_dead_letters_*");
    if (result == 0 && (stream == NULL || group == NULL)) {
        result = error_note(ERR_USAGE, "rg_dead_letters_*: the stream or the group is NULL");
    }
    if (result < 0) {
        return result;
    }
    struct call call = {.field = RAILGUN__FRAME__BODY_DEAD_LETTERS, .may_repeat = true};
    memcpy(&request->stream, &stream, sizeof(request->stream)); /* no const strings there */
    memcpy(&request->group, &group, sizeof(request->group));
    request->has_op = true;
    request->op = op;
    scan_pack(&call.body, &request->base);
    result = call_ask(client, &call, RAILGUN__FRAME__BODY_DEAD_LETTERS_OK);
    if (result == 0) {
        result = SCAN_UNPACK(call.ret_body.bytes, railgun__dead_letters_ok, ret_ok);
        result = result < 0 ? error_note(result, "the answer cannot be read") : 0;
    }
    call_release(&call);
    return result;
}

static char *text_or_empty(const char *text)
{
    return mem_strdup(text != NULL ? text : "");
}

int rg_dead_letters_list(struct rg_client *client, const char *stream, const char *group,
                         uint64_t after, uint32_t limit, struct rg_dead_letters *ret_letters)
{
    Railgun__DeadLetters request = RAILGUN__DEAD_LETTERS__INIT;
    Railgun__DeadLettersOk *ok = NULL;
    if (ret_letters == NULL) {
        return error_note(ERR_USAGE, "rg_dead_letters_list: ret_letters is NULL");
    }
    request.has_after = true;
    request.after = after;
    request.has_limit = limit != 0;
    request.limit = limit;
    int result = dead_ask(client, stream, group, &request, RAILGUN__DEAD_LETTERS__OP__LIST, &ok);
    if (result < 0 || ok == NULL) {
        return result;
    }
    INVARIANT(ok != NULL); /* as dead_ask promises */
    struct rg_dead_letters letters = {
        .dlq_stream = text_or_empty(ok->dlq_stream),
        .items = mem_new_array(ok->n_items, sizeof(*letters.items)),
        .count = ok->n_items,
        .more = ok->more,
    };
    for (size_t i = 0; i < ok->n_items; i++) {
        const Railgun__DeadLetter *item = ok->items[i];
        letters.items[i] = (struct rg_dead_letter){
            .offset = item->offset,
            .dlq_offset = item->dlq_offset,
            .reason = text_or_empty(item->reason),
            .failed = item->failed,
            .attempts = item->attempts,
            .last_error = text_or_empty(item->last_error),
            .dlq_stream =
                text_or_empty(item->dlq_stream != NULL ? item->dlq_stream : ok->dlq_stream),
        };
    }
    SCAN_FREE(&ok);
    *ret_letters = letters;
    return result;
}

void rg_dead_letters_free(struct rg_dead_letters *letters)
{
    if (letters == NULL) {
        return;
    }
    for (size_t i = 0; i < letters->count; i++) {
        mem_free(letters->items[i].reason);
        mem_free(letters->items[i].last_error);
        mem_free(letters->items[i].dlq_stream);
    }
    mem_free(letters->items);
    mem_free(letters->dlq_stream);
    *letters = (struct rg_dead_letters){0};
}

static int dead_change(struct rg_client *client, const char *stream, const char *group,
                       Railgun__DeadLetters__Op op, uint64_t first, uint64_t last,
                       uint64_t *ret_changed)
{
    Railgun__DeadLetters request = RAILGUN__DEAD_LETTERS__INIT;
    Railgun__DeadLettersOk *ok = NULL;
    Railgun__OffsetRange range = RAILGUN__OFFSET_RANGE__INIT;
    Railgun__OffsetRange *ranges[] = {&range};
    if (last != 0) {
        range.has_first = range.has_last = true;
        range.first = first != 0 ? first : 1;
        range.last = last;
        request.ranges = ranges;
        request.n_ranges = 1;
    } else {
        request.has_all = true;
        request.all = true;
    }
    int result = dead_ask(client, stream, group, &request, op, &ok);
    if (result == 0 && ret_changed != NULL) {
        *ret_changed = ok->changed;
    }
    SCAN_FREE(&ok);
    return result;
}

int rg_dead_letters_replay(struct rg_client *client, const char *stream, const char *group,
                           uint64_t first, uint64_t last, uint64_t *ret_changed)
{
    return dead_change(client, stream, group, RAILGUN__DEAD_LETTERS__OP__REPLAY, first, last,
                       ret_changed);
}

int rg_dead_letters_drop(struct rg_client *client, const char *stream, const char *group,
                         uint64_t first, uint64_t last, uint64_t *ret_changed)
{
    return dead_change(client, stream, group, RAILGUN__DEAD_LETTERS__OP__DROP, first, last,
                       ret_changed);
}
