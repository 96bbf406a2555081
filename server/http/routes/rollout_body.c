#include "server/http/routes/rollout_body.h"

#include "common/base/json.h"
#include "common/base/text.h"
#include "server/core/selector.h"

#include <stdio.h>

enum {
    BUNDLE_TEXT_MAX = 200,
    CANARIES_MAX = 1000,
    CANARY_TEXT_MAX = 128,
    WAVE_DEVICES_MAX = 1000000,
    SOAK_DEFAULT_S = 60,
    SOAK_MAX_S = 30 * 86400,
    FAILURES_MAX = 1000000,
    PROBATION_DEFAULT_S = 30,
    PROBATION_MAX_S = 86400
};

static const struct plan_wave default_waves[] = {
    {.devices = 1, .soak_s = SOAK_DEFAULT_S},
    {.percent = 50, .soak_s = SOAK_DEFAULT_S},
    {.percent = 100, .soak_s = SOAK_DEFAULT_S},
};

static enum err wave_size(const json_t *json, struct plan_wave *wave, struct err_info *info)
{
    bool devices = json_has(json, "devices");
    if (devices == json_has(json, "percent")) {
        enum err e = err_field(info, ERR_INVALID, "devices", "a wave needs exactly one of \"devices\" and \"percent\"");
        err_next(info, "For example {\"devices\": 1} or {\"percent\": 50}.");
        return e;
    }
    if (devices)
        return json_get_i64(json, "devices", 1, WAVE_DEVICES_MAX, &wave->devices, info);
    enum err e = json_get_f64(json, "percent", 0, 100, &wave->percent, info);
    if (e == ERR_OK && wave->percent <= 0)
        e = err_field(info, ERR_INVALID, "percent", "\"percent\" must be more than 0");
    return e;
}

static enum err wave_read(const json_t *json, struct plan_wave *ret_wave, struct err_info *info)
{
    static const char *const allowed[] = {"devices", "percent", "soak_s", "max_failures", NULL};
    struct plan_wave wave = {.soak_s = SOAK_DEFAULT_S};
    enum err e = json_only(json, allowed, info);
    if (e == ERR_OK)
        e = wave_size(json, &wave, info);
    if (e == ERR_OK && json_has(json, "soak_s"))
        e = json_get_i64(json, "soak_s", 0, SOAK_MAX_S, &wave.soak_s, info);
    if (e == ERR_OK && json_has(json, "max_failures"))
        e = json_get_i64(json, "max_failures", 0, FAILURES_MAX, &wave.max_failures, info);
    if (e == ERR_OK)
        *ret_wave = wave;
    return e;
}

/* "soak_s" of the second wave is the field "waves[1].soak_s". */
static void name_wave(struct err_info *info, size_t i)
{
    char field[ERR_FIELD_MAX];
    (void)text_copy(field, sizeof field, info->field);
    (void)snprintf(info->field, sizeof info->field, "waves[%zu]%s%.60s", i, field[0] == '\0' ? "" : ".", field);
}

static enum err waves_read(const json_t *body, struct rollout_request *request, struct err_info *info)
{
    json_t *waves = NULL;
    if (!json_has(body, "waves")) {
        request->wave_count = sizeof default_waves / sizeof default_waves[0];
        for (size_t i = 0; i < request->wave_count; i++)
            request->waves[i] = default_waves[i];
        return ERR_OK;
    }
    enum err e = json_get_array(body, "waves", PLAN_WAVES_MAX, &waves, info);
    if (e != ERR_OK)
        return e;
    request->wave_count = json_array_size(waves);
    for (size_t i = 0; i < request->wave_count; i++) {
        e = wave_read(json_array_get(waves, i), &request->waves[i], info);
        if (e != ERR_OK) {
            name_wave(info, i);
            return e;
        }
    }
    return ERR_OK;
}

static enum err canaries_read(const json_t *body, struct rollout_request *request, struct err_info *info)
{
    json_t *canaries = NULL;
    if (!json_has(body, "canaries"))
        return ERR_OK;
    enum err e = json_get_array(body, "canaries", CANARIES_MAX, &canaries, info);
    for (size_t i = 0; e == ERR_OK && i < json_array_size(canaries); i++) {
        const json_t *name = json_array_get(canaries, i);
        if (!json_is_string(name) || json_string_length(name) == 0 || json_string_length(name) > CANARY_TEXT_MAX)
            e = err_field(info, ERR_INVALID, "canaries", "a canary must be the id or the name of a device");
    }
    request->canaries = canaries;
    return e;
}

static enum err who_read(const json_t *body, struct rollout_request *request, struct err_info *info)
{
    bool all = false;
    if (json_has(body, "all") == json_has(body, "q")) {
        enum err e = err_field(info, ERR_INVALID, "q", "say which devices, by exactly one of \"q\" and \"all\"");
        err_next(info, "For example {\"q\": \"site:berlin-*\"}, or {\"all\": true} for every device.");
        return e;
    }
    if (json_has(body, "q"))
        return json_get_text(body, "q", SELECTOR_TEXT_MAX, &request->q, info);
    enum err e = json_get_bool(body, "all", &all, info);
    if (e == ERR_OK && !all)
        e = err_field(info, ERR_INVALID, "all", "\"all\" can only be true");
    return e;
}

enum err rollout_body_read(struct call *c, struct rollout_request *ret_request)
{
    static const char *const allowed[] = {"bundle", "q", "all", "waves", "canaries", "probation_s", NULL};
    struct rollout_request request = {.probation_s = PROBATION_DEFAULT_S};
    enum err e = json_only(c->body, allowed, &c->info);
    if (e == ERR_OK)
        e = json_get_text(c->body, "bundle", BUNDLE_TEXT_MAX, &request.bundle, &c->info);
    if (e == ERR_OK)
        e = who_read(c->body, &request, &c->info);
    if (e == ERR_OK)
        e = waves_read(c->body, &request, &c->info);
    if (e == ERR_OK)
        e = canaries_read(c->body, &request, &c->info);
    if (e == ERR_OK && json_has(c->body, "probation_s"))
        e = json_get_i64(c->body, "probation_s", 0, PROBATION_MAX_S, &request.probation_s, &c->info);
    if (e == ERR_OK)
        *ret_request = request;
    return e;
}
