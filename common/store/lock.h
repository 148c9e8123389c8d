/* lock: one owner for a data directory. */
#ifndef COMMON_STORE_LOCK_H
#define COMMON_STORE_LOCK_H

/* Take DIR/lock (flock, with our pid written into it for people). Returns an fd >= 0 that holds the lock until closed or the
 * process ends; ERR_LOCKED with the owner's pid in *ret_pid (0 if unknown); ERR_IO. */
int dirlock_take(const char *dir, int *ret_pid);

#endif
