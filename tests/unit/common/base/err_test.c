/* err: the table is complete and in order, and is found by number and by name. */
#include "common/base/err.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "tests/lib/test.h"

TEST(error_numbers_are_unique_and_ascending)
{
    size_t count = 0;
    const struct err_info *list = err_list(&count);
    ck_assert_uint_gt(count, 60);
    for (size_t i = 1; i < count; i++) {
        ck_assert_int_gt(list[i].number, list[i - 1].number);
    }
    ck_assert_int_ge(list[0].number, 100);
    ck_assert_int_lt(list[count - 1].number, 1000);
}

TEST(every_error_has_a_name_a_text_a_remedy_and_the_class_of_its_hundred)
{
    size_t count = 0;
    const struct err_info *list = err_list(&count);
    for (size_t i = 0; i < count; i++) {
        const struct err_info *info = &list[i];
        ck_assert_uint_gt(strlen(info->name), 1);
        for (const char *at = info->name; *at != '\0'; at++) {
            ck_assert(isupper((unsigned char) *at) || *at == '_');
        }
        ck_assert_uint_gt(strlen(info->meaning), 5);
        ck_assert_uint_gt(strlen(info->remedy), 5);
        ck_assert_int_eq(info->class_ == ERR_CLASS_LOCAL, info->number >= 600);
        ck_assert_int_eq(info->class_ == ERR_CLASS_INFO, info->number >= 200 && info->number < 300);
        for (size_t j = 0; j < i; j++) {
            ck_assert_str_ne(list[j].name, info->name);
        }
    }
}

TEST(every_error_is_found_by_both_signs_and_by_name)
{
    size_t count = 0;
    const struct err_info *list = err_list(&count);
    for (size_t i = 0; i < count; i++) {
        ck_assert_ptr_eq(err_find(list[i].number), &list[i]);
        ck_assert_ptr_eq(err_find(-list[i].number), &list[i]);
        ck_assert_ptr_eq(err_find_name(list[i].name), &list[i]);
        ck_assert_str_eq(err_name(-list[i].number), list[i].name);
        ck_assert_str_eq(err_text(-list[i].number), list[i].meaning);
    }
    ck_assert_int_eq(ERR_NOT_FOUND, -404);
    ck_assert_str_eq(err_name(ERR_NOT_FOUND), "NOT_FOUND");
    ck_assert_ptr_eq(err_find_name("not_found"), err_find(404));
}

TEST(an_unknown_error_has_a_text_too)
{
    ck_assert_ptr_null(err_find(0));
    ck_assert_ptr_null(err_find(1));
    ck_assert_ptr_null(err_find(-99999));
    ck_assert_ptr_null(err_find_name("NOT_AN_ERROR"));
    ck_assert_ptr_null(err_find_name(""));
    ck_assert_str_eq(err_name(-99999), "UNKNOWN");
    ck_assert_str_eq(err_text(-99999), "unknown error");
    ck_assert_str_eq(err_name(0), "OK");
    ck_assert_str_eq(err_text(0), "ok");
}

TEST(errno_becomes_one_of_our_errors)
{
    ck_assert_int_eq(err_from_errno(ENOSPC), ERR_STORAGE_FULL);
    ck_assert_int_eq(err_from_errno(EDQUOT), ERR_STORAGE_FULL);
    ck_assert_int_eq(err_from_errno(ENOMEM), ERR_NO_MEMORY);
    ck_assert_int_eq(err_from_errno(EAGAIN), ERR_AGAIN);
    ck_assert_int_eq(err_from_errno(ENOENT), ERR_NOT_FOUND);
    ck_assert_int_eq(err_from_errno(EPIPE), ERR_CLOSED);
    ck_assert_int_eq(err_from_errno(ECONNRESET), ERR_CLOSED);
    ck_assert_int_eq(err_from_errno(EIO), ERR_IO);
    ck_assert_int_eq(err_from_errno(0), ERR_IO);
    for (int number = 0; number < 140; number++) {
        ck_assert_ptr_nonnull(err_find(err_from_errno(number)));
    }
}
