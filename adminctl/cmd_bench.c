/* bench: the command around the works. */
#include <stdio.h>
#include <string.h>

#include "common/base/err.h"

#include "adminctl/bench.h"
#include "adminctl/options.h"

enum {
    EPHEMERAL_INFLIGHT_BYTES = 1 << 20,
    EPHEMERAL_INFLIGHT_MIN = 16,
};
enum {
    BATCH_DEFAULT = 520,
    /* a multiple of BENCH_FILLERS: payloads need not be filled anew */ BATCH_DEFAULT_BYTES = 2
                                                                                              << 20,
    BATCH_BYTES_MAX = 48 << 20
};
#define BATCH_BY_SIZE    UINT64_MAX
#define INFLIGHT_OF_WORK UINT64_MAX

static int show(struct ctl *ctl, const struct bench_result *result)
{
    double seconds = (double) (result->seconds_us > 0 ? result->seconds_us : 1) / 1e6;
    struct output *out = output_new(ctl->format);
    output_object(out, NULL);
    output_text(out, "work", span_of(result->work));
    output_number(out, "count", result->count);
    output_real(out, "seconds", seconds, 6);
    uint64_t done = result->lost < result->count ? result->count - result->lost : 0;
    output_real(out, "msgs_per_s", (double) done / seconds, 0);
    output_real(out, "mb_per_s", (double) result->bytes / seconds / 1e6, 2);
    output_real(out, "p50_us", result->p50_us, 2);
    output_real(out, "p99_us", result->p99_us, 2);
    output_number(out, "lost", result->lost);
    output_number(out, "out_of_order", result->out_of_order);
    output_number(out, "duplicates", result->duplicates);
    output_number(out, "corrupt", result->corrupt);
    if (result->delivered > 0) {
        output_number(out, "delivered", result->delivered);
        output_real(out, "delivered_per_s", (double) result->delivered / seconds, 0);
    }
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

typedef int work_fn(struct ctl *ctl, const struct bench_options *options,
                    struct bench_result *ret_result);

static const struct work {
    const char *name;
    work_fn *run;
    uint64_t inflight; /* its default */
} works[] = {
    {"publish", bench_publish, 65536}, {"consume", bench_consume, 65536},
    {"read", bench_read, 65536},       {"ephemeral", bench_ephemeral, 8192},
    {"request", bench_request, 1},
};

static const struct work *work_find(const char *name)
{
    for (size_t i = 0; i < sizeof(works) / sizeof(works[0]); i++) {
        if (strcmp(works[i].name, name) == 0) {
            return &works[i];
        }
    }
    return NULL;
}

/* The default. What the server queues for a subscriber is bounded in messages, and what is quick in bytes. */
static uint64_t inflight_of(const struct work *work, const struct bench_options *bench)
{
    uint64_t fit = EPHEMERAL_INFLIGHT_BYTES / (bench->size > 0 ? bench->size : 1);
    if (work->run != bench_ephemeral || fit >= work->inflight) {
        return work->inflight;
    }
    return fit > EPHEMERAL_INFLIGHT_MIN ? fit : EPHEMERAL_INFLIGHT_MIN;
}

/* NULL, or what is wrong. */
static const char *check(struct bench_options *bench)
{
    if (bench->size < BENCH_PAYLOAD_MIN || bench->size > 1 << 20) {
        return "--size is between 16 and 1M";
    }
    if (bench->batch == BATCH_BY_SIZE) {
        uint64_t fit = BATCH_DEFAULT_BYTES / bench->size;
        bench->batch = fit < BATCH_DEFAULT ? fit : BATCH_DEFAULT;
    }
    if (bench->batch == 0 || bench->batch > 65536 || bench->streams == 0 ||
        bench->streams > 1000000 || bench->inflight == 0 || bench->inflight > 16 << 20 ||
        bench->count == 0) {
        return "--batch is between 1 and 65,536, --streams between 1 and 1,000,000, --inflight "
               "and --count above 0";
    }
    if (bench->batch * bench->size > BATCH_BYTES_MAX) {
        return "no server takes a batch of more than 48 MiB: less --batch or --size";
    }
    if (bench->members == 0 || bench->members > 1000 ||
        (bench->members > 1 && bench->streams > 1)) {
        return "--members is between 1 and 1,000, and goes with one stream";
    }
    if (bench->subs == 0 || bench->subs > 10000 || bench->topics == 0 || bench->topics > 10000000 ||
        bench->groups > bench->subs) {
        return "--subs is between 1 and 10,000, --topics between 1 and 10,000,000, --groups at "
               "most --subs";
    }
    if (bench->topics > 1 && (bench->groups > 0 || bench->topics < bench->subs)) {
        return "--topics goes without --groups, and there are at least as many as --subs";
    }
    return NULL;
}

int cmd_bench(struct ctl *ctl, int argc, char **argv)
{
    struct bench_options bench = {.group = "bench",
                                  .count = 1000000,
                                  .size = 100,
                                  .inflight = INFLIGHT_OF_WORK,
                                  .batch = BATCH_BY_SIZE,
                                  .streams = 1,
                                  .members = 1,
                                  .subs = 1,
                                  .topics = 1};
    bool json = false;
    const struct option_spec specs[] = {
        {"count", 'n', OPTION_NUMBER, &bench.count, "N", "records (default 1,000,000)"},
        {"size", 0, OPTION_SIZE, &bench.size, "BYTES",
         "payload of each, at least 16 (default 100)"},
        {"inflight", 0, OPTION_NUMBER, &bench.inflight, "N",
         "records unanswered, unacknowledged or undelivered at once (default 65,536; ephemeral "
         "8,192 or 1 MiB; request 1)"},
        {"batch", 0, OPTION_NUMBER, &bench.batch, "N",
         "records in a publish request (default 520, fewer if they are over 2 MiB)"},
        {"streams", 0, OPTION_NUMBER, &bench.streams, "N",
         "spread batches over STREAM-0 .. STREAM-(N-1)"},
        {"group", 'g', OPTION_TEXT, &bench.group, "GROUP", "of consume (default bench)"},
        {"members", 0, OPTION_NUMBER, &bench.members, "N", "consumers of the group (default 1)"},
        {"ids", 0, OPTION_FLAG, &bench.ids, NULL, "give each record a random 16-byte id"},
        {"subs", 0, OPTION_NUMBER, &bench.subs, "N",
         "ephemeral: subscribers; each gets every message (default 1)"},
        {"topics", 0, OPTION_NUMBER, &bench.topics, "N",
         "ephemeral: spread messages over N topics; subscriber i has the wildcard STREAM.i.*"},
        {"groups", 0, OPTION_NUMBER, &bench.groups, "N",
         "ephemeral: the subscribers are members of N groups"},
        {"json", 0, OPTION_FLAG, &json, NULL, "the result as one JSON object (as -o json)"},
    };
    const struct command_help help = {
        "adminctl bench publish|consume|read|ephemeral|request STREAM [options]",
        "Measure, and check count, order and payload of everything. publish makes its streams; "
        "consume and read expect what a\n"
        "publish with the same --count, --size, --batch and --streams stored in fresh streams. "
        "ephemeral and request use STREAM as the topic."};
    struct options_result args;
    struct bench_result result = {0};
    int exit_code = 0;

    if (options_parse(&help, specs, OPTIONS_COUNT(specs), argc, argv, 2, 2, &args, &exit_code) <
        0) {
        return exit_code;
    }
    const struct work *work = work_find(args.arguments[0]);
    if (work == NULL) {
        return ctl_usage(
            "bench: the work is publish, consume, read, ephemeral or request, not '%s'",
            args.arguments[0]);
    }
    bench.stream = args.arguments[1];
    if (bench.inflight == INFLIGHT_OF_WORK) {
        bench.inflight = inflight_of(work, &bench);
    }
    if (work->run == bench_ephemeral && bench.batch != BATCH_BY_SIZE &&
        bench.batch > bench.inflight) {
        return ctl_usage("bench: --batch is at most --inflight");
    }
    const char *problem = check(&bench);
    if (problem == NULL && work->run == bench_ephemeral && bench.batch > bench.inflight) {
        bench.batch = bench.inflight;
    }
    if (problem != NULL) {
        return ctl_usage("bench: %s", problem);
    }
    ctl->format = json ? OUTPUT_JSON : ctl->format;
    int error = ctl_connect(ctl);
    if (error != 0) {
        return error;
    }
    error = work->run(ctl, &bench, &result);
    if (error < 0) {
        return ctl_fail(ctl, error, rg_last_error(ctl->client), "bench %s ended after %llu records",
                        work->name, (unsigned long long) (result.count - result.lost));
    }
    return show(ctl, &result);
}
