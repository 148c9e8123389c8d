/* expect: what a client gets next, or the test fails. */
#ifndef TESTS_UNIT_FRONTD_RESPONSES_EXPECT_H
#define TESTS_UNIT_FRONTD_RESPONSES_EXPECT_H

#include "tests/unit/frontd_responses/fake.h"

/* The next frame is a Result of this request. */
struct es_result result_next(struct client *client, uint64_t corr);
/* ... the final one, with this code and number of replies. */
void expect_end(struct client *client, uint64_t corr, int error, uint32_t replies);
void expect_reply(struct client *client, uint64_t corr, const char *payload, bool is_more,
                  uint32_t replies);
void expect_nothing(struct client *client);
void expect_reply_ok(struct client *client, uint64_t corr);
void expect_error(struct client *client, uint64_t corr, int error);
struct responses_counts counts_of(unsigned node);

#endif
