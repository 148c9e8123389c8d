/* An exclusive group under fire: its consumers are killed and stopped, and so are the daemons; whatever happens, each epoch has one owner, offsets rise in it
 * one by one, and nothing is passed over. */
#include "tests/lib/test.h"
#include "tests/system/node.h"
#include "tests/system/raw.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/wire/scan.h"

enum { RECORDS = 6000, CONSUMERS = 3, ROUNDS = 8, RUNS_MAX = 64 };

static const char *const stream = "orders";
static const char *const group = "owner";

/* One process after the other. */
struct seat {
    struct process process;
};

struct field {
    struct node *node;
    struct seat seats[CONSUMERS];
    /* of each epoch */
    uint64_t first[1024];
    uint64_t last[1024];
    unsigned owner[1024]; /* process, from 1 */
    unsigned processes;
};

static void seat_start(struct field *field, unsigned i)
{
    char name[16];
    (void) snprintf(name, sizeof name, "seat-%u", i);
    const char *const words[] = {"consume", stream,       "-g", group,    "--name",
                                 name,      "--prefetch", "50", "--mode", "exclusive",
                                 "--rate",  "4000",       NULL};
    node_ctl_start(field->node, &field->seats[i].process, NULL, words);
}

/* What one process printed: whole lines only, the last may be cut by kill -9. */
static void take_lines(struct field *field, const char *text, size_t size)
{
    unsigned process = ++field->processes;
    uint64_t epoch_before = 0;
    for (const char *at = text, *end = text + size; at < end;) {
        const char *line_end = memchr(at, '\n', (size_t) (end - at));
        if (line_end == NULL) {
            return;
        }
        char line[512] = {0};
        size_t line_size = (size_t) (line_end - at);
        memcpy(line, at, line_size < sizeof line ? line_size : sizeof line - 1);
        uint64_t epoch = json_number(line, NULL, "epoch");
        uint64_t offset = json_number(line, NULL, "offset");
        ck_assert_uint_gt(epoch, 0);
        ck_assert_uint_lt(epoch, 1024);
        ck_assert_uint_ge(epoch, epoch_before);
        epoch_before = epoch;
        if (field->owner[epoch] == 0) {
            field->owner[epoch] = process;
            field->first[epoch] = offset;
        } else {
            ck_assert_msg(field->owner[epoch] == process, "epoch %lu has two owners", epoch);
            ck_assert_msg(offset == field->last[epoch] + 1, "epoch %lu: %lu after %lu", epoch,
                          offset, field->last[epoch]);
        }
        field->last[epoch] = offset;
        at = line_end + 1;
    }
}

static void seat_take(struct field *field, unsigned i)
{
    struct process *process = &field->seats[i].process;
    process_look(process);
    take_lines(field, (const char *) process->out.data, process->out.size);
    process_release(process);
}

static uint64_t group_floor(struct field *field)
{
    struct raw *raw = raw_try_open(field->node);
    if (raw == NULL) {
        return 0;
    }
    Railgun__DescribeOk *ok = raw_describe(raw, stream, group);
    uint64_t floor = ok->group->floor;
    ck_assert_uint_eq(ok->group->check_errors, 0);
    SCAN_FREE(&ok);
    raw_close(&raw);
    return floor;
}

static void seat_kill(struct field *field, unsigned i)
{
    struct process *process = &field->seats[i].process;
    (void) kill(process->pid, SIGKILL);
    ck_assert(process_wait(process, 20));
    seat_take(field, i);
}

static struct field *field_open(void)
{
    struct field *self = MEM_NEW(struct field);
    Railgun__GroupSpec spec = RAILGUN__GROUP_SPEC__INIT;
    int code = 0;
    self->node = node_new();
    node_set(self->node, NODE_FRONTD, "timeouts.heartbeat=200ms");
    node_start_all(self->node);
    struct raw *raw = raw_open(self->node);
    spec.has_mode = true;
    spec.mode = RAILGUN__GROUP_SPEC__MODE__MODE_EXCLUSIVE;
    raw_ensure_specs(raw, stream, NULL, group, &spec);
    for (unsigned i = 1; i <= RECORDS; i++) {
        ck_assert_uint_eq(raw_publish(raw, stream, "a record", &code), i);
    }
    raw_close(&raw);
    return self;
}

/* Each epoch goes on where all before it were, or before that, never behind. */
static void expect_no_gap(const struct field *self)
{
    uint64_t seen = 0;
    unsigned epochs = 0;
    for (unsigned epoch = 1; epoch < 1024; epoch++) {
        if (self->owner[epoch] == 0) {
            continue;
        }
        ck_assert_msg(self->first[epoch] <= seen + 1, "epoch %u begins at %lu, only %lu was seen",
                      epoch, self->first[epoch], seen);
        seen = self->last[epoch] > seen ? self->last[epoch] : seen;
        epochs++;
    }
    ck_assert_uint_eq(seen, RECORDS);
    ck_assert_uint_gt(epochs, ROUNDS / 2);
}

TEST_WITHIN(an_exclusive_group_keeps_its_order_whoever_is_killed_or_stopped, 180)
{
    struct field *self = field_open();
    for (unsigned i = 0; i < CONSUMERS; i++) {
        seat_start(self, i);
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned i = round % CONSUMERS;
        uint64_t floor = group_floor(self);
        ck_assert(WAIT_FOR(group_floor(self) > floor || floor == RECORDS, 30));
        switch (round % 4) {
        case 0:
            seat_kill(self, i);
            seat_start(self, i);
            break;
        case 1: /* its heartbeats are missed; it comes back, and what it says is void */
            (void) kill(self->seats[i].process.pid, SIGSTOP);
            floor = group_floor(self);
            (void) WAIT_FOR(group_floor(self) > floor + 100 || group_floor(self) == RECORDS, 5);
            (void) kill(self->seats[i].process.pid, SIGCONT);
            break;
        case 2:
            node_restart(self->node, NODE_LOGD);
            break;
        default:
            seat_kill(self, i);
            node_restart(self->node, NODE_FRONTD);
            seat_start(self, i);
            break;
        }
    }
    ck_assert(WAIT_FOR(group_floor(self) == RECORDS, 60));
    for (unsigned i = 0; i < CONSUMERS; i++) {
        (void) kill(self->seats[i].process.pid, SIGTERM);
        ck_assert(process_wait(&self->seats[i].process, 20));
        seat_take(self, i);
    }
    expect_no_gap(self);
    node_destroy(&self->node);
    mem_free(self);
}
