/* node: where the parts of a node in one folder lie. Creates nothing. */
#include "adminctl/node.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/span.h"
#include "common/base/str.h"

#include "adminctl/scale.h"

const char *const node_daemons[NODE_DAEMONS] = {"raftd", "logd", "routerd", "frontd"};

int node_path(const char *dir, const char *part, char ret_path[NODE_PATH_MAX])
{
    int length = snprintf(ret_path, NODE_PATH_MAX, "%s/%s", dir, part);
    return length > 0 && length < NODE_PATH_MAX ? 0 : ERR_TOO_LARGE;
}

int node_absolute(const char *dir, char ret_path[NODE_PATH_MAX])
{
    char here[NODE_PATH_MAX];
    if (dir[0] == '/') {
        return str_copy(ret_path, NODE_PATH_MAX, span_of(dir));
    }
    if (getcwd(here, sizeof(here)) == NULL) {
        return err_from_errno(errno);
    }
    while (strncmp(dir, "./", 2) == 0) {
        dir += 2;
    }
    return node_path(here, dir, ret_path);
}

static int read_line(const char *path, char *ret_line, size_t capacity)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return err_from_errno(errno);
    }
    bool read = fgets(ret_line, (int) capacity, file) != NULL;
    (void) fclose(file);
    if (!read) {
        return ERR_NOT_FOUND;
    }
    ret_line[strcspn(ret_line, "\n")] = 0;
    return 0;
}

int node_port(const char *dir, uint16_t *ret_port)
{
    char path[NODE_PATH_MAX];
    char part[32];
    char port[32];
    for (unsigned i = 0; i < SCALE_MAX; i++) { /* they share it; one or the other may be down */
        uint64_t number = 0;
        (void) snprintf(part, sizeof(part), "run/frontd-%u.port", i);
        if (node_path(dir, part, path) == 0 && read_line(path, port, sizeof(port)) == 0 &&
            str_to_u64(span_of(port), &number) == 0 && number > 0 && number <= 65535) {
            *ret_port = (uint16_t) number;
            return 0;
        }
    }
    return ERR_NOT_FOUND;
}

int node_address(const char *dir, char *ret_address, size_t capacity)
{
    uint16_t port = 0;
    int result = node_port(dir, &port);
    if (result < 0) {
        return result;
    }
    int length = snprintf(ret_address, capacity, "127.0.0.1:%u", port);
    return length > 0 && (size_t) length < capacity ? 0 : ERR_TOO_LARGE;
}

int node_program_dir(char ret_path[NODE_PATH_MAX])
{
    ssize_t size = readlink("/proc/self/exe", ret_path, NODE_PATH_MAX - 1);
    if (size <= 0) {
        return err_from_errno(errno);
    }
    ret_path[size] = 0;
    char *slash = strrchr(ret_path, '/');
    if (slash == NULL) {
        return ERR_IO;
    }
    *slash = 0;
    return 0;
}

pid_t node_owner(const char *dir)
{
    char path[NODE_PATH_MAX];
    char line[32] = "";
    uint64_t pid = 0;
    if (node_path(dir, "lock", path) < 0) {
        return 0;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    if (flock(fd, LOCK_SH | LOCK_NB) ==
        0) { /* nobody holds it: what is written there is of the past */
        (void) close(fd);
        return 0;
    }
    (void) close(fd);
    if (read_line(path, line, sizeof(line)) < 0 || str_to_u64(span_of(line), &pid) < 0) {
        return 0;
    }
    return (pid_t) pid;
}
