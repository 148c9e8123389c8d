/* es_fields: the field numbers that es.c reads and es_write.c writes. A test holds them against the descriptors. */
#ifndef COMMON_WIRE_ES_FIELDS_H
#define COMMON_WIRE_ES_FIELDS_H

#include "common/wire/pb.h"

enum {
    ES_MESSAGE_TOPIC = 1,
    ES_MESSAGE_PAYLOAD = 2,
    ES_MESSAGE_KEY = 3,
    ES_MESSAGE_HEADERS = 4,
    ES_MESSAGE_REPLY_TO = 5,

    ES_PUBLISH_EXCHANGE = 1,
    ES_MESSAGES = 15, /* of EsPublish and EsDeliver */
    ES_MESSAGE = 15,  /* of Request, Reply and Result */

    ES_REQUEST_EXCHANGE = 1,
    ES_REQUEST_TIMEOUT = 2,
    ES_REQUEST_MAX_REPLIES = 3,
    ES_REQUEST_RESPONSE = 4,

    ES_REPLY_TO = 1,

    ES_RESULT_CODE = 1,
    ES_RESULT_MORE = 2,
    ES_RESULT_REPLIES = 3,
    ES_RESULT_DETAIL = 4,

    ES_FORWARD_BLOCKS = 1,
    ES_BLOCK_IDS = 1,
    ES_BLOCK_COUNT = 2,
    ES_BLOCK_IS_GROUP = 3,
    ES_BLOCK_REQUEST = 4,
    ES_BLOCK_TIMEOUT = 5,
    ES_BLOCK_MESSAGES = 15,
};

/* The byte that a PB_BYTES field with a number under 16 begins with. */
#define ES_TAG(field) ((uint8_t) (ES_##field << 3 | PB_BYTES))

#endif
