/* journal_prepare: the preparer thread: what must never stand in the writer's way. It makes the next file ready
 * before the current one is full, writes the .idx of finished files, takes released files back, holds the reserve
 * and watches the free space. It owns the spare files; it must never touch a file that the writer appends to.
 *
 * Room: a reserve file is held back. When there is no room for the next file (or less free than disk_free_min),
 * the journal is full: data entries are refused, and control entries go on, in the end into the reserve. What was accepted before has its
 * room promised (journal_promise) and goes there, too. While it
 * is full the room is looked at every FULL_RECHECK_MS; the reserve comes back first, then the next file. */
#include "common/store/journal_private.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/mem.h"

enum {
    FULL_RECHECK_MS = 200,
    ROOM_RECHECK_MS = 1000,
    FILL_STEP_BYTES = 1 << 20,
    FILL_PAUSE_MS = 2, /* between steps, so that filling leaves most of the disk to the writer */
};

/* --- room --- */

bool journal_prepare_has_room(struct journal *self, uint64_t bytes)
{
    uint64_t free_bytes = 0;
    if (self->disk_free_min == 0) {
        return true;
    }
    if (fs_free_bytes(self->dir_fd, &free_bytes) != 0) {
        return true; /* not knowing is no reason to refuse: allocation itself will tell */
    }
    return free_bytes >= self->disk_free_min && free_bytes - self->disk_free_min >= bytes;
}

int journal_prepare_reserve(struct journal *self)
{
    int fd = fs_open_file(self->ops, self->dir_fd, JOURNAL_RESERVE_NAME, O_RDWR);
    if (fd >= 0) {
        struct stat info;
        bool is_right = fstat(fd, &info) == 0 && (uint64_t) info.st_size == self->reserve_bytes &&
                        (uint64_t) info.st_blocks * 512 >= self->reserve_bytes;
        (void) close(fd); /* only looked at */
        if (is_right) {
            self->reserve_ready = true;
            return 0;
        }
    } else if (fd != ERR_NOT_FOUND) {
        return fd;
    }
    /* Made under another name: a reserve that lies there is a whole one. */
    fd = journal_file_allocate(self->ops, self->dir_fd, JOURNAL_RESERVE_NAME ".tmp",
                               self->reserve_bytes);
    if (fd == ERR_STORAGE_FULL) {
        return 0;
    }
    if (fd < 0) {
        return fd;
    }
    int error = fs_datasync(self->ops, fd);
    (void) close(fd); /* synced */
    if (error == 0) {
        error =
            fs_rename(self->ops, self->dir_fd, JOURNAL_RESERVE_NAME ".tmp", JOURNAL_RESERVE_NAME);
    }
    if (error == 0) {
        error = fs_sync_dir(self->ops, self->dir_fd);
    }
    if (error == 0) {
        self->reserve_ready = true;
    }
    return error;
}

int journal_prepare_from_reserve(struct journal *self, struct journal_file *ret_file)
{
    if (self->preparer.next_seq > UINT32_MAX) {
        return ERR_STORAGE_FULL;
    }
    int fd = fs_open_file(self->ops, self->dir_fd, JOURNAL_RESERVE_NAME, O_RDWR);
    if (fd < 0) {
        return fd;
    }
    struct journal_file file = {
        .header = {.seq = self->preparer.next_seq,
                   .file_bytes = self->reserve_bytes,
                   .previous = self->preparer.next_seq - 1,
                   .is_fresh = true},
        .fd = fd,
    };
    int error = journal_file_adopt(self->ops, self->dir_fd, JOURNAL_RESERVE_NAME, fd, &file.header);
    if (error != 0) {
        (void) close(fd); /* the error is told already */
        return error;
    }
    self->preparer.next_seq++;
    *ret_file = file;
    return 0;
}

/* --- files --- */

/* A spare that has the right size; false when there is none. */
static bool take_spare(struct journal *self, uint64_t bytes, unsigned *ret_slot, int *ret_fd)
{
    for (unsigned slot = 0; slot < JOURNAL_SPARES_MAX; slot++) {
        if (!self->preparer.spares[slot]) {
            continue;
        }
        char name[JOURNAL_NAME_BYTES];
        journal_spare_name(slot, name);
        self->preparer.spares[slot] = false;
        int fd = fs_open_file(self->ops, self->dir_fd, name, O_RDWR);
        if (fd < 0) {
            continue;
        }
        struct stat info;
        if (fstat(fd, &info) == 0 && (uint64_t) info.st_size == bytes &&
            (uint64_t) info.st_blocks * 512 >= bytes) {
            *ret_slot = slot;
            *ret_fd = fd;
            return true;
        }
        (void) close(fd); /* of another configuration: not ours to use */
        (void) fs_unlink(self->ops, self->dir_fd, name);
    }
    return false;
}

static int fill_file(struct journal *self, int fd, uint64_t bytes,
                     bool (*keep_filling)(struct journal *))
{
    for (uint64_t at = 0; at < bytes && keep_filling(self); at += FILL_STEP_BYTES) {
        uint64_t step = bytes - at < FILL_STEP_BYTES ? bytes - at : FILL_STEP_BYTES;
        int error = journal_file_fill(self->ops, fd, at, step);
        if (error != 0) {
            return error;
        }
    }
    return 0;
}

int journal_prepare_file(struct journal *self, uint64_t bytes,
                         bool (*keep_filling)(struct journal *), struct journal_file *ret_file)
{
    char name[JOURNAL_NAME_BYTES];
    unsigned slot = 0;
    struct journal_file file = {
        .header = {.seq = self->preparer.next_seq,
                   .file_bytes = self->file_bytes,
                   .previous = self->preparer.next_seq - 1},
    };
    int error = 0;
    if (file.header.seq > UINT32_MAX) {
        return ERR_STORAGE_FULL; /* 2^32 files: the sequence is used up */
    }
    if (take_spare(self, self->file_bytes, &slot, &file.fd)) {
        journal_spare_name(slot, name);
    } else {
        if (!journal_prepare_has_room(self, bytes)) {
            return ERR_STORAGE_FULL;
        }
        (void) snprintf(name, sizeof(name), "%s", JOURNAL_TMP_NAME);
        file.header.file_bytes = bytes;
        file.header.is_fresh = true;
        file.fd = journal_file_allocate(self->ops, self->dir_fd, name, bytes);
        if (file.fd < 0) {
            return file.fd;
        }
        error = fill_file(self, file.fd, bytes, keep_filling);
    }
    if (error == 0) {
        error = journal_file_adopt(self->ops, self->dir_fd, name, file.fd, &file.header);
    }
    if (error != 0) {
        (void) close(file.fd); /* the error is told already */
        return error;
    }
    self->preparer.next_seq++;
    *ret_file = file;
    return 0;
}

int journal_prepare_recycle(struct journal *self, const struct journal_file_header *header)
{
    char name[JOURNAL_NAME_BYTES];
    char index_name[JOURNAL_NAME_BYTES];
    journal_file_name(header->seq, name);
    journal_index_name(header->seq, index_name);
    int error = fs_unlink(self->ops, self->dir_fd, index_name);
    unsigned slot = 0;
    while (slot < JOURNAL_SPARES_MAX && self->preparer.spares[slot]) {
        slot++;
    }
    if (error == 0) {
        if (slot < JOURNAL_SPARES_MAX && header->file_bytes == self->file_bytes) {
            char spare_name[JOURNAL_NAME_BYTES];
            journal_spare_name(slot, spare_name);
            error = fs_rename(self->ops, self->dir_fd, name, spare_name);
            if (error == 0) {
                self->preparer.spares[slot] = true;
            } else if (error == ERR_NOT_FOUND) {
                error = 0; /* it vanished while nobody needed it */
            }
        } else {
            error = fs_unlink(self->ops, self->dir_fd, name);
        }
    }
    /* One by one: after a power loss no file in the middle of the sequence may be missing. */
    return error == 0 ? fs_sync_dir(self->ops, self->dir_fd) : error;
}

static bool is_remain(const char *name)
{
    static const char *const remains[] = {JOURNAL_TMP_NAME, JOURNAL_RESERVE_NAME ".tmp"};
    for (size_t i = 0; i < sizeof(remains) / sizeof(remains[0]); i++) {
        if (strcmp(name, remains[i]) == 0) {
            return true;
        }
    }
    uint64_t seq = 0;
    return journal_name_seq(name, ".idx.tmp", &seq);
}

int journal_prepare_look(struct journal *self)
{
    DIR *dir;
    int error = journal_list_open(self->dir_fd, &dir);
    if (error != 0) {
        return error;
    }
    for (struct dirent *one = readdir(dir); one != NULL && error == 0; one = readdir(dir)) {
        if (is_remain(one->d_name)) {
            error = fs_unlink(self->ops, self->dir_fd, one->d_name);
        }
        for (unsigned slot = 0; slot < JOURNAL_SPARES_MAX; slot++) {
            char name[JOURNAL_NAME_BYTES];
            journal_spare_name(slot, name);
            if (strcmp(one->d_name, name) == 0) {
                self->preparer.spares[slot] = true;
            }
        }
    }
    (void) closedir(dir); /* only read */
    return error;
}

/* --- the thread; functions named *_locked are called with the lock held and may drop it for a while --- */

static void wait_locked(struct journal *self, int timeout_ms)
{
    if (timeout_ms < 0) {
        (void) pthread_cond_wait(&self->preparer_wake, &self->lock);
        return;
    }
    (void) journal_wait_locked(self, &self->preparer_wake, timeout_ms);
}

/* Fill a new file only as long as nobody waits for it; a file that is not filled works as well, only slower. */
static bool preparer_keeps_filling(struct journal *self)
{
    pthread_mutex_lock(&self->lock);
    if (!self->next_urgent && !self->is_stopping_preparer) {
        wait_locked(self, FILL_PAUSE_MS);
    }
    bool go_on = !self->next_urgent && !self->is_stopping_preparer;
    pthread_mutex_unlock(&self->lock);
    return go_on && !atomic_load(&self->is_poisoned);
}

static void full_changed_locked(struct journal *self)
{
    bool is_full = self->next_failed || !self->reserve_ready || !self->preparer.is_room_ok;
    atomic_store(&self->is_full, is_full);
}

static void write_index_locked(struct journal *self)
{
    struct journal_finished *finished =
        LIST_ENTRY(list_pop_front(&self->finished), struct journal_finished, node);
    pthread_mutex_unlock(&self->lock);
    char name[JOURNAL_NAME_BYTES];
    struct buf bytes = {0};
    journal_index_name(finished->header.seq, name);
    journal_index_encode(&finished->index, finished->header.seq, finished->header.salt,
                         finished->end, &bytes);
    int error = atomic_load(&self->is_poisoned)
                    ? 0
                    : fs_write_file(self->ops, self->dir_fd, name, buf_span(&bytes));
    buf_release(&bytes);
    journal_index_release(&finished->index);
    mem_free(finished);
    /* Without room there is no .idx: the next start scans the file and writes it then. */
    pthread_mutex_lock(&self->lock);
    if (error != 0 && error != ERR_STORAGE_FULL) {
        journal_poison_locked(self);
    }
}

static void recycle_locked(struct journal *self)
{
    struct journal_released *released =
        LIST_ENTRY(list_pop_front(&self->released), struct journal_released, node);
    pthread_mutex_unlock(&self->lock);
    int error =
        atomic_load(&self->is_poisoned) ? 0 : journal_prepare_recycle(self, &released->header);
    mem_free(released);
    pthread_mutex_lock(&self->lock);
    if (error == 0) {
        self->stats.files_recycled++;
    } else {
        journal_poison_locked(self);
    }
}

/* A file is there, or there is no room for one, or the journal is poisoned. */
static void next_made_locked(struct journal *self, int error, const struct journal_file *file,
                             bool from_reserve)
{
    if (error == 0) {
        self->next = *file;
        self->next_state = JOURNAL_NEXT_READY;
        self->next_wanted = false;
        self->next_urgent = false;
        self->next_failed = from_reserve;
        self->reserve_wanted = false;
        if (from_reserve) {
            self->reserve_ready = false;
        }
    } else if (error == ERR_STORAGE_FULL) {
        self->next_failed = true;
        if (from_reserve) {
            self->reserve_ready = false; /* it did not help: nothing is left */
            self->reserve_wanted = false;
        }
    } else {
        journal_poison_locked(self);
    }
    full_changed_locked(self);
    pthread_cond_broadcast(&self->next_change);
    journal_notify(self); /* the owner may have been told to wait for room */
}

static void make_next_locked(struct journal *self, bool from_reserve)
{
    pthread_mutex_unlock(&self->lock);
    struct journal_file file = {0};
    int error = from_reserve
                    ? journal_prepare_from_reserve(self, &file)
                    : journal_prepare_file(self, self->file_bytes, preparer_keeps_filling, &file);
    pthread_mutex_lock(&self->lock);
    next_made_locked(self, error, &file, from_reserve);
}

/* Look at the room again; the reserve comes back before a next file is tried. */
static void recheck_locked(struct journal *self)
{
    bool had_reserve = self->reserve_ready;
    bool was_room_ok = self->preparer.is_room_ok;
    pthread_mutex_unlock(&self->lock);
    bool is_room_ok = journal_prepare_has_room(self, 0);
    bool is_ready = had_reserve;
    int error = 0;
    if (!had_reserve && journal_prepare_has_room(self, self->reserve_bytes)) {
        self->reserve_ready = false;
        error = journal_prepare_reserve(self);
        is_ready = self->reserve_ready;
    }
    pthread_mutex_lock(&self->lock);
    self->reserve_ready = is_ready;
    self->preparer.is_room_ok = is_room_ok;
    if (error != 0 && error != ERR_STORAGE_FULL) {
        journal_poison_locked(self);
    }
    if (is_ready && is_room_ok && self->next_state == JOURNAL_NEXT_NONE && self->next_failed) {
        make_next_locked(self, false);
    } else if (is_ready && is_room_ok && self->next_state == JOURNAL_NEXT_READY) {
        self->next_failed = false;
    }
    if (had_reserve != is_ready || was_room_ok != is_room_ok || self->next_failed) {
        pthread_cond_broadcast(&self->next_change);
    }
    full_changed_locked(self);
}

/* One thing to do; false when there is nothing to do now. */
static bool work_locked(struct journal *self)
{
    if (self->next_urgent && self->next_wanted && self->next_state == JOURNAL_NEXT_NONE &&
        (!self->next_failed || (self->reserve_wanted && self->reserve_ready)) &&
        !atomic_load(&self->is_poisoned)) {
        make_next_locked(self, self->next_failed);
        return true;
    }
    if (!list_is_empty(&self->finished)) {
        write_index_locked(self);
        return true;
    }
    if (!list_is_empty(&self->released)) {
        recycle_locked(self);
        return true;
    }
    if (self->next_wanted && self->next_state == JOURNAL_NEXT_NONE && !self->next_failed &&
        !self->is_stopping_preparer && !atomic_load(&self->is_poisoned)) {
        make_next_locked(self, false);
        return true;
    }
    return false;
}

void *journal_preparer_main(void *journal)
{
    struct journal *self = journal;
    pthread_mutex_lock(&self->lock);
    for (;;) {
        if (work_locked(self)) {
            continue;
        }
        if (self->is_stopping_preparer) {
            break;
        }
        bool is_full = atomic_load(&self->is_full);
        int timeout_ms = is_full                    ? FULL_RECHECK_MS
                         : self->disk_free_min != 0 ? ROOM_RECHECK_MS
                                                    : -1;
        if (atomic_load(&self->is_poisoned)) {
            timeout_ms = -1;
        }
        wait_locked(self, timeout_ms);
        if (timeout_ms >= 0 && !self->is_stopping_preparer) {
            recheck_locked(self);
        }
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}
