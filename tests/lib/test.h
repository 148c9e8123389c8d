/* test: TEST(name) defines a test and registers it; a test cannot be forgotten. Names are sentences. A test
 * program is all files of one folder of tests/unit; it runs each test in a process of its own (CK_FORK=no to debug). */
#ifndef TESTS_LIB_TEST_H
#define TESTS_LIB_TEST_H

#include <check.h>

struct test_entry {
    const TTest *test;
    double timeout_s; /* 0: the default of 30 s, more under sanitizers and valgrind */
};

#define TEST_WITHIN(test_name, seconds)                                                            \
    static void test_name(int _i CK_ATTRIBUTE_UNUSED);                                             \
    static const TTest test_name##_ttest = {#test_name, test_name, __FILE__, __LINE__};            \
    static const struct test_entry test_name##_entry                                               \
        __attribute__((used, section("railgun_tests"))) = {&test_name##_ttest, seconds};           \
    static void test_name(int _i CK_ATTRIBUTE_UNUSED)

#define TEST(test_name) TEST_WITHIN(test_name, 0)

/* ck_assert for loops of many thousand rounds: Check itself sends a message to the parent for each that holds. */
#define TEST_ASSERT_FAST(fact) ((fact) ? (void) 0 : ck_abort_msg("Assertion '%s' failed", #fact))

/* A file for this test's data, or a folder: unique, below the system's temporary folder, removed with everything
 * in it when the test program ends. Returns a path owned by the harness. */
const char *test_folder(void);

/* This test makes a library lose memory of its own (Berkeley DB does when recovery meets damage): leaks are not counted in it. */
void test_allow_leaks(void);

/* Seconds multiplied when a sanitizer or valgrind slows everything down. */
double test_slowness(void);

#endif
