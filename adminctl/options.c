/* options: the arguments of a command, by one table that also prints its --help. Owns nothing; prints only help and usage errors. */
#include "adminctl/options.h"

#include <stdio.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/span.h"
#include "common/base/str.h"

#include "adminctl/ctl.h"

static void print_help(const struct command_help *help, const struct option_spec *specs,
                       size_t spec_count)
{
    (void) printf("Usage: %s\n\n%s\n", help->usage, help->summary);
    if (spec_count > 0) {
        (void) printf("\nOptions:\n");
    }
    for (size_t i = 0; i < spec_count; i++) {
        char left[64];
        char letter[8] = "    ";
        if (specs[i].letter != 0) {
            (void) snprintf(letter, sizeof(letter), "-%c, ", specs[i].letter);
        }
        (void) snprintf(left, sizeof(left), "%s--%s %s", letter, specs[i].name,
                        specs[i].value_name != NULL ? specs[i].value_name : "");
        (void) printf("  %-30s %s\n", left, specs[i].help);
    }
}

static const struct option_spec *find(const struct option_spec *specs, size_t spec_count,
                                      const char *word, const char **ret_value)
{
    *ret_value = NULL;
    for (size_t i = 0; i < spec_count; i++) {
        const struct option_spec *spec = &specs[i];
        size_t length = strlen(spec->name);
        if (strncmp(word, "--", 2) == 0 && strncmp(word + 2, spec->name, length) == 0 &&
            (word[2 + length] == 0 || word[2 + length] == '=')) {
            *ret_value = word[2 + length] == '=' ? word + 3 + length : NULL;
            return spec;
        }
        if (spec->letter != 0 && word[1] == spec->letter && word[2] == 0) {
            return spec;
        }
    }
    return NULL;
}

/* 0 or an ERR. */
static int assign(const struct option_spec *spec, const char *value)
{
    uint64_t number = 0;
    switch (spec->type) {
    case OPTION_FLAG:
        *(bool *) spec->target = true;
        return 0;
    case OPTION_TEXT:
        *(const char **) spec->target = value;
        return 0;
    case OPTION_NUMBER: /* the largest stands for "not given" */
        if (str_to_u64(span_of(value), &number) < 0 || number == UINT64_MAX) {
            return ERR_USAGE;
        }
        *(uint64_t *) spec->target = number;
        return 0;
    case OPTION_SIZE:
        return str_to_size(span_of(value), spec->target);
    case OPTION_DURATION:
        return str_to_duration_ms(span_of(value), spec->target);
    case OPTION_TEXTS: {
        struct option_texts *texts = spec->target;
        if (texts->count == OPTION_TEXTS_MAX) {
            return ERR_TOO_LARGE;
        }
        texts->values[texts->count++] = value;
        return 0;
    }
    default:
        return ERR_USAGE;
    }
}

static int usage_error(int *ret_exit, const struct command_help *help)
{
    (void) fprintf(stderr, "Usage: %s   (--help tells more)\n", help->usage);
    *ret_exit = CTL_USAGE;
    return -1;
}

/* Take one option at argv[*at]; moves *at over its value. */
static int take_option(const struct command_help *help, const struct option_spec *specs,
                       size_t spec_count, int argc, char **argv, int *at, int *ret_exit)
{
    const char *value = NULL;
    const char *word = argv[*at];
    const struct option_spec *spec = find(specs, spec_count, word, &value);
    if (spec == NULL) {
        (void) fprintf(stderr, "adminctl: %s: no such option: %s (behind -- it is an argument)\n",
                       argv[0], word);
        return usage_error(ret_exit, help);
    }
    if (spec->type == OPTION_FLAG && value != NULL) {
        (void) fprintf(stderr, "adminctl: %s: --%s takes no value\n", argv[0], spec->name);
        return usage_error(ret_exit, help);
    }
    if (spec->type != OPTION_FLAG && value == NULL) {
        if (*at + 1 >= argc) {
            (void) fprintf(stderr, "adminctl: %s: --%s wants a value (%s)\n", argv[0], spec->name,
                           spec->value_name);
            return usage_error(ret_exit, help);
        }
        value = argv[++*at];
    }
    if (assign(spec, value) < 0) {
        (void) fprintf(stderr, "adminctl: %s: --%s: '%s' is not a valid %s\n", argv[0], spec->name,
                       value,
                       spec->type == OPTION_DURATION ? "duration (250ms, 5s, 1h)"
                       : spec->type == OPTION_SIZE   ? "size (4096, 64k, 8M)"
                       : spec->type == OPTION_TEXTS  ? "one more (it was given too often)"
                                                     : "number");
        return usage_error(ret_exit, help);
    }
    return 0;
}

int options_parse(const struct command_help *help, const struct option_spec *specs,
                  size_t spec_count, int argc, char **argv, int arguments_min, int arguments_max,
                  struct options_result *ret_result, int *ret_exit)
{
    *ret_result = (struct options_result){0};
    bool is_behind = false; /* "--": from there on all are arguments */
    for (int i = 1; i < argc; i++) {
        if (!is_behind && strcmp(argv[i], "--") == 0) {
            is_behind = true;
            continue;
        }
        if (!is_behind && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)) {
            print_help(help, specs, spec_count);
            *ret_exit = CTL_OK;
            return -1;
        }
        if (!is_behind && argv[i][0] == '-' && argv[i][1] != 0) {
            if (take_option(help, specs, spec_count, argc, argv, &i, ret_exit) < 0) {
                return -1;
            }
            continue;
        }
        if (ret_result->count == arguments_max || ret_result->count == OPTIONS_ARGUMENTS_MAX) {
            (void) fprintf(stderr, "adminctl: %s: one argument too many: '%s'\n", argv[0], argv[i]);
            return usage_error(ret_exit, help);
        }
        ret_result->arguments[ret_result->count++] = argv[i];
    }
    if (ret_result->count < arguments_min) {
        (void) fprintf(stderr, "adminctl: %s: an argument is missing\n", argv[0]);
        return usage_error(ret_exit, help);
    }
    return 0;
}
