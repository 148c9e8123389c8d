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

#include "adminctl/options.h"
#include "adminctl/pub.h"

enum { PUB_RETRY_MS = 60000, PUB_HEADERS_MAX = 32 };

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

static int pub_in_background(struct pub *self, struct lines *lines)
{
    struct span line;
    int result = lines_next(lines, &line);
    while (result == 1 && self->first_error == 0) {
        struct rg_message message = self->template;
        message.payload = (struct rg_bytes){line.data, line.size};
        self->lines++;
        result = rg_publish_async(self->ctl->client, self->stream, &message, done, self);
        pace_step(&self->pace, 1);
        result = result == 0 ? lines_next(lines, &line) : result;
    }
    int flushed = rg_flush(self->ctl->client, (uint32_t) self->ctl->timeout_ms + 1000);
    return result < 0 ? result : flushed;
}

/* --- once --- */

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
static int publish_once(struct pub *self, struct pub_batch *batch, uint64_t *next)
{
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
    pub_batch_reset(batch);
    return 0;
}

static int pub_once(struct pub *self, struct lines *lines)
{
    struct pub_batch *batch = MEM_NEW(struct pub_batch);
    uint64_t next = 0;
    bool at_end = false;
    /* A slow pace wants small batches, or it would come in bursts. */
    size_t lines_max = self->pace.rate > 0 && self->pace.rate / 50 < PUB_BATCH_LINES
                           ? (size_t) self->pace.rate / 50 + 1
                           : PUB_BATCH_LINES;
    int result = find_next(self, &next);
    while (result == 0 && !at_end) {
        result = pub_batch_fill(batch, self, lines, lines_max, &at_end);
        if (result == 0 && batch->count > 0) {
            result = publish_once(self, batch, &next);
        }
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
    output_number(out, "duplicates", self->duplicates);
    output_number(out, "unknown", self->unknown);
    output_number(out, "failed", self->failed);
    output_number(out, "repeated_batches", self->repeated);
    output_number(out, "first_offset", self->first_offset);
    output_number(out, "last_offset", self->last_offset);
    output_real(out, "seconds", (double) us / 1e6, 3);
    output_end(out);
    return output_finish(&out) < 0 ? CTL_FAILED : CTL_OK;
}

/* --- the command --- */

struct pub_options {
    const char *path;
    const char *key;
    const char *id;
    const char *fence;
    const char *last_id;
    struct option_texts headers;
    uint64_t rate;
    uint64_t next_offset;
    bool once;
    bool no_stream;
};

/* 0, or a ctl_exit after having said what is wrong. */
static int take_headers(const struct option_texts *texts, struct rg_header *headers,
                        struct rg_message *template)
{
    if (texts->count > PUB_HEADERS_MAX) {
        return ctl_usage("pub: more than %d headers", (int) PUB_HEADERS_MAX);
    }
    for (size_t i = 0; i < texts->count; i++) {
        const char *text = texts->values[i];
        const char *equals = strchr(text, '=');
        if (equals == NULL || equals == text) {
            return ctl_usage("pub: --header NAME=VALUE");
        }
        headers[i].name = (struct rg_bytes){text, (size_t) (equals - text)};
        headers[i].value = (struct rg_bytes){equals + 1, strlen(equals + 1)};
    }
    template->headers = headers;
    template->header_count = texts->count;
    return 0;
}

static struct rg_bytes bytes_of(const char *text)
{
    return (struct rg_bytes){text, text != NULL ? strlen(text) : 0};
}

/* 0, or a ctl_exit after having said what is wrong. */
static int take_expect(const struct pub_options *options, struct rg_expect *ret_expect)
{
    struct rg_expect expect = {.what = RG_EXPECT_NOTHING, .fence = bytes_of(options->fence)};
    bool has_offset = options->next_offset != UINT64_MAX;
    int given = has_offset + options->no_stream + (options->last_id != NULL) + options->once;
    if (given > 1) {
        return ctl_usage("pub: one of --once, --expect-offset, --expect-no-stream and "
                         "--expect-last-id");
    }
    if (options->next_offset == 0) {
        return ctl_usage("pub: --expect-offset: offsets begin with 1");
    }
    if (has_offset) {
        expect.what = RG_EXPECT_NEXT_OFFSET;
        expect.next_offset = options->next_offset;
    } else if (options->no_stream) {
        expect.what = RG_EXPECT_NO_RECORDS;
    } else if (options->last_id != NULL) {
        expect.what = RG_EXPECT_LAST_ID;
        expect.last_id = bytes_of(options->last_id);
    }
    if (options->id != NULL && pub_id_problem(options->id) != NULL) {
        return ctl_usage("pub: --id: %s", pub_id_problem(options->id));
    }
    *ret_expect = expect;
    return 0;
}

static int pub_run(struct pub *self, const struct pub_options *options,
                   const struct rg_expect *expect, int fd)
{
    struct ctl *ctl = self->ctl;
    struct lines lines;
    lines_init(&lines, fd);
    int result = ctl_connect(ctl);
    if (result == 0) {
        /* With IDs it is of interest which were there already. */
        bool in_order =
            expect->what != RG_EXPECT_NOTHING || options->fence != NULL || options->id != NULL;
        pace_start(&self->pace, "published", 0, options->rate);
        int error = options->once ? pub_once(self, &lines)
                    : in_order    ? pub_in_order(self, &lines, expect)
                                  : pub_in_background(self, &lines);
        uint64_t us = pace_stop(&self->pace);
        result = show(self, us);
        if (error < 0 || self->first_error < 0) {
            error = self->first_error < 0 ? self->first_error : error;
            const char *detail =
                error == RG_ERR_BAD_REQUEST && self->first_error == error && options->id == NULL
                    ? "not a valid record; does the stream require IDs? (--id)"
                    : rg_last_error(ctl->client);
            result = ctl_fail(ctl, error, detail, "not every line is stored in '%s'", self->stream);
        }
    }
    lines_release(&lines);
    return result;
}

int cmd_pub(struct ctl *ctl, int argc, char **argv)
{
    struct pub_options options = {.next_offset = UINT64_MAX};
    const struct option_spec specs[] = {
        {"file", 'f', OPTION_TEXT, &options.path, "FILE", "instead of standard input"},
        {"once", '1', OPTION_FLAG, &options.once, NULL,
         "each line exactly once, though servers die; you must be the only publisher"},
        {"id", 'i', OPTION_TEXT, &options.id, "PATTERN",
         "message ID of each record: {n} is the line's number, {hash} that of its content, "
         "{line} the line; the rest stands for itself"},
        {"key", 'k', OPTION_TEXT, &options.key, "KEY", "of every record"},
        {"header", 'H', OPTION_TEXTS, &options.headers, "NAME=VALUE", "of every record"},
        {"expect-offset", 0, OPTION_NUMBER, &options.next_offset, "N",
         "only if the first line gets this offset, and the others follow without a gap"},
        {"expect-no-stream", 0, OPTION_FLAG, &options.no_stream, NULL,
         "only if the stream never held a record"},
        {"expect-last-id", 0, OPTION_TEXT, &options.last_id, "ID",
         "only if the newest record has this ID"},
        {"fence", 0, OPTION_TEXT, &options.fence, "TEXT", "the stream's fence"},
        {"rate", 'r', OPTION_NUMBER, &options.rate, "N", "at most N lines a second"},
    };
    const struct command_help help = {
        "adminctl pub STREAM [--file FILE] [options]",
        "Publish each line as one record. Returns when all are on stable storage: exit code 0 "
        "means that every line is.\n"
        "In a stream with deduplication a line whose ID is known is not stored again, which is no "
        "error."};
    struct options_result args;
    struct rg_header headers[PUB_HEADERS_MAX];
    struct rg_expect expect = {0};
    int exit_code = 0;

    if (options_parse(&help, specs, OPTIONS_COUNT(specs), argc, argv, 1, 1, &args, &exit_code) <
        0) {
        return exit_code;
    }
    struct pub self = {.ctl = ctl, .stream = args.arguments[0], .id = options.id};
    self.template.key = bytes_of(options.key);
    exit_code = take_headers(&options.headers, headers, &self.template);
    if (exit_code == 0) {
        exit_code = take_expect(&options, &expect);
    }
    if (exit_code != 0) {
        return exit_code;
    }
    int fd = options.path != NULL ? open(options.path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
    if (fd < 0) {
        (void) fprintf(stderr, "adminctl: cannot open '%s': %s\n", options.path, strerror(errno));
        return CTL_FAILED;
    }
    int result = pub_run(&self, &options, &expect, fd);
    if (options.path != NULL) {
        (void) close(fd); /* it was only read */
    }
    return result;
}
