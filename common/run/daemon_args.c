/* daemon_args: reads the command line of a daemon, and answers the questions that need no running daemon. */
#include "common/run/daemon_args.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"

enum { ARGS_EXIT_OK = 0, ARGS_EXIT_USAGE = 2 };

static void args_print_help(const struct daemon_program *program)
{
    (void) printf(
        "%s: %s\n\n"
        "usage: %s [--config FILE] [--instance N] [--set KEY=VALUE]...\n\n"
        "  --config FILE     read the configuration from FILE (libconfig)\n"
        "  --instance N      number of this process among those of its kind on the host\n"
        "  --set KEY=VALUE   override one key; may be repeated\n"
        "  --check-config    check the configuration and exit: 0 it is fine, 2 it is not\n"
        "  --print-config    print a commented configuration with all defaults and exit\n"
        "  --version         print the version and exit\n"
        "  --help            print this and exit\n\n"
        "Signals: SIGTERM stops when the open work is finished, a second one at once; SIGHUP reads "
        "the\n"
        "configuration again. Exit: 0 stopped as asked, 1 failed, 2 usage or configuration.\n",
        program->name, program->purpose, program->name);
}

static void args_add_set(struct daemon_args *args, const char *key, const char *text)
{
    size_t size = strlen(key) + strlen(text) + 1;
    char *set = mem_new(size);
    (void) snprintf(set, size, "%s%s", key, text);
    args->sets = mem_resize(args->sets, args->set_count + 1, sizeof(args->sets[0]));
    args->sets[args->set_count++] = set;
}

int daemon_args_read(int argc, char **argv, const struct daemon_program *program,
                     struct daemon_args *ret_args)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'}, {"instance", required_argument, NULL, 'i'},
        {"set", required_argument, NULL, 's'},    {"check-config", no_argument, NULL, 'k'},
        {"print-config", no_argument, NULL, 'p'}, {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
    };
    int option;

    *ret_args = (struct daemon_args){.action = DAEMON_RUN};
    optind = 1;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            ret_args->config_path = optarg;
            break;
        case 'i':
            args_add_set(ret_args, "instance=", optarg);
            break;
        case 's':
            args_add_set(ret_args, "", optarg);
            break;
        case 'k':
            ret_args->action = DAEMON_CHECK_CONFIG;
            break;
        case 'p':
            conf_print(program->table, stdout);
            return ARGS_EXIT_OK;
        case 'v':
            (void) printf("%s (railgun) %s\n", program->name, RAILGUN_VERSION);
            return ARGS_EXIT_OK;
        case 'h':
            args_print_help(program);
            return ARGS_EXIT_OK;
        default: /* getopt_long has said what is wrong */
            (void) fprintf(stderr, "Try `%s --help`.\n", program->name);
            return ARGS_EXIT_USAGE;
        }
    }
    if (optind < argc) {
        (void) fprintf(stderr, "%s: unexpected argument '%s'\nTry `%s --help`.\n", program->name,
                       argv[optind], program->name);
        return ARGS_EXIT_USAGE;
    }
    return -1;
}

void daemon_args_release(struct daemon_args *self)
{
    for (size_t i = 0; i < self->set_count; i++) {
        mem_free(self->sets[i]);
    }
    mem_free(self->sets);
    *self = (struct daemon_args){0};
}
