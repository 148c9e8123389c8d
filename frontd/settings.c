/* settings: the table of frontd's configuration keys. Owns nothing but the table. */
#include "frontd/settings.h"

#include <stddef.h>

#include "common/wire/frame.h"

#define AT(field) offsetof(struct settings, field)

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)

static const struct conf_key keys[] = {
    DAEMON_KEYS(struct settings, "/var/lib/railgun/frontd"),
    {"listen.address", CONF_STRING, AT(listen_address), "127.0.0.1", 1, 64, false,
     "Address for clients, IPv4 or IPv6."},
    {"listen.port", CONF_NUMBER, AT(listen_port), "7470", 0, 65535, false,
     "Port for clients; 0 takes any free one and writes it to RUN_DIR/frontd-INSTANCE.port."},
    {"insecure_listen", CONF_BOOL, AT(insecure_listen), "false", 0, 0, false,
     "Allow an address that is not loopback although clients are neither encrypted nor "
     "authenticated."},
    {"limits.connections", CONF_NUMBER, AT(connections_max), "10000", 1, 1000000, true,
     "Connections in all."},
    {"limits.connections_per_address", CONF_NUMBER, AT(address_connections_max), "100", 1, 1000000,
     true, "Connections from one address."},
    {"limits.loopback_connections", CONF_NUMBER, AT(loopback_connections_max), "10000", 1, 1000000,
     true, "Connections from one loopback address."},
    {"limits.channels", CONF_NUMBER, AT(channels_max), "1000", 1, 65535, false,
     "Consumers on one connection."},
    {"limits.requests", CONF_NUMBER, AT(requests_max), "16384", 1, 1000000, false,
     "Unanswered requests of one connection; beyond it, nothing more is read from it."},
    {"limits.frame", CONF_SIZE, AT(frame_bytes_max), "8M", 64 * KIB, FRAME_SIZE_MAX_HARD, false,
     "Largest frame."},
    {"limits.record", CONF_SIZE, AT(record_bytes_max), "1M", 1 * KIB, 32 * MIB, false,
     "Largest record."},
    {"limits.batch", CONF_SIZE, AT(batch_bytes_max), "4M", 16 * KIB, 48 * MIB, false,
     "Largest batch; a batch and 64 KiB must fit into a frame."},
    {"limits.batch_records", CONF_NUMBER, AT(batch_records_max), "65536", 1, 65536, false,
     "Most records of a batch."},
    {"limits.publish_window", CONF_SIZE, AT(publish_window_bytes), "16M", 64 * KIB, 1024 * MIB,
     false, "Bytes of unanswered Publish frames that a connection may have."},
    {"limits.outbound", CONF_SIZE, AT(outbound_bytes_max), "8M", 256 * KIB, 1024 * MIB, false,
     "Bytes queued for one connection."},
    {"limits.outbound_total", CONF_SIZE, AT(outbound_total_bytes_max), "256M", 1 * MIB, 65536 * MIB,
     false, "Bytes queued for all connections."},
    {"limits.inbound_total", CONF_SIZE, AT(inbound_total_bytes_max), "256M", 1 * MIB, 65536 * MIB,
     false,
     "Bytes of frames that have not come whole, or wait to be passed on, of all connections."},
    {"limits.parked", CONF_SIZE, AT(parked_bytes_max), "64M", 1 * MIB, 1024 * MIB, false,
     "Bytes of requests that wait for one daemon to come back."},
    {"limits.open_requests", CONF_NUMBER, AT(open_requests_max), "100000", 1, 10000000, true,
     "Requests (of request and reply) without a result, of all connections; and requests given to "
     "responders, of which the oldest are forgotten beyond it."},
    {"limits.subscriptions", CONF_NUMBER, AT(subscriptions_max), "10000", 1, 1000000, true,
     "Ephemeral subscriptions of one connection."},
    {"limits.subscriptions_total", CONF_NUMBER, AT(subscriptions_total_max), "1000000", 1, 16000000,
     true, "Ephemeral subscriptions of all connections."},
    {"limits.topics", CONF_NUMBER, AT(topics_max), "200000", 1, 16000000, true,
     "Live topics of one exchange in this process; an exchange may have a limit of its own. A "
     "topic nobody published to for a minute is not live."},
    {"limits.connection_topics", CONF_NUMBER, AT(connection_topics_max), "150000", 1, 16000000,
     true, "Live topics that one connection was the first to publish to."},
    {"es.outbound", CONF_SIZE, AT(es_outbound_bytes), "1M", 16 * KIB, 512 * MIB, true,
     "Bytes queued for one connection beyond which its ephemeral messages wait in their "
     "subscriptions; at most half of limits.outbound counts."},
    {"es.queue_messages", CONF_NUMBER, AT(es_queue_messages_max), "10000", 1, 10000000, true,
     "Messages that wait in one subscription; clients may ask for fewer."},
    {"es.queue", CONF_SIZE, AT(es_queue_bytes_max), "16M", 4 * KIB, 1024 * MIB, true,
     "Bytes that wait in one subscription; clients may ask for fewer."},
    {"es.queued_total", CONF_SIZE, AT(es_queued_total_bytes_max), "128M", 1 * MIB, 65536 * MIB,
     true,
     "Memory of all that waits in subscriptions. Each may use a share of what is free; beyond it "
     "messages are dropped as its policy says."},
    {"es.waiting", CONF_SIZE, AT(es_waiting_bytes_max), "4M", 64 * KIB, 1024 * MIB, true,
     "Bytes of one connection's ephemeral frames that wait for routes; then it is not read."},
    {"es.waiting_total", CONF_SIZE, AT(es_waiting_total_bytes_max), "64M", 1 * MIB, 65536 * MIB,
     true, "The same of all connections."},
    {"es.turn", CONF_SIZE, AT(es_turn_bytes), "4M", 64 * KIB, 1024 * MIB, true,
     "Output that one publisher may cause before others have their turn."},
    {"routes.entries", CONF_NUMBER, AT(routes_entries_max), "262144", 1024, 16000000, true,
     "Topics whose routes are kept; those not used lately are forgotten and asked for again."},
    {"routes.bytes", CONF_SIZE, AT(routes_bytes_max), "64M", 1 * MIB, 65536 * MIB, true,
     "Memory of the routes that are kept."},
    {"awake", CONF_NUMBER, AT(awake_us), "100", 0, 1000, false,
     "When frames follow one another closely: microseconds for which the next one is waited for "
     "awake; 0 never. Shorter answers for more processor time."},
    {"timeouts.hello", CONF_DURATION, AT(hello_timeout_ms), "5s", 100, 60000, false,
     "Longest time from connecting to Hello."},
    {"timeouts.heartbeat", CONF_DURATION, AT(heartbeat_ms), "10s", 100, 60000, false,
     "A Ping is sent when nothing else was for this long; a peer silent three times as long is "
     "closed. Clients may ask for a shorter time."},
    {"timeouts.frame", CONF_DURATION, AT(frame_grace_ms), "5s", 100, 60000, false,
     "A frame that takes longer than this must come at 1 KiB/s or faster."},
    {"timeouts.request", CONF_DURATION, AT(request_timeout_ms), "9s", 100, 300000, true,
     "Longest time until a request is answered, if only with an error. Less than the clients' own, "
     "which is 10s, so that they are told why."},
    {"timeouts.catalog", CONF_DURATION, AT(catalog_wait_ms), "5s", 0, 60000, false,
     "How long after the start requests wait for the first catalogue from raftd."},
    {"timeouts.drain_grace", CONF_DURATION, AT(drain_grace_ms), "2s", 0, 60000, true,
     "While draining: how long clients may go on after GoAway."},
};

const struct conf_table settings_table = {
    .daemon = "frontd",
    .keys = keys,
    .count = sizeof(keys) / sizeof(keys[0]),
    .size = sizeof(struct settings),
};
