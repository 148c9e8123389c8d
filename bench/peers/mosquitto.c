/* mosquitto: the same ephemeral work as `adminctl bench ephemeral`, done by Mosquitto (QoS 0) with its own library, in one process.
 * Usage: mosquitto PORT COUNT SIZE SUBS TOPICS WINDOW; prints one JSON line. Work and checks are those of nats_core.go. */
#include <mosquitto.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 64, TOPIC_MAX = 48 };

struct subscriber { /* a connection */
    struct mosquitto *client;
    atomic_long seen;
    atomic_long subscribed;
    long last;
    long out_of_order;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

static void must(int result, const char *what)
{
    if (result != MOSQ_ERR_SUCCESS) {
        fprintf(stderr, "mosquitto: %s: %s\n", what, mosquitto_strerror(result));
        exit(1);
    }
}

static void on_message(struct mosquitto *client, void *ud, const struct mosquitto_message *message)
{
    struct subscriber *self = ud;
    uint64_t number = 0;
    (void) client;
    memcpy(&number, message->payload, sizeof(number));
    self->out_of_order += (long) number <= self->last;
    self->last = (long) number;
    atomic_fetch_add_explicit(&self->seen, 1, memory_order_relaxed);
}

static void on_subscribe(struct mosquitto *client, void *ud, int mid, int count, const int *granted)
{
    struct subscriber *self = ud;
    (void) client;
    (void) mid;
    (void) count;
    (void) granted;
    atomic_fetch_add(&self->subscribed, 1);
}

static struct mosquitto *open_client(int port, void *ud)
{
    struct mosquitto *client = mosquitto_new(NULL, true, ud);
    mosquitto_message_callback_set(client, on_message);
    mosquitto_subscribe_callback_set(client, on_subscribe);
    must(mosquitto_connect(client, "127.0.0.1", port, 60), "connect");
    mosquitto_int_option(client, MOSQ_OPT_TCP_NODELAY, 1);
    must(mosquitto_loop_start(client), "loop");
    return client;
}

static void wait_subscribed(struct subscriber *self, long count)
{
    while (atomic_load(&self->subscribed) < count) {
        usleep(1000);
    }
}

static long least(struct subscriber *subscribers, int count)
{
    long result = atomic_load(&subscribers[0].seen);
    for (int i = 1; i < count; i++) {
        long seen = atomic_load(&subscribers[i].seen);
        result = seen < result ? seen : result;
    }
    return result;
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        return 2;
    }
    int port = (int) strtol(argv[1], NULL, 10);
    long count = strtol(argv[2], NULL, 10);
    int size = (int) strtol(argv[3], NULL, 10);
    int subs = (int) strtol(argv[4], NULL, 10);
    int topics = (int) strtol(argv[5], NULL, 10);
    long window = strtol(argv[6], NULL, 10);
    static struct subscriber subscribers[CONNECTIONS_MAX];
    int connections = topics == 1 ? subs : 1;
    char(*names)[TOPIC_MAX] = calloc((size_t) topics, sizeof(*names));
    uint8_t *payload = calloc(1, (size_t) size);

    mosquitto_lib_init();
    for (int i = 0; i < connections; i++) {
        subscribers[i].last = -1;
        subscribers[i].client = open_client(port, &subscribers[i]);
    }
    for (int k = 0; k < topics; k++) {
        snprintf(names[k], TOPIC_MAX, topics == 1 ? "bench" : "bench/%d/%d", k % subs, k / subs);
    }
    for (int i = 0; i < subs; i++) {
        char matcher[TOPIC_MAX];
        struct subscriber *to = &subscribers[topics == 1 ? i : 0];
        snprintf(matcher, sizeof(matcher), topics == 1 ? "bench" : "bench/%d/+", i);
        must(mosquitto_subscribe(to->client, NULL, matcher, 0), "subscribe");
    }
    for (int i = 0; i < connections; i++) {
        wait_subscribed(&subscribers[i], topics == 1 ? 1 : subs);
    }
    struct mosquitto *publisher = open_client(port, &subscribers[0]);
    double start = now();
    for (long i = 0; i < count; i++) {
        if (i % 256 == 0) { /* else the server drops what a subscriber does not take in time */
            while (i - least(subscribers, connections) > window) {
                usleep(50);
            }
        }
        memcpy(payload, &i, sizeof(i));
        must(mosquitto_publish(publisher, NULL, names[i % topics], size, payload, 0, false),
             "publish");
    }
    double until = now() + 30;
    while (least(subscribers, connections) < count && now() < until) {
        usleep(100);
    }
    double seconds = now() - start;
    long out_of_order = 0;
    for (int i = 0; i < connections; i++) {
        out_of_order += subscribers[i].out_of_order;
    }
    printf("{\"work\": \"ephemeral\", \"count\": %ld, \"seconds\": %.6f, \"msgs_per_s\": %.0f, "
           "\"delivered_per_s\": %.0f, \"mb_per_s\": %.2f, \"p50_us\": 0, \"p99_us\": 0, "
           "\"lost\": %ld, \"out_of_order\": %ld, \"duplicates\": 0}\n",
           count, seconds, (double) count / seconds, (double) (count * connections) / seconds,
           (double) count * size / seconds / 1e6, count - least(subscribers, connections),
           out_of_order);
    return 0;
}
