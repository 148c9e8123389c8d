/* metrics: counters and gauges with names, owned by one thread, listed for status. Names are like railgun_publish_records_total. */
#ifndef COMMON_RUN_METRICS_H
#define COMMON_RUN_METRICS_H

#include <stddef.h>
#include <stdint.h>

struct metrics;
struct metrics *metrics_new(void);
void metrics_destroy(struct metrics **self);

/* A counter's cell: add to it directly. `name` is borrowed for ever (a literal). The same name again gives the same cell. Never NULL (at
 * most 256 names). The cell lives as long as the metrics. */
uint64_t *metrics_counter(struct metrics *self, const char *name);
/* A gauge that is asked when listed. */
typedef uint64_t metrics_read_fn(void *ud);
void metrics_gauge(struct metrics *self, const char *name, metrics_read_fn *read, void *ud);

typedef void metrics_visit_fn(void *ud, const char *name, uint64_t value);
void metrics_list(const struct metrics *self, metrics_visit_fn *visit, void *ud);

#endif
