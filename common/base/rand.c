/* rand: pseudo-random numbers (xoshiro256**, by Blackman and Vigna) and the system's true randomness. A generator is
 * for chance that tests can repeat, never for secrets. */
#include "common/base/rand.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "common/base/invariant.h"

__extension__ typedef unsigned __int128 rand_wide;

static uint64_t rotate_left(uint64_t value, unsigned bits)
{
    return value << bits | value >> (64 - bits);
}

/* One splitmix64 step: spreads even a small seed over all bits, and never gives four zeros in a row. */
static uint64_t splitmix_next(uint64_t *state)
{
    uint64_t mixed = *state += UINT64_C(0x9e3779b97f4a7c15);
    mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ mixed >> 31;
}

void prng_init(struct prng *self, uint64_t seed)
{
    for (unsigned i = 0; i < 4; i++) {
        self->state[i] = splitmix_next(&seed);
    }
}

uint64_t prng_next(struct prng *self)
{
    uint64_t *state = self->state;
    uint64_t result = rotate_left(state[1] * 5, 7) * 9;
    uint64_t shifted = state[1] << 17;

    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotate_left(state[3], 45);
    return result;
}

/* The upper half of number * bound is in [0, bound); the few numbers that would make some results more likely than
 * others are drawn again (Lemire). */
uint64_t prng_below(struct prng *self, uint64_t bound)
{
    INVARIANT(bound > 0);
    rand_wide product = (rand_wide) prng_next(self) * bound;
    if ((uint64_t) product < bound) {
        uint64_t unfair = (0 - bound) % bound;
        while ((uint64_t) product < unfair) {
            product = (rand_wide) prng_next(self) * bound;
        }
    }
    return (uint64_t) (product >> 64);
}

void entropy_fill(void *memory, size_t size)
{
    uint8_t *at = memory;
    while (size > 0) {
        ssize_t got = getrandom(at, size, 0);
        if (got < 0) {
            if (errno == EINTR) {
                continue;
            }
            (void) fprintf(stderr, "level=fatal event=\"no randomness\" errno=%d\n", errno);
            abort();
        }
        at += got;
        size -= (size_t) got;
    }
}

uint64_t entropy_u64(void)
{
    uint64_t value = 0;
    while (value == 0) {
        entropy_fill(&value, sizeof(value));
    }
    return value;
}
