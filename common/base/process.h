#pragma once
/* Where a program is, what stands beside it, and what one that works for another asks of the kernel at its start. */

#include <limits.h>
#include <stdbool.h>

/* The path of the program that runs, as the kernel tells it: a file that was replaced meanwhile has " (deleted)" behind
 * it. ret_path is "" when it cannot be told; then false. */
bool process_exe(char ret_path[PATH_MAX]);

/* The program called name that was built or installed together with the one at path: in its directory, or in
 * ../libexec/muster. False: there is none; ret_path is then not to be used. */
[[nodiscard]] bool process_beside(const char *path, const char *name, char ret_path[PATH_MAX]);

/* The caller is killed when the process that started it ends. False: that has ended already, or the kernel refuses. A
 * parent that ended before the first line of main() shows only by this: nobody reads the pipe it made for stdout. */
[[nodiscard]] bool process_follow_parent(void);

/* The caller yields to what else runs here, inference above all: less processor time, and the first to go when memory
 * runs out. */
void process_yield(void);
