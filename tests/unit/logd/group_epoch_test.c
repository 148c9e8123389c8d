/* The owner of an exclusive group in its replicated state: it never falls back, survives saving, and bad bytes change nothing. */
#include "logd/group_state.h"

#include "common/base/err.h"
#include "common/wire/pb.h"
#include "tests/lib/test.h"

enum { ID = 7, ACKS_EPOCH = 10, EPOCH_EPOCH = 1, EPOCH_OWNER = 2 };

static void own(struct group_state *state, uint64_t epoch, const char *owner)
{
    struct buf entry = {0};
    uint64_t id;
    pb_append_varint(&entry, 1, ID);
    group_epoch_append(&entry, ACKS_EPOCH, epoch, span_of(owner));
    ck_assert_int_eq(group_state_check_acks(buf_span(&entry), &id), 0);
    group_state_apply_acks(state, buf_span(&entry));
    buf_release(&entry);
}

TEST(an_epoch_rises_and_never_falls)
{
    struct group_state state;
    group_state_init(&state, ID);
    ck_assert_uint_eq(state.epoch.epoch, 0);
    own(&state, 3, "one");
    own(&state, 2, "late");
    ck_assert_uint_eq(state.epoch.epoch, 3);
    ck_assert(span_is(buf_span(&state.epoch.owner), "one"));
    own(&state, 4, "two");
    ck_assert_uint_eq(state.epoch.epoch, 4);
    ck_assert(span_is(buf_span(&state.epoch.owner), "two"));
    group_state_release(&state);
}

TEST(an_epoch_survives_saving_and_loading_and_a_seek)
{
    struct group_state state;
    struct group_state loaded;
    struct buf value = {0};
    group_state_init(&state, ID);
    own(&state, 41, "one");
    group_state_seek(&state, 10);
    group_state_encode(&state, &value);
    ck_assert_int_eq(group_state_decode(&loaded, buf_span(&value)), 0);
    ck_assert_uint_eq(loaded.epoch.epoch, 41);
    ck_assert(span_is(buf_span(&loaded.epoch.owner), "one"));
    group_state_release(&state);
    group_state_release(&loaded);
    buf_release(&value);
}

TEST(a_damaged_epoch_is_refused)
{
    static const char *const bad[] = {"\x08",
                                      "\x12\x05"
                                      "ab",
                                      "\x08\x00", "\x08\x01\x12\x01\xff", ""};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct buf entry = {0};
        uint64_t id;
        pb_append_varint(&entry, 1, ID);
        pb_append_bytes(&entry, ACKS_EPOCH, i == 2 ? span_make(bad[i], 2) : span_of(bad[i]));
        ck_assert_int_eq(group_state_check_acks(buf_span(&entry), &id), ERR_BAD_FORMAT);
        buf_release(&entry);
    }
}

TEST(a_long_owner_is_cut_between_characters)
{
    struct group_state state;
    char name[400];
    memset(name, 'x', sizeof name);
    memcpy(name + 254, "\xc3\xa4", 2); /* across the limit */
    name[399] = 0;
    group_state_init(&state, ID);
    own(&state, 1, name);
    ck_assert_uint_eq(state.epoch.owner.size, 254);
    group_state_release(&state);
}
