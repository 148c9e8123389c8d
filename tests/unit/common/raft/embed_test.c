/* The example of docs/raft.md: the core embedded by hand, as small as it gets, compiled and run. The last test sees that the guide shows what is here. */
#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"
#include "tests/lib/test.h"

/* begin */
#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/raft/memory.h"
#include "common/raft/packet.h"
#include "common/raft/raft.h"

enum { NODES = 3 };

struct counter { /* one replica of a replicated number */
    struct raft *raft;
    struct raft_memory *disk; /* yours: a storage that survives (common/run/raft_journal.h) */
    struct raft_storage *storage;
    struct buf inbox[16]; /* yours: a socket */
    unsigned inbox_count;
    uint64_t durable; /* writes up to this one */
    uint64_t value;   /* the state machine */
    raft_index applied;
    uint64_t read_token;
    uint64_t read_value;
};

static struct counter nodes[NODES + 1]; /* [0] is unused: node 0 means nobody */

static void counter_obey(struct counter *self, const struct raft_output *output)
{
    switch (output->type) {
    case RAFT_OUTPUT_ENTRY: /* an entry of the core's own: into the log in memory */
        (void) raft_storage_put(self->storage, output->entry.index, &output->entry.entry, 1, NULL);
        break;
    case RAFT_OUTPUT_WRITE: /* to the disk, in this order */
        (void) self->storage->ops->write(self->storage, &output->write);
        break;
    case RAFT_OUTPUT_COMMIT: /* to the state machine */
        while (self->applied < output->commit) {
            struct raft_entry entry = raft_trail_entry(&self->storage->trail, ++self->applied);
            self->value += entry.type == RAFT_ENTRY_NORMAL; /* its payload, read by ops->read */
        }
        raft_applied(self->raft, self->applied);
        break;
    case RAFT_OUTPUT_READ: /* now the state machine is fresh enough for this read */
        self->read_value = output->read.error == 0 ? self->value : 0;
        self->read_token = output->read.token;
        break;
    case RAFT_OUTPUT_SEND: { /* to the network: it may be lost */
        struct counter *to = &nodes[output->message.to.node];
        if (to->inbox_count < 16 &&
            raft_packet_encode(&output->message, self->storage, &to->inbox[to->inbox_count]) == 0) {
            to->inbox_count++;
        }
        break;
    }
    case RAFT_OUTPUT_STATE:   /* who leads: for whoever wants to know */
    case RAFT_OUTPUT_MEMBERS: /* who belongs to it */
    default:
        break;
    }
}

/* Everything that changed since the last time, one thing after the other; and again when the disk is done, for then more may leave. */
static void counter_turn(struct counter *self)
{
    struct raft_output output;
    for (;;) {
        while (raft_drain(self->raft, &output)) {
            counter_obey(self, &output);
        }
        uint64_t wseq = self->durable;
        if (self->storage->ops->durable(self->storage, &wseq) != 0) {
            raft_failed(self->raft); /* never again */
        }
        if (wseq == self->durable) {
            return; /* yours: call it again when the disk tells */
        }
        self->durable = wseq;
        raft_persisted(self->raft, wseq);
    }
}

static void counter_receive(struct counter *self, raft_time now, struct span bytes)
{
    static struct raft_packet packet;
    struct raft_taken taken;
    struct slice payloads[RAFT_PACKET_ENTRIES_MAX];
    if (raft_packet_decode(bytes, &packet) != 0 ||
        raft_recv(self->raft, now, &packet.message, &taken) != 0) {
        return;
    }
    for (unsigned i = 0; i < packet.message.count; i++) { /* a copy outlives the buffer */
        struct payload *payload = payload_copy(packet.payloads[i]);
        payloads[i] = (struct slice){payload, payload_span(payload)};
    }
    if (raft_storage_take(self->storage, &packet.message, &taken, payloads, packet.chunk) != 0) {
        raft_failed(self->raft);
    }
    for (unsigned i = 0; i < packet.message.count; i++) {
        slice_release(&payloads[i]);
    }
}

/* On the leader: one more. Counted when the state machine has it. */
static int counter_add(struct counter *self)
{
    struct payload *payload = payload_copy(span_of("+1"));
    struct slice slice = {payload, payload_span(payload)};
    struct raft_entry entry = {.bytes = 2};
    raft_index index = 0;
    int error = raft_propose(self->raft, &entry, 1, &index);
    if (error == 0) {
        error = raft_storage_put(self->storage, index, &entry, 1, &slice);
        if (error != 0) {
            raft_failed(self->raft); /* the core counts on it */
        }
    }
    slice_release(&slice);
    return error; /* ERR_NOT_LEADER: raft_leader() says who */
}

static int counter_open(struct counter *self, uint32_t number, raft_time now,
                        const struct raft_members *founders)
{
    struct raft_config config;
    struct raft_boot boot;
    raft_config_init(&config);
    config.group = 1;
    config.id = (struct raft_id){number, 1}; /* another incarnation when the disk was wiped */
    config.seed = number;                    /* of election timeouts: different on each node */
    self->disk = raft_memory_new();
    self->storage = raft_memory_storage(self->disk);
    self->storage->ops->boot(self->storage, 0, &boot);
    size_t size = raft_size(&config);
    int error = raft_init(mem_new(size), size, &config, &boot, &raft_trail_reads,
                          &self->storage->trail, now, &self->raft);
    if (error == 0 && boot.term == 0 && raft_bootstrap(self->raft, founders) == 0) {
        struct raft_entry first = {.term = 1, .type = RAFT_ENTRY_CONFIG, .members = founders};
        error = raft_storage_put(self->storage, 1, &first, 1, NULL);
    }
    return error;
}

/* The event loop: to the next deadline, or to the next message. */
static void run(raft_time *now, raft_time until)
{
    while (*now < until) {
        raft_time next = until;
        bool busy = false;
        for (unsigned i = 1; i <= NODES; i++) {
            counter_turn(&nodes[i]);
        }
        for (unsigned i = 1; i <= NODES; i++) {
            busy |= nodes[i].inbox_count != 0;
            for (unsigned k = 0; k < nodes[i].inbox_count; k++) {
                counter_receive(&nodes[i], *now, buf_span(&nodes[i].inbox[k]));
                buf_release(&nodes[i].inbox[k]);
            }
            nodes[i].inbox_count = 0;
            raft_time deadline = raft_deadline(nodes[i].raft);
            next = deadline < next ? deadline : next;
        }
        *now = busy || next <= *now ? *now + 100 : next; /* a message takes 100 us */
        for (unsigned i = 1; i <= NODES; i++) {
            raft_advance(nodes[i].raft, *now);
        }
    }
}

/* Found a group, wait for a leader, and count. What a main would call. */
static uint64_t count_to(unsigned goal)
{
    raft_time now = 1000000; /* yours: the monotonic clock */
    struct raft_members founders = {0};
    for (uint32_t i = 1; i <= NODES; i++) {
        (void) raft_members_put(&founders, (struct raft_id){i, 1}, RAFT_VOTER, 1);
    }
    for (uint32_t i = 1; i <= NODES; i++) {
        if (counter_open(&nodes[i], i, now, &founders) != 0) {
            return 0;
        }
    }
    for (unsigned done = 0; done < goal;) {
        run(&now, now + 100000);
        for (unsigned i = 1; i <= NODES; i++) {
            done += counter_add(&nodes[i]) == 0; /* everybody but the leader says ERR_NOT_LEADER */
        }
    }
    run(&now, now + 10000); /* the others hear what is committed */
    return nodes[1].value;
}
/* end */

/* begin host */
#include <string.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/raft/host.h"
#include "common/raft/memory.h"

static uint64_t greetings; /* the state machine */

static void greet_send(void *ud, uint32_t node, struct span packet)
{
    (void) ud, (void) node, (void) packet; /* yours: to raft_host_recv of that node */
}

static int greet_apply(void *ud, raft_index index, struct span payload, struct slice *ret_response)
{
    (void) ud, (void) index, (void) payload, (void) ret_response;
    greetings++;
    return 0;
}

static int greet_snapshot(void *ud, struct slice *ret_state)
{
    (void) ud;
    struct payload *payload = payload_copy(span_make(&greetings, sizeof(greetings)));
    *ret_state = (struct slice){payload, payload_span(payload)};
    return 0;
}

static void greet_restore(void *ud, raft_index index, struct span state)
{
    (void) ud, (void) index;
    memcpy(&greetings, state.data, sizeof(greetings));
}

static void greet_done(void *ud, const struct raft_host_outcome *outcome)
{
    *(int *) ud = outcome->error;
}

/* One node, one write. 0 when it is committed and applied. */
static int greet(raft_time now)
{
    struct raft_memory *disk = raft_memory_new();
    struct raft_host_options options;
    struct raft_host *host = NULL;
    int result = ERR_AGAIN;
    raft_host_options_init(&options);
    options.config.group = 1;
    options.config.id = (struct raft_id){1, 1};
    options.storage = raft_memory_storage(disk);
    options.callbacks = (struct raft_host_callbacks){.send = greet_send,
                                                     .apply = greet_apply,
                                                     .snapshot = greet_snapshot,
                                                     .restore = greet_restore};
    if (raft_host_start(&options, now, &host) == 0) {
        struct raft_members founders = {0}; /* itself is added */
        struct payload *payload = payload_copy(span_of("hello"));
        struct slice slice = {payload, payload_span(payload)};
        (void) raft_host_initialize(host, &founders);
        raft_host_turn(host); /* a lone voter leads at once */
        (void) raft_host_write(host, &slice, greet_done, &result);
        raft_host_turn(host); /* and calls greet_done */
        payload_unref(&payload);
    }
    raft_host_stop(&host); /* yours: raft_host_advance at raft_host_deadline until then */
    raft_memory_destroy(&disk);
    return result;
}
/* end host */

static void nodes_close(void)
{
    for (unsigned i = 1; i <= NODES; i++) {
        for (unsigned k = 0; k < nodes[i].inbox_count; k++) {
            buf_release(&nodes[i].inbox[k]);
        }
        mem_free(nodes[i].raft);
        raft_memory_destroy(&nodes[i].disk);
    }
    memset(nodes, 0, sizeof(nodes));
}

TEST(the_host_of_the_guide_greets)
{
    ck_assert_int_eq(greet(1000000), 0);
    ck_assert_uint_eq(greetings, 1);
}

TEST(the_program_of_the_guide_counts)
{
    ck_assert_uint_eq(count_to(10), 10);
    nodes_close();
}

TEST(the_example_of_the_guide_counts_on_three_nodes)
{
    raft_time now = 1000000;
    struct raft_members founders;
    struct counter *leader = NULL;
    memset(&founders, 0, sizeof(founders));
    for (uint32_t i = 1; i <= NODES; i++) {
        ck_assert_int_eq(raft_members_put(&founders, (struct raft_id){i, 1}, RAFT_VOTER, 1), 0);
    }
    for (uint32_t i = 1; i <= NODES; i++) {
        ck_assert_int_eq(counter_open(&nodes[i], i, now, &founders), 0);
    }
    run(&now, now + 2000000);
    for (unsigned i = 1; i <= NODES; i++) {
        leader = raft_state_of(nodes[i].raft) == RAFT_LEADER ? &nodes[i] : leader;
    }
    ck_assert_ptr_nonnull(leader);
    for (unsigned i = 0; i < 42; i++) {
        ck_assert_int_eq(counter_add(leader), 0);
    }
    ck_assert_int_eq(counter_add(leader == &nodes[1] ? &nodes[2] : &nodes[1]), ERR_NOT_LEADER);
    ck_assert_int_eq(raft_read(leader->raft, now, 77), 0);
    run(&now, now + 200000);
    ck_assert_uint_eq(leader->read_token, 77);
    ck_assert_uint_eq(leader->read_value, 42);
    for (unsigned i = 1; i <= NODES; i++) {
        ck_assert_uint_eq(nodes[i].value, 42);
    }
    nodes_close();
}

static void load(const char *path, struct buf *out)
{
    FILE *file = fopen(path, "r");
    ck_assert_msg(file != NULL, "%s: run this from the top of the tree", path);
    size_t got = 1;
    while (got != 0) {
        got = fread(buf_reserve(out, 4096), 1, 4096, file);
        buf_advance(out, got);
    }
    (void) fclose(file);
}

TEST(the_guide_shows_the_example_as_it_is)
{
    struct buf source = {0};
    struct buf guide = {0};
    load(__FILE__, &source);
    load("docs/raft.md", &guide);
    static const char *const marks[][2] = {{"/* begin */\n", "/* end */\n"},
                                           {"/* begin host */\n", "/* end host */\n"}};
    const char *text = buf_text(&source);
    for (unsigned i = 0; i < 2; i++) {
        const char *begin = strstr(text, marks[i][0]) + strlen(marks[i][0]);
        const char *end = strstr(text, marks[i][1]);
        ck_assert_ptr_nonnull(memmem(guide.data, guide.size, begin, (size_t) (end - begin)));
    }
    buf_release(&source);
    buf_release(&guide);
}
