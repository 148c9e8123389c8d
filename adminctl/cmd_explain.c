/* explain: an entry of the error list, or all of it. Needs no server. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/span.h"
#include "common/base/str.h"

#include "adminctl/ctl.h"
#include "adminctl/options.h"

static const char *class_text(enum err_class class_)
{
    switch (class_) {
    case ERR_CLASS_INFO:
        return "information: not a failure";
    case ERR_CLASS_REJECT:
        return "no: asking again unchanged gives the same answer";
    case ERR_CLASS_RETRY:
        return "yes, after a back-off: nothing was done";
    case ERR_CLASS_UNSURE:
        return "only with message IDs or an expected offset: the outcome is unknown";
    case ERR_CLASS_LOCAL:
        return "local: never sent over the network";
    default:
        return "";
    }
}

static void put(struct output *out, const struct err_info *info)
{
    output_object(out, NULL);
    output_number(out, "code", (uint64_t) info->number);
    output_text(out, "name", span_of(info->name));
    output_text(out, "meaning", span_of(info->meaning));
    output_text(out, "retry", span_of(class_text(info->class_)));
    output_text(out, "remedy", span_of(info->remedy));
    output_end(out);
}

int cmd_explain(struct ctl *ctl, int argc, char **argv)
{
    const struct command_help help = {"adminctl explain [CODE|NAME]",
                                      "What an error means, whether to retry, and what to do. "
                                      "Without an argument: the whole list."};
    struct options_result args;
    int exit_code = 0;
    uint64_t number = 0;
    size_t count = 0;

    if (options_parse(&help, NULL, 0, argc, argv, 0, 1, &args, &exit_code) < 0) {
        return exit_code;
    }
    if (args.count == 0) {
        const struct err_info *list = err_list(&count);
        struct output *all = output_new(ctl->format);
        output_list(all, NULL);
        for (size_t i = 0; i < count; i++) {
            put(all, &list[i]);
        }
        output_end(all);
        return output_finish(&all) < 0 ? CTL_FAILED : CTL_OK;
    }
    const char *word = args.arguments[0];
    const struct err_info *info = NULL;
    if (str_to_u64(span_of(word), &number) == 0) {
        info = number < 100000 ? err_find((int) number) : NULL;
    } else {
        info = err_find_name(strncasecmp(word, "ERR_", 4) == 0 ? word + 4 : word);
    }
    if (info == NULL) {
        (void) fprintf(stderr, "adminctl: there is no error '%s': adminctl explain lists all\n",
                       word);
        return CTL_NOT_FOUND;
    }
    struct output *out = output_new(ctl->format);
    put(out, info);
    return output_finish(&out) < 0 ? CTL_FAILED : CTL_OK;
}
