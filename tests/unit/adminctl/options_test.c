/* options: what is an option, what is an argument, and what is neither. */
#include "adminctl/options.h"

#include "adminctl/ctl.h"
#include "tests/lib/test.h"

static bool flag;
static uint64_t count;
static const char *text;

/* 0, or -1 with the exit code in *ret_exit. */
static int parse(char **argv, int max, struct options_result *ret_result, int *ret_exit)
{
    const struct option_spec specs[] = {
        {"flag", 'f', OPTION_FLAG, &flag, NULL, ""},
        {"count", 'n', OPTION_NUMBER, &count, "N", ""},
        {"text", 't', OPTION_TEXT, &text, "TEXT", ""},
    };
    const struct command_help help = {"adminctl thing", ""};
    int argc = 0;
    while (argv[argc] != NULL) {
        argc++;
    }
    flag = false;
    count = 0;
    text = NULL;
    return options_parse(&help, specs, OPTIONS_COUNT(specs), argc, argv, 1, max, ret_result,
                         ret_exit);
}

static char name[] = "thing";
#define WORDS(...) ((char *[]){name, __VA_ARGS__, NULL})

TEST(options_and_arguments_stand_in_any_order)
{
    struct options_result args;
    int exit_code = -1;
    char one[] = "one";
    char letter[] = "-n";
    char seven[] = "7";
    char dash[] = "-";
    char long_text[] = "--text=-x";
    ck_assert_int_eq(parse(WORDS(one, letter, seven, dash, long_text), 2, &args, &exit_code), 0);
    ck_assert_int_eq(args.count, 2);
    ck_assert_str_eq(args.arguments[0], "one");
    ck_assert_str_eq(args.arguments[1], "-");
    ck_assert_uint_eq(count, 7);
    ck_assert_str_eq(text, "-x");
    ck_assert(!flag);
}

TEST(what_is_behind_two_dashes_is_an_argument)
{
    struct options_result args;
    int exit_code = -1;
    char short_flag[] = "-f";
    char dashes[] = "--";
    char number[] = "-5";
    char help[] = "--help";
    ck_assert_int_eq(parse(WORDS(short_flag, dashes, number, help, dashes), 3, &args, &exit_code),
                     0);
    ck_assert(flag);
    ck_assert_int_eq(args.count, 3);
    ck_assert_str_eq(args.arguments[0], "-5");
    ck_assert_str_eq(args.arguments[1], "--help");
    ck_assert_str_eq(args.arguments[2], "--");
    ck_assert_int_eq(parse(WORDS(dashes, number, help), 1, &args, &exit_code), -1);
    ck_assert_int_eq(exit_code, CTL_USAGE);
    ck_assert_int_eq(parse(WORDS(number), 1, &args, &exit_code), -1);
    ck_assert_int_eq(exit_code, CTL_USAGE);
    ck_assert_int_eq(parse(WORDS(dashes), 1, &args, &exit_code), -1);
    ck_assert_int_eq(exit_code, CTL_USAGE);
}
