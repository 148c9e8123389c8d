/* name: which names of streams, groups, consumers and namespaces are allowed. One validator for all. */
#ifndef COMMON_BASE_NAME_H
#define COMMON_BASE_NAME_H

#include "common/base/span.h"

enum { NAME_SIZE_MAX = 255, NAME_WORDS_MAX = 16 };

/* 1..255 bytes of [A-Za-z0-9_-] in at most 16 words split by single dots, the first word not beginning with
 * '_sys' (reserved; '$' is not in the alphabet at all). NULL if valid, else a short reason for people ("empty
 * word", "character not allowed", ...). */
const char *name_check(struct span name);

#endif
