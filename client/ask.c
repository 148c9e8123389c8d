/* ask: one frame through the outbox, and its answers until the last. Each ask ends once: with its answer, as unknown when the connection is lost after
 * its first byte, or when its time is over. Owns the asks of callers that do not wait; the others lie on their stacks. Must never send an ask
 * that has ended. */
#include "client/ask.h"

#include <stddef.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/es.h"

#include "client/arrival.h"
#include "client/outbox.h"

enum { SPARE_ASKS_MAX = 256 };

static struct ask *ask_of(struct list *node)
{
    return LIST_ENTRY(node, struct ask, of_asks);
}

static uint64_t ask_deadline(const struct heap_node *node)
{
    const void *ask = (const char *) node - offsetof(struct ask, of_deadlines);
    return ((const struct ask *) ask)->deadline_us;
}

static bool ask_is_due_before(const struct heap_node *a, const struct heap_node *b)
{
    return ask_deadline(a) < ask_deadline(b);
}

void asks_init(struct rg_client *client)
{
    struct asks *self = &client->asks;
    list_init(&self->open);
    list_init(&self->spare);
    heap_init(&self->deadlines, ask_is_due_before);
    self->check_us = UINT64_MAX;
}

void asks_release(struct rg_client *client)
{
    struct list *node = NULL;
    INVARIANT(list_is_empty(&client->asks.open));
    while ((node = list_pop_front(&client->asks.spare)) != NULL) {
        mem_free(ask_of(node));
    }
    heap_release(&client->asks.deadlines);
}

struct ask *ask_take(struct rg_client *client)
{
    struct asks *self = &client->asks;
    struct list *node = list_pop_front(&self->spare);
    struct ask *ask = NULL;
    if (node != NULL) {
        self->spare_count--;
        ask = ask_of(node);
        *ask = (struct ask){0};
    } else {
        ask = MEM_NEW(struct ask);
    }
    list_init(&ask->of_asks);
    return ask;
}

void ask_give(struct rg_client *client, struct ask *ask)
{
    struct asks *self = &client->asks;
    if (self->spare_count == SPARE_ASKS_MAX) {
        mem_free(ask);
        return;
    }
    list_push_front(&self->spare, &ask->of_asks);
    self->spare_count++;
}

void ask_start(struct rg_client *client, struct ask *ask, uint32_t field, struct span head,
               struct span message, uint64_t deadline_us)
{
    struct asks *self = &client->asks;
    size_t size = head.size + message.size;
    ask->pending = (struct pending){PENDING_ASK, client->next_corr++};
    ask->deadline_us = deadline_us;
    ask->is_sent = false;
    ask->parcel = parcel_take(client);
    ask->parcel->ask = ask;

    struct buf *bytes = &ask->parcel->bytes;
    uint8_t *at = buf_reserve(bytes, FRAME_HEAD_SIZE_MAX + size);
    buf_advance(bytes, frame_put_head(at, 0, ask->pending.corr, field, size));
    buf_append(bytes, head);
    buf_append(bytes, message);

    (void) hash64_put(client->pending, ask->pending.corr, &ask->pending); /* a new number */
    list_push_back(&self->open, &ask->of_asks);
    heap_push(&self->deadlines, &ask->of_deadlines);
    self->count++;
    if (deadline_us < self->check_us) {
        self->check_us = deadline_us;
        client_wake_by(client, deadline_us);
    }
    outbox_post(client, ask->parcel);
}

void ask_sent(struct ask *ask)
{
    ask->is_sent = true;
    ask->parcel = NULL;
}

/* Is a byte of it with the system? Exact only while nobody writes: when the connection is lost. */
static bool ask_is_begun(const struct ask *ask)
{
    return ask->is_sent || ask->parcel->written != 0;
}

/* It may be, or will be whatever happens. */
static bool ask_is_going(const struct ask *ask)
{
    return ask->is_sent || ask->parcel->is_taken;
}

bool ask_is_open(const struct rg_client *client, uint64_t corr)
{
    const struct pending *pending = hash64_get(client->pending, corr);
    return pending != NULL && pending->kind == PENDING_ASK;
}

/* No answer is awaited any more. */
static void ask_close(struct rg_client *client, struct ask *ask)
{
    void *removed = hash64_remove(client->pending, ask->pending.corr);
    INVARIANT(removed == &ask->pending);
    list_remove(&ask->of_asks);
    heap_remove(&client->asks.deadlines, &ask->of_deadlines);
    client->asks.count--;
    if (ask->parcel != NULL) {
        outbox_retract(client, ask->parcel);
        ask->parcel = NULL;
    }
}

/* The last outcome. `field` 0: not of the server. */
static void ask_finish(struct rg_client *client, struct ask *ask, int result, uint32_t field,
                       struct span body)
{
    ask_close(client, ask);
    if (ask->waiter == NULL) {
        arrival_result(client, ask, result, false, (struct span){0}, false);
        return;
    }
    ask->result = result;
    ask->ret_field = field;
    ask->ret_body = session_keep(client, body);
    ask->waiter->is_done = true;
    (void) pthread_cond_signal(&ask->waiter->cond);
}

static void ask_fail(struct rg_client *client, struct ask *ask, int result)
{
    ask_finish(client, ask, result, 0, (struct span){0});
}

bool ask_withdraw(struct rg_client *client, uint64_t corr, int result)
{
    if (!ask_is_open(client, corr)) {
        return false;
    }
    struct ask *ask = LIST_ENTRY(hash64_get(client->pending, corr), struct ask, pending);
    if (ask_is_going(ask)) {
        return false;
    }
    ask_fail(client, ask, result);
    client_wake(client); /* its completion is to be called */
    return true;
}

/* --- waiting --- */

static int ask_note(const struct rg_client *client, const struct ask *ask)
{
    int result = ask->result;
    struct es_result answer;
    if (result == 0) {
        return 0;
    }
    if (ask->ret_field == RAILGUN__FRAME__BODY_ERROR) {
        return error_note_body(result, ask->ret_body.bytes);
    }
    if (ask->ret_field == RAILGUN__FRAME__BODY_RESULT &&
        es_result_read(ask->ret_body.bytes, &answer) == 0 && answer.detail.size != 0) {
        return error_note(result, "%.*s", (int) answer.detail.size,
                          (const char *) answer.detail.data);
    }
    if (ask->ret_field != 0 || (result != ERR_TIMEOUT && result != ERR_CLOSED)) {
        return error_note(result, "%s", rg_error_text(result));
    }
    if (result == ERR_CLOSED) {
        return error_note(result, "no server could be reached: %s", client->last_detail);
    }
    return error_note(result, "no answer came: the outcome is unknown");
}

int ask_and_wait(struct rg_client *client, struct ask *ask, uint32_t field, struct span head,
                 struct span message, uint64_t deadline_us)
{
    struct waiter waiter;
    waiter_init(&waiter);
    ask->waiter = &waiter;
    list_init(&ask->of_asks);
    ask_start(client, ask, field, head, message, deadline_us);
    lead_wait(client, &waiter, ask->pending.corr);
    waiter_release(&waiter);
    ask->waiter = NULL;
    return ask_note(client, ask);
}

/* --- answers --- */

static int code_of_wire(uint32_t code)
{
    return code < 1000 ? -(int) code : ERR_INTERNAL; /* a newer server's is passed on */
}

static int ask_result(struct rg_client *client, struct ask *ask, struct span body)
{
    static const struct es_limits limits = ES_LIMITS_NONE;
    struct es_result answer;
    struct es_message message;
    int result = es_result_read(body, &answer);
    if (result == 0) {
        result = es_message_read(answer.message, &limits, &message);
    }
    if (result != 0 || (answer.more && (answer.code != 0 || ask->waiter != NULL))) {
        return ERR_PROTOCOL;
    }
    result = code_of_wire(answer.code);
    if (ask->waiter != NULL) {
        ask_finish(client, ask, result, RAILGUN__FRAME__BODY_RESULT, body);
        return 0;
    }
    if (!answer.more) {
        ask_close(client, ask);
    }
    arrival_result(client, ask, result, answer.more, answer.message, result == 0);
    return 0;
}

int ask_answered(struct rg_client *client, struct pending *pending, uint32_t field,
                 struct span body)
{
    static const uint32_t fields[] = {
        [ASK_REQUEST] = RAILGUN__FRAME__BODY_RESULT,
        [ASK_RECEIPT] = RAILGUN__FRAME__BODY_ES_PUBLISH_OK,
        [ASK_REPLY] = RAILGUN__FRAME__BODY_REPLY_OK,
    };
    struct ask *ask = LIST_ENTRY(pending, struct ask, pending);
    struct error_answer answer;
    if (!ask_is_going(ask)) {
        return ERR_PROTOCOL; /* an answer to what was not asked yet */
    }
    if (field == RAILGUN__FRAME__BODY_ERROR) {
        int result = error_read(body, &answer);
        if (result == 0) {
            ask_finish(client, ask, answer.code, field, body);
        }
        return result;
    }
    if (field != fields[ask->kind]) {
        return ERR_PROTOCOL;
    }
    if (ask->kind == ASK_REQUEST) {
        return ask_result(client, ask, body);
    }
    ask_finish(client, ask, 0, field, body);
    return 0;
}

/* --- ends --- */

void asks_lost(struct rg_client *client)
{
    LIST_FOREACH (&client->asks.open, node) {
        struct ask *ask = ask_of(node);
        if (ask_is_begun(ask)) {
            ask_fail(client, ask, ERR_TIMEOUT);
        }
    }
}

void asks_stop(struct rg_client *client)
{
    LIST_FOREACH (&client->asks.open, node) {
        struct ask *ask = ask_of(node);
        ask_fail(client, ask, ask_is_going(ask) ? ERR_TIMEOUT : ERR_CLOSED);
    }
}

void asks_check(struct rg_client *client, uint64_t now_us)
{
    struct asks *self = &client->asks;
    struct heap_node *node = NULL;
    if (now_us < self->check_us) {
        return;
    }
    self->check_us = UINT64_MAX;
    while ((node = heap_peek(&self->deadlines)) != NULL) {
        struct ask *ask = LIST_ENTRY(node, struct ask, of_deadlines);
        if (ask->deadline_us > now_us) {
            self->check_us = ask->deadline_us;
            break;
        }
        ask_fail(client, ask, ask_is_going(ask) ? ERR_TIMEOUT : ERR_CLOSED);
    }
}

bool asks_are_sent(const struct rg_client *client)
{
    LIST_FOREACH (&client->asks.open, node) {
        if (ask_of(node)->is_sent) {
            return true;
        }
    }
    return false;
}
