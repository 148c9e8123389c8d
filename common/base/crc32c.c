/* crc32c: the Castagnoli checksum, reflected polynomial 0x82F63B78. Stands before every byte that reaches disk, so it
 * must be fast: where the processor has the instruction, three streams run at once, because one instruction takes three
 * cycles but a new one can start in each. All tables are constants made by the preprocessor: nothing to set up.
 *
 * Advancing a checksum by zero bytes is linear: the result for a byte is the exclusive or of the results for its bits. So
 * each row of 256 entries is written as its eight results for single bits. */
#include "common/base/crc32c.h"

#include <string.h>

/* clang-format off */
#define CRC_BIT(n, bit, value) (((n) >> (bit) & 1) != 0 ? UINT32_C(value) : 0)
#define CRC_1(n, a, b, c, d, e, f, g, h)                                                           \
    CRC_BIT(n, 0, a) ^ CRC_BIT(n, 1, b) ^ CRC_BIT(n, 2, c) ^ CRC_BIT(n, 3, d) ^                    \
    CRC_BIT(n, 4, e) ^ CRC_BIT(n, 5, f) ^ CRC_BIT(n, 6, g) ^ CRC_BIT(n, 7, h)
#define CRC_4(n, ...)   CRC_1(n, __VA_ARGS__), CRC_1((n) + 1, __VA_ARGS__),                        \
                        CRC_1((n) + 2, __VA_ARGS__), CRC_1((n) + 3, __VA_ARGS__)
#define CRC_16(n, ...)  CRC_4(n, __VA_ARGS__), CRC_4((n) + 4, __VA_ARGS__),                        \
                        CRC_4((n) + 8, __VA_ARGS__), CRC_4((n) + 12, __VA_ARGS__)
#define CRC_64(n, ...)  CRC_16(n, __VA_ARGS__), CRC_16((n) + 16, __VA_ARGS__),                     \
                        CRC_16((n) + 32, __VA_ARGS__), CRC_16((n) + 48, __VA_ARGS__)
#define CRC_ROW(...)  { CRC_64(0, __VA_ARGS__), CRC_64(64, __VA_ARGS__),                           \
                        CRC_64(128, __VA_ARGS__), CRC_64(192, __VA_ARGS__) }
/* clang-format on */

/* [k][byte]: the checksum of `byte` after k + 1 bytes. */
static const uint32_t crc32c_slices[8][256] = {
    CRC_ROW(0xf26b8303, 0xe13b70f7, 0xc79a971f, 0x8ad958cf, 0x105ec76f, 0x20bd8ede, 0x417b1dbc,
            0x82f63b78),
    CRC_ROW(0x13a29877, 0x274530ee, 0x4e8a61dc, 0x9d14c3b8, 0x3fc5f181, 0x7f8be302, 0xff17c604,
            0xfbc3faf9),
    CRC_ROW(0xa541927e, 0x4f6f520d, 0x9edea41a, 0x38513ec5, 0x70a27d8a, 0xe144fb14, 0xc76580d9,
            0x8b277743),
    CRC_ROW(0xdd45aab8, 0xbf672381, 0x7b2231f3, 0xf64463e6, 0xe964b13d, 0xd725148b, 0xaba65fe7,
            0x52a0c93f),
    CRC_ROW(0x38116fac, 0x7022df58, 0xe045beb0, 0xc5670b91, 0x8f2261d3, 0x1ba8b557, 0x37516aae,
            0x6ea2d55c),
    CRC_ROW(0xef306b19, 0xdb8ca0c3, 0xb2f53777, 0x6006181f, 0xc00c303e, 0x85f4168d, 0x0e045beb,
            0x1c08b7d6),
    CRC_ROW(0x68032cc8, 0xd0065990, 0xa5e0c5d1, 0x4e2dfd53, 0x9c5bfaa6, 0x3d5b83bd, 0x7ab7077a,
            0xf56e0ef4),
    CRC_ROW(0x493c7d27, 0x9278fa4e, 0x211d826d, 0x423b04da, 0x847609b4, 0x0d006599, 0x1a00cb32,
            0x34019664),
};

uint32_t crc32c_extend_portable(uint32_t crc, struct span bytes)
{
    const uint8_t *at = bytes.data;
    size_t left = bytes.size;

    crc = ~crc;
    for (; left >= 8; at += 8, left -= 8) {
        uint32_t low = crc ^ ((uint32_t) at[0] | (uint32_t) at[1] << 8 | (uint32_t) at[2] << 16 |
                              (uint32_t) at[3] << 24);
        crc = crc32c_slices[7][low & 255] ^ crc32c_slices[6][low >> 8 & 255] ^
              crc32c_slices[5][low >> 16 & 255] ^ crc32c_slices[4][low >> 24] ^
              crc32c_slices[3][at[4]] ^ crc32c_slices[2][at[5]] ^ crc32c_slices[1][at[6]] ^
              crc32c_slices[0][at[7]];
    }
    for (; left > 0; at++, left--) {
        crc = crc >> 8 ^ crc32c_slices[0][(crc ^ *at) & 255];
    }
    return ~crc;
}

#ifdef __x86_64__

/* Three stripes of this many bytes run side by side. */
enum { CRC32C_STRIPE_LONG = 2048, CRC32C_STRIPE_SHORT = 128 };

/* [k][byte]: what `byte`, the k-th of a checksum, becomes behind a stripe of zeros. */
static const uint32_t crc32c_behind_long[4][256] = {
    CRC_ROW(0xf7506984, 0xeb4ca5f9, 0xd3753d03, 0xa3060cf7, 0x43e06f1f, 0x87c0de3e, 0x0a6dca8d,
            0x14db951a),
    CRC_ROW(0x29b72a34, 0x536e5468, 0xa6dca8d0, 0x48552751, 0x90aa4ea2, 0x24b8ebb5, 0x4971d76a,
            0x92e3aed4),
    CRC_ROW(0x202b2b59, 0x405656b2, 0x80acad64, 0x04b52c39, 0x096a5872, 0x12d4b0e4, 0x25a961c8,
            0x4b52c390),
    CRC_ROW(0x96a58720, 0x28a778b1, 0x514ef162, 0xa29de2c4, 0x40d7b379, 0x81af66f2, 0x06b2bb15,
            0x0d65762a),
};
static const uint32_t crc32c_behind_short[4][256] = {
    CRC_ROW(0x6992cea2, 0xd3259d44, 0xa3a74c79, 0x42a2ee03, 0x8545dc06, 0x0f67cefd, 0x1ecf9dfa,
            0x3d9f3bf4),
    CRC_ROW(0x7b3e77e8, 0xf67cefd0, 0xe915a951, 0xd7c72453, 0xaa623e57, 0x51280a5f, 0xa25014be,
            0x414c5f8d),
    CRC_ROW(0x8298bf1a, 0x00dd08c5, 0x01ba118a, 0x03742314, 0x06e84628, 0x0dd08c50, 0x1ba118a0,
            0x37423140),
    CRC_ROW(0x6e846280, 0xdd08c500, 0xbffdfcf1, 0x7a178f13, 0xf42f1e26, 0xedb24abd, 0xde88e38b,
            0xb8fdb1e7),
};

static inline uint64_t crc32c_behind(const uint32_t rows[4][256], uint64_t crc)
{
    return rows[0][crc & 255] ^ rows[1][crc >> 8 & 255] ^ rows[2][crc >> 16 & 255] ^
           rows[3][crc >> 24 & 255];
}

static inline uint64_t crc32c_load64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

/* The checksum of three stripes that begin at `at`. */
__attribute__((target("sse4.2"))) static inline uint64_t
crc32c_three(const uint32_t rows[4][256], size_t stripe, uint64_t crc, const uint8_t *at)
{
    uint64_t second = 0;
    uint64_t third = 0;
    for (const uint8_t *end = at + stripe; at < end; at += 8) {
        crc = __builtin_ia32_crc32di(crc, crc32c_load64(at));
        second = __builtin_ia32_crc32di(second, crc32c_load64(at + stripe));
        third = __builtin_ia32_crc32di(third, crc32c_load64(at + 2 * stripe));
    }
    crc = crc32c_behind(rows, crc) ^ second;
    return crc32c_behind(rows, crc) ^ third;
}

__attribute__((target("sse4.2"))) static uint32_t crc32c_extend_sse42(uint32_t start,
                                                                      struct span bytes)
{
    const size_t three_long = (size_t) 3 * CRC32C_STRIPE_LONG;
    const size_t three_short = (size_t) 3 * CRC32C_STRIPE_SHORT;
    const uint8_t *at = bytes.data;
    size_t left = bytes.size;
    uint64_t crc = ~start;

    for (; left >= three_long; at += three_long, left -= three_long) {
        crc = crc32c_three(crc32c_behind_long, CRC32C_STRIPE_LONG, crc, at);
    }
    for (; left >= three_short; at += three_short, left -= three_short) {
        crc = crc32c_three(crc32c_behind_short, CRC32C_STRIPE_SHORT, crc, at);
    }
    for (; left >= 8; at += 8, left -= 8) {
        crc = __builtin_ia32_crc32di(crc, crc32c_load64(at));
    }
    uint32_t narrow = (uint32_t) crc;
    for (; left > 0; at++, left--) {
        narrow = __builtin_ia32_crc32qi(narrow, *at);
    }
    return ~narrow;
}

uint32_t crc32c_extend(uint32_t crc, struct span bytes)
{
    if (__builtin_cpu_supports("sse4.2")) {
        return crc32c_extend_sse42(crc, bytes);
    }
    return crc32c_extend_portable(crc, bytes);
}

#else

uint32_t crc32c_extend(uint32_t crc, struct span bytes)
{
    return crc32c_extend_portable(crc, bytes);
}

#endif
