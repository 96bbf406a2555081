#pragma once
/* The person at the terminal. */

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Asks on the terminal (never stdin); the line without its end in out. ERR_UNAVAILABLE when there is no terminal. */
[[nodiscard]] enum err terminal_ask(const char *question, char *out, size_t size, struct err_info *info);

/* The same without echo; twice: asks again and compares. At most 1,000 bytes. */
[[nodiscard]] enum err terminal_password(const char *question, bool twice, char *out, size_t size,
                                         struct err_info *info);

/* One line of stdin, without its end; "" at the end of it. ERR_TOO_LARGE. */
[[nodiscard]] enum err stdin_line(char *out, size_t size, struct err_info *info);

/* Shows on stderr how much is sent, when that is a terminal; end takes the line away again. */
void terminal_progress(int64_t sent, int64_t total);
void terminal_progress_end(void);

/* The same for a share of 0 … 1 (struct delta_options): one line that changes on a terminal, a line per tenth
 * elsewhere. user: an int that is 0 at first. */
void terminal_percent(void *user, double done);
