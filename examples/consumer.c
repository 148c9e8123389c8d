/* consumer: prints messages and acknowledges them.   consumer [ADDRESS] [STREAM] [GROUP] [COUNT]
 * Ends after COUNT messages, or when none has come for two seconds. */
#include <railgun.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    const char *address = argc > 1 ? argv[1] : "127.0.0.1:7470";
    const char *stream = argc > 2 ? argv[2] : "example";
    const char *group = argc > 3 ? argv[3] : "example";
    unsigned long count = argc > 4 ? strtoul(argv[4], NULL, 10) : 0;
    struct rg_options options = {.name = "example consumer"};
    struct rg_consume_options consume = {.start = {.at = RG_START_FIRST}};
    struct rg_client *client = NULL;
    struct rg_consumer *consumer = NULL;
    struct rg_record record;
    unsigned long taken = 0;

    int result = rg_connect(address, &options, &client);
    if (result == RG_OK) {
        result = rg_consume(client, stream, group, &consume, &consumer);
    }
    while (result == RG_OK && (count == 0 || taken < count)) {
        result = rg_consumer_next(consumer, 2000, &record);
        if (result == RG_OK) {
            printf("%" PRIu64 " ", record.offset);
            fwrite(record.payload.data, 1, record.payload.size, stdout);
            printf("%s\n", record.attempt > 1 ? " (again)" : "");
            taken++;
            result = rg_ack(consumer, record.offset, record.offset);
        }
    }
    if (result != RG_OK && result != RG_ERR_AGAIN) {
        fprintf(stderr, "consumer: %s: %s\n", rg_error_name(result), rg_last_error(client));
    }
    rg_consumer_close(&consumer); /* sends what is acknowledged */
    rg_close(&client);
    return result == RG_OK || result == RG_ERR_AGAIN ? 0 : 1;
}
