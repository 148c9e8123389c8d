/* fake_es: the fake server's side of ephemeral messages. */
#include "tests/unit/client/fake_es.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/wire/es.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"
#include "tests/lib/test.h"

static void log_text(struct fake *fake, struct span text)
{
    buf_append(&fake->es_log, text);
}

static void log_message(struct fake *fake, const struct es_message *message)
{
    log_text(fake, message->topic);
    log_text(fake, span_of("="));
    log_text(fake, message->payload);
}

static void take_publish(struct fake *fake, const struct frame_view *view)
{
    struct es_limits limits = es_limits_default();
    struct es_publish publish;
    struct es_message message;
    Railgun__EsPublishOk ok = RAILGUN__ES_PUBLISH_OK__INIT;
    uint32_t matched[64];
    uint32_t count = 0;
    ck_assert_int_eq(es_publish_read(view->body, &publish), 0);
    buf_printf(&fake->es_log, "pub%s %.*s ", view->corr != 0 ? "?" : "",
               (int) publish.exchange.size,
               publish.exchange.size != 0 ? (const char *) publish.exchange.data : "");
    struct span rest = publish.messages;
    int result = 0;
    while ((result = es_next(&rest, &limits, &message)) == 1) {
        if (fake->es_log.size < 1 << 20) {
            log_text(fake, span_of(count != 0 ? "," : ""));
            log_message(fake, &message);
        }
        matched[count % 64] = count + 1;
        count++;
    }
    log_text(fake, span_of(";"));
    ck_assert_int_eq(result, 0);
    fake->es_messages += count;
    if (view->corr != 0) {
        ok.n_matched = count;
        ok.matched = matched;
        fake_send_message(fake, 0, view->corr, BODY(ES_PUBLISH_OK), &ok.base);
    }
}

static void take_subscribe(struct fake *fake, const struct frame_view *view)
{
    Railgun__EsSubscribe *subscribe = NULL;
    Railgun__EsSubscribeOk ok = RAILGUN__ES_SUBSCRIBE_OK__INIT;
    ck_assert_int_eq(SCAN_UNPACK(view->body, railgun__es_subscribe, &subscribe), 0);
    fake->channel = view->channel;
    fake->credit = subscribe->credit != NULL ? subscribe->credit->messages : 0;
    buf_printf(&fake->es_log, "sub %s ", subscribe->exchange != NULL ? subscribe->exchange : "");
    for (size_t i = 0; i < subscribe->n_matchers; i++) {
        buf_printf(&fake->es_log, "%s%s", i != 0 ? "," : "", subscribe->matchers[i]);
    }
    buf_printf(&fake->es_log, " %s %d;", subscribe->group != NULL ? subscribe->group : "",
               (int) subscribe->policy);
    SCAN_FREE(&subscribe);
    ok.has_subscription = true;
    ok.subscription = 7;
    fake_send_message(fake, view->channel, view->corr, BODY(ES_SUBSCRIBE_OK), &ok.base);
}

static void take_request(struct fake *fake, const struct frame_view *view)
{
    struct es_limits limits = es_limits_default();
    struct es_request request;
    struct es_message message;
    ck_assert_int_eq(es_request_read(view->body, &request), 0);
    ck_assert_int_eq(es_message_read(request.message, &limits, &message), 0);
    log_text(fake, span_of("req "));
    log_message(fake, &message);
    log_text(fake, span_of(";"));
    fake_es_result(fake, view->corr, RG_ERR_NO_RESPONDERS, false, NULL);
}

static void take_reply(struct fake *fake, const struct frame_view *view)
{
    struct es_limits limits = es_limits_default();
    struct es_reply reply;
    struct es_message message;
    ck_assert_int_eq(es_reply_read(view->body, &reply), 0);
    ck_assert_int_eq(es_message_read(reply.message, &limits, &message), 0);
    log_text(fake, span_of("rep "));
    log_text(fake, reply.reply_to);
    log_text(fake, span_of("="));
    log_text(fake, message.payload);
    log_text(fake, span_of(";"));
    if (view->corr != 0) {
        fake_send(fake, 0, view->corr, BODY(REPLY_OK), (struct span){0});
    }
}

static void take_request_cancel(struct fake *fake, const struct frame_view *view)
{
    struct span rest = view->body;
    struct pb_field field = {0};
    ck_assert_int_eq(pb_next(&rest, &field), 1);
    log_text(fake, span_of("cancel;"));
    fake_es_result(fake, field.value, RG_ERR_RS_CANCELLED, false, NULL);
}

bool fake_es_handle(struct fake *fake, const struct frame_view *view)
{
    switch (view->field) {
    case BODY(ES_PUBLISH):
        take_publish(fake, view);
        return true;
    case BODY(ES_SUBSCRIBE):
        take_subscribe(fake, view);
        return true;
    case BODY(REQUEST):
        take_request(fake, view);
        return true;
    case BODY(REPLY):
        take_reply(fake, view);
        return true;
    case BODY(REQUEST_CANCEL):
        take_request_cancel(fake, view);
        return true;
    default:
        return false;
    }
}

void fake_es_deliver(struct fake *fake, const char *messages)
{
    struct buf body = {0};
    while (*messages != 0) {
        size_t topic = strcspn(messages, "=");
        size_t payload = strcspn(messages + topic + 1, ",");
        es_append(&body, span_make(messages, topic), span_make(messages + topic + 1, payload),
                  (struct span){0}, (struct span){0}, (struct span){0});
        messages += topic + 1 + payload;
        messages += *messages == ',' ? 1 : 0;
    }
    fake_send(fake, fake->channel, 0, BODY(ES_DELIVER), buf_span(&body));
    buf_release(&body);
}

void fake_es_deliver_numbers(struct fake *fake, uint64_t first, unsigned count)
{
    struct buf body = {0};
    for (unsigned i = 0; i < count; i++) {
        char text[32];
        (void) snprintf(text, sizeof(text), "%" PRIu64, first + i);
        es_append(&body, span_of("t"), span_of(text), (struct span){0}, (struct span){0},
                  (struct span){0});
    }
    fake_send(fake, fake->channel, 0, BODY(ES_DELIVER), buf_span(&body));
    buf_release(&body);
}

void fake_es_send(struct fake *fake, const char *messages)
{
    fake_lock(fake);
    fake_es_deliver(fake, messages);
    fake_unlock(fake);
}

void fake_es_result(struct fake *fake, uint64_t corr, int code, bool more, const char *payload)
{
    struct buf body = {0};
    struct buf message = {0};
    if (code != 0) {
        pb_append_varint(&body, 1, (uint64_t) -code);
    }
    if (more) {
        pb_append_varint(&body, 2, 1);
    }
    if (payload != NULL) {
        es_append_raw(&message, (struct span){0}, span_of(payload), (struct span){0},
                      (struct span){0}, (struct span){0});
        pb_append_bytes(&body, 15, buf_span(&message));
    }
    fake_send(fake, 0, corr, BODY(RESULT), buf_span(&body));
    buf_release(&message);
    buf_release(&body);
}

void fake_es_await(struct fake *fake, const char *log)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t) (25 * test_slowness());
    fake_lock(fake);
    while (strcmp(buf_text(&fake->es_log), log) != 0) {
        if (pthread_cond_timedwait(&fake->changed, &fake->lock, &until) == ETIMEDOUT) {
            ck_abort_msg("saw \"%s\", not \"%s\"", buf_text(&fake->es_log), log);
        }
    }
    fake_unlock(fake);
}

void fake_es_reset(struct fake *fake)
{
    fake_lock(fake);
    buf_reset(&fake->es_log);
    fake_unlock(fake);
}
