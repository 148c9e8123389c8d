/* str: reading numbers from text, and making foreign text safe to print. */
#include "common/base/str.h"

#include "common/base/err.h"
#include "common/base/invariant.h"

struct str_unit {
    const char *suffix;
    uint64_t factor;
};

int str_to_u64(struct span text, uint64_t *ret_value)
{
    uint64_t value = 0;
    if (text.size == 0) {
        return ERR_BAD_FORMAT;
    }
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        if (byte < '0' || byte > '9') {
            return ERR_BAD_FORMAT;
        }
        if (__builtin_mul_overflow(value, (uint64_t) 10, &value) ||
            __builtin_add_overflow(value, (uint64_t) (byte - '0'), &value)) {
            return ERR_BAD_FORMAT;
        }
    }
    *ret_value = value;
    return 0;
}

/* Digits, then one of the suffixes (the list ends with a NULL). */
static int str_to_scaled(struct span text, const struct str_unit *units, uint64_t *ret_value)
{
    size_t digits = 0;
    uint64_t value = 0;

    while (digits < text.size && text.data[digits] >= '0' && text.data[digits] <= '9') {
        digits++;
    }
    int rc = str_to_u64(span_make(text.data, digits), &value);
    if (rc < 0) {
        return rc;
    }
    struct span suffix = span_make(text.data + digits, text.size - digits);
    for (const struct str_unit *unit = units; unit->suffix != NULL; unit++) {
        if (span_is(suffix, unit->suffix)) {
            if (__builtin_mul_overflow(value, unit->factor, &value)) {
                return ERR_BAD_FORMAT;
            }
            *ret_value = value;
            return 0;
        }
    }
    return ERR_BAD_FORMAT;
}

int str_to_size(struct span text, uint64_t *ret_bytes)
{
    static const struct str_unit units[] = {
        {"", 1},
        {"k", UINT64_C(1) << 10},
        {"K", UINT64_C(1) << 10},
        {"KiB", UINT64_C(1) << 10},
        {"M", UINT64_C(1) << 20},
        {"MiB", UINT64_C(1) << 20},
        {"G", UINT64_C(1) << 30},
        {"GiB", UINT64_C(1) << 30},
        {"T", UINT64_C(1) << 40},
        {"TiB", UINT64_C(1) << 40},
        {NULL, 0},
    };
    return str_to_scaled(text, units, ret_bytes);
}

int str_to_duration_ms(struct span text, uint64_t *ret_ms)
{
    static const struct str_unit units[] = {
        {"", 1},
        {"ms", 1},
        {"s", 1000},
        {"m", UINT64_C(60) * 1000},
        {"h", UINT64_C(3600) * 1000},
        {"d", UINT64_C(24) * 3600 * 1000},
        {NULL, 0},
    };
    return str_to_scaled(text, units, ret_ms);
}

/* Backslashes are escaped too, so that two different texts never look the same. */
static bool str_byte_is_plain(uint8_t byte)
{
    return byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\'' && byte != '\\';
}

/* How many bytes of the text fit, escaped, into `room`; *ret_used: how much of the room they take. */
static size_t str_escape_fit(struct span text, size_t room, size_t *ret_used)
{
    size_t used = 0;
    size_t i = 0;
    while (i < text.size) {
        size_t more = str_byte_is_plain(text.data[i]) ? 1 : 4;
        if (more > room - used) {
            break;
        }
        used += more;
        i++;
    }
    *ret_used = used;
    return i;
}

const char *str_escape(struct span text, char *out, size_t capacity)
{
    static const char digits[] = "0123456789abcdef";
    size_t used = 0;

    INVARIANT(capacity > 0);
    size_t room = capacity - 1;
    size_t dots = 0;
    size_t fitting = str_escape_fit(text, room, &used);
    if (fitting < text.size) {
        dots = room < 3 ? room : 3;
        fitting = str_escape_fit(text, room - dots, &used);
    }
    char *at = out;
    for (size_t i = 0; i < fitting; i++) {
        uint8_t byte = text.data[i];
        if (str_byte_is_plain(byte)) {
            *at++ = (char) byte;
        } else {
            *at++ = '\\';
            *at++ = 'x';
            *at++ = digits[byte >> 4];
            *at++ = digits[byte & 15];
        }
    }
    for (size_t i = 0; i < dots; i++) {
        *at++ = '.';
    }
    *at = '\0';
    return out;
}

int str_copy(char *out, size_t capacity, struct span text)
{
    INVARIANT(capacity > 0);
    if (text.size >= capacity) {
        out[0] = '\0';
        return ERR_TOO_LARGE;
    }
    if (text.size != 0) {
        memcpy(out, text.data, text.size);
    }
    out[text.size] = '\0';
    return 0;
}
