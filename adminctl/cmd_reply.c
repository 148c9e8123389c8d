/* reply: a responder: answers each request that comes with what a command prints, with a text, or with the request itself. */
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/err.h"

#include "adminctl/exec.h"
#include "adminctl/message.h"

enum { LOOK_MS = 100, TEXT_MAX = 256, REPLY_BYTES_MAX = 1 << 20 };

struct answering {
    struct ctl *ctl;
    struct rg_subscription *subscription;
    const char *command; /* NULL: `text` */
    const char *text;    /* NULL: the request's own payload */
    uint64_t answered;
    uint64_t failed;  /* of them: the command did */
    uint64_t late;    /* nobody waited any longer */
    uint64_t ignored; /* no requests */
    struct buf out;
};

static void copy_text(struct rg_bytes bytes, char out[TEXT_MAX])
{
    size_t size = bytes.size < TEXT_MAX - 1 ? bytes.size : TEXT_MAX - 1;
    if (size > 0) {
        memcpy(out, bytes.data, size);
    }
    out[size] = 0;
}

/* What is answered. A command that fails is told of in a header. */
static struct rg_es_message answer(struct answering *self, const struct rg_es_delivery *delivery)
{
    static const struct rg_header failed = {{"rg-error", 8}, {"the command failed", 18}};
    struct rg_es_message message = {.payload = delivery->payload};
    if (self->text != NULL) {
        message.payload = (struct rg_bytes){self->text, strlen(self->text)};
    }
    if (self->command != NULL) {
        char topic[TEXT_MAX];
        char key[TEXT_MAX];
        copy_text(delivery->topic, topic);
        copy_text(delivery->key, key);
        const struct exec_variable variables[] = {{"RAILGUN_TOPIC", topic}, {"RAILGUN_KEY", key}};
        buf_reset(&self->out);
        if (!exec_run(self->command, delivery->payload, variables, 2, &self->out,
                      REPLY_BYTES_MAX)) {
            message.headers = &failed;
            message.header_count = 1;
            self->failed++;
            self->out.size = self->out.size > REPLY_BYTES_MAX ? 0 : self->out.size;
        }
        message.payload = (struct rg_bytes){self->out.data, self->out.size};
    }
    return message;
}

static int take(struct answering *self, const struct rg_es_delivery *delivery)
{
    if (delivery->reply_to.size == 0) {
        self->ignored++;
        return 0;
    }
    static const struct rg_header large = {{"rg-error", 8}, {"the reply is too large", 22}};
    struct rg_es_message message = answer(self, delivery);
    int result = rg_reply_message(self->ctl->client, delivery->reply_to, &message);
    if (result == RG_ERR_TOO_LARGE) {
        self->failed += message.header_count == 0;
        message = (struct rg_es_message){.headers = &large, .header_count = 1};
        result = rg_reply_message(self->ctl->client, delivery->reply_to, &message);
    }
    self->answered += result == RG_OK;
    self->late += result == RG_ERR_RS_CLOSED;
    return result == RG_ERR_RS_CLOSED || result == RG_ERR_TIMEOUT ? 0 : result;
}

static int answer_all(struct answering *self, uint64_t count, uint64_t idle_ms)
{
    uint64_t last_ms = timesource_monotonic_ms(timesource_system());
    int result = 0;
    while (result == 0 && self->answered < count && !message_is_stopped()) {
        struct rg_es_delivery delivery;
        result = rg_subscription_next(self->subscription, LOOK_MS, &delivery);
        if (result == RG_ERR_AGAIN) {
            result = 0;
            if (idle_ms > 0 && timesource_monotonic_ms(timesource_system()) - last_ms >= idle_ms) {
                break;
            }
        } else if (result == 0) {
            last_ms = timesource_monotonic_ms(timesource_system());
            result = take(self, &delivery);
        }
    }
    return result;
}

static int reply_once(struct ctl *ctl, const char *to, const char *text)
{
    struct rg_es_message message = {.payload = {text, strlen(text)}};
    int result = ctl_connect(ctl);
    if (result != 0) {
        return result;
    }
    result = rg_reply_message(ctl->client, (struct rg_bytes){to, strlen(to)}, &message);
    return result < 0
               ? ctl_fail(ctl, result, rg_last_error(ctl->client), "cannot reply to '%s'", to)
               : CTL_OK;
}

int cmd_reply(struct ctl *ctl, int argc, char **argv)
{
    struct answering self = {.ctl = ctl};
    const char *to = NULL;
    bool echo = false;
    uint64_t count = UINT64_MAX;
    uint64_t idle_ms = 0;
    struct rg_subscribe_options options = {.on_event = message_on_event};
    const struct option_spec specs[] = {
        {"exec", 'e', OPTION_TEXT, &self.command, "CMD",
         "run CMD for each request (payload on its input, RAILGUN_TOPIC, RAILGUN_KEY); its output "
         "is the reply"},
        {"text", 't', OPTION_TEXT, &self.text, "TEXT", "always reply this"},
        {"echo", 0, OPTION_FLAG, &echo, NULL, "reply what was asked"},
        {"group", 'g', OPTION_TEXT, &options.group, "GROUP",
         "share the requests with the other members"},
        {"exchange", 'x', OPTION_TEXT, &options.exchange, "NAME", "default: the namespace's own"},
        {"count", 'n', OPTION_NUMBER, &count, "N", "end after N replies"},
        {"idle", 0, OPTION_DURATION, &idle_ms, "TIME", "end after TIME without a request"},
        {"to", 0, OPTION_TEXT, &to, "NAME",
         "answer the one request whose response stream is called NAME, with --text"},
    };
    const struct command_help help = {
        "adminctl reply MATCHER... --exec CMD | --text TEXT | --echo [options]",
        "Answer the requests whose topic matches, until Ctrl-C.  adminctl reply --to NAME --text "
        "TEXT answers one by name.\n"
        "A CMD that fails is replied with the header rg-error and what it printed."};
    struct options_result args;
    int exit_code = 0;

    if (options_parse(&help, specs, OPTIONS_COUNT(specs), argc, argv, 0, OPTIONS_ARGUMENTS_MAX,
                      &args, &exit_code) < 0) {
        return exit_code;
    }
    if ((self.command != NULL) + (self.text != NULL) + echo != 1) {
        return ctl_usage("reply: one of --exec CMD, --text TEXT, --echo");
    }
    if (to != NULL) {
        return self.text == NULL || args.count > 0
                   ? ctl_usage("reply: --to goes with --text, and without a MATCHER")
                   : reply_once(ctl, to, self.text);
    }
    if (args.count == 0) {
        return ctl_usage("reply: which topics? (a MATCHER, as in es sub)");
    }
    int result = ctl_connect(ctl);
    if (result != 0) {
        return result;
    }
    options.matchers = args.arguments;
    options.matcher_count = (size_t) args.count;
    message_catch_stop();
    result = rg_subscribe(ctl->client, &options, &self.subscription);
    if (result < 0) {
        return ctl_fail(ctl, result, rg_last_error(ctl->client), "cannot subscribe");
    }
    (void) fprintf(stderr, "adminctl: subscribed\n");
    result = answer_all(&self, count, idle_ms);
    const char *detail = rg_last_error(ctl->client);
    rg_subscription_close(&self.subscription);
    buf_release(&self.out);
    (void) fprintf(stderr,
                   "adminctl: answered %llu (command failed %llu), too late %llu, ignored %llu\n",
                   (unsigned long long) self.answered, (unsigned long long) self.failed,
                   (unsigned long long) self.late, (unsigned long long) self.ignored);
    return result < 0 ? ctl_fail(ctl, result, detail, "answering ended") : CTL_OK;
}
