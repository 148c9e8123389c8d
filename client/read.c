/* read: a stream in order, page after page. Offsets are dense, so pages that follow are asked for before this one has come: each asks for a fixed
 * number of records, and begins where the one before will end if it comes whole. If it does not (very large records, damage), what was asked
 * behind it is forgotten and asked anew. A reader is its caller's alone, but for the pages that the I/O thread puts down. Must
 * never keep more of them than its limit. */
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
    READ_BYTES_MAX = 4 << 20,     /* of a page, at the most */
    READ_BYTES_USUAL = 256 << 10, /* of a page, by the size of the records so far */
    READ_RECORDS_FIRST = 4096,
    READ_PAGES_GROW = 32,
    READ_RETRY_US = 100 * 1000,
    READS_MAX = 4,             /* asked for at once */
    READ_WAIT_MS_MAX = 1000,   /* at the end of the stream: the server answers then at the latest */
    AHEAD_BYTES_MAX = 2 << 20, /* of pages that wait for the caller */
    AHEAD_PAGES_MAX = 64,
};

struct page {
    struct list of_pages;
    struct slice body;
    struct hot_delivery head; /* points into body */
};

/* A Read on its way. */
struct ask {
    struct call call;
    struct rg_reader *reader;
    struct rg_start from;
    bool is_answered; /* and not yet taken: those before it come first */
};

struct rg_reader {
    struct rg_client *client;
    char *stream;
    uint64_t offset; /* of the next record given to the caller; 0: not known yet */
    _Atomic uint64_t end;
    struct walk walk;
    /* guarded by the client's lock */
    struct rg_start from;       /* of the next page to take */
    struct ask asks[READS_MAX]; /* a ring, in order: asks[(first + i) % READS_MAX] */
    unsigned first;
    unsigned ask_count;
    uint32_t page_records; /* to ask for */
    unsigned whole_pages;  /* that came with so many, since it changed */
    struct waiter waiter;  /* something of the following has changed */
    struct list pages;
    size_t page_count;
    uint64_t page_bytes;
    bool has_failed; /* the first ask has, behind all pages; there are no others */
    bool is_at_end;  /* the last Read found nothing */
};

static void reader_ask(struct rg_reader *self, struct rg_start from, uint32_t wait_ms);

static uint32_t reader_wait_ms(const struct rg_reader *self)
{
    uint32_t half = self->client->options.request_timeout_ms / 2;
    return half < READ_WAIT_MS_MAX ? half : READ_WAIT_MS_MAX;
}

static struct ask *reader_ask_at(struct rg_reader *self, unsigned number)
{
    return &self->asks[(self->first + number) % READS_MAX];
}

/* Where the next Read begins if all that are on their way come whole; false: it cannot be said, or nothing is known to be there. */
static bool reader_foresee(struct rg_reader *self, struct rg_start *ret_from)
{
    if (self->ask_count == 0) {
        *ret_from = self->from;
        return true;
    }
    const struct ask *last = reader_ask_at(self, self->ask_count - 1);
    uint64_t next = last->from.value + self->page_records;
    if (last->from.at != RG_START_OFFSET ||
        next >= atomic_load_explicit(&self->end, memory_order_relaxed)) {
        return false;
    }
    *ret_from = (struct rg_start){RG_START_OFFSET, next};
    return true;
}

/* Ask for more, as long as there is room for it. */
static void reader_go_on(struct rg_reader *self)
{
    struct rg_start from;
    while (self->page_bytes < AHEAD_BYTES_MAX &&
           self->page_count + self->ask_count < AHEAD_PAGES_MAX && self->ask_count < READS_MAX &&
           !self->has_failed && !self->client->is_closing && reader_foresee(self, &from)) {
        reader_ask(self, from, self->ask_count == 0 ? reader_wait_ms(self) : 0);
    }
}

/* The same before the caller has asked: not where the stream ends. A Read that waits there takes room on the connection, also of a reader that was
 * closed meanwhile. */
static void reader_go_ahead(struct rg_reader *self)
{
    bool is_at_end = self->from.at == RG_START_OFFSET &&
                     self->from.value >= atomic_load_explicit(&self->end, memory_order_relaxed);
    if (self->ask_count != 0 || !is_at_end) {
        reader_go_on(self);
    }
}

/* Forget the asks from this one on. */
static void reader_forget(struct rg_reader *self, unsigned number)
{
    for (; self->ask_count > number; self->ask_count--) {
        struct ask *ask = reader_ask_at(self, self->ask_count - 1);
        call_cancel(self->client, &ask->call);
        slice_release(&ask->call.ret_body);
        ask->is_answered = false;
    }
}

/* How many records to ask for. The server may answer with fewer, at the end of a stored batch, say: then that is a good number. It grows
 * again now and then, for each change costs what was asked ahead. Whole pages lead to the usual size. */
static void reader_learn(struct rg_reader *self, const struct hot_delivery *head)
{
    uint64_t usual = READ_BYTES_USUAL / (head->batch.size / head->count + 1) + 1;
    uint32_t records = self->page_records;
    if (usual > READ_RECORDS_MAX) {
        usual = READ_RECORDS_MAX;
    }
    if (head->count < records) {
        records = head->next_offset < head->end_offset ? head->count : records;
    } else if (++self->whole_pages >= READ_PAGES_GROW && records < usual / 2) {
        records = 2 * records;
    } else if (records > 2 * usual) {
        records = (uint32_t) usual;
    }
    if (records != self->page_records) {
        reader_forget(self, 0); /* it was counted on with the old number */
        self->page_records = records;
        self->whole_pages = 0;
    }
}

/* Put down the page that has come as the answer of the first ask, which is over. false: it is none. */
static bool reader_put_page(struct rg_reader *self, struct call *call)
{
    struct hot_delivery head;
    if (call->ret_field != RAILGUN__FRAME__BODY_READ_OK ||
        hot_read_ok_read(call->ret_body.bytes, &head) < 0 || head.next_offset == 0 ||
        (head.count != 0 && head.next_offset <= head.base_offset)) {
        return false;
    }
    self->from = (struct rg_start){RG_START_OFFSET, head.next_offset};
    atomic_store_explicit(&self->end, head.end_offset, memory_order_relaxed);
    self->first = (self->first + 1) % READS_MAX;
    self->ask_count--;
    if (self->ask_count > 0 && reader_ask_at(self, 0)->from.value != head.next_offset) {
        reader_forget(self, 0); /* it did not come whole */
    }
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
    reader_learn(self, &head);
    return true;
}

/* On the I/O thread, lock held. */
static void reader_answered(struct call *call)
{
    struct ask *answered = call->ud;
    struct rg_reader *self = answered->reader;
    answered->is_answered = true;
    while (self->ask_count > 0 && reader_ask_at(self, 0)->is_answered && !self->has_failed) {
        struct ask *ask = reader_ask_at(self, 0);
        if (ask->call.result == 0 && !reader_put_page(self, &ask->call)) {
            ask->call.result = ERR_PROTOCOL;
        }
        if (ask->call.result < 0) {
            reader_forget(self, 1);
            self->has_failed = true;
        } else {
            ask->is_answered = false;
        }
    }
    reader_go_ahead(self); /* the server works while the caller walks */
    (void) pthread_cond_signal(&self->waiter.cond);
}

/* Ask for the page at `from`. Lock held. */
static void reader_ask(struct rg_reader *self, struct rg_start from, uint32_t wait_ms)
{
    struct rg_client *client = self->client;
    struct ask *ask = reader_ask_at(self, self->ask_count++);
    Railgun__Read read = RAILGUN__READ__INIT;
    Railgun__Start start = RAILGUN__START__INIT;

    start_fill(&start, from);
    read.stream = self->stream;
    read.from = &start;
    read.has_max_records = true;
    read.max_records = self->page_records;
    read.has_max_bytes = true;
    read.max_bytes = READ_BYTES_MAX;
    read.has_wait_ms = true;
    read.wait_ms = wait_ms;
    ask->reader = self;
    ask->from = from;
    ask->is_answered = false;
    ask->call.field = RAILGUN__FRAME__BODY_READ;
    ask->call.may_repeat = true;
    ask->call.on_done = reader_answered;
    ask->call.ud = ask;
    buf_reset(&ask->call.body);
    scan_pack(&ask->call.body, &read.base);
    uint64_t deadline_us = client_request_deadline(client, client_now_us());
    call_start(client, &ask->call, deadline_us + (uint64_t) wait_ms * 1000);
}

/* The failure of the first ask, which is over with this. Lock held. */
static struct call *reader_take_failure(struct rg_reader *self)
{
    struct call *call = &reader_ask_at(self, 0)->call;
    self->has_failed = false;
    self->ask_count = 0;
    return call;
}

/* An Error: of damaged data the next call goes on behind it. */
static int reader_refused(struct rg_reader *self, const struct call *call)
{
    struct error_answer answer;
    struct span body = call->ret_body.bytes;
    int code = call->result;
    if (call->ret_field != RAILGUN__FRAME__BODY_ERROR || error_read(body, &answer) < 0) {
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
    reader_go_ahead(self);
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

/* The first ask has failed in a way that may pass (a daemon restarts): forget it after a pause, when there is time for one. Lock
 * held. false: it stands. */
static bool reader_forgives(struct rg_reader *self, uint64_t until_us)
{
    int result = reader_ask_at(self, 0)->call.result;
    uint64_t pause_until_us = client_now_us() + READ_RETRY_US;
    if (result == ERR_CORRUPT || !error_is_for_now(result) || pause_until_us >= until_us ||
        self->client->is_closing) {
        return false;
    }
    while (cond_wait_until(&self->waiter.cond, &self->client->lock, pause_until_us)) {
    }
    (void) reader_take_failure(self);
    return true;
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
    result = error_check_names(stream, NULL);
    if (result < 0) {
        return result;
    }
    struct rg_reader *self = MEM_NEW(struct rg_reader);
    self->client = client;
    self->stream = mem_strdup(stream);
    self->from = start;
    self->page_records = READ_RECORDS_FIRST;
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
        uint64_t until_us = client_request_deadline(client, client_now_us());
        do {
            reader_ask(self, self->from, 0);
            while (list_is_empty(&self->pages) && !self->has_failed && !self->is_at_end) {
                (void) pthread_cond_wait(&self->waiter.cond,
                                         &client->lock); /* the predicate decides */
            }
        } while (self->has_failed && reader_forgives(self, until_us));
        /* Damaged data is told by rg_reader_next, which can go on behind it. */
        if (self->has_failed && reader_ask_at(self, 0)->call.result != ERR_CORRUPT) {
            result = reader_refused(self, reader_take_failure(self));
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
        if (self->has_failed && !reader_forgives(self, until_us)) {
            return reader_refused(self, reader_take_failure(self));
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
    reader_forget(self, 0);
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
    reader_forget(self, 0);
    reader_drop_pages(self);
    client_unlock(client);
    for (unsigned i = 0; i < READS_MAX; i++) {
        call_release(&self->asks[i].call);
    }
    walk_close(&self->walk);
    waiter_release(&self->waiter);
    mem_free(self->stream);
    mem_free(self);
    client_unref(client);
}
