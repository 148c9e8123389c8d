/* Requests and their one result, over real daemons that die: a responder, a frontd, the routerds. */
#include "tests/lib/test.h"
#include "tests/system/node.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/railgun.h"
#include "common/base/mem.h"

enum { LONG = 30, REQUESTS = 400 };

static struct rg_client *connect_to(const struct node *node, enum node_daemon frontd)
{
    struct rg_client *client = NULL;
    const struct rg_options options = {.reconnect_max_ms = 200, .request_timeout_ms = 10000};
    int result = rg_connect(node_address_of(node, frontd), &options, &client);
    ck_assert_msg(result == RG_OK, "cannot connect to %s: %s", node_daemon_name(frontd),
                  rg_error_name(result));
    return client;
}

static struct node *node_of_two(void)
{
    struct node *node = node_new();
    node_start_all(node);
    node_start(node, NODE_FRONTD_1);
    node_start(node, NODE_ROUTERD_1);
    node_wait_ready(node, NODE_FRONTD_1, LONG);
    node_wait_ready(node, NODE_ROUTERD_1, LONG);
    return node;
}

/* --- responders --- */

struct responder {
    struct rg_client *client;
    struct rg_subscription *subscription;
    bool is_silent;
    atomic_uint got;
};

static void on_request(void *ud, struct rg_subscription *subscription,
                       const struct rg_es_delivery *delivery)
{
    struct responder *self = ud;
    (void) subscription;
    if (!self->is_silent) {
        ck_assert_int_eq(rg_reply(self->client, delivery->reply_to, delivery->payload.data,
                                  delivery->payload.size),
                         RG_OK);
    }
    atomic_fetch_add(&self->got, 1);
}

static void responder_start(struct responder *self, const struct node *node,
                            enum node_daemon frontd, const char *topic, const char *group,
                            bool is_silent)
{
    const char *matchers[] = {topic};
    *self = (struct responder){.client = connect_to(node, frontd), .is_silent = is_silent};
    int result = rg_subscribe(self->client,
                              &(struct rg_subscribe_options){.matchers = matchers,
                                                             .matcher_count = 1,
                                                             .group = group,
                                                             .on_message = on_request,
                                                             .ud = self},
                              &self->subscription);
    ck_assert_msg(result == RG_OK, "cannot subscribe: %s", rg_error_name(result));
}

static void responder_stop(struct responder *self)
{
    rg_subscription_close(&self->subscription);
    rg_close(&self->client);
}

/* --- results --- */

struct outcome {
    pthread_mutex_t lock;
    unsigned finals; /* must be 1 in the end */
    unsigned replies;
    int result;
};

static void on_reply(void *ud, int result, bool more, const struct rg_es_delivery *reply)
{
    struct outcome *self = ud;
    (void) pthread_mutex_lock(&self->lock);
    self->replies += reply != NULL;
    self->finals += !more;
    self->result = more ? self->result : result;
    (void) pthread_mutex_unlock(&self->lock);
}

static unsigned finals_of(struct outcome *self)
{
    (void) pthread_mutex_lock(&self->lock);
    unsigned result = self->finals;
    (void) pthread_mutex_unlock(&self->lock);
    return result;
}

static uint64_t ask(struct rg_client *client, const char *topic,
                    const struct rg_request_options *options, struct outcome *outcome)
{
    uint64_t id = 0;
    const struct rg_es_message message = {.topic = topic, .payload = {"ping", 4}};
    *outcome = (struct outcome){.result = 1};
    (void) pthread_mutex_init(&outcome->lock, NULL);
    ck_assert_int_eq(rg_request_async(client, &message, options, on_reply, outcome, &id), RG_OK);
    return id;
}

static int wait_result(struct outcome *outcome)
{
    ck_assert_msg(WAIT_FOR(finals_of(outcome) > 0, LONG), "a request has no result");
    ck_assert_uint_eq(finals_of(outcome), 1);
    return outcome->result;
}

static int ask_and_wait(struct rg_client *client, const char *topic,
                        const struct rg_request_options *options, unsigned *ret_replies)
{
    struct outcome outcome;
    (void) ask(client, topic, options, &outcome);
    int result = wait_result(&outcome);
    if (ret_replies != NULL) {
        *ret_replies = outcome.replies;
    }
    return result;
}

/* --- the tests --- */

TEST_WITHIN(a_request_is_answered_on_the_same_and_on_another_frontd, 60)
{
    struct node *node = node_of_two();
    struct responder near;
    struct rg_client *client = connect_to(node, NODE_FRONTD);
    responder_start(&near, node, NODE_FRONTD, "near", NULL, false);
    struct responder far;
    responder_start(&far, node, NODE_FRONTD_1, "far", "workers", false);
    for (unsigned i = 0; i < 200; i++) {
        void *reply = NULL;
        size_t size = 0;
        char text[32];
        (void) snprintf(text, sizeof(text), "question %u", i);
        ck_assert_int_eq(rg_request(client, i % 2 == 0 ? "near" : "far", text, strlen(text), 5000,
                                    &reply, &size),
                         RG_OK);
        ck_assert_uint_eq(size, strlen(text));
        ck_assert_mem_eq(reply, text, size);
        rg_free(reply);
    }
    responder_stop(&near);
    responder_stop(&far);
    rg_close(&client);
    node_stop_all(node);
    node_destroy(&node);
}

TEST_WITHIN(every_other_result_is_said_as_it_is, 60)
{
    struct node *node = node_of_two();
    struct rg_client *client = connect_to(node, NODE_FRONTD);
    struct responder silent;
    unsigned replies = 9;
    responder_start(&silent, node, NODE_FRONTD_1, "silent", NULL, true);

    uint64_t began = now_ms();
    ck_assert_int_eq(ask_and_wait(client, "nobody", NULL, &replies), RG_ERR_NO_RESPONDERS);
    ck_assert_uint_lt(now_ms() - began, 4000); /* not by the timeout, which is 5 s */
    ck_assert_uint_eq(replies, 0);
    ck_assert_int_eq(
        ask_and_wait(client, "silent", &(struct rg_request_options){.timeout_ms = 200}, &replies),
        RG_ERR_RS_TIMEOUT);

    struct outcome taken;
    struct outcome cancelled;
    struct responder job;
    const struct rg_request_options named = {.response = "job-42", .timeout_ms = 60000};
    responder_start(&job, node, NODE_FRONTD_1, "job", NULL, true);
    (void) ask(client, "job", &named, &taken);
    ck_assert(WAIT_FOR(atomic_load(&job.got) == 1, LONG));
    struct rg_client *other = connect_to(node, NODE_FRONTD_1);
    ck_assert_int_eq(ask_and_wait(other, "job", &named, NULL), RG_ERR_RS_IN_USE);
    /* by its name, through another frontd */
    const struct rg_es_message answer = {.payload = {"42", 2}};
    ck_assert_int_eq(rg_reply_message(other, (struct rg_bytes){"job-42", 6}, &answer), RG_OK);
    ck_assert_int_eq(wait_result(&taken), RG_OK);
    ck_assert_int_eq(rg_reply_message(other, (struct rg_bytes){"job-42", 6}, &answer),
                     RG_ERR_RS_CLOSED);
    uint64_t id = ask(client, "job", &named, &cancelled); /* the name is free again */
    ck_assert(WAIT_FOR(atomic_load(&job.got) == 2, LONG));
    rg_request_cancel(client, id);
    ck_assert_int_eq(wait_result(&cancelled), RG_ERR_RS_CANCELLED);

    responder_stop(&job);
    responder_stop(&silent);
    rg_close(&other);
    rg_close(&client);
    node_stop_all(node);
    node_destroy(&node);
}

TEST_WITHIN(as_many_replies_come_as_were_asked_for, 60)
{
    struct node *node = node_of_two();
    struct rg_client *client = connect_to(node, NODE_FRONTD);
    struct responder responders[3];
    unsigned replies = 0;
    for (int i = 0; i < 3; i++) {
        responder_start(&responders[i], node, i == 0 ? NODE_FRONTD : NODE_FRONTD_1, "all", NULL,
                        false);
    }
    ck_assert_int_eq(
        ask_and_wait(client, "all", &(struct rg_request_options){.max_replies = 3}, &replies),
        RG_OK);
    ck_assert_uint_eq(replies, 3);
    replies = 0;
    for (uint32_t wait_ms = 300; replies < 3 && wait_ms < LONG * 1000; wait_ms *= 2) {
        const struct rg_request_options options = {.max_replies = 4, .timeout_ms = wait_ms};
        ck_assert_int_eq(ask_and_wait(client, "all", &options, &replies), RG_ERR_RS_TIMEOUT);
    }
    ck_assert_uint_eq(replies, 3);
    ck_assert_int_eq(ask_and_wait(client, "all", NULL, &replies), RG_OK);
    ck_assert_uint_eq(replies, 1);
    for (int i = 0; i < 3; i++) {
        responder_stop(&responders[i]);
    }
    rg_close(&client);
    node_stop_all(node);
    node_destroy(&node);
}

TEST_WITHIN(a_responder_that_dies_is_told_of, 60)
{
    struct node *node = node_of_two();
    struct rg_client *client = connect_to(node, NODE_FRONTD);
    const struct rg_request_options patient = {.timeout_ms = 60000};
    static const enum node_daemon where[] = {NODE_FRONTD, NODE_FRONTD_1};
    struct outcome outcome;
    for (int i = 0; i < 2; i++) {
        struct responder silent;
        responder_start(&silent, node, where[i], "worker", "workers", true);
        (void) ask(client, "worker", &patient, &outcome);
        ck_assert(WAIT_FOR(atomic_load(&silent.got) == 1, LONG));
        responder_stop(&silent);
        ck_assert_int_eq(wait_result(&outcome), RG_ERR_RESPONDER_LOST);
    }
    /* with its whole frontd */
    struct responder silent;
    responder_start(&silent, node, NODE_FRONTD_1, "worker", "workers", true);
    (void) ask(client, "worker", &patient, &outcome);
    ck_assert(WAIT_FOR(atomic_load(&silent.got) == 1, LONG));
    node_kill(node, NODE_FRONTD_1);
    ck_assert_int_eq(wait_result(&outcome), RG_ERR_RESPONDER_LOST);
    responder_stop(&silent);
    /* the requester's own: unknown */
    responder_start(&silent, node, NODE_FRONTD, "worker", "workers", true);
    (void) ask(client, "worker", &patient, &outcome);
    ck_assert(WAIT_FOR(atomic_load(&silent.got) == 1, LONG));
    node_kill(node, NODE_FRONTD);
    ck_assert_int_eq(wait_result(&outcome), RG_ERR_TIMEOUT);
    responder_stop(&silent);
    rg_close(&client);
    node_destroy(&node);
}

/* Requests all the time while one daemon after the other is killed: each ends once, and with the truth about a reply. */
TEST_WITHIN(every_request_ends_once_though_daemons_die, 120)
{
    struct node *node = node_of_two();
    struct rg_client *client = connect_to(node, NODE_FRONTD);
    struct responder responders[2];
    struct outcome *outcomes = MEM_NEW_ARRAY(REQUESTS, struct outcome);
    static const enum node_daemon victims[] = {NODE_ROUTERD, NODE_FRONTD_1, NODE_ROUTERD_1};
    const struct rg_request_options options = {.timeout_ms = 3000};
    responder_start(&responders[0], node, NODE_FRONTD_1, "work", "workers", false);
    responder_start(&responders[1], node, NODE_FRONTD_1, "work", "workers", false);
    for (unsigned i = 0; i < REQUESTS; i++) {
        (void) ask(client, "work", &options, &outcomes[i]);
        if (i % 40 == 20) {
            /* however long it took: all is well again after what was killed before */
            ck_assert(WAIT_FOR(ask_and_wait(client, "work", &options, NULL) == RG_OK, LONG));
            enum node_daemon victim = victims[i / 40 % 3];
            node_kill(node, victim);
            node_start(node, victim);
        }
        (void) nanosleep(&(struct timespec){0, 5000000}, NULL);
    }
    for (unsigned i = 0; i < REQUESTS; i++) {
        int result = wait_result(&outcomes[i]);
        ck_assert_msg((result == RG_OK) == (outcomes[i].replies == 1), "%u replies with %s",
                      outcomes[i].replies, rg_error_name(result));
        ck_assert_msg(result == RG_OK || result == RG_ERR_NO_RESPONDERS ||
                          result == RG_ERR_RESPONDER_LOST || result == RG_ERR_RS_TIMEOUT,
                      "request %u ended with %s", i, rg_error_name(result));
    }
    /* and in the end all is well again */
    ck_assert(WAIT_FOR(ask_and_wait(client, "work", &options, NULL) == RG_OK, LONG));
    responder_stop(&responders[0]);
    responder_stop(&responders[1]);
    rg_close(&client);
    mem_free(outcomes);
    node_destroy(&node);
}
