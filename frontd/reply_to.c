/* reply_to: writes and reads addresses for replies. Owns nothing. Must never take two different texts for the same address: the unused bits of
 * the last letter are zero. */
#include "frontd/reply_to.h"

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/invariant.h"

enum {
    RAW_SIZE = 1 + 8 + 8,
    LETTERS = REPLY_TO_SIZE - 1,
    LETTER_BITS = 6,
    SPARE_BITS = LETTERS * LETTER_BITS - RAW_SIZE * 8,
};
_Static_assert(SPARE_BITS == 2, "23 letters hold 17 bytes");

static const char alphabet[64 + 1] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void reply_to_write(const struct reply_to *self, uint8_t out[REPLY_TO_SIZE])
{
    uint8_t raw[RAW_SIZE];
    uint32_t bits = 0;
    unsigned bit_count = 0;
    size_t at = 0;

    INVARIANT(self->frontd <= UINT8_MAX);
    raw[0] = (uint8_t) self->frontd;
    bytes_put_u64(raw + 1, self->request);
    bytes_put_u64(raw + 9, self->secret);
    out[at++] = '$';
    for (size_t i = 0; i < RAW_SIZE; i++) {
        bits = bits << 8 | raw[i];
        bit_count += 8;
        while (bit_count >= LETTER_BITS) {
            bit_count -= LETTER_BITS;
            out[at++] = (uint8_t) alphabet[bits >> bit_count & 63];
        }
    }
    out[at++] = (uint8_t) alphabet[bits << SPARE_BITS & 63];
    INVARIANT(at == REPLY_TO_SIZE);
}

/* -1: not a letter of the alphabet. */
static int letter_value(uint8_t letter)
{
    if (letter >= 'A' && letter <= 'Z') {
        return letter - 'A';
    }
    if (letter >= 'a' && letter <= 'z') {
        return letter - 'a' + 26;
    }
    if (letter >= '0' && letter <= '9') {
        return letter - '0' + 52;
    }
    if (letter == '-') {
        return 62;
    }
    return letter == '_' ? 63 : -1;
}

bool reply_to_is_address(struct span text)
{
    return text.size != 0 && text.data[0] == '$';
}

int reply_to_read(struct span text, struct reply_to *ret_address)
{
    uint8_t raw[RAW_SIZE];
    uint32_t bits = 0;
    unsigned bit_count = 0;
    size_t at = 0;

    if (text.size != REPLY_TO_SIZE || !reply_to_is_address(text)) {
        return ERR_BAD_REQUEST;
    }
    for (size_t i = 1; i < REPLY_TO_SIZE; i++) {
        int value = letter_value(text.data[i]);
        if (value < 0) {
            return ERR_BAD_REQUEST;
        }
        bits = bits << LETTER_BITS | (uint32_t) value;
        bit_count += LETTER_BITS;
        if (bit_count >= 8) {
            bit_count -= 8;
            raw[at++] = (uint8_t) (bits >> bit_count);
        }
    }
    if ((bits & ((1U << SPARE_BITS) - 1)) != 0) {
        return ERR_BAD_REQUEST;
    }
    *ret_address = (struct reply_to){
        .frontd = raw[0],
        .request = bytes_get_u64(raw + 1),
        .secret = bytes_get_u64(raw + 9),
    };
    return 0;
}
