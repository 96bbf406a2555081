#pragma once
/* How a request ended: muster-fetch's one answer. */

#include "common/base/err.h"
#include "common/base/json.h"

#include <stdbool.h>
#include <stdint.h>

struct outcome {
    bool ok;
    bool transient;                /* not ok: the same request may work later */
    char code[ERR_CODE_MAX];       /* not ok */
    char detail[2 * ERR_TEXT_MAX]; /* not ok: what is wrong and what to do */
    int64_t retry_after_s;         /* transient: how long the server asks to wait, 0: not said */
    json_t *answer;                /* ok: members of the answer beside "ok"; owned */
};

/* Each returns false, so that it can end a function that says whether the request may go on. */
[[gnu::format(printf, 3, 4)]] bool outcome_fail(struct outcome *outcome, const char *code, const char *fmt, ...);
[[gnu::format(printf, 3, 4)]] bool outcome_retry(struct outcome *outcome, const char *code, const char *fmt, ...);

/* Fails with what a function of the project has found: memory and disk by their own codes (see api/mqtt.md), anything
 * else with this code and info's text. */
bool outcome_error(struct outcome *outcome, enum err e, const char *code, const struct err_info *info);

/* Writes one line to stdout. A reader that has gone is nobody's loss. */
void line_print(const json_t *json);

/* Prints the outcome as the last line, frees it, and gives the exit status: 0, 1 (failed) or 75 (may work later). */
int outcome_finish(struct outcome *outcome);
