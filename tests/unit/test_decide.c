/* The decision: one rule at a time, and then thousands of random walks of whole rollouts against simple invariants. */
#include "server/core/decide.h"

#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEVICES_MAX = 12, WAVES_MAX = 4 };

/* ---------------------------------------------------------------- a small world */

struct device {
    char name[32];
    struct device_fact fact; /* what the database knows */
    int64_t desired_generation, assignment_generation;
    /* the agent */
    bool held, doomed, broken;
    int64_t seen; /* generation */
    int64_t failed_at;
    enum slot_phase phase;
    enum which_bundle target, running;
};

struct world {
    uint64_t seed;
    enum rollout_state state;
    bool superseded;
    int64_t now_ms;
    struct wave_fact waves[WAVES_MAX];
    size_t wave_count;
    struct device devices[DEVICES_MAX];
    size_t device_count;
    struct device_fact facts[DEVICES_MAX];
};

static uint32_t pick(struct world *w, uint32_t below)
{
    w->seed = w->seed * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(w->seed >> 33) % below;
}

static void world_make(struct world *w, uint64_t seed, size_t devices, size_t waves)
{
    *w = (struct world){.seed = seed, .state = ROLLOUT_RUNNING, .device_count = devices, .wave_count = waves};
    for (size_t i = 0; i < waves; i++)
        w->waves[i] = (struct wave_fact){.state = WAVE_PENDING, .soak_s = 5};
    for (size_t i = 0; i < devices; i++) {
        struct device *d = &w->devices[i];
        (void)snprintf(d->name, sizeof d->name, "edge-%zu", i);
        d->fact = (struct device_fact){.name = d->name,
                                       .wave = (int)(i < waves ? i : waves - 1) + 1,
                                       .reachable = true,
                                       .has_previous = true,
                                       .desired = BUNDLE_PREVIOUS,
                                       .owned = true};
        d->phase = PHASE_RUNNING;
        d->target = d->running = BUNDLE_PREVIOUS;
    }
}

static void beat(struct device *d)
{
    d->fact.report = (struct slot_report){.current = d->seen >= d->assignment_generation,
                                          .phase = d->phase,
                                          .target = d->target,
                                          .running = d->running,
                                          .stage = d->phase == PHASE_FAILED ? "probation" : NULL,
                                          .code = d->phase == PHASE_FAILED ? "infer_crashed" : NULL,
                                          .detail = d->phase == PHASE_FAILED ? "signal 11" : NULL,
                                          .device_left = d->phase == PHASE_FAILED ? "rolled_back" : NULL};
}

/* One step of a device towards what it was last told, and a beat. */
static void agent_step(struct device *d)
{
    d->seen = d->desired_generation;
    if (d->fact.desired == BUNDLE_THIS && d->target != BUNDLE_THIS) {
        d->target = BUNDLE_THIS;
        d->phase = PHASE_DOWNLOADING;
    } else if (d->fact.desired == BUNDLE_THIS && d->phase == PHASE_FAILED && d->seen > d->failed_at) {
        d->phase = PHASE_DOWNLOADING;
    } else if (d->fact.desired == BUNDLE_PREVIOUS && (d->target != BUNDLE_PREVIOUS || d->running != BUNDLE_PREVIOUS)) {
        d->target = d->running = BUNDLE_PREVIOUS;
        d->phase = PHASE_RUNNING;
    } else if (d->fact.desired == BUNDLE_NONE && d->phase != PHASE_RUNNING) {
        d->target = d->running = BUNDLE_NONE;
        d->phase = PHASE_EMPTY;
    } else if (d->target == BUNDLE_THIS && d->phase < PHASE_RUNNING && d->phase > PHASE_EMPTY) {
        if (d->phase == PHASE_STAGED || d->phase == PHASE_HELD)
            d->phase = d->held ? PHASE_HELD : PHASE_SWITCHING;
        else if (d->phase == PHASE_PROBATION && d->doomed) {
            d->phase = PHASE_FAILED;
            d->failed_at = d->seen;
            d->running = d->fact.has_previous ? BUNDLE_PREVIOUS : BUNDLE_NONE;
        } else
            d->phase++;
        if (d->phase == PHASE_PROBATION || d->phase == PHASE_RUNNING)
            d->running = BUNDLE_THIS;
    }
    beat(d);
}

static struct rollout_facts facts_of(struct world *w)
{
    for (size_t i = 0; i < w->wave_count; i++)
        memset(w->waves[i].count, 0, sizeof w->waves[i].count);
    for (size_t i = 0; i < w->device_count; i++) {
        struct device *d = &w->devices[i];
        w->waves[d->fact.wave - 1].count[d->fact.state]++;
        d->fact.report.current = d->seen >= d->assignment_generation;
        w->facts[i] = d->fact;
    }
    return (struct rollout_facts){.state = w->state,
                                  .superseded = w->superseded,
                                  .now_ms = w->now_ms,
                                  .waves = w->waves,
                                  .wave_count = w->wave_count,
                                  .devices = w->facts,
                                  .device_count = w->device_count};
}

static void apply(struct world *w, const struct decisions *out)
{
    for (size_t k = 0; k < out->device_count; k++) {
        const struct device_decision *made = &out->devices[k];
        struct device *d = &w->devices[made->device];
        d->fact.state = made->to;
        if (made->device_left != NULL)
            d->fact.stranded = strcmp(made->device_left, "unable_to_roll_back") == 0;
        if (made->desired == DESIRED_KEEP)
            continue;
        d->fact.desired = made->desired == DESIRED_OFFER    ? BUNDLE_THIS
                          : made->desired == DESIRED_RETURN ? BUNDLE_PREVIOUS
                                                            : BUNDLE_NONE;
        d->fact.owned = true;
        d->assignment_generation = ++d->desired_generation;
    }
    for (size_t k = 0; k < out->wave_count; k++) {
        struct wave_fact *wave = &w->waves[out->waves[k].wave - 1];
        wave->state = out->waves[k].to;
        wave->since_ms = w->now_ms;
    }
    if (out->moves)
        w->state = out->to;
}

/* What the store does for a person's action. */
static void act(struct world *w, enum rollout_event event)
{
    if (!rollout_next(w->state, event, &w->state) || event != ROLLOUT_EVENT_RESUME)
        return;
    (void)facts_of(w);
    for (size_t i = 0; i < w->wave_count; i++) {
        struct wave_fact *wave = &w->waves[i];
        if (wave->state == WAVE_FAILED)
            wave->accepted = wave->count[ASSIGNMENT_FAILED] + wave->count[ASSIGNMENT_REJECTED];
        if (wave_next(wave->state, WAVE_EVENT_RETRY, &wave->state) ||
            wave_next(wave->state, WAVE_EVENT_ACCEPT, &wave->state))
            wave->since_ms = w->now_ms;
    }
}

/* ---------------------------------------------------------------- invariants */

static bool legal_device(enum assignment_state from, enum assignment_state to)
{
    enum assignment_state next;
    for (int event = 0; event < ASSIGNMENT_EVENTS_; event++)
        if (assignment_next(from, (enum assignment_event)event, &next) && next == to)
            return true;
    return false;
}

static bool legal_wave(enum wave_state from, enum wave_state to)
{
    enum wave_state next;
    for (int event = 0; event < WAVE_EVENTS_; event++)
        if (wave_next(from, (enum wave_event)event, &next) && next == to)
            return true;
    return false;
}

static enum wave_state wave_after(const struct rollout_facts *facts, const struct decisions *out, int wave)
{
    enum wave_state state = facts->waves[wave - 1].state;
    for (size_t k = 0; k < out->wave_count; k++)
        if (out->waves[k].wave == wave)
            state = out->waves[k].to;
    return state;
}

static void check_device(const struct rollout_facts *facts, const struct decisions *out,
                         const struct device_decision *made)
{
    const struct device_fact *device = &facts->devices[made->device];
    assert_int_equal(made->from, device->state);
    assert_non_null(made->reason);
    assert_true(strlen(made->reason) > 0);
    assert_true(made->from == made->to ? made->desired != DESIRED_KEEP : legal_device(made->from, made->to));
    if (made->desired == DESIRED_OFFER) {
        assert_int_equal(facts->state, ROLLOUT_RUNNING);
        assert_true(!out->moves || out->to == ROLLOUT_COMPLETED);
        assert_true(device->reachable);
        assert_true(wave_begun(wave_after(facts, out, device->wave)));
        assert_int_equal(made->to, ASSIGNMENT_OFFERED);
        if (device->state != ASSIGNMENT_WAITING) /* reopened: by what the device says now */
            assert_true(device->report.current && device->desired == BUNDLE_THIS);
    } else {
        assert_true(made->to != ASSIGNMENT_OFFERED || made->from == made->to);
    }
    if (made->desired == DESIRED_RETURN)
        assert_true(device->has_previous);
    if (made->desired == DESIRED_RETURN || made->desired == DESIRED_CLEAR)
        assert_true(device->desired == BUNDLE_THIS && device->owned);
    if (made->to == ASSIGNMENT_SUCCEEDED && made->from != made->to)
        assert_true(device->report.current && device->report.running == BUNDLE_THIS);
    if (made->to == ASSIGNMENT_ROLLED_BACK)
        assert_true(device->report.current && device->report.running == BUNDLE_PREVIOUS &&
                    (facts->state == ROLLOUT_ROLLING_BACK || facts->state == ROLLOUT_ROLLED_BACK));
    if (assignment_failure(made->to) && made->from != made->to)
        assert_non_null(made->code);
}

static enum assignment_state state_after(const struct decisions *out, const struct rollout_facts *facts, size_t i)
{
    for (size_t k = 0; k < out->device_count; k++)
        if (out->devices[k].device == i)
            return out->devices[k].to;
    return facts->devices[i].state;
}

/* A wave that soaks or passes has nobody left that it should wait for, and somebody who proves it. */
static void check_settled(const struct rollout_facts *facts, const struct decisions *out, int wave)
{
    int64_t succeeded = facts->waves[wave - 1].accepted;
    for (size_t i = 0; i < facts->device_count; i++) {
        enum assignment_state after = state_after(out, facts, i);
        if (facts->devices[i].wave != wave)
            continue;
        assert_false(facts->devices[i].reachable && facts->devices[i].state != ASSIGNMENT_SUCCEEDED &&
                     facts->devices[i].state != ASSIGNMENT_ALREADY_RUNNING && assignment_open(after) &&
                     after != ASSIGNMENT_HELD);
        succeeded += facts->devices[i].state == ASSIGNMENT_SUCCEEDED || after == ASSIGNMENT_SUCCEEDED ? 1 : 0;
    }
    assert_true(succeeded > 0);
}

static void check_waves(const struct rollout_facts *facts, const struct decisions *out)
{
    for (size_t k = 0; k < out->wave_count; k++) {
        const struct wave_decision *made = &out->waves[k];
        assert_int_equal(facts->state, ROLLOUT_RUNNING);
        assert_int_equal(made->from, facts->waves[made->wave - 1].state);
        assert_true(legal_wave(made->from, made->to));
        assert_true(strlen(made->reason) > 0);
        for (int before = 1; made->from == WAVE_PENDING && before < made->wave; before++)
            assert_int_equal(wave_after(facts, out, before), WAVE_PASSED);
        if (made->to == WAVE_SOAKING || made->to == WAVE_PASSED)
            check_settled(facts, out, made->wave);
        if (made->to == WAVE_FAILED || made->to == WAVE_INCONCLUSIVE)
            assert_true(out->moves && out->to == ROLLOUT_PAUSED && strlen(out->reason) > 0);
    }
}

static int64_t failures_after(const struct rollout_facts *facts, const struct decisions *out, int wave)
{
    int64_t n = 0;
    for (int s = 0; s < ASSIGNMENT_STATES_; s++)
        n += assignment_failure((enum assignment_state)s) ? facts->waves[wave - 1].count[s] : 0;
    for (size_t k = 0; k < out->device_count; k++)
        if (facts->devices[out->devices[k].device].wave == wave)
            n += assignment_failure(out->devices[k].to) - assignment_failure(out->devices[k].from);
    return n;
}

static void check_all(const struct rollout_facts *facts, const struct decisions *out)
{
    bool seen[DEVICES_MAX] = {false};
    for (size_t k = 0; k < out->device_count; k++) {
        assert_false(seen[out->devices[k].device]);
        seen[out->devices[k].device] = true;
        check_device(facts, out, &out->devices[k]);
    }
    check_waves(facts, out);
    enum rollout_state next = facts->state;
    bool legal = !out->moves;
    for (int event = 0; event < ROLLOUT_EVENTS_; event++)
        legal = legal || (rollout_next(facts->state, (enum rollout_event)event, &next) && next == out->to);
    assert_true(legal);
    for (int wave = 1; wave <= (int)facts->wave_count; wave++) {
        const struct wave_fact *fact = &facts->waves[wave - 1];
        bool too_many = failures_after(facts, out, wave) - fact->accepted > fact->max_failures;
        if (facts->state == ROLLOUT_RUNNING && wave_begun(fact->state) && too_many)
            assert_true(out->moves && out->to == ROLLOUT_PAUSED);
    }
}

static void check_end(const struct world *w)
{
    for (size_t i = 0; i < w->device_count; i++) {
        const struct device_fact *f = &w->devices[i].fact;
        if (w->state == ROLLOUT_COMPLETED)
            assert_false(assignment_open(f->state));
        if (w->state == ROLLOUT_ROLLED_BACK && f->reachable)
            assert_true(f->state == ASSIGNMENT_ROLLED_BACK || f->state == ASSIGNMENT_FAILED ||
                        f->state == ASSIGNMENT_CANCELLED || f->state == ASSIGNMENT_REJECTED ||
                        f->state == ASSIGNMENT_SUPERSEDED);
    }
}

/* Decides, checks, applies. True when anything was decided. */
static bool step(struct world *w)
{
    struct rollout_facts facts = facts_of(w);
    cleanup_decisions struct decisions out = {0};
    cleanup_decisions struct decisions again = {0};
    assert_int_equal(rollout_decide(&facts, &out), ERR_OK);
    assert_int_equal(rollout_decide(&facts, &again), ERR_OK);
    assert_int_equal(out.device_count, again.device_count);
    assert_memory_equal(out.devices, again.devices, out.device_count * sizeof *out.devices);
    check_all(&facts, &out);
    bool any = out.device_count > 0 || out.wave_count > 0 || out.moves;
    bool ended = out.moves && (out.to == ROLLOUT_COMPLETED || out.to == ROLLOUT_ROLLED_BACK);
    apply(w, &out);
    if (ended)
        check_end(w);
    return any;
}

static void run(struct world *w, int rounds)
{
    for (int i = 0; i < rounds; i++) {
        w->now_ms += 1000;
        for (size_t k = 0; k < w->device_count; k++)
            if (w->devices[k].fact.reachable)
                agent_step(&w->devices[k]);
        (void)step(w);
    }
}

/* ---------------------------------------------------------------- one rule at a time */

static enum assignment_state state_of(const struct world *w, size_t i)
{
    return w->devices[i].fact.state;
}

static void all_goes_well(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 6, 3);
    run(&w, 1);
    assert_int_equal(state_of(&w, 0), ASSIGNMENT_OFFERED);
    for (size_t i = 1; i < 6; i++)
        assert_int_equal(state_of(&w, i), ASSIGNMENT_WAITING);
    run(&w, 80);
    assert_int_equal(w.state, ROLLOUT_COMPLETED);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(state_of(&w, i), ASSIGNMENT_SUCCEEDED);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(w.waves[i].state, WAVE_PASSED);
}

static void the_end_is_told(void **state)
{
    (void)state;
    struct wave_fact wave = {.state = WAVE_PASSED};
    struct rollout_facts facts = {.state = ROLLOUT_RUNNING, .waves = &wave, .wave_count = 1};
    static const struct {
        int64_t succeeded, already, failed, cancelled;
        const char *says;
    } table[] = {
        {7, 0, 0, 0, "Every device has ended: 7 succeeded."},
        {5, 2, 1, 3, "Every device has ended: 5 succeeded, 2 ran it before, 1 failed, 3 cancelled."},
        {0, 0, 0, 0, "Every device has ended."},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        wave.count[ASSIGNMENT_SUCCEEDED] = table[i].succeeded;
        wave.count[ASSIGNMENT_ALREADY_RUNNING] = table[i].already;
        wave.count[ASSIGNMENT_FAILED] = table[i].failed;
        wave.count[ASSIGNMENT_CANCELLED] = table[i].cancelled;
        wave.accepted = table[i].failed;
        cleanup_decisions struct decisions out = {0};
        assert_int_equal(rollout_decide(&facts, &out), ERR_OK);
        assert_true(out.moves);
        assert_int_equal(out.to, ROLLOUT_COMPLETED);
        assert_string_equal(out.reason, table[i].says);
    }
}

static void a_soak_is_waited_for(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 2, 2);
    w.waves[0].soak_s = 40;
    run(&w, 30);
    assert_int_equal(w.waves[0].state, WAVE_SOAKING);
    assert_int_equal(w.waves[1].state, WAVE_PENDING);
    run(&w, 60);
    assert_int_equal(w.state, ROLLOUT_COMPLETED);
}

static void a_failure_pauses_and_says_why(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 6, 3);
    w.devices[0].doomed = true;
    char reason[ROLLOUT_REASON_MAX] = "";
    for (int i = 0; i < 40 && w.state == ROLLOUT_RUNNING; i++) {
        w.now_ms += 1000;
        for (size_t k = 0; k < w.device_count; k++)
            agent_step(&w.devices[k]);
        struct rollout_facts facts = facts_of(&w);
        cleanup_decisions struct decisions out = {0};
        assert_int_equal(rollout_decide(&facts, &out), ERR_OK);
        if (out.moves)
            (void)snprintf(reason, sizeof reason, "%s", out.reason);
        apply(&w, &out);
    }
    assert_int_equal(w.state, ROLLOUT_PAUSED);
    assert_int_equal(w.waves[0].state, WAVE_FAILED);
    assert_string_equal(reason,
                        "Wave 1: 1 of 1 failed, 0 allowed. First: edge-0 in probation, infer_crashed: signal 11");
    run(&w, 20);
    for (size_t i = 1; i < 6; i++)
        assert_int_equal(state_of(&w, i), ASSIGNMENT_WAITING);
}

static void a_person_may_go_on_after_failures(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 6, 3);
    w.devices[0].doomed = true;
    run(&w, 30);
    assert_int_equal(w.state, ROLLOUT_PAUSED);
    act(&w, ROLLOUT_EVENT_RESUME);
    assert_int_equal(w.waves[0].accepted, 1);
    run(&w, 60);
    assert_int_equal(w.state, ROLLOUT_COMPLETED);
    assert_int_equal(state_of(&w, 0), ASSIGNMENT_FAILED);
    assert_int_equal(state_of(&w, 5), ASSIGNMENT_SUCCEEDED);
}

static void a_wave_without_a_success_asks(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 3, 2);
    w.waves[0].max_failures = 5;
    w.devices[0].doomed = true;
    run(&w, 30);
    assert_int_equal(w.waves[0].state, WAVE_INCONCLUSIVE);
    assert_int_equal(w.state, ROLLOUT_PAUSED);
    act(&w, ROLLOUT_EVENT_RESUME);
    run(&w, 60);
    assert_int_equal(w.state, ROLLOUT_COMPLETED);
}

static void devices_that_are_away_do_not_block(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 6, 2);
    w.devices[3].fact.reachable = false;
    w.devices[4].held = true;
    run(&w, 80);
    assert_int_equal(w.waves[1].state, WAVE_PASSED);
    assert_int_equal(w.state, ROLLOUT_RUNNING);
    assert_int_equal(state_of(&w, 3), ASSIGNMENT_WAITING);
    assert_int_equal(state_of(&w, 4), ASSIGNMENT_HELD);
    w.devices[4].held = false;
    w.devices[3].fact.reachable = true;
    run(&w, 20);
    assert_int_equal(w.state, ROLLOUT_COMPLETED);
    assert_int_equal(state_of(&w, 3), ASSIGNMENT_SUCCEEDED);
    assert_int_equal(state_of(&w, 4), ASSIGNMENT_SUCCEEDED);
}

static void a_wave_that_nobody_can_prove_waits(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 4, 2);
    w.devices[0].fact.reachable = false;
    run(&w, 100);
    assert_int_equal(w.state, ROLLOUT_RUNNING);
    assert_int_equal(w.waves[0].state, WAVE_RUNNING);
    assert_int_equal(w.waves[1].state, WAVE_PENDING);
}

static void a_late_failure_still_pauses(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 6, 2);
    w.devices[3].fact.reachable = false;
    w.devices[3].doomed = true;
    run(&w, 80);
    assert_int_equal(w.waves[1].state, WAVE_PASSED);
    w.devices[3].fact.reachable = true;
    run(&w, 20);
    assert_int_equal(w.waves[1].state, WAVE_FAILED);
    assert_int_equal(w.state, ROLLOUT_PAUSED);
}

static void pause_stops_offers_and_lets_steps_finish(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 6, 2);
    run(&w, 3);
    assert_true(assignment_in_flight(state_of(&w, 0)));
    act(&w, ROLLOUT_EVENT_PAUSE);
    run(&w, 60);
    assert_int_equal(state_of(&w, 0), ASSIGNMENT_SUCCEEDED);
    assert_int_equal(state_of(&w, 1), ASSIGNMENT_WAITING);
    act(&w, ROLLOUT_EVENT_RESUME);
    run(&w, 60);
    assert_int_equal(w.state, ROLLOUT_COMPLETED);
}

static void abort_takes_back_what_is_not_applying(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 5, 2);
    w.devices[1].held = true;
    run(&w, 22);
    assert_int_equal(state_of(&w, 0), ASSIGNMENT_SUCCEEDED);
    assert_int_equal(state_of(&w, 1), ASSIGNMENT_HELD);
    w.devices[2].fact.state = ASSIGNMENT_PROBATION;
    w.devices[2].phase = PHASE_PROBATION;
    beat(&w.devices[2]);
    act(&w, ROLLOUT_EVENT_ABORT);
    (void)step(&w);
    assert_int_equal(state_of(&w, 1), ASSIGNMENT_CANCELLED);
    assert_int_equal(w.devices[1].fact.desired, BUNDLE_PREVIOUS);
    assert_int_equal(state_of(&w, 2), ASSIGNMENT_PROBATION);
    assert_int_equal(w.devices[2].fact.desired, BUNDLE_THIS);
    run(&w, 5);
    assert_int_equal(state_of(&w, 0), ASSIGNMENT_SUCCEEDED);
    assert_int_equal(state_of(&w, 2), ASSIGNMENT_SUCCEEDED);
}

static void rollback_returns_everyone(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 6, 3);
    w.devices[2].fact.has_previous = false;
    w.devices[5].doomed = true;
    w.waves[2].max_failures = 1;
    run(&w, 80);
    assert_int_equal(w.state, ROLLOUT_COMPLETED);
    w.devices[4].fact.reachable = false;
    act(&w, ROLLOUT_EVENT_ROLL_BACK);
    (void)step(&w);
    assert_int_equal(w.state, ROLLOUT_ROLLING_BACK);
    assert_int_equal(w.devices[0].fact.desired, BUNDLE_PREVIOUS);
    assert_int_equal(state_of(&w, 0), ASSIGNMENT_SUCCEEDED); /* until it is proven */
    run(&w, 5);
    assert_int_equal(w.state, ROLLOUT_ROLLED_BACK);
    assert_int_equal(state_of(&w, 0), ASSIGNMENT_ROLLED_BACK);
    assert_int_equal(state_of(&w, 2), ASSIGNMENT_FAILED); /* nothing to go back to, and it says so */
    assert_true(w.devices[2].fact.stranded);
    assert_int_equal(state_of(&w, 5), ASSIGNMENT_FAILED); /* its agent had gone back by itself */
    assert_int_equal(w.devices[5].fact.desired, BUNDLE_PREVIOUS);
    assert_int_equal(state_of(&w, 4), ASSIGNMENT_SUCCEEDED);
    w.devices[4].fact.reachable = true; /* the late one */
    run(&w, 3);
    assert_int_equal(state_of(&w, 4), ASSIGNMENT_ROLLED_BACK);
}

static void a_device_that_runs_something_else_is_offered_again(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 4, 2);
    w.waves[0].soak_s = 1000;
    run(&w, 30);
    assert_int_equal(state_of(&w, 0), ASSIGNMENT_SUCCEEDED);
    w.devices[0].running = BUNDLE_OTHER; /* still says that it is running, only not what */
    beat(&w.devices[0]);
    w.waves[0].soak_s = 0; /* the soak is over just now, but not well */
    (void)step(&w);
    assert_int_equal(state_of(&w, 0), ASSIGNMENT_OFFERED);
    assert_int_equal(w.waves[0].state, WAVE_SOAKING);
}

static void what_a_newer_rollout_decides_is_left_alone(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 4, 1);
    run(&w, 60);
    assert_int_equal(w.state, ROLLOUT_COMPLETED);
    w.devices[0].fact.desired = BUNDLE_OTHER;
    w.devices[1].fact.owned = false; /* the same bundle, asked for by a newer rollout */
    act(&w, ROLLOUT_EVENT_ROLL_BACK);
    run(&w, 5);
    assert_int_equal(w.state, ROLLOUT_ROLLED_BACK);
    assert_int_equal(w.devices[0].fact.desired, BUNDLE_OTHER);
    assert_int_equal(w.devices[1].fact.desired, BUNDLE_THIS);
    assert_int_equal(state_of(&w, 0), ASSIGNMENT_SUPERSEDED);
    assert_int_equal(state_of(&w, 1), ASSIGNMENT_SUPERSEDED);
    assert_int_equal(state_of(&w, 2), ASSIGNMENT_ROLLED_BACK);
}

static void a_stale_report_proves_nothing(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 1, 1);
    w.devices[0].target = BUNDLE_THIS; /* it failed with this bundle before this rollout */
    w.devices[0].phase = PHASE_FAILED;
    beat(&w.devices[0]);
    (void)step(&w);
    (void)step(&w);
    assert_int_equal(state_of(&w, 0), ASSIGNMENT_OFFERED);
    (void)step(&w);
    assert_int_equal(state_of(&w, 0), ASSIGNMENT_OFFERED);
    run(&w, 40);
    assert_int_equal(w.state, ROLLOUT_COMPLETED);
}

static void offers_are_bounded(void **state)
{
    (void)state;
    enum { MANY = 2500 };
    struct wave_fact wave = {.state = WAVE_RUNNING};
    wave.count[ASSIGNMENT_WAITING] = MANY;
    struct device_fact *devices = calloc(MANY, sizeof *devices);
    assert_non_null(devices);
    for (int i = 0; i < MANY; i++)
        devices[i] = (struct device_fact){.name = "x", .wave = 1, .reachable = true};
    struct rollout_facts facts = {
        .state = ROLLOUT_RUNNING, .waves = &wave, .wave_count = 1, .devices = devices, .device_count = MANY};
    cleanup_decisions struct decisions out = {0};
    assert_int_equal(rollout_decide(&facts, &out), ERR_OK);
    assert_int_equal(out.device_count, DECIDE_OFFERS_MAX);
    free(devices);
}

/* ---------------------------------------------------------------- random walks */

static void something_happens(struct world *w)
{
    struct device *d = &w->devices[pick(w, (uint32_t)w->device_count)];
    switch (pick(w, 24)) {
    case 0:
        d->fact.reachable = !d->fact.reachable;
        break;
    case 1:
        d->held = !d->held;
        break;
    case 2:
        d->doomed = pick(w, 3) == 0;
        break;
    case 3:
        act(w, ROLLOUT_EVENT_PAUSE);
        break;
    case 4:
    case 5:
        act(w, ROLLOUT_EVENT_RESUME);
        break;
    case 6:
        if (pick(w, 12) == 0)
            act(w, ROLLOUT_EVENT_ABORT);
        break;
    case 7:
        if (pick(w, 12) == 0)
            act(w, ROLLOUT_EVENT_ROLL_BACK);
        break;
    case 8:
        d->fact.hold_cancels = d->held;
        break;
    case 9: /* an agent that goes astray */
        if (d->phase == PHASE_RUNNING && pick(w, 4) == 0)
            d->running = pick(w, 2) == 0 ? BUNDLE_OTHER : BUNDLE_NONE;
        break;
    case 10: /* a newer rollout */
        if (pick(w, 40) == 0 && (w->state == ROLLOUT_RUNNING || w->state == ROLLOUT_PAUSED)) {
            w->state = ROLLOUT_ABORTED;
            w->superseded = true;
        }
        break;
    default:
        if (d->fact.reachable)
            agent_step(d);
    }
    w->now_ms += pick(w, 3000);
}

static void terminal_states_stay(const enum assignment_state *before, const struct world *w)
{
    for (size_t i = 0; i < w->device_count; i++) {
        enum assignment_state after = w->devices[i].fact.state;
        bool final = before[i] == ASSIGNMENT_CANCELLED || before[i] == ASSIGNMENT_SUPERSEDED ||
                     before[i] == ASSIGNMENT_REJECTED || before[i] == ASSIGNMENT_ROLLED_BACK ||
                     before[i] == ASSIGNMENT_TIMED_OUT;
        if (final)
            assert_int_equal(after, before[i]);
        if (before[i] == ASSIGNMENT_FAILED)
            assert_true(after == ASSIGNMENT_FAILED || after == ASSIGNMENT_ROLLED_BACK);
    }
}

/* When everybody is back and well and people say "go on", every rollout comes to an end. */
static void comes_to_an_end(struct world *w)
{
    for (size_t i = 0; i < w->device_count; i++) {
        struct device *d = &w->devices[i];
        d->fact.reachable = true;
        d->fact.hold_cancels = d->held = d->doomed = false;
        if (d->phase == PHASE_RUNNING)
            d->running = d->target;
    }
    for (int i = 0; i < 60; i++) {
        act(w, ROLLOUT_EVENT_RESUME);
        run(w, 5);
    }
    assert_true(w->state == ROLLOUT_COMPLETED || w->state == ROLLOUT_ABORTED || w->state == ROLLOUT_ROLLED_BACK);
    for (size_t i = 0; i < w->device_count; i++)
        assert_false(assignment_open(w->devices[i].fact.state));
    assert_false(step(w)); /* and then nothing moves any more */
}

static void random_walks(void **state)
{
    (void)state;
    int ends[ROLLOUT_STATES_] = {0};
    for (uint64_t seed = 1; seed <= 6000; seed++) {
        struct world w;
        world_make(&w, seed * 7919, 1, 1);
        size_t devices = 1 + pick(&w, DEVICES_MAX);
        size_t waves = 1 + pick(&w, WAVES_MAX);
        world_make(&w, seed * 104729, devices, waves < devices ? waves : devices);
        for (size_t i = 0; i < w.wave_count; i++)
            w.waves[i].max_failures = pick(&w, 3) == 0 ? 1 : 0;
        for (size_t i = 0; i < devices; i++) {
            w.devices[i].doomed = pick(&w, 10) == 0;
            if (pick(&w, 10) == 0)
                w.devices[i].fact.has_previous = false;
            if (pick(&w, 15) == 0) {
                w.devices[i].fact.state = ASSIGNMENT_ALREADY_RUNNING;
                w.devices[i].fact.desired = BUNDLE_THIS;
                w.devices[i].target = w.devices[i].running = BUNDLE_THIS;
                beat(&w.devices[i]);
            }
        }
        for (int i = 0; i < 250; i++) {
            something_happens(&w);
            enum assignment_state before[DEVICES_MAX];
            for (size_t k = 0; k < w.device_count; k++)
                before[k] = w.devices[k].fact.state;
            (void)step(&w);
            terminal_states_stay(before, &w);
        }
        comes_to_an_end(&w);
        ends[w.state]++;
    }
    assert_true(ends[ROLLOUT_COMPLETED] > 500); /* the walks do reach all ends */
    assert_true(ends[ROLLOUT_ABORTED] > 500);
    assert_true(ends[ROLLOUT_ROLLED_BACK] > 500);
}

/* Facts that no walk would make: the invariants hold even so. */
static void random_facts(void **state)
{
    (void)state;
    struct world w = {.seed = 4711};
    for (int round = 0; round < 200000; round++) {
        world_make(&w, w.seed, 1 + pick(&w, DEVICES_MAX), 1 + pick(&w, WAVES_MAX));
        w.state = (enum rollout_state)pick(&w, ROLLOUT_STATES_);
        w.superseded = pick(&w, 4) == 0;
        w.now_ms = pick(&w, 20000);
        for (size_t i = 0; i < w.wave_count; i++) {
            w.waves[i].state = (enum wave_state)pick(&w, WAVE_STATES_);
            w.waves[i].max_failures = pick(&w, 3);
            w.waves[i].accepted = pick(&w, 2);
        }
        for (size_t i = 0; i < w.device_count; i++) {
            struct device *d = &w.devices[i];
            d->fact.wave = 1 + (int)pick(&w, (uint32_t)w.wave_count);
            d->fact.state = (enum assignment_state)pick(&w, ASSIGNMENT_STATES_);
            d->fact.reachable = pick(&w, 2) == 0;
            d->fact.hold_cancels = pick(&w, 4) == 0;
            d->fact.stranded = pick(&w, 4) == 0;
            d->fact.has_previous = pick(&w, 4) != 0;
            d->fact.desired = (enum which_bundle)pick(&w, 4);
            d->fact.owned = pick(&w, 3) != 0;
            d->phase = (enum slot_phase)pick(&w, PHASES_);
            d->target = (enum which_bundle)pick(&w, 4);
            d->running = (enum which_bundle)pick(&w, 4);
            d->assignment_generation = pick(&w, 2);
            beat(d);
        }
        struct rollout_facts facts = facts_of(&w);
        cleanup_decisions struct decisions out = {0};
        assert_int_equal(rollout_decide(&facts, &out), ERR_OK);
        check_all(&facts, &out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_goes_well),
        cmocka_unit_test(the_end_is_told),
        cmocka_unit_test(a_soak_is_waited_for),
        cmocka_unit_test(a_failure_pauses_and_says_why),
        cmocka_unit_test(a_person_may_go_on_after_failures),
        cmocka_unit_test(a_wave_without_a_success_asks),
        cmocka_unit_test(devices_that_are_away_do_not_block),
        cmocka_unit_test(a_wave_that_nobody_can_prove_waits),
        cmocka_unit_test(a_late_failure_still_pauses),
        cmocka_unit_test(pause_stops_offers_and_lets_steps_finish),
        cmocka_unit_test(abort_takes_back_what_is_not_applying),
        cmocka_unit_test(rollback_returns_everyone),
        cmocka_unit_test(a_device_that_runs_something_else_is_offered_again),
        cmocka_unit_test(what_a_newer_rollout_decides_is_left_alone),
        cmocka_unit_test(a_stale_report_proves_nothing),
        cmocka_unit_test(offers_are_bounded),
        cmocka_unit_test(random_walks),
        cmocka_unit_test(random_facts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
