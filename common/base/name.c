/* name: the one validator of names. */
#include "common/base/name.h"

static bool name_byte_is_allowed(uint8_t byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || byte == '_' || byte == '-';
}

const char *name_check(struct span name)
{
    static const char reserved[] = "_sys";
    unsigned words = 1;
    bool word_is_empty = true;

    if (name.size == 0) {
        return "empty name";
    }
    if (name.size > NAME_SIZE_MAX) {
        return "longer than 255 bytes";
    }
    for (size_t i = 0; i < name.size; i++) {
        if (name.data[i] == '.') {
            if (word_is_empty) {
                return "empty word";
            }
            words++;
            word_is_empty = true;
        } else if (name_byte_is_allowed(name.data[i])) {
            word_is_empty = false;
        } else {
            return "character not allowed";
        }
    }
    if (word_is_empty) {
        return "empty word";
    }
    if (words > NAME_WORDS_MAX) {
        return "more than 16 words";
    }
    if (name.size >= sizeof(reserved) - 1 &&
        memcmp(name.data, reserved, sizeof(reserved) - 1) == 0) {
        return "reserved for the system";
    }
    return NULL;
}
