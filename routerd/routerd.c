/* routerd: the router of ephemeral messages. For now it holds its place among the daemons: it binds the bus, answers status and is ready;
 * nobody routes anything through it yet. */
#include <stddef.h>

#include "common/base/err.h"
#include "common/run/daemon.h"
#include "common/run/log.h"

struct settings {
    struct daemon_conf daemon;
};

static const struct conf_key keys[] = {
    DAEMON_KEYS(struct settings, "/var/lib/railgun/routerd"),
};

static const struct conf_table settings_table = {
    .daemon = "routerd",
    .keys = keys,
    .count = sizeof(keys) / sizeof(keys[0]),
    .size = sizeof(struct settings),
};

static int routerd_start(struct daemon_context *context, void **ret_self)
{
    *ret_self = context; /* there is no state of its own yet */
    int result = bus_bind(daemon_bus(context));
    if (result != 0) {
        log_error("cannot bind the bus", "error=%s", err_name(result));
        return result;
    }
    daemon_ready(context);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct daemon_program program = {
        .name = "routerd",
        .purpose = "Routes ephemeral messages between the frontds; idle in this version.",
        .table = &settings_table,
        .start = routerd_start,
    };
    return daemon_main(argc, argv, &program);
}
