/* bombs: matchers and topics made to be hard for a topic index, for its tests and its bench. */
#ifndef TESTS_UNIT_ROUTERD_BOMBS_H
#define TESTS_UNIT_ROUTERD_BOMBS_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/rand.h"

struct bomb {
    const char *name;
    /* Write matcher or topic number i (at most TOPIC_SIZE_MAX bytes); returns its size. The same one may come again. */
    size_t (*matcher)(struct prng *prng, uint64_t i, char *out);
    size_t (*topic)(struct prng *prng, uint64_t i, char *out);
    uint64_t steps_max; /* a lookup may take among 20,000 of them, beyond what it finds */
};
extern const struct bomb bombs[];
extern const size_t bomb_count;

#endif
