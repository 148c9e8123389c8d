/* topics: shows what is published under a topic, or publishes.   topics [-a ADDRESS] sub MATCHER [GROUP] | pub TOPIC TEXT... */
#include <railgun.h>

#include <stdio.h>
#include <string.h>

static int subscribe(struct rg_client *client, const char *matcher, const char *group)
{
    struct rg_subscribe_options options = {
        .matchers = &matcher, .matcher_count = 1, .group = group};
    struct rg_subscription *subscription = NULL;
    struct rg_es_delivery message;
    int result = rg_subscribe(client, &options, &subscription);
    while (result == RG_OK || result == RG_ERR_AGAIN) {
        result = rg_subscription_next(subscription, 60000, &message);
        if (result == RG_OK) {
            printf("%.*s: %.*s\n", (int) message.topic.size, (const char *) message.topic.data,
                   (int) message.payload.size, (const char *) message.payload.data);
            fflush(stdout);
        }
    }
    rg_subscription_close(&subscription);
    return result;
}

static int publish(struct rg_client *client, const char *topic, char **texts)
{
    int result = RG_OK;
    for (; result == RG_OK && *texts != NULL; texts++) {
        result = rg_es_publish(client, topic, *texts, strlen(*texts));
    }
    return result == RG_OK ? rg_es_flush(client, 10000) : result;
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
    if (argc < 3) {
        fprintf(stderr, "usage: topics [-a ADDRESS] sub MATCHER [GROUP] | pub TOPIC TEXT...\n");
        return 2;
    }
    int result = rg_connect(address, NULL, &client);
    if (result == RG_OK) {
        result = strcmp(argv[1], "sub") == 0 ? subscribe(client, argv[2], argv[3])
                                             : publish(client, argv[2], argv + 3);
    }
    if (result != RG_OK) {
        fprintf(stderr, "topics: %s: %s\n", rg_error_name(result), rg_last_error(client));
    }
    rg_close(&client);
    return result == RG_OK ? 0 : 1;
}
