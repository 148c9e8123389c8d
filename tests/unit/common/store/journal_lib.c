/* journal_lib: shared by the journal's tests. */
#include "tests/unit/common/store/journal_lib.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "tests/lib/test.h"

struct journal_options lib_options(const char *dir)
{
    return (struct journal_options){
        .dir = dir, .file_bytes = LIB_FILE_BYTES, .reserve_bytes = LIB_FILE_BYTES};
}

/* --- what recovery says --- */

static void note_position(struct seen *self, uint64_t position)
{
    TEST_ASSERT_FAST(position >= self->last_position);
    self->last_position = position;
}

static void seen_extent(void *ud, const struct extent *extent)
{
    struct seen *self = ud;
    TEST_ASSERT_FAST(self->extent_count < LIB_ITEMS_MAX);
    note_position(self, extent->position);
    self->extents[self->extent_count++] = *extent;
}

static void seen_control(void *ud, const struct journal_entry *entry)
{
    struct seen *self = ud;
    TEST_ASSERT_FAST(self->control_count < LIB_ITEMS_MAX);
    TEST_ASSERT_FAST(lib_payload_is_right(entry->group, entry->index, entry->payload.bytes));
    self->controls[self->control_count++] = (struct seen_control){
        entry->type, entry->group, entry->term, entry->index, entry->payload.bytes.size};
}

static void seen_corrupt(void *ud, uint64_t position, uint64_t bytes,
                         const struct journal_entry *known)
{
    struct seen *self = ud;
    note_position(self, position);
    TEST_ASSERT_FAST(bytes > 0);
    if (self->corrupt_count < sizeof(self->corrupt) / sizeof(self->corrupt[0])) {
        struct seen_corrupt *one = &self->corrupt[self->corrupt_count++];
        *one = (struct seen_corrupt){.position = position, .bytes = bytes};
        if (known != NULL) {
            one->is_known = true;
            one->group = known->group;
            one->index = known->index;
        }
    }
}

int lib_try_open(const struct journal_options *options, struct seen *seen,
                 struct journal **ret_journal)
{
    struct journal_visitor visitor = {seen_extent, seen_control, seen_corrupt, seen};
    if (seen == NULL) {
        return journal_open(options, NULL, NULL, ret_journal);
    }
    seen->extent_count = 0;
    seen->control_count = 0;
    seen->corrupt_count = 0;
    seen->last_position = 0;
    return journal_open(options, &visitor, &seen->recovery, ret_journal);
}

struct journal *lib_open(const char *dir, struct seen *seen)
{
    struct journal_options options = lib_options(dir);
    struct journal *journal = NULL;
    TEST_ASSERT_FAST(lib_try_open(&options, seen, &journal) == 0);
    return journal;
}

/* --- entries --- */

static uint8_t content_byte(uint64_t group, uint64_t index, size_t at)
{
    return (uint8_t) (group * 31 + index * 7 + at * 13 + (at >> 8));
}

struct payload *lib_payload(uint64_t group, uint64_t index, size_t size)
{
    struct payload *payload = payload_new(size);
    TEST_ASSERT_FAST(payload != NULL);
    for (size_t i = 0; i < size; i++) {
        payload_data(payload)[i] = content_byte(group, index, i);
    }
    return payload;
}

bool lib_payload_is_right(uint64_t group, uint64_t index, struct span bytes)
{
    for (size_t i = 0; i < bytes.size; i++) {
        if (bytes.data[i] != content_byte(group, index, i)) {
            return false;
        }
    }
    return true;
}

static int append(struct journal *journal, enum journal_type type, uint64_t group, uint64_t index,
                  uint32_t count, size_t size)
{
    struct payload *payload = lib_payload(group, index, size);
    struct journal_entry entry = {
        .type = type,
        .kind = 7,
        .group = group,
        .term = 3,
        .index = index,
        .base = count != 0 ? index : 0,
        .count = count,
        .ts_us = index * 1000,
        .payload = {payload, payload_span(payload)},
    };
    uint64_t wseq = 0;
    int error = journal_append(journal, &entry, &wseq);
    payload_unref(&payload);
    return error;
}

int lib_append(struct journal *journal, uint64_t group, uint64_t index, size_t size)
{
    return append(journal, JOURNAL_ENTRY, group, index, 1, size);
}

int lib_append_control(struct journal *journal, enum journal_type type, uint64_t group,
                       uint64_t index, size_t size)
{
    return append(journal, type, group, index, 0, size);
}

/* --- completions --- */

void lib_note_done(void *ud, const struct journal_done *one)
{
    struct lib_done *self = ud;
    if (self->last_wseq != 0) {
        TEST_ASSERT_FAST(one->wseq == self->last_wseq + 1);
    }
    self->last_wseq = one->wseq;
    self->last_error = one->error;
    if (one->error == 0) {
        TEST_ASSERT_FAST(one->position > self->last_position);
        self->last_position = one->position;
        self->good++;
    } else {
        self->bad++;
    }
    self->count++;
}

void lib_wait(struct journal *journal, struct lib_done *done, unsigned count)
{
    while (done->count < count) {
        struct pollfd waiting = {journal_fd(journal), POLLIN, 0};
        TEST_ASSERT_FAST(poll(&waiting, 1, 9000) >= 1);
        (void) journal_poll(journal, lib_note_done, done);
    }
}

void lib_fill(struct journal *journal, uint64_t group, uint64_t first, unsigned count, size_t size)
{
    struct lib_done done = {0};
    for (unsigned i = 0; i < count; i++) {
        int error = lib_append(journal, group, first + i, size);
        while (error == ERR_AGAIN) { /* room is promised only as it is made */
            journal_submit(journal);
            lib_wait(journal, &done, done.good + done.bad + (done.good + done.bad < i ? 1 : 0));
            error = lib_append(journal, group, first + i, size);
        }
        TEST_ASSERT_FAST(error == 0);
    }
    journal_submit(journal);
    lib_wait(journal, &done, count);
    TEST_ASSERT_FAST(done.good == count);
}

/* --- reading back --- */

struct reading {
    const struct extent *extent;
    uint64_t next_index;
    int count;
};

static int check_entry(void *ud, const struct journal_entry *entry, uint64_t position,
                       uint32_t frame_bytes)
{
    struct reading *self = ud;
    if (entry->type != JOURNAL_ENTRY) {
        return 0;
    }
    TEST_ASSERT_FAST(entry->group == self->extent->group);
    TEST_ASSERT_FAST(entry->index == self->next_index);
    TEST_ASSERT_FAST(position >= self->extent->position);
    TEST_ASSERT_FAST(position + frame_bytes <= self->extent->position + self->extent->bytes);
    TEST_ASSERT_FAST(lib_payload_is_right(entry->group, entry->index, entry->payload.bytes));
    self->next_index++;
    self->count++;
    return 0;
}

int lib_read_extent(struct journal *journal, const struct extent *extent, uint64_t *ret_corrupt_at)
{
    struct reading reading = {extent, extent->first_index, 0};
    int error = journal_read(journal, extent->group, extent->position, extent->bytes, check_entry,
                             &reading, ret_corrupt_at);
    if (error == 0) {
        TEST_ASSERT_FAST(reading.next_index == extent->last_index + 1);
    }
    return error != 0 ? error : reading.count;
}

uint64_t lib_count_group(struct journal *journal, const struct seen *seen, uint64_t group)
{
    uint64_t count = 0;
    for (size_t i = 0; i < seen->extent_count; i++) {
        if (seen->extents[i].group == group) {
            uint64_t corrupt_at = 0;
            int result = lib_read_extent(journal, &seen->extents[i], &corrupt_at);
            TEST_ASSERT_FAST(result > 0);
            count += (uint64_t) result;
        }
    }
    return count;
}

/* --- files --- */

static const char *path_of(const char *dir, const char *name)
{
    static char path[4][1024];
    static unsigned turn;
    turn = (turn + 1) % 4;
    (void) snprintf(path[turn], sizeof(path[turn]), "%s/%s", dir, name);
    return path[turn];
}

uint8_t *lib_load(const char *dir, const char *name, size_t *ret_size)
{
    int fd = open(path_of(dir, name), O_RDONLY);
    struct stat info;
    TEST_ASSERT_FAST(fd >= 0);
    TEST_ASSERT_FAST(fstat(fd, &info) == 0);
    uint8_t *data = mem_new((size_t) info.st_size + 1);
    ck_assert_ptr_nonnull(data);
    TEST_ASSERT_FAST(read(fd, data, (size_t) info.st_size) == info.st_size);
    (void) close(fd);
    *ret_size = (size_t) info.st_size;
    return data;
}

void lib_save(const char *dir, const char *name, const void *data, size_t size)
{
    int fd = open(path_of(dir, name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    TEST_ASSERT_FAST(fd >= 0);
    TEST_ASSERT_FAST(write(fd, data, size) == (ssize_t) size);
    (void) close(fd);
}

void lib_remove(const char *dir, const char *name)
{
    TEST_ASSERT_FAST(unlink(path_of(dir, name)) == 0);
}

bool lib_exists(const char *dir, const char *name)
{
    return access(path_of(dir, name), F_OK) == 0;
}

void lib_empty_dir(const char *dir)
{
    DIR *listing = opendir(dir);
    ck_assert_ptr_nonnull(listing);
    for (struct dirent *one = readdir(listing); one != NULL; one = readdir(listing)) {
        if (one->d_name[0] == '.') {
            continue;
        }
        if (one->d_type == DT_DIR) {
            char below[1024];
            (void) snprintf(below, sizeof(below), "%s/%s", dir, one->d_name);
            lib_empty_dir(below);
            (void) rmdir(below);
        } else {
            (void) unlink(path_of(dir, one->d_name));
        }
    }
    (void) closedir(listing);
}

void lib_copy_dir(const char *from, const char *to)
{
    DIR *listing = opendir(from);
    ck_assert_ptr_nonnull(listing);
    for (struct dirent *one = readdir(listing); one != NULL; one = readdir(listing)) {
        if (one->d_type == DT_REG) {
            size_t size = 0;
            uint8_t *data = lib_load(from, one->d_name, &size);
            lib_save(to, one->d_name, data, size);
            mem_free(data);
        }
    }
    (void) closedir(listing);
}

bool lib_eventually(bool (*is_true)(void *ud), void *ud)
{
    for (int i = 0; i < 900; i++) {
        if (is_true(ud)) {
            return true;
        }
        struct timespec pause = {.tv_nsec = 10000000};
        (void) nanosleep(&pause, NULL);
    }
    return false;
}
