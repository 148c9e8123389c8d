/* producer: publishes each line of standard input as a message.   producer [ADDRESS] [STREAM] */
#include <railgun.h>

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static atomic_ulong stored;
static atomic_ulong failed;

/* On the library's thread, once for each message. */
static void published(void *ud, int result, uint64_t offset)
{
    (void) ud;
    (void) offset;
    atomic_fetch_add(result == RG_OK ? &stored : &failed, 1);
}

int main(int argc, char **argv)
{
    const char *address = argc > 1 ? argv[1] : "127.0.0.1:7470";
    const char *stream = argc > 2 ? argv[2] : "example";
    struct rg_options options = {.name = "example producer"};
    struct rg_client *client = NULL;
    char line[65536];

    int result = rg_connect(address, &options, &client);
    if (result == RG_OK) {
        result = rg_stream_ensure(client, stream, NULL, NULL);
    }
    while (result == RG_OK && fgets(line, sizeof(line), stdin) != NULL) {
        struct rg_message message = {.payload = {line, strcspn(line, "\n")}};
        result = rg_publish_async(client, stream, &message, published, NULL);
    }
    if (result == RG_OK) {
        result = rg_flush(client, 30000);
    }
    if (result != RG_OK) {
        fprintf(stderr, "producer: %s: %s\n", rg_error_name(result), rg_last_error(client));
    }
    rg_close(&client);
    printf("%lu stored, %lu not or unknown\n", stored, failed);
    return result == RG_OK ? 0 : 1;
}
