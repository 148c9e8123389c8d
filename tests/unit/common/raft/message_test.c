/* message, config: the header's bytes, and limits of a configuration. */
#include "common/raft/message.h"

#include <string.h>

#include "common/base/err.h"
#include "common/raft/config.h"
#include "tests/lib/test.h"

static struct raft_message message_full(void)
{
    struct raft_message message;
    memset(&message, 0, sizeof(message));
    message.group = 0x0102030405060708;
    message.from = (struct raft_id){1, 2};
    message.to = (struct raft_id){3, 4};
    message.term = 5;
    message.index = 6;
    message.index_term = 7;
    message.commit = 8;
    message.appended = 9;
    message.hint = 10;
    message.hint_term = 11;
    message.token = 12;
    message.round = 13;
    message.offset = 14;
    message.total = 15;
    message.sent = 16;
    message.seq = 17;
    message.pos = 18;
    message.bytes = 19;
    message.count = 20;
    message.type = RAFT_MESSAGE_APPEND;
    message.flags = RAFT_FLAG_END;
    return message;
}

TEST(a_header_survives_its_encoding)
{
    struct raft_message message = message_full();
    struct raft_message back;
    uint8_t bytes[RAFT_HEADER_BYTES];
    memset(&back, 0, sizeof(back));
    raft_message_encode(&message, bytes);
    ck_assert_int_eq(raft_message_decode(bytes, sizeof(bytes), &back), 0);
    ck_assert_mem_eq(&message, &back, sizeof(message));
}

TEST(a_header_with_any_bit_flipped_is_refused)
{
    struct raft_message message = message_full();
    struct raft_message back;
    uint8_t bytes[RAFT_HEADER_BYTES];
    raft_message_encode(&message, bytes);
    for (unsigned bit = 0; bit < 8 * RAFT_HEADER_BYTES; bit++) {
        bytes[bit / 8] ^= (uint8_t) (1 << bit % 8);
        TEST_ASSERT_FAST(raft_message_decode(bytes, sizeof(bytes), &back) == ERR_BAD_FORMAT);
        bytes[bit / 8] ^= (uint8_t) (1 << bit % 8);
    }
    ck_assert_int_eq(raft_message_decode(bytes, RAFT_HEADER_BYTES - 1, &back), ERR_INCOMPLETE);
}

TEST(a_sealed_header_with_impossible_content_is_refused)
{
    struct raft_message back;
    uint8_t bytes[RAFT_HEADER_BYTES];
    for (unsigned which = 0; which < 6; which++) {
        struct raft_message message = message_full();
        switch (which) {
        case 0:
            message.term = 0;
            break;
        case 1:
            message.index = UINT64_MAX;
            break;
        case 2:
            message.to = message.from;
            break;
        case 3:
            message.type = RAFT_MESSAGE_VOTE; /* with entries */
            break;
        case 4:
            message.from.node = 0;
            break;
        default:
            message.type = RAFT_MESSAGE_SNAPSHOT; /* a chunk beyond its end */
            message.count = 0;
            break;
        }
        raft_message_encode(&message, bytes);
        ck_assert_int_eq(raft_message_decode(bytes, sizeof(bytes), &back), ERR_BAD_FORMAT);
    }
}

TEST(the_default_configuration_is_valid_and_wrong_fields_are_named)
{
    struct raft_config config;
    const char *field = NULL;
    raft_config_init(&config);
    ck_assert_int_eq(raft_config_check(&config, &field), ERR_BAD_CONFIG);
    ck_assert_str_eq(field, "id");
    config.id = (struct raft_id){1, 1};
    ck_assert_int_eq(raft_config_check(&config, &field), 0);
    config.election_timeout_us_max = config.election_timeout_us_min;
    ck_assert_int_eq(raft_config_check(&config, &field), ERR_BAD_CONFIG);
    ck_assert_str_eq(field, "election_timeout_us_max");
    config.election_timeout_us_max++;
    config.check_quorum = false;
    config.lease_reads = true;
    ck_assert_int_eq(raft_config_check(&config, &field), ERR_BAD_CONFIG);
    ck_assert_str_eq(field, "lease_reads");
}
