/* Retention and purge over real daemons: each limit, what consumers see of it, and that the disk stays bounded. */
#include "tests/lib/test.h"
#include "tests/system/node.h"
#include "tests/system/raw.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/err.h"
#include "common/wire/batch.h"
#include "common/wire/frame.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"

enum { LONG = 20, CHANNEL = 3 };

static const char *const stream = "orders";
static const char *const group = "workers";

static struct node *node_up(void)
{
    struct node *node = node_new();
    node_set(node, NODE_LOGD, "retention.interval=20ms");
    node_set(node, NODE_LOGD, "journal.release_interval=20ms");
    node_set(node, NODE_LOGD, "journal.file_size=1M");
    node_set(node, NODE_LOGD, "limits.batch_size=256k");
    node_set(node, NODE_LOGD, "journal.reserve=1M");
    node_set(node, NODE_LOGD, "limits.record_size=128k");
    node_start_all(node);
    return node;
}

struct numbers {
    uint64_t first;
    uint64_t next;
    uint64_t bytes;
    uint64_t first_ts_us;
};

static struct numbers ask_stream(struct node *node)
{
    struct raw *raw = raw_open(node);
    Railgun__DescribeOk *ok = raw_describe(raw, stream, NULL);
    ck_assert_ptr_nonnull(ok->stream);
    struct numbers numbers = {ok->stream->first_offset, ok->stream->next_offset, ok->stream->bytes,
                              ok->stream->first_ts_us};
    SCAN_FREE(&ok);
    raw_close(&raw);
    return numbers;
}

static void publish(struct raw *raw, uint64_t first, unsigned count, size_t size)
{
    static char text[64 << 10];
    int code = 0;
    ck_assert_uint_lt(size, sizeof(text));
    memset(text, 'x', size);
    text[size] = '\0';
    for (unsigned i = 0; i < count; i++) {
        ck_assert_uint_eq(raw_publish(raw, stream, text, &code), first + i);
    }
}

static bool begins_at(struct node *node, uint64_t first)
{
    return ask_stream(node).first == first;
}

/* --- limits --- */

TEST_WITHIN(the_newest_records_stay, 60)
{
    struct node *node = node_up();
    struct raw *raw = raw_open(node);
    Railgun__StreamSpec spec = RAILGUN__STREAM_SPEC__INIT;
    spec.has_max_records = true;
    spec.max_records = 10;
    raw_ensure_specs(raw, stream, &spec, NULL, NULL);
    publish(raw, 1, 35, 10);
    ck_assert(WAIT_FOR(begins_at(node, 26), LONG));
    struct raw_page page = {0};
    raw_read(raw, stream, 25, &page);
    ck_assert_int_eq(page.code, -ERR_OUT_OF_RANGE);
    raw_read(raw, stream, 26, &page);
    ck_assert_int_eq(page.code, 0);
    ck_assert_uint_eq(page.first, 26);
    ck_assert_uint_eq(page.end, 36);
    buf_release(&page.batch);
    node_restart(node, NODE_LOGD);
    ck_assert(begins_at(node, 26));
    publish(raw, 36, 1, 10);
    ck_assert(WAIT_FOR(begins_at(node, 27), LONG));
    raw_close(&raw);
    node_destroy(&node);
}

TEST_WITHIN(a_stream_takes_no_more_bytes_than_it_may, 60)
{
    struct node *node = node_up();
    struct raw *raw = raw_open(node);
    Railgun__StreamSpec spec = RAILGUN__STREAM_SPEC__INIT;
    spec.has_max_bytes = true;
    spec.max_bytes = 100000;
    raw_ensure_specs(raw, stream, &spec, NULL, NULL);
    publish(raw, 1, 300, 1000);
    ck_assert(WAIT_FOR(ask_stream(node).bytes <= 100000, LONG));
    struct numbers numbers = ask_stream(node);
    ck_assert_uint_gt(numbers.bytes, 90000);
    ck_assert_uint_gt(numbers.first, 200);
    ck_assert_uint_eq(numbers.next, 301);
    publish(raw, 301, 1, 60000);
    publish(raw, 302, 1, 60000);
    /* Where records of very different sizes lie together the cut is rough: bytes count as evenly spread there. */
    ck_assert(WAIT_FOR(ask_stream(node).bytes <= 100000, LONG));
    ck_assert_uint_gt(ask_stream(node).first, numbers.first);
    ck_assert_uint_le(ask_stream(node).first, 302);
    raw_close(&raw);
    node_destroy(&node);
}

TEST_WITHIN(records_go_for_their_age, 60)
{
    struct node *node = node_up();
    struct raw *raw = raw_open(node);
    Railgun__StreamSpec spec = RAILGUN__STREAM_SPEC__INIT;
    spec.has_max_age_ms = true;
    spec.max_age_ms = 1500;
    raw_ensure_specs(raw, stream, &spec, NULL, NULL);
    publish(raw, 1, 20, 10);
    ck_assert(WAIT_FOR(begins_at(node, 21), LONG));
    ck_assert_uint_eq(ask_stream(node).first_ts_us, 0);
    ck_assert_uint_eq(ask_stream(node).bytes, 0);
    node_kill_all(node);
    struct process removed = {0};
    char path[4096];
    ck_assert_int_eq(
        process_run(&removed, LONG,
                    (const char *const[]){"rm", "-rf", node_path(node, "data/logd/db", path), NULL},
                    NULL),
        0);
    process_release(&removed);
    node_start_all(node);
    raw_close(&raw);
    raw = raw_open(node);
    publish(raw, 21, 1, 10);
    raw_close(&raw);
    node_destroy(&node);
}

static void join(struct raw *member, uint64_t credit, uint64_t expect_first, uint64_t count)
{
    raw_consume(member, CHANNEL, stream, group, credit);
    for (uint64_t next = expect_first; next < expect_first + count;) {
        struct raw_delivery delivery;
        ck_assert(raw_deliver(member, CHANNEL, LONG, &delivery));
        ck_assert_uint_eq(delivery.base, next);
        next += delivery.count;
    }
}

TEST_WITHIN(what_every_group_has_acknowledged_goes_and_nothing_else, 60)
{
    struct node *node = node_up();
    struct raw *raw = raw_open(node);
    Railgun__StreamSpec spec = RAILGUN__STREAM_SPEC__INIT;
    Railgun__GroupSpec group_spec = RAILGUN__GROUP_SPEC__INIT;
    spec.has_retention = true;
    spec.retention = RAILGUN__STREAM_SPEC__RETENTION__ACKED;
    spec.has_max_records = true;
    spec.max_records = 5; /* does not count without retention_force */
    raw_ensure_specs(raw, stream, &spec, group, &group_spec);
    raw_ensure_specs(raw, stream, NULL, "slow", &group_spec); /* never consumes */
    publish(raw, 1, 30, 10);
    struct raw *member = raw_open(node);
    join(member, 100, 1, 30);
    ck_assert_int_eq(raw_ack(member, CHANNEL, 1, 20, true), 0);
    struct numbers numbers = ask_stream(node);
    ck_assert_uint_eq(numbers.first, 1);
    /* A group without a position holds everything; without it the slowest of the others decides. */
    struct process said = {0};
    ck_assert_int_eq(NODE_CTL(node, &said, "group", "delete", stream, "slow", "--yes", "slow"), 0);
    process_release(&said);
    ck_assert_int_eq(raw_ack(member, CHANNEL, 22, 22, true), 0);
    ck_assert(WAIT_FOR(begins_at(node, 21), LONG));
    ck_assert_int_eq(raw_ack(member, CHANNEL, 21, 21, true), 0);
    ck_assert_int_eq(raw_ack(member, CHANNEL, 23, 30, true), 0);
    ck_assert(WAIT_FOR(begins_at(node, 31), LONG));
    raw_close(&member);
    raw_close(&raw);
    node_destroy(&node);
}

/* --- groups and purges --- */

TEST_WITHIN(a_consumer_is_told_the_gap_and_goes_on_behind_it, 60)
{
    struct node *node = node_up();
    struct raw *raw = raw_open(node);
    struct process said = {0};
    raw_ensure(raw, stream, group, 0);
    publish(raw, 1, 30, 10);
    struct raw *member = raw_open(node);
    join(member, 10, 1, 10);
    ck_assert_int_eq(raw_ack(member, CHANNEL, 3, 4, true), 0);
    ck_assert_int_eq(
        NODE_CTL(node, &said, "stream", "purge", stream, "--before", "16", "--yes", stream), 0);
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "purged"), 15);
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "first_offset"), 16);
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "next_offset"), 31);
    uint64_t gap_last = 0;
    for (unsigned i = 0; i < 10 && gap_last == 0; i++) {
        struct raw_frame frame;
        Railgun__GroupEvent *event = NULL;
        ck_assert_int_eq(raw_receive(member, LONG, &frame), RAW_FRAME);
        if (frame.field == RAW_GROUP_EVENT) {
            ck_assert_int_eq(SCAN_UNPACK(frame.body, railgun__group_event, &event), 0);
            if (event->type == RAILGUN__GROUP_EVENT__TYPE__EVENT_GAP) {
                ck_assert_uint_eq(event->range->first, 1);
                gap_last = event->range->last;
            }
            SCAN_FREE(&event);
        }
    }
    ck_assert_uint_eq(gap_last, 15);
    ck_assert_int_ne(raw_ack(member, CHANNEL, 1, 1, true), 0); /* no longer theirs */
    ck_assert(raw_credit(member, CHANNEL, 100));
    for (uint64_t next = 16; next < 31;) {
        struct raw_delivery delivery;
        ck_assert(raw_deliver(member, CHANNEL, LONG, &delivery));
        ck_assert_uint_eq(delivery.base, next);
        next += delivery.count;
    }
    ck_assert_int_eq(raw_ack(member, CHANNEL, 16, 30, true), 0);
    ck_assert_int_eq(NODE_CTL(node, &said, "group", "info", stream, group), 0);
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "floor"), 30);
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "check_errors"), 0);
    process_release(&said);
    raw_close(&member);
    raw_close(&raw);
    node_destroy(&node);
}

TEST_WITHIN(a_purge_names_the_stream_twice_and_one_place, 60)
{
    struct node *node = node_up();
    struct raw *raw = raw_open(node);
    struct process said = {0};
    raw_ensure(raw, stream, NULL, 0);
    publish(raw, 1, 10, 10);
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "purge", stream), 2);
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "purge", stream, "--yes", "other"), 2);
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "purge", stream, "--before", "3", "--keep",
                              "2", "--yes", stream),
                     2);
    ck_assert_int_ne(
        NODE_CTL(node, &said, "stream", "purge", stream, "--before", "12", "--yes", stream), 0);
    ck_assert(process_complained(&said, "OUT_OF_RANGE"));
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "purge", "nowhere", "--yes", "nowhere"), 3);
    ck_assert_int_eq(
        NODE_CTL(node, &said, "stream", "purge", stream, "--keep", "4", "--yes", stream), 0);
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "purged"), 6);
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "purge", stream, "--yes", stream), 0);
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "purged"), 4);
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "first_offset"), 11);
    process_release(&said);
    raw_close(&raw);
    node_destroy(&node);
}

/* --- the disk --- */

static uint64_t journal_bytes(const struct node *node)
{
    char path[4096];
    uint64_t bytes = 0;
    DIR *dir = opendir(node_path(node, "data/logd/journal", path));
    ck_assert_ptr_nonnull(dir);
    struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        struct stat info;
        if (fstatat(dirfd(dir), entry->d_name, &info, 0) == 0 && S_ISREG(info.st_mode)) {
            bytes += (uint64_t) info.st_size;
        }
    }
    (void) closedir(dir);
    return bytes;
}

static bool is_small_again(const struct node *node, uint64_t most)
{
    return journal_bytes(node) <= most;
}

TEST_WITHIN(the_disk_stays_bounded_under_endless_publishing, 120)
{
    struct node *node = node_new();
    node_set(node, NODE_LOGD, "retention.interval=20ms");
    node_set(node, NODE_LOGD, "journal.release_interval=20ms");
    node_set(node, NODE_LOGD, "journal.file_size=1M");
    node_set(node, NODE_LOGD, "journal.reserve=1M");
    node_set(node, NODE_LOGD, "limits.batch_size=256k");
    node_start_all(node);
    struct raw *raw = raw_open(node);
    Railgun__StreamSpec spec = RAILGUN__STREAM_SPEC__INIT;
    spec.has_max_bytes = true;
    spec.max_bytes = 2 << 20;
    raw_ensure_specs(raw, stream, &spec, group, NULL);
    struct raw *member = raw_open(node);
    raw_consume(member, CHANNEL, stream, group, 1000);
    uint64_t next = 1;
    for (unsigned round = 0; round < 8; round++) { /* 40 MiB in all */
        publish(raw, next, 128, 40000);
        next += 128;
        /* 2 MiB of records, the file they begin in, the one written to, the next, four spares, the reserve; slack for what is under way */
        ck_assert_msg(WAIT_FOR(is_small_again(node, 12 << 20), LONG), "%lu bytes",
                      journal_bytes(node));
        if (round % 3 == 2) {
            node_kill(node, NODE_LOGD);
            char path[4096];
            struct process removed = {0};
            const char *const words[] = {"rm", "-rf", node_path(node, "data/logd/db", path), NULL};
            ck_assert_int_eq(process_run(&removed, LONG, words, NULL), 0);
            process_release(&removed);
            node_start(node, NODE_LOGD);
            node_wait_ready(node, NODE_LOGD, LONG);
        }
    }
    struct numbers numbers = ask_stream(node);
    ck_assert_uint_eq(numbers.next, next);
    struct raw_page page = {0};
    raw_read(raw, stream, numbers.first, &page);
    ck_assert_int_eq(page.code, 0);
    buf_release(&page.batch);
    raw_close(&member);
    raw_close(&raw);
    node_stop_all(node);
    node_destroy(&node);
}

/* --- killed at each step --- */

/* What was acknowledged to us. */
struct known {
    uint64_t stored; /* records */
    uint64_t settled;
};

static bool is_dead(const struct node *node)
{
    return !node_is_running(node, NODE_LOGD);
}

/* Publish one record: its offset; 0: logd was killed meanwhile. */
static uint64_t publish_or_die(struct node *node, struct raw *raw, uint64_t corr, struct span text)
{
    struct buf batch = {0};
    struct buf publish = {0};
    struct buf frame_bytes = {0};
    uint64_t offset = 0;
    batch_append(&batch, text, (struct span){0}, (struct span){0}, (struct span){0});
    pb_append_bytes(&publish, 1, span_of(stream));
    pb_append_bytes(&publish, 2, buf_span(&batch));
    frame_append(&frame_bytes, 0, corr, RAW_PUBLISH, buf_span(&publish));
    ck_assert(raw_send_bytes(raw, buf_span(&frame_bytes)));
    while (offset == 0 && !is_dead(node)) {
        struct raw_frame frame;
        if (raw_receive(raw, 0.05, &frame) == RAW_FRAME && frame.field == RAW_PUBLISH_OK) {
            Railgun__PublishOk *ok = NULL;
            ck_assert_int_eq(SCAN_UNPACK(frame.body, railgun__publish_ok, &ok), 0);
            offset = ok->base_offset;
            SCAN_FREE(&ok);
        }
    }
    buf_release(&batch);
    buf_release(&publish);
    buf_release(&frame_bytes);
    return offset;
}

/* Publish, consume and acknowledge until logd is killed; false: it lives on after `most` records. */
static bool work_until_killed(struct node *node, struct known *known, unsigned most)
{
    static char text[100 << 10]; /* ten in a file */
    struct raw *raw = raw_open(node);
    struct raw *member = raw_open(node);
    bool was_killed = false;
    memset(text, 'x', sizeof(text));
    raw_consume(member, CHANNEL, stream, group, 100000);
    for (unsigned i = 0; i < most && !was_killed; i++) {
        uint64_t offset = publish_or_die(node, raw, 1000 + i, span_make(text, sizeof(text)));
        was_killed = offset == 0;
        known->stored = was_killed ? known->stored : offset;
        struct raw_delivery delivery;
        while (!was_killed && raw_has_input(member) && raw_deliver(member, CHANNEL, 1, &delivery)) {
            raw_post_ack(member, CHANNEL, delivery.base, delivery.base + delivery.count - 1);
        }
    }
    raw_close(&member);
    raw_close(&raw);
    return was_killed;
}

/* All of it, durably. */
static void acknowledge_all(struct node *node, struct known *known)
{
    struct raw *member = raw_open(node);
    raw_consume(member, CHANNEL, stream, group, 100000);
    struct raw_delivery delivery;
    while (known->settled < known->stored && raw_deliver(member, CHANNEL, 1, &delivery)) {
        uint64_t last = delivery.base + delivery.count - 1;
        int result = raw_ack(member, CHANNEL, delivery.base, last, true);
        ck_assert(result == 0 || result == -ERR_ALREADY); /* retention was faster */
        known->settled = last;
    }
    raw_close(&member);
}

static void check_all_there(struct node *node, const struct known *known, uint64_t most)
{
    struct raw *raw = raw_open(node);
    ck_assert(WAIT_FOR(ask_stream(node).next - ask_stream(node).first <= most, LONG));
    Railgun__DescribeOk *ok = raw_describe(raw, stream, NULL);
    uint64_t first = ok->stream->first_offset;
    uint64_t next = ok->stream->next_offset;
    ck_assert_uint_gt(next, known->stored);
    ck_assert_uint_le(next - first, known->stored);
    ck_assert_uint_eq(ok->stream->n_corrupt, 0);
    SCAN_FREE(&ok);
    struct raw_page page = {0};
    for (uint64_t at = first; at < next;) {
        raw_read(raw, stream, at, &page);
        if (page.code == -ERR_OUT_OF_RANGE) {
            /* What frontd had kept for logd was stored a moment ago, and as many go as are too many. */
            struct numbers now = ask_stream(node);
            ck_assert_uint_gt(now.first, at);
            ck_assert_uint_ge(now.next - now.first, most);
            at = now.first;
            continue;
        }
        ck_assert_int_eq(page.code, 0);
        ck_assert_uint_gt(page.next, at);
        at = page.next;
    }
    ok = raw_describe(raw, stream, group);
    ck_assert_uint_ge(ok->group->floor, known->settled);
    ck_assert_uint_lt(ok->group->floor, ask_stream(node).next);
    ck_assert_uint_eq(ok->group->check_errors, 0);
    SCAN_FREE(&ok);
    buf_release(&page.batch);
    raw_close(&raw);
}

TEST_WITHIN(logd_killed_while_it_gives_files_back_loses_nothing, 240)
{
    static const char *const steps[] = {
        "unlinkat:signal=SIGKILL:when=1", "renameat:signal=SIGKILL:when=1",
        "renameat:signal=SIGKILL:when=2", "renameat:signal=SIGKILL:when=3",
        "renameat:signal=SIGKILL:when=4", "unlinkat:signal=SIGKILL:when=2",
        "fsync:signal=SIGKILL:when=1",    "fsync:signal=SIGKILL:when=2",
        "fsync:signal=SIGKILL:when=3",    "fdatasync:signal=SIGKILL:when=40",
        "pwritev:signal=SIGKILL:when=40", "pwrite64:signal=SIGKILL:when=10",
    };
    if (!node_can_trace()) {
        return;
    }
    struct node *node = node_up();
    struct known known = {0};
    struct process removed = {0};
    struct raw *raw = raw_open(node);
    Railgun__StreamSpec spec = RAILGUN__STREAM_SPEC__INIT;
    spec.has_max_records = true;
    spec.max_records = 20;
    raw_ensure_specs(raw, stream, &spec, group, NULL);
    raw_close(&raw);
    char path[4096];
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        ck_assert(!work_until_killed(node, &known, 40));
        acknowledge_all(node, &known);
        node_inject(node, NODE_LOGD, steps[i]);
        ck_assert_msg(work_until_killed(node, &known, 500), "%s has not fired", steps[i]);
        int status = 0;
        ck_assert(node_wait_end(node, NODE_LOGD, LONG, &status));
        if (i % 2 == 0) {
            const char *const words[] = {"rm", "-rf", node_path(node, "data/logd/db", path), NULL};
            ck_assert_int_eq(process_run(&removed, LONG, words, NULL), 0);
        }
        node_start(node, NODE_LOGD);
        node_wait_ready(node, NODE_LOGD, LONG);
        check_all_there(node, &known, 20);
    }
    ck_assert(WAIT_FOR(is_small_again(node, 12 << 20), LONG));
    process_release(&removed);
    node_stop_all(node);
    node_destroy(&node);
}
