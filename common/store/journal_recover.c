/* journal_recover: what a journal does when it opens. Files with an .idx are believed (their data is verified when it is
 * read); the others are scanned. When all are known, damage is judged against the highest durable_upto that any
 * intact header names:
 *   at or above it   a torn tail: never acknowledged. Kept in trash/, then cut.
 *   below it         corruption: reported, left where it is, read around. Never cut, never deleted.
 * Anything but a clean tail closes the last file with an end mark and begins a new one. All steps may be
 * interrupted at any point and done again with the same outcome. */
#include "common/store/journal_private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"

enum {
    TRASH_BYTES_MAX = 16 << 20,
    TRASH_STEP_BYTES = 256 << 10,
    INDEX_BYTES_MAX = 512 << 20,
    GAP_FILES_MAX = 64, /* a wider gap is reported as one range */
    FILE_BYTES_LIMIT = 1 << 30,
};

/* One file of the sequence and what is known of it. */
struct recovered {
    struct journal_file_header header;
    uint64_t missing;   /* how many files should lie between the one before and this one */
    bool is_indexed;    /* known by its .idx */
    bool is_headless;   /* both its headers are damaged */
    bool is_unreadable; /* headless, and no frame tells the salt */
    bool is_corrupt;    /* damage below durable_upto: stays as it is, has no .idx */
    uint32_t cut_at;    /* != 0: torn from here on */
    struct journal_scan scan;
};

struct recovery {
    struct journal *journal;
    const struct journal_visitor *visitor;
    struct journal_recovery *found;
    struct recovered *files; /* oldest first */
    size_t count, capacity;
    uint64_t durable_upto;
};

/* --- 1. which files are there --- */

static int compare_recovered(const void *a, const void *b)
{
    const struct recovered *left = a;
    const struct recovered *right = b;
    return left->header.seq < right->header.seq ? -1 : left->header.seq > right->header.seq;
}

static int list_files(struct recovery *self)
{
    DIR *dir;
    int error = journal_list_open(self->journal->dir_fd, &dir);
    if (error != 0) {
        return error;
    }
    for (struct dirent *one = readdir(dir); one != NULL; one = readdir(dir)) {
        uint64_t seq = 0;
        if (!journal_name_seq(one->d_name, ".jnl", &seq)) {
            continue;
        }
        if (self->count == self->capacity) {
            self->capacity = self->capacity != 0 ? self->capacity * 2 : 64;
            self->files = mem_resize(self->files, self->capacity, sizeof(*self->files));
        }
        self->files[self->count] = (struct recovered){.header = {.seq = seq}};
        journal_scan_init(&self->files[self->count].scan);
        self->count++;
    }
    (void) closedir(dir); /* only read */
    if (self->count > 1) {
        qsort(self->files, self->count, sizeof(*self->files), compare_recovered);
    }
    for (size_t i = 1; i < self->count; i++) {
        self->files[i].missing = self->files[i].header.seq - self->files[i - 1].header.seq - 1;
    }
    return 0;
}

/* --- 2. what is in them --- */

/* ERR_CORRUPT: no intact header that belongs to this name; the size of the file stands in for what it said. */
static int load_header(struct recovery *self, struct recovered *file, int fd)
{
    uint8_t block[JOURNAL_FILE_HEADER_BYTES];
    struct journal_file_header header = {0};
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return err_from_errno(errno);
    }
    int error = fs_pread_all(self->journal->ops, fd, block, sizeof(block), 0);
    if (error == 0) {
        error = journal_file_header_get(block, &header);
    }
    if (error == 0 &&
        (header.seq != file->header.seq || header.file_bytes % JOURNAL_ALIGN != 0 ||
         header.file_bytes < JOURNAL_FILE_HEADER_BYTES || header.file_bytes > FILE_BYTES_LIMIT)) {
        error = ERR_CORRUPT;
    }
    if (error == 0) {
        file->header = header;
        return 0;
    }
    if (error == ERR_INCOMPLETE || error == ERR_CORRUPT) {
        uint64_t bytes = (uint64_t) info.st_size;
        bytes = bytes < FILE_BYTES_LIMIT ? bytes : FILE_BYTES_LIMIT;
        bytes = bytes > JOURNAL_FILE_HEADER_BYTES ? bytes : self->journal->file_bytes;
        file->header.file_bytes = bytes - bytes % JOURNAL_ALIGN;
        return ERR_CORRUPT;
    }
    return error;
}

/* False: there is none, or it does not belong to this file's present life, or the file is shorter than it says. */
static bool load_index(struct recovery *self, struct recovered *file, int fd)
{
    char name[JOURNAL_NAME_BYTES];
    struct buf bytes = {0};
    uint64_t salt = 0;
    uint32_t end = 0;
    struct stat info;
    journal_index_name(file->header.seq, name);
    bool is_right = fs_read_file(self->journal->dir_fd, name, INDEX_BYTES_MAX, &bytes) == 0 &&
                    journal_index_decode(&file->scan.index, buf_span(&bytes), file->header.seq,
                                         &salt, &end) == 0 &&
                    (file->is_headless || salt == file->header.salt) && fstat(fd, &info) == 0 &&
                    (uint64_t) info.st_size >= end && end <= file->header.file_bytes;
    buf_release(&bytes);
    if (!is_right) {
        journal_index_release(&file->scan.index);
        journal_index_init(&file->scan.index);
        return false;
    }
    file->header.salt = salt;
    file->scan.end = end;
    file->scan.durable_upto = journal_position(file->header.seq, end);
    return true;
}

static int scan_one(struct recovery *self, struct recovered *file, const char *name, int fd)
{
    struct journal *journal = self->journal;
    int scan_fd = fd;
    if (!journal->read_only) {
        /* What a process before us wrote and did not sync becomes durable first; then it is read from the disk
         * itself, because after a failed sync the page cache shows what the disk does not have. */
        int error = fs_datasync(journal->ops, fd);
        if (error != 0) {
            return error;
        }
        int direct = fs_open_file(journal->ops, journal->dir_fd, name, O_RDONLY | O_DIRECT);
        scan_fd = direct >= 0 ? direct : fd;
        if (direct < 0) {
            (void) posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* the best that is left */
        }
    }
    int error = 0;
    if (file->is_headless) {
        error = journal_scan_salt(journal->ops, scan_fd, &file->header, &file->header.salt);
        file->is_unreadable = error == ERR_NOT_FOUND;
    }
    if (error == 0) {
        error = journal_scan_file(&file->scan, journal->ops, scan_fd, &file->header);
    }
    if (scan_fd != fd) {
        (void) close(scan_fd); /* only read */
    }
    self->found->files_scanned++;
    self->found->frames_scanned += file->scan.frames;
    self->found->bytes_scanned += file->scan.bytes;
    return error == ERR_NOT_FOUND ? 0 : error;
}

static int load_one(struct recovery *self, struct recovered *file)
{
    struct journal *journal = self->journal;
    char name[JOURNAL_NAME_BYTES];
    journal_file_name(file->header.seq, name);
    int fd =
        fs_open_file(journal->ops, journal->dir_fd, name, journal->read_only ? O_RDONLY : O_RDWR);
    if (fd < 0) {
        return fd;
    }
    int error = load_header(self, file, fd);
    if (error == ERR_CORRUPT) {
        file->is_headless = true;
        error = 0;
    }
    if (error == 0) {
        file->is_indexed = load_index(self, file, fd);
        if (!file->is_indexed) {
            error = scan_one(self, file, name, fd);
        }
    }
    (void) close(fd); /* synced before it was scanned */
    self->found->files++;
    return error;
}

/* --- 3. what that means --- */

/* A file that was prepared ahead and never written to. */
static bool is_unused(const struct recovered *file)
{
    const struct journal_scan *scan = &file->scan;
    return !file->is_indexed && !file->is_headless && scan->frames == 0 && scan->bad_count == 0 &&
           scan->dirty_end == 0;
}

/* Where must intact frames reach, given what is known to be durable? */
static uint64_t expected_end(const struct recovery *self, const struct recovered *file)
{
    uint64_t durable_seq = position_seq(self->durable_upto);
    if (durable_seq == file->header.seq) {
        return position_byte(self->durable_upto);
    }
    /* Something newer was written, and a file is ended before that: the end mark must be there. */
    return durable_seq > file->header.seq ? file->header.file_bytes : 0;
}

static void judge_torn(struct recovery *self, struct recovered *file, uint32_t cut_at)
{
    struct journal_scan *scan = &file->scan;
    uint32_t dirty_end = scan->dirty_end > scan->end ? scan->dirty_end : scan->end;
    file->cut_at = cut_at;
    scan->dirty_end = dirty_end;
    scan->end = cut_at;
    self->found->torn_bytes += dirty_end - cut_at;
    journal_index_cut(&scan->index, journal_position(file->header.seq, cut_at));
}

static void judge_one(struct recovery *self, struct recovered *file)
{
    struct journal_scan *scan = &file->scan;
    uint64_t seq = file->header.seq;
    if (file->is_indexed) {
        return;
    }
    if (file->is_headless) {
        file->is_corrupt = true;
        struct journal_bad head = {.position = journal_position(seq, 0),
                                   .bytes = file->is_unreadable ? file->header.file_bytes
                                                                : JOURNAL_FILE_HEADER_BYTES};
        journal_scan_add_bad(scan, &head);
        struct journal_bad last = scan->bad[scan->bad_count - 1];
        for (size_t i = scan->bad_count - 1; i > 0; i--) {
            scan->bad[i] = scan->bad[i - 1];
        }
        scan->bad[0] = last;
        if (file->is_unreadable) {
            return;
        }
    }
    for (size_t i = file->is_headless ? 1 : 0; i < scan->bad_count; i++) {
        if (scan->bad[i].position >= self->durable_upto) {
            judge_torn(self, file, position_byte(scan->bad[i].position));
            scan->bad_count = i;
            return;
        }
        file->is_corrupt = true;
    }
    uint64_t expected = expected_end(self, file);
    if (!scan->has_end_mark && expected > scan->end) {
        struct journal_bad rest = {.position = journal_position(seq, scan->end),
                                   .bytes = expected - scan->end};
        journal_scan_add_bad(scan, &rest);
        file->is_corrupt = true;
        scan->end = (uint32_t) expected;
    }
    if (!scan->has_end_mark && scan->dirty_end > scan->end) {
        judge_torn(self, file, scan->end);
    }
}

static void report_corrupt(struct recovery *self, const struct journal_bad *bad)
{
    self->found->corrupt_ranges++;
    if (self->visitor->on_corrupt != NULL) {
        self->visitor->on_corrupt(self->visitor->ud, bad->position, bad->bytes,
                                  bad->is_known ? &bad->known : NULL);
    }
}

static void report_missing(struct recovery *self, const struct recovered *file)
{
    uint64_t first = file->header.seq - file->missing;
    if (file->missing > GAP_FILES_MAX) {
        struct journal_bad gap = {.position = journal_position(first, 0),
                                  .bytes = file->missing << 32};
        report_corrupt(self, &gap);
        return;
    }
    for (uint64_t seq = first; seq < file->header.seq; seq++) {
        struct journal_bad gap = {.position = journal_position(seq, 0),
                                  .bytes = self->journal->file_bytes};
        report_corrupt(self, &gap);
    }
}

static void report_one(struct recovery *self, const struct recovered *file)
{
    const struct journal_scan *scan = &file->scan;
    report_missing(self, file);
    uint64_t from = 0;
    for (size_t i = 0; i < scan->bad_count; i++) {
        journal_index_visit(&scan->index, self->visitor, from, scan->bad[i].position);
        report_corrupt(self, &scan->bad[i]);
        from = scan->bad[i].position;
    }
    journal_index_visit(&scan->index, self->visitor, from, UINT64_MAX);
}

/* --- 4. making the disk agree --- */

static int open_trash(struct journal *journal)
{
    if (mkdirat(journal->dir_fd, "trash", 0700) != 0 && errno != EEXIST) {
        return err_from_errno(errno);
    }
    int fd = openat(journal->dir_fd, "trash", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 ? fd : err_from_errno(errno);
}

/* Keep what will be cut. Named by its position, so that doing it again replaces it. */
static int copy_to_trash(struct journal *journal, const struct recovered *file, int fd)
{
    char name[64];
    uint64_t size = file->scan.dirty_end - file->cut_at;
    size = size < TRASH_BYTES_MAX ? size : TRASH_BYTES_MAX;
    (void) snprintf(name, sizeof(name), "torn-%010" PRIu64 "-%" PRIu32, file->header.seq,
                    file->cut_at);
    int trash_fd = open_trash(journal);
    if (trash_fd < 0) {
        return trash_fd;
    }
    int out = fs_open_file(journal->ops, trash_fd, name, O_WRONLY | O_CREAT | O_TRUNC);
    int error = out < 0 ? out : 0;
    uint8_t *bytes = mem_new(TRASH_STEP_BYTES);
    for (uint64_t done = 0; error == 0 && done < size;) {
        size_t step = size - done < TRASH_STEP_BYTES ? (size_t) (size - done) : TRASH_STEP_BYTES;
        size_t got = 0;
        error = fs_pread_some(journal->ops, fd, bytes, step, file->cut_at + done, &got);
        struct iovec part = {bytes, got};
        if (error == 0) {
            error = fs_pwritev_all(journal->ops, out, &part, 1, done);
        }
        done += step;
    }
    mem_free(bytes);
    if (error == 0) {
        error = fs_datasync(journal->ops, out);
    }
    if (out >= 0) {
        (void) close(out); /* synced */
    }
    if (error == 0) {
        error = fs_sync_dir(journal->ops, trash_fd);
    }
    (void) close(trash_fd); /* synced */
    /* A full disk may not keep us from starting: these bytes were promised to nobody. */
    return error == ERR_STORAGE_FULL ? 0 : error;
}

/* Say in the file that nothing follows. */
static int put_end_mark(struct recovery *self, struct recovered *file, int fd)
{
    struct journal_scan *scan = &file->scan;
    uint64_t at = journal_frame_size(scan->end) - JOURNAL_FRAME_BYTES; /* rounded up */
    if (scan->has_end_mark || at + JOURNAL_FRAME_BYTES > file->header.file_bytes) {
        return 0;
    }
    uint8_t bytes[JOURNAL_FRAME_BYTES];
    uint64_t position = journal_position(file->header.seq, at);
    struct journal_frame frame = {
        .entry = {.type = JOURNAL_MARK},
        .flags = JOURNAL_FLAG_END,
        .durable_upto = position > self->durable_upto ? position : self->durable_upto,
    };
    journal_frame_put(&frame, file->header.salt, position, bytes);
    struct iovec part = {bytes, sizeof(bytes)};
    int error = fs_pwritev_all(self->journal->ops, fd, &part, 1, at);
    if (error == 0) {
        error = fs_datasync(self->journal->ops, fd);
    }
    if (error == 0) {
        scan->end = (uint32_t) at + JOURNAL_FRAME_BYTES;
        scan->has_end_mark = true;
        if (journal_position(file->header.seq, scan->end) > self->durable_upto) {
            self->durable_upto = journal_position(file->header.seq, scan->end);
        }
    }
    return error;
}

/* Cut a torn tail (copy, end mark, zeros: in this order, so that an interruption leaves either the torn tail or
 * an ended file), or end a file that is not appended to any more. */
static int end_file(struct recovery *self, struct recovered *file)
{
    struct journal *journal = self->journal;
    char name[JOURNAL_NAME_BYTES];
    uint32_t dirty_end = file->scan.dirty_end;
    journal_file_name(file->header.seq, name);
    int fd = fs_open_file(journal->ops, journal->dir_fd, name, O_RDWR);
    if (fd < 0) {
        return fd;
    }
    int error = file->cut_at != 0 ? copy_to_trash(journal, file, fd) : 0;
    if (error == 0) {
        error = put_end_mark(self, file, fd);
    }
    if (error == 0 && dirty_end > file->scan.end) {
        error = journal_file_fill(journal->ops, fd, file->scan.end, dirty_end - file->scan.end);
    }
    (void) close(fd); /* synced */
    return error;
}

static int write_index(struct recovery *self, const struct recovered *file)
{
    struct journal *journal = self->journal;
    char name[JOURNAL_NAME_BYTES];
    struct buf bytes = {0};
    journal_index_name(file->header.seq, name);
    journal_index_encode(&file->scan.index, file->header.seq, file->header.salt, file->scan.end,
                         &bytes);
    int error = fs_write_file(journal->ops, journal->dir_fd, name, buf_span(&bytes));
    buf_release(&bytes);
    return error == ERR_STORAGE_FULL ? 0 : error; /* the next start scans again */
}

static int repair_one(struct recovery *self, struct recovered *file, bool is_active)
{
    int error = 0;
    if (file->is_indexed || is_active || file->is_unreadable) {
        return 0;
    }
    bool needs_end = !file->scan.has_end_mark || file->scan.dirty_end > file->scan.end;
    if (needs_end) {
        error = end_file(self, file);
    }
    if (error == 0 && !file->is_corrupt) {
        error = write_index(self, file);
    }
    return error;
}

/* Files that were made ahead and not used become spares again. */
static int drop_unused(struct recovery *self)
{
    while (self->count > 1 && is_unused(&self->files[self->count - 1])) {
        struct recovered *file = &self->files[self->count - 1];
        if (file->missing != 0) {
            return 0; /* its place in the sequence tells of the ones that vanished */
        }
        if (!self->journal->read_only) {
            int error = journal_prepare_recycle(self->journal, &file->header);
            if (error != 0) {
                return error;
            }
        }
        journal_scan_release(&file->scan);
        self->count--;
    }
    return 0;
}

/* --- 5. going on --- */

static bool always(struct journal *journal)
{
    (void) journal;
    return true;
}

static int begin_new_file(struct recovery *self, uint64_t seq)
{
    struct journal *journal = self->journal;
    uint64_t quick = JOURNAL_QUICK_BYTES;
    uint64_t bytes = journal->file_bytes < quick ? journal->file_bytes : quick;
    journal->preparer.next_seq = seq;
    int error = journal_prepare_file(journal, bytes, always, &journal->writer.file);
    if (error == ERR_STORAGE_FULL) {
        if (!journal->reserve_ready) {
            return error;
        }
        error = journal_prepare_from_reserve(journal, &journal->writer.file);
        journal->reserve_ready = false;
    }
    if (error != 0) {
        return error;
    }
    journal->writer.end = JOURNAL_FILE_HEADER_BYTES;
    journal_index_init(&journal->writer.index);
    journal_files_add(journal, &journal->writer.file.header);
    return 0;
}

/* Append to the last file where it ended cleanly. */
static int continue_file(struct recovery *self, struct recovered *file)
{
    struct journal *journal = self->journal;
    char name[JOURNAL_NAME_BYTES];
    journal_file_name(file->header.seq, name);
    int fd = fs_open_file(journal->ops, journal->dir_fd, name, O_RDWR);
    if (fd < 0) {
        return fd;
    }
    journal->writer.file = (struct journal_file){file->header, fd};
    journal->writer.end = file->scan.end;
    journal->writer.index = file->scan.index;
    journal_index_init(&file->scan.index);
    journal->preparer.next_seq = file->header.seq + 1;
    return 0;
}

static int take_over(struct recovery *self)
{
    struct recovered *last = self->count > 0 ? &self->files[self->count - 1] : NULL;
    bool go_on = last != NULL && !last->is_indexed && !last->is_corrupt && last->cut_at == 0 &&
                 !last->scan.has_end_mark;
    for (size_t i = 0; i < self->count; i++) {
        int error = repair_one(self, &self->files[i], go_on && i + 1 == self->count);
        if (error != 0) {
            return error;
        }
    }
    int error = journal_prepare_reserve(self->journal);
    if (error == 0 && !self->journal->reserve_ready && self->count == 0) {
        error = ERR_STORAGE_FULL; /* nothing is here yet: better to say so at once */
    }
    if (error != 0) {
        return error;
    }
    if (last == NULL) {
        return begin_new_file(self, 1);
    }
    return go_on ? continue_file(self, last) : begin_new_file(self, last->header.seq + 1);
}

static int recover_files(struct recovery *self)
{
    int error = list_files(self);
    for (size_t i = 0; i < self->count && error == 0; i++) {
        error = load_one(self, &self->files[i]);
    }
    if (error == 0) {
        error = drop_unused(self);
    }
    if (error != 0) {
        return error;
    }
    for (size_t i = 0; i < self->count; i++) {
        if (self->files[i].scan.durable_upto > self->durable_upto) {
            self->durable_upto = self->files[i].scan.durable_upto;
        }
    }
    for (size_t i = 0; i < self->count; i++) {
        judge_one(self, &self->files[i]);
        report_one(self, &self->files[i]);
        journal_files_add(self->journal, &self->files[i].header);
    }
    return self->journal->read_only ? 0 : take_over(self);
}

int journal_recover(struct journal *journal, const struct journal_visitor *visitor,
                    struct journal_recovery *ret_recovery)
{
    static const struct journal_visitor nobody;
    struct journal_recovery found = {0};
    struct recovery self = {
        .journal = journal,
        .visitor = visitor != NULL ? visitor : &nobody,
        .found = &found,
    };
    int error = 0;
    if (!journal->read_only) {
        error = journal_prepare_look(journal);
        if (error == 0) {
            error = fs_sync_dir(journal->ops, journal->dir_fd);
        }
    }
    if (error == 0) {
        error = recover_files(&self);
    }
    for (size_t i = 0; i < self.count; i++) {
        journal_scan_release(&self.files[i].scan);
    }
    mem_free(self.files);
    if (error == 0 && ret_recovery != NULL) {
        *ret_recovery = found;
    }
    return error;
}
