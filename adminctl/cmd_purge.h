/* cmd_purge: `adminctl stream purge`. */
#ifndef ADMINCTL_CMD_PURGE_H
#define ADMINCTL_CMD_PURGE_H

struct ctl;

int stream_purge(struct ctl *ctl, int argc, char **argv);

#endif
