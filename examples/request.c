/* request: asks the topic "upper" to write a text in capitals, or is who does it.   request [-a ADDRESS] serve | TEXT */
#include <railgun.h>

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* On the library's thread. One of the group "workers" gets each request. */
static void serve(void *ud, struct rg_subscription *subscription,
                  const struct rg_es_delivery *request)
{
    struct rg_client *client = ud;
    const unsigned char *text = request->payload.data;
    char answer[1024];
    size_t size = request->payload.size < sizeof(answer) ? request->payload.size : sizeof(answer);
    (void) subscription;
    for (size_t i = 0; i < size; i++) {
        answer[i] = (char) toupper(text[i]);
    }
    int result = rg_reply(client, request->reply_to, answer, size);
    if (result != RG_OK) {
        fprintf(stderr, "request: no reply: %s\n", rg_error_name(result));
    }
}

static int work(struct rg_client *client)
{
    const char *matcher = "upper";
    struct rg_subscribe_options options = {.matchers = &matcher,
                                           .matcher_count = 1,
                                           .group = "workers",
                                           .on_message = serve,
                                           .ud = client};
    struct rg_subscription *subscription = NULL;
    int result = rg_subscribe(client, &options, &subscription);
    if (result == RG_OK) {
        pause(); /* until it is interrupted */
    }
    rg_subscription_close(&subscription);
    return result;
}

static int ask(struct rg_client *client, const char *text)
{
    void *answer = NULL;
    int result = rg_request(client, "upper", text, strlen(text), 2000, &answer, NULL);
    if (result == RG_OK) {
        printf("%s\n", (const char *) answer);
    }
    rg_free(answer);
    return result;
}

int main(int argc, char **argv)
{
    const char *address = "127.0.0.1:7470";
    struct rg_client *client = NULL;
    if (argc > 2 && strcmp(argv[1], "-a") == 0) {
        address = argv[2];
        argv += 2;
        argc -= 2;
    }
    if (argc != 2) {
        fprintf(stderr, "usage: request [-a ADDRESS] serve | TEXT\n");
        return 2;
    }
    int result = rg_connect(address, NULL, &client);
    if (result == RG_OK) {
        result = strcmp(argv[1], "serve") == 0 ? work(client) : ask(client, argv[1]);
    }
    if (result != RG_OK) {
        fprintf(stderr, "request: %s: %s\n", rg_error_name(result), rg_last_error(client));
    }
    rg_close(&client);
    return result == RG_OK ? 0 : 1;
}
