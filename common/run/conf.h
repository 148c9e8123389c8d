/* conf: a daemon's configuration: defaults, then a libconfig file, then RAILGUN_<DAEMON>_<KEY> in the environment, then --set key=value; all through one table of keys with type, limits and text.
 * Unknown keys, wrong types and values out of limits are errors that name the file, the line and the remedy. Never falls back silently. */
#ifndef COMMON_RUN_CONF_H
#define COMMON_RUN_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/buf.h"

enum conf_type {
    CONF_STRING,   /* char * (owned by the values) */
    CONF_NUMBER,   /* uint64_t */
    CONF_SIZE,     /* uint64_t bytes: 8388608 or "8M" */
    CONF_DURATION, /* uint64_t milliseconds: 5000 or "5s" */
    CONF_BOOL,     /* bool */
};

struct conf_key {
    const char *name; /* "listen.port": groups by dots */
    enum conf_type type;
    size_t offset;    /* offsetof the value in the daemon's struct */
    const char *text; /* default, as it would be written in the file */
    uint64_t min;     /* of numbers, sizes, durations; of strings: length */
    uint64_t max;
    bool reloadable;  /* SIGHUP takes a new value */
    const char *help; /* one sentence */
};

struct conf_table {
    const char *daemon; /* "frontd" */
    const struct conf_key *keys;
    size_t count;
    size_t size; /* of the daemon's struct */
};

/* Fill `values` (zeroed by the callee) with the defaults. */
void conf_defaults(const struct conf_table *table, void *values);
void conf_release(const struct conf_table *table, void *values);

/* Read a file over the values. 0, or ERR_BAD_CONFIG / ERR_NOT_FOUND / ERR_IO with a readable text in `problem` (all problems, a line each);
 * the values are then undefined (release them). */
int conf_read_file(const struct conf_table *table, const char *path, void *values,
                   struct buf *problem);
/* The same from text in memory (tests and the fuzzer). */
int conf_read_text(const struct conf_table *table, const char *text, void *values,
                   struct buf *problem);
/* The environment. */
int conf_read_environment(const struct conf_table *table, void *values, struct buf *problem);
/* One "key=value". */
int conf_set(const struct conf_table *table, const char *assignment, void *values,
             struct buf *problem);

/* Take over the reloadable keys of `fresh`; returns how many changed, and appends to `report` a line for each changed key, also those that need a restart. */
unsigned conf_reload(const struct conf_table *table, void *values, const void *fresh,
                     struct buf *report);

/* A commented file with every key, its default and limits (etc/<daemon>.conf is exactly this output; a test compares). */
void conf_print(const struct conf_table *table, FILE *out);

#endif
