/* group_graves: a sorted list of ranges of messages, each with its fate. Owns copies of the texts. Ranges that lie side by side with one fate are one. */
#include "logd/group_graves.h"

#include <string.h>

#include "common/base/invariant.h"
#include "common/base/mem.h"

static size_t text_size(const char *text)
{
    return text != NULL ? strlen(text) : 0;
}

static size_t grave_text_size(const struct group_grave *grave)
{
    return text_size(grave->error) + text_size(grave->consumer);
}

static uint64_t grave_length(const struct group_grave *grave)
{
    return grave->last - grave->first + 1;
}

static void grave_release(struct group_grave *grave)
{
    MEM_FREE(grave->error);
    MEM_FREE(grave->consumer);
}

void group_graves_release(struct group_graves *self)
{
    for (size_t i = 0; i < self->count; i++) {
        grave_release(&self->items[i]);
    }
    mem_free(self->items);
    *self = (struct group_graves){0};
}

/* The index of the first whose last >= offset; count: none. */
static size_t graves_index(const struct group_graves *self, uint64_t offset)
{
    size_t low = 0;
    size_t high = self->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (self->items[middle].last < offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const struct group_grave *group_graves_from(const struct group_graves *self, uint64_t offset)
{
    size_t i = graves_index(self, offset);
    return i < self->count ? &self->items[i] : NULL;
}

const struct group_grave *group_graves_find(const struct group_graves *self, uint64_t offset)
{
    const struct group_grave *grave = group_graves_from(self, offset);
    return grave != NULL && grave->first <= offset ? grave : NULL;
}

uint64_t group_graves_count_in(const struct group_graves *self, uint64_t first, uint64_t last)
{
    uint64_t count = 0;
    for (size_t i = graves_index(self, first); i < self->count && self->items[i].first <= last;
         i++) {
        const struct group_grave *grave = &self->items[i];
        uint64_t from = grave->first > first ? grave->first : first;
        uint64_t until = grave->last < last ? grave->last : last;
        count += until - from + 1;
    }
    return count;
}

/* --- changes --- */

static bool same_text(const char *one, const char *other)
{
    return one == other || (one != NULL && other != NULL && strcmp(one, other) == 0);
}

/* Is `next` the same fate, right behind? */
static bool grave_continues(const struct group_grave *grave, const struct group_grave *next)
{
    uint64_t dlq_next = grave->dlq_first == 0 ? 0 : grave->dlq_first + grave_length(grave);
    return grave->last + 1 == next->first && dlq_next == next->dlq_first &&
           grave->dlq_log_group == next->dlq_log_group && grave->reason == next->reason &&
           grave->failed == next->failed && grave->attempts == next->attempts &&
           grave->round == next->round && same_text(grave->error, next->error) &&
           same_text(grave->consumer, next->consumer);
}

static char *text_copy(const char *text)
{
    return text != NULL && text[0] != '\0' ? mem_strdup(text) : NULL;
}

static void graves_insert(struct group_graves *self, size_t at, const struct group_grave *grave)
{
    if (self->count == self->capacity) {
        self->capacity = self->capacity == 0 ? 4 : self->capacity * 2;
        self->items = mem_resize(self->items, self->capacity, sizeof *self->items);
    }
    memmove(&self->items[at + 1], &self->items[at], (self->count - at) * sizeof *self->items);
    self->items[at] = *grave;
    self->items[at].error = text_copy(grave->error);
    self->items[at].consumer = text_copy(grave->consumer);
    self->count++;
    self->text_bytes += grave_text_size(&self->items[at]);
}

static void graves_remove(struct group_graves *self, size_t at, size_t count)
{
    if (count == 0) {
        return;
    }
    for (size_t i = at; i < at + count; i++) {
        self->text_bytes -= grave_text_size(&self->items[i]);
        grave_release(&self->items[i]);
    }
    memmove(&self->items[at], &self->items[at + count],
            (self->count - at - count) * sizeof *self->items);
    self->count -= count;
}

void graves_put(struct group_graves *self, const struct group_grave *grave)
{
    INVARIANT(grave->first <= grave->last);
    size_t at = graves_index(self, grave->first);
    INVARIANT(at == self->count || self->items[at].first > grave->last);
    self->total += grave_length(grave);
    if (at > 0 && grave_continues(&self->items[at - 1], grave)) {
        at--;
        self->items[at].last = grave->last;
    } else {
        graves_insert(self, at, grave);
    }
    if (at + 1 < self->count && grave_continues(&self->items[at], &self->items[at + 1])) {
        self->items[at].last = self->items[at + 1].last;
        graves_remove(self, at + 1, 1);
    }
}

/* The part of it from `first` on. */
static struct group_grave grave_from(const struct group_grave *grave, uint64_t first, uint64_t last)
{
    struct group_grave part = *grave;
    part.first = first;
    part.last = last;
    part.dlq_first = grave->dlq_first == 0 ? 0 : grave->dlq_first + (first - grave->first);
    return part;
}

void graves_cut(struct group_graves *self, uint64_t first, uint64_t last,
                struct group_graves *ret_cut)
{
    size_t at = graves_index(self, first);
    size_t whole = at; /* those from here on are cut as a whole */
    size_t whole_count = 0;
    while (at < self->count && self->items[at].first <= last) {
        struct group_grave *grave = &self->items[at];
        uint64_t from = grave->first > first ? grave->first : first;
        uint64_t until = grave->last < last ? grave->last : last;
        struct group_grave part = grave_from(grave, from, until);
        if (ret_cut != NULL) {
            graves_put(ret_cut, &part);
        }
        self->total -= until - from + 1;
        if (from > grave->first && until < grave->last) { /* in the middle of one */
            struct group_grave rest = grave_from(grave, until + 1, grave->last);
            grave->last = from - 1;
            graves_insert(self, at + 1, &rest);
            return;
        }
        if (from > grave->first) {
            grave->last = from - 1;
            whole = at + 1;
        } else if (until < grave->last) {
            *grave = grave_from(grave, until + 1, grave->last);
        } else {
            whole_count++;
        }
        at++;
    }
    graves_remove(self, whole, whole_count);
}

void graves_remove_lowest(struct group_graves *self, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        self->total -= grave_length(&self->items[i]);
    }
    graves_remove(self, 0, count);
}

bool group_graves_invariant(const struct group_graves *self)
{
    uint64_t total = 0;
    size_t text_bytes = 0;
    for (size_t i = 0; i < self->count; i++) {
        const struct group_grave *grave = &self->items[i];
        if (grave->first == 0 || grave->first > grave->last ||
            (i > 0 && (self->items[i - 1].last >= grave->first ||
                       grave_continues(&self->items[i - 1], grave)))) {
            return false;
        }
        total += grave_length(grave);
        text_bytes += grave_text_size(grave);
    }
    return total == self->total && text_bytes == self->text_bytes;
}
