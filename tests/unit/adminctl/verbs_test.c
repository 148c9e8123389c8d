/* Tests of adminctl/verbs. */
#include "adminctl/verbs.h"

#include "tests/lib/test.h"

static int seen_count;
static const char *seen_argument;

static int first(struct ctl *ctl, int argc, char **argv)
{
    (void) ctl;
    seen_count = argc;
    seen_argument = argv[argc - 1];
    return CTL_FAILED;
}

static int second(struct ctl *ctl, int argc, char **argv)
{
    (void) ctl;
    (void) argc;
    (void) argv;
    return CTL_CONFLICT;
}

static int run(int argc, char **argv)
{
    static const struct verb verbs[] = {{"first", first}, {"second", second}};
    return VERBS_RUN("thing", verbs, NULL, argc, argv);
}

TEST(a_verb_is_run_with_its_own_arguments)
{
    char *words[] = {(char[]){"thing"}, (char[]){"first"}, (char[]){"name"}};
    ck_assert_int_eq(run(3, words), CTL_FAILED);
    ck_assert_int_eq(seen_count, 2);
    ck_assert_str_eq(seen_argument, "name");
    char *others[] = {(char[]){"thing"}, (char[]){"second"}};
    ck_assert_int_eq(run(2, others), CTL_CONFLICT);
}

TEST(no_verb_and_an_unknown_one_are_wrong_usage)
{
    char *words[] = {(char[]){"thing"}, (char[]){"firs"}};
    ck_assert_int_eq(run(1, words), CTL_USAGE);
    ck_assert_int_eq(run(2, words), CTL_USAGE);
    char *help[] = {(char[]){"thing"}, (char[]){"--help"}};
    ck_assert_int_eq(run(2, help), CTL_OK);
}
