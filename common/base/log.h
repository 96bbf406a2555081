#pragma once
/* One line per event on stderr, key=value, for journald. Never a secret, never an SQL parameter. Any thread. */

enum log_level { LOG_DEBUG_, LOG_INFO_, LOG_WARN_, LOG_ERROR_ };

/* Lines below this level are dropped (default LOG_INFO_). Call once, before threads start. */
void log_level_set(enum log_level level);

/* log_info("started", "port=%d", port) -> `level=info event=started port=8443`. event is one word; values with spaces
 * are put in quotes by the caller: reason=\"%s\". Control characters in the finished line become '?'. */
[[gnu::format(printf, 2, 3)]] void log_debug(const char *event, const char *fmt, ...);
[[gnu::format(printf, 2, 3)]] void log_info(const char *event, const char *fmt, ...);
[[gnu::format(printf, 2, 3)]] void log_warn(const char *event, const char *fmt, ...);
[[gnu::format(printf, 2, 3)]] void log_error(const char *event, const char *fmt, ...);
