/* settings: frontd's configuration. Sizes in bytes, times in milliseconds. Reloadable are only those that are read afresh
 * each time they are used. */
#ifndef FRONTD_SETTINGS_H
#define FRONTD_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/run/daemon.h"

struct settings {
    struct daemon_conf daemon;

    char *listen_address;
    uint64_t listen_port;
    bool insecure_listen;

    uint64_t connections_max;
    uint64_t address_connections_max;
    uint64_t loopback_connections_max;
    uint64_t channels_max; /* of one connection */
    uint64_t requests_max; /* unanswered, of one connection */
    uint64_t frame_bytes_max;
    uint64_t record_bytes_max; /* told to clients; logd enforces */
    uint64_t batch_bytes_max;
    uint64_t batch_records_max;
    uint64_t publish_window_bytes;
    uint64_t outbound_bytes_max;       /* queued for one connection */
    uint64_t outbound_total_bytes_max; /* queued for all */
    uint64_t inbound_total_bytes_max;  /* received and not yet passed on, for all */
    uint64_t parked_bytes_max;         /* waiting for one daemon */
    uint64_t open_requests_max; /* Requests without a result, and those given to responders here */

    uint64_t subscriptions_max;       /* of one connection */
    uint64_t subscriptions_total_max; /* of all */
    /* ephemeral messages */
    uint64_t es_outbound_bytes; /* of one connection's output; more waits in the subscriptions */
    uint64_t es_queue_messages_max;      /* of one subscription */
    uint64_t es_queue_bytes_max;         /* likewise */
    uint64_t es_queued_total_bytes_max;  /* of all: memory, shared copies counted once */
    uint64_t es_waiting_bytes_max;       /* of one connection: frames that wait for routes */
    uint64_t es_waiting_total_bytes_max; /* of all */
    uint64_t es_turn_bytes;              /* of output that one publisher may cause in a turn */

    uint64_t routes_entries_max;    /* of the route cache */
    uint64_t routes_bytes_max;      /* likewise */
    uint64_t topics_max;            /* live ones of one exchange here */
    uint64_t connection_topics_max; /* of them: brought up by one connection */

    uint64_t awake_us; /* waiting for the next frame awake */

    uint64_t hello_timeout_ms;
    uint64_t heartbeat_ms;
    uint64_t frame_grace_ms;
    uint64_t request_timeout_ms;
    uint64_t catalog_wait_ms; /* how long the first frames wait for the catalogue */
    uint64_t drain_grace_ms;  /* for clients to act on GoAway */
};

extern const struct conf_table settings_table;

#endif
