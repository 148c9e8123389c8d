/* status: the daemons of a node, as frontd sees them. */
#include <stdio.h>
#include <string.h>

#include "common/base/uuid.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/scan.h"

#include "adminctl/ask.h"
#include "adminctl/ctl.h"
#include "adminctl/options.h"

static void put_daemon(struct output *out, const Railgun__DaemonInfo *daemon, bool counters)
{
    char human[32];
    output_object(out, NULL);
    output_text(out, "daemon", span_of(daemon->daemon != NULL ? daemon->daemon : ""));
    output_text(out, "state", span_of(daemon->state != NULL ? daemon->state : "unknown"));
    output_number(out, "pid", daemon->pid);
    output_text(out, "version", span_of(daemon->version != NULL ? daemon->version : ""));
    output_number_as(out, "uptime_ms", daemon->uptime_ms,
                     output_duration(daemon->uptime_ms, human));
    output_number_as(out, "rss_bytes", daemon->rss_bytes, output_bytes(daemon->rss_bytes, human));
    output_text(out, "detail", span_of(daemon->detail != NULL ? daemon->detail : ""));
    if (counters) {
        output_object(out, "counters");
        for (size_t i = 0; i < daemon->n_counters; i++) {
            output_number(out, daemon->counters[i]->name, daemon->counters[i]->value);
        }
        output_end(out);
    }
    output_end(out);
}

static void put_counters(struct output *out, const Railgun__NodeInfo *node)
{
    output_list(out, "counters");
    for (size_t d = 0; d < node->n_daemons; d++) {
        for (size_t i = 0; i < node->daemons[d]->n_counters; i++) {
            output_object(out, NULL);
            output_text(out, "daemon", span_of(node->daemons[d]->daemon));
            output_text(out, "counter", span_of(node->daemons[d]->counters[i]->name));
            output_number(out, "value", node->daemons[d]->counters[i]->value);
            output_end(out);
        }
    }
    output_end(out);
}

bool ctl_node_is_up(struct ctl *ctl)
{
    Railgun__DescribeOk *answer = NULL;
    bool is_up = ask_describe(ctl, NULL, NULL, NULL, &answer) == 0;
    for (size_t i = 0; is_up && i < answer->node->n_daemons; i++) {
        const char *state = answer->node->daemons[i]->state;
        is_up = state != NULL && strcmp(state, "ready") == 0;
    }
    SCAN_FREE(&answer);
    return is_up;
}

int cmd_status(struct ctl *ctl, int argc, char **argv)
{
    bool counters = false;
    const struct option_spec specs[] = {
        {"counters", 'c', OPTION_FLAG, &counters, NULL, "show every counter, too"},
    };
    const struct command_help help = {"adminctl status [--counters]",
                                      "The daemons of the node: state, pid, uptime, memory. Exit "
                                      "code 5 when one of them is down."};
    struct options_result args;
    int exit_code = 0;
    char text[UUID_TEXT_SIZE] = "";
    struct uuid cluster;
    Railgun__DescribeOk *answer = NULL;

    if (options_parse(&help, specs, OPTIONS_COUNT(specs), argc, argv, 0, 0, &args, &exit_code) <
        0) {
        return exit_code;
    }
    int result = ask_describe(ctl, NULL, NULL, "ask for the node's state", &answer);
    if (result != 0) {
        return result;
    }
    const Railgun__NodeInfo *node = answer->node;
    if (uuid_from_bytes(span_make(node->cluster.data, node->cluster.len), &cluster) == 0) {
        uuid_format(&cluster, text);
    }
    struct output *out = output_new(ctl->format);
    output_object(out, NULL);
    output_text(out, "cluster", span_of(text));
    output_number(out, "node", node->node);
    output_text(out, "address", span_of(rg_server_address(ctl->client)));
    output_number(out, "streams", node->streams);
    output_number(out, "groups", node->groups);
    output_number(out, "connections", node->connections);
    output_number(out, "revision", node->revision);
    output_list(out, "daemons");
    bool all_up = true;
    for (size_t i = 0; i < node->n_daemons; i++) {
        const char *state = node->daemons[i]->state;
        put_daemon(out, node->daemons[i], counters && ctl->format == OUTPUT_JSON);
        all_up = all_up && state != NULL && strcmp(state, "down") != 0;
    }
    output_end(out);
    if (counters && ctl->format == OUTPUT_TABLE) {
        put_counters(out, node);
    }
    output_end(out);
    SCAN_FREE(&answer);
    if (output_finish(&out) < 0) {
        return CTL_FAILED;
    }
    return all_up ? CTL_OK : CTL_UNAVAILABLE;
}
