#pragma once
/* What the agent's versions tell each other while a new one is on trial: two small files in the state directory, one
 * "key value" a line. Any version may read what any other has written: keys are only ever added, those that are not
 * known are ignored, and a first line with another number means that nothing in the file can be relied on. Pure. */

#include "common/base/crypt.h"
#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRIAL_FILE "agent-trial"     /* there: the version is not committed yet */
#define VERDICT_FILE "agent-verdict" /* there: it was taken back, and this is why */
#define TRIAL_TRIES 3                /* starts of one trial; a power cut costs one */

enum {
    TRIAL_TEXT_MAX = 2048,
    TRIAL_DIR_SIZE = 64, /* "12-0a1b2c3d" */
    TRIAL_CODE_SIZE = 32,
    TRIAL_DETAIL_SIZE = 256
};

struct trial {
    char bundle[SHA256_HEX];      /* id of the new version */
    char version[TRIAL_DIR_SIZE]; /* its directory below slots/agent */
    char back[TRIAL_DIR_SIZE];    /* that of the version to go back to; "": the installed program */
    int tries;                    /* starts that are left */
    int report_s;                 /* seconds from a start until it must have reported in */
    int probation_s;              /* seconds from then until it is committed */
    int64_t generation;           /* of the document that asked for it */
    bool reported;                /* in the present try */
};

struct verdict {
    char bundle[SHA256_HEX];
    char code[TRIAL_CODE_SIZE];     /* api/mqtt.md */
    char detail[TRIAL_DETAIL_SIZE]; /* one line, for people */
    int64_t generation;
};

/* Texts with their NUL; they always fit. */
void trial_print(const struct trial *trial, char ret_text[TRIAL_TEXT_MAX]);
void verdict_print(const struct verdict *verdict, char ret_text[TRIAL_TEXT_MAX]);

/* ERR_CORRUPT. A directory's name has no slash and is not "." or "..". */
[[nodiscard]] enum err trial_parse(const char *text, struct trial *ret_trial);
[[nodiscard]] enum err verdict_parse(const char *text, struct verdict *ret_verdict);
