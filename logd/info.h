/* info: the numbers of a stream, for people. */
#ifndef LOGD_INFO_H
#define LOGD_INFO_H

struct bus_message;
struct stream;

/* BUS_LOG_STREAM_INFO -> StreamInfo without name, id and specification, which the asker knows. */
void info_answer_stream(struct stream *stream, struct bus_message *message);

#endif
