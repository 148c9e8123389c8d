/* fake_client: sessions, their frames in and out. */
#include "tests/unit/frontd_responses/fake_private.h"

#include <check.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"
#include "frontd/handle.h"
#include "frontd/switch.h"

/* --- clients --- */

struct client *client_open(unsigned node)
{
    struct client *self = MEM_NEW(struct client);
    struct session *session = &self->session;
    self->node = node;
    self->is_open = true;
    session->frontd = &world.nodes[node].frontd;
    session->namespace_ = span_of(SESSION_NAMESPACE);
    session->publisher = ++session->frontd->last_publisher;
    list_init(&session->requests);
    list_init(&session->asked);
    list_init(&session->unsent);
    list_init(&session->awaiting);
    session->inlet = MEM_NEW(struct inlet);
    list_init(&session->inlet->frames);
    list_push_back(&world.clients, &self->of_all);
    return self;
}

void waiting_free(struct waiting *waiting)
{
    list_remove(&waiting->of_inlet);
    buf_release(&waiting->frame);
    mem_free(waiting);
}

void client_close(struct client *self)
{
    struct session *session = &self->session;
    struct list *node = NULL;
    if (!self->is_open) {
        return;
    }
    self->is_open = false;
    session->is_dead = true;
    responses_session_closed(session->frontd->responses, session);
    ck_assert(list_is_empty(&session->asked));
    ck_assert(list_is_empty(&session->unsent));
    ck_assert(list_is_empty(&session->awaiting));
    LIST_FOREACH (&session->inlet->frames, frame) {
        waiting_free(LIST_ENTRY(frame, struct waiting, of_inlet));
    }
    MEM_FREE(session->inlet);
    while ((node = list_pop_front(&session->requests)) != NULL) {
        LIST_ENTRY(node, struct request, of_session)->session = NULL;
    }
    hash64_destroy(&session->by_corr);
    /* what waited in its subscriptions is dropped */
    LIST_FOREACH (&world.queue, waits) {
        struct queued *queued = LIST_ENTRY(waits, struct queued, of_all);
        if (queued->client == self) {
            list_remove(&queued->of_all);
            responses_undelivered(session->frontd->responses, ROUTE_LOCAL, queued->number);
            buf_release(&queued->bytes);
            mem_free(queued);
        }
    }
}

const struct sent *client_next(struct client *self)
{
    return self->seen < self->sent_count ? &self->sent[self->seen++] : NULL;
}

static void client_take(struct session *session, uint64_t corr, uint32_t field, struct buf *body)
{
    struct client *client = LIST_ENTRY(session, struct client, session);
    if (!client->is_open) {
        buf_release(body);
        return;
    }
    client->sent = mem_resize(client->sent, client->sent_count + 1, sizeof(*client->sent));
    client->sent[client->sent_count++] = (struct sent){field, corr, *body};
}

void session_send(struct session *self, uint32_t channel, uint64_t corr, uint32_t field,
                  struct span body)
{
    struct buf bytes = {0};
    (void) channel;
    buf_append(&bytes, body);
    client_take(self, corr, field, &bytes);
}

void session_send_batch(struct session *self, uint32_t channel, uint64_t corr, uint32_t field,
                        struct span meta, const struct slice *batch)
{
    struct buf bytes = {0};
    (void) channel;
    buf_append(&bytes, meta);
    if (batch->bytes.size != 0) {
        pb_append_bytes(&bytes, 15, batch->bytes);
    }
    client_take(self, corr, field, &bytes);
}

void session_send_error(struct session *self, uint32_t channel, uint64_t corr, int error,
                        const char *detail)
{
    (void) detail;
    if (corr == 0) {
        return;
    }
    struct buf bytes = {0};
    pb_append_varint(&bytes, 1, (uint64_t) -error);
    session_send(self, channel, corr, RAILGUN__FRAME__BODY_ERROR, buf_span(&bytes));
    buf_release(&bytes);
}

int session_refuse(struct session *self, const struct frame_view *view, int error,
                   const char *detail)
{
    session_send_error(self, view->channel, view->corr, error, detail);
    return 0;
}

const char *session_name_problem(const char *what, struct span name, char *out, size_t capacity)
{
    (void) what;
    (void) out;
    (void) capacity;
    return name.size != 0 && memchr(name.data, ' ', name.size) == NULL ? NULL : "bad name";
}

bool session_corr_is_open(const struct session *self, uint64_t corr)
{
    return corr != 0 && self->by_corr != NULL && hash64_get(self->by_corr, corr) != NULL;
}

void session_corr_open(struct session *self, uint64_t corr)
{
    if (corr != 0) {
        if (self->by_corr == NULL) {
            self->by_corr = hash64_new();
        }
        (void) hash64_put(self->by_corr, corr, self);
    }
}

void session_corr_close(struct session *self, uint64_t corr)
{
    if (corr != 0 && self->by_corr != NULL) {
        ck_assert_ptr_nonnull(hash64_remove(self->by_corr, corr));
    }
}

int session_request(struct session *self, const struct frame_view *view, request_done_fn *done,
                    struct request **ret_request)
{
    if (session_corr_is_open(self, view->corr)) {
        (void) session_refuse(self, view, ERR_BAD_REQUEST, NULL);
        return 1;
    }
    struct request *request = request_take(self->frontd->requests);
    request->frontd = self->frontd;
    request->session = self;
    request->channel = view->channel;
    request->corr = view->corr;
    request->done = done;
    session_corr_open(self, view->corr);
    list_push_back(&self->requests, &request->of_session);
    self->request_count++;
    *ret_request = request;
    return 0;
}

int session_query(struct session *self, const struct frame_view *view, request_done_fn *done,
                  struct request **ret_request)
{
    return session_request(self, view, done, ret_request);
}

void frontd_request_end(void *self, struct request *request)
{
    struct frontd *frontd = self;
    if (request->session != NULL) {
        session_corr_close(request->session, request->corr);
        list_remove(&request->of_session);
        request->session->request_count--;
    }
    request_give(frontd->requests, request);
}

void conn_retry(struct conn *self)
{
    (void) self;
}

uint64_t conn_outbound_bytes(const struct conn *self)
{
    (void) self;
    return fake.outbound_bytes;
}

/* --- frames of clients --- */

static int client_frame(struct client *self, uint64_t corr, uint32_t field, struct buf *body,
                        session_handler_fn *handler)
{
    struct payload *owner = payload_copy(buf_span(body));
    struct frame_view view = {.corr = corr, .field = field, .body = payload_span(owner)};
    int result = handler(&self->session, &view, owner);
    payload_unref(&owner);
    buf_release(body);
    return result;
}

int client_request(struct client *self, uint64_t corr, const struct request_options *options)
{
    static const struct request_options plain = {0};
    const struct request_options *use = options != NULL ? options : &plain;
    struct buf body = {0};
    struct buf message = {0};
    if (use->timeout_ms != 0) {
        pb_append_varint(&body, 2, use->timeout_ms);
    }
    if (use->max_replies != 0) {
        pb_append_varint(&body, 3, use->max_replies);
    }
    if (use->response != NULL) {
        pb_append_bytes(&body, 4, span_of(use->response));
    }
    if (!use->has_no_message) {
        struct span none = {0};
        es_append_raw(&message, span_of(use->topic != NULL ? use->topic : "t"),
                      span_of(use->payload != NULL ? use->payload : "question"), none, none, none);
        pb_append_bytes(&body, 15, buf_span(&message));
        buf_release(&message);
    }
    return client_frame(self, corr, RAILGUN__FRAME__BODY_REQUEST, &body, handle_request);
}

int client_cancel(struct client *self, uint64_t corr)
{
    struct buf body = {0};
    pb_append_varint(&body, 1, corr);
    return client_frame(self, 0, RAILGUN__FRAME__BODY_REQUEST_CANCEL, &body, handle_request_cancel);
}

int client_reply(struct client *self, uint64_t corr, struct span reply_to, const char *payload)
{
    struct buf body = {0};
    struct buf message = {0};
    struct span none = {0};
    pb_append_bytes(&body, 1, reply_to);
    es_append_raw(&message, none, span_of(payload), none, none, none);
    pb_append_bytes(&body, 15, buf_span(&message));
    buf_release(&message);
    return client_frame(self, corr, RAILGUN__FRAME__BODY_REPLY, &body, handle_reply);
}

size_t client_given(const struct client *self)
{
    size_t count = 0;
    LIST_FOREACH (&world.given, node) {
        count += LIST_ENTRY(node, struct given_message, of_all)->client == self ? 1 : 0;
    }
    return count;
}

struct span client_address_at(const struct client *self, size_t k)
{
    LIST_FOREACH (&world.given, node) {
        const struct given_message *given = LIST_ENTRY(node, struct given_message, of_all);
        if (given->client == self && k-- == 0) {
            return buf_span(&given->address);
        }
    }
    ck_abort_msg("the client was not given so many requests");
    return (struct span){0};
}

struct span client_address(struct client *self)
{
    size_t count = client_given(self);
    ck_assert_uint_gt(count, 0);
    return client_address_at(self, count - 1);
}
