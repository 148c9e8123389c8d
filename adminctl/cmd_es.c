/* es: publish ephemeral messages and subscribe to them; what there is of exchanges is cmd_exchange.c's. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/mem.h"

#include "adminctl/exchange.h"
#include "adminctl/format.h"
#include "adminctl/lines.h"
#include "adminctl/message.h"
#include "adminctl/pace.h"
#include "adminctl/verbs.h"

enum { WRITE_AT_BYTES = 64 << 10, LOOK_MS = 100 };

/* --- pub --- */

struct pub {
    struct ctl *ctl;
    const char *exchange;
    struct rg_es_message message; /* but for its payload */
    bool receipt;
    uint64_t published;
    uint64_t matched;   /* entities, over all messages */
    uint64_t unmatched; /* messages that nobody wanted */
    struct pace pace;
};

static int publish(struct pub *self, struct rg_bytes payload)
{
    uint32_t matched = 0;
    self->message.payload = payload;
    /* The first one to an exchange that may not be there is waited for. */
    bool is_check = self->exchange != NULL && self->published == 0;
    int result =
        self->receipt || is_check
            ? rg_es_publish_counted(self->ctl->client, self->exchange, &self->message, 1, &matched)
            : rg_es_publish_batch(self->ctl->client, self->exchange, &self->message, 1);
    if (result == RG_OK) {
        self->published++;
        self->matched += matched;
        self->unmatched += matched == 0;
        pace_step(&self->pace, 1);
    }
    return result;
}

static int publish_lines(struct pub *self)
{
    struct lines lines;
    struct span line;
    int result = 0;
    lines_init(&lines, STDIN_FILENO);
    lines.is_stopped = message_is_stopped;
    while (result == 0 && !message_is_stopped()) {
        int got = lines_next(&lines, &line);
        if (got <= 0) {
            result = got;
            break;
        }
        result = publish(self, (struct rg_bytes){line.data, line.size});
    }
    lines_release(&lines);
    return result;
}

static int pub_show(struct pub *self, uint64_t us)
{
    struct output *out = output_new(self->ctl->format);
    output_object(out, NULL);
    output_text(out, "topic", span_of(self->message.topic));
    output_number(out, "published", self->published);
    if (self->receipt) {
        output_number(out, "matched", self->matched);
        output_number(out, "unmatched", self->unmatched);
    }
    output_real(out, "seconds", (double) us / 1e6, 3);
    output_end(out);
    return output_finish(&out) < 0 ? CTL_FAILED : CTL_OK;
}

static int es_pub(struct ctl *ctl, int argc, char **argv)
{
    const char *exchange = NULL;
    const char *key = NULL;
    uint64_t count = 1;
    uint64_t rate = 0;
    bool receipt = false;
    struct option_texts texts = {0};
    struct rg_header headers[OPTION_TEXTS_MAX];
    const struct option_spec specs[] = {
        {"exchange", 'x', OPTION_TEXT, &exchange, "NAME", "default: the namespace's own"},
        {"header", 'H', OPTION_TEXTS, &texts, "NAME=VALUE", "may be given several times"},
        {"key", 'k', OPTION_TEXT, &key, "KEY", "for groups that are sticky by key"},
        {"count", 'n', OPTION_NUMBER, &count, "N", "publish PAYLOAD so many times (default 1)"},
        {"rate", 'r', OPTION_NUMBER, &rate, "N", "at most N messages a second"},
        {"receipt", 0, OPTION_FLAG, &receipt, NULL,
         "wait for the server to say how many subscriptions and groups matched"},
    };
    const struct command_help help = {
        "adminctl es pub TOPIC [PAYLOAD] [options]",
        "Publish PAYLOAD, or each line of standard input, to whoever subscribes now. Not kept: "
        "without a subscriber it is dropped."};
    struct options_result args;
    int exit_code = 0;

    if (options_parse(&help, specs, OPTIONS_COUNT(specs), argc, argv, 1, 2, &args, &exit_code) <
        0) {
        return exit_code;
    }
    const char *bad = message_headers(&texts, headers);
    if (bad != NULL) {
        return ctl_usage("es pub: --header is NAME=VALUE, not '%s'", bad);
    }
    int result = ctl_connect(ctl);
    if (result != 0) {
        return result;
    }
    struct pub self = {.ctl = ctl,
                       .exchange = exchange,
                       .message = {.topic = args.arguments[0],
                                   .key = {key, key != NULL ? strlen(key) : 0},
                                   .headers = headers,
                                   .header_count = texts.count},
                       .receipt = receipt};
    message_catch_stop();
    pace_start(&self.pace, "published", args.count == 2 ? count : 0, rate);
    int error = 0;
    if (args.count == 2) {
        struct rg_bytes payload = {args.arguments[1], strlen(args.arguments[1])};
        for (uint64_t i = 0; i < count && error == 0 && !message_is_stopped(); i++) {
            error = publish(&self, payload);
        }
    } else {
        error = publish_lines(&self);
    }
    int flushed = rg_es_flush(ctl->client, (uint32_t) ctl->timeout_ms);
    error = error < 0 ? error : flushed;
    result = pub_show(&self, pace_stop(&self.pace));
    return error < 0 ? ctl_fail(ctl, error, rg_last_error(ctl->client),
                                "not every message is published to '%s'", args.arguments[0])
                     : result;
}

/* --- sub --- */

struct sub {
    struct ctl *ctl;
    struct rg_subscription *subscription;
    const char *format;
    uint64_t received;
    struct buf out;
};

static int print_all(struct sub *self, uint64_t count, uint64_t idle_ms)
{
    uint64_t last_ms = timesource_monotonic_ms(timesource_system());
    int result = 0;
    while (result == 0 && self->received < count && !message_is_stopped()) {
        struct rg_es_delivery delivery;
        result = rg_subscription_next(self->subscription, 0, &delivery);
        if (result == RG_ERR_AGAIN) {
            result = message_flush(&self->out);
            if (result == 0) {
                result = rg_subscription_next(self->subscription, LOOK_MS, &delivery);
            }
        }
        if (result == RG_ERR_AGAIN) {
            result = 0;
            uint64_t now_ms = timesource_monotonic_ms(timesource_system());
            if ((idle_ms > 0 && now_ms - last_ms >= idle_ms) || message_output_is_closed()) {
                break;
            }
            continue;
        }
        if (result == 0) {
            last_ms = timesource_monotonic_ms(timesource_system());
            self->received++;
            if (self->ctl->format == OUTPUT_JSON) {
                format_delivery_json(&self->out, &delivery);
            } else {
                format_delivery(&self->out, self->format, &delivery);
            }
            result = self->out.size >= WRITE_AT_BYTES ? message_flush(&self->out) : 0;
        }
    }
    int flushed = message_flush(&self->out);
    return result < 0 ? result : flushed;
}

static const struct {
    const char *name;
    enum rg_slow_policy policy;
} policies[] = {{"drop-old", RG_DROP_OLD},
                {"drop-new", RG_DROP_NEW},
                {"conflate", RG_CONFLATE},
                {"disconnect", RG_DISCONNECT}};

static bool policy_parse(const char *text, enum rg_slow_policy *ret_policy)
{
    for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
        if (strcmp(policies[i].name, text) == 0) {
            *ret_policy = policies[i].policy;
            return true;
        }
    }
    return false;
}

static int es_sub(struct ctl *ctl, int argc, char **argv)
{
    const char *policy = "drop-old";
    const char *format = "%T %p\\n";
    uint64_t count = UINT64_MAX;
    uint64_t idle_ms = 0;
    uint64_t max_messages = 0;
    struct rg_subscribe_options options = {.on_event = message_on_event};
    const struct option_spec specs[] = {
        {"exchange", 'x', OPTION_TEXT, &options.exchange, "NAME", "default: the namespace's own"},
        {"group", 'g', OPTION_TEXT, &options.group, "GROUP",
         "of its members one gets each message"},
        {"sticky", 0, OPTION_FLAG, &options.sticky_by_key, NULL,
         "the same key goes to the same member of the group"},
        {"count", 'n', OPTION_NUMBER, &count, "N", "end after N messages"},
        {"idle", 0, OPTION_DURATION, &idle_ms, "TIME", "end after TIME without a message"},
        {"policy", 0, OPTION_TEXT, &policy, "POLICY",
         "when we are too slow: drop-old (default), drop-new, conflate, disconnect"},
        {"queue", 0, OPTION_NUMBER, &max_messages, "N",
         "messages that may wait in the server (default 10,000, which is also the most)"},
        {"name", 0, OPTION_TEXT, &options.name, "TEXT", "of this subscriber, for people"},
        {"format", 'f', OPTION_TEXT, &format, "TEXT",
         "%T topic %p payload %k key %h headers %s size %r reply address; default '%T %p\\n'"},
    };
    const struct command_help help = {
        "adminctl es sub [MATCHER...] [options]",
        "Print ephemeral messages whose topic matches: words split by dots, `*` is one word, `#` "
        "any number of words.\n"
        "Without a MATCHER: all. Until Ctrl-C. With -o json: one object a line."};
    struct options_result args;
    int exit_code = 0;

    if (options_parse(&help, specs, OPTIONS_COUNT(specs), argc, argv, 0, OPTIONS_ARGUMENTS_MAX,
                      &args, &exit_code) < 0) {
        return exit_code;
    }
    if (!policy_parse(policy, &options.policy)) {
        return ctl_usage("es sub: --policy is drop-old, drop-new, conflate or disconnect, not '%s'",
                         policy);
    }
    if (format_check_delivery(format) != NULL) {
        return ctl_usage("es sub: --format: %s", format_check_delivery(format));
    }
    int result = ctl_connect(ctl);
    if (result != 0) {
        return result;
    }
    struct sub self = {.ctl = ctl, .format = format};
    options.matchers = args.arguments;
    options.matcher_count = (size_t) args.count;
    options.max_messages = max_messages > UINT32_MAX ? UINT32_MAX : (uint32_t) max_messages;
    message_catch_stop();
    result = rg_subscribe(ctl->client, &options, &self.subscription);
    if (result < 0) {
        return ctl_fail(ctl, result, rg_last_error(ctl->client), "cannot subscribe");
    }
    (void) fprintf(stderr, "adminctl: subscribed\n");
    result = print_all(&self, count, idle_ms);
    const char *detail = rg_last_error(ctl->client);
    rg_subscription_close(&self.subscription);
    buf_release(&self.out);
    (void) fprintf(stderr, "adminctl: received %llu\n", (unsigned long long) self.received);
    if (result < 0 && !(result == RG_ERR_CLOSED && ferror(stdout))) {
        return ctl_fail(ctl, result, detail, "subscribing ended");
    }
    return CTL_OK;
}

int cmd_es(struct ctl *ctl, int argc, char **argv)
{
    static const struct verb verbs[] = {{"pub", es_pub},
                                        {"sub", es_sub},
                                        {"ls", exchange_ls},
                                        {"info", exchange_info},
                                        {"ensure", exchange_ensure},
                                        {"delete", exchange_delete}};
    return VERBS_RUN("es", verbs, ctl, argc, argv);
}
