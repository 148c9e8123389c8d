/* inspect: show a file of a data directory, offline and read-only: a journal file frame by frame, with every checksum checked. Trusts no length in it. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/crc32c.h"
#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/base/str.h"
#include "common/store/fs.h"
#include "common/store/journal_format.h"

#include "adminctl/ctl.h"
#include "adminctl/options.h"

enum { PREVIEW_BYTES = 48 };

struct inspecting {
    struct output *out;
    const uint8_t *data;
    uint64_t size;
    struct journal_file_header header;
    uint64_t only_group; /* 0: all */
    uint64_t limit;
    uint64_t frames;
    uint64_t shown;
    uint64_t damaged;
};

static const char *type_text(enum journal_type type)
{
    switch (type) {
    case JOURNAL_ENTRY:
        return "entry";
    case JOURNAL_HARD_STATE:
        return "hard_state";
    case JOURNAL_TRUNCATE:
        return "truncate";
    case JOURNAL_MARK:
        return "mark";
    default:
        return "unknown";
    }
}

/* What the payload means is the owner's affair: raftd's log is group 1, streams begin at 1024. */
static const char *kind_text(const struct journal_entry *entry)
{
    static const char *const stream_kinds[] = {"",     "batch", "config", "group",
                                               "acks", "trim",  "ids",    "state"};
    if (entry->type != JOURNAL_ENTRY) {
        return "";
    }
    if (entry->group == 1) {
        return "command";
    }
    return entry->kind < sizeof(stream_kinds) / sizeof(stream_kinds[0]) ? stream_kinds[entry->kind]
                                                                        : "unknown";
}

static void put_frame(struct inspecting *self, uint64_t at, const struct journal_frame *frame,
                      bool intact)
{
    char text[4 * PREVIEW_BYTES + 8];
    const struct journal_entry *entry = &frame->entry;
    uint64_t preview = frame->length < PREVIEW_BYTES ? frame->length : PREVIEW_BYTES;
    self->frames++;
    if ((self->only_group != 0 && entry->group != self->only_group) || self->shown >= self->limit) {
        return;
    }
    self->shown++;
    output_object(self->out, NULL);
    output_number(self->out, "byte", at);
    output_text(self->out, "type", span_of(type_text(entry->type)));
    output_text(self->out, "kind", span_of(kind_text(entry)));
    output_number(self->out, "group", entry->group);
    output_number(self->out, "term", entry->term);
    output_number(self->out, "index", entry->index);
    output_number(self->out, "base_offset", entry->base);
    output_number(self->out, "records", entry->count);
    output_number(self->out, "ts_us", entry->ts_us);
    output_number(self->out, "payload_bytes", frame->length);
    output_text(self->out, "durable_upto",
                span_make(text, (size_t) snprintf(text, sizeof(text), "%" PRIu64 ":%" PRIu32,
                                                  frame->durable_upto >> 32,
                                                  (uint32_t) frame->durable_upto)));
    output_text(self->out, "state", span_of(intact ? "ok" : "DAMAGED payload"));
    output_text(
        self->out, "payload",
        span_of(str_escape(span_make(self->data + at + JOURNAL_FRAME_BYTES, intact ? preview : 0),
                           text, sizeof(text))));
    output_end(self->out);
}

/* From `at`, the next place that holds an intact header of this life; the file's size if there is none. */
static uint64_t find_frame(const struct inspecting *self, uint64_t at,
                           struct journal_frame *ret_frame)
{
    for (; at + JOURNAL_FRAME_BYTES <= self->size; at += JOURNAL_ALIGN) {
        if (journal_frame_get(self->data + at, self->header.salt,
                              journal_position(self->header.seq, at), ret_frame)) {
            return at;
        }
    }
    return self->size;
}

static void put_gap(struct inspecting *self, uint64_t from, uint64_t to)
{
    self->damaged++;
    output_object(self->out, NULL);
    output_number(self->out, "byte", from);
    output_text(self->out, "type", span_of("DAMAGED"));
    output_number(self->out, "bytes", to - from);
    output_end(self->out);
}

static void walk(struct inspecting *self)
{
    uint64_t at = JOURNAL_FILE_HEADER_BYTES;
    for (;;) {
        struct journal_frame frame;
        uint64_t found = find_frame(self, at, &frame);
        if (found == self->size) {
            return; /* what lies behind the last frame is of an earlier life, zero, or a torn tail */
        }
        if (found != at) {
            put_gap(self, at, found);
        }
        uint64_t bytes = journal_frame_size(frame.length);
        bool fits = bytes <= self->size - found;
        bool intact = fits && crc32c_extend(0, span_make(self->data + found + JOURNAL_FRAME_BYTES,
                                                         frame.length)) == frame.crc_payload;
        self->damaged += !intact;
        put_frame(self, found, &frame, intact);
        at = fits ? found + bytes : found + JOURNAL_FRAME_BYTES;
    }
}

static int inspect_journal(struct ctl *ctl, struct inspecting *self)
{
    int error = self->size < JOURNAL_FILE_HEADER_BYTES
                    ? ERR_BAD_FORMAT
                    : journal_file_header_get(self->data, &self->header);
    if (error < 0) {
        return ctl_fail(ctl, error,
                        error == ERR_CORRUPT ? "both copies of the file's header are damaged"
                                             : "not a journal file of this version",
                        "cannot inspect it");
    }
    self->out = output_new(ctl->format);
    output_object(self->out, NULL);
    output_number(self->out, "seq", self->header.seq);
    output_number(self->out, "file_bytes", self->header.file_bytes);
    output_number(self->out, "previous", self->header.previous);
    output_list(self->out, "frames");
    walk(self);
    output_end(self->out);
    output_number(self->out, "frames_total", self->frames);
    output_number(self->out, "damaged", self->damaged);
    output_end(self->out);
    if (output_finish(&self->out) < 0) {
        return CTL_FAILED;
    }
    return self->damaged == 0 ? CTL_OK : CTL_FAILED;
}

int cmd_inspect(struct ctl *ctl, int argc, char **argv)
{
    struct inspecting self = {.limit = 10000};
    const struct option_spec specs[] = {
        {"group", 'g', OPTION_NUMBER, &self.only_group, "N",
         "only this log group (stream info shows it)"},
        {"limit", 'n', OPTION_NUMBER, &self.limit, "N",
         "show at most N frames (default 10,000; all are checked)"},
    };
    const struct command_help help = {
        "adminctl inspect FILE.jnl [--group N] [--limit N]",
        "Show a journal file frame by frame (DATA_DIR/journal/*.jnl of logd and raftd); every "
        "checksum is checked. Read-only, works\n"
        "while the daemon runs. Exit code 1 when something is damaged."};
    struct options_result args;
    int exit_code = 0;
    struct stat info;

    if (options_parse(&help, specs, OPTIONS_COUNT(specs), argc, argv, 1, 1, &args, &exit_code) <
        0) {
        return exit_code;
    }
    const char *path = args.arguments[0];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) < 0) {
        int error = err_from_errno(errno);
        if (fd >= 0) {
            (void) close(fd);
        }
        (void) fprintf(stderr, "adminctl: cannot open '%s': %s\n", path, strerror(errno));
        return error == ERR_NOT_FOUND ? CTL_NOT_FOUND : CTL_FAILED;
    }
    self.size = S_ISREG(info.st_mode) ? (uint64_t) info.st_size : 0;
    uint8_t *data = self.size <= UINT64_C(1) << 30 ? mem_try_new(self.size) : NULL;
    int error = data == NULL ? ERR_TOO_LARGE : fs_pread_all(NULL, fd, data, self.size, 0);
    (void) close(fd);
    if (error < 0) {
        mem_free(data);
        return ctl_fail(ctl, error, "a journal file is at most 1 GiB", "cannot read '%s'", path);
    }
    self.data = data;
    int result = inspect_journal(ctl, &self);
    mem_free(data);
    return result;
}
