/* checker: the rules, one function each where possible, over sorted copies of what the history holds. Reads the history, changes nothing. */
#include "tests/system/checker_private.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/invariant.h"
#include "common/base/mem.h"

enum { SHOWN_MAX = 5, PRODUCER_SHIFT = 40 };

static const char *const rule_names[RULE_COUNT] = {
    "open-request",   "phantom",         "aborted-read",      "inconsistent-offset",
    "wrong-offset",   "lost-write",      "unstable-read",     "duplicate",
    "partial-batch",  "offset-gap",      "nonmonotonic-send", "nonmonotonic-poll",
    "poll-skip",      "cursor-skip",     "acked-redelivery",  "unprovoked-redelivery",
    "wrong-attempt",  "false-duplicate", "too-early",         "too-late",
    "stale-ack",      "two-owners",      "order-in-group",    "dead-twice",
    "dead-and-acked", "dead-too-soon",   "dead-payload",      "settled-unasked",
    "false-gap",
};

const char *rule_name(enum rule rule)
{
    return rule_names[rule];
}

void violated(struct checker *self, enum rule rule, const char *format, ...)
{
    struct verdict *verdict = self->verdict;
    verdict->total++;
    if (verdict->found[rule]++ >= SHOWN_MAX) {
        return;
    }
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    (void) vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    buf_printf(&verdict->text, "%s: %s\n", rule_names[rule], text);
}

/* --- preparing --- */

static int compare_numbers(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

static int compare_records(const void *a, const void *b)
{
    const struct published *const *left = a;
    const struct published *const *right = b;
    return compare_numbers((*left)->value, (*right)->value);
}

static int compare_by_value(const void *a, const void *b)
{
    const struct sight *left = a;
    const struct sight *right = b;
    int order = compare_numbers(left->value, right->value);
    return order != 0 ? order : compare_numbers(left->offset, right->offset);
}

static int compare_by_offset(const void *a, const void *b)
{
    const struct sight *left = a;
    const struct sight *right = b;
    int order = compare_numbers(left->offset, right->offset);
    return order != 0 ? order : compare_numbers(left->value, right->value);
}

static bool event_is_sight(const struct event *event)
{
    return event->type == EVENT_READ || event->type == EVENT_FINAL ||
           event->type == EVENT_DELIVERED;
}

/* Sort, and make one of those that say the same. */
static void merge_sights(struct checker *self)
{
    size_t kept = 0;
    if (self->sight_count == 0) {
        return;
    }
    qsort(self->sights, self->sight_count, sizeof(struct sight), compare_by_value);
    for (size_t i = 1; i < self->sight_count; i++) {
        if (compare_by_value(&self->sights[kept], &self->sights[i]) == 0) {
            self->sights[kept].is_final |= self->sights[i].is_final;
        } else {
            self->sights[++kept] = self->sights[i];
        }
    }
    self->sight_count = kept + 1;
}

static const struct published *find_record(const struct checker *self, uint64_t value)
{
    struct published key = {.value = value};
    const struct published *at = &key;
    const struct published **found = self->record_count == 0
                                         ? NULL
                                         : bsearch(&at, self->by_value, self->record_count,
                                                   sizeof(*self->by_value), compare_records);
    return found != NULL ? *found : NULL;
}

/* The run of sights of one value; *ret_count 0: never seen. */
const struct sight *find_sights(const struct checker *self, uint64_t value, size_t *ret_count)
{
    size_t low = 0;
    size_t high = self->sight_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (self->sights[middle].value < value) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    size_t end = low;
    while (end < self->sight_count && self->sights[end].value == value) {
        end++;
    }
    *ret_count = end - low;
    return &self->sights[low];
}

static void checker_prepare(struct checker *self)
{
    self->by_value = mem_new((self->record_count + 1) * sizeof(*self->by_value));
    self->sights = mem_new((self->event_count + 1) * sizeof(*self->sights));
    for (size_t i = 0; i < self->record_count; i++) {
        self->by_value[i] = &self->records[i];
    }
    qsort(self->by_value, self->record_count, sizeof(*self->by_value), compare_records);
    for (size_t i = 0; i < self->event_count; i++) {
        const struct event *event = &self->events[i];
        self->offset_max = event->offset > self->offset_max ? event->offset : self->offset_max;
        if (!event_is_sight(event)) {
            continue;
        }
        if (!event->is_intact) {
            violated(self, RULE_PHANTOM, "damaged payload at offset %" PRIu64, event->offset);
        } else {
            self->sights[self->sight_count++] =
                (struct sight){event->value, event->offset, event->type == EVENT_FINAL};
        }
    }
    merge_sights(self);
}

/* --- what is stored --- */

static void check_sights(struct checker *self, bool has_final)
{
    for (size_t i = 0; i < self->sight_count; i++) {
        const struct sight *sight = &self->sights[i];
        const struct published *record = find_record(self, sight->value);
        if (record == NULL) {
            violated(self, RULE_PHANTOM, "value %" PRIx64 " at offset %" PRIu64, sight->value,
                     sight->offset);
        } else if (record->outcome == OUTCOME_FAIL) {
            violated(self, RULE_ABORTED_READ, "value %" PRIx64 " at offset %" PRIu64, sight->value,
                     sight->offset);
        }
        bool is_trimmed = self->options->may_trim && sight->offset < self->final_first;
        if (has_final && !sight->is_final && !is_trimmed) {
            violated(self, RULE_UNSTABLE_READ, "value %" PRIx64 " was at offset %" PRIu64,
                     sight->value, sight->offset);
        }
    }
}

static void check_record(struct checker *self, const struct published *record, bool has_final)
{
    size_t count = 0;
    const struct sight *sights = find_sights(self, record->value, &count);
    size_t allowed = record->outcome == OUTCOME_OK || record->has_id ? 1 : record->attempts;
    if (record->outcome == OUTCOME_OPEN) {
        violated(self, RULE_OPEN_REQUEST, "value %" PRIx64, record->value);
    }
    if (count > allowed && record->outcome != OUTCOME_FAIL) {
        violated(self, RULE_DUPLICATE,
                 "value %" PRIx64 " at %zu offsets, first %" PRIu64 " and %" PRIu64, record->value,
                 count, sights[0].offset, sights[1].offset);
    }
    if (record->outcome != OUTCOME_OK) {
        return;
    }
    bool is_trimmed = self->options->may_trim && record->offset < self->final_first;
    if (count == 0 && has_final && !is_trimmed) {
        violated(self, record->is_duplicate ? RULE_FALSE_DUPLICATE : RULE_LOST_WRITE,
                 "value %" PRIx64 ", acknowledged at offset %" PRIu64, record->value,
                 record->offset);
    }
    for (size_t i = 0; i < count; i++) {
        if (sights[i].offset != record->offset) {
            violated(self, RULE_WRONG_OFFSET,
                     "value %" PRIx64 " acknowledged at offset %" PRIu64 ", seen at %" PRIu64,
                     record->value, record->offset, sights[i].offset);
        }
    }
}

/* All records of one batch: none seen, or all side by side. With several attempts the copies cannot be told apart: only that all are there. */
static void check_batch(struct checker *self, const struct published *first, size_t size,
                        bool has_final)
{
    size_t seen = 0;
    size_t count = 0;
    uint64_t base = 0;
    for (size_t i = 0; i < size; i++) {
        const struct sight *sights = find_sights(self, first[i].value, &count);
        if (count == 0) {
            continue;
        }
        base = seen == 0 ? sights[0].offset - i : base;
        seen++;
        if ((first->attempts == 1 || first->has_id) && sights[0].offset != base + i) {
            violated(self, RULE_PARTIAL_BATCH, "batch of %zu from %" PRIx64 ": not side by side",
                     size, first->value);
            return;
        }
    }
    /* Before it the rest may only not have been seen yet; and the first may be trimmed meanwhile. */
    if (has_final && seen != 0 && seen != size && !self->options->may_trim) {
        violated(self, RULE_PARTIAL_BATCH, "batch of %zu from %" PRIx64 ": %zu are stored", size,
                 first->value, seen);
    }
}

static void check_batches(struct checker *self, bool has_final)
{
    for (size_t start = 0; start < self->record_count;) {
        size_t end = start + 1;
        while (end < self->record_count && self->records[end].batch == self->records[start].batch) {
            end++;
        }
        check_batch(self, &self->records[start], end - start, has_final);
        start = end;
    }
}

static void check_send_order(struct checker *self)
{
    const struct published *last = NULL;
    for (size_t i = 0; i < self->record_count; i++) {
        const struct published *record = self->by_value[i];
        if (record->outcome != OUTCOME_OK || record->attempts > 1) {
            continue; /* what was sent again may come behind what was sent meanwhile */
        }
        if (last != NULL && last->value >> PRODUCER_SHIFT == record->value >> PRODUCER_SHIFT &&
            last->offset >= record->offset) {
            violated(self, RULE_NONMONOTONIC_SEND,
                     "value %" PRIx64 " at %" PRIu64 ", then %" PRIx64 " at %" PRIu64, last->value,
                     last->offset, record->value, record->offset);
        }
        last = record;
    }
}

/* Two values at an offset, and offsets that the final read misses. */
static void check_offsets(struct checker *self, bool has_final, uint64_t first, uint64_t next)
{
    uint64_t wanted = first;
    struct sight *sorted = mem_new((self->sight_count + self->record_count + 1) * sizeof(*sorted));
    size_t count = self->sight_count;
    if (count > 0) {
        memcpy(sorted, self->sights, count * sizeof(*sorted));
    }
    for (size_t i = 0; i < self->record_count; i++) {
        if (self->records[i].outcome == OUTCOME_OK) {
            sorted[count++] =
                (struct sight){self->records[i].value, self->records[i].offset, false};
        }
    }
    qsort(sorted, count, sizeof(*sorted), compare_by_offset);
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && sorted[i].offset == sorted[i - 1].offset &&
            sorted[i].value != sorted[i - 1].value) {
            violated(self, RULE_INCONSISTENT_OFFSET,
                     "offset %" PRIu64 " holds %" PRIx64 " and %" PRIx64, sorted[i].offset,
                     sorted[i - 1].value, sorted[i].value);
        }
        if (!sorted[i].is_final) {
            continue;
        }
        if (sorted[i].offset > wanted) {
            violated(self, RULE_OFFSET_GAP, "offsets %" PRIu64 " to %" PRIu64 " are missing",
                     wanted, sorted[i].offset - 1);
        }
        wanted = sorted[i].offset >= wanted ? sorted[i].offset + 1 : wanted;
    }
    if (has_final && wanted != next) {
        violated(self, RULE_OFFSET_GAP, "read up to %" PRIu64 ", the stream ends at %" PRIu64,
                 wanted, next);
    }
    mem_free(sorted);
}

/* --- what readers saw --- */

static int compare_sessions(const void *a, const void *b)
{
    const struct event *const *left = a;
    const struct event *const *right = b;
    int order = compare_numbers((*left)->session, (*right)->session);
    return order != 0 ? order : (*left < *right ? -1 : 1); /* then as it happened */
}

static void check_readers(struct checker *self)
{
    const struct event **reads = mem_new((self->event_count + 1) * sizeof(*reads));
    size_t count = 0;
    for (size_t i = 0; i < self->event_count; i++) {
        if (self->events[i].type == EVENT_READ) {
            reads[count++] = &self->events[i];
        }
    }
    qsort(reads, count, sizeof(*reads), compare_sessions);
    for (size_t i = 1; i < count; i++) {
        uint64_t before = reads[i - 1]->offset;
        uint64_t offset = reads[i]->offset;
        if (reads[i]->session != reads[i - 1]->session) {
            continue;
        }
        if (offset <= before) {
            violated(self, RULE_NONMONOTONIC_POLL, "session %u saw %" PRIu64 " after %" PRIu64,
                     reads[i]->session, offset, before);
        } else if (offset > before + 1) {
            violated(self, RULE_POLL_SKIP, "session %u saw %" PRIu64 " after %" PRIu64,
                     reads[i]->session, offset, before);
        }
    }
    mem_free(reads);
}

void checker_run(const struct history *history, const struct checker_options *options,
                 struct verdict *ret_verdict)
{
    uint64_t first = 0;
    uint64_t next = 0;
    struct checker self = {.options = options, .history = history, .verdict = ret_verdict};
    *ret_verdict = (struct verdict){0};
    self.records = history_records(history, &self.record_count);
    self.events = history_events(history, &self.event_count);
    bool has_final = history_final_range(history, &first, &next);
    self.final_first = has_final ? first : 0;
    self.final_next = has_final ? next : 0;
    checker_prepare(&self);
    check_sights(&self, has_final);
    for (size_t i = 0; i < self.record_count; i++) {
        check_record(&self, &self.records[i], has_final);
    }
    check_batches(&self, has_final);
    check_send_order(&self);
    check_offsets(&self, has_final, first, next);
    check_readers(&self);
    checker_groups(&self);
    mem_free(self.by_value);
    mem_free(self.sights);
}

void verdict_release(struct verdict *self)
{
    buf_release(&self->text);
    *self = (struct verdict){0};
}
