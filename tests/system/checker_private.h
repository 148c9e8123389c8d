/* checker_private: what the files of the checker share: checker (what is stored), checker_groups (what groups saw). */
#ifndef TESTS_SYSTEM_CHECKER_PRIVATE_H
#define TESTS_SYSTEM_CHECKER_PRIVATE_H

#include "tests/system/checker.h"

/* A value at an offset, wherever it was seen. */
struct sight {
    uint64_t value;
    uint64_t offset;
    bool is_final;
};

struct checker {
    const struct checker_options *options;
    const struct published *records;
    size_t record_count;
    const struct event *events;
    size_t event_count;
    const struct history *history;
    const struct published **by_value; /* records sorted by value */
    struct sight *sights;              /* distinct, intact, sorted by value then offset */
    size_t sight_count;
    uint64_t offset_max;
    uint64_t final_first; /* 0: there was no final read */
    uint64_t final_next;
    struct verdict *verdict;
};

__attribute__((format(printf, 3, 4))) void violated(struct checker *self, enum rule rule,
                                                    const char *format, ...);
/* The run of sights of one value; *ret_count 0: never seen. */
const struct sight *find_sights(const struct checker *self, uint64_t value, size_t *ret_count);

void checker_groups(struct checker *self);

#endif
