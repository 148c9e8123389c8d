/* libraft: what Debian's libraft costs, by the same definition as raft_bench.c: three replicas in one thread and process, no disk, no network; the payload is made by the client and
 * copied once a follower; an append completes at the next turn of the queue; done is applied on all three. CPU of all three, user and system.
 *
 * A process of its own: its names and ours are alike. Usage: libraft [ENTRIES [BYTES]]. Prints lines like raft_bench. */
#include <raft.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { NODES = 3, QUEUE = 4096, BATCH_MAX = 64 };

enum kind { SENT, APPENDED };
struct event {
    enum kind kind;
    unsigned node; /* whose request it is */
    unsigned to;
    void *request;
    struct raft_message message;
};

struct node {
    struct raft raft;
    struct raft_io io;
    struct raft_fsm fsm;
    raft_io_recv_cb recv;
    raft_io_tick_cb tick;
    raft_term term;
    raft_id vote;
    struct raft_buffer configuration;
    uint64_t applied;
};

static struct node nodes[NODES];
static struct event *queue;
static unsigned head, tail;
static raft_time now_ms;
static uint64_t messages, done, submitted, entries_total;
static unsigned depth, batch;
static size_t payload_bytes;

static void die(const char *what, int error)
{
    (void) fprintf(stderr, "libraft: %s: %s\n", what, raft_strerror(error));
    exit(1);
}

static unsigned number_of(const struct raft_io *io)
{
    return (unsigned) (((const char *) io->data - (const char *) nodes) / sizeof(nodes[0]));
}

static struct event *push(enum kind kind, unsigned node, void *request)
{
    if (tail - head == QUEUE) {
        die("the queue is full", RAFT_IOERR);
    }
    struct event *event = &queue[tail++ % QUEUE];
    event->kind = kind;
    event->node = node;
    event->request = request;
    return event;
}

/* --- raft_io --- */

static int io_init(struct raft_io *io, raft_id id, const char *address)
{
    (void) io;
    (void) id;
    (void) address;
    return 0;
}

static void io_close(struct raft_io *io, raft_io_close_cb callback)
{
    callback(io);
}

static int io_load(struct raft_io *io, raft_term *term, raft_id *voted_for,
                   struct raft_snapshot **snapshot, raft_index *start, struct raft_entry *entries[],
                   size_t *count)
{
    struct node *node = io->data;
    *term = node->term;
    *voted_for = node->vote;
    *snapshot = NULL;
    *start = 1;
    *entries = raft_malloc(sizeof(**entries));
    (*entries)[0] =
        (struct raft_entry){1, RAFT_CHANGE, node->configuration, node->configuration.base};
    *count = 1;
    return 0;
}

static int io_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
    struct node *node = io->data;
    (void) msecs;
    node->tick = tick;
    node->recv = recv;
    return 0;
}

static int io_bootstrap(struct raft_io *io, const struct raft_configuration *configuration)
{
    struct node *node = io->data;
    node->term = 1;
    return raft_configuration_encode(configuration, &node->configuration);
}

static int io_recover(struct raft_io *io, const struct raft_configuration *configuration)
{
    (void) io;
    (void) configuration;
    return RAFT_IOERR;
}

static int io_set_term(struct raft_io *io, raft_term term)
{
    struct node *node = io->data;
    node->term = term;
    node->vote = 0;
    return 0;
}

static int io_set_vote(struct raft_io *io, raft_id id)
{
    ((struct node *) io->data)->vote = id;
    return 0;
}

/* As decoding would: one allocation for the entries, one for all their payloads. */
static void copy_entries(struct raft_append_entries *append)
{
    struct raft_entry *from = append->entries;
    size_t size = 0;
    if (append->n_entries == 0) {
        append->entries = NULL;
        return;
    }
    for (unsigned i = 0; i < append->n_entries; i++) {
        size += from[i].buf.len;
    }
    char *bytes = raft_malloc(size == 0 ? 1 : size);
    append->entries = raft_malloc(append->n_entries * sizeof(*from));
    char *at = bytes;
    for (unsigned i = 0; i < append->n_entries; i++) {
        append->entries[i] = from[i];
        append->entries[i].buf.base = at;
        append->entries[i].batch = bytes;
        memcpy(at, from[i].buf.base, from[i].buf.len);
        at += from[i].buf.len;
    }
}

static int io_send(struct raft_io *io, struct raft_io_send *request,
                   const struct raft_message *message, raft_io_send_cb callback)
{
    struct event *event = push(SENT, number_of(io), request);
    request->cb = callback;
    event->to = (unsigned) message->server_id - 1;
    event->message = *message;
    event->message.server_id = number_of(io) + 1;
    event->message.server_address = nodes[number_of(io)].raft.address;
    if (message->type == RAFT_IO_APPEND_ENTRIES) {
        copy_entries(&event->message.append_entries);
    }
    messages++;
    return 0;
}

static int io_append(struct raft_io *io, struct raft_io_append *request,
                     const struct raft_entry entries[], unsigned n, raft_io_append_cb callback)
{
    (void) entries;
    (void) n;
    request->cb = callback;
    (void) push(APPENDED, number_of(io), request);
    return 0;
}

static int io_truncate(struct raft_io *io, raft_index index)
{
    (void) io;
    (void) index;
    return 0;
}

static int io_snapshot_put(struct raft_io *io, unsigned trailing,
                           struct raft_io_snapshot_put *request,
                           const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb callback)
{
    (void) io;
    (void) trailing;
    (void) request;
    (void) snapshot;
    (void) callback;
    return RAFT_IOERR;
}

static int io_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *request,
                           raft_io_snapshot_get_cb callback)
{
    (void) io;
    (void) request;
    (void) callback;
    return RAFT_IOERR;
}

static raft_time io_time(struct raft_io *io)
{
    (void) io;
    return now_ms;
}

static int io_random(struct raft_io *io, int min, int max)
{
    (void) io;
    (void) max;
    return min;
}

/* --- the state machine, and the client --- */

static int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    struct node *node = fsm->data;
    (void) buf;
    node->applied++;
    *result = NULL;
    return 0;
}

static int fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    (void) fsm;
    (void) bufs;
    (void) n_bufs;
    return RAFT_IOERR;
}

static int fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    (void) fsm;
    (void) buf;
    return RAFT_IOERR;
}

static void on_applied(struct raft_apply *request, int status, void *result)
{
    (void) result;
    if (status != 0) {
        die("apply", status);
    }
    done += (uint64_t) (uintptr_t) request->data;
    free(request);
}

static void client(void)
{
    while (submitted < entries_total && submitted - done + batch <= depth) {
        struct raft_buffer buffers[BATCH_MAX];
        struct raft_apply *request = malloc(sizeof(*request));
        for (unsigned i = 0; i < batch; i++) {
            buffers[i].len = payload_bytes;
            buffers[i].base = raft_malloc(payload_bytes);
            memset(buffers[i].base, (int) i, payload_bytes);
        }
        request->data = (void *) (uintptr_t) batch;
        int error = raft_apply(&nodes[0].raft, request, buffers, batch, on_applied);
        if (error != 0) {
            die("a proposal was refused", error);
        }
        submitted += batch;
    }
}

static void deliver_one(void)
{
    struct event event = queue[head++ % QUEUE];
    if (event.kind == APPENDED) {
        struct raft_io_append *request = event.request;
        request->cb(request, 0);
        return;
    }
    struct raft_io_send *request = event.request;
    request->cb(request, 0);
    nodes[event.to].recv(&nodes[event.to].io, &event.message);
}

static void settle(void)
{
    while (head != tail) {
        deliver_one();
    }
}

static void node_open(unsigned number)
{
    struct node *node = &nodes[number];
    struct raft_configuration configuration;
    char address[16];
    memset(node, 0, sizeof(*node));
    node->io = (struct raft_io){.version = 1,
                                .data = node,
                                .init = io_init,
                                .close = io_close,
                                .load = io_load,
                                .start = io_start,
                                .bootstrap = io_bootstrap,
                                .recover = io_recover,
                                .set_term = io_set_term,
                                .set_vote = io_set_vote,
                                .send = io_send,
                                .append = io_append,
                                .truncate = io_truncate,
                                .snapshot_put = io_snapshot_put,
                                .snapshot_get = io_snapshot_get,
                                .time = io_time,
                                .random = io_random};
    node->fsm = (struct raft_fsm){.version = 1,
                                  .data = node,
                                  .apply = fsm_apply,
                                  .snapshot = fsm_snapshot,
                                  .restore = fsm_restore};
    (void) snprintf(address, sizeof(address), "%u", number + 1);
    int error = raft_init(&node->raft, &node->io, &node->fsm, number + 1, address);
    raft_configuration_init(&configuration);
    for (unsigned i = 0; i < NODES && error == 0; i++) {
        (void) snprintf(address, sizeof(address), "%u", i + 1);
        error = raft_configuration_add(&configuration, i + 1, address, RAFT_VOTER);
    }
    error = error == 0 ? raft_bootstrap(&node->raft, &configuration) : error;
    raft_configuration_close(&configuration);
    /* It keeps the whole log: a snapshot is not part of the comparison. */
    raft_set_snapshot_threshold(&node->raft, UINT32_MAX);
    raft_set_election_timeout(&node->raft, number == 0 ? 1000 : 100000000);
    error = error == 0 ? raft_start(&node->raft) : error;
    if (error != 0) {
        die("start", error);
    }
}

static double cpu_ns(void)
{
    struct rusage usage;
    (void) getrusage(RUSAGE_SELF, &usage);
    return (double) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e9 +
           (double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e3;
}

static void on_closed(struct raft *raft)
{
    (void) raft;
}

static double run_once(double *ret_messages)
{
    head = tail = 0;
    now_ms = 0;
    for (unsigned i = 0; i < NODES; i++) {
        node_open(i);
    }
    now_ms = 5000;
    nodes[0].tick(&nodes[0].io);
    settle();
    if (raft_state(&nodes[0].raft) != RAFT_LEADER) {
        die("no leader", RAFT_NOTLEADER);
    }
    messages = done = submitted = 0;
    double start = cpu_ns();
    client();
    while (nodes[0].applied < entries_total || nodes[1].applied < entries_total ||
           nodes[2].applied < entries_total) {
        if (head == tail) { /* the followers wait for the last commit index: a heartbeat tells it */
            now_ms += 1000;
            nodes[0].tick(&nodes[0].io);
        }
        if (head != tail) {
            deliver_one();
        }
        client();
    }
    double ns = (cpu_ns() - start) / (double) entries_total;
    *ret_messages = (double) messages / (double) entries_total;
    settle();
    for (unsigned i = 0; i < NODES; i++) {
        raft_close(&nodes[i].raft, on_closed);
    }
    settle();
    return ns;
}

static void bench_run(unsigned new_depth, unsigned new_batch)
{
    double best = 0;
    double sent = 0;
    depth = new_depth;
    batch = new_batch;
    for (unsigned run = 0; run < 5; run++) {
        double ns = run_once(&sent);
        best = run == 0 || ns < best ? ns : best;
    }
    (void) printf("%4u B  %2u outstanding, %2u at once: %7.1f ns/entry  %.3f messages/entry\n",
                  (unsigned) payload_bytes, depth, batch, best, sent);
}

int main(int argc, char **argv)
{
    entries_total = argc > 1 ? strtoull(argv[1], NULL, 10) : 300000;
    payload_bytes = argc > 2 ? strtoul(argv[2], NULL, 10) : 16;
    entries_total -= entries_total % 64;
    queue = calloc(QUEUE, sizeof(queue[0]));
    bench_run(1, 1);
    bench_run(64, 1);
    bench_run(64, 64);
    free(queue);
    return 0;
}
