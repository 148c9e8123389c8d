/* request: the memory of requests. Owns spare ones, so that publishing does not allocate. */
#include "frontd/request.h"

#include "common/base/invariant.h"
#include "common/base/mem.h"

enum { REQUESTS_SPARE_MAX = 16384 };

struct request_pool {
    struct list spare; /* of struct request, linked by of_queue */
    size_t spare_count;
};

struct request_pool *request_pool_new(void)
{
    struct request_pool *self = MEM_NEW(struct request_pool);
    list_init(&self->spare);
    return self;
}

void request_pool_destroy(struct request_pool **self)
{
    struct request_pool *pool = *self;
    *self = NULL;
    if (pool == NULL) {
        return;
    }
    struct list *node = NULL;
    while ((node = list_pop_front(&pool->spare)) != NULL) {
        mem_free(LIST_ENTRY(node, struct request, of_queue));
    }
    mem_free(pool);
}

struct request *request_take(struct request_pool *self)
{
    struct list *node = list_pop_front(&self->spare);
    struct request *request = NULL;
    if (node != NULL) {
        self->spare_count--;
        request = LIST_ENTRY(node, struct request, of_queue);
        *request = (struct request){0};
    } else {
        request = MEM_NEW(struct request);
    }
    list_init(&request->of_session);
    list_init(&request->of_queue);
    return request;
}

void request_give(struct request_pool *self, struct request *request)
{
    INVARIANT(!list_is_linked(&request->of_session));
    INVARIANT(!list_is_linked(&request->of_queue));

    buf_release(&request->keep);
    buf_release(&request->meta);
    slice_release(&request->body);
    if (self->spare_count == REQUESTS_SPARE_MAX) {
        mem_free(request);
        return;
    }
    list_push_front(&self->spare, &request->of_queue);
    self->spare_count++;
}
