/* Names of response streams: one owner among all frontds. */
#include <limits.h>

#include "common/base/err.h"
#include "tests/lib/test.h"
#include "tests/unit/frontd_routers/fake.h"

enum {
    CLAIM = RAILGUN__BUS_TYPE__BUS_ROUTE_CLAIM,
    RELEASE = RAILGUN__BUS_TYPE__BUS_ROUTE_RELEASE,
    RESOLVE = RAILGUN__BUS_TYPE__BUS_ROUTE_RESOLVE,
    SYNCED = RAILGUN__BUS_TYPE__BUS_ROUTE_SYNCED,
};

struct asker {
    unsigned done;
    int result;
    unsigned lost;
    unsigned frontd;
    uint64_t request;
    uint64_t token;
};

static void asker_done(void *ud, int result)
{
    struct asker *asker = ud;
    asker->done++;
    asker->result = result;
}

static void asker_lost(void *ud)
{
    ((struct asker *) ud)->lost++;
}

static struct claim *claim_of(struct asker *asker)
{
    struct claim *claim = routers_claim(fake.routers, span_of("default"), span_of("mine"), 99,
                                        asker_done, asker_lost, asker);
    fake_turn();
    return claim;
}

TEST(a_name_is_claimed_from_all_one_after_the_other)
{
    struct asker asker = {0};
    fake_start();
    fake_make_ready(1);
    fake_make_ready(0);
    struct claim *claim = claim_of(&asker);
    fake_expect_nothing(1);
    const struct fake_sent *sent = fake_expect(0, CLAIM);
    static const uint8_t expected[] = "\x0a\x07"
                                      "default\x12\x04mine\x19\x63\0\0\0\0\0\0";
    ck_assert(span_equal(buf_span(&sent->meta), span_make(expected, sizeof(expected))));
    fake_reply(sent, 0, (struct span){0});
    fake_turn();
    ck_assert_uint_eq(asker.done, 0);
    fake_reply(fake_expect(1, CLAIM), 0, (struct span){0});
    fake_turn();
    ck_assert_uint_eq(asker.done, 1);
    ck_assert_int_eq(asker.result, 0);
    routers_release(fake.routers, &claim);
    ck_assert_ptr_null(claim);
    (void) fake_expect(0, RELEASE);
    (void) fake_expect(1, RELEASE);
    fake_stop();
}

TEST(a_name_in_use_is_given_back_where_it_was_granted)
{
    struct asker asker = {0};
    fake_start();
    fake_make_ready(0);
    fake_make_ready(1);
    struct claim *claim = claim_of(&asker);
    fake_reply(fake_expect(0, CLAIM), 0, (struct span){0});
    fake_turn();
    fake_reply(fake_expect(1, CLAIM), ERR_RS_IN_USE, (struct span){0});
    fake_turn();
    ck_assert_uint_eq(asker.done, 1);
    ck_assert_int_eq(asker.result, ERR_RS_IN_USE);
    (void) fake_expect(0, RELEASE);
    fake_expect_nothing(1);
    routers_release(fake.routers, &claim);
    fake_expect_nothing(0);
    fake_stop();
}

TEST(a_claim_that_is_released_while_under_way_is_given_back_behind_it)
{
    struct asker asker = {0};
    fake_start();
    fake_make_ready(0);
    struct claim *claim = claim_of(&asker);
    const struct fake_sent *sent = fake_expect(0, CLAIM);
    routers_release(fake.routers, &claim);
    (void) fake_expect(0, RELEASE);
    fake_reply(sent, 0, (struct span){0});
    fake_turn();
    ck_assert_uint_eq(asker.done, 0);
    fake_stop();
}

TEST(a_claim_waits_for_a_routerd_but_not_for_ever)
{
    struct asker asker = {0};
    fake_start();
    struct claim *claim = claim_of(&asker);
    fake_pass(9000);
    ck_assert_uint_eq(asker.done, 0);
    fake_pass(2000);
    ck_assert_int_eq(asker.result, ERR_NO_QUORUM);
    routers_release(fake.routers, &claim);
    claim = claim_of(&asker);
    fake_make_ready(0); /* it is asked as soon as it was told everything */
    fake_pass(100);
    for (unsigned i = 0; i < fake.peers[0].sent_count; i++) {
        if ((int) fake.peers[0].sent[i].type == CLAIM) {
            fake_reply(&fake.peers[0].sent[i], 0, (struct span){0});
        }
    }
    fake_turn();
    ck_assert_uint_eq(asker.done, 2);
    ck_assert_int_eq(asker.result, 0);
    routers_release(fake.routers, &claim);
    fake_stop();
}

TEST(a_claim_is_renewed_before_a_session_is_told_that_it_is_all)
{
    struct asker asker = {0};
    fake_start();
    fake_make_ready(0);
    struct claim *claim = claim_of(&asker);
    fake_reply(fake_expect(0, CLAIM), 0, (struct span){0});
    fake_turn();
    fake_down(0);
    fake.peers[0].credit = 0;
    fake_up(0);
    fake_reset(0);
    fake_expect_nothing(0);
    fake.peers[0].credit = UINT_MAX;
    fake_credit(0);
    const struct fake_sent *sent = fake_expect(0, CLAIM);
    (void) fake_expect(0, SYNCED);
    fake_reply(sent, 0, (struct span){0});
    fake_turn();
    ck_assert_uint_eq(asker.done, 1);
    ck_assert_uint_eq(asker.lost, 0);
    routers_release(fake.routers, &claim);
    (void) fake_expect(0, RELEASE);
    fake_stop();
}

TEST(a_claim_that_another_got_meanwhile_is_lost)
{
    struct asker asker = {0};
    fake_start();
    fake_make_ready(0);
    fake_make_ready(1);
    struct claim *claim = claim_of(&asker);
    fake_reply(fake_expect(0, CLAIM), 0, (struct span){0});
    fake_turn();
    fake_reply(fake_expect(1, CLAIM), 0, (struct span){0});
    fake_turn();
    fake_down(0);
    fake_up(0);
    fake_reset(0);
    fake_reply(fake_expect(0, CLAIM), ERR_RS_IN_USE, (struct span){0});
    fake_turn();
    ck_assert_uint_eq(asker.lost, 1);
    ck_assert_uint_eq(asker.done, 1);
    (void) fake_expect(1, RELEASE);
    fake_down(1);
    fake_up(1);
    fake_reset(1);
    (void) fake_expect(1, SYNCED); /* it is not renewed any more */
    routers_release(fake.routers, &claim);
    fake_stop();
}

/* --- resolving --- */

static void asker_resolved(void *ud, uint64_t token, int result, unsigned frontd, uint64_t request)
{
    struct asker *asker = ud;
    asker->done++;
    asker->token = token;
    asker->result = result;
    asker->frontd = frontd;
    asker->request = request;
}

static void resolve(struct asker *asker)
{
    routers_resolve(fake.routers, span_of("default"), span_of("mine"), asker_resolved, asker, 7);
    ck_assert_uint_eq(asker->done, 0);
    fake_turn();
}

TEST(a_name_is_resolved_by_any)
{
    static const uint8_t answer[] = "\x08\x03\x11\x63\0\0\0\0\0\0";
    struct asker asker = {0};
    fake_start();
    fake_make_ready(0);
    resolve(&asker);
    fake_reply(fake_expect(0, RESOLVE), 0, span_make(answer, sizeof(answer)));
    ck_assert_uint_eq(asker.done, 1);
    ck_assert_uint_eq(asker.token, 7);
    ck_assert_int_eq(asker.result, 0);
    ck_assert_uint_eq(asker.frontd, 3);
    ck_assert_uint_eq(asker.request, 0x63);
    asker = (struct asker){0};
    resolve(&asker);
    fake_reply(fake_expect(0, RESOLVE), ERR_NOT_FOUND, (struct span){0});
    ck_assert_int_eq(asker.result, ERR_NOT_FOUND);
    fake_stop();
}

TEST(another_is_asked_to_resolve_when_a_session_ends_but_not_for_ever)
{
    struct asker asker = {0};
    fake_start();
    fake_make_ready(0);
    resolve(&asker);
    (void) fake_expect(0, RESOLVE);
    fake_down(0);
    fake_live(0, false);
    ck_assert_uint_eq(asker.done, 0);
    fake_make_ready(1);
    fake_pass(100);
    (void) fake_expect(1, RESOLVE);
    fake_pass(11000);
    ck_assert_uint_eq(asker.done, 1);
    ck_assert_int_eq(asker.result, ERR_NO_QUORUM);
    fake_stop();
}
