/* routerd: the router of ephemeral messages: configuration, metrics and the daemon around what serves the frontds (serve.h, router.h). Keeps nothing on disk: a routerd that starts is told all by the frontds. */
#include <stddef.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/run/daemon.h"
#include "common/run/log.h"

#include "routerd/router.h"
#include "routerd/serve.h"

struct settings {
    struct daemon_conf daemon;
    uint64_t subscriptions_max;
    uint64_t exchanges_max;
    uint64_t entities_max;
    uint64_t names_max;
    uint64_t held_bytes_max;
    uint64_t outbound_bytes_max;
};

#define KEY(name, type, field, text, min, max, help)                                               \
    {                                                                                              \
        name, type, offsetof(struct settings, field), text, min, max, false, help                  \
    }

#define MIB (UINT64_C(1) << 20)

/* An answer with all subscriptions of an exchange must fit into a message of the bus: 8 bytes each of 68 MiB. */
enum { SUBSCRIPTIONS_MAX_HARD = 4000000 };

static const struct conf_key keys[] = {
    DAEMON_KEYS(struct settings, "/var/lib/railgun/routerd"),
    KEY("limits.subscriptions", CONF_NUMBER, subscriptions_max, "1000000", 1,
        SUBSCRIPTIONS_MAX_HARD, "Subscriptions in one exchange."),
    KEY("limits.exchanges", CONF_NUMBER, exchanges_max, "100000", 1, 10000000,
        "Exchanges with subscriptions."),
    KEY("limits.fanout", CONF_NUMBER, entities_max, "100000", 1, SUBSCRIPTIONS_MAX_HARD,
        "Subscriptions without a group, and groups, that one message may go to; one that more want "
        "goes to nobody."),
    KEY("limits.names", CONF_NUMBER, names_max, "1000000", 1, 100000000,
        "Response streams that clients gave a name."),
    KEY("limits.held", CONF_SIZE, held_bytes_max, "64M", 64 << 10, 4096 * MIB,
        "Lookups of one frontd that wait; beyond it, it asks again."),
    KEY("limits.outbound", CONF_SIZE, outbound_bytes_max, "128M", 72 * MIB, 4096 * MIB,
        "Bytes that wait until one frontd takes them; beyond it, its session begins anew."),
};

static const struct conf_table settings_table = {
    .daemon = "routerd",
    .keys = keys,
    .count = sizeof(keys) / sizeof(keys[0]),
    .size = sizeof(struct settings),
};

struct routerd {
    struct daemon_context *context;
    struct serve *serve;
};

/* --- metrics ----------------------------------------------------------------------------------------------- */

#define GAUGE(field)                                                                               \
    static uint64_t routerd_read_##field(void *ud)                                                 \
    {                                                                                              \
        struct router_counts counts;                                                               \
        router_count(serve_router(((const struct routerd *) ud)->serve), &counts);                 \
        return counts.field;                                                                       \
    }
GAUGE(subscriptions)
GAUGE(matchers)
GAUGE(groups)
GAUGE(exchanges)
GAUGE(names)
GAUGE(frontds)
GAUGE(held)
GAUGE(held_bytes)
GAUGE(outbound_bytes)
GAUGE(unconfirmed)
GAUGE(lookups)
GAUGE(lookup_us)
GAUGE(lookup_us_max)
GAUGE(subscribed)
GAUGE(unsubscribed)
GAUGE(rejected)
GAUGE(changes)
GAUGE(malformed)
GAUGE(resets)
GAUGE(given_up)

static uint64_t routerd_read_ready(void *ud)
{
    return router_is_ready(serve_router(((const struct routerd *) ud)->serve));
}

static void routerd_add_metrics(struct routerd *self)
{
    struct metrics *metrics = daemon_metrics(self->context);
    metrics_gauge(metrics, "railgun_routes_ready", routerd_read_ready, self);
    metrics_gauge(metrics, "railgun_routes_subscriptions", routerd_read_subscriptions, self);
    metrics_gauge(metrics, "railgun_routes_matchers", routerd_read_matchers, self);
    metrics_gauge(metrics, "railgun_routes_groups", routerd_read_groups, self);
    metrics_gauge(metrics, "railgun_routes_exchanges", routerd_read_exchanges, self);
    metrics_gauge(metrics, "railgun_routes_names", routerd_read_names, self);
    metrics_gauge(metrics, "railgun_routes_frontds", routerd_read_frontds, self);
    metrics_gauge(metrics, "railgun_routes_held", routerd_read_held, self);
    metrics_gauge(metrics, "railgun_routes_held_bytes", routerd_read_held_bytes, self);
    metrics_gauge(metrics, "railgun_routes_outbound_bytes", routerd_read_outbound_bytes, self);
    metrics_gauge(metrics, "railgun_routes_unconfirmed_frontds", routerd_read_unconfirmed, self);
    metrics_gauge(metrics, "railgun_routes_lookups_total", routerd_read_lookups, self);
    metrics_gauge(metrics, "railgun_routes_lookup_us_total", routerd_read_lookup_us, self);
    metrics_gauge(metrics, "railgun_routes_lookup_us_max", routerd_read_lookup_us_max, self);
    metrics_gauge(metrics, "railgun_routes_subscribed_total", routerd_read_subscribed, self);
    metrics_gauge(metrics, "railgun_routes_unsubscribed_total", routerd_read_unsubscribed, self);
    metrics_gauge(metrics, "railgun_routes_rejected_total", routerd_read_rejected, self);
    metrics_gauge(metrics, "railgun_routes_changes_total", routerd_read_changes, self);
    metrics_gauge(metrics, "railgun_routes_malformed_total", routerd_read_malformed, self);
    metrics_gauge(metrics, "railgun_routes_resets_total", routerd_read_resets, self);
    metrics_gauge(metrics, "railgun_routes_given_up_total", routerd_read_given_up, self);
}

/* --- the daemon -------------------------------------------------------------------------------------------- */

static void routerd_on_ready(void *ud, const char *reason)
{
    struct routerd *self = (struct routerd *) ud;
    if (reason == NULL) {
        daemon_ready(self->context);
    } else {
        daemon_not_ready(self->context, reason);
    }
}

static void routerd_on_up(void *ud, struct bus_link *link)
{
    serve_on_up(((struct routerd *) ud)->serve, link);
}

static void routerd_on_down(void *ud, struct bus_link *link)
{
    serve_on_down(((struct routerd *) ud)->serve, link);
}

static void routerd_on_message(void *ud, struct bus_link *link, struct bus_message *message)
{
    serve_on_message(((struct routerd *) ud)->serve, link, message);
}

static void routerd_on_credit(void *ud, struct bus_link *link)
{
    serve_on_credit(((struct routerd *) ud)->serve, link);
}

static void routerd_stop(void *ud)
{
    struct routerd *self = (struct routerd *) ud;
    if (self != NULL) {
        serve_destroy(&self->serve);
        mem_free(self);
    }
}

static int routerd_open(struct routerd *self)
{
    const struct settings *settings = (const struct settings *) daemon_values(self->context);
    struct router_options options = {
        .subscriptions_max = settings->subscriptions_max,
        .exchanges_max = settings->exchanges_max,
        .entities_max = settings->entities_max,
        .names_max = settings->names_max,
        .held_bytes_max = settings->held_bytes_max,
        .outbound_bytes_max = settings->outbound_bytes_max,
    };
    struct serve_events events = {routerd_on_ready, self};
    struct bus *bus = daemon_bus(self->context);
    self->serve =
        serve_new(daemon_loop(self->context), bus, settings->daemon.run_dir, &options, &events);
    if (self->serve == NULL) {
        log_error("the run directory cannot be watched", "run_dir=\"%s\"",
                  settings->daemon.run_dir);
        return ERR_IO;
    }
    int result = bus_bind(bus);
    if (result != 0) {
        log_error("cannot bind the bus", "error=%s", err_name(result));
    }
    return result;
}

static int routerd_start(struct daemon_context *context, void **ret_self)
{
    struct routerd *self = MEM_NEW(struct routerd);
    self->context = context;
    int result = routerd_open(self);
    if (result < 0) {
        routerd_stop(self);
        return result;
    }
    routerd_add_metrics(self);
    *ret_self = self;
    serve_start(self->serve);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct daemon_program program = {
        .name = "routerd",
        .purpose = "Routes ephemeral messages: who of the frontds' clients wants which topic.",
        .table = &settings_table,
        .start = routerd_start,
        .stop = routerd_stop,
        .handlers = {routerd_on_up, routerd_on_down, routerd_on_message, routerd_on_credit, NULL,
                     NULL},
    };
    return daemon_main(argc, argv, &program);
}
