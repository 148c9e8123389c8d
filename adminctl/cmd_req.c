/* req: one request, and the replies to it. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"

#include "adminctl/format.h"
#include "adminctl/message.h"

struct asking {
    const char *format;
    bool json;
    pthread_mutex_t lock; /* of all below: replies come on the library's thread */
    pthread_cond_t over;
    bool is_over;
    int result;
    uint64_t replies;
    struct buf out;
};

static void on_reply(void *ud, int result, bool more, const struct rg_es_delivery *reply)
{
    struct asking *self = ud;
    (void) pthread_mutex_lock(&self->lock);
    if (reply != NULL) {
        self->replies++;
        if (self->json) {
            format_delivery_json(&self->out, reply);
        } else {
            format_delivery(&self->out, self->format, reply);
        }
    }
    if (!more) {
        self->is_over = true;
        self->result = result;
    }
    (void) pthread_cond_signal(&self->over);
    (void) pthread_mutex_unlock(&self->lock);
}

/* Print replies as they come, until it is over or we are told to stop. */
static int wait_over(struct ctl *ctl, struct asking *self, uint64_t id)
{
    bool is_cancelled = false;
    int result = 0;
    (void) pthread_mutex_lock(&self->lock);
    while (!self->is_over || self->out.size > 0) {
        if (self->out.size > 0) {
            int flushed = message_flush(&self->out);
            result = result < 0 ? result : flushed;
            continue;
        }
        struct timespec until;
        (void) clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 100L * 1000 * 1000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        (void) pthread_cond_timedwait(&self->over, &self->lock, &until);
        if ((message_is_stopped() || result < 0) && !is_cancelled) {
            is_cancelled = true;
            (void) pthread_mutex_unlock(&self->lock);
            rg_request_cancel(ctl->client, id);
            (void) pthread_mutex_lock(&self->lock);
        }
    }
    (void) pthread_mutex_unlock(&self->lock);
    return result;
}

/* Ask, and print what comes. A ctl_exit. */
static int ask_and_print(struct ctl *ctl, const struct rg_es_message *message,
                         const struct rg_request_options *options, const char *format)
{
    struct asking self = {.format = format, .json = ctl->format == OUTPUT_JSON};
    uint64_t id = 0;
    int result = CTL_OK;
    (void) pthread_mutex_init(&self.lock, NULL);
    (void) pthread_cond_init(&self.over, NULL);
    message_catch_stop();
    int error = rg_request_async(ctl->client, message, options, on_reply, &self, &id);
    if (error < 0) {
        result =
            ctl_fail(ctl, error, rg_last_error(ctl->client), "cannot ask '%s'", message->topic);
    } else {
        int printed = wait_over(ctl, &self, id);
        if (self.result < 0) {
            result = ctl_fail(ctl, self.result, NULL, "asking '%s' ended after %llu replies",
                              message->topic, (unsigned long long) self.replies);
        } else if (printed < 0 && printed != RG_ERR_CLOSED) {
            result = ctl_fail(ctl, printed, NULL, "cannot print the replies");
        }
    }
    buf_release(&self.out);
    (void) pthread_cond_destroy(&self.over);
    (void) pthread_mutex_destroy(&self.lock);
    return result;
}

int cmd_req(struct ctl *ctl, int argc, char **argv)
{
    const char *format = "%p\\n";
    const char *key = NULL;
    uint64_t wait_ms = 5000;
    uint64_t replies = 1;
    struct option_texts texts = {0};
    struct rg_header headers[OPTION_TEXTS_MAX];
    struct rg_request_options options = {0};
    const struct option_spec specs[] = {
        {"exchange", 'x', OPTION_TEXT, &options.exchange, "NAME", "default: the namespace's own"},
        {"wait", 'w', OPTION_DURATION, &wait_ms, "TIME",
         "how long the server waits for replies (default 5s, at most 10m)"},
        {"replies", 'n', OPTION_NUMBER, &replies, "N", "how many are wanted (default 1)"},
        {"name", 0, OPTION_TEXT, &options.response, "NAME",
         "of the response stream, for `reply --to` (default: the server makes one)"},
        {"header", 'H', OPTION_TEXTS, &texts, "NAME=VALUE", "may be given several times"},
        {"key", 'k', OPTION_TEXT, &key, "KEY", "for groups that are sticky by key"},
        {"format", 'f', OPTION_TEXT, &format, "TEXT",
         "%p payload %h headers %s size; default '%p\\n'"},
    };
    const struct command_help help = {
        "adminctl req TOPIC [PAYLOAD] [options]",
        "Ask whoever subscribes to TOPIC and print the reply. PAYLOAD '-' or none: standard "
        "input.\n"
        "Exit code 5 when nobody answers: NO_RESPONDERS at once, RS_TIMEOUT, RESPONDER_LOST."};
    struct options_result args;
    int exit_code = 0;

    if (options_parse(&help, specs, OPTIONS_COUNT(specs), argc, argv, 1, 2, &args, &exit_code) <
        0) {
        return exit_code;
    }
    const char *bad = message_headers(&texts, headers);
    if (bad != NULL) {
        return ctl_usage("req: --header is NAME=VALUE, not '%s'", bad);
    }
    if (format_check_delivery(format) != NULL) {
        return ctl_usage("req: --format: %s", format_check_delivery(format));
    }
    if (replies == 0 || replies > 65535 || wait_ms == 0 || wait_ms > 600000) {
        return ctl_usage("req: --replies is 1 to 65535, --wait 1ms to 10m");
    }
    struct buf keep = {0};
    struct rg_es_message message = {.topic = args.arguments[0],
                                    .key = {key, key != NULL ? strlen(key) : 0},
                                    .headers = headers,
                                    .header_count = texts.count};
    int error =
        message_payload(args.count == 2 ? args.arguments[1] : NULL, &keep, &message.payload);
    if (error < 0) {
        buf_release(&keep);
        return ctl_fail(ctl, error, NULL, "cannot read standard input");
    }
    int result = ctl_connect(ctl);
    if (result != 0) {
        buf_release(&keep);
        return result;
    }
    options.timeout_ms = (uint32_t) wait_ms;
    options.max_replies = (uint32_t) replies;
    result = ask_and_print(ctl, &message, &options, format);
    buf_release(&keep);
    return result;
}
