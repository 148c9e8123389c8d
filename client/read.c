/* read: a stream in order, page after page. While the caller walks one page the next is on its way. A reader is its caller's alone, but for
 * the answer that the I/O thread puts down. */
#include <string.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/hot.h"
#include "common/wire/scan.h"

#include "client/client_private.h"
#include "client/walk.h"

enum {
    READ_RECORDS_MAX = 65536,
    READ_BYTES_MAX = 1 << 20,
    READ_WAIT_MS_MAX = 1000, /* at the end of the stream: the server answers then at the latest */
};

struct rg_reader {
    struct rg_client *client;
    char *stream;
    struct rg_start from; /* of the next page, as far as we know */
    uint64_t offset;      /* of the next record given to the caller; 0: not known yet */
    _Atomic uint64_t end;
    struct walk walk;
    /* guarded by the client's lock */
    struct call call;
    struct waiter waiter;
    bool has_answer;
};

static void reader_answered(struct call *call)
{
    struct rg_reader *self = call->ud;
    self->has_answer = true;
    (void) pthread_cond_signal(&self->waiter.cond);
}

/* Ask for the page at `from`. Lock held. */
static void reader_ask(struct rg_reader *self, uint32_t wait_ms)
{
    struct rg_client *client = self->client;
    Railgun__Read read = RAILGUN__READ__INIT;
    Railgun__Start start = RAILGUN__START__INIT;

    start_fill(&start, self->from);
    read.stream = self->stream;
    read.from = &start;
    read.has_max_records = true;
    read.max_records = READ_RECORDS_MAX;
    read.has_max_bytes = true;
    read.max_bytes = READ_BYTES_MAX;
    read.has_wait_ms = true;
    read.wait_ms = wait_ms;
    self->call.field = RAILGUN__FRAME__BODY_READ;
    self->call.may_repeat = true;
    self->call.on_done = reader_answered;
    self->call.ud = self;
    self->has_answer = false;
    buf_reset(&self->call.body);
    scan_pack(&self->call.body, &read.base);
    uint64_t deadline_us = client_request_deadline(client, client_now_us());
    call_start(client, &self->call, deadline_us + (uint64_t) wait_ms * 1000);
}

static uint32_t reader_wait_ms(const struct rg_reader *self)
{
    uint32_t half = self->client->options.request_timeout_ms / 2;
    return half < READ_WAIT_MS_MAX ? half : READ_WAIT_MS_MAX;
}

/* An Error: of damaged data the next call goes on behind it. */
static int reader_refused(struct rg_reader *self, int code)
{
    struct error_answer answer;
    struct span body = self->call.ret_body.bytes;
    if (self->call.ret_field != RAILGUN__FRAME__BODY_ERROR || error_read(body, &answer) < 0) {
        return error_note(code, "%s", rg_error_text(code));
    }
    if (code == ERR_CORRUPT && answer.has_range && answer.range_last >= self->offset &&
        answer.range_last != UINT64_MAX) {
        self->from = (struct rg_start){RG_START_OFFSET, answer.range_last + 1};
        self->offset = answer.range_last + 1;
        return error_note(
            code, "offsets %llu..%llu are damaged%s%.*s", (unsigned long long) answer.range_first,
            (unsigned long long) answer.range_last, answer.detail.size != 0 ? ": " : "",
            (int) (answer.detail.size < 300 ? answer.detail.size : 300),
            answer.detail.size != 0 ? (const char *) answer.detail.data : "");
    }
    return error_note_body(code, body);
}

/* Take the answer that has come. Lock held. 0, or an error. */
static int reader_take_answer(struct rg_reader *self)
{
    struct hot_delivery page;
    int result = self->call.result;
    self->has_answer = false;
    if (result < 0) {
        return reader_refused(self, result);
    }
    struct slice body = self->call.ret_body;
    self->call.ret_body = (struct slice){0};
    if (self->call.ret_field != RAILGUN__FRAME__BODY_READ_OK ||
        hot_read_ok_read(body.bytes, &page) < 0 ||
        (page.count != 0 && page.next_offset <= page.base_offset)) {
        slice_release(&body);
        return error_note(ERR_PROTOCOL, "the server's answer to Read cannot be read");
    }
    walk_close(&self->walk);
    if (page.next_offset != 0) {
        self->from = (struct rg_start){RG_START_OFFSET, page.next_offset};
    }
    self->offset = page.count != 0 ? page.base_offset : page.next_offset;
    atomic_store_explicit(&self->end, page.end_offset, memory_order_relaxed);
    bool is_empty = page.count == 0;
    walk_open_read_ok(&self->walk, &body, &page);
    if (!is_empty) {
        reader_ask(self, reader_wait_ms(self)); /* the server works while the caller walks */
    }
    return 0;
}

int rg_reader_open(struct rg_client *client, const char *stream, struct rg_start start,
                   struct rg_reader **ret_reader)
{
    int result = client_check_blocking(client, "rg_reader_open");
    if (result < 0) {
        return result;
    }
    if (stream == NULL || ret_reader == NULL) {
        return error_note(ERR_USAGE, "rg_reader_open: an argument is NULL");
    }
    struct rg_reader *self = MEM_NEW(struct rg_reader);
    self->client = client;
    self->stream = mem_strdup(stream);
    self->from = start;
    if (start.at == RG_START_DEFAULT) {
        self->from.at = RG_START_FIRST;
    }
    waiter_init(&self->waiter);
    client_lock(client);
    client_ref(client);
    if (client->is_closing) {
        result = error_note(ERR_CLOSED, "the client is closed");
    } else {
        reader_ask(self, 0);
        while (!self->has_answer) {
            (void) pthread_cond_wait(&self->waiter.cond, &client->lock); /* the predicate decides */
        }
        /* Damaged data is told by rg_reader_next, which can go on behind it. */
        result = self->call.result == ERR_CORRUPT ? 0 : reader_take_answer(self);
    }
    client_unlock(client);
    if (result < 0) {
        rg_reader_close(&self);
        return result;
    }
    *ret_reader = self;
    return 0;
}

/* Until the walk has something. Lock held. 0, ERR_AGAIN, or another error. */
static int reader_fill(struct rg_reader *self, uint64_t until_us)
{
    struct rg_client *client = self->client;
    while (self->walk.left == 0) {
        if (client->is_closing && !self->has_answer) {
            return error_note(ERR_CLOSED, "the client is closed");
        }
        if (!self->has_answer && !self->call.is_open) {
            reader_ask(self, reader_wait_ms(self));
        }
        while (!self->has_answer) {
            if (!cond_wait_until(&self->waiter.cond, &client->lock, until_us) &&
                !self->has_answer) {
                return error_note(ERR_AGAIN, "nothing came");
            }
        }
        int result = reader_take_answer(self);
        if (result < 0) {
            return result;
        }
        if (self->walk.left == 0 && client_now_us() >= until_us) {
            return error_note(ERR_AGAIN, "nothing came");
        }
    }
    return 0;
}

int rg_reader_next(struct rg_reader *reader, uint32_t timeout_ms, struct rg_record *ret_record)
{
    if (reader == NULL || ret_record == NULL) {
        return error_note(ERR_USAGE, "rg_reader_next: an argument is NULL");
    }
    if (reader->walk.left == 0) {
        struct rg_client *client = reader->client;
        int result = client_check_blocking(client, "rg_reader_next");
        if (result == 0) {
            uint64_t until_us = client_now_us() + (uint64_t) timeout_ms * 1000;
            client_lock(client);
            result = reader_fill(reader, until_us);
            client_unlock(client);
        }
        if (result < 0) {
            return result;
        }
    }
    if (walk_next(&reader->walk, ret_record) != 1) {
        reader->walk.left = 0; /* the rest of this page cannot be told apart */
        return error_note(ERR_PROTOCOL, "a page of the stream cannot be read");
    }
    reader->offset = ret_record->offset + 1;
    return 0;
}

uint64_t rg_reader_offset(const struct rg_reader *reader)
{
    return reader != NULL ? reader->offset : 0;
}

uint64_t rg_reader_end(const struct rg_reader *reader)
{
    return reader != NULL ? atomic_load_explicit(&reader->end, memory_order_relaxed) : 0;
}

void rg_reader_close(struct rg_reader **reader)
{
    if (reader == NULL || *reader == NULL) {
        return;
    }
    struct rg_reader *self = *reader;
    struct rg_client *client = self->client;
    *reader = NULL;
    client_lock(client);
    call_cancel(client, &self->call);
    client_unlock(client);
    call_release(&self->call);
    walk_close(&self->walk);
    waiter_release(&self->waiter);
    mem_free(self->stream);
    mem_free(self);
    client_unref(client);
}
