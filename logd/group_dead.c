/* group_dead: the dead letters of a group in its replicated state, and as bytes. Owns the three lists. It must stay deterministic, as all of group_state:
 * nothing but the entries decides. Bytes are checked as if a stranger had written them. */
#include "logd/group_dead.h"

#include <string.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/pb.h"
#include "logd/group_graves.h"
#include "logd/group_state.h"

/* Numbers of Dead and Buried in log.proto. */
enum {
    GRAVE_FIRST = 1,
    GRAVE_LAST = 2,
    DEAD_REASON = 3,
    DEAD_FAILED = 4,
    DEAD_ATTEMPTS = 5,
    DEAD_ERROR = 6,
    DEAD_CONSUMER = 7,
    DEAD_ROUND = 8,
    DEAD_COPY_FIRST = 9,
    DEAD_COPY_LOG_GROUP = 10,
    BURIED_DLQ_FIRST = 3,
    BURIED_REASON = 4,
    BURIED_FAILED = 5,
    BURIED_ATTEMPTS = 6,
    BURIED_ERROR = 7,
    BURIED_ROUND = 8,
    BURIED_DLQ_LOG_GROUP = 9,
};

void group_dead_release(struct group_dead *self)
{
    group_graves_release(&self->dying);
    group_graves_release(&self->dead);
    group_graves_release(&self->reopened);
    ranges_destroy(&self->fresh);
}

/* --- changes --- */

/* The first run of [at, last] that is not acknowledged. */
static bool next_pending(const struct group_state *self, uint64_t at, uint64_t last,
                         struct range *ret_run)
{
    at = at > self->floor ? at : self->floor + 1;
    struct range acked;
    while (at <= last && ranges_find_from(self->acked, at, &acked) && acked.first <= at) {
        at = acked.last + 1;
    }
    if (at > last) {
        return false;
    }
    *ret_run = (struct range){.first = at, .last = last};
    if (ranges_find_from(self->acked, at, &acked) && acked.first <= last) {
        ret_run->last = acked.first - 1;
    }
    return true;
}

/* One pending run: the parts that were dead before keep where their copies lie. */
static void die_run(struct group_state *self, const struct group_grave *grave, uint64_t first,
                    uint64_t last)
{
    struct group_dead *dead = &self->dead;
    struct group_graves again = {0};
    struct group_grave part = *grave;
    graves_cut(&dead->reopened, first, last, &again);
    uint64_t at = first;
    for (size_t i = 0; i <= again.count; i++) {
        const struct group_grave *before = i < again.count ? &again.items[i] : NULL;
        uint64_t until = before != NULL ? before->first - 1 : last;
        if (at <= until) {
            part.first = at;
            part.last = until;
            part.dlq_first = 0;
            part.dlq_log_group = 0;
            part.round = 0;
            graves_put(&dead->dying, &part);
        }
        if (before != NULL) {
            part.first = before->first;
            part.last = before->last;
            part.dlq_first = before->dlq_first;
            part.dlq_log_group = before->dlq_log_group;
            part.round = before->round + 1;
            graves_put(&dead->dying, &part);
            at = before->last + 1;
        }
    }
    group_graves_release(&again);
}

void group_state_die(struct group_state *self, const struct group_grave *grave)
{
    struct range run;
    uint64_t at = grave->first;
    while (next_pending(self, at, grave->last, &run)) {
        die_run(self, grave, run.first, run.last);
        group_state_ack(self, run.first, run.last);
        at = run.last + 1;
    }
}

static void dead_bound(struct group_graves *dead)
{
    if (dead->count > GROUP_DEAD_MAX || dead->text_bytes > GROUP_DEAD_TEXT_MAX) {
        graves_remove_lowest(dead, dead->count / 16 + 1);
    }
}

void group_state_bury(struct group_state *self, uint64_t first, uint64_t last, uint64_t dlq_first,
                      uint64_t dlq_log_group)
{
    struct group_graves cut = {0};
    graves_cut(&self->dead.dying, first, last, &cut);
    for (size_t i = 0; i < cut.count; i++) {
        struct group_grave grave = cut.items[i];
        if (dlq_first == 0) {
            self->gap_records += grave.last - grave.first + 1;
            continue;
        }
        grave.dlq_first = dlq_first + (grave.first - first);
        grave.dlq_log_group = dlq_log_group;
        grave.consumer = NULL;
        graves_put(&self->dead.dead, &grave);
    }
    group_graves_release(&cut);
    dead_bound(&self->dead.dead);
}

/* It counted as acknowledged, and is pending again. */
static void uncover(struct group_state *self, uint64_t first, uint64_t last)
{
    if (first <= self->floor) {
        uint64_t floor = self->floor;
        self->floor = first - 1;
        ranges_set(self->acked, first, floor, 0);
    }
    ranges_clear_range(self->acked, first, last);
}

void group_state_reopen(struct group_state *self, uint64_t first, uint64_t last)
{
    struct group_dead *dead = &self->dead;
    struct group_graves cut = {0};
    graves_cut(&dead->dead, first, last, &cut);
    for (size_t i = 0; i < cut.count; i++) {
        const struct group_grave *grave = &cut.items[i];
        uncover(self, grave->first, grave->last);
        graves_put(&dead->reopened, grave);
        group_state_try(self, grave->first, grave->last,
                        (struct group_tries){.attempt = grave->attempts});
        if (dead->fresh == NULL) {
            dead->fresh = ranges_new();
        }
        ranges_set(dead->fresh, grave->first, grave->last, 0);
    }
    group_graves_release(&cut);
}

void group_state_forget_dead(struct group_state *self, uint64_t first, uint64_t last)
{
    graves_cut(&self->dead.dead, first, last, NULL);
}

void group_dead_acked(struct group_dead *self, uint64_t first, uint64_t last)
{
    if (self->reopened.count > 0) {
        graves_cut(&self->reopened, first, last, NULL);
    }
}

void group_dead_seek(struct group_dead *self, uint64_t floor)
{
    graves_cut(&self->dying, floor + 1, UINT64_MAX, NULL);
    graves_cut(&self->dead, floor + 1, UINT64_MAX, NULL);
    group_graves_release(&self->reopened);
    ranges_destroy(&self->fresh);
    self->seeks++;
}

/* --- bytes --- */

static void append_number(struct buf *out, uint32_t number, uint64_t value)
{
    if (value != 0) {
        pb_append_varint(out, number, value);
    }
}

static void append_text(struct buf *out, uint32_t number, const char *text)
{
    if (text != NULL) {
        pb_append_bytes(out, number, span_of(text));
    }
}

void group_grave_append_dead(struct buf *out, uint32_t number, const struct group_grave *grave)
{
    struct buf bytes = {0};
    pb_append_varint(&bytes, GRAVE_FIRST, grave->first);
    pb_append_varint(&bytes, GRAVE_LAST, grave->last);
    append_number(&bytes, DEAD_REASON, grave->reason);
    append_number(&bytes, DEAD_FAILED, grave->failed);
    append_number(&bytes, DEAD_ATTEMPTS, grave->attempts);
    append_text(&bytes, DEAD_ERROR, grave->error);
    append_text(&bytes, DEAD_CONSUMER, grave->consumer);
    append_number(&bytes, DEAD_ROUND, grave->round);
    append_number(&bytes, DEAD_COPY_FIRST, grave->dlq_first);
    append_number(&bytes, DEAD_COPY_LOG_GROUP, grave->dlq_log_group);
    pb_append_bytes(out, number, buf_span(&bytes));
    buf_release(&bytes);
}

static void append_buried(struct buf *out, uint32_t number, const struct group_graves *graves)
{
    struct buf bytes = {0};
    for (size_t i = 0; i < graves->count; i++) {
        const struct group_grave *grave = &graves->items[i];
        buf_reset(&bytes);
        pb_append_varint(&bytes, GRAVE_FIRST, grave->first);
        pb_append_varint(&bytes, GRAVE_LAST, grave->last);
        append_number(&bytes, BURIED_DLQ_FIRST, grave->dlq_first);
        append_number(&bytes, BURIED_REASON, grave->reason);
        append_number(&bytes, BURIED_FAILED, grave->failed);
        append_number(&bytes, BURIED_ATTEMPTS, grave->attempts);
        append_text(&bytes, BURIED_ERROR, grave->error);
        append_number(&bytes, BURIED_ROUND, grave->round);
        append_number(&bytes, BURIED_DLQ_LOG_GROUP, grave->dlq_log_group);
        pb_append_bytes(out, number, buf_span(&bytes));
    }
    buf_release(&bytes);
}

void group_dead_encode(const struct group_dead *self, struct buf *out)
{
    for (size_t i = 0; i < self->dying.count; i++) {
        group_grave_append_dead(out, DEAD_STATE_DYING, &self->dying.items[i]);
    }
    append_buried(out, DEAD_STATE_DEAD, &self->dead);
    append_buried(out, DEAD_STATE_REOPENED, &self->reopened);
}

/* A text of theirs, as much of it as is kept; released by the caller. */
static int text_read(const struct pb_field *field, char **text)
{
    struct span bytes = field->bytes;
    if (field->type != PB_BYTES || !pb_is_text(bytes)) {
        return ERR_BAD_FORMAT;
    }
    if (bytes.size > GROUP_DEAD_ERROR_MAX) {
        bytes.size = GROUP_DEAD_ERROR_MAX;
        while (bytes.size > 0 && (bytes.data[bytes.size] & 0xc0) == 0x80) {
            bytes.size--; /* between two characters */
        }
    }
    MEM_FREE(*text);
    if (bytes.size > 0) {
        *text = mem_new(bytes.size + 1);
        memcpy(*text, bytes.data, bytes.size);
    }
    return 0;
}

static int dead_read_field(struct group_grave *grave, const struct pb_field *field)
{
    switch (field->number) {
    case DEAD_REASON:
        grave->reason = (uint32_t) field->value;
        return 0;
    case DEAD_FAILED:
        grave->failed = (uint32_t) field->value;
        return 0;
    case DEAD_ATTEMPTS:
        grave->attempts = (uint32_t) field->value;
        return 0;
    case DEAD_ERROR:
        return text_read(field, &grave->error);
    case DEAD_CONSUMER:
        return text_read(field, &grave->consumer);
    case DEAD_ROUND:
        grave->round = (uint32_t) field->value;
        return 0;
    case DEAD_COPY_FIRST:
        grave->dlq_first = field->value;
        return 0;
    case DEAD_COPY_LOG_GROUP:
        grave->dlq_log_group = field->value;
        return 0;
    default:
        return 0;
    }
}

static int buried_read_field(struct group_grave *grave, const struct pb_field *field)
{
    switch (field->number) {
    case BURIED_DLQ_FIRST:
        grave->dlq_first = field->value;
        return 0;
    case BURIED_REASON:
        grave->reason = (uint32_t) field->value;
        return 0;
    case BURIED_FAILED:
        grave->failed = (uint32_t) field->value;
        return 0;
    case BURIED_ATTEMPTS:
        grave->attempts = (uint32_t) field->value;
        return 0;
    case BURIED_ERROR:
        return text_read(field, &grave->error);
    case BURIED_ROUND:
        grave->round = (uint32_t) field->value;
        return 0;
    case BURIED_DLQ_LOG_GROUP:
        grave->dlq_log_group = field->value;
        return 0;
    default:
        return 0;
    }
}

static void grave_drop_texts(struct group_grave *grave)
{
    MEM_FREE(grave->error);
    MEM_FREE(grave->consumer);
}

/* The texts of *ret_grave are released by the caller. */
static int grave_read(const struct pb_field *outer, bool is_buried, struct group_grave *ret_grave)
{
    struct group_grave grave = {0};
    struct span rest = outer->bytes;
    struct pb_field field;
    int error = outer->type == PB_BYTES ? 0 : ERR_BAD_FORMAT;
    int more = 0;
    while (error == 0 && (more = pb_next(&rest, &field)) > 0) {
        if (field.number == GRAVE_FIRST) {
            grave.first = field.value;
        } else if (field.number == GRAVE_LAST) {
            grave.last = field.value;
        } else {
            error = is_buried ? buried_read_field(&grave, &field) : dead_read_field(&grave, &field);
        }
    }
    if (error != 0 || more < 0 || grave.first == 0 || grave.first > grave.last ||
        grave.last > GROUP_OFFSET_MAX || grave.dlq_first > GROUP_OFFSET_MAX) {
        grave_drop_texts(&grave);
        return ERR_BAD_FORMAT;
    }
    *ret_grave = grave;
    return 0;
}

int group_dead_state_field(struct group_state *self, const struct pb_field *field)
{
    struct group_graves *graves;
    switch (field->number) {
    case DEAD_STATE_DYING:
        graves = &self->dead.dying;
        break;
    case DEAD_STATE_DEAD:
        graves = &self->dead.dead;
        break;
    case DEAD_STATE_REOPENED:
        graves = &self->dead.reopened;
        break;
    default:
        return 0;
    }
    struct group_grave grave;
    int error = grave_read(field, field->number != DEAD_STATE_DYING, &grave);
    if (error != 0) {
        return error;
    }
    if (group_graves_count_in(graves, grave.first, grave.last) > 0) {
        error = ERR_BAD_FORMAT;
    } else {
        graves_put(graves, &grave);
    }
    grave_drop_texts(&grave);
    return error;
}

int group_dead_acks_field(struct group_state *self, const struct pb_field *field)
{
    struct group_grave grave;
    if (field->number < DEAD_ACKS_DEAD || field->number > DEAD_ACKS_DROPPED) {
        return 0;
    }
    /* Of an OffsetRange there are but the two fields that all of them have. */
    int error = grave_read(field, field->number != DEAD_ACKS_DEAD, &grave);
    if (error != 0) {
        return error;
    }
    if (self != NULL) {
        switch (field->number) {
        case DEAD_ACKS_DEAD:
            group_state_die(self, &grave);
            break;
        case DEAD_ACKS_BURIED:
            group_state_bury(self, grave.first, grave.last, grave.dlq_first, grave.dlq_log_group);
            break;
        case DEAD_ACKS_REPLAYED:
            group_state_reopen(self, grave.first, grave.last);
            break;
        default:
            group_state_forget_dead(self, grave.first, grave.last);
            break;
        }
    }
    grave_drop_texts(&grave);
    return 0;
}

/* --- checks --- */

static bool all_settled(const struct group_state *self, const struct group_graves *graves,
                        bool is_settled)
{
    for (size_t i = 0; i < graves->count; i++) {
        const struct group_grave *grave = &graves->items[i];
        struct range run;
        bool is_pending = next_pending(self, grave->first, grave->last, &run);
        bool is_whole = is_pending && run.first == grave->first && run.last == grave->last;
        if (is_settled ? is_pending : !is_whole) {
            return false;
        }
    }
    return true;
}

bool group_dead_invariant(const struct group_state *self)
{
    const struct group_dead *dead = &self->dead;
    for (size_t i = 0; i < dead->dying.count; i++) {
        const struct group_grave *grave = &dead->dying.items[i];
        if (group_graves_count_in(&dead->dead, grave->first, grave->last) > 0) {
            return false;
        }
    }
    return group_graves_invariant(&dead->dying) && group_graves_invariant(&dead->dead) &&
           group_graves_invariant(&dead->reopened) && all_settled(self, &dead->dying, true) &&
           all_settled(self, &dead->dead, true) && all_settled(self, &dead->reopened, false);
}
