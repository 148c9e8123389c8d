/* crc32c: the Castagnoli checksum; in hardware where the processor has it. */
#ifndef COMMON_BASE_CRC32C_H
#define COMMON_BASE_CRC32C_H

#include <stdint.h>

#include "common/base/span.h"

/* Continue `crc` (0 at the start) over some more bytes. crc32c_extend(0, "123456789") = 0xE3069283. */
uint32_t crc32c_extend(uint32_t crc, struct span bytes);

/* The same with tables alone: what processors without the instruction get. */
uint32_t crc32c_extend_portable(uint32_t crc, struct span bytes);

#endif
