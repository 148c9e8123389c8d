/* cmd_group_control: group pause, resume, seek, release. */
#ifndef ADMINCTL_CMD_GROUP_CONTROL_H
#define ADMINCTL_CMD_GROUP_CONTROL_H

struct ctl;

int group_pause(struct ctl *ctl, int argc, char **argv);
int group_resume(struct ctl *ctl, int argc, char **argv);
int group_seek(struct ctl *ctl, int argc, char **argv);
int group_release(struct ctl *ctl, int argc, char **argv);

#endif
