#include "server/core/decide.h"

#include "common/base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A wave while deciding: its counts follow what is decided. */
struct wave_now {
    enum wave_state state;
    int64_t count[ASSIGNMENT_STATES_];
    int64_t blocking; /* devices that it must wait for: open, reachable, not held */
};

struct deciding {
    const struct rollout_facts *facts;
    struct decisions *out;
    struct wave_now *waves;
    enum rollout_state state;               /* of the rollout; a wave that fails pauses it before any offer is made */
    const struct device_decision **decided; /* by device; NULL: nothing */
    int64_t offers;
};

static const struct device_fact *device_of(const struct deciding *d, size_t i)
{
    return &d->facts->devices[i];
}

static struct wave_now *wave_of(const struct deciding *d, size_t i)
{
    return &d->waves[device_of(d, i)->wave - 1];
}

/* The state of a device after what is decided so far. */
static enum assignment_state state_of(const struct deciding *d, size_t i)
{
    return d->decided[i] == NULL ? device_of(d, i)->state : d->decided[i]->to;
}

/* ---------------------------------------------------------------- devices */

static struct device_decision *decide_device(struct deciding *d, size_t i, enum assignment_state to,
                                             enum desired_change desired, const char *reason)
{
    struct device_decision *made = &d->out->devices[d->out->device_count++];
    *made = (struct device_decision){
        .device = i, .from = device_of(d, i)->state, .to = to, .desired = desired, .reason = reason};
    d->decided[i] = made;
    wave_of(d, i)->count[made->from]--;
    wave_of(d, i)->count[made->to]++;
    return made;
}

/* Applies an event if it means something in the device's state. */
static struct device_decision *move_device(struct deciding *d, size_t i, enum assignment_event event,
                                           enum desired_change desired, const char *reason)
{
    enum assignment_state to;
    if (!assignment_next(device_of(d, i)->state, event, &to))
        return NULL;
    return decide_device(d, i, to, desired, reason);
}

/* How to take back what was offered. */
static enum desired_change taking_back(const struct device_fact *device)
{
    if (device->desired != BUNDLE_THIS || !device->owned)
        return DESIRED_KEEP;
    return device->has_previous ? DESIRED_RETURN : DESIRED_CLEAR;
}

static const char *text_or(const char *text, const char *otherwise)
{
    return text == NULL || *text == '\0' ? otherwise : text;
}

static const char *report_reason(const struct slot_report *report)
{
    static const char *const reasons[PHASES_] = {
        [PHASE_EMPTY] = "",
        [PHASE_DOWNLOADING] = "The device downloads the bundle.",
        [PHASE_VERIFYING] = "The device verifies what it has downloaded.",
        [PHASE_TESTING] = "The device tests what it has verified.",
        [PHASE_STAGED] = "The bundle is verified and staged.",
        [PHASE_HELD] = "The bundle is staged; a hold keeps the device from applying it.",
        [PHASE_SWITCHING] = "The device switches to the bundle.",
        [PHASE_PROBATION] = "The device runs the bundle on probation.",
        [PHASE_RUNNING] = "The device runs the bundle: its beat names the digest that is loaded.",
        [PHASE_FAILED] = "The device could not apply the bundle.",
    };
    return report->phase == PHASE_FAILED ? text_or(report->detail, reasons[PHASE_FAILED]) : reasons[report->phase];
}

static void keep_failure(struct device_decision *made, const struct slot_report *report, const char *device_left)
{
    made->stage = report->stage;
    made->code = text_or(report->code, "unknown");
    made->detail = report->detail;
    made->device_left = device_left;
}

/* A device in flight goes where its beat says it is. */
static void follow_report(struct deciding *d, size_t i)
{
    const struct slot_report *report = &device_of(d, i)->report;
    enum assignment_event event;
    if (!assignment_event_of_report(report, &event))
        return;
    struct device_decision *made = move_device(d, i, event, DESIRED_KEEP, report_reason(report));
    if (made != NULL && assignment_failure(made->to))
        keep_failure(made, report, report->device_left);
}

static bool runs_something_else(const struct device_fact *device)
{
    const struct slot_report *report = &device->report;
    enum assignment_state offered;
    if (!assignment_next(device->state, ASSIGNMENT_EVENT_REOPEN, &offered) || !report->current ||
        device->desired != BUNDLE_THIS)
        return false;
    return (report->phase == PHASE_RUNNING &&
            (report->running == BUNDLE_PREVIOUS || report->running == BUNDLE_OTHER)) ||
           (report->phase == PHASE_FAILED && report->target == BUNDLE_THIS);
}

/* Running and paused: follow what devices say; nothing is offered here. */
static void track_device(struct deciding *d, size_t i)
{
    const struct device_fact *device = device_of(d, i);
    if (!assignment_in_flight(device->state))
        return;
    if (device->desired != BUNDLE_THIS || !device->owned)
        (void)move_device(d, i, ASSIGNMENT_EVENT_SUPERSEDE, DESIRED_KEEP, "Something newer decides about this slot.");
    else if (device->hold_cancels && assignment_recallable(device->state))
        (void)move_device(d, i, ASSIGNMENT_EVENT_CANCEL, taking_back(device),
                          "The hold on the device ran out, and it says that the update is then cancelled.");
    else
        follow_report(d, i);
}

/* Aborted: what is not yet applying is taken back, the rest runs to its end. Superseded: nothing is waited for. */
static void abort_device(struct deciding *d, size_t i)
{
    const struct device_fact *device = device_of(d, i);
    bool superseded = d->facts->superseded;
    if (assignment_failure(device->state)) {
        if (!superseded && taking_back(device) != DESIRED_KEEP)
            (void)decide_device(d, i, device->state, taking_back(device),
                                "The rollout was aborted: the device is no longer asked to try.");
    } else if (device->state == ASSIGNMENT_WAITING || assignment_recallable(device->state)) {
        enum desired_change back = device->state == ASSIGNMENT_WAITING ? DESIRED_KEEP : taking_back(device);
        if (superseded)
            (void)move_device(d, i, ASSIGNMENT_EVENT_SUPERSEDE, back, "A newer rollout of this slot was created.");
        else
            (void)move_device(d, i, ASSIGNMENT_EVENT_CANCEL, back,
                              "The rollout was aborted before the device began to apply the bundle.");
    } else if (superseded) {
        if (assignment_open(device->state))
            (void)move_device(d, i, ASSIGNMENT_EVENT_SUPERSEDE, DESIRED_KEEP,
                              "A newer rollout of this slot was created.");
    } else {
        track_device(d, i);
    }
}

/* Rollback, before the device was told: tell it, or say that it cannot be done. */
static void recall_device(struct deciding *d, size_t i)
{
    const struct device_fact *device = device_of(d, i);
    if (device->has_previous) {
        (void)decide_device(d, i, device->state, DESIRED_RETURN, "The rollout is rolled back: the device returns.");
    } else if (assignment_recallable(device->state)) {
        (void)move_device(d, i, ASSIGNMENT_EVENT_CANCEL, DESIRED_CLEAR,
                          "The rollout was rolled back before the device began to apply the bundle.");
    } else {
        struct device_decision *made =
            move_device(d, i, ASSIGNMENT_EVENT_STRAND, DESIRED_KEEP, "There is no earlier bundle to go back to.");
        if (made == NULL)
            return;
        made->stage = "rollback";
        made->code = "no_previous_bundle";
        made->detail = "No earlier bundle of this slot is known: the device keeps this one.";
        made->device_left = "unable_to_roll_back";
    }
}

/* Rollback, after the device was told: success is proven here too. */
static void follow_return(struct deciding *d, size_t i)
{
    const struct device_fact *device = device_of(d, i);
    const struct slot_report *report = &device->report;
    if (!report->current)
        return;
    if (report->phase == PHASE_RUNNING && report->running == BUNDLE_PREVIOUS) {
        (void)move_device(d, i, ASSIGNMENT_EVENT_RETURN, DESIRED_KEEP, "The device runs its previous bundle again.");
    } else if (report->phase == PHASE_FAILED && report->target == BUNDLE_PREVIOUS) {
        struct device_decision *made = move_device(d, i, ASSIGNMENT_EVENT_STRAND, DESIRED_KEEP, report_reason(report));
        if (made != NULL)
            keep_failure(made, report, "unable_to_roll_back");
    }
}

/* In a rollback: it has the bundle, or may have it. */
static bool not_back_yet(enum assignment_state state)
{
    return assignment_in_flight(state) || state == ASSIGNMENT_SUCCEEDED || state == ASSIGNMENT_ALREADY_RUNNING;
}

static void return_device(struct deciding *d, size_t i)
{
    const struct device_fact *device = device_of(d, i);
    if (device->state == ASSIGNMENT_WAITING)
        (void)move_device(d, i, ASSIGNMENT_EVENT_CANCEL, DESIRED_KEEP,
                          "The rollout was rolled back before the device was offered the bundle.");
    else if (!not_back_yet(device->state) && !assignment_failure(device->state))
        return;
    else if (device->desired == BUNDLE_THIS && device->owned)
        recall_device(d, i);
    else if (device->desired != BUNDLE_PREVIOUS)
        (void)move_device(d, i, ASSIGNMENT_EVENT_SUPERSEDE, DESIRED_KEEP, "Something newer decides about this slot.");
    else if (!assignment_failure(device->state) || device->stranded)
        follow_return(d, i);
}

/* ---------------------------------------------------------------- waves */

static int64_t wave_open(const struct wave_now *wave)
{
    int64_t n = 0;
    for (int s = 0; s < ASSIGNMENT_STATES_; s++)
        n += assignment_open((enum assignment_state)s) ? wave->count[s] : 0;
    return n;
}

static int64_t wave_failures(const struct wave_now *wave)
{
    int64_t n = 0;
    for (int s = 0; s < ASSIGNMENT_STATES_; s++)
        n += assignment_failure((enum assignment_state)s) ? wave->count[s] : 0;
    return n;
}

/* Those that were already on the bundle at the start prove nothing about this wave. */
static int64_t wave_devices(const struct wave_now *wave)
{
    int64_t n = -wave->count[ASSIGNMENT_ALREADY_RUNNING];
    for (int s = 0; s < ASSIGNMENT_STATES_; s++)
        n += wave->count[s];
    return n;
}

static void count_blocking(struct deciding *d)
{
    for (size_t i = 0; i < d->facts->device_count; i++) {
        enum assignment_state state = state_of(d, i);
        bool open = assignment_open(state) || (d->decided[i] == NULL && runs_something_else(device_of(d, i)));
        if (open && state != ASSIGNMENT_HELD && device_of(d, i)->reachable)
            wave_of(d, i)->blocking++;
    }
}

/* Room for the reason is given back, to be filled; NULL when the event means nothing now. */
static char *move_wave(struct deciding *d, size_t w, enum wave_event event)
{
    enum wave_state to;
    if (!wave_next(d->waves[w].state, event, &to))
        return NULL;
    struct wave_decision *made = &d->out->waves[d->out->wave_count++];
    *made = (struct wave_decision){.wave = (int)w + 1, .from = d->waves[w].state, .to = to};
    d->waves[w].state = to;
    return made->reason;
}

static void move_rollout(struct deciding *d, enum rollout_event event, const char *reason)
{
    enum rollout_state to;
    if (!rollout_next(d->state, event, &to))
        return;
    d->out->moves = true;
    d->out->to = to;
    d->state = to;
    (void)text_copy(d->out->reason, sizeof d->out->reason, reason);
}

/* "edge-3 in verify, payload_mismatch: the file differs": the earliest, or the first one found just now. */
static void say_first_failure(const struct deciding *d, size_t w, char *out, size_t size)
{
    const struct wave_fact *fact = &d->facts->waves[w];
    (void)text_copy(out, size, text_or(fact->first_failure, ""));
    for (size_t k = 0; out[0] == '\0' && k < d->out->device_count; k++) {
        const struct device_decision *made = &d->out->devices[k];
        const struct device_fact *device = device_of(d, made->device);
        if (device->wave == (int)w + 1 && made->from != made->to && assignment_failure(made->to))
            (void)snprintf(out, size, "%s in %s, %s%s%s", device->name, text_or(made->stage, "an unknown step"),
                           made->code, text_or(made->detail, "")[0] == '\0' ? "" : ": ", text_or(made->detail, ""));
    }
}

static void fail_wave(struct deciding *d, size_t w, enum wave_event event, const char *what)
{
    char first[ROLLOUT_REASON_MAX / 2];
    char reason[ROLLOUT_REASON_MAX];
    say_first_failure(d, w, first, sizeof first);
    (void)snprintf(reason, sizeof reason, "Wave %zu: %s%s%s", w + 1, what, first[0] == '\0' ? "." : ". First: ", first);
    char *room = move_wave(d, w, event);
    if (room != NULL)
        (void)text_copy(room, ROLLOUT_REASON_MAX, reason);
    move_rollout(d, ROLLOUT_EVENT_PAUSE, reason);
}

static void run_wave(struct deciding *d, size_t w)
{
    const struct wave_fact *fact = &d->facts->waves[w];
    const struct wave_now *wave = &d->waves[w];
    int64_t succeeded = wave->count[ASSIGNMENT_SUCCEEDED];
    bool ended = wave_open(wave) == 0;
    /* Held devices and those that are away do not block; but with no success yet nothing is known: wait for them. */
    bool settled = wave->blocking == 0 && (succeeded > 0 || (ended && fact->accepted > 0));
    if (wave->state == WAVE_RUNNING && settled) {
        char *room = move_wave(d, w, WAVE_EVENT_SETTLE);
        (void)snprintf(room, ROLLOUT_REASON_MAX, "%" PRId64 " of %" PRId64 " succeeded; watched for %" PRId64 " s.",
                       succeeded, wave_devices(wave), fact->soak_s);
    } else if (wave->state == WAVE_RUNNING && ended) {
        char what[120];
        (void)snprintf(what, sizeof what, "no device succeeded, %" PRId64 " of %" PRId64 " failed", wave_failures(wave),
                       wave_devices(wave));
        fail_wave(d, w, WAVE_EVENT_ASK, what);
    } else if (wave->state == WAVE_SOAKING && settled && d->facts->now_ms - fact->since_ms >= fact->soak_s * 1000) {
        char *room = move_wave(d, w, WAVE_EVENT_PASS);
        (void)snprintf(room, ROLLOUT_REASON_MAX, "%" PRId64 " of %" PRId64 " succeeded and soaked for %" PRId64 " s.",
                       succeeded, wave_devices(wave), fact->soak_s);
    }
}

static void judge_failures(struct deciding *d, size_t w)
{
    const struct wave_fact *fact = &d->facts->waves[w];
    int64_t failures = wave_failures(&d->waves[w]);
    if (!wave_begun(d->waves[w].state) || failures - fact->accepted <= fact->max_failures)
        return;
    char what[120];
    (void)snprintf(what, sizeof what, "%" PRId64 " of %" PRId64 " failed, %" PRId64 " allowed", failures,
                   wave_devices(&d->waves[w]), fact->max_failures + fact->accepted);
    fail_wave(d, w, WAVE_EVENT_FAIL, what);
}

/* The next wave begins when all before it have passed. */
static void start_next_wave(struct deciding *d)
{
    for (size_t w = 0; w < d->facts->wave_count; w++) {
        if (d->waves[w].state == WAVE_PASSED)
            continue;
        char *room = move_wave(d, w, WAVE_EVENT_START);
        if (room != NULL)
            (void)text_copy(room, ROLLOUT_REASON_MAX,
                            w == 0 ? "The rollout starts." : "The waves before it have passed.");
        return;
    }
}

static void decide_waves(struct deciding *d)
{
    for (size_t w = 0; w < d->facts->wave_count && d->state == ROLLOUT_RUNNING; w++) {
        size_t before = d->out->wave_count;
        judge_failures(d, w);
        if (d->out->wave_count == before)
            run_wave(d, w);
    }
    if (d->state == ROLLOUT_RUNNING)
        start_next_wave(d);
}

/* ---------------------------------------------------------------- the rollout */

static void offer(struct deciding *d, size_t i)
{
    const struct device_fact *device = device_of(d, i);
    if (d->decided[i] != NULL || !device->reachable || d->offers == DECIDE_OFFERS_MAX ||
        !wave_begun(wave_of(d, i)->state))
        return;
    if (device->state == ASSIGNMENT_WAITING) {
        (void)move_device(d, i, ASSIGNMENT_EVENT_OFFER, DESIRED_OFFER, "Its wave has begun.");
        d->offers++;
    } else if (runs_something_else(device)) {
        if (move_device(d, i, ASSIGNMENT_EVENT_REOPEN, DESIRED_OFFER,
                        "It had the bundle and now runs something else: it is offered again.") != NULL)
            d->offers++;
    }
}

static int64_t sum_of(const struct deciding *d, enum assignment_state state)
{
    int64_t n = 0;
    for (size_t w = 0; w < d->facts->wave_count; w++)
        n += d->waves[w].count[state];
    return n;
}

/* Adds "7 succeeded" to a list after a colon; what there is none of is not mentioned. */
static void add_count(char reason[ROLLOUT_REASON_MAX], int64_t n, const char *what)
{
    size_t len = strlen(reason);
    if (n > 0)
        (void)snprintf(reason + len, ROLLOUT_REASON_MAX - len, "%s%" PRId64 " %s", reason[len - 1] == ':' ? " " : ", ",
                       n, what);
}

static void end_sentence(char reason[ROLLOUT_REASON_MAX])
{
    size_t len = strlen(reason);
    if (reason[len - 1] == ':')
        reason[len - 1] = '.';
    else
        (void)snprintf(reason + len, ROLLOUT_REASON_MAX - len, ".");
}

static void complete(struct deciding *d)
{
    int64_t failures = 0;
    for (size_t w = 0; w < d->facts->wave_count; w++) {
        if (d->waves[w].state != WAVE_PASSED || wave_open(&d->waves[w]) > 0)
            return;
        failures += wave_failures(&d->waves[w]);
    }
    char reason[ROLLOUT_REASON_MAX] = "Every device has ended:";
    add_count(reason, sum_of(d, ASSIGNMENT_SUCCEEDED), "succeeded");
    add_count(reason, sum_of(d, ASSIGNMENT_ALREADY_RUNNING), "ran it before");
    add_count(reason, failures, "failed");
    add_count(reason, sum_of(d, ASSIGNMENT_CANCELLED), "cancelled");
    end_sentence(reason);
    move_rollout(d, ROLLOUT_EVENT_COMPLETE, reason);
}

static bool stranded(const struct deciding *d, size_t i)
{
    const struct device_decision *made = d->decided[i];
    return made == NULL ? device_of(d, i)->stranded : made->to == ASSIGNMENT_FAILED && made->from != made->to;
}

static void end_rollback(struct deciding *d)
{
    int64_t away = 0;
    int64_t unable = 0;
    for (size_t i = 0; i < d->facts->device_count; i++) {
        bool back = !not_back_yet(state_of(d, i));
        if (!back && device_of(d, i)->reachable)
            return;
        away += back ? 0 : 1;
        unable += stranded(d, i) ? 1 : 0;
    }
    char reason[ROLLOUT_REASON_MAX] = "Every device that can be reached has ended:";
    add_count(reason, sum_of(d, ASSIGNMENT_ROLLED_BACK), "back on the previous bundle");
    add_count(reason, away, "away and to follow");
    add_count(reason, unable, "unable to go back");
    add_count(reason, sum_of(d, ASSIGNMENT_CANCELLED), "cancelled");
    end_sentence(reason);
    move_rollout(d, ROLLOUT_EVENT_SAFE, reason);
}

static void decide_running(struct deciding *d)
{
    count_blocking(d);
    decide_waves(d);
    for (size_t i = 0; i < d->facts->device_count && d->state == ROLLOUT_RUNNING; i++)
        offer(d, i);
    if (d->state == ROLLOUT_RUNNING)
        complete(d);
}

static void decide_devices(struct deciding *d)
{
    for (size_t i = 0; i < d->facts->device_count; i++) {
        switch (d->facts->state) {
        case ROLLOUT_RUNNING:
        case ROLLOUT_PAUSED:
            track_device(d, i);
            break;
        case ROLLOUT_ABORTED:
            abort_device(d, i);
            break;
        case ROLLOUT_ROLLING_BACK:
        case ROLLOUT_ROLLED_BACK:
            return_device(d, i);
            break;
        default: /* not begun, or completed: nothing moves */
            break;
        }
    }
}

static void decide(struct deciding *d)
{
    for (size_t w = 0; w < d->facts->wave_count; w++) {
        d->waves[w].state = d->facts->waves[w].state;
        for (int s = 0; s < ASSIGNMENT_STATES_; s++)
            d->waves[w].count[s] = d->facts->waves[w].count[s];
    }
    decide_devices(d);
    if (d->state == ROLLOUT_RUNNING)
        decide_running(d);
    else if (d->state == ROLLOUT_ROLLING_BACK)
        end_rollback(d);
}

enum err rollout_decide(const struct rollout_facts *facts, struct decisions *ret_decisions)
{
    struct decisions out = {0};
    struct deciding d = {.facts = facts, .out = &out, .state = facts->state};
    /* One more than needed, so that nothing is asked for zero bytes. A wave may start in the call its turn comes. */
    out.devices = calloc(facts->device_count + 1, sizeof *out.devices);
    out.waves = calloc(facts->wave_count + 1, sizeof *out.waves);
    d.waves = calloc(facts->wave_count + 1, sizeof *d.waves);
    d.decided = calloc(facts->device_count + 1, sizeof(struct device_decision *));
    bool ok = out.devices != NULL && out.waves != NULL && d.waves != NULL && d.decided != NULL;
    if (ok)
        decide(&d);
    free(d.waves);
    free(d.decided);
    if (!ok) {
        decisions_free(&out);
        return ERR_NO_MEMORY;
    }
    *ret_decisions = out;
    return ERR_OK;
}

void decisions_free(struct decisions *d)
{
    free(d->devices);
    free(d->waves);
    *d = (struct decisions){0};
}
