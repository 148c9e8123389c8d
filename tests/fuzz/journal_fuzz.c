/* journal_fuzz: a valid journal file with some bytes changed, opened and read. It must never crash or hang, and under a header that was
 * not touched it must never return other data than was written.
 * Input: a byte of flags, then patches: position (2 bytes, little-endian), count (1 byte), that many bytes. */
#include "common/store/journal.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/bytes.h"
#include "common/base/crc32c.h"
#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/store/journal_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    FILE_BYTES = 16384,
    ENTRIES = 14,
    FLAG_RECYCLED = 1, /* the rest of the file holds frames of an earlier life */
    /* checksums of headers are made right again after patching: forged, not damaged */
    FLAG_REPAIRED = 2,
    FLAG_WRITABLE = 4, /* recover in earnest, not only look */
    FLAG_FOLLOWED = 8, /* a second file lies behind it */
    FLAG_CUT = 16,     /* the file ends in its middle */
};

static const uint64_t SALT = UINT64_C(0x0123456789abcdef);

static uint8_t original[FILE_BYTES];
static size_t frames[ENTRIES + 1]; /* where each begins; the last is the mark */

static uint8_t content_byte(uint64_t index, size_t at)
{
    return (uint8_t) (index * 37 + at * 11 + 5);
}

static size_t put_frame(uint8_t *file, uint64_t seq, size_t at, const struct journal_entry *entry,
                        uint32_t length, uint64_t durable_upto)
{
    for (uint32_t i = 0; i < length; i++) {
        file[at + JOURNAL_FRAME_BYTES + i] = content_byte(entry->index, i);
    }
    struct journal_frame frame = {
        .entry = *entry,
        .length = length,
        .durable_upto = durable_upto,
        .crc_payload = crc32c_extend(0, span_make(file + at + JOURNAL_FRAME_BYTES, length)),
    };
    journal_frame_put(&frame, SALT + seq, journal_position(seq, at), file + at);
    return at + (size_t) journal_frame_size(length);
}

/* Entries of two groups and controls, in rounds of two, and a mark. */
static size_t build_file(uint8_t *file, uint64_t seq, bool is_fresh)
{
    struct journal_file_header header = {.seq = seq,
                                         .salt = SALT + seq,
                                         .file_bytes = FILE_BYTES,
                                         .previous = seq - 1,
                                         .is_fresh = is_fresh};
    journal_file_header_put(&header, file);
    size_t at = JOURNAL_FILE_HEADER_BYTES;
    uint64_t durable_upto = journal_position(seq, at);
    for (uint64_t i = 0; i < ENTRIES; i++) {
        if (i % 2 == 0) {
            durable_upto = journal_position(seq, at);
        }
        struct journal_entry entry = {.type = i % 5 == 3 ? JOURNAL_HARD_STATE : JOURNAL_ENTRY,
                                      .group = 1 + i % 2,
                                      .term = 4,
                                      .index = 100 + i / 2,
                                      .count = 1,
                                      .base = 100 + i / 2,
                                      .ts_us = i};
        frames[i] = at;
        at = put_frame(file, seq, at, &entry, (uint32_t) (i * i * 3), durable_upto);
    }
    struct journal_entry mark = {.type = JOURNAL_MARK};
    frames[ENTRIES] = at;
    return put_frame(file, seq, at, &mark, 0, journal_position(seq, at));
}

static void patch(uint8_t *file, const uint8_t *data, size_t size)
{
    while (size >= 3) {
        size_t at = (size_t) bytes_get_u16(data) % FILE_BYTES;
        size_t count = data[2];
        data += 3;
        size -= 3;
        count = count < size ? count : size;
        count = count < FILE_BYTES - at ? count : FILE_BYTES - at;
        memcpy(file + at, data, count);
        data += count;
        size -= count;
    }
}

/* Make the checksums of all headers right again. */
static void repair(uint8_t *file)
{
    for (size_t copy = 0; copy < 2; copy++) {
        uint8_t *at = file + copy * JOURNAL_HEADER_COPY_AT;
        bytes_put_u32(at + 52, crc32c_extend(0, span_make(at, 52)));
    }
    for (unsigned i = 0; i <= ENTRIES; i++) {
        uint8_t *at = file + frames[i];
        bytes_put_u32(at + 76, crc32c_extend(0, span_make(at, 76)));
    }
}

/* --- the folder --- */

static char folder[64];

static void folder_clear(const char *path)
{
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return;
    }
    for (struct dirent *one = readdir(dir); one != NULL; one = readdir(dir)) {
        char child[400];
        if (one->d_name[0] == '.') {
            continue;
        }
        (void) snprintf(child, sizeof(child), "%s/%s", path, one->d_name);
        if (one->d_type == DT_DIR) {
            folder_clear(child);
            (void) rmdir(child);
        } else {
            (void) unlink(child);
        }
    }
    (void) closedir(dir);
}

static void folder_drop(void)
{
    folder_clear(folder);
    (void) rmdir(folder);
}

static void folder_make(void)
{
    if (folder[0] != '\0') {
        return;
    }
    (void) snprintf(folder, sizeof(folder), "/dev/shm/rgt-journal-fuzz-XXXXXX");
    if (mkdtemp(folder) == NULL) {
        (void) snprintf(folder, sizeof(folder), "/tmp/rgt-journal-fuzz-XXXXXX");
        INVARIANT(mkdtemp(folder) != NULL);
    }
    (void) atexit(folder_drop);
}

static void save(const char *name, const uint8_t *data, size_t size)
{
    char path[128];
    (void) snprintf(path, sizeof(path), "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    INVARIANT(fd >= 0 && write(fd, data, size) == (ssize_t) size);
    (void) close(fd);
}

/* --- what comes back --- */

struct looking {
    struct extent extents[64];
    size_t count;
    const uint8_t *patched; /* file 1 as it lay on disk */
    uint64_t last_position;
};

/* A header that is as it was written vouches for its payload. */
static void check_entry(const struct looking *self, const struct journal_entry *entry,
                        uint64_t position)
{
    uint32_t byte = position_byte(position);
    if (position_seq(position) != 1) {
        return;
    }
    INVARIANT(byte + JOURNAL_FRAME_BYTES <= FILE_BYTES);
    if (memcmp(self->patched + byte, original + byte, JOURNAL_FRAME_BYTES) != 0) {
        return;
    }
    for (size_t i = 0; i < entry->payload.bytes.size; i++) {
        INVARIANT(entry->payload.bytes.data[i] == content_byte(entry->index, i));
    }
}

static int on_entry(void *ud, const struct journal_entry *entry, uint64_t position,
                    uint32_t frame_bytes)
{
    (void) frame_bytes;
    check_entry(ud, entry, position);
    return 0;
}

static void on_extent(void *ud, const struct extent *extent)
{
    struct looking *self = ud;
    INVARIANT(extent->position >= self->last_position);
    self->last_position = extent->position;
    if (self->count < sizeof(self->extents) / sizeof(self->extents[0])) {
        self->extents[self->count++] = *extent;
    }
}

static void on_control(void *ud, const struct journal_entry *entry)
{
    (void) ud;
    INVARIANT(entry->type == JOURNAL_HARD_STATE || entry->type == JOURNAL_TRUNCATE);
}

static void on_corrupt(void *ud, uint64_t position, uint64_t bytes,
                       const struct journal_entry *known)
{
    struct looking *self = ud;
    (void) known;
    INVARIANT(position >= self->last_position && bytes > 0);
    self->last_position = position;
}

static void look(const struct journal_options *options, const uint8_t *patched)
{
    struct looking looking = {.patched = patched};
    struct journal_visitor visitor = {on_extent, on_control, on_corrupt, &looking};
    struct journal *journal = NULL;
    int error = journal_open(options, &visitor, NULL, &journal);
    if (error != 0) {
        INVARIANT(error == ERR_BAD_FORMAT);
        return;
    }
    for (size_t i = 0; i < looking.count; i++) {
        const struct extent *extent = &looking.extents[i];
        uint64_t corrupt_at = 0;
        error = journal_read(journal, extent->group, extent->position, extent->bytes, on_entry,
                             &looking, &corrupt_at);
        INVARIANT(error == 0); /* what was just scanned can be read */
    }
    journal_close(&journal);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t second[FILE_BYTES];
    uint8_t patched[FILE_BYTES];
    if (size == 0) {
        return 0;
    }
    uint8_t flags = data[0];
    folder_make();
    memset(original, 0, sizeof(original));
    size_t end = build_file(original, 1, (flags & FLAG_RECYCLED) == 0);
    if ((flags & FLAG_RECYCLED) != 0) {
        size_t rest = FILE_BYTES - end;
        size_t written = end - JOURNAL_FILE_HEADER_BYTES;
        memcpy(original + end, original + JOURNAL_FILE_HEADER_BYTES,
               rest < written ? rest : written);
    }
    memcpy(patched, original, sizeof(patched));
    patch(patched, data + 1, size - 1);
    if ((flags & FLAG_REPAIRED) != 0) {
        repair(patched);
    }
    save("0000000001.jnl", patched, (flags & FLAG_CUT) != 0 ? FILE_BYTES / 2 : FILE_BYTES);
    if ((flags & FLAG_FOLLOWED) != 0) {
        memset(second, 0, sizeof(second));
        (void) build_file(second, 2, true);
        save("0000000002.jnl", second, sizeof(second));
    }
    struct journal_options options = {
        .dir = folder, .file_bytes = 1 << 20, .reserve_bytes = 1 << 20, .read_only = true};
    look(&options, patched);
    if ((flags & FLAG_WRITABLE) != 0) {
        options.read_only = false;
        look(&options, patched);
        look(&options, patched);
    }
    folder_clear(folder);
    return 0;
}
