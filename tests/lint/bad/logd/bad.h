/* A sample: wrong guard, and not self-sufficient. */
#ifndef WRONG_GUARD_H
#define WRONG_GUARD_H
size_t bad_size(uint32_t x);
#endif
