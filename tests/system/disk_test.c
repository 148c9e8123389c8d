/* A full disk: a small tmpfs as logd's data folder, in a mount namespace of the test's own (needs root; skipped without). Publishes are refused, what is
 * there is read and acknowledged, and publishing goes on by itself when there is room again. */
#include "tests/lib/test.h"
#include "tests/system/node.h"
#include "tests/system/raw.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/mem.h"

enum {
    LONG = 30,
    MIB = 1 << 20,
    DISK_MIB = 40,
    BALLAST_MIB = 20,
    RECORD_BYTES = 32 << 10,
    CHANNEL = 1
};

/* false: not allowed here, said so. */
static bool mount_small_disk(const struct node *node)
{
    char path[4096];
    char options[64];
    (void) snprintf(options, sizeof(options), "size=%dm,mode=0700", DISK_MIB);
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", node_path(node, "data/logd", path), "tmpfs", 0, options) != 0) {
        (void) fprintf(stderr, "SKIPPED: a small disk cannot be mounted here: %s\n",
                       strerror(errno));
        return false;
    }
    return true;
}

/* Take `bytes` of the disk away (0: all that is left), as file number `which`. */
static void ballast_put(const struct node *node, unsigned which, off_t bytes)
{
    char path[4096];
    char part[64];
    struct statvfs disk;
    (void) snprintf(part, sizeof(part), "data/logd/ballast-%u", which);
    int fd = open(node_path(node, part, path), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    if (bytes == 0) {
        ck_assert_int_eq(fstatvfs(fd, &disk), 0);
        bytes = (off_t) (disk.f_bavail * disk.f_frsize);
    }
    ck_assert(bytes == 0 || posix_fallocate(fd, 0, bytes) == 0);
    (void) close(fd);
}

static void ballast_take(const struct node *node, unsigned which)
{
    char path[4096];
    char part[64];
    (void) snprintf(part, sizeof(part), "data/logd/ballast-%u", which);
    ck_assert_int_eq(unlink(node_path(node, part, path)), 0);
}

/* Publish until it is refused; the offset of the last that was stored. */
static uint64_t publish_until_full(struct raw *raw, const char *payload)
{
    uint64_t last = 0;
    int code = 0;
    for (unsigned i = 0; i < DISK_MIB * 2 * MIB / RECORD_BYTES; i++) {
        uint64_t offset = raw_publish(raw, "orders", payload, &code);
        if (code != 0) {
            ck_assert_int_eq(code, -ERR_STORAGE_FULL);
            return last;
        }
        ck_assert_uint_eq(offset, last + 1);
        last = offset;
    }
    ck_abort_msg("the disk takes more than it has");
}

static void expect_all(struct raw *raw, uint64_t last)
{
    struct raw_page page = {.next = 1};
    while (page.next <= last) {
        uint64_t wanted = page.next;
        raw_read(raw, "orders", wanted, &page);
        ck_assert_int_eq(page.code, 0);
        ck_assert_uint_eq(page.base, wanted);
        ck_assert_uint_eq(page.end, last + 1);
    }
    buf_release(&page.batch);
}

/* Take and acknowledge, durably, one after the other. */
static void ack_some(struct raw *raw, uint64_t first, uint64_t count)
{
    struct raw_delivery delivery;
    for (uint64_t o = first; o < first + count; o++) {
        ck_assert(raw_credit(raw, CHANNEL, 1));
        ck_assert(raw_deliver(raw, CHANNEL, LONG, &delivery));
        ck_assert_uint_eq(delivery.base, o);
        ck_assert_int_eq(raw_ack(raw, CHANNEL, o, o, true), 0);
    }
}

static char *payload_new(void)
{
    char *payload = mem_new(RECORD_BYTES);
    memset(payload, 'p', RECORD_BYTES - 1);
    return payload;
}

static struct node *node_on_small_disk(void)
{
    struct node *node = node_new();
    if (!mount_small_disk(node)) {
        node_destroy(&node);
        return NULL;
    }
    node_set(node, NODE_LOGD, "journal.file_size=2M");
    node_set(node, NODE_LOGD, "journal.reserve=2M");
    node_set(node, NODE_LOGD, "journal.disk_free=3M");
    node_set(node, NODE_LOGD, "limits.batch_size=512k");
    node_set(node, NODE_LOGD, "db.save_interval=50ms"); /* the database writes, too */
    node_set(node, NODE_LOGD, "db.checkpoint_interval=1s");
    return node;
}

TEST_WITHIN(a_full_disk_refuses_publishes_and_recovers_by_itself, 120)
{
    struct node *node = node_on_small_disk();
    int code = 0;
    if (node == NULL) {
        return;
    }
    ballast_put(node, 1, BALLAST_MIB * MIB);
    node_start_all(node);
    struct raw *raw = raw_open(node);
    char *payload = payload_new();
    raw_ensure(raw, "orders", "workers", 0);
    uint64_t last = publish_until_full(raw, payload);
    ck_assert_uint_gt(last, 50);

    raw_consume(raw, CHANNEL, "orders", "workers", 0);
    ack_some(raw, 1, 30); /* reads and acks go on */
    expect_all(raw, last);
    ck_assert_uint_eq(raw_publish(raw, "orders", payload, &code), 0);
    ck_assert_int_eq(code, -ERR_STORAGE_FULL);

    ballast_take(node, 1);
    for (uint64_t i = 1; i < 100; i++) {
        ck_assert(WAIT_FOR(raw_publish(raw, "orders", payload, &code) == last + i, LONG));
    }
    raw_close(&raw);
    mem_free(payload);
    node_stop_all(node);
    node_destroy(&node);
}

/* What a supervisor does. */
static void keep_running(struct node *node)
{
    if (!node_is_running(node, NODE_LOGD)) {
        node_restart(node, NODE_LOGD);
    }
}

TEST_WITHIN(a_disk_without_a_single_byte_left_does_not_stop_a_node_for_good, 120)
{
    struct node *node = node_on_small_disk();
    struct raw_delivery delivery;
    int code = 0;
    if (node == NULL) {
        return;
    }
    ballast_put(node, 1, BALLAST_MIB * MIB);
    node_start_all(node);
    struct raw *raw = raw_open(node);
    char *payload = payload_new();
    raw_ensure(raw, "orders", "workers", 0);
    uint64_t last = publish_until_full(raw, payload);
    raw_consume(raw, CHANNEL, "orders", "workers", 0);
    ack_some(raw, 1, 10);
    ballast_put(node, 2, 0); /* somebody else takes the rest */

    node_restart(node, NODE_LOGD); /* it starts all the same */
    expect_all(raw, last);
    uint64_t acked = 10;
    for (uint64_t until = deadline_in(3); now_ms() < until && acked + 1 < last;) {
        keep_running(node);
        ck_assert(raw_credit(raw, CHANNEL, 1));
        if (!raw_deliver(raw, CHANNEL, LONG, &delivery)) {
            ck_abort_msg("nothing is delivered behind %lu", acked);
        }
        code = raw_ack(raw, CHANNEL, delivery.base, delivery.base, true);
        acked = code == 0 ? delivery.base : acked;
        ck_assert_msg(code == 0 || code == -ERR_TIMEOUT || code == -ERR_STALE_DELIVERY,
                      "ack of %lu: %d", delivery.base, code);
    }
    keep_running(node);
    ck_assert_uint_gt(acked, 10);
    expect_all(raw, last);

    ballast_take(node, 1);
    ballast_take(node, 2);
    ck_assert(WAIT_FOR(raw_publish(raw, "orders", payload, &code) == last + 1, LONG));
    keep_running(node);
    expect_all(raw, last + 1);
    raw_close(&raw);
    mem_free(payload);
    node_stop_all(node);
    node_destroy(&node);
}
