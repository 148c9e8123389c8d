/* What a packet carries behind its header, and what comes of bytes that are none. */
#include "common/raft/packet.h"

#include "common/base/err.h"
#include "common/base/mem.h"
#include "tests/lib/test.h"
#include "tests/unit/common/raft/router.h"

TEST(foreign_packets_are_refused)
{
    struct router *router = router_new(1, NULL);
    uint8_t bytes[400];
    memset(bytes, 7, sizeof(bytes));
    ck_assert_int_eq(raft_host_recv(router->node[1].host, 1, span_make(bytes, 10)), ERR_INCOMPLETE);
    ck_assert_int_eq(raft_host_recv(router->node[1].host, 1, span_make(bytes, sizeof(bytes))),
                     ERR_BAD_FORMAT);
    router_expect_pristine(router, 1);
    router_free(&router);
}

TEST(a_log_of_many_changes_reaches_a_newcomer)
{
    struct router *router = router_new(2, NULL);
    struct raft_members alone = ROUTER_MEMBERS(1);
    struct raft_members with = alone;
    struct raft_members both = ROUTER_MEMBERS(1, 2);
    (void) raft_members_put(&with, (struct raft_id){3, 1}, RAFT_LEARNER, 1);
    ck_assert_int_eq(raft_host_initialize(router->node[1].host, &alone), 0);
    router_settle(router);
    for (unsigned i = 0; i < 20; i++) { /* one message will hold them all */
        struct answer answer = {0};
        ck_assert_int_eq(raft_host_change(router->node[1].host, i % 2 == 0 ? &with : &alone,
                                          router_answer, &answer),
                         0);
        router_settle(router);
        ck_assert_uint_eq(answer.calls, 1);
    }
    router_change(router, &both);
    router_expect_stable(router, 2, 2, 2 + 20 + 2);
    router_free(&router);
}

TEST(a_packet_cut_anywhere_is_refused)
{
    struct raft_memory *memory = raft_memory_new();
    struct raft_storage *storage = raft_memory_storage(memory);
    struct raft_members members = ROUTER_MEMBERS(1, 2, 3);
    struct raft_packet *packet = MEM_NEW(struct raft_packet);
    struct buf out = {0};
    struct payload *payload = payload_copy(span_of("hello"));
    struct slice slice = {payload, payload_span(payload)};
    struct raft_entry entries[] = {{.term = 1, .type = RAFT_ENTRY_CONFIG, .members = &members},
                                   {.term = 1, .type = RAFT_ENTRY_BLANK},
                                   {.term = 2, .bytes = 5}};
    ck_assert_int_eq(raft_storage_put(storage, 1, entries, 2, NULL), 0);
    ck_assert_int_eq(raft_storage_put(storage, 3, &entries[2], 1, &slice), 0);
    struct raft_message message = {.group = 5,
                                   .from = {1, 1},
                                   .to = {2, 1},
                                   .term = 2,
                                   .type = RAFT_MESSAGE_APPEND,
                                   .count = 3,
                                   .bytes = 5};
    ck_assert_int_eq(raft_packet_encode(&message, storage, &out), 0);
    ck_assert_int_eq(raft_packet_decode(buf_span(&out), packet), 0);
    ck_assert_uint_eq(packet->message.count, 3);
    ck_assert(raft_members_equal(packet->entries[0].members, &members));
    ck_assert_uint_eq(packet->entries[1].type, RAFT_ENTRY_BLANK);
    ck_assert(span_is(packet->payloads[2], "hello"));
    for (size_t size = 0; size < out.size; size++) {
        ck_assert_int_ne(raft_packet_decode(span_make(out.data, size), packet), 0);
    }
    buf_append_byte(&out, 0);
    ck_assert_int_ne(raft_packet_decode(buf_span(&out), packet), 0);
    message.count = 4; /* one that is not there any more */
    size_t before = out.size;
    ck_assert_int_eq(raft_packet_encode(&message, storage, &out), ERR_NOT_FOUND);
    ck_assert_uint_eq(out.size, before);
    buf_release(&out);
    payload_unref(&payload);
    raft_packet_release(packet);
    mem_free(packet);
    raft_memory_destroy(&memory);
}

TEST(a_snapshot_travels_with_the_members_as_of_its_index)
{
    struct raft_memory *memory = raft_memory_new();
    struct raft_storage *storage = raft_memory_storage(memory);
    struct raft_members three = ROUTER_MEMBERS(1, 2, 3);
    struct raft_members later = ROUTER_MEMBERS(1, 2, 3, 4); /* not committed yet */
    struct raft_packet *packet = MEM_NEW(struct raft_packet);
    struct buf out = {0};
    struct payload *payload = payload_copy(span_of("state"));
    struct slice state = {payload, payload_span(payload)};
    struct raft_entry entries[] = {{.term = 1, .type = RAFT_ENTRY_CONFIG, .members = &three},
                                   {.term = 1, .type = RAFT_ENTRY_BLANK},
                                   {.term = 1, .type = RAFT_ENTRY_CONFIG, .members = &later}};
    struct raft_message message = {.group = 5,
                                   .from = {1, 1},
                                   .to = {4, 1},
                                   .term = 1,
                                   .index = 2,
                                   .index_term = 1,
                                   .bytes = 5,
                                   .total = 5,
                                   .type = RAFT_MESSAGE_SNAPSHOT,
                                   .flags = RAFT_FLAG_LAST};
    ck_assert_int_eq(raft_storage_put(storage, 1, entries, 3, NULL), 0);
    ck_assert_int_eq(storage->ops->snapshot_save(storage, 2, &state), 0);
    ck_assert_int_eq(raft_packet_encode(&message, storage, &out), 0);
    ck_assert_int_eq(raft_packet_decode(buf_span(&out), packet), 0);
    ck_assert(raft_members_equal(packet->message.members, &three));
    ck_assert(span_is(packet->chunk, "state"));
    buf_release(&out);
    payload_unref(&payload);
    raft_packet_release(packet);
    mem_free(packet);
    raft_memory_destroy(&memory);
}
