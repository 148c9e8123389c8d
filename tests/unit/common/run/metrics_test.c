/* metrics: cells that stay, gauges that are asked. */
#include "common/run/metrics.h"

#include <stdio.h>
#include <string.h>

#include "tests/lib/test.h"

struct listed {
    char text[256];
};

static void visit(void *ud, const char *name, uint64_t value)
{
    struct listed *listed = ud;
    size_t size = strlen(listed->text);
    (void) snprintf(listed->text + size, sizeof(listed->text) - size, "%s=%u ", name,
                    (unsigned) value);
}

static uint64_t read_number(void *ud)
{
    return *(const uint64_t *) ud;
}

TEST(counters_count_and_gauges_are_asked_when_listed)
{
    struct metrics *metrics = metrics_new();
    struct listed listed = {""};
    uint64_t depth = 3;

    uint64_t *published = metrics_counter(metrics, "published");
    metrics_gauge(metrics, "depth", read_number, &depth);
    uint64_t *failed = metrics_counter(metrics, "failed");
    ck_assert_ptr_eq(metrics_counter(metrics, "published"), published);
    *published += 5;
    *failed += 1;
    depth = 4;
    metrics_list(metrics, visit, &listed);
    ck_assert_str_eq(listed.text, "published=5 depth=4 failed=1 ");
    metrics_destroy(&metrics);
    ck_assert_ptr_null(metrics);
    metrics_destroy(&metrics);
}

TEST(a_cell_stays_where_it_is_when_others_come)
{
    static char names[255][8];
    struct metrics *metrics = metrics_new();
    uint64_t *first = metrics_counter(metrics, "first");
    for (unsigned i = 0; i < 255; i++) {
        (void) snprintf(names[i], sizeof(names[i]), "n%u", i);
        *metrics_counter(metrics, names[i]) += i;
    }
    ck_assert_ptr_eq(metrics_counter(metrics, "first"), first);
    ck_assert_uint_eq(*metrics_counter(metrics, "n254"), 254);
    metrics_destroy(&metrics);
}
