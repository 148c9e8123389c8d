/* journal_walk: every frame of every group, once, in order: how a driver that needs each entry recovers all its groups in one pass. Looks at bytes that recovery has judged
 * already; owns nothing between calls. It must never hand on a payload whose checksum is wrong. @thread owner */
#include "common/store/journal_private.h"

#include <fcntl.h>
#include <unistd.h>

#include "common/base/crc32c.h"
#include "common/base/err.h"
#include "common/base/mem.h"

enum { WALK_STEP_BYTES = 1 << 20 };

struct walk {
    const struct journal_walker *walker;
    struct journal_file_header header;
    const struct fs_ops *ops;
    int fd;
    uint64_t at;  /* byte of the next frame */
    uint64_t end; /* behind the last one */
    uint64_t bad; /* where the damage began that we are in; 0: none */
    bool is_ended;
    bool is_stopped;
};

static void damage_end(struct walk *self)
{
    if (self->bad != 0 && self->walker->on_corrupt != NULL) {
        self->walker->on_corrupt(self->walker->ud, journal_position(self->header.seq, self->bad),
                                 self->at - self->bad, NULL);
    }
    self->bad = 0;
}

static void visit(struct walk *self, struct journal_frame *frame, struct payload *payload,
                  struct span bytes)
{
    uint64_t position = journal_position(self->header.seq, self->at);
    uint64_t frame_bytes = journal_frame_size(frame->length);
    if (crc32c_extend(0, bytes) != frame->crc_payload) {
        if (self->walker->on_corrupt != NULL) {
            self->walker->on_corrupt(self->walker->ud, position, frame_bytes, &frame->entry);
        }
        return;
    }
    if (frame->entry.type == JOURNAL_MARK) {
        self->is_ended = (frame->flags & JOURNAL_FLAG_END) != 0;
        return;
    }
    if (bytes.size != 0) {
        frame->entry.payload = (struct slice){payload, bytes};
    }
    self->is_stopped = self->walker->on_frame(self->walker->ud, &frame->entry, position,
                                              (uint32_t) frame_bytes) != 0;
}

/* The frames wholly in [data, data + size), the first of which lies at self->at. Returns the bytes that the next frame needs; 0: go on anywhere. */
static uint64_t walk_bytes(struct walk *self, struct payload *payload, uint64_t size)
{
    const uint8_t *data = payload_span(payload).data;
    uint64_t done = 0;
    while (size - done >= JOURNAL_FRAME_BYTES && !self->is_ended && !self->is_stopped) {
        struct journal_frame frame;
        uint64_t position = journal_position(self->header.seq, self->at);
        if (!journal_frame_get(data + done, self->header.salt, position, &frame)) {
            self->bad = self->bad == 0 ? self->at : self->bad;
            self->at += JOURNAL_ALIGN;
            done += JOURNAL_ALIGN;
            continue;
        }
        uint64_t frame_bytes = journal_frame_size(frame.length);
        if (frame_bytes > size - done) {
            return frame_bytes;
        }
        damage_end(self);
        visit(self, &frame, payload, span_make(data + done + JOURNAL_FRAME_BYTES, frame.length));
        self->at += frame_bytes;
        done += frame_bytes;
    }
    return 0;
}

static int walk_file(struct walk *self)
{
    uint64_t end = self->end;
    uint64_t needed = 0;
    self->at = JOURNAL_FILE_HEADER_BYTES;
    while (!self->is_ended && !self->is_stopped && self->at + JOURNAL_FRAME_BYTES <= end) {
        uint64_t size = needed > WALK_STEP_BYTES ? needed : WALK_STEP_BYTES;
        size = size < end - self->at ? size : end - self->at;
        if (needed > size) { /* a header that is intact, of a frame that can't be */
            self->bad = self->bad == 0 ? self->at : self->bad;
            self->at += JOURNAL_ALIGN;
            needed = 0;
            continue;
        }
        struct payload *payload = payload_new((size_t) size);
        if (payload == NULL) {
            return ERR_NO_MEMORY;
        }
        size_t got = 0;
        int error = fs_pread_some(self->ops, self->fd, payload_data(payload), (size_t) size,
                                  self->at, &got);
        if (error == 0) {
            needed = walk_bytes(self, payload, got);
        }
        payload_unref(&payload);
        if (error != 0) {
            return error;
        }
        if (got < size) {
            break;
        }
    }
    self->bad = 0; /* nothing behind it: what recovery did not call damage is no damage */
    return 0;
}

int journal_walk(struct journal *self, const struct journal_walker *walker)
{
    pthread_mutex_lock(&self->lock);
    size_t count = self->file_count;
    struct journal_file_header *files =
        count == 0 ? NULL : mem_copy(self->files, count * sizeof(self->files[0]));
    pthread_mutex_unlock(&self->lock);
    uint64_t upto = journal_durable_upto(self);
    int error = 0;
    bool is_stopped = false;
    for (size_t i = 0; i < count && error == 0 && !is_stopped; i++) {
        char name[JOURNAL_NAME_BYTES];
        struct walk walk = {.walker = walker, .header = files[i], .ops = self->ops};
        bool is_last = position_seq(upto) == files[i].seq;
        walk.end = is_last ? position_byte(upto) : files[i].file_bytes;
        journal_file_name(files[i].seq, name);
        walk.fd = fs_open_file(self->ops, self->dir_fd, name, O_RDONLY);
        error = walk.fd < 0 ? walk.fd : walk_file(&walk);
        if (walk.fd >= 0) {
            (void) close(walk.fd); /* only read */
        }
        is_stopped = walk.is_stopped;
    }
    mem_free(files);
    return error;
}
