/* fake: what groups stand on, played by the test: one stream of records of FAKE_RECORD bytes, a log that commits when told to,
 * and links that record what is sent. */
#ifndef TESTS_UNIT_LOGD_GROUPS_FAKE_H
#define TESTS_UNIT_LOGD_GROUPS_FAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/run/bus.h"
#include "logd/events.h"
#include "logd/groups.h"
#include "logd/logd.h"
#include "logd/stream.h"

enum { FAKE_RECORD = 100, FAKE_SENT_MAX = 4096, FAKE_LOG_MAX = 4096, FAKE_GROUP = 77 };

struct bus_link {
    uint64_t id;
    bool is_full; /* takes nothing: ERR_AGAIN */
};

/* What went out: an event to a link, or a reply (link NULL) to a ticket. */
struct fake_sent {
    const struct bus_link *link;
    uint64_t ticket;
    uint16_t type;
    uint64_t subject;
    int status;
    struct buf meta;
    size_t body_size;
};

struct fake_entry {
    uint8_t kind;
    struct buf payload;
};

struct stream {
    struct groups *groups;
    uint64_t first;
    uint64_t next;
    uint64_t corrupt_first; /* 0: nothing is damaged */
    uint64_t corrupt_last;
    uint64_t large; /* an offset whose record has 10,000 bytes; 0: none */
    unsigned reads;
};

#define FAKE_REAL_MS UINT64_C(1700000000000)
enum { FAKE_EVENT_TYPES = 32, FAKE_SOON_MS = 1000 };

struct fake {
    unsigned events[FAKE_EVENT_TYPES]; /* told to operators, by type */
    struct event event;                /* the last one; spans may be gone */
    struct stream stream;
    struct members *members;
    struct metrics *metrics;
    struct fake_sent *sent;
    size_t sent_count;
    size_t sent_seen; /* fake_next has shown */
    struct fake_entry *log;
    size_t log_count;
    size_t applied;
    uint64_t expired_group; /* the catalogue was asked to delete it */
    int propose_error;      /* 0: takes entries */
    bool is_dirty;
    uint64_t now_ms;
    uint64_t flush_at;
    uint64_t ticket_last;
};
extern struct fake fake; /* one a test process */

/* Entries in the log that say more than up to where was delivered. */
size_t fake_entries(void);
void fake_start(void);
/* As after kill -9: only what was saved (none here) and the log remain; replays the first `entries` of it. */
void fake_restart(size_t entries);
void fake_stop(void);
/* The end of a turn: deliver and flush if something happened, or if time has come. */
void fake_turn(void);
/* Everything proposed is committed and applied, again and again until nothing happens. */
void fake_settle(void);

/* The next thing that went out; NULL if nothing. */
const struct fake_sent *fake_next(void);

/* A request or event as it comes over the bus; returns its ticket. */
struct bus_message fake_message(uint16_t type, uint64_t subject, struct span meta, bool is_request);

uint64_t fake_number(struct span meta, uint32_t field);
struct span fake_bytes(struct span meta, uint32_t field);
uint64_t fake_counter(const char *name);

#endif
