/* group_graves: changing a list of graves; for group_dead.c alone, which everyone else includes the header of. */
#ifndef LOGD_GROUP_GRAVES_H
#define LOGD_GROUP_GRAVES_H

#include "logd/group_dead.h"

/* Nothing of the range is in it. Texts are copied. */
void graves_put(struct group_graves *self, const struct group_grave *grave);
/* Take out what lies in [first, last]; put it into *ret_cut, unless NULL. */
void graves_cut(struct group_graves *self, uint64_t first, uint64_t last,
                struct group_graves *ret_cut);
/* The first `count` of the list. */
void graves_remove_lowest(struct group_graves *self, size_t count);

#endif
