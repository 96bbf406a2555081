#include "server/core/alert.h"

#include "common/base/text.h"

#include <math.h>
#include <stdio.h>

static const char *const kind_names[ALERT_KINDS_] = {
    [ALERT_HEARTBEAT_MISSING] = "heartbeat_missing",
    [ALERT_TEMPERATURE] = "temperature",
};

static const char *const state_names[ALERT_STATES_] = {
    [ALERT_NONE] = "none",
    [ALERT_PENDING] = "pending",
    [ALERT_FIRING] = "firing",
    [ALERT_RESOLVED] = "resolved",
};

enum alert_kind alert_kind_parse(const char *name)
{
    int kind = 0;
    while (kind < ALERT_KINDS_ && !text_eq(kind_names[kind], name))
        kind++;
    return (enum alert_kind)kind;
}

const char *alert_kind_name(enum alert_kind kind)
{
    return kind_names[kind];
}

enum alert_state alert_state_parse(const char *name)
{
    int state = 0;
    while (state < ALERT_STATES_ && !text_eq(state_names[state], name))
        state++;
    return (enum alert_state)state;
}

const char *alert_state_name(enum alert_state state)
{
    return state_names[state];
}

/* ---------------------------------------------------------------- conditions */

/* A beat comes within 10 % of its time: after one and a half a device that is there has been heard. */
static const double full_beat = 1.5;

/* A reading of a device that has been silent for so many beats says nothing about now. */
static const double fresh_beats = 3;

/* A hot device fires at the threshold and resolves one degree above it, so that a reading on the edge does not flap. */
static const double resolve_above_c = 1;

static struct alert_finding heartbeat_missing(const struct alert_rule *rule, const struct alert_fact *fact,
                                              int64_t heard_ms)
{
    if (fact->silent_ms < 0)
        return (struct alert_finding){.truth = ALERT_NO, .value = NAN}; /* not yet set up: nothing is missing */
    double beat_ms = (double)fact->beat_ms;
    double limit_ms = rule->threshold * beat_ms;
    bool silent = (double)fact->silent_ms > limit_ms;
    bool gone = fact->gone_ms > ALERT_GONE_MS;
    bool silent_heard = silent && (double)heard_ms > limit_ms;
    bool gone_heard = gone && heard_ms > ALERT_GONE_MS && (double)heard_ms > full_beat * beat_ms;
    struct alert_finding finding = {.value = (double)fact->silent_ms / beat_ms, .ago_ms = fact->silent_ms};
    if (silent_heard || gone_heard)
        finding.truth = ALERT_YES;
    else if (silent || fact->gone_ms >= 0)
        finding.truth = ALERT_UNKNOWN; /* also one whose connection broke just now: it may come back */
    else
        finding.truth = ALERT_NO;
    return finding;
}

static struct alert_finding temperature(const struct alert_rule *rule, const struct alert_fact *fact)
{
    struct alert_finding finding = {.truth = ALERT_UNKNOWN, .value = NAN, .ago_ms = fact->held_ms};
    if (fact->silent_ms < 0)
        finding.truth = ALERT_NO;
    if (isnan(fact->margin_c) || (double)fact->silent_ms > fresh_beats * (double)fact->beat_ms)
        return finding;
    double limit = fact->state == ALERT_FIRING ? rule->threshold + resolve_above_c : rule->threshold;
    finding.truth = fact->margin_c <= limit ? ALERT_YES : ALERT_NO;
    finding.value = fact->margin_c;
    return finding;
}

struct alert_finding alert_condition(const struct alert_rule *rule, const struct alert_fact *fact, int64_t heard_ms)
{
    if (fact->watched && rule->kind == ALERT_HEARTBEAT_MISSING)
        return heartbeat_missing(rule, fact, heard_ms);
    if (fact->watched && rule->kind == ALERT_TEMPERATURE)
        return temperature(rule, fact);
    return (struct alert_finding){.truth = ALERT_NO, .value = NAN};
}

/* ---------------------------------------------------------------- life */

/* What is not known neither begins nor ends an alert; but only unbroken knowledge counts as lasting. */
static const enum alert_state next_states[ALERT_STATES_][ALERT_YES + 2] = {
    /*                  no              unknown         yes             yes, and lasted */
    [ALERT_NONE] = {ALERT_NONE, ALERT_NONE, ALERT_PENDING, ALERT_FIRING},
    [ALERT_PENDING] = {ALERT_NONE, ALERT_NONE, ALERT_PENDING, ALERT_FIRING},
    [ALERT_FIRING] = {ALERT_RESOLVED, ALERT_FIRING, ALERT_FIRING, ALERT_FIRING},
    [ALERT_RESOLVED] = {ALERT_RESOLVED, ALERT_RESOLVED, ALERT_RESOLVED, ALERT_RESOLVED},
};

enum alert_state alert_next(enum alert_state state, enum alert_truth truth, bool lasted)
{
    return next_states[state][truth + (truth == ALERT_YES && lasted)];
}

enum alert_state alert_decide(const struct alert_rule *rule, const struct alert_fact *fact, int64_t heard_ms,
                              struct alert_finding *ret_finding)
{
    *ret_finding = alert_condition(rule, fact, heard_ms);
    return alert_next(fact->state, ret_finding->truth, ret_finding->ago_ms >= rule->for_ms);
}

/* ---------------------------------------------------------------- watch */

int64_t alert_watch_look(struct alert_watch *watch, int64_t now_ms, int64_t link_since_ms, int64_t gap_ms)
{
    if (link_since_ms == 0) {
        watch->on = false;
        return -1;
    }
    if (!watch->on || now_ms - watch->last_ms > gap_ms)
        *watch = (struct alert_watch){.on = true, .since_ms = now_ms};
    watch->last_ms = now_ms;
    int64_t since_ms = watch->since_ms > link_since_ms ? watch->since_ms : link_since_ms;
    return now_ms > since_ms ? now_ms - since_ms : 0;
}

void alert_watch_break(struct alert_watch *watch)
{
    watch->on = false;
}

/* ---------------------------------------------------------------- sentences */

static void duration_print(int64_t ms, char text[24])
{
    long long s = ms > 0 ? (long long)ms / 1000 : 0;
    if (s < 120)
        (void)snprintf(text, 24, "%lld s", s);
    else if (s < 7200)
        (void)snprintf(text, 24, "%lld min", s / 60);
    else if (s < 172800)
        (void)snprintf(text, 24, "%lld h", s / 3600);
    else
        (void)snprintf(text, 24, "%lld days", s / 86400);
}

static void heartbeat_summary(const struct alert_story *s, char text[ALERT_SUMMARY_SIZE])
{
    char quiet[24];
    double beat_ms = (double)s->beat_ms;
    if (s->state == ALERT_RESOLVED) {
        duration_print(s->lasted_ms, quiet);
        (void)snprintf(text, ALERT_SUMMARY_SIZE, "%s was not heard for %s; its beat is %g s", s->device, quiet,
                       beat_ms / 1000);
        return;
    }
    duration_print(s->silent_ms, quiet);
    if (s->gone)
        (void)snprintf(text, ALERT_SUMMARY_SIZE, "%s has not been heard for %s: its connection broke", s->device,
                       quiet);
    else
        (void)snprintf(text, ALERT_SUMMARY_SIZE, "%s has not been heard for %s; its beat is %g s", s->device, quiet,
                       beat_ms / 1000);
}

static void temperature_summary(const struct alert_story *s, char text[ALERT_SUMMARY_SIZE])
{
    bool over = s->state == ALERT_RESOLVED;
    double margin = over || isnan(s->margin_c) ? s->value : s->margin_c;
    const char *verb = over ? "was" : "is";
    if (isnan(margin))
        (void)snprintf(text, ALERT_SUMMARY_SIZE, "%s %s close to a trip point", s->device, verb);
    else if (margin < 0)
        (void)snprintf(text, ALERT_SUMMARY_SIZE, "%s %s %.1f °C over a trip point", s->device, verb, -margin);
    else
        (void)snprintf(text, ALERT_SUMMARY_SIZE, "%s %s %.1f °C from a trip point; the limit is %g °C", s->device, verb,
                       margin, s->threshold);
}

void alert_summary(const struct alert_story *story, char ret_text[ALERT_SUMMARY_SIZE])
{
    if (story->kind == ALERT_HEARTBEAT_MISSING)
        heartbeat_summary(story, ret_text);
    else
        temperature_summary(story, ret_text);
}
