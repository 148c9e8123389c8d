/* pub: publish the lines of standard input or of a file. Two ways: in the background with the library's batches (an outcome may be unknown when a server
 * dies: said at the end); or --once: each batch says at which offset it must land, so that repeating it after a lost connection
 * stores it once, provided that nobody else publishes into the stream meanwhile. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/mem.h"

#include "adminctl/ctl.h"
#include "adminctl/lines.h"
#include "adminctl/options.h"
#include "adminctl/pace.h"

enum { PUB_BATCH_LINES = 512, PUB_BATCH_BYTES = 256 << 10, PUB_RETRY_MS = 60000 };

struct pub {
    struct ctl *ctl;
    const char *stream;
    struct pace pace;
    uint64_t published;
    uint64_t unknown;
    uint64_t failed;
    int first_error;
    uint64_t first_offset;
    uint64_t last_offset;
    uint64_t repeated; /* batches sent again under --once */
};

static void done(void *ud, int result, uint64_t offset)
{
    struct pub *self = ud;
    if (result == RG_OK) {
        self->published++;
        self->first_offset = self->first_offset == 0 ? offset : self->first_offset;
        self->last_offset = offset;
        return;
    }
    self->unknown += result == RG_ERR_TIMEOUT;
    self->failed += result != RG_ERR_TIMEOUT;
    self->first_error = self->first_error == 0 ? result : self->first_error;
}

static int pub_in_background(struct pub *self, struct lines *lines,
                             const struct rg_message *template)
{
    struct span line;
    int result = lines_next(lines, &line);
    while (result == 1 && self->first_error == 0) {
        struct rg_message message = *template;
        message.payload = (struct rg_bytes){line.data, line.size};
        result = rg_publish_async(self->ctl->client, self->stream, &message, done, self);
        pace_step(&self->pace, 1);
        result = result == 0 ? lines_next(lines, &line) : result;
    }
    int flushed = rg_flush(self->ctl->client, (uint32_t) self->ctl->timeout_ms + 1000);
    return result < 0 ? result : flushed;
}

/* --- once --- */

struct batch {
    struct rg_message messages[PUB_BATCH_LINES];
    size_t ends[PUB_BATCH_LINES]; /* of each line in `text` */
    size_t count;
    struct buf text;
};

/* Where the stream ends now; waits for a server for up to PUB_RETRY_MS. */
static int find_next(struct pub *self, uint64_t *ret_next)
{
    uint64_t until = timesource_monotonic_ms(timesource_system()) + PUB_RETRY_MS;
    struct rg_stream_info info;
    int result = 0;
    do {
        result = rg_stream_describe(self->ctl->client, self->stream, &info);
        if (result == RG_OK) {
            *ret_next = info.next_offset;
        }
    } while (result < 0 && rg_error_is_retryable(result) &&
             timesource_monotonic_ms(timesource_system()) < until);
    return result;
}

/* Store one batch at exactly *next, whatever happens to servers meanwhile. */
static int publish_once(struct pub *self, struct batch *batch, uint64_t *next)
{
    size_t start = 0;
    for (size_t i = 0; i < batch->count; i++) {
        batch->messages[i].payload =
            (struct rg_bytes){batch->text.data + start, batch->ends[i] - start};
        start = batch->ends[i];
    }
    struct rg_expect expect = {.what = RG_EXPECT_NEXT_OFFSET, .next_offset = *next};
    uint64_t until = timesource_monotonic_ms(timesource_system()) + PUB_RETRY_MS;
    for (;;) {
        struct rg_published published = {0};
        int result = rg_publish_batch(self->ctl->client, self->stream, batch->messages,
                                      batch->count, &expect, &published);
        if (result == RG_OK) {
            break;
        }
        if (result != RG_ERR_TIMEOUT && result != RG_ERR_WRONG_OFFSET &&
            !rg_error_is_retryable(result)) {
            return result;
        }
        if (timesource_monotonic_ms(timesource_system()) > until) {
            return result;
        }
        /* Unknown, or refused: the end of the stream tells whether the batch is there. */
        uint64_t end = 0;
        int found = find_next(self, &end);
        if (found < 0) {
            return found;
        }
        self->repeated++;
        if (end == *next + batch->count) {
            break;
        }
        if (end != *next) {
            return RG_ERR_WRONG_OFFSET; /* somebody else publishes here */
        }
    }
    self->first_offset = self->first_offset == 0 ? *next : self->first_offset;
    *next += batch->count;
    self->last_offset = *next - 1;
    self->published += batch->count;
    pace_step(&self->pace, batch->count);
    batch->count = 0;
    buf_reset(&batch->text);
    return 0;
}

static int pub_once(struct pub *self, struct lines *lines, const struct rg_message *template)
{
    struct batch *batch = MEM_NEW(struct batch);
    struct span line;
    uint64_t next = 0;
    /* A slow pace wants small batches, or it would come in bursts. */
    size_t lines_max = self->pace.rate > 0 && self->pace.rate / 50 < PUB_BATCH_LINES
                           ? (size_t) self->pace.rate / 50 + 1
                           : PUB_BATCH_LINES;
    int result = find_next(self, &next);
    while (result == 0) {
        int got = lines_next(lines, &line);
        if (got <= 0) {
            result = got;
            break;
        }
        buf_append(&batch->text, line);
        batch->messages[batch->count] = *template;
        batch->ends[batch->count++] = batch->text.size;
        if (batch->count >= lines_max || batch->text.size >= PUB_BATCH_BYTES) {
            result = publish_once(self, batch, &next);
        }
    }
    if (result == 0 && batch->count > 0) {
        result = publish_once(self, batch, &next);
    }
    self->failed += batch->count;
    buf_release(&batch->text);
    mem_free(batch);
    return result;
}

static int show(struct pub *self, uint64_t us)
{
    struct output *out = output_new(self->ctl->format);
    output_object(out, NULL);
    output_text(out, "stream", span_of(self->stream));
    output_number(out, "published", self->published);
    output_number(out, "unknown", self->unknown);
    output_number(out, "failed", self->failed);
    output_number(out, "repeated_batches", self->repeated);
    output_number(out, "first_offset", self->first_offset);
    output_number(out, "last_offset", self->last_offset);
    output_real(out, "seconds", (double) us / 1e6, 3);
    output_end(out);
    return output_finish(&out) < 0 ? CTL_FAILED : CTL_OK;
}

int cmd_pub(struct ctl *ctl, int argc, char **argv)
{
    const char *path = NULL;
    const char *key = NULL;
    uint64_t rate = 0;
    bool once = false;
    const struct option_spec specs[] = {
        {"file", 'f', OPTION_TEXT, &path, "FILE", "instead of standard input"},
        {"once", '1', OPTION_FLAG, &once, NULL,
         "each line exactly once, though servers die; you must be the only publisher"},
        {"key", 'k', OPTION_TEXT, &key, "KEY", "of every record"},
        {"rate", 'r', OPTION_NUMBER, &rate, "N", "at most N lines a second"},
    };
    const struct command_help help = {"adminctl pub STREAM [--file FILE] [options]",
                                      "Publish each line as one record. Returns when all are on "
                                      "stable storage: exit code 0 means that every line is."};
    struct options_result args;
    int exit_code = 0;

    if (options_parse(&help, specs, OPTIONS_COUNT(specs), argc, argv, 1, 1, &args, &exit_code) <
        0) {
        return exit_code;
    }
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
    if (fd < 0) {
        (void) fprintf(stderr, "adminctl: cannot open '%s': %s\n", path, strerror(errno));
        return CTL_FAILED;
    }
    struct pub self = {.ctl = ctl, .stream = args.arguments[0]};
    struct lines lines;
    struct rg_message template = {.key = {key, key != NULL ? strlen(key) : 0}};
    lines_init(&lines, fd);
    int result = ctl_connect(ctl);
    if (result == 0) {
        pace_start(&self.pace, "published", 0, rate);
        int error =
            once ? pub_once(&self, &lines, &template) : pub_in_background(&self, &lines, &template);
        uint64_t us = pace_stop(&self.pace);
        result = show(&self, us);
        if (error < 0 || self.first_error < 0) {
            error = self.first_error < 0 ? self.first_error : error;
            result = ctl_fail(ctl, error, rg_last_error(ctl->client),
                              "not every line is stored in '%s'", self.stream);
        }
    }
    lines_release(&lines);
    if (path != NULL) {
        (void) close(fd); /* it was only read */
    }
    return result;
}
