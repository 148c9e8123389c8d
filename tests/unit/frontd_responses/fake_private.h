/* fake_private: what the files of the fake share. */
#ifndef TESTS_UNIT_FRONTD_RESPONSES_FAKE_PRIVATE_H
#define TESTS_UNIT_FRONTD_RESPONSES_FAKE_PRIVATE_H

#include "tests/unit/frontd_responses/fake.h"

#include "common/base/wheel.h"
#include "frontd/inlet.h"
#include "frontd/routers.h"

struct deferred {
    loop_call_fn *call;
    void *ud;
};

struct loop {
    uint64_t now_ms;
    struct wheel *wheel;
    struct deferred calls[256];
    size_t call_count;
};

struct bus {
    unsigned node;
};
struct neighbours {
    unsigned node;
};
struct routers {
    unsigned node;
};

struct node {
    struct frontd frontd;
    struct bus bus;
    struct neighbours neighbours;
    struct routers routers;
    uint64_t errors;
    char name[16];
    bool is_up;
};

enum event_kind { EVENT_FORWARD, EVENT_ASK, EVENT_ANSWER, EVENT_TELL };

struct event {
    struct list of_all;
    enum event_kind kind;
    unsigned from;
    unsigned to;
    struct client *client; /* FORWARD */
    struct buf bytes;      /* FORWARD: the run; others: meta */
    uint64_t number;       /* FORWARD: the request */
    uint32_t timeout_ms;
    uint16_t type;           /* ASK */
    struct request *request; /* ASK, ANSWER */
    struct slice body;       /* ASK */
    int status;              /* ANSWER */
    uint64_t subject;
};

struct queued {
    struct list of_all;
    struct client *client;
    uint64_t number;
    uint32_t timeout_ms;
    struct buf bytes;
};

struct given_message {
    struct list of_all;
    const struct client *client;
    struct buf address;
    struct buf payload;
};

struct waiting {
    struct list of_inlet;
    struct buf frame;
    struct frame_view view;
    const struct inlet_kind *kind;
};

struct inlet {
    struct list frames;
};

struct claim {
    struct list of_all;
    char name[64]; /* namespace/name */
    unsigned node;
    uint64_t request;
    void (*done)(void *ud, int result); /* NULL: it was called */
    void (*on_lost)(void *ud);
    void *ud;
    bool is_held;
};

struct lookup {
    struct list of_all;
    unsigned node;
    char name[64];
    void (*done)(void *ud, uint64_t token, int result, unsigned frontd, uint64_t request);
    void *ud;
    uint64_t token;
};

struct world {
    struct loop loop;
    struct settings settings;
    struct node nodes[NODES];
    struct list clients;
    struct list events;
    struct list queue;
    struct list given;
    struct list claims;
    struct list lookups;
    struct event *asked; /* being handled by responses_on_reply */
    bool names_are_down;
    struct request *info; /* asked of a routerd */
    struct buf info_meta;
};
extern struct world world;

/* On its way from one frontd to another. */
struct event *event_add(enum event_kind kind, unsigned from, unsigned to);
void event_free(struct event *event);
/* The outcome of a request to a daemon. */
void ask_over(struct request *request, enum bus_outcome outcome, const struct bus_message *reply);
/* The client gets the request, and responses are told. */
void deliver(struct client *client, unsigned origin, uint64_t number, uint32_t timeout_ms,
             struct span run);
void waiting_free(struct waiting *waiting);
/* Names that this frontd is asking for are not answered any more. */
void lookups_forget(unsigned node);

#endif
