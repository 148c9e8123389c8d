/* group_breaker: see the header. Owns its counters. */
#include "logd/group_breaker.h"

#include <string.h>

static uint64_t slot_number(const struct group_dlq_limits *limits, uint64_t now_ms)
{
    uint64_t slot_ms = limits->breaker_window_ms / GROUP_BREAKER_SLOTS;
    return now_ms / (slot_ms > 0 ? slot_ms : 1);
}

void group_breaker_note(struct group_breaker *self, const struct group_dlq_limits *limits,
                        uint64_t now_ms, uint64_t settled, uint64_t dead)
{
    if (limits->breaker_ratio_percent == 0) {
        return;
    }
    uint64_t number = slot_number(limits, now_ms);
    unsigned at = (unsigned) (number % GROUP_BREAKER_SLOTS);
    if (self->slots[at].number != number) {
        self->slots[at].number = number;
        self->slots[at].settled = 0;
        self->slots[at].dead = 0;
    }
    self->slots[at].settled += settled;
    self->slots[at].dead += dead;
}

bool group_breaker_is_open(const struct group_breaker *self, const struct group_dlq_limits *limits,
                           uint64_t now_ms)
{
    uint64_t number = slot_number(limits, now_ms);
    uint64_t settled = 0;
    uint64_t dead = 0;
    if (limits->breaker_ratio_percent == 0) {
        return false;
    }
    for (unsigned i = 0; i < GROUP_BREAKER_SLOTS; i++) {
        if (self->slots[i].number + GROUP_BREAKER_SLOTS > number) {
            settled += self->slots[i].settled;
            dead += self->slots[i].dead;
        }
    }
    /* Neither product can be large: these are counts of messages. */
    return dead > 0 && settled >= limits->breaker_min &&
           dead * 100 >= settled * limits->breaker_ratio_percent;
}
