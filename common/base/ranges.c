/* ranges: a B+ tree of ranges ordered by their first number. Leaves hold the ranges and know their neighbours; inner
 * nodes hold, for each child but the first, a number that separates it from the child before: not above any number in
 * the child, above every number before it. No change lowers the first number of a leaf below its separator; one that
 * raises its last number past the next separator raises that too. A node is split when full (unevenly at the end, because offsets mostly grow there) and
 * merged with a neighbour when three quarters empty. A map of few ranges is a single leaf: no pointers are chased. */
#include "common/base/ranges.h"

#include <string.h>

#include "common/base/invariant.h"
#include "common/base/mem.h"

enum {
    RANGES_FANOUT = 32, /* ranges in a leaf, children in an inner node */
    RANGES_FEW = RANGES_FANOUT / 4,
    RANGES_MERGED_MAX =
        RANGES_FANOUT * 3 / 4, /* leaves room, so that a merge is not split at once */
    RANGES_HEIGHT_MAX = 12,    /* nodes are a quarter full on average at least: 8^12 leaves */
    RANGES_CHANGE_MAX = 3,     /* what is left on both sides and the new range between */
};

struct leaf {
    unsigned count;
    struct leaf *previous;
    struct leaf *next;
    struct range items[RANGES_FANOUT];
};

struct inner {
    unsigned count;
    uint64_t separators[RANGES_FANOUT]; /* [0] is not used */
    void *children[RANGES_FANOUT];      /* inner nodes; leaves on the lowest level */
};

struct ranges {
    void *root;      /* a leaf if height is 0 */
    unsigned height; /* levels of inner nodes */
    struct leaf *lowest;
    struct leaf *highest;
    size_t count;
    uint64_t total;
};

/* A place in a leaf, and the way there. */
struct cursor {
    struct leaf *leaf;
    unsigned position; /* leaf->count: behind its last range */
    struct {
        struct inner *inner;
        unsigned index;
    } path[RANGES_HEIGHT_MAX]; /* [0] is the root */
};

static uint64_t range_size(const struct range *self)
{
    return self->last - self->first + 1;
}

/* --- finding --- */

/* The child in which a range that begins with `number` belongs. */
static inline unsigned inner_search(const struct inner *self, uint64_t number)
{
    unsigned low = 0;
    for (unsigned count = self->count; count > 1;) {
        unsigned half = count / 2;
        low += self->separators[low + half] <= number ? half : 0;
        count -= half;
    }
    return low;
}

/* The first range whose last >= number, or count. */
static inline unsigned leaf_search(const struct leaf *self, uint64_t number)
{
    unsigned low = 0;
    for (unsigned count = self->count; count > 0;) {
        unsigned half = count / 2;
        if (self->items[low + half].last < number) {
            low += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    return low;
}

static inline const struct leaf *ranges_leaf(const struct ranges *self, uint64_t number)
{
    const void *node = self->root;
    for (unsigned level = 0; level < self->height; level++) {
        const struct inner *inner = node;
        node = inner->children[inner_search(inner, number)];
    }
    return node;
}

/* The same for a change. */
static void cursor_seek(struct cursor *self, const struct ranges *ranges, uint64_t number)
{
    void *node = ranges->root;
    for (unsigned level = 0; level < ranges->height; level++) {
        struct inner *inner = node;
        self->path[level].inner = inner;
        self->path[level].index = inner_search(inner, number);
        node = inner->children[self->path[level].index];
    }
    self->leaf = node;
    self->position = leaf_search(self->leaf, number);
}

/* To the start of the next leaf; false if there is none. */
static bool cursor_next_leaf(struct cursor *self, const struct ranges *ranges)
{
    unsigned level = ranges->height;
    while (level > 0 && self->path[level - 1].index + 1 == self->path[level - 1].inner->count) {
        level--;
    }
    if (level == 0) {
        return false;
    }
    self->path[level - 1].index++;
    for (; level < ranges->height; level++) {
        self->path[level].inner =
            self->path[level - 1].inner->children[self->path[level - 1].index];
        self->path[level].index = 0;
    }
    self->leaf = self->leaf->next;
    self->position = 0;
    return true;
}

bool ranges_find_from(const struct ranges *self, uint64_t number, struct range *ret_range)
{
    const struct leaf *leaf = ranges_leaf(self, number);
    unsigned position = leaf_search(leaf, number);
    if (position == leaf->count) {
        leaf = leaf->next;
        position = 0;
        if (leaf == NULL) {
            return false;
        }
    }
    *ret_range = leaf->items[position];
    return true;
}

bool ranges_find(const struct ranges *self, uint64_t number, struct range *ret_range)
{
    /* A range that holds the number begins before or with it: the next leaf cannot have it. */
    const struct leaf *leaf = ranges_leaf(self, number);
    unsigned position = leaf_search(leaf, number);
    if (position == leaf->count || leaf->items[position].first > number) {
        return false;
    }
    *ret_range = leaf->items[position];
    return true;
}

bool ranges_lowest(const struct ranges *self, struct range *ret_range)
{
    if (self->count == 0) {
        return false;
    }
    *ret_range = self->lowest->items[0];
    return true;
}

bool ranges_highest(const struct ranges *self, struct range *ret_range)
{
    if (self->count == 0) {
        return false;
    }
    *ret_range = self->highest->items[self->highest->count - 1];
    return true;
}

size_t ranges_count(const struct ranges *self)
{
    return self->count;
}

uint64_t ranges_total(const struct ranges *self)
{
    return self->total;
}

/* --- life --- */

static void ranges_plant(struct ranges *self)
{
    struct leaf *leaf = MEM_NEW(struct leaf);
    *self = (struct ranges){.root = leaf, .lowest = leaf, .highest = leaf};
}

/* Free a node and all below; `height` levels of inner nodes. */
static void node_free(void *node, unsigned height)
{
    if (height > 0) {
        struct inner *inner = node;
        for (unsigned i = 0; i < inner->count; i++) {
            node_free(inner->children[i], height - 1);
        }
    }
    mem_free(node);
}

struct ranges *ranges_new(void)
{
    struct ranges *self = MEM_NEW(struct ranges);
    ranges_plant(self);
    return self;
}

void ranges_destroy(struct ranges **self)
{
    if (*self != NULL) {
        node_free((*self)->root, (*self)->height);
        MEM_FREE(*self);
    }
}

void ranges_clear(struct ranges *self)
{
    node_free(self->root, self->height);
    ranges_plant(self);
}

/* --- growing --- */

static void inner_insert(struct inner *self, unsigned index, uint64_t separator, void *child)
{
    unsigned behind = self->count - index;
    memmove(&self->separators[index + 1], &self->separators[index],
            behind * sizeof(self->separators[0]));
    memmove(&self->children[index + 1], &self->children[index], behind * sizeof(self->children[0]));
    self->separators[index] = separator;
    self->children[index] = child;
    self->count++;
}

/* Hang `child` behind the child at cursor->path[level - 1]; level 0 is above the root. */
static void ranges_hang(struct ranges *self, const struct cursor *cursor, unsigned level,
                        uint64_t separator, void *child)
{
    while (level > 0) {
        struct inner *inner = cursor->path[level - 1].inner;
        unsigned index = cursor->path[level - 1].index + 1;
        if (inner->count < RANGES_FANOUT) {
            inner_insert(inner, index, separator, child);
            return;
        }
        /* Full: the upper part moves to a new node, which hangs behind this one in turn. */
        struct inner *upper = MEM_NEW(struct inner);
        unsigned stay = index == RANGES_FANOUT ? RANGES_FANOUT : RANGES_FANOUT / 2;
        upper->count = RANGES_FANOUT - stay;
        memcpy(upper->separators, &inner->separators[stay],
               upper->count * sizeof(upper->separators[0]));
        memcpy(upper->children, &inner->children[stay], upper->count * sizeof(upper->children[0]));
        inner->count = stay;
        if (stay < RANGES_FANOUT && index <= stay) {
            inner_insert(inner, index, separator, child);
        } else {
            inner_insert(upper, index - stay, separator, child);
        }
        separator = upper->separators[0];
        child = upper;
        level--;
    }
    INVARIANT(self->height < RANGES_HEIGHT_MAX);
    struct inner *root = MEM_NEW(struct inner);
    root->count = 2;
    root->children[0] = self->root;
    root->children[1] = child;
    root->separators[1] = separator;
    self->root = root;
    self->height++;
}

/* Splice items into a leaf that has no room for them: hang a new leaf behind it. */
static void ranges_split(struct ranges *self, const struct cursor *cursor, unsigned remove,
                         const struct range *items, unsigned count)
{
    struct leaf *leaf = cursor->leaf;
    struct leaf *upper = MEM_NEW(struct leaf);
    struct range all[RANGES_FANOUT + RANGES_CHANGE_MAX];
    unsigned position = cursor->position;
    unsigned behind = leaf->count - position - remove;
    unsigned sum = position + count + behind;
    bool at_end = leaf->next == NULL && position + 1 >= leaf->count;
    unsigned stay = at_end ? RANGES_FANOUT : sum / 2;

    memcpy(all, leaf->items, position * sizeof(all[0]));
    memcpy(all + position, items, count * sizeof(all[0]));
    memcpy(all + position + count, &leaf->items[position + remove], behind * sizeof(all[0]));
    leaf->count = stay;
    upper->count = sum - stay;
    memcpy(leaf->items, all, stay * sizeof(all[0]));
    memcpy(upper->items, all + stay, upper->count * sizeof(all[0]));
    upper->previous = leaf;
    upper->next = leaf->next;
    leaf->next = upper;
    if (upper->next != NULL) {
        upper->next->previous = upper;
    } else {
        self->highest = upper;
    }
    ranges_hang(self, cursor, self->height, upper->items[0].first, upper);
}

/* --- shrinking --- */

static void inner_remove(struct inner *self, unsigned index)
{
    self->count--;
    unsigned behind = self->count - index;
    memmove(&self->separators[index], &self->separators[index + 1],
            behind * sizeof(self->separators[0]));
    memmove(&self->children[index], &self->children[index + 1], behind * sizeof(self->children[0]));
}

static void ranges_unlink_leaf(struct ranges *self, struct leaf *leaf)
{
    if (leaf->previous != NULL) {
        leaf->previous->next = leaf->next;
    } else {
        self->lowest = leaf->next;
    }
    if (leaf->next != NULL) {
        leaf->next->previous = leaf->previous;
    } else {
        self->highest = leaf->previous;
    }
}

/* Move what is in `from` behind what is in `to`, its neighbour on the same level. */
static void inner_absorb(struct inner *to, const struct inner *from, uint64_t separator)
{
    memcpy(&to->separators[to->count], from->separators, from->count * sizeof(from->separators[0]));
    memcpy(&to->children[to->count], from->children, from->count * sizeof(from->children[0]));
    to->separators[to->count] = separator; /* the parent knew what separates from's first child */
    to->count += from->count;
}

static void leaf_absorb(struct leaf *to, const struct leaf *from)
{
    memcpy(&to->items[to->count], from->items, from->count * sizeof(from->items[0]));
    to->count += from->count;
}

static unsigned node_count(const void *node, bool is_leaf)
{
    return is_leaf ? ((const struct leaf *) node)->count : ((const struct inner *) node)->count;
}

/* Merge the parent's child `index` with the one behind it if both fit well into one node. */
static bool ranges_merge(struct ranges *self, struct inner *parent, unsigned index, bool is_leaf)
{
    if (index + 1 >= parent->count) {
        return false;
    }
    void *to = parent->children[index];
    void *from = parent->children[index + 1];
    if (node_count(to, is_leaf) + node_count(from, is_leaf) > RANGES_MERGED_MAX) {
        return false;
    }
    if (is_leaf) {
        leaf_absorb(to, from);
        ranges_unlink_leaf(self, from);
    } else {
        inner_absorb(to, from, parent->separators[index + 1]);
    }
    mem_free(from);
    inner_remove(parent, index + 1);
    return true;
}

/* The cursor's leaf has lost ranges: merge or free nodes from there up to the root. */
static void ranges_shrink(struct ranges *self, const struct cursor *cursor)
{
    void *node = cursor->leaf;
    for (unsigned level = self->height; level > 0; level--) {
        struct inner *parent = cursor->path[level - 1].inner;
        unsigned index = cursor->path[level - 1].index;
        bool is_leaf = level == self->height;
        unsigned count = node_count(node, is_leaf);
        if (count >= RANGES_FEW) {
            break;
        }
        if (count == 0) {
            if (is_leaf) {
                ranges_unlink_leaf(self, node);
            }
            mem_free(node);
            inner_remove(parent, index);
        } else if (!ranges_merge(self, parent, index, is_leaf) &&
                   (index == 0 || !ranges_merge(self, parent, index - 1, is_leaf))) {
            break;
        }
        node = parent;
    }
    while (self->height > 0 && ((struct inner *) self->root)->count == 1) {
        struct inner *root = self->root;
        self->root = root->children[0];
        self->height--;
        mem_free(root);
    }
}

/* --- changing --- */

/* `last` is now the last number of the cursor's leaf: what separates it from the next leaf must be above. */
static void cursor_raise_separator(const struct cursor *self, unsigned height, uint64_t last)
{
    for (unsigned level = height; level > 0; level--) {
        struct inner *inner = self->path[level - 1].inner;
        unsigned next = self->path[level - 1].index + 1;
        if (next < inner->count) {
            if (inner->separators[next] <= last) {
                inner->separators[next] = last + 1;
            }
            return;
        }
    }
}

/* Replace `remove` ranges at the cursor by `count` others. The cursor is of no use afterwards. */
static void ranges_splice(struct ranges *self, const struct cursor *cursor, unsigned remove,
                          const struct range *items, unsigned count)
{
    struct leaf *leaf = cursor->leaf;
    unsigned position = cursor->position;
    unsigned behind = leaf->count - position - remove;
    unsigned after = position + count + behind;

    for (unsigned i = 0; i < remove; i++) {
        self->total -= range_size(&leaf->items[position + i]);
    }
    for (unsigned i = 0; i < count; i++) {
        self->total += range_size(&items[i]);
    }
    self->count += count;
    self->count -= remove;
    if (behind == 0 && count > 0) {
        cursor_raise_separator(cursor, self->height, items[count - 1].last);
    }
    if (after > RANGES_FANOUT) {
        ranges_split(self, cursor, remove, items, count);
        return;
    }
    if (behind > 0 && remove != count) {
        memmove(&leaf->items[position + count], &leaf->items[position + remove],
                behind * sizeof(leaf->items[0]));
    }
    if (count > 0) {
        memcpy(&leaf->items[position], items, count * sizeof(leaf->items[0]));
    }
    leaf->count = after;
    if (after < RANGES_FEW && count < remove) {
        ranges_shrink(self, cursor);
    }
}

uint64_t ranges_clear_range(struct ranges *self, uint64_t first, uint64_t last)
{
    uint64_t uncovered = 0;
    bool more = true;

    INVARIANT(first <= last);
    while (more) { /* once for each leaf touched */
        struct cursor cursor;
        struct range rest[2];
        unsigned rests = 0;
        cursor_seek(&cursor, self, first);
        if (cursor.position == cursor.leaf->count && !cursor_next_leaf(&cursor, self)) {
            break;
        }
        unsigned end = cursor.position;
        for (; end < cursor.leaf->count && cursor.leaf->items[end].first <= last; end++) {
            const struct range *item = &cursor.leaf->items[end];
            uint64_t from = item->first;
            uint64_t to = item->last;
            if (from < first) {
                rest[rests++] = (struct range){from, first - 1, item->value};
                from = first;
            }
            if (to > last) {
                rest[rests++] = (struct range){last + 1, to, item->value};
                to = last;
            }
            uncovered += to - from + 1;
        }
        more = end == cursor.leaf->count && cursor.leaf->items[end - 1].last < last;
        if (end > cursor.position) {
            ranges_splice(self, &cursor, end - cursor.position, rest, rests);
        }
    }
    return uncovered;
}

/* Does the new range [.., last] meet this one, behind it in another leaf? */
static bool range_is_met(const struct range *behind, uint64_t last, uint64_t value)
{
    return behind->first <= last || (behind->first - 1 == last && behind->value == value);
}

/* ranges_set if it only concerns ranges of a single leaf; else false and nothing is changed. */
static bool ranges_set_in_leaf(struct ranges *self, uint64_t first, uint64_t last, uint64_t value)
{
    struct cursor cursor;
    struct range change[RANGES_CHANGE_MAX];
    struct range fresh = {first, last, value};
    struct range upper = {0};
    unsigned count = 0;

    cursor_seek(&cursor, self, first > 0 ? first - 1 : 0); /* so that a left neighbour is seen */
    const struct leaf *leaf = cursor.leaf;
    const struct range *items = leaf->items;
    unsigned end = cursor.position;
    if (end < leaf->count && items[end].last < first) {
        if (items[end].value == value) {
            fresh.first = items[end].first;
        } else {
            cursor.position++;
        }
        end++;
    }
    bool has_upper = false;
    for (; end < leaf->count && items[end].first <= last; end++) {
        if (items[end].value == value) {
            fresh.first = items[end].first < fresh.first ? items[end].first : fresh.first;
            fresh.last = items[end].last > fresh.last ? items[end].last : fresh.last;
            continue;
        }
        if (items[end].first < first) {
            change[count++] = (struct range){items[end].first, first - 1, items[end].value};
        }
        if (items[end].last > last) {
            upper = (struct range){last + 1, items[end].last, items[end].value};
            has_upper = true;
        }
    }
    if (end < leaf->count) {
        if (range_is_met(&items[end], fresh.last, value)) {
            fresh.last = items[end++].last;
        }
    } else if (leaf->next != NULL && range_is_met(&leaf->next->items[0], fresh.last, value)) {
        return false;
    }
    change[count++] = fresh;
    if (has_upper) {
        change[count++] = upper;
    }
    ranges_splice(self, &cursor, end - cursor.position, change, count);
    return true;
}

void ranges_set(struct ranges *self, uint64_t first, uint64_t last, uint64_t value)
{
    INVARIANT(first <= last);
    if (ranges_set_in_leaf(self, first, last, value)) {
        return;
    }
    /* Several leaves: after this only a right neighbour to merge with can be in another leaf. */
    struct range right;
    (void) ranges_clear_range(self, first, last);
    if (last < UINT64_MAX && ranges_find(self, last + 1, &right) && right.value == value) {
        (void) ranges_clear_range(self, right.first, right.last);
        last = right.last;
    }
    bool done = ranges_set_in_leaf(self, first, last, value);
    INVARIANT(done);
}

/* --- checking --- */

struct ranges_walk {
    const struct leaf *leaf; /* the next one in the chain */
    size_t count;
    uint64_t total;
    const struct range *before;
};

static bool leaf_is_sound(const struct leaf *self, struct ranges_walk *walk, uint64_t from,
                          uint64_t to)
{
    if (self == NULL || self != walk->leaf) {
        return false;
    }
    for (unsigned i = 0; i < self->count; i++) {
        const struct range *item = &self->items[i];
        const struct range *before = walk->before;
        if (item->first > item->last || item->first < from || item->last > to) {
            return false;
        }
        if (before != NULL && (before->last >= item->first ||
                               (before->last == item->first - 1 && before->value == item->value))) {
            return false;
        }
        walk->total += range_size(item);
        walk->count++;
        walk->before = item;
    }
    if (self->next != NULL && self->next->previous != self) {
        return false;
    }
    walk->leaf = self->next;
    return true;
}

/* Is everything below this node sound and in [from, to]? */
static bool node_is_sound(const void *node, unsigned height, struct ranges_walk *walk,
                          uint64_t from, uint64_t to)
{
    if (height == 0) {
        return leaf_is_sound(node, walk, from, to);
    }
    const struct inner *inner = node;
    if (inner->count == 0 || inner->count > RANGES_FANOUT) {
        return false;
    }
    for (unsigned i = 0; i < inner->count; i++) {
        uint64_t child_from = i > 0 ? inner->separators[i] : from;
        uint64_t child_to = i + 1 < inner->count ? inner->separators[i + 1] - 1 : to;
        if (child_from < from || child_to > to || child_from > child_to) {
            return false;
        }
        if (!node_is_sound(inner->children[i], height - 1, walk, child_from, child_to)) {
            return false;
        }
    }
    return true;
}

bool ranges_invariant(const struct ranges *self)
{
    struct ranges_walk walk = {.leaf = self->lowest};
    return node_is_sound(self->root, self->height, &walk, 0, UINT64_MAX) && walk.leaf == NULL &&
           walk.count == self->count && walk.total == self->total &&
           self->lowest->previous == NULL && self->highest->next == NULL;
}
