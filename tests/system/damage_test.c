/* Damaged and missing files: a flipped byte anywhere in a journal is reported as CORRUPT for its exact range, never served and never cut; everything else is
 * there. What is derived may be removed. */
#include "tests/lib/test.h"
#include "tests/system/node.h"
#include "tests/system/raw.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/batch.h"
#include "common/wire/frame.h"
#include "common/wire/hot.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"

enum {
    LONG = 20,
    BATCH = 10,
    BATCHES = 300,
    RECORDS = BATCH * BATCHES,
    PADDING = 400,
    CHANNEL = 1
};

static void record_text(char *out, size_t size, unsigned number)
{
    int length = snprintf(out, size, "record-%06u-", number);
    memset(out + length, '.', PADDING);
    out[length + PADDING] = 0;
}

/* RECORDS records in batches of BATCH, over several journal files. */
static void publish_all(struct node *node)
{
    struct raw *raw = raw_open(node);
    raw_ensure(raw, "orders", "workers", 0);
    for (unsigned b = 0; b < BATCHES; b++) {
        struct buf batch = {0};
        struct buf body = {0};
        struct buf frame = {0};
        char text[PADDING + 64];
        struct raw_frame answer;
        for (unsigned i = 1; i <= BATCH; i++) {
            record_text(text, sizeof(text), b * BATCH + i);
            batch_append(&batch, span_of(text), (struct span){0}, (struct span){0},
                         (struct span){0});
        }
        pb_append_bytes(&body, 1, span_of("orders"));
        pb_append_bytes(&body, 2, buf_span(&batch));
        frame_append(&frame, 0, b + 1, RAW_PUBLISH, buf_span(&body));
        ck_assert(raw_send_bytes(raw, buf_span(&frame)));
        raw_expect(raw, RAW_PUBLISH_OK, &answer);
        buf_release(&batch);
        buf_release(&body);
        buf_release(&frame);
    }
    raw_close(&raw);
}

static struct node *node_with_records(void)
{
    struct node *node = node_new();
    node_set(node, NODE_LOGD, "journal.file_size=1M");
    node_set(node, NODE_LOGD, "limits.batch_size=256k");
    node_start_all(node);
    publish_all(node);
    return node;
}

/* Run a script on two paths, $1 and $2. */
static void shell(const char *script, const char *one, const char *two)
{
    struct process said = {0};
    const char *const words[] = {"/bin/sh", "-euc", script, "sh", one, two, NULL};
    ck_assert_msg(process_run(&said, LONG, words, NULL) == 0, "%s: %s", script,
                  buf_text(&said.err));
    process_release(&said);
}

/* --- finding and flipping --- */

/* Where a text lies in the files of a folder. */
struct place {
    char path[512];
    off_t at;
};

static bool find_in_file(const char *path, const char *text, off_t *ret_at)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    off_t size = lseek(fd, 0, SEEK_END);
    char *content = mem_new((size_t) size + 1);
    ck_assert_int_eq(pread(fd, content, (size_t) size, 0), size);
    const char *found = memmem(content, (size_t) size, text, strlen(text));
    if (found != NULL) {
        *ret_at = found - content;
    }
    mem_free(content);
    (void) close(fd);
    return found != NULL;
}

static void find_record(const struct node *node, unsigned number, struct place *ret_place)
{
    char dir[4096];
    char text[PADDING + 64];
    bool found = false;
    record_text(text, sizeof(text), number);
    DIR *listing = opendir(node_path(node, "data/logd/journal", dir));
    ck_assert_ptr_nonnull(listing);
    struct dirent *entry = NULL;
    while (!found && (entry = readdir(listing)) != NULL) {
        if (strstr(entry->d_name, ".jnl") == NULL) {
            continue;
        }
        (void) snprintf(ret_place->path, sizeof(ret_place->path), "%.250s/%.200s", dir,
                        entry->d_name);
        found = find_in_file(ret_place->path, text, &ret_place->at);
    }
    (void) closedir(listing);
    ck_assert_msg(found, "record %u is in no journal file", number);
}

static void flip(const struct place *place, off_t back)
{
    uint8_t byte = 0;
    int fd = open(place->path, O_RDWR | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pread(fd, &byte, 1, place->at - back), 1);
    byte ^= 0x10;
    ck_assert_int_eq(pwrite(fd, &byte, 1, place->at - back), 1);
    ck_assert_int_eq(fsync(fd), 0);
    (void) close(fd);
}

/* --- looking --- */

/* Read everything: each record must be what was published, but for [first, last], which must be reported exactly so (0: none). */
static void expect_damage(struct node *node, uint64_t first, uint64_t last)
{
    struct raw *raw = raw_open(node);
    struct raw_page page = {0};
    uint64_t next = 1;
    uint64_t damaged = 0;
    while (next <= RECORDS) {
        raw_read(raw, "orders", next, &page);
        if (page.code != 0) {
            ck_assert_int_eq(page.code, -ERR_CORRUPT);
            ck_assert_uint_eq(page.damaged_first, first);
            ck_assert_uint_eq(page.damaged_last, last);
            ck_assert_uint_eq(next, first);
            next = last + 1;
            damaged++;
            continue;
        }
        struct span rest = buf_span(&page.batch);
        struct batch_record record;
        ck_assert_uint_eq(page.base, next);
        ck_assert_uint_eq(page.end, RECORDS + 1);
        for (; batch_next(&rest, &record) > 0; next++) {
            char text[PADDING + 64];
            record_text(text, sizeof(text), (unsigned) next);
            ck_assert_msg(span_is(record.payload, text), "offset %lu is wrong", next);
        }
        ck_assert_uint_eq(page.next, next);
    }
    ck_assert_uint_eq(damaged, first != 0);
    Railgun__DescribeOk *info = raw_describe(raw, "orders", NULL);
    ck_assert_uint_eq(info->stream->next_offset, RECORDS + 1);
    ck_assert_uint_eq(info->stream->n_corrupt, first != 0);
    if (first != 0) {
        ck_assert_uint_eq(info->stream->corrupt[0]->first, first);
        ck_assert_uint_eq(info->stream->corrupt[0]->last, last);
    }
    SCAN_FREE(&info);
    buf_release(&page.batch);
    raw_close(&raw);
}

static uint64_t batch_first(unsigned record)
{
    return (record - 1) / BATCH * BATCH + 1;
}

static void expect_damage_around(struct node *node, unsigned record)
{
    expect_damage(node, batch_first(record), batch_first(record) + BATCH - 1);
}

/* A stopped node whose data can be put back as it was. */
struct scene {
    struct node *node;
    char data[4096];
    char copy[4096];
};

static void scene_begin(struct scene *self)
{
    self->node = node_with_records();
    node_stop_all(self->node);
    (void) node_path(self->node, "data/logd", self->data);
    (void) node_path(self->node, "copy", self->copy);
    shell("cp -a $1 $2", self->data, self->copy);
}

static void scene_restore(struct scene *self)
{
    node_stop_all(self->node);
    shell("rm -rf $1 && cp -a $2 $1", self->data, self->copy);
}

static void scene_end(struct scene *self)
{
    node_destroy(&self->node);
}

TEST_WITHIN(a_flipped_byte_makes_its_batch_corrupt_and_nothing_else, 120)
{
    /* In the text, and before it: the batch's encoding, then the frame's header of 80 bytes. */
    static const struct {
        unsigned record;
        off_t back;
    } flips[] = {{1505, 0},  {1501, -3}, {1501, 2}, {1501, 10}, {1501, 30},
                 {1501, 50}, {1501, 80}, {2993, 0}, {1, 0},     {1, 40}};
    struct scene scene;
    scene_begin(&scene);
    for (size_t i = 0; i < sizeof(flips) / sizeof(flips[0]); i++) {
        struct place place;
        find_record(scene.node, flips[i].record, &place);
        flip(&place, flips[i].back);
        node_start_all(scene.node);
        expect_damage_around(scene.node, flips[i].record);
        node_restart(scene.node, NODE_LOGD); /* it stays so */
        expect_damage_around(scene.node, flips[i].record);
        scene_restore(&scene);
    }
    node_start_all(scene.node);
    expect_damage(scene.node, 0, 0);
    scene_end(&scene);
}

TEST_WITHIN(adminctl_inspect_finds_the_damage_in_a_file, 60)
{
    struct scene scene;
    struct place place;
    struct process said = {0};
    scene_begin(&scene);
    find_record(scene.node, 1505, &place);
    ck_assert_int_eq(NODE_CTL(scene.node, &said, "inspect", place.path), 0);
    flip(&place, 0);
    ck_assert_int_eq(NODE_CTL(scene.node, &said, "inspect", place.path), 1);
    ck_assert_int_eq(NODE_CTL(scene.node, &said, "inspect", "/nowhere/at.all"), 3);
    process_release(&said);
    scene_end(&scene);
}

TEST_WITHIN(the_last_acknowledged_record_is_not_cut_when_it_is_damaged, 60)
{
    struct scene scene;
    struct place place;
    int code = 0;
    scene_begin(&scene);
    find_record(scene.node, RECORDS, &place);
    flip(&place, 0);
    node_start_all(scene.node);
    expect_damage_around(scene.node, RECORDS);
    struct raw *raw = raw_open(scene.node);
    ck_assert_uint_eq(raw_publish(raw, "orders", "goes on behind it", &code), RECORDS + 1);
    raw_close(&raw);
    scene_end(&scene);
}

TEST_WITHIN(a_group_is_told_of_damage_and_goes_on_behind_it, 60)
{
    struct scene scene;
    struct place place;
    uint64_t next = 1;
    unsigned told = 0;
    scene_begin(&scene);
    find_record(scene.node, 1505, &place);
    flip(&place, 0);
    node_start_all(scene.node);
    struct raw *raw = raw_open(scene.node);
    raw_consume(raw, CHANNEL, "orders", "workers", RECORDS);
    while (next <= RECORDS) {
        struct raw_frame frame;
        ck_assert_msg(raw_receive(raw, LONG, &frame) == RAW_FRAME, "nothing came behind %lu", next);
        if (frame.field == RAW_GROUP_EVENT) {
            Railgun__GroupEvent *event = NULL;
            ck_assert_int_eq(SCAN_UNPACK(frame.body, railgun__group_event, &event), 0);
            ck_assert_int_eq(event->type, RAILGUN__GROUP_EVENT__TYPE__EVENT_CORRUPT);
            ck_assert_uint_eq(event->range->first, 1501);
            ck_assert_uint_eq(event->range->last, 1510);
            SCAN_FREE(&event);
            told++;
        } else if (frame.field == RAW_DELIVER) {
            struct hot_delivery delivery;
            ck_assert_int_eq(hot_deliver_read(frame.body, &delivery), 0);
            next = next == 1501 ? 1511 : next;
            ck_assert_uint_eq(delivery.base_offset, next);
            next += delivery.count;
            raw_post_ack(raw, CHANNEL, delivery.base_offset, next - 1);
            ck_assert(raw_credit(raw, CHANNEL, delivery.count)); /* its bytes, too */
        }
    }
    ck_assert_uint_eq(told, 1);
    Railgun__DescribeOk *info = raw_describe(raw, "orders", "workers");
    ck_assert_uint_eq(info->group->skipped, BATCH);
    ck_assert_uint_eq(info->group->check_errors, 0);
    SCAN_FREE(&info);
    raw_close(&raw);
    scene_end(&scene);
}

TEST_WITHIN(indexes_of_the_journal_may_be_removed, 60)
{
    struct scene scene;
    struct place place;
    scene_begin(&scene);
    shell("rm $1/journal/*.idx", scene.data, "");
    node_start_all(scene.node);
    expect_damage(scene.node, 0, 0);
    scene_restore(&scene);
    shell("rm $1/journal/*.idx", scene.data, "");
    find_record(scene.node, 705, &place);
    flip(&place, 0);
    node_start_all(scene.node);
    expect_damage_around(scene.node, 705);
    scene_end(&scene);
}

/* Acknowledge 1 to 100 and 151 to 160, durable. */
static void take_position(struct node *node)
{
    struct raw *raw = raw_open(node);
    struct raw_delivery delivery = {0};
    raw_consume(raw, CHANNEL, "orders", "workers", 400);
    while (delivery.base + delivery.count < 200) {
        ck_assert(raw_deliver(raw, CHANNEL, LONG, &delivery));
    }
    ck_assert_int_eq(raw_ack(raw, CHANNEL, 1, 100, false), 0);
    ck_assert_int_eq(raw_ack(raw, CHANNEL, 151, 160, true), 0);
    raw_close(&raw);
}

static void expect_position(struct node *node)
{
    struct raw *raw = raw_open(node);
    Railgun__DescribeOk *info = raw_describe(raw, "orders", "workers");
    ck_assert_uint_eq(info->group->floor, 100);
    ck_assert_uint_eq(info->group->acked_above, 10);
    ck_assert_uint_eq(info->group->check_errors, 0);
    SCAN_FREE(&info);
    info = raw_describe(raw, "orders", NULL);
    ck_assert_uint_eq(info->stream->next_offset, RECORDS + 1);
    SCAN_FREE(&info);
    raw_close(&raw);
}

TEST_WITHIN(the_databases_may_be_removed, 60)
{
    char raftd[4096];
    struct node *node = node_with_records();
    char logd[4096];
    take_position(node);
    (void) node_path(node, "data/logd/db", logd);
    (void) node_path(node, "data/raftd/db", raftd);
    for (int killed = 0; killed < 2; killed++) {
        if (killed) {
            node_kill_all(node);
        } else {
            node_stop_all(node);
        }
        shell("rm -r $1 $2", logd, raftd);
        node_start_all(node);
        expect_position(node);
        expect_damage(node, 0, 0);
    }
    node_destroy(&node);
}
