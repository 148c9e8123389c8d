#include "tests/unit/logd/node_lib.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/batch.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/pb.h"
#include "tests/lib/test.h"

enum { NODE_DEADLINE_MS = 8000 };

/* --- the loop --- */

struct until {
    struct node *node;
    node_until_fn *is_true;
    void *ud;
    struct wheel_timer look;
    bool late;
    uint64_t deadline_ms;
};

static void until_on_look(struct wheel_timer *timer, void *ud)
{
    struct until *until = ud;
    if (until->is_true(until->ud)) {
        loop_stop(until->node->loop);
        return;
    }
    if (loop_now_ms(until->node->loop) > until->deadline_ms) {
        until->late = true;
        loop_stop(until->node->loop);
        return;
    }
    loop_timer_start(until->node->loop, timer, 1);
}

void node_run_until(struct node *node, node_until_fn *is_true, void *ud)
{
    if (is_true(ud)) {
        return;
    }
    struct until until = {.node = node, .is_true = is_true, .ud = ud};
    until.deadline_ms = loop_now_ms(node->loop) + (uint64_t) (NODE_DEADLINE_MS * test_slowness());
    wheel_timer_init(&until.look, until_on_look, &until);
    loop_timer_start(node->loop, &until.look, 0);
    (void) loop_run(node->loop);
    wheel_cancel(loop_wheel(node->loop), &until.look);
    ck_assert_msg(!until.late, "what the test waits for did not happen");
}

/* --- raftd --- */

void snapshot_begin(struct buf *changes, uint64_t revision, bool more)
{
    buf_reset(changes);
    pb_append_varint(changes, 1, revision);
    pb_append_varint(changes, 2, 1);
    if (more) {
        pb_append_varint(changes, 3, 1);
    }
}

struct uuid catalog_stream_id(uint64_t log_group)
{
    struct uuid id = {0};
    for (unsigned i = 0; i < 8; i++) {
        id.bytes[i] = (uint8_t) (log_group >> (8 * i));
    }
    id.bytes[15] = 0x77;
    return id;
}

void catalog_stream_append(struct buf *changes, uint64_t log_group, uint64_t version,
                           struct span spec)
{
    struct buf stream = {0};
    struct uuid id = catalog_stream_id(log_group);
    pb_append_bytes(&stream, 1, span_of("default"));
    buf_reserve(&stream, 1);
    char name[32];
    (void) snprintf(name, sizeof(name), "s%" PRIu64, log_group);
    pb_append_bytes(&stream, 2, span_of(name));
    pb_append_bytes(&stream, 3, span_make(id.bytes, sizeof(id.bytes)));
    pb_append_varint(&stream, 4, log_group);
    pb_append_varint(&stream, 5, version);
    pb_append_bytes(&stream, 6, spec);
    pb_append_bytes(changes, 4, buf_span(&stream));
    buf_release(&stream);
}

void node_send_changes(struct node *node, const struct buf *changes)
{
    struct bus_outgoing out = {
        .type = RAILGUN__BUS_TYPE__BUS_CATALOG_CHANGES,
        .meta = buf_span(changes),
    };
    ck_assert_int_eq(bus_event(node->raft_link, &out), 0);
}

static void raft_on_up(void *ud, struct bus_link *link)
{
    struct node *node = ud;
    node->raft_link = link;
}

static void raft_on_down(void *ud, struct bus_link *link)
{
    struct node *node = ud;
    (void) link;
    node->raft_link = NULL;
}

static void raft_on_message(void *ud, struct bus_link *link, struct bus_message *message)
{
    struct node *node = ud;
    ck_assert_uint_eq(message->type, RAILGUN__BUS_TYPE__BUS_CATALOG_WATCH);
    node->watches++;
    node->watch_after = meta_number(message->meta, 1);
    if (node->mute) {
        return;
    }
    struct buf meta = {0};
    if (!uuid_is_nil(&node->cluster)) {
        pb_append_bytes(&meta, 1, span_make(node->cluster.bytes, sizeof(node->cluster.bytes)));
    }
    pb_append_varint(&meta, 2, 1);
    pb_append_varint(&meta, 3, node->revision);
    struct bus_outgoing out = {.type = message->type, .meta = buf_span(&meta)};
    ck_assert_int_eq(bus_reply(node->raft, message->ticket, &out), 0);
    buf_release(&meta);
    ck_assert_ptr_eq(link, node->raft_link);
    node_send_changes(node, &node->changes);
}

/* --- frontd --- */

static void front_on_up(void *ud, struct bus_link *link)
{
    struct node *node = ud;
    node->front_link = link;
}

static void front_on_down(void *ud, struct bus_link *link)
{
    struct node *node = ud;
    (void) link;
    node->front_link = NULL;
}

static void front_on_message(void *ud, struct bus_link *link, struct bus_message *message)
{
    (void) ud;
    (void) link;
    (void) message;
}

/* --- the process --- */

static void own_on_up(void *ud, struct bus_link *link)
{
    struct node *node = ud;
    logd_on_up(node->logd, link);
}

static void own_on_down(void *ud, struct bus_link *link)
{
    struct node *node = ud;
    logd_on_down(node->logd, link);
}

static void own_on_message(void *ud, struct bus_link *link, struct bus_message *message)
{
    struct node *node = ud;
    logd_on_message(node->logd, link, message);
}

static void own_on_credit(void *ud, struct bus_link *link)
{
    struct node *node = ud;
    logd_on_credit(node->logd, link);
}

static void node_on_ready(void *ud)
{
    struct node *node = ud;
    node->ready = true;
}

static void node_on_not_ready(void *ud, const char *reason)
{
    struct node *node = ud;
    (void) snprintf(node->reason, sizeof(node->reason), "%s", reason);
}

static void node_on_drained(void *ud)
{
    struct node *node = ud;
    node->drained = true;
}

static void node_on_fail(void *ud, const char *event, const char *detail)
{
    struct node *node = ud;
    node->failed = true;
    (void) snprintf(node->reason, sizeof(node->reason), "%s: %s", event, detail);
}

void node_init(struct node *node)
{
    *node = (struct node){.folder = test_folder()};
    log_setup("logd-test", getenv("NODE_LOG") != NULL ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR + 1);
    for (unsigned i = 0; i < sizeof(node->cluster.bytes); i++) {
        node->cluster.bytes[i] = (uint8_t) (i + 1);
    }
    node->revision = 7;
    snapshot_begin(&node->changes, node->revision, false);
    catalog_stream_append(&node->changes, NODE_STREAM, 1, (struct span){0});
    logd_options_default(&node->options);
    node->options.journal.file_bytes = 8 << 20;
    node->options.journal.reserve_bytes = 1 << 20;
    node->options.catalog = "raftd-0";
    node->options.save_ms = 20;
    node->options.on_ready = node_on_ready;
    node->options.on_not_ready = node_on_not_ready;
    node->options.on_drained = node_on_drained;
    node->options.on_fail = node_on_fail;
}

static struct bus *node_open_bus(struct node *node, const char *name,
                                 const struct bus_handlers *handlers, bool binds)
{
    struct bus *bus = NULL;
    char run_dir[400];
    (void) snprintf(run_dir, sizeof(run_dir), "%s/run", node->folder);
    struct bus_options options = {.run_dir = run_dir, .name = name};
    ck_assert_int_eq(bus_open(&options, node->loop, handlers, &bus), 0);
    if (binds) {
        ck_assert_int_eq(bus_bind(bus), 0);
    }
    return bus;
}

int node_open(struct node *node)
{
    static char data_dir[400];
    (void) snprintf(data_dir, sizeof(data_dir), "%s/data", node->folder);
    node->loop = loop_new();
    node->metrics = metrics_new();
    node->ready = false;
    node->drained = false;
    node->failed = false;
    struct bus_handlers raft = {raft_on_up, raft_on_down, raft_on_message, NULL, node, NULL};
    struct bus_handlers front = {front_on_up, front_on_down, front_on_message, NULL, node, NULL};
    node->raft = node_open_bus(node, "raftd-0", &raft, true);
    node->options.data_dir = data_dir;
    node->options.loop = node->loop;
    node->options.metrics = node->metrics;
    node->options.ud = node;
    struct bus_handlers own = {own_on_up, own_on_down, own_on_message, own_on_credit, node, NULL};
    node->bus = node_open_bus(node, "logd-0", &own, false);
    node->options.bus = node->bus;
    int error = logd_open(&node->options, &node->logd);
    if (error != 0) {
        bus_close(&node->bus);
        bus_close(&node->raft);
        metrics_destroy(&node->metrics);
        loop_destroy(&node->loop);
        return error;
    }
    ck_assert_int_eq(bus_bind(node->bus), 0);
    node->front = node_open_bus(node, "frontd-0", &front, false);
    (void) bus_connect(node->front, "logd-0");
    return 0;
}

static bool node_is_up(void *ud)
{
    const struct node *node = ud;
    return node->ready && node->front_link != NULL;
}

void node_start(struct node *node)
{
    ck_assert_int_eq(node_open(node), 0);
    node_run_until(node, node_is_up, node);
}

static bool node_is_drained(void *ud)
{
    const struct node *node = ud;
    return node->drained;
}

void node_stop(struct node *node)
{
    logd_drain(node->logd);
    node_run_until(node, node_is_drained, node);
    bus_close(&node->front);
    bus_close(&node->bus);
    bus_close(&node->raft);
    logd_bus_closed(node->logd);
    logd_close(&node->logd);
    metrics_destroy(&node->metrics);
    loop_destroy(&node->loop);
}

void node_release(struct node *node)
{
    buf_release(&node->changes);
}

void node_end(struct node *node)
{
    node_stop(node);
    node_release(node);
}

void node_remove_db(const struct node *node)
{
    char command[500];
    (void) snprintf(command, sizeof(command), "rm -rf '%s/data/db'", node->folder);
    ck_assert_int_eq(system(command), 0); // NOLINT: a path of our own
}

/* --- asking --- */

static void node_on_done(void *ud, enum bus_outcome outcome, const struct bus_message *reply)
{
    struct answer *answer = ud;
    answer->done = true;
    answer->outcome = outcome;
    if (reply != NULL) {
        answer->status = reply->status;
        buf_reset(&answer->meta);
        buf_append(&answer->meta, reply->meta);
        answer->body = slice_ref(&reply->body);
    }
}

void answer_clear(struct answer *answer)
{
    buf_release(&answer->meta);
    slice_release(&answer->body);
    *answer = (struct answer){0};
}

void node_send(struct node *node, uint16_t type, uint64_t subject, struct span meta,
               const struct slice *body, struct answer *answer)
{
    *answer = (struct answer){0};
    struct bus_outgoing out = {.type = type, .subject = subject, .meta = meta};
    if (body != NULL) {
        out.body = *body;
    }
    ck_assert_ptr_nonnull(node->front_link);
    ck_assert_int_eq(bus_request(node->front_link, &out, 20000, node_on_done, answer, NULL), 0);
}

static bool answer_is_there(void *ud)
{
    const struct answer *answer = ud;
    return answer->done;
}

void node_wait(struct node *node, struct answer *answer)
{
    node_run_until(node, answer_is_there, answer);
}

void node_ask(struct node *node, uint16_t type, uint64_t subject, struct span meta,
              const struct slice *body, struct answer *answer)
{
    node_send(node, type, subject, meta, body, answer);
    node_wait(node, answer);
}

uint64_t meta_number(struct span meta, uint32_t number)
{
    uint64_t value = 0;
    struct pb_field field;
    while (pb_next(&meta, &field) == 1) {
        if (field.number == number) {
            value = field.value;
        }
    }
    return value;
}

struct span meta_bytes(struct span meta, uint32_t number)
{
    struct span value = {0};
    struct pb_field field;
    while (pb_next(&meta, &field) == 1) {
        if (field.number == number) {
            value = field.bytes;
        }
    }
    return value;
}

/* --- records --- */

static void record_text(char *text, size_t capacity, const char *prefix, uint64_t number)
{
    (void) snprintf(text, capacity, "%s-%" PRIu64, prefix, number);
}

struct slice batch_make(const char *prefix, uint64_t first, uint32_t count, size_t size)
{
    struct buf batch = {0};
    char *text = mem_new(size + 64);
    for (uint32_t i = 0; i < count; i++) {
        memset(text, '.', size + 64);
        char number[64];
        record_text(number, sizeof(number), prefix, first + i);
        size_t length = strlen(number);
        memcpy(text, number, length);
        size_t used = length < size ? size : length;
        batch_append(&batch, span_make(text, used), (struct span){0}, (struct span){0},
                     (struct span){0});
    }
    mem_free(text);
    struct payload *payload = payload_copy(buf_span(&batch));
    buf_release(&batch);
    ck_assert_ptr_nonnull(payload);
    return (struct slice){payload, payload_span(payload)};
}

uint64_t node_publish(struct node *node, uint64_t log_group, uint64_t first, uint32_t count,
                      size_t size)
{
    struct slice batch = batch_make("r", first, count, size);
    struct answer answer;
    node_ask(node, RAILGUN__BUS_TYPE__BUS_LOG_PUBLISH, log_group, (struct span){0}, &batch,
             &answer);
    slice_release(&batch);
    ck_assert_int_eq(answer.outcome, BUS_OK);
    ck_assert_int_eq(answer.status, 0);
    ck_assert_uint_eq(meta_number(buf_span(&answer.meta), 2), count);
    uint64_t base = meta_number(buf_span(&answer.meta), 1);
    answer_clear(&answer);
    return base;
}

void node_check_records(struct node *node, uint64_t log_group, uint64_t from, uint64_t to,
                        uint64_t shift)
{
    while (from < to) {
        struct buf start = {0};
        struct buf meta = {0};
        pb_append_varint(&start, 1, 4);
        pb_append_varint(&start, 2, from);
        pb_append_bytes(&meta, 2, buf_span(&start));
        struct answer answer;
        node_ask(node, RAILGUN__BUS_TYPE__BUS_LOG_READ, log_group, buf_span(&meta), NULL, &answer);
        buf_release(&start);
        buf_release(&meta);
        ck_assert_int_eq(answer.outcome, BUS_OK);
        ck_assert_int_eq(answer.status, 0);
        ck_assert_uint_eq(meta_number(buf_span(&answer.meta), 1), from);
        uint64_t count = meta_number(buf_span(&answer.meta), 2);
        ck_assert_uint_gt(count, 0);
        struct span rest = answer.body.bytes;
        struct batch_record record;
        uint64_t found = 0;
        while (batch_next(&rest, &record) == 1) {
            char text[64];
            record_text(text, sizeof(text), "r", from + found - shift);
            ck_assert_uint_ge(record.payload.size, strlen(text));
            ck_assert_mem_eq(record.payload.data, text, strlen(text));
            found++;
        }
        ck_assert_uint_eq(rest.size, 0);
        ck_assert_uint_eq(found, count);
        from += count;
        answer_clear(&answer);
    }
}

struct stream *node_stream(struct node *node, uint64_t log_group)
{
    struct stream *stream = streams_find(node->logd, log_group);
    ck_assert_ptr_nonnull(stream);
    return stream;
}
