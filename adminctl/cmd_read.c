/* read: a stream in order, without a group. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/str.h"

#include "adminctl/ctl.h"
#include "adminctl/format.h"
#include "adminctl/options.h"

enum { WRITE_AT_BYTES = 64 << 10 };

struct printing {
    const char *format;
    bool json;
    struct buf out;
    bool failed;
};

static void print_flush(struct printing *self)
{
    if (self->out.size > 0 &&
        (fwrite(self->out.data, 1, self->out.size, stdout) != self->out.size ||
         fflush(stdout) != 0)) {
        self->failed = true; /* a closed pipe: the reader has enough */
    }
    buf_reset(&self->out);
}

/* Print until the end (or for ever with --follow). A ctl_exit. */
static int print_all(struct ctl *ctl, struct rg_reader *reader, struct printing *printing,
                     uint64_t count, bool follow)
{
    int exit_code = CTL_OK;
    uint64_t seen = 0;
    while (seen < count && !printing->failed) {
        struct rg_record record;
        int result = rg_reader_next(reader, 0, &record);
        if (result == RG_ERR_AGAIN) {
            print_flush(printing);
            if (!follow && rg_reader_offset(reader) >= rg_reader_end(reader) &&
                rg_reader_end(reader) != 0) {
                break;
            }
            result = rg_reader_next(reader, follow ? 1000 : (uint32_t) ctl->timeout_ms, &record);
        }
        if (result == RG_ERR_AGAIN) {
            if (!follow) {
                break;
            }
            continue;
        }
        if (result == RG_ERR_CORRUPT) { /* said, and read on: nothing is passed over silently */
            exit_code = ctl_fail(ctl, result, rg_last_error(ctl->client),
                                 "a part of the stream cannot be read");
            continue;
        }
        if (result < 0) {
            exit_code = ctl_fail(ctl, result, rg_last_error(ctl->client), "cannot read on");
            break;
        }
        if (printing->json) {
            format_json(&printing->out, &record);
        } else {
            format_record(&printing->out, printing->format, &record);
        }
        seen++;
        if (printing->out.size >= WRITE_AT_BYTES) {
            print_flush(printing);
        }
    }
    print_flush(printing);
    return exit_code;
}

int cmd_read(struct ctl *ctl, int argc, char **argv)
{
    const char *from = "first";
    const char *format = "%p\\n";
    uint64_t count = UINT64_MAX;
    bool follow = false;
    const struct option_spec specs[] = {
        {"from", 0, OPTION_TEXT, &from, "WHERE", "where to begin: " CTL_START_FORMS},
        {"count", 'n', OPTION_NUMBER, &count, "N", "at most N records"},
        {"follow", 'F', OPTION_FLAG, &follow, NULL, "do not stop at the end: wait for more"},
        {"format", 'f', OPTION_TEXT, &format, "TEXT",
         "%o offset %p payload %t time %k key %i id %h headers %s size; default '%p\\n'"},
    };
    const struct command_help help = {
        "adminctl read STREAM [--from WHERE] [options]",
        "Print records in order, to the end of the stream. With -o json: one object a line."};
    struct options_result args;
    int exit_code = 0;
    struct rg_start start;
    struct rg_reader *reader = NULL;

    if (options_parse(&help, specs, OPTIONS_COUNT(specs), argc, argv, 1, 1, &args, &exit_code) <
        0) {
        return exit_code;
    }
    if (ctl_start_parse(from, &start) < 0) {
        return ctl_usage("read: --from is %s, not '%s'", CTL_START_FORMS, from);
    }
    if (format_check(format) != NULL) {
        return ctl_usage("read: --format: %s", format_check(format));
    }
    int result = ctl_connect(ctl);
    if (result != 0) {
        return result;
    }
    result = rg_reader_open(ctl->client, args.arguments[0], start, &reader);
    if (result < 0) {
        return ctl_fail(ctl, result, rg_last_error(ctl->client), "cannot read stream '%s'",
                        args.arguments[0]);
    }
    struct printing printing = {.format = format, .json = ctl->format == OUTPUT_JSON};
    result = print_all(ctl, reader, &printing, count, follow);
    rg_reader_close(&reader);
    buf_release(&printing.out);
    return result;
}
