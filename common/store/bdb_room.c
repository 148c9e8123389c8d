/* bdb_room: one preallocated file. What fails here is not told: without the room all works until the disk is full. */
#include "common/store/bdb_room.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/store/fs.h"

enum { PLENTY = 2 }; /* there must be so many times as much */

static bool room_exists(int dir_fd)
{
    struct stat info;
    return fstatat(dir_fd, BDB_ROOM_FILE, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
           info.st_size >= BDB_ROOM_BYTES;
}

void bdb_room_take(const char *dir)
{
    uint64_t free_bytes = 0;
    int dir_fd = fs_open_dir(dir);
    if (dir_fd < 0) {
        return;
    }
    if (!room_exists(dir_fd) && fs_free_bytes(dir_fd, &free_bytes) == 0 &&
        free_bytes / PLENTY >= BDB_ROOM_BYTES) {
        int fd = fs_open_file(NULL, dir_fd, BDB_ROOM_FILE, O_WRONLY | O_CREAT);
        if (fd >= 0) {
            bool taken = fs_allocate(NULL, fd, 0, BDB_ROOM_BYTES) == 0;
            (void) close(fd);
            if (!taken) {
                (void) fs_unlink(NULL, dir_fd, BDB_ROOM_FILE);
            }
        }
    }
    (void) close(dir_fd);
}

bool bdb_room_give(const char *dir)
{
    int dir_fd = fs_open_dir(dir);
    if (dir_fd < 0) {
        return false;
    }
    bool had_some = room_exists(dir_fd) && fs_unlink(NULL, dir_fd, BDB_ROOM_FILE) == 0;
    (void) close(dir_fd);
    return had_some;
}

bool bdb_room_is_short(const char *dir)
{
    uint64_t free_bytes = 0;
    int dir_fd = fs_open_dir(dir);
    if (dir_fd < 0) {
        return false;
    }
    bool is_short = fs_free_bytes(dir_fd, &free_bytes) == 0 && free_bytes < BDB_ROOM_BYTES;
    (void) close(dir_fd);
    return is_short;
}
