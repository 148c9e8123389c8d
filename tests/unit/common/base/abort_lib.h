/* abort_lib: does this code end the process by abort? It runs in a child, whose message is thrown away. */
#ifndef TESTS_UNIT_COMMON_BASE_ABORT_LIB_H
#define TESTS_UNIT_COMMON_BASE_ABORT_LIB_H

#include <stdbool.h>

bool ends_by_abort(void (*code)(void));

#endif
