/* fake_es: what the fake server does with ephemeral messages and requests. It writes down what it sees, in the order in which it comes:
 *   "pub EXCHANGE TOPIC=PAYLOAD,TOPIC=PAYLOAD;"   (with "?" behind "pub" when a receipt is wanted)
 *   "sub EXCHANGE MATCHER,MATCHER GROUP POLICY;"  "req TOPIC=PAYLOAD;"  "rep REPLY_TO=PAYLOAD;"  "cancel;" */
#ifndef TESTS_UNIT_CLIENT_FAKE_ES_H
#define TESTS_UNIT_CLIENT_FAKE_ES_H

#include "tests/unit/client/fake.h"

/* Returns false: not one of these. Lock held. */
bool fake_es_handle(struct fake *fake, const struct frame_view *view);

/* --- lock held --- */

/* Deliver messages "TOPIC=PAYLOAD,TOPIC=PAYLOAD" on the last subscription's channel. */
void fake_es_deliver(struct fake *fake, const char *messages);
/* The same of `count` messages "t=<number>", from number `first` on. */
void fake_es_deliver_numbers(struct fake *fake, uint64_t first, unsigned count);
void fake_es_result(struct fake *fake, uint64_t corr, int code, bool more, const char *payload);

/* --- lock not held --- */

/* Wait until what was written down is exactly this. */
void fake_es_await(struct fake *fake, const char *log);
/* Forget it. */
void fake_es_reset(struct fake *fake);
/* Deliver. */
void fake_es_send(struct fake *fake, const char *messages);

#endif
