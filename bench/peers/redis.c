/* redis: the same work as `adminctl bench`, done by Redis Streams with hiredis, pipelined. Usage: redis WORK PORT COUNT SIZE PIPELINE;
 * prints one JSON line. Works: publish (XADD), consume (XREADGROUP + XACK), read (XRANGE). */
#include <hiredis/hiredis.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now_s(void)
{
    struct timespec t;
    (void) clock_gettime(CLOCK_MONOTONIC, &t);
    return (double) t.tv_sec + (double) t.tv_nsec * 1e-9;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *) a;
    double y = *(const double *) b;
    return (x > y) - (x < y);
}

static _Noreturn void fail(redisContext *c, const char *what)
{
    (void) fprintf(stderr, "redis: %s: %s\n", what, c != NULL ? c->errstr : "no connection");
    exit(1);
}

static redisReply *take(redisContext *c)
{
    redisReply *reply = NULL;
    if (redisGetReply(c, (void **) &reply) != REDIS_OK || reply == NULL ||
        reply->type == REDIS_REPLY_ERROR) {
        fail(c, reply != NULL ? reply->str : "no reply");
    }
    return reply;
}

static double publish(redisContext *c, long count, size_t size, long pipeline, double *latencies)
{
    char *payload = calloc(1, size);
    double start = now_s();
    for (long sent = 0; sent < count;) {
        long n = count - sent < pipeline ? count - sent : pipeline;
        double t = now_s();
        for (long i = 0; i < n; i++) {
            uint64_t number = (uint64_t) (sent + i);
            memcpy(payload, &number, sizeof(number));
            (void) redisAppendCommand(c, "XADD s0 * p %b", payload, size);
        }
        for (long i = 0; i < n; i++) {
            freeReplyObject(take(c));
        }
        if (latencies != NULL) {
            latencies[sent] = (now_s() - t) * 1e6;
        }
        sent += n;
    }
    free(payload);
    return now_s() - start;
}

/* Walk the entries of one stream's reply, check the counters, and optionally queue an XACK for all. */
static long walk(redisContext *c, const redisReply *entries, uint64_t *next, long *out_of_order,
                 int ack)
{
    const char **argv = malloc((entries->elements + 3) * sizeof(*argv));
    size_t *lengths = malloc((entries->elements + 3) * sizeof(*lengths));
    const char *head[] = {"XACK", "s0", "bench"};
    for (int i = 0; i < 3; i++) {
        argv[i] = head[i];
        lengths[i] = strlen(head[i]);
    }
    for (size_t i = 0; i < entries->elements; i++) {
        const redisReply *entry = entries->element[i];
        uint64_t number = 0;
        memcpy(&number, entry->element[1]->element[1]->str, sizeof(number));
        *out_of_order += number != *next;
        *next = number + 1;
        argv[3 + i] = entry->element[0]->str;
        lengths[3 + i] = entry->element[0]->len;
    }
    if (ack) {
        (void) redisAppendCommandArgv(c, (int) entries->elements + 3, argv, lengths);
        freeReplyObject(take(c));
    }
    free(argv);
    free(lengths);
    return (long) entries->elements;
}

static double consume(redisContext *c, long count, long batch, long *out_of_order)
{
    uint64_t next = 0;
    redisReply *made = redisCommand(c, "XGROUP CREATE s0 bench 0");
    freeReplyObject(made);
    double start = now_s();
    for (long seen = 0; seen < count;) {
        (void) redisAppendCommand(c, "XREADGROUP GROUP bench me COUNT %ld STREAMS s0 >", batch);
        redisReply *reply = take(c);
        if (reply->type != REDIS_REPLY_ARRAY || reply->elements == 0) {
            fail(c, "fewer records than published");
        }
        seen += walk(c, reply->element[0]->element[1], &next, out_of_order, 1);
        freeReplyObject(reply);
    }
    return now_s() - start;
}

static double read_all(redisContext *c, long count, long batch, long *out_of_order)
{
    uint64_t next = 0;
    char from[64] = "-";
    double start = now_s();
    for (long seen = 0; seen < count;) {
        (void) redisAppendCommand(c, "XRANGE s0 %s + COUNT %ld", from, batch);
        redisReply *reply = take(c);
        if (reply->elements == 0) {
            fail(c, "fewer records than published");
        }
        seen += walk(c, reply, &next, out_of_order, 0);
        (void) snprintf(from, sizeof(from), "(%s",
                        reply->element[reply->elements - 1]->element[0]->str);
        freeReplyObject(reply);
    }
    return now_s() - start;
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        (void) fprintf(stderr, "usage: redis publish|consume|read PORT COUNT SIZE PIPELINE\n");
        return 2;
    }
    long count = strtol(argv[3], NULL, 10);
    long pipeline = strtol(argv[5], NULL, 10);
    size_t size = (size_t) strtol(argv[4], NULL, 10);
    long out_of_order = 0;
    long samples = pipeline == 1 ? count : 0;
    double *latencies = samples != 0 ? calloc((size_t) samples, sizeof(*latencies)) : NULL;
    double seconds = 0;
    redisContext *c = redisConnect("127.0.0.1", (int) strtol(argv[2], NULL, 10));
    if (c == NULL || c->err) {
        fail(c, "connect");
    }
    if (strcmp(argv[1], "publish") == 0) {
        seconds = publish(c, count, size, pipeline, latencies);
    } else if (strcmp(argv[1], "consume") == 0) {
        seconds = consume(c, count, pipeline, &out_of_order);
    } else {
        seconds = read_all(c, count, pipeline, &out_of_order);
    }
    if (samples != 0) {
        qsort(latencies, (size_t) samples, sizeof(*latencies), by_value);
    }
    (void) printf("{\"work\":\"%s\",\"count\":%ld,\"seconds\":%.6f,\"msgs_per_s\":%.0f,\"mb_per_"
                  "s\":%.2f,\"p50_us\":%.1f,"
                  "\"p99_us\":%.1f,\"lost\":0,\"out_of_order\":%ld,\"duplicates\":0}\n",
                  argv[1], count, seconds, (double) count / seconds,
                  (double) count * (double) size / seconds / 1e6,
                  samples != 0 ? latencies[samples / 2] : 0.0,
                  samples != 0 ? latencies[samples * 99 / 100] : 0.0, out_of_order);
    redisFree(c);
    return 0;
}
