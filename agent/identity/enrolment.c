#include "agent/identity/enrolment.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/crypt.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/text.h"

#include <string.h>

enum {
    RETRY_FIRST_MS = 1000,
    RETRY_MOST_MS = 5 * 60 * 1000,
    TOKEN_FILE_MAX = 4096,
    RENEW_FIRST_LOOK_MS = 60 * 1000,
    RENEW_LOOK_MS = 60 * 60 * 1000
};

#define RENEW_SPREAD 0.5 /* a fleet that was enrolled together is not renewed together */

static void renew_plan(struct enrolment *enrolment, int64_t delay_ms);
static void request_start(void *user);

static void identity_use(struct enrolment *enrolment)
{
    enrolment->enrolled = true;
    enrolment->fetch_setup->key = enrolment->identity->key;
    renew_plan(enrolment, RENEW_FIRST_LOOK_MS);
}

static void request_later(struct enrolment *enrolment)
{
    int64_t delay = retry_next_ms(&enrolment->retry, random_unit());
    loop_timer_set(enrolment->loop, &enrolment->timer, delay, request_start, enrolment);
}

static enum err answer_store(struct enrolment *enrolment, const json_t *json, struct err_info *info)
{
    json_t *answer = NULL;
    struct identity fresh = {0};
    enum err e = json_get_object(json, "enrolment", &answer, info);
    if (e == ERR_OK)
        e = identity_store(answer, enrolment->key, info);
    if (e == ERR_OK)
        e = identity_load(&fresh, info);
    if (e == ERR_OK)
        *enrolment->identity = fresh;
    return e;
}

static void request_done(void *user, const struct fetch_answer *answer)
{
    struct enrolment *enrolment = user;
    struct err_info info = {0};
    const char *what = enrolment->enrolled ? "renewal" : "enrolment";
    if (!answer->ok) {
        log_error("enrolment_failed", "what=%s code=%s detail=\"%s\"", what, answer->code, answer->detail);
        request_later(enrolment);
        return;
    }
    enum err e = answer_store(enrolment, answer->json, &info);
    if (e != ERR_OK) {
        log_error("enrolment_failed", "what=%s code=%s detail=\"%s\"", what, err_name(e), info.text);
        request_later(enrolment);
        return;
    }
    retry_reset(&enrolment->retry);
    log_info("enrolled", "what=%s device=%s brokers=%zu", what, enrolment->identity->device,
             enrolment->identity->broker_count);
    identity_use(enrolment);
    enrolment->ready(enrolment->user);
}

/* The token, without what an editor leaves at the end of a file; free() it. */
static enum err token_read(const struct enrolment_settings *settings, char **ret_token, struct err_info *info)
{
    if (settings->token[0] != '\0') {
        *ret_token = strdup(settings->token);
        return *ret_token == NULL ? ERR_NO_MEMORY : ERR_OK;
    }
    enum err e = settings->token_file[0] == '\0' ? ERR_NOT_FOUND
                                                 : file_read(settings->token_file, TOKEN_FILE_MAX, ret_token, NULL);
    if (e == ERR_OK) {
        (*ret_token)[strcspn(*ret_token, " \t\r\n")] = '\0';
        return ERR_OK;
    }
    (void)err_field(info, e, "token_file", "this device is not enrolled, and there is no token: %s%s",
                    settings->token_file[0] == '\0' ? "neither token nor token_file is set" : settings->token_file,
                    settings->token_file[0] == '\0' ? "" : " cannot be read");
    err_next(info, "make a token with `musterctl enrol-token create` and put it into token_file");
    return e;
}

static json_t *enrol_members(const struct enrolment *enrolment, struct err_info *info)
{
    char *token = NULL;
    if (token_read(enrolment->settings, &token, info) != ERR_OK)
        return NULL;
    json_t *members = json_pack("{ss ss ss ss}", "token", token, "name", enrolment->settings->name, "hardware",
                                enrolment->settings->hardware, "key", enrolment->key);
    explicit_bzero(token, strlen(token));
    free(token);
    return members;
}

static void request_start(void *user)
{
    struct enrolment *enrolment = user;
    struct err_info info = {0};
    enrolment->key = identity_next_key(enrolment->enrolled ? enrolment->identity : NULL);
    json_t *members =
        enrolment->enrolled ? json_pack("{ss}", "new_key", enrolment->key) : enrol_members(enrolment, &info);
    if (members != NULL &&
        fetch_start(&enrolment->fetch, enrolment->loop, enrolment->fetch_setup, enrolment->enrolled ? "renew" : "enrol",
                    members, NULL, request_done, enrolment, &info) == ERR_OK)
        return;
    log_error("enrolment_failed", "code=not_asked detail=\"%s\" next=\"%s\"", info.text, info.next);
    request_later(enrolment);
}

/* Renews when two thirds of the certificate's time are over. */
static void renew_look(void *user)
{
    struct enrolment *enrolment = user;
    const struct identity *identity = enrolment->identity;
    int64_t due = identity->not_after - (identity->not_after - identity->not_before) / 3;
    if (clock_wall_ms() >= due)
        request_start(enrolment);
    else
        renew_plan(enrolment, RENEW_LOOK_MS);
}

static void renew_plan(struct enrolment *enrolment, int64_t delay_ms)
{
    loop_timer_set(enrolment->loop, &enrolment->timer, retry_jitter_ms(delay_ms, RENEW_SPREAD, random_unit()),
                   renew_look, enrolment);
}

static void enrolled_before(void *user)
{
    struct enrolment *enrolment = user;
    identity_use(enrolment);
    enrolment->ready(enrolment->user);
}

enum err enrolment_start(struct enrolment *enrolment, struct loop *loop, const struct enrolment_settings *settings,
                         struct fetch_setup *fetch_setup, struct identity *identity, void (*ready)(void *user),
                         void *user, struct err_info *info)
{
    cleanup_free char *token = NULL;
    *enrolment = (struct enrolment){.loop = loop,
                                    .settings = settings,
                                    .fetch_setup = fetch_setup,
                                    .identity = identity,
                                    .retry = RETRY_INIT(RETRY_FIRST_MS, RETRY_MOST_MS, 0.5),
                                    .ready = ready,
                                    .user = user};
    enum err e = identity_load(identity, info);
    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return e;
    if (e == ERR_NOT_FOUND)
        e = token_read(settings, &token, info);
    if (e != ERR_OK)
        return e;
    loop_timer_set(loop, &enrolment->timer, 0, token == NULL ? enrolled_before : request_start, enrolment);
    if (token != NULL)
        explicit_bzero(token, strlen(token));
    return ERR_OK;
}

void enrolment_worked(struct enrolment *enrolment)
{
    if (!fetch_running(&enrolment->fetch))
        (void)unlink(identity_next_key(enrolment->identity));
}

void enrolment_stop(struct enrolment *enrolment)
{
    if (enrolment->loop == NULL)
        return;
    fetch_cancel(&enrolment->fetch);
    loop_timer_clear(enrolment->loop, &enrolment->timer);
}
