/* sim: runs seeds of the simulator. Usage: sim [--trace] [--scripts PATH] [--seed N | --first N] [--seeds N] [--seconds N] [--replay-percent N] [--file seeds.txt] [--options] [--quiet]
 * A violation prints the seed, the step and what, and how to see it again; then the next seed follows. Exit status 1 if there was one. */
#include "tests/sim/sim.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/invariant.h"

struct args {
    uint64_t first;
    uint64_t seeds;
    uint64_t seconds;
    unsigned replay_percent;
    unsigned failures_max;
    bool one;
    bool trace;
    bool options;
    bool quiet;
    const char *file;
    const char *scripts;
};

static uint64_t seed_running;  /* for the last words when an INVARIANT of the core fails */
static uint64_t digest_of_all; /* every build and compiler must print the same */

static void on_abort(int number)
{
    char text[160];
    (void) number;
    int length = snprintf(text, sizeof(text),
                          "VIOLATION seed %" PRIu64 ": an invariant of the core failed; replay: "
                          "make sim SEED=%" PRIu64 "\n",
                          seed_running, seed_running);
    ssize_t written = write(STDOUT_FILENO, text, (size_t) length);
    _exit(written > 0 ? 1 : 2);
}

static bool parse(struct args *args, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--trace") == 0) {
            args->trace = true;
        } else if (strcmp(argv[i], "--options") == 0) {
            args->options = true;
        } else if (strcmp(argv[i], "--quiet") == 0) {
            args->quiet = true;
        } else if (value == NULL) {
            return false;
        } else {
            i++;
            uint64_t number = strtoull(value, NULL, 10);
            if (strcmp(argv[i - 1], "--seed") == 0) {
                args->first = number;
                args->seeds = 1;
                args->one = true;
            } else if (strcmp(argv[i - 1], "--first") == 0) {
                args->first = number;
            } else if (strcmp(argv[i - 1], "--seeds") == 0) {
                args->seeds = number;
            } else if (strcmp(argv[i - 1], "--seconds") == 0) {
                args->seconds = number;
            } else if (strcmp(argv[i - 1], "--replay-percent") == 0) {
                args->replay_percent = (unsigned) number;
            } else if (strcmp(argv[i - 1], "--failures") == 0) {
                args->failures_max = (unsigned) number;
            } else if (strcmp(argv[i - 1], "--scripts") == 0) {
                args->scripts = value;
            } else if (strcmp(argv[i - 1], "--file") == 0) {
                args->file = value;
            } else {
                return false;
            }
        }
    }
    return true;
}

/* One seed, perhaps twice. false: violated. */
static bool seed_run(struct sim *sim, const struct args *args, uint64_t seed)
{
    seed_running = seed;
    bool well = sim_run(sim, seed, NULL);
    digest_of_all = sim_mix(digest_of_all, sim->digest);
    if (args->options) {
        swarm_print(&sim->options);
    }
    bool again = args->one || seed % 100 < args->replay_percent;
    if (well && again && !args->trace) {
        uint64_t digest = sim->digest;
        well = sim_run(sim, seed, NULL);
        if (well && sim->digest != digest) {
            (void) snprintf(sim->violation, sizeof(sim->violation),
                            "the same seed ran in two ways");
            well = false;
        }
    }
    if (!well) {
        (void) printf("VIOLATION seed %" PRIu64 ", %s\n    replay: make sim SEED=%" PRIu64 "\n",
                      seed, sim->violation, seed);
        (void) fflush(stdout);
    }
    return well;
}

static double now_s(void)
{
    struct timespec time;
    (void) clock_gettime(CLOCK_MONOTONIC, &time);
    return (double) time.tv_sec + (double) time.tv_nsec / 1e9;
}

static void print_counts(const struct sim *sim, uint64_t seeds, uint64_t failed, double seconds)
{
    double n = (double) (seeds != 0 ? seeds : 1);
    (void) printf("%" PRIu64 " seeds, %" PRIu64 " violations, %.1f s, %.1f seeds/s, digest "
                  "%016" PRIx64 "\n",
                  seeds, failed, seconds, (double) seeds / seconds, digest_of_all);
    (void) printf("a seed: %.0f events, %.0f messages, %.1f elections, %.0f commits, %.0f writes, "
                  "%.0f reads, %.1f changes, %.1f snapshots, %.2f damages, %.1f sleeps, %.3f "
                  "groups exempt\n",
                  (double) sim->count.events / n, (double) sim->count.messages / n,
                  (double) sim->count.elections / n, (double) sim->count.commits / n,
                  (double) sim->count.writes / n, (double) sim->count.reads / n,
                  (double) sim->count.changes / n, (double) sim->count.snapshots / n,
                  (double) sim->count.damages / n, (double) sim->count.slept / n,
                  (double) sim->count.exempt / n);
    for (unsigned kind = 0; kind < CHURN_KINDS; kind++) {
        (void) printf("%s %.1f%s", churn_name((enum churn_kind) kind),
                      (double) sim->count.churn[kind] / n, kind + 1 < CHURN_KINDS ? ", " : "\n");
    }
}

/* The seeds that once showed a bug: a number a line, then words. */
static uint64_t file_run(struct sim *sim, const struct args *args, uint64_t *ret_seeds)
{
    FILE *file = fopen(args->file, "r");
    char line[256];
    uint64_t failed = 0;
    if (file == NULL) {
        perror(args->file);
        return 1;
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        char *end;
        uint64_t seed = strtoull(line, &end, 10);
        if (end != line) {
            (*ret_seeds)++;
            failed += !seed_run(sim, args, seed);
        }
    }
    (void) fclose(file);
    return failed;
}

int main(int argc, char **argv)
{
    struct args args = {.first = 1, .seeds = 1000, .replay_percent = 5, .failures_max = 20};
    if (!parse(&args, argc, argv)) {
        (void) fprintf(stderr, "usage: sim [--trace] [--options] [--quiet] [--seed N | --first N] "
                               "[--seeds N] [--seconds N] [--replay-percent N] [--failures N] "
                               "[--file NAME]\n");
        return 2;
    }
    (void) signal(SIGABRT, on_abort);
    struct sim *sim = sim_new();
    sim->trace = args.trace;
    double start = now_s();
    uint64_t seeds = 0;
    if (args.scripts != NULL) {
        unsigned count = 0;
        unsigned bad = script_run(sim, args.scripts, &count);
        (void) printf("%u%%: Checks: %u, Failures: %u, Errors: 0\n", bad == 0 ? 100 : 0, count,
                      bad);
        sim_destroy(&sim);
        return bad != 0 || count == 0;
    }
    uint64_t failed = args.file != NULL ? file_run(sim, &args, &seeds) : 0;
    for (uint64_t i = 0; i < args.seeds && failed < args.failures_max; i++) {
        if (args.seconds != 0 && now_s() - start > (double) args.seconds) {
            break;
        }
        seeds++;
        failed += !seed_run(sim, &args, args.first + i);
    }
    if (!args.quiet) {
        print_counts(sim, seeds, failed, now_s() - start);
    }
    /* one seed is one check, as run.sh counts */
    (void) printf("%u%%: Checks: %" PRIu64 ", Failures: %" PRIu64 ", Errors: 0\n",
                  failed == 0 ? 100 : 0, seeds, failed);
    sim_destroy(&sim);
    return failed != 0;
}
