/* node: a node in one folder, for one person on one machine: DIR/{etc,run,data,log}. Made by `adminctl up`; in production systemd or a pod does this. */
#ifndef ADMINCTL_NODE_H
#define ADMINCTL_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { NODE_DAEMONS = 4, NODE_PATH_MAX = 4096 };

/* The daemons in the order they are started. */
extern const char *const node_daemons[NODE_DAEMONS];

/* DIR made absolute, without needing to exist. 0 or ERR_TOO_LARGE / ERR_IO. */
int node_absolute(const char *dir, char ret_path[NODE_PATH_MAX]);

/* DIR/<part>, cut never: ERR_TOO_LARGE. */
int node_path(const char *dir, const char *part, char ret_path[NODE_PATH_MAX]);

/* Where the frontds of this node listen, from the run directory: 0, or ERR_NOT_FOUND. */
int node_port(const char *dir, uint16_t *ret_port);
/* The same as "127.0.0.1:7470". */
int node_address(const char *dir, char *ret_address, size_t capacity);

/* The folder of this program: the daemons lie beside it. 0 or ERR_IO. */
int node_program_dir(char ret_path[NODE_PATH_MAX]);

/* Who runs the node: its supervisor's pid, or 0 if nobody does. */
pid_t node_owner(const char *dir);

#endif
