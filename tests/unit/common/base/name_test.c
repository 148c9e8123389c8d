/* name: what is allowed, and every reason why not. */
#include "common/base/name.h"

#include <string.h>

#include "tests/lib/test.h"

static void check_reason(const char *name, const char *reason)
{
    const char *got = name_check(span_of(name));
    ck_assert_msg(got != NULL, "'%s' is allowed", name);
    ck_assert_str_eq(got, reason);
}

TEST(ordinary_names_are_allowed)
{
    static const char *const names[] = {
        "a", "orders", "orders.eu.new", "A-Z_0-9", "0",        "-",
        "_", "sys",    "_sy",           "a._sys",  "a._sys.b", "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p",
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        ck_assert_msg(name_check(span_of(names[i])) == NULL, "%s", names[i]);
    }
}

TEST(words_are_not_empty_and_not_too_many)
{
    check_reason("", "empty name");
    check_reason(".", "empty word");
    check_reason(".a", "empty word");
    check_reason("a.", "empty word");
    check_reason("a..b", "empty word");
    check_reason("a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q", "more than 16 words");
}

TEST(names_of_the_system_are_reserved)
{
    check_reason("_sys", "reserved for the system");
    check_reason("_sys.log", "reserved for the system");
    check_reason("_system", "reserved for the system");
}

TEST(a_name_has_at_most_255_bytes)
{
    char text[257];
    memset(text, 'a', sizeof(text));
    ck_assert_ptr_null(name_check(span_make(text, 255)));
    ck_assert_str_eq(name_check(span_make(text, 256)), "longer than 255 bytes");
}

TEST(all_other_bytes_are_refused)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[3] = {'a', (char) byte, 'b'};
        bool good = byte != 0 && strchr(allowed, (int) byte) != NULL;
        const char *reason = name_check(span_make(text, 3));
        ck_assert_msg((reason == NULL) == good, "byte %u", byte);
        ck_assert(good || strcmp(reason, "character not allowed") == 0);
    }
}
