/* handle_es_subscribe: opens a channel for ephemeral messages: checks what is asked for, then the subscription registers itself. Owns nothing. */
#include "frontd/handle.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/topic.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"

#include "frontd/channel.h"
#include "frontd/exchange.h"
#include "frontd/reply_to.h"
#include "frontd/subscription.h"
#include "frontd/subscription_queue.h"

enum { MATCHERS_MAX = 64, CONSUMER_NAME_SIZE_MAX = 255, SUBSCRIPTION_MATCHERS = 4 };

/* Why something is refused. */
struct problem {
    int error;
    char text[160];
};

static bool problem_set(struct problem *self, int error, const char *text)
{
    self->error = error;
    (void) snprintf(self->text, sizeof(self->text), "%s", text); /* cut when too long */
    return false;
}

/* May this channel be opened now? */
static bool subscribe_channel(const struct session *self, const struct frame_view *view,
                              struct problem *problem)
{
    if (session_corr_is_open(self, view->corr)) {
        return problem_set(problem, ERR_BAD_REQUEST, "corr is in use by an open request");
    }
    if (view->channel == 0) {
        return problem_set(problem, ERR_CHANNEL, "a channel number from 1 on is needed");
    }
    if (session_channel_is_used(self, view->channel)) {
        return problem_set(problem, ERR_CHANNEL, "the channel is in use");
    }
    if (conn_state(self->conn) == CONN_DRAINING) {
        return problem_set(problem, ERR_GOING_AWAY, "no new subscriptions");
    }
    return true;
}

static bool subscribe_quota(const struct session *self, const struct exchange *exchange,
                            struct problem *problem)
{
    const struct settings *settings = self->frontd->settings;
    struct subscriptions_counts counts;
    subscriptions_count(self->frontd->subscriptions, &counts);
    const char *of = NULL;
    uint64_t max = 0;
    if (self->subscription_count >= settings->subscriptions_max) {
        of = "of one connection";
        max = settings->subscriptions_max;
    } else if (counts.count >= settings->subscriptions_total_max) {
        of = "of all connections";
        max = settings->subscriptions_total_max;
    } else if (exchange->subscriptions_max != 0 &&
               exchange->subscriptions >= exchange->subscriptions_max) {
        of = "of the exchange";
        max = exchange->subscriptions_max;
    }
    if (of == NULL) {
        return true;
    }
    problem->error = ERR_QUOTA;
    (void) snprintf(problem->text, sizeof(problem->text), "subscriptions %s: at most %" PRIu64, of,
                    max);
    return false;
}

/* Append the matcher in its normal form, unless it is there already. */
static void matchers_add(struct buf *out, struct span matcher)
{
    char normal[TOPIC_SIZE_MAX + 1];
    struct span one = span_make(normal, topic_normalise(matcher, normal));
    struct span rest = buf_span(out);
    struct pb_field field;
    while (pb_next(&rest, &field) == 1) {
        if (span_equal(field.bytes, one)) {
            return;
        }
    }
    pb_append_bytes(out, SUBSCRIPTION_MATCHERS, one);
}

static bool subscribe_matchers(const Railgun__EsSubscribe *subscribe, struct buf *out,
                               struct problem *problem)
{
    if (subscribe->n_matchers > MATCHERS_MAX) {
        problem->error = ERR_QUOTA;
        (void) snprintf(problem->text, sizeof(problem->text), "matchers: at most %d",
                        (int) MATCHERS_MAX);
        return false;
    }
    for (size_t i = 0; i < subscribe->n_matchers; i++) {
        struct span matcher = span_of(subscribe->matchers[i]);
        const char *reason = topic_check_matcher(matcher);
        struct reply_to address;
        if (reply_to_read(matcher, &address) == 0) {
            return problem_set(problem, ERR_DENIED, "matcher: replies are for who asked alone");
        }
        if (reason != NULL) {
            problem->error = ERR_BAD_REQUEST;
            (void) snprintf(problem->text, sizeof(problem->text), "matcher %zu: %s", i, reason);
            return false;
        }
        matchers_add(out, matcher);
    }
    if (subscribe->n_matchers == 0) {
        matchers_add(out, span_of("#"));
    }
    return true;
}

/* What is asked for, 0 for the most; never more than the most. */
static uint64_t limited(uint64_t asked, uint64_t most)
{
    return asked == 0 || asked > most ? most : asked;
}

static bool subscribe_options(const struct session *self, const struct frame_view *view,
                              const Railgun__EsSubscribe *subscribe,
                              struct subscription_options *options, struct problem *problem)
{
    const struct settings *settings = self->frontd->settings;
    char text[128];
    options->number = view->channel;
    options->corr = view->corr;
    options->group = subscribe->group != NULL ? span_of(subscribe->group) : (struct span){0};
    if (options->group.size != 0) {
        const char *reason = session_name_problem("group", options->group, text, sizeof(text));
        if (reason != NULL) {
            return problem_set(problem, ERR_BAD_REQUEST, reason);
        }
    }
    options->sticky_by_key = subscribe->sticky_by_key != 0;
    if (options->sticky_by_key && options->group.size == 0) {
        return problem_set(problem, ERR_BAD_REQUEST, "sticky_by_key: for groups only");
    }
    if (subscribe->consumer != NULL && strlen(subscribe->consumer) > CONSUMER_NAME_SIZE_MAX) {
        return problem_set(problem, ERR_BAD_REQUEST, "consumer name: too long");
    }
    if (subscribe->has_policy && (unsigned) subscribe->policy >= SUBSCRIPTION_POLICY_COUNT) {
        return problem_set(problem, ERR_BAD_REQUEST, "policy: unknown");
    }
    options->policy = subscribe->has_policy ? (unsigned) subscribe->policy : 0;
    options->messages_max =
        (uint32_t) limited(subscribe->max_messages, settings->es_queue_messages_max);
    options->bytes_max = (uint32_t) limited(subscribe->max_bytes, settings->es_queue_bytes_max);
    if (subscribe->credit != NULL) {
        options->needs_credit = true;
        options->credit_messages = subscribe->credit->messages;
        options->credit_bytes = subscribe->credit->bytes;
    }
    return true;
}

/* The exchange. 0; ERR_AGAIN: not known yet; 1: refused and answered. */
static int subscribe_exchange(struct session *self, const struct frame_view *view,
                              const Railgun__EsSubscribe *subscribe, struct exchange **ret_exchange)
{
    struct span name =
        subscribe->exchange != NULL ? span_of(subscribe->exchange) : (struct span){0};
    int result = exchanges_ref(self->frontd->exchanges, self->namespace_, name, ret_exchange);
    if (result != 0 && result != ERR_AGAIN) {
        (void) session_refuse(self, view, result, exchanges_problem(result));
        return 1;
    }
    return result;
}

static int subscribe_open(struct session *self, const struct frame_view *view,
                          const Railgun__EsSubscribe *subscribe)
{
    struct exchange *exchange = NULL;
    struct subscription_options options = {0};
    struct problem problem = {0};
    struct buf matchers = {0};
    int result = 0;
    if (view->corr == 0) {
        return session_refuse(self, view, ERR_BAD_REQUEST, "this request needs a corr");
    }
    if (!subscribe_channel(self, view, &problem) ||
        !subscribe_options(self, view, subscribe, &options, &problem) ||
        !subscribe_matchers(subscribe, &matchers, &problem)) {
        result = session_refuse(self, view, problem.error, problem.text);
        goto out;
    }
    result = subscribe_exchange(self, view, subscribe, &exchange);
    if (result != 0) {
        result = result == ERR_AGAIN ? ERR_AGAIN : 0;
        goto out;
    }
    if (!subscribe_quota(self, exchange, &problem)) {
        exchanges_unref(self->frontd->exchanges, &exchange);
        result = session_refuse(self, view, problem.error, problem.text);
        goto out;
    }
    options.matchers = buf_span(&matchers);
    subscription_open(self, exchange, &options);
out:
    buf_release(&matchers);
    return result;
}

int handle_es_subscribe(struct session *self, const struct frame_view *view, struct payload *owner)
{
    Railgun__EsSubscribe *subscribe = NULL;
    (void) owner;
    int result = SCAN_UNPACK(view->body, railgun__es_subscribe, &subscribe);
    if (result == 0) {
        result = subscribe_open(self, view, subscribe);
    }
    SCAN_FREE(&subscribe);
    return result;
}
