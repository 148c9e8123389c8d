/* call: requests other than Publish: asked, repeated on the next connection where that is safe, ended once. Owns the table of correlations'
 * calls; the calls themselves lie with who asks. */
#include <poll.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/scan.h"

#include "client/client_private.h"

enum { CALLS_CHECK_US_MAX = 200 * 1000, CALLS_CHECK_US_MIN = 5 * 1000 };
enum { CALL_RETRY_US_MIN = 20 * 1000, CALL_RETRY_US_MAX = 500 * 1000 };

static struct call *call_of(struct list *node)
{
    return LIST_ENTRY(node, struct call, of_calls);
}

static void call_send(struct rg_client *client, struct call *call)
{
    call->is_sent = true;
    conn_queue_frame(client, call->channel, call->pending.corr, call->field, buf_span(&call->body));
}

void call_start(struct rg_client *client, struct call *call, uint64_t deadline_us)
{
    INVARIANT(!call->is_open);

    call->pending.kind = PENDING_CALL;
    call->pending.corr = client->next_corr++;
    call->deadline_us = deadline_us;
    call->is_sent = false;
    call->is_open = true;
    call->result = 0;
    (void) hash64_put(client->pending, call->pending.corr, &call->pending); /* a new number */
    list_push_back(&client->calls, &call->of_calls);
    uint64_t now_us = client_now_us();
    uint64_t pause_us = deadline_us > now_us ? (deadline_us - now_us) / 4 : 0;
    if (pause_us > CALLS_CHECK_US_MAX) {
        pause_us = CALLS_CHECK_US_MAX;
    }
    if (pause_us < CALLS_CHECK_US_MIN) {
        pause_us = CALLS_CHECK_US_MIN;
    }
    if (client->call_count++ == 0 || client->calls_check_us > now_us + pause_us) {
        client->calls_check_us = now_us + pause_us;
        client_wake_by(client, client->calls_check_us);
    }
    if (client->state == CLIENT_UP) {
        call_send(client, call);
        client_push_out(client);
    }
}

static void call_remove(struct rg_client *client, struct call *call)
{
    void *removed = hash64_remove(client->pending, call->pending.corr);
    INVARIANT(removed == &call->pending);
    list_remove(&call->of_calls);
    client->call_count--;
    call->is_open = false;
}

void call_cancel(struct rg_client *client, struct call *call)
{
    if (call->is_open) {
        call_remove(client, call);
    }
}

void call_finish(struct rg_client *client, struct call *call, int result, uint32_t field,
                 struct slice body)
{
    call_remove(client, call);
    slice_release(&call->ret_body);
    call->result = result;
    call->ret_field = field;
    call->ret_body = body;
    if (call->on_done != NULL) {
        call->on_done(call);
    } else if (call->waiter != NULL) {
        call->waiter->is_done = true;
        (void) pthread_cond_signal(&call->waiter->cond);
    }
}

static void call_fail(struct rg_client *client, struct call *call, int result)
{
    call_finish(client, call, result, 0, (struct slice){0});
}

/* Certainly not done, may be asked again, and there is time: wait a little, without the lock. */
static bool call_pause_for_retry(struct rg_client *client, const struct call *call,
                                 uint64_t deadline_us, uint64_t *pause_us)
{
    if (!call->may_repeat || !error_is_for_now(call->result) || call->result == ERR_CORRUPT ||
        client->is_closing || client_now_us() + *pause_us >= deadline_us) {
        return false;
    }
    client_unlock(client);
    (void) poll(NULL, 0, (int) (*pause_us / 1000));
    client_lock(client);
    *pause_us = *pause_us * 2 < CALL_RETRY_US_MAX ? *pause_us * 2 : CALL_RETRY_US_MAX;
    return !client->is_closing;
}

int call_ask_locked(struct rg_client *client, struct call *call, uint32_t ok_field)
{
    struct waiter waiter;
    int result = 0;
    waiter_init(&waiter);
    call->waiter = &waiter;
    if (client->is_closing) {
        result = ERR_CLOSED;
    } else {
        uint64_t deadline_us = client_request_deadline(client, client_now_us());
        uint64_t pause_us = CALL_RETRY_US_MIN;
        do {
            waiter.is_done = false;
            call_start(client, call, deadline_us);
            lead_wait(client, &waiter, call->pending.corr);
            result = call->result;
        } while (call_pause_for_retry(client, call, deadline_us, &pause_us));
    }
    bool is_up = client->state == CLIENT_UP;
    waiter_release(&waiter);
    call->waiter = NULL;

    if (result < 0 && call->ret_field == RAILGUN__FRAME__BODY_ERROR) {
        return error_note_body(result, call->ret_body.bytes);
    }
    if (result == ERR_TIMEOUT) {
        return error_note(result, is_up ? "no answer in time" : "the connection was lost");
    }
    if (result < 0) {
        return error_note(result, "%s", rg_error_text(result));
    }
    if (ok_field != 0 && call->ret_field != ok_field) {
        return error_note(ERR_PROTOCOL, "the server gave an answer of another kind: %u",
                          call->ret_field);
    }
    return 0;
}

/* A server ends the connection of who sends a text that is not UTF-8, and with it all that others have under way on it. */
static int call_check(const struct call *call)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field(&railgun__frame__descriptor, call->field);
    if (field != NULL && field->type == PROTOBUF_C_TYPE_MESSAGE &&
        scan_check(buf_span(&call->body), (const ProtobufCMessageDescriptor *) field->descriptor,
                   NULL) == ERR_PROTOCOL) {
        return error_note(ERR_BAD_REQUEST, "a text in it is not UTF-8");
    }
    return 0;
}

int call_ask(struct rg_client *client, struct call *call, uint32_t ok_field)
{
    int checked = call_check(call);
    if (checked < 0) {
        return checked;
    }
    client_lock(client);
    int result = call_ask_locked(client, call, ok_field);
    client_unlock(client);
    return result;
}

void call_release(struct call *call)
{
    INVARIANT(!call->is_open);
    buf_release(&call->body);
    slice_release(&call->ret_body);
}

void calls_up(struct rg_client *client)
{
    LIST_FOREACH (&client->calls, node) {
        call_send(client, call_of(node));
    }
}

/* Ending a call may start another, or remove one: never walk while that happens. */
static void calls_fail_all(struct rg_client *client, bool (*picks)(const struct call *call),
                           int result)
{
    struct list rest;
    struct list *node = NULL;
    list_take_all(&rest, &client->calls);
    while (!list_is_empty(&rest)) {
        node = rest.next;
        struct call *call = call_of(node);
        list_remove(node);
        list_push_back(&client->calls, node);
        if (picks(call)) {
            call_fail(client, call, result);
        }
    }
}

static bool call_is_lost(const struct call *call)
{
    return call->is_sent && !call->may_repeat;
}

static bool call_is_any(const struct call *call)
{
    (void) call;
    return true;
}

void calls_lost(struct rg_client *client)
{
    calls_fail_all(client, call_is_lost, ERR_TIMEOUT);
    LIST_FOREACH (&client->calls, node) {
        call_of(node)->is_sent = false;
    }
}

void calls_stop(struct rg_client *client)
{
    calls_fail_all(client, call_is_any, ERR_CLOSED);
}

void calls_check(struct rg_client *client, uint64_t now_us)
{
    uint64_t next_us = now_us + CALLS_CHECK_US_MAX;
    struct list rest;
    list_take_all(&rest, &client->calls);
    while (!list_is_empty(&rest)) {
        struct list *node = rest.next;
        struct call *call = call_of(node);
        list_remove(node);
        list_push_back(&client->calls, node);
        if (now_us >= call->deadline_us) {
            call_fail(client, call, call->is_sent ? ERR_TIMEOUT : ERR_CLOSED);
        } else if (call->deadline_us < next_us) {
            next_us = call->deadline_us;
        }
    }
    client->calls_check_us = next_us;
}
