/* handle: one function for each frame that clients send. */
#ifndef FRONTD_HANDLE_H
#define FRONTD_HANDLE_H

#include "frontd/session.h"

session_handler_fn handle_hello;
session_handler_fn handle_auth;
session_handler_fn handle_ping;
session_handler_fn handle_pong;
session_handler_fn handle_publish;
session_handler_fn handle_read;
session_handler_fn handle_consume;
session_handler_fn handle_credit;
session_handler_fn handle_ack;
session_handler_fn handle_extend;
session_handler_fn handle_cancel;
session_handler_fn handle_ensure;
session_handler_fn handle_describe;
session_handler_fn handle_list;
session_handler_fn handle_delete;
session_handler_fn handle_undelete;
session_handler_fn handle_lock;
session_handler_fn handle_pending;
session_handler_fn handle_group_control;
session_handler_fn handle_dead_letters;
session_handler_fn handle_watch;
session_handler_fn handle_purge;
session_handler_fn handle_dedup;
session_handler_fn handle_es_publish;
session_handler_fn handle_es_subscribe;
session_handler_fn handle_request;
session_handler_fn handle_request_cancel;
session_handler_fn handle_reply;

#endif
