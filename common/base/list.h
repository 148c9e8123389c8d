/* list: intrusive doubly linked list. The links live in the member; the list owns nothing. */
#ifndef COMMON_BASE_LIST_H
#define COMMON_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *previous;
    struct list *next;
};

/* The struct that holds `node` as its member. */
#define LIST_ENTRY(node, type, member) ((type *) (void *) ((char *) (node) -offsetof(type, member)))

static inline void list_init(struct list *self)
{
    self->previous = self;
    self->next = self;
}

static inline bool list_is_empty(const struct list *self)
{
    return self->next == self;
}

/* Is this node in some list? Only for nodes that were list_init'ed. */
static inline bool list_is_linked(const struct list *node)
{
    return node->next != node;
}

static inline void list_insert_before(struct list *position, struct list *node)
{
    node->previous = position->previous;
    node->next = position;
    position->previous->next = node;
    position->previous = node;
}

static inline void list_push_back(struct list *self, struct list *node)
{
    list_insert_before(self, node);
}

static inline void list_push_front(struct list *self, struct list *node)
{
    list_insert_before(self->next, node);
}

/* Unlink; the node is list_init'ed again, so removing twice does no harm. */
static inline void list_remove(struct list *node)
{
    node->previous->next = node->next;
    node->next->previous = node->previous;
    list_init(node);
}

/* The first node, unlinked; NULL if empty. */
static inline struct list *list_pop_front(struct list *self)
{
    struct list *node = self->next;
    if (node == self) {
        return NULL;
    }
    list_remove(node);
    return node;
}

/* Move all nodes of `from` to the empty list `to`: what is due is collected, then fired. */
static inline void list_take_all(struct list *to, struct list *from)
{
    list_init(to);
    if (!list_is_empty(from)) {
        *to = *from;
        to->next->previous = to;
        to->previous->next = to;
        list_init(from);
    }
}

/* Walk; the current node may be removed, others may not. */
#define LIST_FOREACH(self, node)                                                                   \
    for (struct list *node = (self)->next, *node##_next = node->next; node != (self);              \
         node = node##_next, node##_next = node->next)

#endif
