#include "agent/self/trial.h"

#include "common/base/text.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define TRIAL_HEAD "muster-agent-trial 1"
#define VERDICT_HEAD "muster-agent-verdict 1"

void trial_print(const struct trial *trial, char ret_text[TRIAL_TEXT_MAX])
{
    (void)snprintf(ret_text, TRIAL_TEXT_MAX,
                   TRIAL_HEAD "\nbundle %s\nversion %s\nback %s\ntries %d\nreport_s %d\nprobation_s %d\ngeneration "
                              "%" PRId64 "\nreported %d\n",
                   trial->bundle, trial->version, trial->back[0] == '\0' ? "-" : trial->back, trial->tries,
                   trial->report_s, trial->probation_s, trial->generation, trial->reported);
}

void verdict_print(const struct verdict *verdict, char ret_text[TRIAL_TEXT_MAX])
{
    char detail[TRIAL_DETAIL_SIZE];
    (void)text_copy(detail, sizeof detail, verdict->detail);
    text_printable(detail); /* one line */
    (void)snprintf(ret_text, TRIAL_TEXT_MAX, VERDICT_HEAD "\nbundle %s\ncode %s\ngeneration %" PRId64 "\ndetail %s\n",
                   verdict->bundle, verdict->code, verdict->generation, detail);
}

/* The value of a key: the rest of its line. False when there is none, or it does not fit. */
static bool value_get(const char *text, const char *key, char *out, size_t size)
{
    size_t n = strlen(key);
    for (const char *line = strchr(text, '\n'); line != NULL; line = strchr(line, '\n')) {
        line++;
        if (strncmp(line, key, n) != 0 || line[n] != ' ')
            continue;
        const char *value = line + n + 1;
        size_t len = strcspn(value, "\n");
        if (value[len] != '\n' || len >= size) /* a line that was cut is not believed */
            return false;
        memcpy(out, value, len);
        out[len] = '\0';
        return true;
    }
    return false;
}

static bool number_get(const char *text, const char *key, int64_t max, int64_t *ret_value)
{
    char value[24];
    return value_get(text, key, value, sizeof value) && text_to_i64(value, 0, max, ret_value) == ERR_OK;
}

static bool dir_ok(const char *name)
{
    return name[0] != '\0' && strchr(name, '/') == NULL && !text_eq(name, ".") && !text_eq(name, "..");
}

static bool head_is(const char *text, const char *head)
{
    size_t n = strlen(head);
    return strncmp(text, head, n) == 0 && text[n] == '\n';
}

enum err trial_parse(const char *text, struct trial *ret_trial)
{
    struct trial t = {0};
    int64_t tries = 0;
    int64_t report_s = 0;
    int64_t probation_s = 0;
    int64_t reported = 0;
    bool good = head_is(text, TRIAL_HEAD) && value_get(text, "bundle", t.bundle, sizeof t.bundle) &&
                text_is_sha256(t.bundle) && value_get(text, "version", t.version, sizeof t.version) &&
                dir_ok(t.version) && value_get(text, "back", t.back, sizeof t.back) && dir_ok(t.back) &&
                number_get(text, "tries", 1000, &tries) && number_get(text, "report_s", INT_MAX, &report_s) &&
                number_get(text, "probation_s", INT_MAX, &probation_s) &&
                number_get(text, "generation", INT64_MAX, &t.generation) && number_get(text, "reported", 1, &reported);
    if (!good)
        return ERR_CORRUPT;
    if (text_eq(t.back, "-"))
        t.back[0] = '\0';
    t.tries = (int)tries;
    t.report_s = (int)report_s;
    t.probation_s = (int)probation_s;
    t.reported = reported != 0;
    *ret_trial = t;
    return ERR_OK;
}

enum err verdict_parse(const char *text, struct verdict *ret_verdict)
{
    struct verdict v = {0};
    bool good = head_is(text, VERDICT_HEAD) && value_get(text, "bundle", v.bundle, sizeof v.bundle) &&
                text_is_sha256(v.bundle) && value_get(text, "code", v.code, sizeof v.code) &&
                number_get(text, "generation", INT64_MAX, &v.generation) &&
                value_get(text, "detail", v.detail, sizeof v.detail);
    if (!good)
        return ERR_CORRUPT;
    *ret_verdict = v;
    return ERR_OK;
}
