/* uuid: version 4, there and back as text, strict in what it reads. */
#include "common/base/uuid.h"

#include "common/base/err.h"

#include "tests/lib/test.h"

TEST(a_random_uuid_is_of_version_4)
{
    struct uuid before = uuid_random();
    for (unsigned i = 0; i < 100; i++) {
        struct uuid self = uuid_random();
        ck_assert_uint_eq(self.bytes[6] >> 4, 4);
        ck_assert_uint_eq(self.bytes[8] >> 6, 2);
        ck_assert(!uuid_equal(&self, &before));
        ck_assert(uuid_equal(&self, &self));
        ck_assert(!uuid_is_nil(&self));
        before = self;
    }
}

TEST(a_uuid_is_read_as_it_is_printed)
{
    static const char text[] = "01234567-89ab-4def-8123-456789abcdef";
    char out[UUID_TEXT_SIZE];
    struct uuid self = {{0}};
    struct uuid other = {{0}};
    ck_assert(uuid_is_nil(&self));
    ck_assert_int_eq(uuid_parse(span_of(text), &self), 0);
    ck_assert_mem_eq(self.bytes, "\x01\x23\x45\x67\x89\xab\x4d\xef\x81\x23\x45\x67\x89\xab\xcd\xef",
                     16);
    uuid_format(&self, out);
    ck_assert_str_eq(out, text);
    ck_assert_int_eq(uuid_parse(span_of("01234567-89AB-4DEF-8123-456789ABCDEF"), &other), 0);
    ck_assert(uuid_equal(&self, &other));
    for (unsigned i = 0; i < 100; i++) {
        self = uuid_random();
        uuid_format(&self, out);
        ck_assert_int_eq(uuid_parse(span_of(out), &other), 0);
        ck_assert(uuid_equal(&self, &other));
    }
}

TEST(what_is_not_a_uuid_is_refused)
{
    static const char *const texts[] = {
        "",
        "01234567-89ab-4def-8123-456789abcde",
        "01234567-89ab-4def-8123-456789abcdef0",
        "0123456789ab4def8123456789abcdef",
        "01234567089ab-4def-8123-456789abcdef",
        "0123456-789ab-4def-8123-456789abcdef",
        "01234567-89ab-4def-8123-456789abcdeg",
        "01234567-89ab-4def-8123-45678 abcdef",
        "------------------------------------",
        "+1234567-89ab-4def-8123-456789abcdef",
    };
    struct uuid self = {{7}};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        ck_assert_int_eq(uuid_parse(span_of(texts[i]), &self), ERR_BAD_FORMAT);
    }
    ck_assert_int_eq(uuid_parse(span_make("01234567-89ab-4def-8123-456789abcd\0f", 36), &self),
                     ERR_BAD_FORMAT);
    ck_assert_uint_eq(self.bytes[0], 7);
}

TEST(a_uuid_is_made_of_exactly_16_bytes)
{
    struct uuid self = {{7}};
    ck_assert_int_eq(uuid_from_bytes(span_make("0123456789abcdef", 15), &self), ERR_BAD_FORMAT);
    ck_assert_int_eq(uuid_from_bytes(span_make("0123456789abcdefg", 17), &self), ERR_BAD_FORMAT);
    ck_assert_int_eq(uuid_from_bytes(span_make(NULL, 0), &self), ERR_BAD_FORMAT);
    ck_assert_uint_eq(self.bytes[0], 7);
    ck_assert_int_eq(uuid_from_bytes(span_make("0123456789abcdef", 16), &self), 0);
    ck_assert_mem_eq(self.bytes, "0123456789abcdef", 16);
}
