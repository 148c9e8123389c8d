/* heap: against a plain array. */
#include "common/base/heap.h"

#include "common/base/list.h"
#include "common/base/rand.h"

#include "tests/lib/test.h"
#include "tests/unit/common/base/abort_lib.h"

enum { MEMBERS = 300 };

struct member {
    uint64_t key;
    struct heap_node node;
};

static struct member members[MEMBERS];

static uint64_t key_of(const struct heap_node *node)
{
    return ((const struct member *) ((const char *) node - offsetof(struct member, node)))->key;
}

static bool key_is_less(const struct heap_node *a, const struct heap_node *b)
{
    return key_of(a) < key_of(b);
}

static void push_twice(void)
{
    struct heap heap;
    struct member member = {0};
    heap_init(&heap, key_is_less);
    heap_push(&heap, &member.node);
    heap_push(&heap, &member.node);
}

static void remove_a_stranger(void)
{
    struct heap heap;
    struct member member = {0};
    heap_init(&heap, key_is_less);
    heap_remove(&heap, &member.node);
}

TEST(an_empty_heap_has_no_smallest)
{
    struct heap heap;
    heap_init(&heap, key_is_less);
    ck_assert_ptr_null(heap_peek(&heap));
    ck_assert_ptr_null(heap_pop(&heap));
    heap_release(&heap);
    heap_release(&heap);
}

TEST(a_wrong_member_is_a_bug)
{
    ck_assert(ends_by_abort(push_twice));
    ck_assert(ends_by_abort(remove_a_stranger));
}

TEST(members_are_popped_in_order)
{
    struct heap heap;
    struct prng prng;
    uint64_t before = 0;
    prng_init(&prng, 1);
    heap_init(&heap, key_is_less);
    for (unsigned i = 0; i < MEMBERS; i++) {
        members[i].key = prng_below(&prng, 100);
        heap_push(&heap, &members[i].node);
    }
    for (unsigned i = 0; i < MEMBERS; i++) {
        struct heap_node *node = heap_pop(&heap);
        ck_assert_uint_ge(key_of(node), before);
        ck_assert_uint_eq(node->position, 0);
        before = key_of(node);
    }
    ck_assert_uint_eq(heap.count, 0);
    heap_release(&heap);
}

static void check_smallest(const struct heap *heap)
{
    const struct member *smallest = NULL;
    size_t count = 0;
    for (unsigned i = 0; i < MEMBERS; i++) {
        if (members[i].node.position == 0) {
            continue;
        }
        TEST_ASSERT_FAST(heap->nodes[members[i].node.position - 1] == &members[i].node);
        if (smallest == NULL || members[i].key < smallest->key) {
            smallest = &members[i];
        }
        count++;
    }
    TEST_ASSERT_FAST(heap->count == count);
    TEST_ASSERT_FAST(smallest == NULL ? heap_peek(heap) == NULL
                                      : key_of(heap_peek(heap)) == smallest->key);
}

TEST(the_smallest_stays_on_top_through_all_changes)
{
    struct heap heap;
    struct prng prng;
    prng_init(&prng, 2);
    heap_init(&heap, key_is_less);
    for (unsigned step = 0; step < 20000; step++) {
        struct member *member = &members[prng_below(&prng, step % 4000 < 2000 ? MEMBERS : 5)];
        if (member->node.position == 0) {
            member->key = prng_below(&prng, 1000);
            heap_push(&heap, &member->node);
        } else if (prng_below(&prng, 3) == 0) {
            heap_remove(&heap, &member->node);
            TEST_ASSERT_FAST(member->node.position == 0);
        } else {
            member->key = prng_below(&prng, 1000);
            heap_update(&heap, &member->node);
        }
        check_smallest(&heap);
    }
    while (heap_pop(&heap) != NULL) {
        check_smallest(&heap);
    }
    heap_release(&heap);
}
