/* Connecting, pinging, closing. */
#include <string.h>

#include "client/railgun.h"
#include "tests/lib/test.h"
#include "tests/unit/client/fake.h"

TEST(connects_pings_and_closes)
{
    struct fake *fake = fake_new();
    struct rg_client *client = fake_client(fake, NULL);
    uint64_t us = 0;
    ck_assert_int_eq(rg_ping(client, &us), 0);
    ck_assert_str_eq(rg_server_address(client), fake->address);
    rg_close(&client);
    ck_assert_ptr_null(client);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(publishes_one_record_and_gets_its_offset)
{
    struct fake *fake = fake_new();
    fake->keep = true;
    struct rg_client *client = fake_client(fake, NULL);
    uint64_t offset = 0;
    ck_assert_int_eq(rg_publish(client, "s", "hello", 5, &offset), 0);
    ck_assert_uint_eq(offset, 1);
    ck_assert_int_eq(rg_publish(client, "s", "again", 5, &offset), 0);
    ck_assert_uint_eq(offset, 2);
    rg_close(&client);
    ck_assert_str_eq(buf_text(&fake->stream_log), "s:1 s:1 ");
    fake_destroy(&fake);
}
