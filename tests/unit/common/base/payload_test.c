/* payload: counted by many threads at once, freed exactly once. */
#include "common/base/payload.h"

#include <pthread.h>
#include <stdatomic.h>

#include "tests/lib/test.h"
#include "tests/unit/common/base/abort_lib.h"

enum { THREADS = 4, ROUNDS = 20000 };

static atomic_int released;

static void count_release(void *hint)
{
    atomic_fetch_add((atomic_int *) hint, 1);
}

static void write_to_foreign_bytes(void)
{
    struct payload *payload = payload_wrap("abc", 3, count_release, &released);
    payload_data(payload)[0] = 'x';
}

TEST(a_payload_holds_its_bytes)
{
    struct payload *payload = payload_copy(span_of("railgun"));
    ck_assert_uint_eq(payload_size(payload), 7);
    ck_assert(span_is(payload_span(payload), "railgun"));
    payload_data(payload)[0] = 'R';
    ck_assert(span_is(payload_span(payload), "Railgun"));
    payload_unref(&payload);
    ck_assert_ptr_null(payload);
    payload_unref(&payload);

    payload = payload_copy(span_make(NULL, 0));
    ck_assert_uint_eq(payload_size(payload), 0);
    payload_unref(&payload);
    ck_assert_ptr_null(payload_new(SIZE_MAX));
    ck_assert_ptr_null(payload_new(SIZE_MAX / 2));
}

TEST(foreign_bytes_are_given_back_with_the_last_reference)
{
    atomic_int count = 0;
    struct payload *payload = payload_wrap("abc", 3, count_release, &count);
    struct payload *second = payload_ref(payload);
    ck_assert_ptr_eq(second, payload);
    ck_assert(!payload_is_sole(second));
    payload_unref(&payload);
    ck_assert_int_eq(count, 0);
    ck_assert(payload_is_sole(second));
    ck_assert(span_is(payload_span(second), "abc"));
    payload_unref(&second);
    ck_assert_int_eq(count, 1);
    ck_assert(ends_by_abort(write_to_foreign_bytes));
}

TEST(a_slice_keeps_its_owner_alive)
{
    struct payload *payload = payload_copy(span_of("0123456789"));
    struct slice slice = slice_make(payload, span_make(payload_span(payload).data + 2, 3));
    payload_unref(&payload);
    struct slice other = slice_ref(&slice);
    slice_release(&slice);
    ck_assert_ptr_null(slice.owner);
    ck_assert_uint_eq(slice.bytes.size, 0);
    ck_assert(span_is(other.bytes, "234"));
    slice_release(&other);
    slice_release(&other);

    struct slice empty = {0};
    other = slice_ref(&empty);
    ck_assert_ptr_null(other.owner);
    slice_release(&empty);
}

/* Takes one reference and drops it at the end, making and dropping many others. */
static void *share(void *ud)
{
    struct payload *payload = ud;
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct payload *mine = payload_ref(payload);
        struct slice slice = slice_make(mine, payload_span(mine));
        payload_unref(&mine);
        slice_release(&slice);
    }
    payload_unref(&payload);
    return NULL;
}

TEST(references_may_be_dropped_on_any_thread)
{
    atomic_int count = 0;
    pthread_t threads[THREADS];
    struct payload *payload = payload_wrap("abc", 3, count_release, &count);
    for (unsigned i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, share, payload_ref(payload)), 0);
    }
    payload_unref(&payload);
    for (unsigned i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    }
    ck_assert_int_eq(count, 1);
}
