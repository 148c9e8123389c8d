/* uuid: making, printing and reading 128-bit ids. */
#include "common/base/uuid.h"

#include <string.h>

#include "common/base/err.h"
#include "common/base/rand.h"

struct uuid uuid_random(void)
{
    struct uuid self;
    entropy_fill(self.bytes, sizeof(self.bytes));
    self.bytes[6] = (uint8_t) ((self.bytes[6] & 0x0f) | 0x40); /* version 4: random */
    self.bytes[8] = (uint8_t) ((self.bytes[8] & 0x3f) | 0x80); /* the variant of RFC 9562 */
    return self;
}

bool uuid_is_nil(const struct uuid *self)
{
    static const struct uuid nil;
    return uuid_equal(self, &nil);
}

bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

/* Before which bytes the text has a dash. */
static bool has_dash_before(size_t index)
{
    return index == 4 || index == 6 || index == 8 || index == 10;
}

void uuid_format(const struct uuid *self, char ret_text[UUID_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    char *at = ret_text;
    for (size_t i = 0; i < sizeof(self->bytes); i++) {
        if (has_dash_before(i)) {
            *at++ = '-';
        }
        *at++ = digits[self->bytes[i] >> 4];
        *at++ = digits[self->bytes[i] & 15];
    }
    *at = '\0';
}

/* 0 to 15, or -1. */
static int hex_value(uint8_t digit)
{
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    if (digit >= 'a' && digit <= 'f') {
        return digit - 'a' + 10;
    }
    if (digit >= 'A' && digit <= 'F') {
        return digit - 'A' + 10;
    }
    return -1;
}

int uuid_parse(struct span text, struct uuid *ret_uuid)
{
    struct uuid parsed;
    if (text.size != UUID_TEXT_SIZE - 1) {
        return ERR_BAD_FORMAT;
    }
    const uint8_t *at = text.data;
    for (size_t i = 0; i < sizeof(parsed.bytes); i++) {
        if (has_dash_before(i) && *at++ != '-') {
            return ERR_BAD_FORMAT;
        }
        int high = hex_value(*at++);
        int low = hex_value(*at++);
        if (high < 0 || low < 0) {
            return ERR_BAD_FORMAT;
        }
        parsed.bytes[i] = (uint8_t) (high << 4 | low);
    }
    *ret_uuid = parsed;
    return 0;
}

int uuid_from_bytes(struct span bytes, struct uuid *ret_uuid)
{
    if (bytes.size != sizeof(ret_uuid->bytes)) {
        return ERR_BAD_FORMAT;
    }
    memcpy(ret_uuid->bytes, bytes.data, sizeof(ret_uuid->bytes));
    return 0;
}
