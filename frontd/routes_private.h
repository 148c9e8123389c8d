/* routes_private: what the files of the route cache share. An entry is one topic of one exchange:
 *
 *   WANTED ──► ASKED ──► FILLED ──► GONE
 *      ▲         │ │                  ▲
 *      └─────────┘ └──────────────────┘
 * WANTED  in the table; will be asked for at the end of the turn, or when there is somebody to ask
 * ASKED   one lookup that is under way has it
 * FILLED  has a route
 * GONE    not in the table any more; its memory stays until the end of the turn, as somebody may look at the route */
#ifndef FRONTD_ROUTES_PRIVATE_H
#define FRONTD_ROUTES_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/hash.h"
#include "common/base/list.h"
#include "common/base/wheel.h"

#include "frontd/routes.h"

enum {
    /* Changes with a wildcard that a table remembers; who is further behind is asked for again. */
    ROUTES_RING_MAX = 1024,
    /* Sessions a route may have come from: those that are up, and those that ended while no other was up. */
    ROUTES_SOURCES_MAX = 256,
};

enum route_state { ROUTE_WANTED, ROUTE_ASKED, ROUTE_FILLED, ROUTE_GONE };

/* Who brought topics up, as long as any of them lives. */
struct publisher {
    uint64_t id;
    uint64_t topics;
};

/* Topics that one session was asked for and has not answered. */
struct lookup {
    uint64_t number;
    uint64_t source;
    uint64_t changes; /* of the table, when it was asked */
    struct route_table *table;
    struct list entries; /* in order */
};

struct route_entry {
    struct list
        link; /* by state: the table's wanted, the lookup's entries, the clock, the garbage */
    struct route_table *table;
    struct publisher *publisher;
    uint64_t source; /* FILLED: the session it came from */
    uint32_t bytes;
    uint8_t state; /* enum route_state */
    uint8_t age;   /* how often the clock has come by since it was used */
    uint8_t topic_size;
    bool is_overtaken; /* ASKED: another session's change touched it */
    uint32_t globals;  /* FILLED: it was good at this count of the cache's changes of mind ... */
    uint32_t again;    /* how often it was asked for again */
    uint64_t changes;  /* ... and this count of its table's wildcard changes */
    union {
        struct route route;    /* FILLED; what it points to lies behind the topic */
        struct lookup *lookup; /* ASKED */
    };
    uint8_t topic[];
};

struct route_slot {
    uint64_t hash;
    struct route_entry *entry; /* NULL: free */
};

/* A wildcard matcher whose topics' routes have changed. */
struct route_change {
    uint64_t source;
    uint8_t *text;
    uint16_t size;
    uint16_t literal_size; /* topics that match begin with so much of it */
};

/* The topics of one exchange. */
struct route_table {
    struct routes *routes;
    struct exchange *exchange;
    struct list of_routes;
    struct list wanted; /* of entries */
    struct list of_wanted;
    struct route_slot *slots; /* NULL while there are none */
    size_t capacity;          /* a power of two */
    size_t count;
    uint64_t changes; /* with a wildcard, so far */
    /* The last `ring_count` of them: number n (from 1) lies at (n - 1) % ring_capacity. */
    struct route_change *ring;
    size_t ring_capacity;
    size_t ring_count;
};

struct route_source {
    uint64_t id;
    bool is_up;
};

struct routes {
    struct frontd *frontd;
    void (*on_progress)(void *ud);
    void *ud;
    uint64_t seed;
    unsigned instance;
    bool is_trusted;
    bool is_deferred; /* routes_end_turn will be called */
    bool is_blocked;  /* nobody can be asked now */
    uint64_t turn_us; /* the turn in which it was last made sure that we did not stand still */
    uint32_t globals; /* rises whenever sessions have become void */
    uint64_t number_last;
    struct list tables;
    struct list tables_wanted;
    struct list clock; /* of FILLED entries; the hand is at the front */
    struct list garbage;
    uint64_t filled;
    uint64_t visits; /* that the clock owes, times SWEEP_TICKS */
    struct hash64 *lookups;
    struct hash64 *publishers;
    struct route_source sources[ROUTES_SOURCES_MAX];
    size_t source_count;
    struct wheel_timer timer;
    struct routes_counts counts;
};

/* --- routes.c --- */
/* See to it that routes_end_turn is called. */
void routes_defer(struct routes *self);
struct route_entry *route_table_find(const struct route_table *self, struct span topic,
                                     uint64_t hash);
struct span route_entry_topic(const struct route_entry *self);
/* Take it out of its table; the memory goes at the end of the turn. Not one that is ASKED with others: see lookup_drop. */
void routes_drop(struct routes *self, struct route_entry *entry);
/* `new_entry` takes the place of `entry`, which is freed: nobody has seen it. */
void routes_replace(struct routes *self, struct route_entry *entry, struct route_entry *new_entry);
void routes_want(struct routes *self, struct route_entry *entry);
struct route_table *routes_find_table(const struct routes *self, struct span namespace_,
                                      struct span name);

/* The clock goes on by what one tick is worth: what was not used for a minute goes. */
void routes_sweep(struct routes *self);
/* Memory was taken (or given back). */
void routes_account(struct routes *self, size_t taken, size_t given);

/* --- routes_fill.c --- */
/* Ask for all that is wanted. */
void routes_ask(struct routes *self);
/* All that was asked of this session is wanted again. */
void routes_ask_others(struct routes *self, uint64_t source);
/* What is being answered now may be out of date, whoever answers. */
void routes_distrust_answers(struct routes *self);

/* --- routes_changes.c --- */
/* Is a route that came from this session still good at all? */
bool routes_source_is_known(const struct routes *self, uint64_t source);
/* Has a wildcard change after number `changes` touched the topic? Those of the session `but_for` do not count (0: all do). */
bool route_table_has_changed(const struct route_table *self, struct span topic, uint64_t changes,
                             uint64_t but_for);
void route_table_free_ring(struct route_table *self);

#endif
