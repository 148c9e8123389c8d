/* list: order, and removing while walking. */
#include "common/base/list.h"

#include "tests/lib/test.h"

struct item {
    unsigned number;
    struct list link;
};

static void items_init(struct item *items, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        items[i].number = i;
        list_init(&items[i].link);
    }
}

static unsigned number_of(struct list *node)
{
    return LIST_ENTRY(node, struct item, link)->number;
}

/* The numbers in the list as decimal digits, forwards; checks that backwards is the same. */
static unsigned digits_of(struct list *list)
{
    unsigned digits = 0;
    unsigned backwards = 0;
    unsigned place = 1;
    LIST_FOREACH (list, node) {
        digits = digits * 10 + number_of(node);
    }
    for (struct list *node = list->previous; node != list; node = node->previous) {
        backwards += place * number_of(node);
        place *= 10;
    }
    ck_assert_uint_eq(digits, backwards);
    return digits;
}

TEST(a_list_keeps_the_order_of_pushes)
{
    struct list list;
    struct item items[6];
    list_init(&list);
    items_init(items, 6);
    ck_assert(list_is_empty(&list));
    list_push_back(&list, &items[3].link);
    list_push_back(&list, &items[4].link);
    list_push_front(&list, &items[1].link);
    list_insert_before(&items[3].link, &items[2].link);
    ck_assert(!list_is_empty(&list));
    ck_assert_uint_eq(digits_of(&list), 1234);
    ck_assert(list_is_linked(&items[1].link));
    ck_assert(!list_is_linked(&items[5].link));
}

TEST(removing_twice_does_no_harm)
{
    struct list list;
    struct item items[4];
    list_init(&list);
    items_init(items, 4);
    for (unsigned i = 1; i < 4; i++) {
        list_push_back(&list, &items[i].link);
    }
    list_remove(&items[2].link);
    list_remove(&items[2].link);
    ck_assert(!list_is_linked(&items[2].link));
    ck_assert_uint_eq(digits_of(&list), 13);
    ck_assert_uint_eq(number_of(list_pop_front(&list)), 1);
    ck_assert_uint_eq(number_of(list_pop_front(&list)), 3);
    ck_assert_ptr_null(list_pop_front(&list));
    ck_assert(!list_is_linked(&items[1].link));
}

TEST(the_current_node_may_be_removed_while_walking)
{
    struct list list;
    struct item items[8];
    list_init(&list);
    items_init(items, 8);
    for (unsigned i = 1; i < 8; i++) {
        list_push_back(&list, &items[i].link);
    }
    LIST_FOREACH (&list, node) {
        if (number_of(node) % 2 == 1) {
            list_remove(node);
        }
    }
    ck_assert_uint_eq(digits_of(&list), 246);
}

TEST(taking_all_leaves_an_empty_list)
{
    struct list from;
    struct list to;
    struct item items[4];
    list_init(&from);
    items_init(items, 4);
    list_take_all(&to, &from);
    ck_assert(list_is_empty(&to));
    for (unsigned i = 1; i < 4; i++) {
        list_push_back(&from, &items[i].link);
    }
    list_take_all(&to, &from);
    ck_assert(list_is_empty(&from));
    ck_assert_uint_eq(digits_of(&to), 123);
    list_push_back(&from, &items[0].link);
    ck_assert_uint_eq(digits_of(&to), 123);
}
