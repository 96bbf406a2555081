#pragma once
/* Starts a program in a session of its own. */

#include "agent/loop/child.h"

/* As child_start() starts a spec with `group`: stdin and output are in and out. 0 or an errno, also of a program that
 * cannot be executed. Only async-signal-safe calls happen between fork and exec, so the caller may have threads. */
int group_spawn(const struct child_spec *spec, int in, int out, pid_t *ret_pid);
