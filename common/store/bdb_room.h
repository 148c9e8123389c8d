/* bdb_room: disk space that is held back for a database, as a file beside its own. A full disk stops the library in the middle of anything, and recovery
 * needs room itself; with this given up it goes on, until the disk has room again. */
#ifndef COMMON_STORE_BDB_ROOM_H
#define COMMON_STORE_BDB_ROOM_H

#include <stdbool.h>

enum { BDB_ROOM_BYTES = 4 << 20 }; /* recovery may fill up one log file (1 MiB) and begin another */

#define BDB_ROOM_FILE "room"

/* Hold back the room in this directory, if it is not, and only when the disk has plenty. */
void bdb_room_take(const char *dir);

/* Give it up. true: there was some. */
bool bdb_room_give(const char *dir);

/* Is there so little left that a failure may be for lack of it? */
bool bdb_room_is_short(const char *dir);

#endif
