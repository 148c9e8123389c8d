/* describe_node: what all daemons of the node tell about themselves, in one answer. */
#ifndef FRONTD_DESCRIBE_NODE_H
#define FRONTD_DESCRIBE_NODE_H

#include "frontd/session.h"

/* Answers Describe of kind node, when all have answered or half a second is over. Returns as handlers do. */
int describe_node(struct session *self, const struct frame_view *view);

#endif
