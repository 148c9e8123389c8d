/* history: was what the clients saw linearizable? A register whose values are all different is, exactly when (Gibbons and Korach, "Testing Shared Memories",
 * 1997), with the operations on one value as a cluster, its zone from its first answer to its last question:
 *   no read ends before the write of its value began, and none reads what was never written;
 *   no two zones that run forward (first answer before last question) overlap;
 *   no zone that runs backward lies within one that runs forward.
 * A write of which nothing was heard counts when somebody read its value, and may end at any time. It knows nothing of logs. */
#include "tests/sim/sim.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

struct zone {
    uint64_t first_answer;
    uint64_t last_question;
    uint64_t written; /* when the write began */
    uint32_t op;
    bool used;
};

static uint64_t zone_low(const struct zone *zone)
{
    return zone->first_answer < zone->last_question ? zone->first_answer : zone->last_question;
}

static uint64_t zone_high(const struct zone *zone)
{
    return zone->first_answer < zone->last_question ? zone->last_question : zone->first_answer;
}

static bool zone_is_forward(const struct zone *zone)
{
    return zone->first_answer < zone->last_question;
}

static int zone_order(const void *a, const void *b)
{
    const struct zone *x = a;
    const struct zone *y = b;
    uint64_t p = zone_low(x);
    uint64_t q = zone_low(y);
    return p < q ? -1 : p > q ? 1 : x->op < y->op ? -1 : x->op > y->op;
}

static const char *zones_check(struct zone *zone, uint32_t count, uint32_t *ret_op)
{
    qsort(zone, count, sizeof(zone[0]), zone_order);
    /* The forward zone that reaches farthest so far: they do not overlap, so it is the last. */
    const struct zone *open = NULL;
    for (uint32_t i = 0; i < count; i++) {
        *ret_op = zone[i].op;
        if (zone_is_forward(&zone[i])) {
            if (open != NULL && zone_low(&zone[i]) < zone_high(open)) {
                return "two values were both the newest at the same time";
            }
            open = &zone[i];
        } else if (open != NULL && zone_high(&zone[i]) < zone_high(open)) {
            return "a value came and went while another was the newest";
        }
    }
    return NULL;
}

static const char *zones_fill(struct zone *zone, const struct op *op, uint32_t count,
                              unsigned group, unsigned key, uint32_t *ret_op)
{
    zone[0].used = true; /* the first value: written before all */
    for (uint32_t i = 1; i <= count; i++) {
        if (op[i].group != group || op[i].key != key || !op[i].write) {
            continue;
        }
        bool ok = op[i].state == OP_OK;
        zone[i] = (struct zone){.first_answer = ok ? op[i].responded : UINT64_MAX,
                                .last_question = op[i].invoked,
                                .written = op[i].invoked,
                                .op = i,
                                .used = ok};
    }
    for (uint32_t i = 1; i <= count; i++) {
        if (op[i].group != group || op[i].key != key || op[i].write || op[i].state != OP_OK) {
            continue;
        }
        *ret_op = i;
        uint64_t value = op[i].value;
        if (value > count || (value != 0 && (!op[value].write || op[value].group != group ||
                                             op[value].key != key))) {
            return "a read saw a value that nobody wrote";
        }
        if (value != 0 && op[value].state == OP_FAILED) {
            return "a read saw a value whose write had failed";
        }
        struct zone *of = &zone[value];
        if (op[i].responded < of->written) {
            return "a read saw a value before its write began";
        }
        of->used = true;
        of->first_answer = op[i].responded < of->first_answer ? op[i].responded : of->first_answer;
        of->last_question = op[i].invoked > of->last_question ? op[i].invoked : of->last_question;
    }
    return NULL;
}

const char *history_check(const struct op *op, uint32_t count, unsigned group, unsigned key,
                          uint32_t *ret_op)
{
    struct zone *zone = MEM_NEW_ARRAY(count + 1, struct zone);
    const char *wrong = zones_fill(zone, op, count, group, key, ret_op);
    uint32_t used = 0;
    for (uint32_t i = 0; i <= count; i++) {
        if (zone[i].used) {
            zone[used++] = zone[i];
        }
    }
    if (wrong == NULL) {
        wrong = zones_check(zone, used, ret_op);
    }
    mem_free(zone);
    return wrong;
}
