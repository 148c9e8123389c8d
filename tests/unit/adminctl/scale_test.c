/* scale: what is written is read again, and what people write wrongly is refused with a reason. */
#include "adminctl/scale.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/err.h"

#include "tests/lib/test.h"

static const char *new_folder(void)
{
    static char path[300];
    (void) snprintf(path, sizeof(path), "%s/etc", test_folder());
    ck_assert_int_eq(mkdir(path, 0700), 0);
    path[strlen(path) - 4] = 0;
    return path;
}

static void write_text(const char *dir, const char *part, const char *text)
{
    char path[400];
    (void) snprintf(path, sizeof(path), "%s/%s", dir, part);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

TEST(without_a_wish_there_is_one_of_each_and_a_wish_is_kept)
{
    const char *dir = new_folder();
    struct scale scale = {0};
    struct buf problem = {0};
    ck_assert_int_eq(scale_read(dir, &scale, &problem), 0);
    ck_assert_uint_eq(scale.frontd, 1);
    ck_assert_uint_eq(scale.routerd, 1);
    ck_assert_int_eq(scale_write(dir, &(struct scale){16, 2}), 0);
    ck_assert_int_eq(scale_read(dir, &scale, &problem), 0);
    ck_assert_uint_eq(scale.frontd, 16);
    ck_assert_uint_eq(scale.routerd, 2);
    ck_assert_uint_eq(problem.size, 0);
}

TEST(what_people_write_is_read_and_nonsense_refused)
{
    static const char *const wrong[] = {"frontd = 0;", "frontd = 17;",    "routerd = -1;",
                                        "frontd = ;",  "frontd = \"3\";", "frontd = 99999999999L;",
                                        "\xff\xfe",    "routerd = 2.5;"};
    const char *dir = new_folder();
    struct scale scale = {7, 7};
    struct buf problem = {0};
    write_text(dir, "etc/scale.conf", "# mine\nfrontd = 4; // as many as cores\n");
    ck_assert_int_eq(scale_read(dir, &scale, &problem), 0);
    ck_assert_uint_eq(scale.frontd, 4);
    ck_assert_uint_eq(scale.routerd, 1);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        buf_reset(&problem);
        write_text(dir, "etc/scale.conf", wrong[i]);
        ck_assert_msg(scale_read(dir, &scale, &problem) == ERR_BAD_FORMAT, "%s", wrong[i]);
        ck_assert_uint_gt(problem.size, 0);
        ck_assert_uint_eq(scale.frontd, 4); /* untouched */
    }
    buf_release(&problem);
}

TEST(a_state_comes_back_whatever_the_reason_in_it_says)
{
    const char *dir = new_folder();
    struct scale_state state = {.pid = 4711, .wish = {3, 2}};
    struct scale_state back = {0};
    (void) snprintf(state.failing, sizeof(state.failing), "frontd-2: \"no\"\\n\n\x01 \xc3\xa9");
    ck_assert_int_eq(scale_state_read(dir, &back), ERR_NOT_FOUND);
    ck_assert_int_eq(scale_state_write(dir, &state, "daemons = { frontd-0 = \"ready\"; };\n"), 0);
    ck_assert_int_eq(scale_state_read(dir, &back), 0);
    ck_assert_int_eq(back.pid, 4711);
    ck_assert_uint_eq(back.wish.frontd, 3);
    ck_assert_uint_eq(back.wish.routerd, 2);
    ck_assert(!back.is_settled);
    ck_assert_str_eq(back.failing, "frontd-2: 'no' n     ");
    state.is_settled = true;
    state.failing[0] = 0;
    ck_assert_int_eq(scale_state_write(dir, &state, ""), 0);
    ck_assert_int_eq(scale_state_read(dir, &back), 0);
    ck_assert(back.is_settled);
    ck_assert_str_eq(back.failing, "");
    scale_state_remove(dir);
    scale_state_remove(dir);
    ck_assert_int_eq(scale_state_read(dir, &back), ERR_NOT_FOUND);
    write_text(dir, "state", "pid = 5;");
    ck_assert_int_eq(scale_state_read(dir, &back), ERR_BAD_FORMAT);
}
