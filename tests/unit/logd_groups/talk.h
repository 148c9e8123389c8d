/* talk: what a frontd says to the groups of a stream, and what it expects to hear. */
#ifndef TESTS_UNIT_LOGD_GROUPS_TALK_H
#define TESTS_UNIT_LOGD_GROUPS_TALK_H

#include "common/wire/client.pb-c.h"
#include "tests/unit/logd_groups/fake.h"

extern struct bus_link talk_front;
extern struct bus_link talk_other;

/* --- what a frontd says --- */

struct talk_want {
    Railgun__Start__At at;
    uint64_t offset;
    uint64_t messages; /* credit; bytes are 100 for each */
    uint32_t in_flight;
    uint64_t group; /* 0: FAKE_GROUP */
    uint64_t revision;
};

void talk_attach(struct bus_link *link, uint64_t consumer, struct talk_want want);
/* The same with a whole specification, and until nothing happens any more. */
void talk_attach_with(struct bus_link *link, uint64_t consumer, uint64_t messages,
                      Railgun__GroupSpec *spec, uint64_t revision);
struct member *talk_member(struct bus_link *link, uint64_t consumer);
void talk_ack(struct bus_link *link, uint64_t consumer, uint64_t first, uint64_t last, bool sync);
/* Without a delay. */
#define TALK_BACKOFF UINT64_MAX
void talk_nack(struct bus_link *link, uint64_t consumer, uint64_t offset, uint64_t delay_ms,
               bool reject);
void talk_reject_unanswered(struct bus_link *link, uint64_t consumer, uint64_t offset);
void talk_credit(struct bus_link *link, uint64_t consumer, uint64_t messages, uint64_t bytes);
void talk_detach(struct bus_link *link, uint64_t consumer, bool count_failed);
void talk_publish(uint64_t count);

/* --- what is expected --- */

/* Each returns the meta of what went out next. */
struct span talk_expect_reply(int status);
struct span talk_expect_deliver(const struct bus_link *link, uint64_t consumer, uint64_t first,
                                uint64_t count);
const struct fake_sent *talk_expect_event(uint16_t type, uint64_t consumer);
void talk_expect_silence(void);

/* A stream of 100 records and one consumer with this credit; its ConsumeOk is seen. */
void talk_begin(uint64_t messages);
/* A number of what GROUP_INFO answers. */
uint64_t talk_info(uint32_t field);

#endif
