#include "server/store/rollout_plan.h"

#include "common/base/json.h"
#include "common/base/text.h"
#include "server/core/rollout.h"
#include "server/store/records.h"

#include <stdarg.h>
#include <stdio.h>

struct tally {
    size_t away, held, without_previous, first_wave, first_wave_away;
};

static struct tally tally_of(const struct rollout_targets *t)
{
    struct tally n = {0};
    for (size_t i = 0; i < t->chosen_count; i++) {
        size_t row = t->chosen[i].row;
        const char *liveness = rows_text(t->devices, row, DEVICE_LIVENESS);
        bool away = !text_eq(liveness, "online") && !text_eq(liveness, "late");
        bool first = t->chosen[i].wave == 1;
        n.away += away ? 1 : 0;
        n.held += rows_flag(t->standing, row, TARGET_HELD) ? 1 : 0;
        n.without_previous += rows_null(t->standing, row, TARGET_PREVIOUS) ? 1 : 0;
        n.first_wave += first ? 1 : 0;
        n.first_wave_away += first && away ? 1 : 0;
    }
    return n;
}

[[gnu::format(printf, 2, 3)]] static enum err warn(json_t *warnings, const char *fmt, ...)
{
    char text[ROLLOUT_REASON_MAX];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return records_add(warnings, json_string(text));
}

static enum err warn_of_devices(json_t *warnings, const struct rollout_targets *t)
{
    struct tally n = tally_of(t);
    enum err e = ERR_OK;
    if (t->chosen_count > 1 && n.first_wave == t->chosen_count)
        e = warn(warnings, "All %zu devices are in the first wave: none of them tries the bundle for the others.",
                 t->chosen_count);
    if (e == ERR_OK && n.first_wave_away == n.first_wave)
        e = warn(warnings, "No device of the first wave can be reached now: the rollout waits until one is back.");
    if (e == ERR_OK && n.away > 0)
        e = warn(warnings, "Away now: %zu of %zu devices. Each follows when it is back.", n.away, t->chosen_count);
    if (e == ERR_OK && n.held > 0)
        e = warn(warnings, "Held: %zu of %zu devices. There the bundle is staged and waits.", n.held, t->chosen_count);
    if (e == ERR_OK && n.without_previous > 0)
        e = warn(warnings, "Without an earlier bundle in this slot: %zu of %zu devices. They cannot be rolled back.",
                 n.without_previous, t->chosen_count);
    return e;
}

static enum err warn_of_older(struct db *db, json_t *warnings, const struct rollout_targets *t, struct err_info *info)
{
    cleanup_rows struct rows *older = NULL;
    enum err e = rollout_targets_older(db, t, &older, info);
    for (size_t i = 0; e == ERR_OK && i < rows_count(older); i++)
        e = warn(warnings, "Rollout %s (%s %s, %s) is not finished: this one supersedes it.", rows_text(older, i, 0),
                 target_slot(t), rows_text(older, i, 1), rows_text(older, i, 2));
    return e;
}

static enum err waves_json(const struct rollout_targets *t, json_t *waves)
{
    enum err e = ERR_OK;
    size_t i = 0;
    for (int n = 1; e == ERR_OK && n <= (int)t->wave_count; n++) {
        json_auto_t *names = json_array();
        for (; e == ERR_OK && i < t->chosen_count && t->chosen[i].wave == n; i++)
            e = records_add(names, json_string(rows_text(t->devices, t->chosen[i].row, DEVICE_NAME)));
        if (e == ERR_OK)
            e = records_add(waves, json_pack("{s:i, s:O}", "n", n, "devices", names));
    }
    return e;
}

static enum err plan_json(struct db *db, const struct rollout_targets *t, char **ret_json, struct err_info *info)
{
    json_auto_t *waves = json_array();
    json_auto_t *excluded = json_array();
    json_auto_t *warnings = json_array();
    size_t already = rows_count(t->devices) - t->chosen_count;
    enum err e = waves_json(t, waves);
    if (e == ERR_OK && already > 0)
        e = records_add(excluded, json_pack("{s:s, s:I}", "reason", "already_running", "count", (json_int_t)already));
    if (e == ERR_OK)
        e = warn_of_devices(warnings, t);
    if (e == ERR_OK)
        e = warn_of_older(db, warnings, t, info);
    if (e != ERR_OK)
        return e;
    json_auto_t *plan =
        json_pack("{s:s, s:s, s:s, s:I, s:O, s:O, s:O}", "slot", target_slot(t), "bundle", target_bundle_id(t),
                  "version", target_version(t), "total", (json_int_t)t->chosen_count, "waves", waves, "excluded",
                  excluded, "warnings", warnings);
    return json_print(plan, ret_json, NULL);
}

enum err rollout_plan(struct db *db, const struct rollout_request *request, char **ret_json, struct err_info *info)
{
    cleanup_rollout_targets struct rollout_targets t = {0};
    enum err e = rollout_targets_find(db, request, &t, info);
    if (e == ERR_OK)
        e = rollout_targets_choose(db, request, &t, info);
    return e == ERR_OK ? plan_json(db, &t, ret_json, info) : e;
}
