/* ask: one request of the client protocol and its typed answer, for the commands that show everything. */
#ifndef ADMINCTL_ASK_H
#define ADMINCTL_ASK_H

#include <protobuf-c/protobuf-c.h>

#include "adminctl/ctl.h"

/* Frame's field numbers of the requests and answers used here (client.proto). */
enum ask_field {
    ASK_ENSURE = 40,
    ASK_DESCRIBE = 42,
    ASK_LIST = 44,
    ASK_DELETE = 46,
    ASK_PENDING = 48,
    ASK_UNDELETE = 54,
    ASK_LOCK = 68,
    ASK_PURGE = 52,
};

/* Send `request` as body `field`, expect the answer with field + 1 of this type. 0 and an owned *ret_answer (scan_free it), or a ctl_exit after
 * having said why ("cannot <what>: ..."); `what` NULL: without a word. */
int ask(struct ctl *ctl, enum ask_field field, const ProtobufCMessage *request,
        const ProtobufCMessageDescriptor *answer_type, const char *what,
        ProtobufCMessage **ret_answer);

/* The same without a word: 0 and the owned *ret_answer, or the error (a negative rg_err; *ret_refusal: the server's, owned, may be NULL). To be
 * shown with ask_explain, which returns a ctl_exit and takes the refusal. */
struct Railgun__Error;
int ask_quietly(struct ctl *ctl, enum ask_field field, const ProtobufCMessage *request,
                const ProtobufCMessageDescriptor *answer_type, ProtobufCMessage **ret_answer,
                struct Railgun__Error **ret_refusal);
int ask_explain(struct ctl *ctl, int error, struct Railgun__Error *refusal, const char *what);

#define ASK(ctl, field, request, lower, what, ret_answer)                                          \
    ask((ctl), (field), &(request)->base, &lower##__descriptor, (what),                            \
        (ProtobufCMessage **) (void *) (ret_answer))

/* Describe a stream (group NULL), a group of it, or the node (both NULL); the part asked for is there in *ret_answer (owned). 0, or a ctl_exit after having
 * said why, as ask. */
struct Railgun__DescribeOk;
int ask_describe(struct ctl *ctl, const char *name, const char *group, const char *what,
                 struct Railgun__DescribeOk **ret_answer);

/* Delete a group of a stream, or the stream itself (group NULL), and print that it was done. Returns a ctl_exit. */
int ask_delete(struct ctl *ctl, const char *stream, const char *group);

#endif
