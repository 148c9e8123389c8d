/* Three real replicas (common/raft/host.h), each over a journal of its own: they agree, come back from their disks, and repair one that is damaged. Time is virtual: a millisecond
 * a turn. */
#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/raft/host.h"
#include "common/run/raft_journal.h"
#include "tests/lib/test.h"

enum { NODES = 3, GROUP = 9, PACKETS = 4096 };

struct group;

struct member {
    struct group *group;
    uint32_t number;
    char *dir;
    struct raft_journal *journal;
    struct raft_host *host;
    uint64_t count;
    uint64_t hash;
};

struct packet {
    uint32_t to;
    struct buf bytes;
};

struct group {
    struct member member[NODES + 1];
    struct packet queue[PACKETS];
    unsigned head, tail;
    raft_time now;
    unsigned answered;
    unsigned written;
};

static void on_send(void *ud, uint32_t node, struct span bytes)
{
    struct member *own = ud;
    struct group *self = own->group;
    struct packet *packet = &self->queue[self->tail++ % PACKETS];
    ck_assert_uint_le(self->tail - self->head, PACKETS);
    packet->to = node;
    buf_reset(&packet->bytes);
    buf_append(&packet->bytes, bytes);
}

static int on_apply(void *ud, raft_index index, struct span payload, struct slice *ret_response)
{
    struct member *own = ud;
    (void) index;
    (void) ret_response;
    own->count++;
    own->hash = hash_bytes(payload, own->hash);
    return 0;
}

static int on_snapshot(void *ud, struct slice *ret_state)
{
    const struct member *own = ud;
    uint64_t state[] = {own->count, own->hash};
    struct payload *payload = payload_copy(span_make(state, sizeof(state)));
    *ret_state = (struct slice){payload, payload_span(payload)};
    return 0;
}

static void on_restore(void *ud, raft_index index, struct span bytes)
{
    struct member *own = ud;
    uint64_t state[2];
    (void) index;
    ck_assert_uint_eq(bytes.size, sizeof(state));
    memcpy(state, bytes.data, sizeof(state));
    own->count = state[0];
    own->hash = state[1];
}

static void on_durable(void *ud)
{
    struct member *own = ud;
    raft_host_turn(own->host);
}

static int member_start(struct group *self, uint32_t number)
{
    struct member *own = &self->member[number];
    struct raft_journal_options journal = {
        .journal.file_bytes = 1 << 20, .journal.reserve_bytes = 1 << 20, .tail_bytes_max = 1000};
    struct raft_host_options options;
    struct journal_recovery recovery;
    char paths[2][600];
    own->group = self;
    own->number = number;
    own->count = own->hash = 0;
    if (own->dir == NULL) {
        own->dir = mem_strdup(test_folder());
    }
    (void) snprintf(paths[0], sizeof(paths[0]), "%s/journal", own->dir);
    (void) snprintf(paths[1], sizeof(paths[1]), "%s/snapshots", own->dir);
    journal.journal.dir = paths[0];
    journal.snapshot_dir = paths[1];
    raft_host_options_init(&options);
    ck_assert_int_eq(raft_journal_open(&journal, &recovery, &own->journal), 0);
    int error = raft_journal_open_group(own->journal, GROUP, false, own, &options.storage);
    if (error != 0) {
        return error;
    }
    options.config.group = GROUP;
    options.config.id = (struct raft_id){number, 1};
    options.config.seed = number + self->now;
    options.snapshot_entries = 200;
    options.keep_entries = 50;
    options.callbacks =
        (struct raft_host_callbacks){on_send, on_apply, on_snapshot, on_restore, NULL, NULL, own};
    return raft_host_start(&options, self->now, &own->host);
}

/* As if killed: what the journal was not given is lost. */
static void member_stop(struct group *self, uint32_t number)
{
    struct member *own = &self->member[number];
    raft_host_stop(&own->host);
    raft_journal_close_group(own->journal, GROUP);
    raft_journal_close(&own->journal);
}

static void group_turn(struct group *self)
{
    self->now += 1000;
    for (uint32_t i = 1; i <= NODES; i++) {
        struct member *own = &self->member[i];
        if (own->host == NULL) {
            continue;
        }
        if (raft_host_deadline(own->host) <= self->now) {
            raft_host_advance(own->host, self->now);
        }
        raft_host_turn(own->host);
        raft_journal_submit(own->journal);
        struct pollfd fd = {raft_journal_fd(own->journal), POLLIN, 0};
        (void) poll(&fd, 1, 1);
        (void) raft_journal_poll(own->journal, on_durable);
    }
    for (unsigned waiting = self->tail - self->head; waiting > 0; waiting--) {
        struct packet *packet = &self->queue[self->head++ % PACKETS];
        struct member *to = &self->member[packet->to];
        if (to->host != NULL) {
            (void) raft_host_recv(to->host, self->now, buf_span(&packet->bytes));
        }
    }
}

static struct member *group_leader(struct group *self)
{
    for (unsigned i = 0; i < 5000; i++) {
        for (uint32_t k = 1; k <= NODES; k++) {
            struct member *own = &self->member[k];
            struct raft_status status;
            if (own->host == NULL) {
                continue;
            }
            raft_status_read(raft_host_core(own->host), &status);
            if (status.state == RAFT_LEADER && status.commit == status.last) {
                return own;
            }
        }
        group_turn(self);
    }
    ck_abort_msg("no leader");
    return NULL;
}

static void on_answer(void *ud, const struct raft_host_outcome *outcome)
{
    struct group *self = ud;
    self->answered += outcome->error == 0;
}

static void group_write(struct group *self, unsigned count)
{
    struct member *leader = group_leader(self);
    unsigned goal = self->answered + count;
    for (unsigned i = 0; i < count; i++) {
        char text[64];
        (void) snprintf(text, sizeof(text), "value %u", self->written++);
        struct payload *payload = payload_copy(span_of(text));
        struct slice slice = {payload, payload_span(payload)};
        int error = ERR_AGAIN; /* its leadership may be a moment old */
        while ((error = raft_host_write(leader->host, &slice, on_answer, self)) == ERR_AGAIN) {
            group_turn(self);
        }
        ck_assert_int_eq(error, 0);
        slice_release(&slice);
        if (i % 10 == 9) {
            group_turn(self);
        }
    }
    for (unsigned i = 0; i < 5000 && self->answered < goal; i++) {
        group_turn(self);
    }
    ck_assert_uint_eq(self->answered, goal);
}

/* All have applied the same. */
static void group_expect(struct group *self, uint64_t count)
{
    struct raft_status status;
    for (uint32_t i = 1; i <= NODES; i++) {
        struct member *own = &self->member[i];
        for (unsigned k = 0; k < 10000 && own->count < count; k++) {
            group_turn(self);
        }
        ck_assert_uint_eq(own->count, count);
        ck_assert_uint_eq(own->hash, self->member[1].hash);
        raft_status_read(raft_host_core(own->host), &status);
        ck_assert_int_ne(status.state, RAFT_STOPPED);
    }
}

static struct group *group_new(void)
{
    struct group *self = MEM_NEW(struct group);
    struct raft_members members = {0};
    self->now = 1000000;
    for (uint32_t i = 1; i <= NODES; i++) {
        ck_assert_int_eq(member_start(self, i), 0);
        (void) raft_members_put(&members, (struct raft_id){i, 1}, RAFT_VOTER, 1);
    }
    for (uint32_t i = 1; i <= NODES; i++) {
        ck_assert_int_eq(raft_host_initialize(self->member[i].host, &members), 0);
    }
    return self;
}

static void group_free(struct group *self)
{
    for (uint32_t i = 1; i <= NODES; i++) {
        if (self->member[i].journal != NULL) {
            member_stop(self, i);
        }
        mem_free(self->member[i].dir);
    }
    for (unsigned i = 0; i < PACKETS; i++) {
        buf_release(&self->queue[i].bytes);
    }
    mem_free(self);
}

TEST_WITHIN(three_replicas_over_journals_agree_and_come_back, 120)
{
    struct group *group = group_new();
    group_write(group, 150);
    group_expect(group, 150);
    for (uint32_t i = 1; i <= NODES; i++) {
        member_stop(group, i);
    }
    for (uint32_t i = 1; i <= NODES; i++) {
        ck_assert_int_eq(member_start(group, i), 0);
    }
    group_write(group, 300); /* with snapshots */
    group_expect(group, 450);
    uint32_t down = group_leader(group)->number;
    member_stop(group, down);
    group_write(group, 600); /* it falls behind what the others keep */
    ck_assert_int_eq(member_start(group, down), 0);
    group_write(group, 1);
    group_expect(group, 1051);
    group_free(group);
}

static bool damage(const char *dir, const char *text)
{
    char path[800];
    char *bytes = mem_new(4 << 20);
    bool done = false;
    (void) snprintf(path, sizeof(path), "%s/journal", dir);
    DIR *list = opendir(path);
    for (struct dirent *item = readdir(list); item != NULL && !done; item = readdir(list)) {
        if (strstr(item->d_name, ".jnl") == NULL) {
            continue;
        }
        (void) snprintf(path, sizeof(path), "%s/journal/%s", dir, item->d_name);
        FILE *file = fopen(path, "r+b");
        size_t size = fread(bytes, 1, 4 << 20, file);
        char *at = memmem(bytes, size, text, strlen(text));
        if (at != NULL) {
            ck_assert_int_eq(fseek(file, at - bytes, SEEK_SET), 0);
            (void) fputc('?', file);
            done = true;
        }
        (void) fclose(file);
    }
    (void) closedir(list);
    mem_free(bytes);
    return done;
}

TEST_WITHIN(a_damaged_replica_is_repaired_from_the_others_and_stays_sound, 120)
{
    struct group *group = group_new();
    struct raft_status status;
    group_write(group, 100);
    group_expect(group, 100);
    uint32_t hurt = group_leader(group)->number == 2 ? 3 : 2;
    member_stop(group, hurt);
    ck_assert(damage(group->member[hurt].dir, "value 42"));
    ck_assert_int_eq(member_start(group, hurt), 0);
    raft_status_read(raft_host_core(group->member[hurt].host), &status);
    ck_assert(status.suspect);
    group_write(group, 1);
    group_expect(group, 101);
    for (unsigned i = 0; i < 3000 && status.suspect; i++) {
        group_turn(group);
        raft_status_read(raft_host_core(group->member[hurt].host), &status);
    }
    ck_assert(!status.suspect);
    member_stop(group,
                hurt); /* what is on its disk now is sound, though the damage is still there */
    ck_assert_int_eq(member_start(group, hurt), 0);
    raft_status_read(raft_host_core(group->member[hurt].host), &status);
    ck_assert(!status.suspect);
    group_write(group, 10);
    group_expect(group, 111);
    group_free(group);
}
