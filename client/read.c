/* read: a stream in order, page after page. As soon as a page has come the next is asked for, while the caller walks those that are there. A reader
 * is its caller's alone, but for the pages that the I/O thread puts down. Must never keep more of them than its limit. */
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
    READ_WAIT_MS_MAX = 1000,   /* at the end of the stream: the server answers then at the latest */
    AHEAD_BYTES_MAX = 2 << 20, /* of pages that wait for the caller */
    AHEAD_PAGES_MAX = 64,
};

struct page {
    struct list of_pages;
    struct slice body;
    struct hot_delivery head; /* points into body */
};

struct rg_reader {
    struct rg_client *client;
    char *stream;
    uint64_t offset; /* of the next record given to the caller; 0: not known yet */
    _Atomic uint64_t end;
    struct walk walk;
    /* guarded by the client's lock */
    struct rg_start from; /* of the next page to ask for */
    struct call call;
    struct waiter waiter; /* something of the following has changed */
    struct list pages;
    size_t page_count;
    uint64_t page_bytes;
    bool has_failed; /* the answer to the last Read, in `call`, behind all pages */
    bool is_at_end;  /* the last Read found nothing */
};

static void reader_ask(struct rg_reader *self, uint32_t wait_ms);

static uint32_t reader_wait_ms(const struct rg_reader *self)
{
    uint32_t half = self->client->options.request_timeout_ms / 2;
    return half < READ_WAIT_MS_MAX ? half : READ_WAIT_MS_MAX;
}

/* Ask for more, unless that is done already or there is enough. */
static void reader_go_on(struct rg_reader *self)
{
    bool has_room = self->page_bytes < AHEAD_BYTES_MAX && self->page_count < AHEAD_PAGES_MAX;
    if (has_room && !self->call.is_open && !self->has_failed && !self->client->is_closing) {
        reader_ask(self, reader_wait_ms(self));
    }
}

/* Put down the page that has come. false: it is none. */
static bool reader_put_page(struct rg_reader *self)
{
    struct call *call = &self->call;
    struct hot_delivery head;
    if (call->ret_field != RAILGUN__FRAME__BODY_READ_OK ||
        hot_read_ok_read(call->ret_body.bytes, &head) < 0 || head.next_offset == 0 ||
        (head.count != 0 && head.next_offset <= head.base_offset)) {
        return false;
    }
    self->from = (struct rg_start){RG_START_OFFSET, head.next_offset};
    atomic_store_explicit(&self->end, head.end_offset, memory_order_relaxed);
    if (head.count == 0) {
        self->is_at_end = true;
        slice_release(&call->ret_body);
        return true;
    }
    struct page *page = MEM_NEW(struct page);
    page->body = call->ret_body;
    page->head = head;
    call->ret_body = (struct slice){0};
    list_push_back(&self->pages, &page->of_pages);
    self->page_count++;
    self->page_bytes += page->body.bytes.size;
    reader_go_on(self); /* the server works while the caller walks */
    return true;
}

/* On the I/O thread, lock held. */
static void reader_answered(struct call *call)
{
    struct rg_reader *self = call->ud;
    if (call->result == 0 && !reader_put_page(self)) {
        call->result = ERR_PROTOCOL;
    }
    if (!call->is_open && call->result < 0) {
        self->has_failed = true;
    }
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
    buf_reset(&self->call.body);
    scan_pack(&self->call.body, &read.base);
    uint64_t deadline_us = client_request_deadline(client, client_now_us());
    call_start(client, &self->call, deadline_us + (uint64_t) wait_ms * 1000);
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

/* The next page is to be walked. Lock held. false: there is none. */
static bool reader_take_page(struct rg_reader *self)
{
    struct list *node = list_pop_front(&self->pages);
    if (node == NULL) {
        return false;
    }
    struct page *page = LIST_ENTRY(node, struct page, of_pages);
    self->page_count--;
    self->page_bytes -= page->body.bytes.size;
    self->offset = page->head.base_offset;
    walk_close(&self->walk);
    walk_open_read_ok(&self->walk, &page->body, &page->head);
    mem_free(page);
    reader_go_on(self);
    return true;
}

/* Forget what waits. Lock held. */
static void reader_drop_pages(struct rg_reader *self)
{
    struct list *node = NULL;
    while ((node = list_pop_front(&self->pages)) != NULL) {
        struct page *page = LIST_ENTRY(node, struct page, of_pages);
        slice_release(&page->body);
        mem_free(page);
    }
    self->page_count = 0;
    self->page_bytes = 0;
}

/* Where the first page begins, or the next will; 0: not known. */
static uint64_t reader_first_offset(const struct rg_reader *self)
{
    if (!list_is_empty(&self->pages)) {
        return LIST_ENTRY(self->pages.next, struct page, of_pages)->head.base_offset;
    }
    return self->from.at == RG_START_OFFSET ? self->from.value : 0;
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
    list_init(&self->pages);
    client_lock(client);
    client_ref(client);
    if (client->is_closing) {
        result = error_note(ERR_CLOSED, "the client is closed");
    } else {
        reader_ask(self, 0);
        while (list_is_empty(&self->pages) && !self->has_failed && !self->is_at_end) {
            (void) pthread_cond_wait(&self->waiter.cond, &client->lock); /* the predicate decides */
        }
        /* Damaged data is told by rg_reader_next, which can go on behind it. */
        if (self->has_failed && self->call.result != ERR_CORRUPT) {
            result = reader_refused(self, self->call.result);
        }
        self->offset = reader_first_offset(self);
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
    while (!reader_take_page(self)) {
        if (self->has_failed) {
            self->has_failed = false;
            return reader_refused(self, self->call.result);
        }
        if (client->is_closing) {
            return error_note(ERR_CLOSED, "the client is closed");
        }
        if (self->is_at_end) {
            self->is_at_end = false;
            self->offset = self->from.value;
        }
        reader_go_on(self);
        if (!cond_wait_until(&self->waiter.cond, &client->lock, until_us) &&
            list_is_empty(&self->pages) && !self->has_failed) {
            return error_note(ERR_AGAIN, "nothing came");
        }
    }
    return 0;
}

/* Nothing of what is there can be used: begin again where the caller is. */
static void reader_read_again(struct rg_reader *self)
{
    client_lock(self->client);
    walk_close(&self->walk);
    call_cancel(self->client, &self->call);
    reader_drop_pages(self);
    self->has_failed = false;
    self->is_at_end = false;
    self->from = (struct rg_start){RG_START_OFFSET, self->offset};
    client_unlock(self->client);
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
        reader_read_again(reader); /* the rest of this page cannot be told apart */
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
    reader_drop_pages(self);
    client_unlock(client);
    call_release(&self->call);
    walk_close(&self->walk);
    waiter_release(&self->waiter);
    mem_free(self->stream);
    mem_free(self);
    client_unref(client);
}
