/* rand: pseudo-random numbers from a seed (xoshiro256**), and true randomness for seeds, ids and salts. */
#ifndef COMMON_BASE_RAND_H
#define COMMON_BASE_RAND_H

#include <stddef.h>
#include <stdint.h>

struct prng {
    uint64_t state[4];
};

void prng_init(struct prng *self, uint64_t seed);
uint64_t prng_next(struct prng *self);
/* Uniform in [0, bound); bound > 0. */
uint64_t prng_below(struct prng *self, uint64_t bound);

/* Fill with bytes from the system's random source; ends the process if there is none. @thread any */
void entropy_fill(void *memory, size_t size);
uint64_t entropy_u64(void); /* never 0 */

#endif
