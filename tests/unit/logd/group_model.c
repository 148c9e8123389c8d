/* group_model: see the header. */
#include "tests/unit/logd/group_model.h"

#include "common/wire/client.pb-c.h"

const uint64_t model_backoff[BACKOFF_STEPS] = {5, 20, 100};

uint64_t model_record_bytes(uint64_t offset)
{
    return 10 + offset % 7;
}

struct group_state model_state(const struct model *model)
{
    Railgun__GroupSpec spec = RAILGUN__GROUP_SPEC__INIT;
    spec.has_max_in_flight = spec.has_max_in_flight_member = spec.has_max_holes = 1;
    spec.max_in_flight = (uint32_t) model->limits.in_flight_max;
    spec.max_in_flight_member = (uint32_t) model->limits.member_in_flight_max;
    spec.max_holes = (uint32_t) model->limits.holes_max;
    spec.has_max_delayed = spec.has_ack_wait_ms = spec.has_backoff_jitter_percent = 1;
    spec.max_delayed = (uint32_t) model->limits.delayed_max;
    spec.ack_wait_ms = model->limits.ack_wait_ms;
    uint64_t steps[BACKOFF_STEPS] = {model_backoff[0], model_backoff[1], model_backoff[2]};
    spec.n_backoff_ms = BACKOFF_STEPS;
    spec.backoff_ms = steps;
    uint8_t bytes[128];
    size_t size = railgun__group_spec__pack(&spec, bytes);
    struct group_state state;
    group_state_init(&state, GROUP_ID);
    group_state_seek(&state, model->floor_first);
    AGREE_EQ(group_state_configure(&state, span_of("g"), span_make(bytes, size)), 0);
    return state;
}

/* --- comparing --- */

struct seen {
    const struct model *model;
    enum where where[OFFSETS + 1];
    uint64_t member[OFFSETS + 1];
    struct group_tries tries[OFFSETS + 1];
};

static void see(void *ud, const struct group_pending *pending)
{
    struct seen *seen = ud;
    for (uint64_t i = pending->first; i <= pending->last; i++) {
        AGREE_OP(<=, i, OFFSETS);
        AGREE_EQ((int) seen->where[i], NEW); /* never twice */
        seen->where[i] = pending->where == GROUP_HELD      ? HELD
                         : pending->where == GROUP_READY   ? READY
                         : pending->where == GROUP_DELAYED ? DELAYED
                                                           : SKIPPED;
        AGREE(pending->where != GROUP_DELAYED || pending->due_ms == seen->model->offsets[i].due);
        seen->member[i] = pending->member != NULL ? pending->member->number : 0;
        seen->tries[i] = pending->tries;
    }
}

size_t model_count_here(const struct model *model)
{
    size_t count = 0;
    for (unsigned i = 0; i < MEMBERS; i++) {
        count += model->here[i] ? 1 : 0;
    }
    return count;
}

static void compare_offset(const struct model *model, const struct seen *seen, uint64_t i,
                           const struct group_numbers *numbers)
{
    const struct offset *offset = &model->offsets[i];
    enum where where = offset->where;
    bool is_listed = where == HELD || where == READY || where == DELAYED || where == SKIPPED;
    AGREE_EQ((int) seen->where[i], is_listed ? (int) where : NEW);
    AGREE_EQ(where == NEW, i >= numbers->cursor);
    if (where == HELD) {
        AGREE_EQ(seen->member[i], model->members[offset->member].number);
    }
    if (is_listed) {
        AGREE_EQ(seen->tries[i].attempt, offset->tries.attempt);
        AGREE_EQ(seen->tries[i].failed, offset->tries.failed);
    }
}

uint64_t model_next_expected(const struct model *model, bool *ret_is_again)
{
    uint64_t next = 0;
    for (uint64_t i = 1; i <= OFFSETS; i++) {
        const struct offset *offset = &model->offsets[i];
        if (offset->where == READY && (next == 0 || offset->due < model->offsets[next].due)) {
            next = i;
        }
    }
    *ret_is_again = next != 0;
    for (uint64_t i = model->floor_first + 1; next == 0 && i < model->end; i++) {
        if (model->offsets[i].where == NEW) {
            next = i;
        }
    }
    return next;
}

void model_compare(const struct model *model)
{
    struct group_numbers numbers;
    struct seen seen = {.model = model};
    AGREE(group_invariant(model->group));
    AGREE_EQ(group_member_count(model->group), model_count_here(model));
    if (model_count_here(model) == 0) {
        return; /* perhaps at rest */
    }
    group_numbers(model->group, &numbers);
    AGREE(group_pending_list(model->group, 0, OFFSETS * 2, see, &seen));
    uint64_t floor = model->floor_first;
    while (floor < OFFSETS && model->offsets[floor + 1].where == ACKED) {
        floor++;
    }
    AGREE_EQ(numbers.floor, floor);
    bool is_again = false;
    uint64_t next = model_next_expected(model, &is_again);
    for (unsigned i = 0; i < MEMBERS; i++) { /* nobody waits for a record that is gone */
        uint64_t need = model->here[i] ? model->members[i].need_bytes : 0;
        AGREE(need == 0 || (next != 0 && need == model_record_bytes(next)));
    }
    for (uint64_t i = model->floor_first + 1; i <= OFFSETS; i++) {
        compare_offset(model, &seen, i, &numbers);
    }
}

void model_compare_durable(const struct model *model)
{
    const struct group_state *state = group_replicated(model->group);
    for (uint64_t i = model->floor_first + 1; i <= OFFSETS; i++) {
        struct range range;
        const struct offset *offset = &model->offsets[i];
        bool acked = i <= state->floor || ranges_find(state->acked, i, &range);
        AGREE_EQ(acked, offset->durable);
        struct group_tries tries = {0};
        if (ranges_find(state->attempts, i, &range)) {
            tries = group_tries_unpack(range.value);
        }
        AGREE_EQ(tries.attempt, offset->durable ? 0 : offset->durable_tries.attempt);
        AGREE_EQ(tries.failed, offset->durable ? 0 : offset->durable_tries.failed);
        uint64_t due = ranges_find(state->delayed, i, &range) ? range.value : 0;
        AGREE_EQ(due, offset->durable ? 0 : offset->durable_due);
    }
    AGREE_EQ(state->delivered, model->durable_delivered);
    AGREE_EQ(state->paused, model->durable_paused);
    AGREE_EQ(state->gap_records, model->gaps);
}
