/* invariant: what must hold unless we have a bug. Always compiled in; never used on bytes from outside. */
#ifndef COMMON_BASE_INVARIANT_H
#define COMMON_BASE_INVARIANT_H

/* Print the fact that does not hold and abort. */
_Noreturn void invariant_failed(const char *fact, const char *file, int line);

#define INVARIANT(fact) ((fact) ? (void) 0 : invariant_failed(#fact, __FILE__, __LINE__))

/* For walks over whole structures: on in debug and sanitizer builds only. */
#ifdef RAILGUN_SLOW_CHECKS
#define INVARIANT_SLOW(fact) INVARIANT(fact)
#else
#define INVARIANT_SLOW(fact) ((void) 0)
#endif

#endif
