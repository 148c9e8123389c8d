/* journal_read: entries back from the disk. Reads only what is durable or completed, so the writer may go on
 * appending to the same file. Owns a small cache of descriptors. Never returns a frame whose checksums it has not
 * seen right. @thread owner */
#include "common/store/journal_private.h"

#include <fcntl.h>
#include <unistd.h>

#include "common/base/crc32c.h"
#include "common/base/err.h"
#include "common/base/mem.h"

enum { READ_STEP_BYTES = EXTENT_SPAN_MAX };

void journal_readers_init(struct journal *self)
{
    self->readers = MEM_NEW_ARRAY(JOURNAL_READERS_MAX, struct journal_reader);
    for (unsigned i = 0; i < JOURNAL_READERS_MAX; i++) {
        self->readers[i].fd = -1;
    }
}

static void reader_close(struct journal_reader *self)
{
    if (self->fd >= 0) {
        (void) close(self->fd); /* only read */
        self->fd = -1;
    }
}

void journal_readers_release(struct journal *self)
{
    for (unsigned i = 0; self->readers != NULL && i < JOURNAL_READERS_MAX; i++) {
        reader_close(&self->readers[i]);
    }
    MEM_FREE(self->readers);
}

void journal_readers_forget(struct journal *self, uint64_t seq)
{
    struct journal_reader *reader = &self->readers[seq % JOURNAL_READERS_MAX];
    if (reader->fd >= 0 && reader->header.seq == seq) {
        reader_close(reader);
    }
}

static bool files_find(struct journal *self, uint64_t seq, struct journal_file_header *ret_header)
{
    bool found = false;
    pthread_mutex_lock(&self->lock);
    size_t low = 0;
    size_t high = self->file_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (self->files[middle].seq < seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low < self->file_count && self->files[low].seq == seq) {
        *ret_header = self->files[low];
        found = true;
    }
    pthread_mutex_unlock(&self->lock);
    return found;
}

/* The open file; 0 or ERR_NOT_FOUND, ERR_IO. Borrowed until the next call. */
static int reader_get(struct journal *self, uint64_t seq, const struct journal_reader **ret_reader)
{
    struct journal_reader *reader = &self->readers[seq % JOURNAL_READERS_MAX];
    if (reader->fd < 0 || reader->header.seq != seq) {
        struct journal_file_header header;
        if (!files_find(self, seq, &header)) {
            return ERR_NOT_FOUND;
        }
        char name[JOURNAL_NAME_BYTES];
        journal_file_name(seq, name);
        int fd = fs_open_file(self->ops, self->dir_fd, name, O_RDONLY);
        if (fd < 0) {
            return fd;
        }
        reader_close(reader);
        *reader = (struct journal_reader){fd, header};
    }
    *ret_reader = reader;
    return 0;
}

/* Where one walk stands. */
struct reading {
    const struct journal_reader *reader;
    uint64_t group;
    journal_visit_fn *visit;
    void *ud;
    uint64_t at;  /* byte of the next frame */
    uint64_t end; /* of the range */
    struct payload *payload;
    bool is_stopped;
};

/* The frames that lie wholly in the loaded bytes [at, at + size). ERR_INCOMPLETE with the size that the next frame needs. */
static int read_frames(struct reading *self, uint64_t size, uint64_t *ret_needed)
{
    const uint8_t *data = payload_span(self->payload).data;
    uint64_t seq = self->reader->header.seq;
    uint64_t done = 0;
    while (done < size && !self->is_stopped) {
        struct journal_frame frame;
        uint64_t position = journal_position(seq, self->at);
        if (size - done < JOURNAL_FRAME_BYTES) {
            *ret_needed = JOURNAL_FRAME_BYTES;
            return ERR_INCOMPLETE;
        }
        if (!journal_frame_get(data + done, self->reader->header.salt, position, &frame)) {
            return ERR_CORRUPT;
        }
        uint64_t frame_bytes = journal_frame_size(frame.length);
        if (frame_bytes > size - done) {
            *ret_needed = frame_bytes;
            return ERR_INCOMPLETE;
        }
        if (frame.entry.group == self->group) {
            struct span bytes = span_make(data + done + JOURNAL_FRAME_BYTES, frame.length);
            if (crc32c_extend(0, bytes) != frame.crc_payload) {
                return ERR_CORRUPT;
            }
            if (bytes.size != 0) {
                frame.entry.payload = (struct slice){self->payload, bytes};
            }
            self->is_stopped =
                self->visit(self->ud, &frame.entry, position, (uint32_t) frame_bytes) != 0;
        }
        done += frame_bytes;
        self->at += frame_bytes;
    }
    return 0;
}

/* Load the next bytes of the range, at least `needed`, and visit what is whole. */
static int read_step(struct journal *journal, struct reading *self, uint64_t *needed)
{
    uint64_t left = self->end - self->at;
    if (*needed > left) {
        return ERR_CORRUPT; /* the frame does not end inside the range that was asked for */
    }
    uint64_t size = *needed > READ_STEP_BYTES ? *needed : READ_STEP_BYTES;
    if (size > left) {
        size = left;
    }
    self->payload = payload_new((size_t) size);
    if (self->payload == NULL) {
        return ERR_NO_MEMORY;
    }
    int error = fs_pread_all(journal->ops, self->reader->fd, payload_data(self->payload),
                             (size_t) size, self->at);
    if (error == ERR_INCOMPLETE) {
        error = ERR_CORRUPT; /* the file was cut behind our back */
    }
    if (error == 0) {
        *needed = JOURNAL_FRAME_BYTES;
        error = read_frames(self, size, needed);
    }
    payload_unref(&self->payload);
    /* Not whole yet: the next step begins at that frame. */
    return error == ERR_INCOMPLETE ? 0 : error;
}

int journal_read(struct journal *self, uint64_t group, uint64_t position, uint64_t bytes,
                 journal_visit_fn *visit, void *ud, uint64_t *ret_corrupt_at)
{
    struct reading reading = {
        .group = group,
        .visit = visit,
        .ud = ud,
        .at = position_byte(position),
    };
    int error = reader_get(self, position_seq(position), &reading.reader);
    if (error != 0) {
        return error;
    }
    uint64_t file_bytes = reading.reader->header.file_bytes;
    if (reading.at < JOURNAL_FILE_HEADER_BYTES || reading.at > file_bytes ||
        bytes > file_bytes - reading.at) {
        return ERR_OUT_OF_RANGE;
    }
    reading.end = reading.at + bytes;
    uint64_t needed = JOURNAL_FRAME_BYTES;
    while (error == 0 && reading.at < reading.end && !reading.is_stopped) {
        error = read_step(self, &reading, &needed);
    }
    if (error == ERR_CORRUPT) {
        *ret_corrupt_at = journal_position(position_seq(position), reading.at);
    }
    return error;
}
