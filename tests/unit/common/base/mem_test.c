/* mem: zeroed, copied, resized, and refused in the two ways. */
#include "common/base/mem.h"

#include <stdint.h>
#include <string.h>

#include "tests/lib/test.h"
#include "tests/unit/common/base/abort_lib.h"

/* Not constants, so that the compiler does not warn of what is tested. */
static volatile size_t half = SIZE_MAX / 2 + 1;

static void allocate_too_much(void)
{
    void *memory = mem_new_array(half, 4);
    mem_free(memory);
}

static void resize_too_much(void)
{
    void *memory = mem_resize(NULL, half, 4);
    mem_free(memory);
}

TEST(own_memory_is_zeroed)
{
    static const uint8_t zeros[256];
    for (unsigned i = 0; i < 16; i++) {
        uint8_t *memory = mem_new(sizeof(zeros));
        ck_assert_mem_eq(memory, zeros, sizeof(zeros));
        memset(memory, 0xff, sizeof(zeros));
        mem_free(memory);
    }
    uint64_t *array = MEM_NEW_ARRAY(32, uint64_t);
    ck_assert_mem_eq(array, zeros, sizeof(zeros));
    MEM_FREE(array);
    ck_assert_ptr_null(array);
    mem_free(NULL);
}

TEST(no_memory_for_an_own_object_ends_the_process)
{
    ck_assert(ends_by_abort(allocate_too_much));
    ck_assert(ends_by_abort(resize_too_much));
}

TEST(a_foreign_size_that_overflows_gives_no_memory)
{
    ck_assert_ptr_null(mem_try_new_array(half, 2));
    ck_assert_ptr_null(mem_try_new_array(half + 1, 2));
    void *memory = mem_try_new(8);
    ck_assert_ptr_nonnull(memory);
    memcpy(memory, "railgun", 8);
    ck_assert_ptr_null(mem_try_resize(memory, half, 4));
    ck_assert_str_eq(memory, "railgun");
    mem_free(memory);
}

TEST(memory_of_size_zero_is_not_null)
{
    void *some[] = {mem_new(0), mem_new_array(0, 8), mem_try_new(0), mem_try_new_array(8, 0),
                    mem_copy("", 0)};
    for (size_t i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
        ck_assert_ptr_nonnull(some[i]);
        mem_free(some[i]);
    }
}

TEST(resizing_keeps_the_content)
{
    char *memory = mem_strdup("railgun");
    memory = mem_resize(memory, 1000, 10);
    ck_assert_str_eq(memory, "railgun");
    memory[9999] = 'x';
    memory = mem_resize(memory, 8, 1);
    ck_assert_str_eq(memory, "railgun");
    char *copy = mem_copy(memory, 8);
    ck_assert_ptr_ne(copy, memory);
    ck_assert_str_eq(copy, "railgun");
    mem_free(copy);
    mem_free(memory);
}
