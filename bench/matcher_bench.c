/* matcher_bench: what a lookup in the topic index costs, above all for those who mean harm. Usage: matcher_bench [bombs [FILTER] | memory |
 * holders]; default: all. Time is of this machine; the tests assert steps instead. */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/rand.h"
#include "common/base/topic.h"
#include "routerd/matcher.h"
#include "tests/unit/routerd/bombs.h"

enum { LOOKUPS = 4000, MATCHERS = 200000, MILLION = 1000000 };

/* Of this thread: what others do on the machine is not counted. */
static uint64_t now_ns(void)
{
    struct timespec now;
    (void) clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t) now.tv_sec * 1000000000U + (uint64_t) now.tv_nsec;
}

static void count_one(void *ud, uint64_t holder)
{
    (void) holder;
    ++*(uint64_t *) ud;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *) a;
    uint64_t y = *(const uint64_t *) b;
    return x < y ? -1 : x > y;
}

static void bench_bomb(const struct bomb *bomb)
{
    static uint64_t times[LOOKUPS];
    struct matcher *matcher = matcher_new(7);
    struct prng prng;
    char text[TOPIC_SIZE_MAX + 1];
    prng_init(&prng, 1);
    uint64_t begin = now_ns();
    uint64_t adds = 0;
    /* Some kinds have fewer than so many. */
    while (adds < MATCHERS * 4 && matcher_texts(matcher) < MATCHERS) {
        size_t size = bomb->matcher(&prng, adds, text);
        matcher_add(matcher, span_make(text, size), adds++);
    }
    double add_ns = (double) (now_ns() - begin) / (double) adds;
    uint64_t found = 0;
    uint64_t steps = matcher_steps(matcher);
    for (size_t i = 0; i < LOOKUPS; i++) {
        size_t size = bomb->topic(&prng, i, text);
        uint64_t start = now_ns();
        matcher_find(matcher, span_make(text, size), count_one, &found);
        times[i] = now_ns() - start;
    }
    qsort(times, LOOKUPS, sizeof(times[0]), compare);
    printf("%-58s %7" PRIu64 " %6.0f %8.1f %8.1f %8.1f %9.1f %8.1f %5.0f\n", bomb->name,
           matcher_texts(matcher), add_ns, (double) times[LOOKUPS / 2] / 1e3,
           (double) times[LOOKUPS * 99 / 100] / 1e3, (double) times[LOOKUPS - 1] / 1e3,
           (double) (matcher_steps(matcher) - steps) / LOOKUPS, (double) found / LOOKUPS,
           (double) matcher_bytes(matcher) / (double) matcher_texts(matcher));
    matcher_destroy(&matcher);
}

static void bench_bombs(const char *filter)
{
    printf("%-58s %7s %6s %8s %8s %8s %9s %8s %5s\n", "matchers", "number", "add ns", "p50 us",
           "p99 us", "max us", "steps", "found", "bytes");
    for (size_t i = 0; i < bomb_count; i++) {
        if (strstr(bombs[i].name, filter) != NULL) {
            bench_bomb(&bombs[i]);
        }
    }
}

static size_t heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* A million of them: bytes of heap beyond the text, the time of an add, a remove and an add again, and of a lookup. */
static void bench_million(const char *name, size_t (*make)(struct prng *, uint64_t, char *))
{
    static uint64_t times[LOOKUPS];
    size_t before = heap_bytes();
    struct matcher *matcher = matcher_new(7);
    struct prng prng;
    char text[TOPIC_SIZE_MAX + 1];
    uint64_t text_bytes = 0;
    prng_init(&prng, 2);
    uint64_t begin = now_ns();
    for (uint64_t i = 0; i < MILLION; i++) {
        size_t size = make(&prng, i, text);
        matcher_add(matcher, span_make(text, size), i);
        text_bytes += size;
    }
    double add_ns = (double) (now_ns() - begin) / MILLION;
    double bytes = (double) (heap_bytes() - before - text_bytes) / MILLION;
    double said = ((double) matcher_bytes(matcher) - (double) text_bytes) / MILLION;
    uint64_t found = 0;
    for (size_t i = 0; i < LOOKUPS; i++) {
        size_t size = make(&prng, prng_below(&prng, MILLION), text);
        for (size_t k = 0; k < size; k++) {
            text[k] = text[k] == '*' || text[k] == '#' ? 'x' : text[k];
        }
        uint64_t start = now_ns();
        matcher_find(matcher, span_make(text, size), count_one, &found);
        times[i] = now_ns() - start;
    }
    qsort(times, LOOKUPS, sizeof(times[0]), compare);
    begin = now_ns();
    for (uint64_t i = 0; i < 300000; i++) {
        uint64_t which = prng_below(&prng, MILLION);
        size_t size = make(&prng, which, text);
        if (matcher_remove(matcher, span_make(text, size), which)) {
            matcher_add(matcher, span_make(text, size), which);
        }
    }
    double churn_ns = (double) (now_ns() - begin) / 600000;
    printf("%-40s %7" PRIu64 " %6.0f %6.0f %8.0f %8.1f %8.1f %8.1f %8.1f\n", name,
           matcher_texts(matcher), bytes, said, add_ns, churn_ns, (double) times[LOOKUPS / 2] / 1e3,
           (double) times[LOOKUPS * 99 / 100] / 1e3, (double) found / LOOKUPS);
    matcher_destroy(&matcher);
    (void) malloc_trim(0);
}

static size_t make_literal(struct prng *prng, uint64_t i, char *out)
{
    (void) prng;
    return (size_t) snprintf(out, TOPIC_SIZE_MAX, "site%" PRIu64 ".dev%" PRIu64 ".temp%s", i % 1000,
                             i / 1000,
                             i % 3 == 0   ? ""
                             : i % 3 == 1 ? ".avg"
                                          : ".avg.hour");
}

static size_t make_wildcard(struct prng *prng, uint64_t i, char *out)
{
    (void) prng;
    static const char *const forms[] = {
        "site%" PRIu64 ".*.dev%" PRIu64, "site%" PRIu64 ".dev%" PRIu64 ".#",
        "*.s%" PRIu64 ".d%" PRIu64 ".temp", "#.s%" PRIu64 ".#.d%" PRIu64};
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    return (size_t) snprintf(out, TOPIC_SIZE_MAX, forms[i % 4], i % 1000, i / 1000);
}

static size_t make_unique(struct prng *prng, uint64_t i, char *out)
{
    (void) prng;
    return (size_t) snprintf(out, TOPIC_SIZE_MAX, "device.d%" PRIu64 ".#", i);
}

static size_t make_ten(struct prng *prng, uint64_t i, char *out)
{
    (void) prng;
    return (size_t) snprintf(out, TOPIC_SIZE_MAX, "room.r%" PRIu64 ".chat", i / 10);
}

static size_t make_one(struct prng *prng, uint64_t i, char *out)
{
    (void) prng;
    (void) i;
    return (size_t) snprintf(out, TOPIC_SIZE_MAX, "news.*.all");
}

static void bench_memory(void)
{
    printf("%-40s %7s %6s %6s %8s %8s %8s %8s %8s\n", "a million", "texts", "bytes", "said",
           "add ns", "churn ns", "p50 us", "p99 us", "found");
    bench_million("literal, 3 to 5 words", make_literal);
    bench_million("two words and wildcards", make_wildcard);
    bench_million("device.ID.#", make_unique);
    bench_million("ten holders a topic", make_ten);
    bench_million("all hold one matcher", make_one);
}

static void bench_holders(void)
{
    struct matcher *matcher = matcher_new(7);
    for (uint64_t i = 0; i < 10000; i++) {
        matcher_add(matcher, span_of("a.b"), i * 977);
    }
    for (int twice = 0; twice < 2; twice++) {
        uint64_t found = 0;
        uint64_t begin = now_ns();
        for (int i = 0; i < 1000; i++) {
            matcher_find(matcher, span_of("a.b"), count_one, &found);
        }
        printf("10,000 holders, %s: %.1f ns each (%" PRIu64 " found)\n",
               twice ? "each by two matchers" : "of one matcher", (double) (now_ns() - begin) / 1e7,
               found / 1000);
        for (uint64_t i = 0; i < 10000; i++) {
            matcher_add(matcher, span_of("a.*"), i * 977);
        }
    }
    matcher_destroy(&matcher);
}

int main(int argc, char **argv)
{
    (void) setvbuf(stdout, NULL, _IOLBF, 0);
    const char *part = argc > 1 ? argv[1] : "all";
    bool all = strcmp(part, "all") == 0;
    if (all || strcmp(part, "bombs") == 0) {
        bench_bombs(argc > 2 ? argv[2] : "");
    }
    if (all || strcmp(part, "memory") == 0) {
        bench_memory();
    }
    if (all || strcmp(part, "holders") == 0) {
        bench_holders();
    }
    return 0;
}
