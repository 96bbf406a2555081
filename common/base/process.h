#pragma once
/* What a program that works for another one asks of the kernel at its start. */

#include <stdbool.h>

/* The caller is killed when the process that started it ends. False: that has ended already, or the kernel refuses. A
 * parent that ended before the first line of main() shows only by this: nobody reads the pipe it made for stdout. */
[[nodiscard]] bool process_follow_parent(void);
