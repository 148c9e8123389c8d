/* exchange: ensure, ls, info, delete of exchanges for ephemeral messages. */
#include "adminctl/exchange.h"

#include <stdio.h>
#include <string.h>

#include "common/wire/client.pb-c.h"
#include "common/wire/scan.h"

#include "adminctl/ask.h"
#include "adminctl/ensure.h"
#include "adminctl/options.h"

int exchange_ensure(struct ctl *ctl, int argc, char **argv)
{
    uint64_t version = 1;
    uint64_t subscriptions = UINT64_MAX;
    uint64_t topics = UINT64_MAX;
    uint64_t fanout = UINT64_MAX;
    const char *description = NULL;
    const char *mode = "update";
    const struct option_spec specs[] = {
        {"version", 'V', OPTION_NUMBER, &version, "N",
         "of this configuration; a change needs a higher one (default 1)"},
        {"mode", 'm', OPTION_TEXT, &mode, "MODE", "update (default), check, warn, create-only"},
        {"description", 0, OPTION_TEXT, &description, "TEXT", "for people"},
        {"max-subscriptions", 0, OPTION_NUMBER, &subscriptions, "N", "0: the server's limit"},
        {"max-topics", 0, OPTION_NUMBER, &topics, "N",
         "different topics in use at a time, in each frontd; 0: the server's limit"},
        {"max-fanout", 0, OPTION_NUMBER, &fanout, "N",
         "subscriptions and groups that one message may go to; 0: the server's limit"},
    };
    const struct command_help help = {
        "adminctl es ensure NAME [options]",
        "Make sure an exchange exists beside the namespace's own: a world of topics of its own, "
        "with its own limits."};
    struct options_result args;
    int exit_code = 0;
    Railgun__Ensure request = RAILGUN__ENSURE__INIT;
    Railgun__ExchangeSpec spec = RAILGUN__EXCHANGE_SPEC__INIT;

    if (options_parse(&help, specs, OPTIONS_COUNT(specs), argc, argv, 1, 1, &args, &exit_code) <
        0) {
        return exit_code;
    }
    if (!ensure_mode_parse(mode, &request.mode)) {
        return ctl_usage("es ensure: --mode is update, check, warn or create-only, not '%s'", mode);
    }
    memcpy(&request.name, &args.arguments[0], sizeof(request.name)); /* no const in protobuf-c */
    memcpy(&spec.description, &description, sizeof(spec.description));
    request.has_kind = true;
    request.kind = RAILGUN__KIND__KIND_EXCHANGE;
    request.has_version = true;
    request.version = version;
    request.has_mode = true;
    request.exchange = &spec;
    spec.has_max_subscriptions = subscriptions != UINT64_MAX;
    spec.max_subscriptions = subscriptions;
    spec.has_max_topics = topics != UINT64_MAX;
    spec.max_topics = topics;
    spec.has_max_fanout = fanout != UINT64_MAX;
    spec.max_fanout = fanout > UINT32_MAX ? UINT32_MAX : (uint32_t) fanout;
    const struct ensure_object object = {"exchange", NULL, args.arguments[0]};
    return ensure_ask(ctl, &object, &request);
}

int exchange_ls(struct ctl *ctl, int argc, char **argv)
{
    const char *prefix = NULL;
    const struct option_spec specs[] = {
        {"prefix", 0, OPTION_TEXT, &prefix, "TEXT", "only names that begin so"}};
    const struct command_help help = {
        "adminctl es ls [--prefix TEXT]",
        "The exchanges of the namespace: its own, which has no name, and those that were ensured."};
    struct options_result args;
    int exit_code = 0;
    char after[300] = "";
    char human[32];
    bool more = true;

    if (options_parse(&help, specs, OPTIONS_COUNT(specs), argc, argv, 0, 0, &args, &exit_code) <
        0) {
        return exit_code;
    }
    struct output *out = output_new(ctl->format);
    output_list(out, NULL);
    while (more) {
        Railgun__List request = RAILGUN__LIST__INIT;
        Railgun__ListOk *answer = NULL;
        request.has_kind = true;
        request.kind = RAILGUN__KIND__KIND_EXCHANGE;
        memcpy(&request.prefix, &prefix, sizeof(request.prefix));
        request.after = after;
        int result = ASK(ctl, ASK_LIST, &request, railgun__list_ok, "list exchanges", &answer);
        if (result != 0) {
            output_discard(&out);
            return result;
        }
        for (size_t i = 0; i < answer->n_items; i++) {
            const Railgun__ListItem *item = answer->items[i];
            const char *name = item->name != NULL ? item->name : "";
            output_object(out, NULL);
            output_text(out, "name", span_of(name));
            output_number(out, "version", item->version);
            output_text(
                out, "created",
                span_of(item->created_us != 0 ? output_time_us(item->created_us, human) : ""));
            output_text(out, "description",
                        span_of(item->description != NULL ? item->description : ""));
            output_end(out);
            (void) snprintf(after, sizeof(after), "%s", name);
        }
        more = answer->more && answer->n_items > 0;
        SCAN_FREE(&answer);
    }
    output_end(out);
    return output_finish(&out) < 0 ? CTL_FAILED : CTL_OK;
}

static void put_info(struct output *out, const Railgun__ExchangeInfo *info)
{
    char human[32];
    output_object(out, NULL);
    output_text(out, "name", span_of(info->name != NULL ? info->name : ""));
    output_number(out, "version", info->version);
    output_text(out, "description",
                span_of(info->spec != NULL && info->spec->description != NULL
                            ? info->spec->description
                            : ""));
    output_text(out, "created",
                span_of(info->created_us != 0 ? output_time_us(info->created_us, human) : ""));
    output_number(out, "frontds", info->frontds);
    output_number(out, "routerds", info->routerds);
    output_number(out, "subscriptions", info->subscriptions);
    output_number(out, "matchers", info->matchers);
    output_number(out, "live_topics", info->live_topics);
    output_number(out, "published", info->published);
    output_number(out, "unmatched", info->unmatched);
    output_number(out, "refused", info->refused);
    output_number(out, "matched", info->matched);
    output_number(out, "delivered", info->delivered);
    output_number(out, "dropped", info->dropped);
    output_number(out, "queued", info->queued);
    output_number(out, "requests", info->requests);
    output_list(out, "groups");
    for (size_t i = 0; i < info->n_groups; i++) {
        const Railgun__EsGroupInfo *group = info->groups[i];
        output_object(out, NULL);
        output_text(out, "name", span_of(group->name != NULL ? group->name : ""));
        output_number(out, "members", group->members);
        output_text(out, "sticky_by_key", span_of(group->sticky_by_key ? "yes" : "no"));
        output_end(out);
    }
    output_end(out);
    output_end(out);
}

int exchange_info(struct ctl *ctl, int argc, char **argv)
{
    const struct command_help help = {
        "adminctl es info [NAME]",
        "Subscriptions, groups and counters of an exchange, over all frontds. Without a NAME: the "
        "namespace's own."};
    struct options_result args;
    int exit_code = 0;
    Railgun__Describe request = RAILGUN__DESCRIBE__INIT;
    Railgun__DescribeOk *answer = NULL;
    char what[320];

    if (options_parse(&help, NULL, 0, argc, argv, 0, 1, &args, &exit_code) < 0) {
        return exit_code;
    }
    static const char *const own = "";
    const char *name = args.count == 1 ? args.arguments[0] : own;
    memcpy(&request.name, &name, sizeof(request.name)); /* no const in protobuf-c */
    request.has_kind = true;
    request.kind = RAILGUN__KIND__KIND_EXCHANGE;
    (void) snprintf(what, sizeof(what), "describe exchange '%.255s'", name);
    int result = ASK(ctl, ASK_DESCRIBE, &request, railgun__describe_ok, what, &answer);
    if (result != 0) {
        return result;
    }
    if (answer->exchange == NULL) {
        SCAN_FREE(&answer);
        return ctl_fail(ctl, RG_ERR_PROTOCOL, "the answer does not hold what was asked for",
                        "cannot %s", what);
    }
    struct output *out = output_new(ctl->format);
    put_info(out, answer->exchange);
    SCAN_FREE(&answer);
    return output_finish(&out) < 0 ? CTL_FAILED : CTL_OK;
}

int exchange_delete(struct ctl *ctl, int argc, char **argv)
{
    const char *confirm = NULL;
    const struct option_spec specs[] = {
        {"yes", 'y', OPTION_TEXT, &confirm, "NAME", "the exchange's name once more"}};
    const struct command_help help = {"adminctl es delete NAME --yes NAME",
                                      "Delete an exchange; its subscriptions are ended."};
    struct options_result args;
    int exit_code = 0;

    if (options_parse(&help, specs, OPTIONS_COUNT(specs), argc, argv, 1, 1, &args, &exit_code) <
        0) {
        return exit_code;
    }
    if (confirm == NULL || strcmp(confirm, args.arguments[0]) != 0) {
        return ctl_usage("es delete: repeat the name to confirm: --yes %s", args.arguments[0]);
    }
    int result = ctl_connect(ctl);
    if (result != 0) {
        return result;
    }
    int error = rg_exchange_delete(ctl->client, args.arguments[0]);
    if (error < 0) {
        return ctl_fail(ctl, error, rg_last_error(ctl->client), "cannot delete exchange '%s'",
                        args.arguments[0]);
    }
    struct output *out = output_new(ctl->format);
    output_object(out, NULL);
    output_text(out, "exchange", span_of(args.arguments[0]));
    output_text(out, "result", span_of("deleted"));
    output_end(out);
    return output_finish(&out) < 0 ? CTL_FAILED : CTL_OK;
}
