/* Following a rollout until it is where one wants it. */
#include "cli/api.h"
#include "cli/commands.h"
#include "cli/rollout.h"
#include "cli/table.h"

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/text.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { POLL_MS = 1000, AWAY_MS = 60000, LINE_SIZE = 1000, STATE_MAX = 32 };

static bool is_end(const char *state)
{
    return text_eq(state, "completed") || text_eq(state, "aborted") || text_eq(state, "rolled_back");
}

static bool is_state(const char *state)
{
    static const char *const states[] = {"draft",     "awaiting_approval", "scheduled",    "running",    "paused",
                                         "completed", "aborted",           "rolling_back", "rolled_back"};
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        if (text_eq(state, states[i]))
            return true;
    return false;
}

/* "running  wave 2 soaking  succeeded 3, waiting 3": what one line says. */
static void line_make(const json_t *rollout, struct buf *out)
{
    const json_t *waves = json_object_get(rollout, "waves");
    (void)!buf_add_text(out, json_text_or_null(rollout, "state"));
    for (size_t i = 0; i < json_array_size(waves); i++) {
        const json_t *wave = json_array_get(waves, i);
        const char *state = json_text_or_null(wave, "state");
        if (state == NULL || text_eq(state, "pending") || text_eq(state, "passed"))
            continue;
        (void)!buf_addf(out, "  wave %d %s", (int)json_integer_value(json_object_get(wave, "n")), state);
    }
    (void)!buf_add_text(out, "  ");
    cell_counts(json_object_get(rollout, "counts"), out);
}

/* Prints the line when it is not the same as the last one. */
static void line_show(const json_t *rollout, char last[LINE_SIZE])
{
    cleanup_buf struct buf line = BUF_INIT(LINE_SIZE - 1);
    char clock[16];
    struct tm parts;
    time_t now = (time_t)(clock_wall_ms() / 1000);
    line_make(rollout, &line);
    if (line.data == NULL || text_eq(line.data, last))
        return;
    (void)text_copy(last, LINE_SIZE, line.data);
    text_printable(line.data);
    if (localtime_r(&now, &parts) == NULL || strftime(clock, sizeof clock, "%H:%M:%S", &parts) == 0)
        clock[0] = '\0';
    printf("%s  %s\n", clock, line.data);
    (void)fflush(stdout);
}

static enum err ended(struct cli *cli, const json_t *rollout, const char *until)
{
    const char *state = json_text_or_null(rollout, "state");
    const char *reason = json_text_or_null(rollout, "reason");
    if (text_eq(state, until))
        return ERR_OK;
    return err_set(&cli->info, ERR_CONFLICT, "rollout %s is %s, not %s%s%s", cli->words[0], state, until,
                   reason == NULL || *reason == '\0' ? "" : ": ", reason == NULL ? "" : reason);
}

/* Asks once. A server that is away for less than a minute is waited for. */
static enum err ask(struct cli *cli, const struct api_path *path, json_t **ret_rollout, int64_t *seen_ms)
{
    enum err e = api_call(cli, "GET", path, NULL, ret_rollout, NULL);
    bool away = e == ERR_UNAVAILABLE || e == ERR_TIMEOUT;
    if (!away) {
        *seen_ms = clock_mono_ms();
        return e;
    }
    if (clock_mono_ms() - *seen_ms > AWAY_MS)
        return e;
    json_decref(cli->problem);
    cli->problem = NULL;
    *ret_rollout = NULL;
    return ERR_OK;
}

static enum err watch_until(struct cli *cli, const struct api_path *path, const char *until, int64_t timeout_ms,
                            json_t **ret_rollout)
{
    char last[LINE_SIZE] = "";
    int64_t start_ms = clock_mono_ms();
    int64_t seen_ms = start_ms;
    for (;;) {
        json_auto_t *rollout = NULL;
        enum err e = ask(cli, path, &rollout, &seen_ms);
        if (e != ERR_OK)
            return e;
        if (rollout != NULL && !wants_json(cli))
            line_show(rollout, last);
        const char *state = rollout == NULL ? NULL : json_text_or_null(rollout, "state");
        if (state != NULL && (text_eq(state, until) || is_end(state))) {
            *ret_rollout = json_incref(rollout);
            return ended(cli, rollout, until);
        }
        if (timeout_ms > 0 && clock_mono_ms() - start_ms >= timeout_ms)
            return err_set(&cli->info, ERR_TIMEOUT, "rollout %s is %s, not %s, after %lld s", cli->words[0],
                           state == NULL ? "not reachable" : state, until, (long long)(timeout_ms / 1000));
        clock_sleep_ms(POLL_MS);
    }
}

static enum err rollout_watch(struct cli *cli)
{
    json_auto_t *rollout = NULL;
    const char *until = option_text(cli, "until");
    struct api_path path = api_path("/api/v1/rollouts/", cli->words[0], "");
    until = until == NULL ? "completed" : until;
    if (!is_state(until))
        return usage_error(cli, "--until \"%.40s\" is no state of a rollout", until);
    enum err e = watch_until(cli, &path, until, 1000 * option_int(cli, "timeout", 0), &rollout);
    if (rollout == NULL)
        return e;
    if (wants_json(cli)) {
        enum err shown = json_show(json_incref(rollout));
        return e == ERR_OK ? shown : e;
    }
    puts("");
    rollout_print(rollout);
    return e;
}

static const struct option watch_options[] = {
    {"until", OPTION_TEXT, "STATE", "what to wait for (default: completed)", false, 0, 0},
    {"timeout", OPTION_INT, "SECONDS", "give up after so long (default: never)", false, 1, 31536000},
    {.name = NULL},
};

const struct command commands_rollout_watch[] = {
    {"rollout watch", "ID", 1, 1, watch_options, "Follow a rollout until it is done",
     "Prints a line whenever something changes. Exit status 0 when the state is reached, 1 when the rollout ended in\n"
     "another state or the time is over. A server that is away for less than a minute is waited for.",
     "musterctl rollout watch 2\nmusterctl rollout watch 2 --until rolled_back --timeout 120", rollout_watch},
    {.name = NULL},
};
