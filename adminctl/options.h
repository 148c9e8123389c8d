/* options: the arguments of a command, by one table that also prints its --help. Long options as --name VALUE or --name=VALUE, short ones as -n VALUE. */
#ifndef ADMINCTL_OPTIONS_H
#define ADMINCTL_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_type {
    OPTION_FLAG,     /* bool */
    OPTION_TEXT,     /* const char * (borrowed from argv) */
    OPTION_NUMBER,   /* uint64_t below UINT64_MAX, which may stand for "not given" */
    OPTION_SIZE,     /* uint64_t bytes: 64k, 8M */
    OPTION_DURATION, /* uint64_t ms: 250ms, 5s */
    OPTION_TEXTS,    /* struct option_texts: may be given several times */
};

enum { OPTION_TEXTS_MAX = 64 };
struct option_texts {
    const char *values[OPTION_TEXTS_MAX]; /* borrowed from argv */
    size_t count;
};

struct option_spec {
    const char *name; /* "count" */
    char letter;      /* 'n', or 0 */
    enum option_type type;
    void *target;           /* keeps its value when not given: that is the default */
    const char *value_name; /* for --help: "N"; NULL for flags */
    const char *help;
};

struct command_help {
    const char *usage;   /* "adminctl pub STREAM [--file F]" */
    const char *summary; /* one or more lines */
};

enum { OPTIONS_ARGUMENTS_MAX = 64 };
struct options_result {
    const char *arguments[OPTIONS_ARGUMENTS_MAX]; /* what is not an option, or is behind "--" */
    int count;
};

/* Parse argv[1..]. 0; or -1 with `*ret_exit` set: --help was printed (CTL_OK), or wrong arguments were explained (CTL_USAGE). */
int options_parse(const struct command_help *help, const struct option_spec *specs,
                  size_t spec_count, int argc, char **argv, int arguments_min, int arguments_max,
                  struct options_result *ret_result, int *ret_exit);

#define OPTIONS_COUNT(specs) (sizeof(specs) / sizeof((specs)[0]))

#endif
