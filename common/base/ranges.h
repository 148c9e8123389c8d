/* ranges: an ordered map of disjoint ranges [first, last] of 64-bit numbers, each with a small value. Made
 * for offsets: what is acknowledged, outstanding, waiting for redelivery. A set is a map whose values are all 0.
 * Neighbouring ranges with equal values are always merged. Every operation is O(log n + ranges touched), also
 * with a million ranges (a balanced structure, not one array). */
#ifndef COMMON_BASE_RANGES_H
#define COMMON_BASE_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct range {
    uint64_t first;
    uint64_t last; /* inclusive; first <= last */
    uint64_t value;
};

struct ranges;
struct ranges *ranges_new(void);
void ranges_destroy(struct ranges **self);
void ranges_clear(struct ranges *self);

/* How many ranges (after merging), and how many numbers in them (modulo 2^64: 0 also when all are). */
size_t ranges_count(const struct ranges *self);
uint64_t ranges_total(const struct ranges *self);

/* Cover [first, last] with `value`, whatever was there before. */
void ranges_set(struct ranges *self, uint64_t first, uint64_t last, uint64_t value);
/* Uncover [first, last]; returns how many numbers were covered. */
uint64_t ranges_clear_range(struct ranges *self, uint64_t first, uint64_t last);

/* The range that holds `number`; false if none. */
bool ranges_find(const struct ranges *self, uint64_t number, struct range *ret_range);
/* The first range whose last >= number (so it holds `number` or lies behind it); false if none. */
bool ranges_find_from(const struct ranges *self, uint64_t number, struct range *ret_range);
/* The lowest and the highest range; false if empty. */
bool ranges_lowest(const struct ranges *self, struct range *ret_range);
bool ranges_highest(const struct ranges *self, struct range *ret_range);

/* All structural facts: order, disjointness, merging, totals. For tests and INVARIANT_SLOW. */
bool ranges_invariant(const struct ranges *self);

#endif
