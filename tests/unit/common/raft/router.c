/* router: the network, the clock and the state machines of the hosts under test. */
#include "tests/unit/common/raft/router.h"

#include <stdio.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "tests/lib/test.h"

struct packet {
    struct packet *next;
    uint32_t from, to;
    size_t size;
    uint8_t bytes[];
};

static bool may_call_back; /* callbacks come out of raft_host_turn and raft_host_stop alone */

static void turn(struct raft_host *host)
{
    may_call_back = true;
    raft_host_turn(host);
    may_call_back = false;
}

/* --- what a host calls --- */

static void on_send(void *ud, uint32_t node, struct span bytes)
{
    const struct router_node *own = ud;
    struct router *self = own->router;
    struct packet *packet = mem_new(sizeof(*packet) + bytes.size);
    struct raft_message message;
    packet->from = own->number;
    packet->to = node;
    packet->size = bytes.size;
    memcpy(packet->bytes, bytes.data, bytes.size);
    *self->tail = packet;
    self->tail = &packet->next;
    self->packets++;
    ck_assert_int_eq(raft_message_decode(bytes.data, bytes.size, &message), 0);
    self->types[message.type]++;
    self->token = message.type == RAFT_MESSAGE_READ ? message.token : self->token;
}

static int on_apply(void *ud, raft_index index, struct span payload, struct slice *ret_response)
{
    struct router_node *own = ud;
    char text[32];
    TEST_ASSERT_FAST(index > own->last);
    own->last = index;
    own->count++;
    own->applies++;
    own->hash = hash_bytes(payload, own->hash);
    (void) snprintf(text, sizeof(text), "number %u", (unsigned) own->count);
    struct payload *response = payload_copy(span_of(text));
    *ret_response = (struct slice){response, payload_span(response)};
    return own->apply_result;
}

static int on_snapshot(void *ud, struct slice *ret_state)
{
    const struct router_node *own = ud;
    if (own->snapshot_fails) {
        return ERR_AGAIN;
    }
    struct payload *state = payload_new(16);
    bytes_put_u64(payload_data(state), own->count);
    bytes_put_u64(payload_data(state) + 8, own->hash);
    *ret_state = (struct slice){state, payload_span(state)};
    return 0;
}

static void on_restore(void *ud, raft_index index, struct span state)
{
    struct router_node *own = ud;
    ck_assert_uint_eq(state.size, 16);
    own->count = bytes_get_u64(state.data);
    own->hash = bytes_get_u64(state.data + 8);
    own->last = index;
    own->restores++;
}

static void on_changed(void *ud, const struct raft_host_metrics *metrics)
{
    struct router_node *own = ud;
    own->changes++;
    own->watched = *metrics;
}

/* --- nodes --- */

void router_start(struct router *self, uint32_t number)
{
    struct router_node *own = &self->node[number];
    struct raft_host_options options;
    raft_host_options_init(&options);
    if (own->memory == NULL) {
        own->memory = raft_memory_new();
    }
    own->router = self;
    own->number = number;
    own->count = own->hash = own->last = own->applies = 0; /* a state machine in memory */
    options.config.group = 5;
    options.config.id = (struct raft_id){number, 1};
    options.config.seed = number + self->now;
    options.config.members_max = 10;
    options.storage = raft_memory_storage(own->memory);
    options.callbacks = (struct raft_host_callbacks){on_send,    on_apply, on_snapshot, on_restore,
                                                     on_changed, NULL,     own};
    if (self->configure != NULL) {
        self->configure(&options);
    }
    ck_assert_int_eq(raft_host_start(&options, self->now, &own->host), 0);
}

void router_close(struct router *self, uint32_t number)
{
    may_call_back = true;
    raft_host_stop(&self->node[number].host);
    may_call_back = false;
}

void router_stop(struct router *self, uint32_t number)
{
    router_close(self, number);
    raft_memory_crash(self->node[number].memory);
}

struct router *router_new(unsigned count, void (*configure)(struct raft_host_options *options))
{
    struct router *self = MEM_NEW(struct router);
    self->now = 1000000;
    self->configure = configure;
    self->tail = &self->head;
    for (uint32_t node = 1; node <= count; node++) {
        router_start(self, node);
    }
    return self;
}

static struct packet *packet_pop(struct router *self)
{
    struct packet *packet = self->head;
    if (packet != NULL) {
        self->head = packet->next;
        self->tail = self->head == NULL ? &self->head : self->tail;
    }
    return packet;
}

void router_free(struct router **self)
{
    for (uint32_t node = 1; node < ROUTER_NODES; node++) {
        router_close(*self, node);
        raft_memory_destroy(&(*self)->node[node].memory);
    }
    for (struct packet *packet; (packet = packet_pop(*self)) != NULL;) {
        mem_free(packet);
    }
    MEM_FREE(*self);
}

/* --- time --- */

static void turn_all(struct router *self)
{
    for (uint32_t node = 1; node < ROUTER_NODES; node++) {
        if (self->node[node].host != NULL) {
            turn(self->node[node].host);
            ck_assert_ptr_null(raft_check(raft_host_core(self->node[node].host)));
        }
    }
}

void router_settle(struct router *self)
{
    turn_all(self);
    for (unsigned i = 0; self->head != NULL; i++) {
        ck_assert_uint_lt(i, 1000000);
        struct packet *packet = packet_pop(self);
        struct router_node *to = &self->node[packet->to];
        if (!self->isolated[packet->from] && !self->isolated[packet->to] &&
            !self->deaf[packet->to] && to->host != NULL) {
            int error = raft_host_recv(to->host, self->now, span_make(packet->bytes, packet->size));
            TEST_ASSERT_FAST(error == 0 || error == ERR_POISONED);
            turn(to->host);
        }
        mem_free(packet);
        if (self->head == NULL) {
            turn_all(self);
        }
    }
}

void router_run(struct router *self, raft_time us)
{
    raft_time end = self->now + us;
    router_settle(self);
    for (;;) {
        raft_time next = UINT64_MAX;
        for (uint32_t node = 1; node < ROUTER_NODES; node++) {
            raft_time deadline = self->node[node].host != NULL
                                     ? raft_host_deadline(self->node[node].host)
                                     : UINT64_MAX;
            next = deadline < next ? deadline : next;
        }
        if (next > end) {
            break;
        }
        self->now = next > self->now ? next : self->now + 1;
        for (uint32_t node = 1; node < ROUTER_NODES; node++) {
            struct raft_host *host = self->node[node].host;
            if (host != NULL && raft_host_deadline(host) <= self->now) {
                raft_host_advance(host, self->now);
            }
        }
        router_settle(self);
    }
    self->now = end;
}

/* --- what tests do --- */

uint32_t router_form(struct router *self, unsigned count)
{
    struct raft_members members;
    memset(&members, 0, sizeof(members));
    for (uint32_t node = 1; node <= count; node++) {
        (void) raft_members_put(&members, (struct raft_id){node, 1}, RAFT_VOTER, 1);
    }
    for (uint32_t node = 1; node <= count; node++) {
        ck_assert_int_eq(raft_host_initialize(self->node[node].host, &members), 0);
    }
    return router_wait_leader(self);
}

struct raft_host_metrics router_metrics(const struct router *self, uint32_t node)
{
    struct raft_host_metrics metrics;
    memset(&metrics, 0, sizeof(metrics));
    raft_host_metrics(self->node[node].host, &metrics);
    return metrics;
}

uint32_t router_leader(const struct router *self)
{
    uint32_t leader = 0;
    raft_term term = 0;
    for (uint32_t node = 1; node < ROUTER_NODES; node++) {
        if (self->node[node].host != NULL && !self->isolated[node]) {
            struct raft_host_metrics metrics = router_metrics(self, node);
            if (metrics.status.state == RAFT_LEADER && metrics.status.term > term) {
                leader = node;
                term = metrics.status.term;
            }
        }
    }
    return leader;
}

uint32_t router_wait_leader(struct router *self)
{
    for (unsigned i = 0; i < 500; i++) {
        uint32_t leader = router_leader(self);
        if (leader != 0) {
            struct raft_host_metrics metrics = router_metrics(self, leader);
            if (metrics.status.commit == metrics.status.last) {
                router_run(self, 60000); /* all have heard of it */
                return leader;
            }
        }
        router_run(self, 10000);
    }
    ck_abort_msg("no leader within five seconds");
    return 0;
}

static void keep_text(char out[32], struct span bytes)
{
    size_t size = bytes.size < 31 ? bytes.size : 31;
    memset(out, 0, 32);
    if (size != 0) {
        memcpy(out, bytes.data, size);
    }
}

void router_answer(void *ud, const struct raft_host_outcome *outcome)
{
    struct answer *answer = ud;
    TEST_ASSERT_FAST(may_call_back);
    answer->calls++;
    answer->error = outcome->error;
    answer->index = outcome->index;
    answer->leader = outcome->leader;
    keep_text(answer->response, outcome->response.bytes);
    keep_text(answer->payload, outcome->payload.bytes);
}

int router_write(struct router *self, uint32_t node, const char *text, struct answer *answer)
{
    struct payload *payload = payload_copy(span_of(text));
    struct slice slice = {payload, payload_span(payload)};
    int error = raft_host_write(self->node[node].host, &slice, router_answer, answer);
    payload_unref(&payload);
    return error;
}

void router_fill(struct router *self, unsigned count)
{
    for (unsigned done = 0; done < count;) {
        struct answer answers[64];
        unsigned part = count - done < 64 ? count - done : 64;
        memset(answers, 0, sizeof(answers));
        for (unsigned i = 0; i < part; i++) {
            ck_assert_int_eq(router_write(self, router_leader(self), "a value", &answers[i]), 0);
        }
        router_settle(self);
        for (unsigned i = 0; i < part; i++) {
            TEST_ASSERT_FAST(answers[i].calls == 1 && answers[i].error == 0);
        }
        done += part;
    }
}

void router_change(struct router *self, const struct raft_members *target)
{
    struct answer answer = {0};
    uint32_t leader = router_leader(self);
    ck_assert_int_eq(raft_host_change(self->node[leader].host, target, router_answer, &answer), 0);
    for (unsigned i = 0; i < 100 && answer.calls == 0; i++) {
        router_run(self, 10000);
    }
    ck_assert_uint_eq(answer.calls, 1);
    ck_assert_int_eq(answer.error, 0);
}

void router_expect_pristine(const struct router *self, uint32_t node)
{
    struct raft_host_metrics metrics = router_metrics(self, node);
    ck_assert_uint_eq(metrics.status.term, 0);
    ck_assert_uint_eq(metrics.status.last, 0);
    ck_assert_uint_eq(metrics.status.commit, 0);
    ck_assert_int_eq(metrics.status.state, RAFT_FOLLOWER);
    ck_assert(!metrics.status.voter);
    ck_assert_uint_eq(metrics.status.leader.node, 0);
    ck_assert_uint_eq(metrics.members.count, 0);
    ck_assert_uint_eq(raft_host_deadline(self->node[node].host), UINT64_MAX);
}

void router_expect_stable(struct router *self, unsigned count, raft_term term, raft_index last)
{
    uint32_t leader = router_leader(self);
    struct raft_host_metrics lead = router_metrics(self, leader);
    for (uint32_t node = 1; node <= count; node++) {
        struct raft_host_metrics metrics = router_metrics(self, node);
        ck_assert_uint_eq(metrics.status.term, term);
        ck_assert_uint_eq(metrics.status.last, last);
        ck_assert_uint_eq(metrics.status.commit, last);
        ck_assert_uint_eq(metrics.status.applied, last);
        ck_assert_uint_eq(metrics.status.leader.node, leader);
        ck_assert(!metrics.status.joint);
        ck_assert(raft_members_equal(&metrics.members, &lead.members));
        ck_assert_uint_eq(self->node[node].hash, self->node[leader].hash);
        ck_assert_uint_eq(self->node[node].count, self->node[leader].count);
    }
}
