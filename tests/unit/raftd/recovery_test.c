/* recovery: the same catalogue comes back whatever part of the directory that can be derived is gone or damaged; a directory that does not
 * fit together is refused. */
#include "tests/lib/test.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "raftd/identity.h"
#include "raftd/recovery.h"
#include "tests/unit/raftd/catalog_lib.h"

struct node {
    struct recovery parts;
    uint64_t applied;
};

static void on_apply(void *ud, uint64_t index, struct span command)
{
    struct node *node = (struct node *) ud;
    struct catalog_outcome outcome;
    ck_assert_int_eq(catalog_apply(node->parts.catalog, index, command, &outcome), 0);
    catalog_outcome_release(&outcome);
    node->applied = index;
}

static void on_poisoned(void *ud)
{
    (void) ud;
    ck_abort_msg("the journal failed");
}

static void on_change(void *ud, const struct catalog_change *change)
{
    struct node *node = (struct node *) ud;
    if (node->parts.store != NULL) {
        catalog_store_put(node->parts.store, change);
    }
}

static int node_start(const char *dir, struct node **ret_node)
{
    struct node *node = MEM_NEW(struct node);
    node->parts = (struct recovery){
        .data_dir = dir,
        .journal = {.file_bytes = 1 << 20, .reserve_bytes = 1 << 20},
        .handlers = {on_apply, on_poisoned, node},
        .on_change = on_change,
        .on_change_ud = node,
        .time = timesource_system(),
    };
    int error = recovery_run(&node->parts);
    if (error != 0) {
        recovery_release(&node->parts);
        mem_free(node);
        return error;
    }
    *ret_node = node;
    return 0;
}

static struct node *start_ok(const char *dir)
{
    struct node *node = NULL;
    ck_assert_int_eq(node_start(dir, &node), 0);
    return node;
}

static void stop(struct node **node)
{
    recovery_release(&(*node)->parts);
    MEM_FREE(*node);
}

/* Random commands, until the catalogue's revision is `until`. */
static void live(struct node *node, uint64_t until)
{
    struct prng prng;
    struct buf command = {0};
    prng_init(&prng, until);
    while (catalog_revision(node->parts.catalog) < until) {
        uint64_t index;
        buf_reset(&command);
        command_random(&prng, catalog_revision(node->parts.catalog) + 1, &command);
        ck_assert_int_eq(catalog_log_propose(node->parts.log, buf_span(&command), &index), 0);
        catalog_log_submit(node->parts.log);
        while (node->applied < index) {
            struct pollfd waiting = {.fd = catalog_log_fd(node->parts.log), .events = POLLIN};
            ck_assert_int_eq(poll(&waiting, 1, 9000), 1);
            catalog_log_poll(node->parts.log);
        }
    }
    buf_release(&command);
}

static const char *new_folder(void)
{
    static char path[160];
    (void) snprintf(path, sizeof(path), "%s/data", test_folder());
    return path;
}

static void remove_tree(const char *dir, const char *name)
{
    char command[400];
    (void) snprintf(command, sizeof(command), "rm -rf '%s/%s'", dir, name);
    ck_assert_int_eq(system(command), 0);
}

static void write_file(const char *dir, const char *name, const char *content)
{
    char path[256];
    (void) snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(content, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

static void flip_byte(const char *dir, const char *name, const char *needle)
{
    char path[256];
    (void) snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_RDWR);
    ck_assert_int_ge(fd, 0);
    struct stat info;
    ck_assert_int_eq(fstat(fd, &info), 0);
    char *bytes = (char *) mem_new((size_t) info.st_size);
    ck_assert_int_eq(pread(fd, bytes, (size_t) info.st_size, 0), info.st_size);
    char *at = (char *) memmem(bytes, (size_t) info.st_size, needle, strlen(needle));
    ck_assert_ptr_nonnull(at);
    ck_assert_int_eq(pwrite(fd, "\xee", 1, at - bytes), 1);
    mem_free(bytes);
    (void) close(fd);
}

TEST(an_empty_directory_becomes_a_new_cluster_and_keeps_its_identity)
{
    const char *dir = new_folder();
    struct node *node = start_ok(dir);
    struct uuid cluster = *catalog_cluster(node->parts.catalog);
    ck_assert(!uuid_is_nil(&cluster));
    ck_assert_uint_eq(catalog_node(node->parts.catalog), 1);
    ck_assert_uint_eq(catalog_revision(node->parts.catalog), 1);
    struct node *second = NULL;
    ck_assert_int_eq(node_start(dir, &second), ERR_LOCKED);
    stop(&node);
    struct identity identity;
    struct buf problem = {0};
    ck_assert_int_eq(identity_read(dir, &identity, &problem), 0);
    ck_assert(identity.has_cluster && identity.has_node);
    ck_assert(uuid_equal(&identity.cluster, &cluster));
    ck_assert_uint_eq(identity.node, 1);
    node = start_ok(dir);
    ck_assert(uuid_equal(catalog_cluster(node->parts.catalog), &cluster));
    stop(&node);
    buf_release(&problem);
}

TEST_WITHIN(the_catalogue_is_rebuilt_from_the_log_whatever_became_of_the_mirror, 60)
{
    const char *dir = new_folder();
    struct node *node = start_ok(dir);
    live(node, 100);
    ck_assert_int_eq(catalog_store_commit(node->parts.store, node->parts.catalog), 0);
    live(node, 150); /* these the mirror does not have */
    uint64_t digest = catalog_digest(node->parts.catalog);
    stop(&node);

    node = start_ok(dir);
    ck_assert_uint_eq(catalog_digest(node->parts.catalog), digest);
    stop(&node);
    remove_tree(dir, "db");
    node = start_ok(dir);
    ck_assert_uint_eq(catalog_digest(node->parts.catalog), digest);
    stop(&node);
    test_allow_leaks();
    flip_byte(dir, "db/streams.db", "default/s"); /* found while it is loaded */
    node = start_ok(dir);
    ck_assert_uint_eq(catalog_digest(node->parts.catalog), digest);
    ck_assert_ptr_nonnull(node->parts.store);
    stop(&node);
    remove_tree(dir, "cluster-id");
    remove_tree(dir, "node-id");
    node = start_ok(dir);
    ck_assert_uint_eq(catalog_digest(node->parts.catalog), digest);
    live(node, 160);
    stop(&node);
}

TEST(a_mirror_of_another_cluster_is_not_believed)
{
    const char *dir = new_folder();
    struct node *node = start_ok(dir);
    live(node, 20);
    uint64_t digest = catalog_digest(node->parts.catalog);
    stop(&node);
    char other[160];
    (void) snprintf(other, sizeof(other), "%s-other", dir);
    node = start_ok(other);
    live(node, 15);
    ck_assert_int_eq(catalog_store_commit(node->parts.store, node->parts.catalog), 0);
    stop(&node);
    char command[400];
    (void) snprintf(command, sizeof(command), "rm -rf '%s/db' && mv '%s/db' '%s/db'", dir, other,
                    dir);
    ck_assert_int_eq(system(command), 0);
    node = start_ok(dir);
    ck_assert_uint_eq(catalog_digest(node->parts.catalog), digest);
    stop(&node);
}

TEST(a_directory_that_does_not_fit_together_is_refused)
{
    const char *dir = new_folder();
    struct node *node = start_ok(dir);
    live(node, 20);
    stop(&node);
    struct buf problem = {0};
    struct identity right;
    ck_assert_int_eq(identity_read(dir, &right, &problem), 0);
    char cluster[UUID_TEXT_SIZE];
    uuid_format(&right.cluster, cluster);

    write_file(dir, "node-id", "2\n");
    ck_assert_int_eq(node_start(dir, &node), ERR_WRONG_CLUSTER);
    write_file(dir, "node-id", "one\n");
    ck_assert_int_eq(node_start(dir, &node), ERR_BAD_FORMAT);
    write_file(dir, "node-id", "1");
    write_file(dir, "cluster-id", "00000000-0000-4000-8000-000000000000\n");
    ck_assert_int_eq(node_start(dir, &node), ERR_WRONG_CLUSTER);
    write_file(dir, "cluster-id", cluster);
    node = start_ok(dir);
    stop(&node);

    write_file(dir, "db/DB_CONFIG", "set_cachesize 0 1 1\n");
    ck_assert_int_eq(node_start(dir, &node), ERR_BAD_FORMAT);
    remove_tree(dir, "db/DB_CONFIG");
    remove_tree(dir, "journal");
    ck_assert_int_eq(node_start(dir, &node), ERR_WRONG_CLUSTER);
    remove_tree(dir, "cluster-id");
    remove_tree(dir, "node-id");
    ck_assert_int_eq(node_start(dir, &node), ERR_WRONG_CLUSTER); /* the database remembers */
    remove_tree(dir, "db");
    node = start_ok(dir);
    ck_assert_uint_eq(catalog_revision(node->parts.catalog), 1);
    stop(&node);
    buf_release(&problem);
}

TEST(a_log_with_a_damaged_entry_is_refused_unless_the_mirror_is_beyond_it)
{
    const char *dir = new_folder();
    struct node *node = start_ok(dir);
    struct buf command = {0};
    command_ensure_stream(&command, "precious", 1, NULL, 1);
    uint64_t index;
    ck_assert_int_eq(catalog_log_propose(node->parts.log, buf_span(&command), &index), 0);
    catalog_log_submit(node->parts.log);
    live(node, 20);
    ck_assert_int_eq(catalog_store_commit(node->parts.store, node->parts.catalog), 0);
    uint64_t digest = catalog_digest(node->parts.catalog);
    stop(&node);
    flip_byte(dir, "journal/0000000001.jnl", "precious");
    node = start_ok(dir);
    ck_assert_uint_eq(catalog_digest(node->parts.catalog), digest);
    stop(&node);
    remove_tree(dir, "db");
    ck_assert_int_eq(node_start(dir, &node), ERR_CORRUPT);
    buf_release(&command);
}
