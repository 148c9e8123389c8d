/* journal_find: going on behind damage. Reads a range raw and looks for the next frame that introduces itself correctly; a
 * header is bound to its file's salt and its own position, so payload bytes cannot pass for one. Owns nothing between calls. @thread owner */
#include "common/store/journal_private.h"

#include <fcntl.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/mem.h"

static int find_header(struct journal *self, uint64_t seq, struct journal_file_header *ret_header)
{
    int result = ERR_NOT_FOUND;
    pthread_mutex_lock(&self->lock);
    for (size_t i = 0; i < self->file_count; i++) {
        if (self->files[i].seq == seq) {
            *ret_header = self->files[i];
            result = 0;
        }
    }
    pthread_mutex_unlock(&self->lock);
    return result;
}

static int find_load(struct journal *self, uint64_t seq, uint64_t from, size_t bytes, uint8_t *data)
{
    char name[JOURNAL_NAME_BYTES];
    journal_file_name(seq, name);
    int fd = fs_open_file(self->ops, self->dir_fd, name, O_RDONLY);
    if (fd < 0) {
        return fd;
    }
    int error = fs_pread_all(self->ops, fd, data, bytes, from);
    (void) close(fd); /* only read */
    return error;
}

int journal_find(struct journal *self, uint64_t position, uint64_t bytes, uint64_t *ret_position)
{
    uint64_t seq = position_seq(position);
    struct journal_file_header header = {0};
    int error = find_header(self, seq, &header);
    if (error != 0) {
        return error;
    }
    uint64_t from = position_byte(position);
    if (from > header.file_bytes || bytes > header.file_bytes - from) {
        return ERR_OUT_OF_RANGE;
    }
    uint8_t *data = mem_try_new((size_t) bytes);
    if (data == NULL) {
        return ERR_NO_MEMORY;
    }
    error = find_load(self, seq, from, (size_t) bytes, data);
    if (error == 0) {
        error = ERR_NOT_FOUND;
        uint64_t step = (JOURNAL_ALIGN - from % JOURNAL_ALIGN) % JOURNAL_ALIGN;
        for (; step + JOURNAL_FRAME_BYTES <= bytes; step += JOURNAL_ALIGN) {
            struct journal_frame frame;
            if (journal_frame_get(data + step, header.salt, position + step, &frame)) {
                *ret_position = position + step;
                error = 0;
                break;
            }
        }
    }
    mem_free(data);
    return error;
}
