#pragma once
/* A unix socket on which others ask: muster-infer is asked by the agent, the agent by people at the device. One JSON
 * object per line, one answer per line, in order. Nothing here waits for a client: one that does not read gets no
 * further answers, and the others go on. One thread. */

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct control;

/* Answers one line (without the newline, NUL-terminated): a line of JSON without the newline, to be freed; NULL when
 * there is no memory, then the client is cut off. */
typedef char *control_answer(void *arg, const char *line, size_t len);

/* Listens at path, mode 0600; a socket left there by a process that is gone is replaced. ERR_CONFLICT: somebody
 * listens there; ERR_INVALID: the path is too long. */
[[nodiscard]] enum err control_open(const char *path, control_answer *answer, void *arg, struct control **ret_control,
                                    struct err_info *info);

/* Removes the socket. NULL is fine. Returns NULL. */
struct control *control_close(struct control *control);

/* Readable when control_serve() has something to do: for a caller with its own loop, which then calls it with a
 * deadline in the past. Owned by the control. */
int control_fd(const struct control *control);

/* Serves clients until the deadline (clock_mono_us; one in the past: once, without waiting; INT64_MAX: for ever), or
 * until stop_fd (-1: none) is readable: then ret_stop is true. */
[[nodiscard]] enum err control_serve(struct control *control, int64_t deadline_us, int stop_fd, bool *ret_stop);
