/* bench: the command around the three works. */
#include <stdio.h>
#include <string.h>

#include "common/base/err.h"

#include "adminctl/bench.h"
#include "adminctl/options.h"

enum { BATCH_DEFAULT = 512, BATCH_DEFAULT_BYTES = 2 << 20, BATCH_BYTES_MAX = 48 << 20 };
#define BATCH_BY_SIZE UINT64_MAX

static int show(struct ctl *ctl, const struct bench_result *result)
{
    double seconds = (double) (result->seconds_us > 0 ? result->seconds_us : 1) / 1e6;
    struct output *out = output_new(ctl->format);
    output_object(out, NULL);
    output_text(out, "work", span_of(result->work));
    output_number(out, "count", result->count);
    output_real(out, "seconds", seconds, 6);
    output_real(out, "msgs_per_s", (double) (result->count - result->lost) / seconds, 0);
    output_real(out, "mb_per_s", (double) result->bytes / seconds / 1e6, 2);
    output_real(out, "p50_us", result->p50_us, 2);
    output_real(out, "p99_us", result->p99_us, 2);
    output_number(out, "lost", result->lost);
    output_number(out, "out_of_order", result->out_of_order);
    output_number(out, "duplicates", result->duplicates);
    output_number(out, "corrupt", result->corrupt);
    output_end(out);
    if (output_finish(&out) < 0) {
        return CTL_FAILED;
    }
    if (result->lost + result->out_of_order + result->duplicates + result->corrupt > 0) {
        (void) fprintf(stderr,
                       "adminctl: bench %s: the result is WRONG: see lost, out_of_order, "
                       "duplicates, corrupt\n",
                       result->work);
        return CTL_FAILED;
    }
    return CTL_OK;
}

int cmd_bench(struct ctl *ctl, int argc, char **argv)
{
    struct bench_options bench = {.group = "bench",
                                  .count = 1000000,
                                  .size = 100,
                                  .inflight = 65536,
                                  .batch = BATCH_BY_SIZE,
                                  .streams = 1};
    bool json = false;
    const struct option_spec specs[] = {
        {"count", 'n', OPTION_NUMBER, &bench.count, "N", "records (default 1,000,000)"},
        {"size", 0, OPTION_SIZE, &bench.size, "BYTES",
         "payload of each, at least 16 (default 100)"},
        {"inflight", 0, OPTION_NUMBER, &bench.inflight, "N",
         "records unanswered, or unacknowledged, at once (default 65,536)"},
        {"batch", 0, OPTION_NUMBER, &bench.batch, "N",
         "records in a publish request (default 512, fewer if they are over 2 MiB)"},
        {"streams", 0, OPTION_NUMBER, &bench.streams, "N",
         "spread batches over STREAM-0 .. STREAM-(N-1)"},
        {"group", 'g', OPTION_TEXT, &bench.group, "GROUP", "of consume (default bench)"},
        {"ids", 0, OPTION_FLAG, &bench.ids, NULL, "give each record a random 16-byte id"},
        {"json", 0, OPTION_FLAG, &json, NULL, "the result as one JSON object (as -o json)"},
    };
    const struct command_help help = {
        "adminctl bench publish|consume|read STREAM [options]",
        "Measure, and check count, order and payload of everything. publish makes its streams; "
        "consume and read expect what a\n"
        "publish with the same --count, --size, --batch and --streams stored in fresh streams."};
    struct options_result args;
    struct bench_result result = {0};
    int exit_code = 0;

    if (options_parse(&help, specs, OPTIONS_COUNT(specs), argc, argv, 2, 2, &args, &exit_code) <
        0) {
        return exit_code;
    }
    const char *work = args.arguments[0];
    bench.stream = args.arguments[1];
    if (strcmp(work, "publish") != 0 && strcmp(work, "consume") != 0 && strcmp(work, "read") != 0) {
        return ctl_usage("bench: the work is publish, consume or read, not '%s'", work);
    }
    if (bench.size < BENCH_PAYLOAD_MIN || bench.size > 1 << 20) {
        return ctl_usage("bench: --size is between 16 and 1M");
    }
    if (bench.batch == BATCH_BY_SIZE) {
        uint64_t fit = BATCH_DEFAULT_BYTES / bench.size;
        bench.batch = fit < BATCH_DEFAULT ? fit : BATCH_DEFAULT;
    }
    if (bench.batch == 0 || bench.batch > 65536 || bench.streams == 0 || bench.streams > 1000000 ||
        bench.inflight == 0 || bench.count == 0) {
        return ctl_usage("bench: --batch is between 1 and 65,536, --streams between 1 and "
                         "1,000,000, --inflight and --count above 0");
    }
    if (bench.batch * bench.size > BATCH_BYTES_MAX) {
        return ctl_usage(
            "bench: no server takes a batch of more than 48 MiB: less --batch or --size");
    }
    ctl->format = json ? OUTPUT_JSON : ctl->format;
    int error = ctl_connect(ctl);
    if (error != 0) {
        return error;
    }
    if (strcmp(work, "publish") == 0) {
        error = bench_publish(ctl, &bench, &result);
    } else if (strcmp(work, "consume") == 0) {
        error = bench_consume(ctl, &bench, &result);
    } else {
        error = bench_read(ctl, &bench, &result);
    }
    if (error < 0) {
        return ctl_fail(ctl, error, rg_last_error(ctl->client), "bench %s ended after %llu records",
                        work, (unsigned long long) (result.count - result.lost));
    }
    return show(ctl, &result);
}
