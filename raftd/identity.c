/* identity: see the header. Owns the two files; never changes one that exists with another content. */
#include "raftd/identity.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/str.h"
#include "common/store/fs.h"

enum { IDENTITY_FILE_MAX = 64 };

static const char IDENTITY_CLUSTER_FILE[] = "cluster-id";
static const char IDENTITY_NODE_FILE[] = "node-id";

/* The file's content without the line's end; *ret_found tells whether there is one. */
static int identity_read_file(int dir_fd, const char *name, struct buf *out, bool *ret_found)
{
    buf_reset(out);
    int error = fs_read_file(dir_fd, name, IDENTITY_FILE_MAX, out);
    if (error == ERR_NOT_FOUND) {
        *ret_found = false;
        return 0;
    }
    while (error == 0 && out->size > 0 && out->data[out->size - 1] == '\n') {
        out->size--;
    }
    *ret_found = error == 0;
    return error == ERR_TOO_LARGE ? ERR_BAD_FORMAT : error;
}

int identity_read(const char *data_dir, struct identity *ret_identity, struct buf *problem)
{
    struct identity identity = {0};
    struct buf content = {0};
    const char *name = IDENTITY_CLUSTER_FILE;
    int dir_fd = fs_open_dir(data_dir);
    int error = dir_fd < 0 ? dir_fd : 0;
    if (error == 0) {
        error = identity_read_file(dir_fd, name, &content, &identity.has_cluster);
    }
    if (error == 0 && identity.has_cluster) {
        error = uuid_parse(buf_span(&content), &identity.cluster);
    }
    if (error == 0) {
        name = IDENTITY_NODE_FILE;
        error = identity_read_file(dir_fd, name, &content, &identity.has_node);
    }
    if (error == 0 && identity.has_node) {
        error = str_to_u64(buf_span(&content), &identity.node);
        error = error == 0 && identity.node == 0 ? ERR_BAD_FORMAT : error;
    }
    if (error != 0) {
        buf_printf(problem, "%s/%s: %s", data_dir, name,
                   error == ERR_BAD_FORMAT ? "not the expected content" : err_text(error));
    } else {
        *ret_identity = identity;
    }
    buf_release(&content);
    if (dir_fd >= 0) {
        (void) close(dir_fd);
    }
    return error;
}

int identity_write(const char *data_dir, const struct uuid *cluster, uint64_t node)
{
    char uuid[UUID_TEXT_SIZE];
    char text[IDENTITY_FILE_MAX];
    uuid_format(cluster, uuid);
    int dir_fd = fs_open_dir(data_dir);
    if (dir_fd < 0) {
        return dir_fd;
    }
    (void) snprintf(text, sizeof(text), "%s\n", uuid);
    int error = fs_write_file(NULL, dir_fd, IDENTITY_CLUSTER_FILE, span_of(text));
    if (error == 0) {
        (void) snprintf(text, sizeof(text), "%" PRIu64 "\n", node);
        error = fs_write_file(NULL, dir_fd, IDENTITY_NODE_FILE, span_of(text));
    }
    (void) close(dir_fd);
    return error;
}

int identity_check(const struct identity *self, const struct uuid *cluster, uint64_t node,
                   struct buf *problem)
{
    if (self->has_cluster && !uuid_equal(&self->cluster, cluster)) {
        char ours[UUID_TEXT_SIZE];
        char theirs[UUID_TEXT_SIZE];
        uuid_format(&self->cluster, ours);
        uuid_format(cluster, theirs);
        buf_printf(problem, "%s says %s but the log in journal/ belongs to %s",
                   IDENTITY_CLUSTER_FILE, ours, theirs);
        return ERR_WRONG_CLUSTER;
    }
    if (self->has_node && self->node != node) {
        buf_printf(problem, "%s says %" PRIu64 " but the log in journal/ belongs to node %" PRIu64,
                   IDENTITY_NODE_FILE, self->node, node);
        return ERR_WRONG_CLUSTER;
    }
    return 0;
}
