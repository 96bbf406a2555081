#include "agent/core/update.h"

#include "common/base/text.h"

enum {
    TRIES_FEW = 5, /* of failures that a race with the server may explain, or that may be only this object's */
    TRIES_TWO = 2, /* one clean repetition */
    BOOTS_MAX = 3  /* of the device, in one probation */
};

struct cell {
    bool known; /* the event belongs to the phase */
    enum update_phase next;
    enum update_report report;
};

/* Where a newly wanted bundle leads from a phase in which the committed version is current. */
#define WANTED                                                                                                         \
    [UPDATE_WANT_FETCH] = {true, UPDATE_DOWNLOADING, UPDATE_REPORT_OFFERED},                                           \
    [UPDATE_WANT_LOCAL] = {true, UPDATE_STAGING, UPDATE_REPORT_OFFERED},                                               \
    [UPDATE_WANT_COMMITTED] = {true, UPDATE_IDLE, UPDATE_REPORT_NONE},                                                 \
    [UPDATE_WANT_REFUSED] = {true, UPDATE_FAILED, UPDATE_REPORT_FAILED}
/* The same from one in which the target may be current: first the way back. */
#define WITHDRAWN                                                                                                      \
    [UPDATE_WANT_FETCH] = {true, UPDATE_WITHDRAWING, UPDATE_REPORT_NONE},                                              \
    [UPDATE_WANT_LOCAL] = {true, UPDATE_WITHDRAWING, UPDATE_REPORT_NONE},                                              \
    [UPDATE_WANT_COMMITTED] = {true, UPDATE_WITHDRAWING, UPDATE_REPORT_NONE},                                          \
    [UPDATE_WANT_REFUSED] = {true, UPDATE_WITHDRAWING, UPDATE_REPORT_NONE}

/* A way back that somebody at the device asks for. */
#define BACK [UPDATE_BACK] = {true, UPDATE_RESTORING, UPDATE_REPORT_FAILED}

static const struct cell table[UPDATE_PHASES_][UPDATE_EVENTS_] = {
    [UPDATE_IDLE] = {WANTED, BACK},
    [UPDATE_FAILED] = {WANTED, BACK},
    [UPDATE_DOWNLOADING] = {WANTED, BACK, [UPDATE_FETCHED] = {true, UPDATE_VERIFYING, UPDATE_REPORT_DOWNLOADED},
                            [UPDATE_NEXT] = {true, UPDATE_DOWNLOADING, UPDATE_REPORT_NONE},
                            [UPDATE_FAIL] = {true, UPDATE_FAILED, UPDATE_REPORT_FAILED}},
    [UPDATE_VERIFYING] = {WANTED, BACK, [UPDATE_VERIFIED] = {true, UPDATE_STAGING, UPDATE_REPORT_VERIFIED},
                          [UPDATE_NEXT] = {true, UPDATE_DOWNLOADING, UPDATE_REPORT_NONE},
                          [UPDATE_REDO] = {true, UPDATE_DOWNLOADING, UPDATE_REPORT_NONE},
                          [UPDATE_FAIL] = {true, UPDATE_FAILED, UPDATE_REPORT_FAILED}},
    [UPDATE_STAGING] = {WANTED, BACK, [UPDATE_STAGED_OK] = {true, UPDATE_TESTING, UPDATE_REPORT_STAGED},
                        [UPDATE_REDO] = {true, UPDATE_DOWNLOADING, UPDATE_REPORT_NONE},
                        [UPDATE_FAIL] = {true, UPDATE_FAILED, UPDATE_REPORT_FAILED}},
    [UPDATE_TESTING] = {WANTED, BACK, [UPDATE_TESTED] = {true, UPDATE_STAGED, UPDATE_REPORT_TESTED},
                        [UPDATE_REDO] = {true, UPDATE_DOWNLOADING, UPDATE_REPORT_NONE},
                        [UPDATE_FAIL] = {true, UPDATE_FAILED, UPDATE_REPORT_FAILED}},
    [UPDATE_STAGED] = {WANTED, BACK, [UPDATE_HOLD] = {true, UPDATE_HELD, UPDATE_REPORT_HELD},
                       [UPDATE_GO] = {true, UPDATE_SWITCHING, UPDATE_REPORT_NONE},
                       [UPDATE_FAIL] = {true, UPDATE_FAILED, UPDATE_REPORT_FAILED}},
    [UPDATE_HELD] = {WANTED, BACK, [UPDATE_GO] = {true, UPDATE_SWITCHING, UPDATE_REPORT_RELEASED},
                     [UPDATE_FAIL] = {true, UPDATE_FAILED, UPDATE_REPORT_FAILED}},
    [UPDATE_SWITCHING] = {WITHDRAWN, BACK, [UPDATE_SWITCHED] = {true, UPDATE_PROBATION, UPDATE_REPORT_SWITCHED},
                          [UPDATE_HOLD] = {true, UPDATE_HELD, UPDATE_REPORT_HELD},
                          [UPDATE_REDO] = {true, UPDATE_DOWNLOADING, UPDATE_REPORT_NONE},
                          [UPDATE_FAIL] = {true, UPDATE_RESTORING, UPDATE_REPORT_FAILED}},
    [UPDATE_PROBATION] = {WITHDRAWN, BACK, [UPDATE_PASSED] = {true, UPDATE_IDLE, UPDATE_REPORT_COMMITTED},
                          [UPDATE_FAIL] = {true, UPDATE_RESTORING, UPDATE_REPORT_FAILED}},
    [UPDATE_RESTORING] = {[UPDATE_RESTORED] = {true, UPDATE_FAILED, UPDATE_REPORT_ROLLED_BACK},
                          [UPDATE_LOST] = {true, UPDATE_FAILED, UPDATE_REPORT_NONE}},
    [UPDATE_WITHDRAWING] = {[UPDATE_RESTORED] = {true, UPDATE_IDLE, UPDATE_REPORT_ROLLED_BACK},
                            [UPDATE_LOST] = {true, UPDATE_FAILED, UPDATE_REPORT_FAILED}},
};

static const struct {
    const char *name;  /* in the journal */
    const char *wire;  /* in a beat */
    const char *stage; /* of a failure in this phase */
    enum update_action action;
} phases[UPDATE_PHASES_] = {
    [UPDATE_IDLE] = {"idle", "running", NULL, UPDATE_DO_TIDY},
    [UPDATE_DOWNLOADING] = {"downloading", "downloading", "download", UPDATE_DO_FETCH},
    [UPDATE_VERIFYING] = {"verifying", "verifying", "verify", UPDATE_DO_UNPACK},
    [UPDATE_STAGING] = {"staging", "verifying", "stage", UPDATE_DO_STAGE},
    [UPDATE_TESTING] = {"testing", "testing", "test", UPDATE_DO_TEST},
    [UPDATE_STAGED] = {"staged", "staged", "stage", UPDATE_DO_DECIDE},
    [UPDATE_HELD] = {"held", "held", "stage", UPDATE_DO_WAIT},
    [UPDATE_SWITCHING] = {"switching", "switching", "switch", UPDATE_DO_SWITCH},
    [UPDATE_PROBATION] = {"probation", "probation", "probation", UPDATE_DO_WATCH},
    [UPDATE_RESTORING] = {"restoring", "switching", "probation", UPDATE_DO_RESTORE},
    [UPDATE_WITHDRAWING] = {"withdrawing", "switching", "switch", UPDATE_DO_RESTORE},
    [UPDATE_FAILED] = {"failed", "failed", "download", UPDATE_DO_TIDY},
};

/* The target may be what `current` names. */
static bool target_current(enum update_phase phase)
{
    return phase == UPDATE_SWITCHING || phase == UPDATE_PROBATION;
}

static void error_clear(struct update_row *row)
{
    row->stage = NULL;
    row->device_left = NULL;
    row->code[0] = '\0';
    row->detail[0] = '\0';
}

static void error_set(struct update_row *row, const struct update_input *input, const char *device_left)
{
    row->stage = phases[row->phase].stage;
    row->device_left = device_left;
    (void)text_copy(row->code, sizeof row->code, input->code == NULL ? "internal" : input->code);
    (void)text_copy(row->detail, sizeof row->detail, input->detail == NULL ? "" : input->detail);
}

static void target_set(struct update_row *row, const struct update_input *input)
{
    row->want = *input->want;
    row->object = (struct desired_object){0};
    row->generation = input->generation;
    row->target_counter = 0;
    row->downloaded = 0;
    row->tries = 0;
    row->boots = 0;
    error_clear(row);
}

/* The target has passed: it is committed, and what was committed is the way back. */
static void target_commit(struct update_row *row)
{
    if (!text_eq(row->committed, row->want.bundle))
        (void)text_copy(row->previous, sizeof row->previous, row->committed);
    (void)text_copy(row->committed, sizeof row->committed, row->want.bundle);
    if (row->target_counter > row->counter)
        row->counter = row->target_counter;
}

/* The target was given up without a failure. */
static void target_withdraw(struct update_row *row)
{
    row->want = (struct desired_slot){0};
    (void)text_copy(row->want.bundle, sizeof row->want.bundle, row->committed);
    row->object = (struct desired_object){0};
    row->downloaded = 0;
}

/* The object that was being fetched is not tried again for this target. */
static void object_give_up(struct update_row *row)
{
    for (size_t i = 0; i < row->want.object_count; i++)
        if (text_eq(row->want.objects[i].sha256, row->object.sha256))
            row->want.objects[i].failed = true;
    row->object = (struct desired_object){0};
    row->downloaded = 0;
    row->tries = 0;
}

/* Somebody at the device has taken the present version back: unless that is a target on its probation, it and the one
 * before change places. Only a newer document can ask for the target again. */
static void target_take_back(struct update_row *row, const struct update_input *input)
{
    char present[SHA256_HEX];
    if (!target_current(row->phase)) {
        (void)text_copy(present, sizeof present, row->committed);
        (void)text_copy(row->committed, sizeof row->committed, row->previous);
        (void)text_copy(row->previous, sizeof row->previous, present);
        if (row->want.bundle[0] == '\0')
            (void)text_copy(row->want.bundle, sizeof row->want.bundle, present);
    }
    if (input->generation > row->generation)
        row->generation = input->generation;
    error_set(row, input, NULL);
    row->stage = phases[UPDATE_SWITCHING].stage;
}

/* What an event changes in the row besides its phase; row->phase is still the old one. */
static void event_apply(struct update_row *row, const struct update_input *input, enum update_phase next)
{
    switch (input->event) {
    case UPDATE_WANT_FETCH:
    case UPDATE_WANT_LOCAL:
    case UPDATE_WANT_COMMITTED:
    case UPDATE_WANT_REFUSED:
        if (next == UPDATE_WITHDRAWING)
            return;
        target_set(row, input);
        if (next == UPDATE_FAILED) {
            row->phase = UPDATE_DOWNLOADING; /* the stage in which it is refused */
            error_set(row, input, "no_change");
        }
        return;
    case UPDATE_PASSED:
        target_commit(row);
        return;
    case UPDATE_FAIL:
        error_set(row, input, next == UPDATE_FAILED ? "no_change" : NULL);
        return;
    case UPDATE_RESTORED:
        if (next == UPDATE_FAILED)
            row->device_left = "rolled_back";
        else
            target_withdraw(row);
        return;
    case UPDATE_LOST:
        if (row->phase == UPDATE_WITHDRAWING)
            error_set(row, input, NULL);
        row->device_left = "unable_to_roll_back";
        return;
    case UPDATE_REDO:
        row->object = (struct desired_object){0};
        row->downloaded = 0;
        return;
    case UPDATE_NEXT:
        object_give_up(row);
        return;
    case UPDATE_BACK:
        target_take_back(row, input);
        return;
    default:
        return;
    }
}

struct update_output update_step(struct update_row *row, const struct update_input *input)
{
    const struct cell *cell = &table[row->phase][input->event];
    if (!cell->known)
        return (struct update_output){.ignored = true};
    struct update_output output = {.action = phases[cell->next].action, .report = cell->report};
    (void)text_copy(output.bundle, sizeof output.bundle, row->want.bundle);
    event_apply(row, input, cell->next);
    if (cell->report == UPDATE_REPORT_OFFERED)
        (void)text_copy(output.bundle, sizeof output.bundle, row->want.bundle);
    row->phase = cell->next;
    return output;
}

enum update_unstored update_unstored(enum update_phase next, enum update_event event)
{
    if (event == UPDATE_PASSED)
        return UPDATE_LATER;
    bool safe = next == UPDATE_IDLE || next == UPDATE_FAILED || next == UPDATE_RESTORING || next == UPDATE_WITHDRAWING;
    return safe ? UPDATE_ACCEPT : UPDATE_GIVE_UP;
}

enum update_action update_resume(enum update_phase phase)
{
    return phases[phase].action;
}

bool update_want(const struct update_row *row, const struct desired_slot *want, int64_t generation, bool previous_here,
                 enum update_event *ret_event)
{
    if (row->phase == UPDATE_RESTORING || row->phase == UPDATE_WITHDRAWING)
        return false;
    bool same = text_eq(row->want.bundle, want->bundle);
    /* A hold that comes or goes moves the document's generation too, and asks for nothing again. */
    int64_t asked = want->asked == 0 ? generation : want->asked;
    bool renewed = row->phase == UPDATE_FAILED && asked > row->generation;
    if (same && !renewed)
        return false;
    if (text_eq(row->committed, want->bundle))
        *ret_event = UPDATE_WANT_COMMITTED;
    else if (previous_here && text_eq(row->previous, want->bundle))
        *ret_event = UPDATE_WANT_LOCAL;
    else
        *ret_event = UPDATE_WANT_FETCH;
    return true;
}

bool update_unnamed(const struct update_row *row, struct desired_slot *ret_want)
{
    if (row->phase < UPDATE_DOWNLOADING || row->phase > UPDATE_HELD)
        return false;
    *ret_want = (struct desired_slot){0};
    (void)text_copy(ret_want->name, sizeof ret_want->name, row->slot);
    (void)text_copy(ret_want->bundle, sizeof ret_want->bundle, row->committed);
    return true;
}

static bool object_usable(const struct update_row *row, const struct desired_object *object, struct update_here here)
{
    bool base_here = object->from[0] == '\0' || (here.committed && text_eq(object->from, row->committed)) ||
                     (here.previous && text_eq(object->from, row->previous));
    return base_here && !object->failed;
}

const struct desired_object *update_object(const struct update_row *row, struct update_here here)
{
    for (size_t i = 0; i < row->want.object_count; i++)
        if (object_usable(row, &row->want.objects[i], here))
            return &row->want.objects[i];
    return NULL;
}

static const struct desired_object *object_find(const struct desired_slot *want, const char *sha256)
{
    for (size_t i = 0; i < want->object_count; i++)
        if (text_eq(want->objects[i].sha256, sha256))
            return &want->objects[i];
    return NULL;
}

bool update_pick(struct update_row *row, struct update_here here)
{
    const struct desired_object *object = object_find(&row->want, row->object.sha256);
    if (object != NULL && object_usable(row, object, here))
        return true;
    object = update_object(row, here);
    row->object = (struct desired_object){0};
    row->downloaded = 0;
    if (object != NULL)
        row->object = *object;
    return object != NULL;
}

/* What is being fetched stays in the list, where there is room: last, so that it is nobody's first choice. */
static void object_keep(struct update_row *row)
{
    if (object_find(&row->want, row->object.sha256) == NULL && row->want.object_count < DESIRED_OBJECTS_MAX)
        row->want.objects[row->want.object_count++] = row->object;
}

bool update_refresh(struct update_row *row, const struct desired_slot *want, struct update_here here)
{
    struct desired_slot before = row->want;
    row->want = *want;
    for (size_t i = 0; i < row->want.object_count; i++) {
        const struct desired_object *known = object_find(&before, row->want.objects[i].sha256);
        row->want.objects[i].failed = known != NULL && known->failed;
    }
    bool fetching = row->phase == UPDATE_DOWNLOADING || row->phase == UPDATE_VERIFYING;
    if (!fetching || row->object.sha256[0] == '\0')
        return false;
    object_keep(row);
    const struct desired_object *best = update_object(row, here);
    bool smaller = best != NULL && best->size < row->object.size - row->downloaded;
    if (row->phase != UPDATE_DOWNLOADING || !smaller || text_eq(best->sha256, row->object.sha256))
        return false;
    row->object = (struct desired_object){0};
    row->downloaded = 0;
    return true;
}

const char *update_back_to(const struct update_row *row)
{
    return target_current(row->phase) ? row->committed : row->previous;
}

const char *update_back(const struct update_row *row, struct update_here here, enum update_event *ret_event)
{
    bool to_committed = target_current(row->phase);
    if (row->phase == UPDATE_RESTORING || row->phase == UPDATE_WITHDRAWING)
        return "it is on its way back already";
    if (update_back_to(row)[0] == '\0')
        return "there is no version before this one on the device";
    if (!(to_committed ? here.committed : here.previous))
        return "the version before this one is not complete on the device any more";
    bool again = row->phase == UPDATE_FAILED && text_eq(row->previous, row->want.bundle);
    *ret_event = again ? UPDATE_WANT_LOCAL : UPDATE_BACK;
    return NULL;
}

/* Of a delta, which is never waited for: the network is everybody's, but what else goes wrong may be only its own. */
static enum update_retry delta_retry(struct update_row *row, const char *code, bool transient)
{
    if (row->phase != UPDATE_DOWNLOADING || !transient)
        return UPDATE_TRY_NEXT;
    if (!text_eq(code, "server_failed"))
        return UPDATE_TRY_AGAIN;
    row->tries++;
    return row->tries < TRIES_FEW ? UPDATE_TRY_AGAIN : UPDATE_TRY_NEXT;
}

static bool next_there(const struct update_row *row, struct update_here here)
{
    struct update_row after = *row;
    object_give_up(&after);
    return update_object(&after, here) != NULL;
}

enum update_retry update_retry(struct update_row *row, const char *code, bool transient, struct update_here here)
{
    /* Not found or refused may be a race with a changed document; wrong bytes may be a broken download. */
    static const struct {
        const char *code;
        int tries;
    } few[] = {{"object_not_found", TRIES_FEW},
               {"server_refused", TRIES_FEW},
               {"object_digest_mismatch", TRIES_TWO},
               {"part_missing", TRIES_FEW}};
    bool fetched = row->phase == UPDATE_DOWNLOADING || row->phase == UPDATE_VERIFYING;
    if (fetched && row->object.from[0] != '\0' && !text_eq(code, "part_missing") && next_there(row, here))
        return delta_retry(row, code, transient);
    if (transient)
        return UPDATE_TRY_AGAIN;
    row->tries++;
    for (size_t i = 0; i < sizeof few / sizeof few[0]; i++)
        if (text_eq(few[i].code, code))
            return row->tries < few[i].tries ? UPDATE_TRY_AGAIN : UPDATE_TRY_NOT;
    return UPDATE_TRY_NOT;
}

bool update_recover(struct update_row *row, const struct update_disk *disk)
{
    if (!disk->previous_here)
        row->previous[0] = '\0';
    if (!disk->committed_here) {
        /* Somebody has removed it. What `current` names is the next best; without one the slot is empty. */
        (void)text_copy(row->committed, sizeof row->committed, target_current(row->phase) ? "" : disk->current);
        if (row->phase == UPDATE_IDLE)
            target_withdraw(row);
    }
    if (row->phase != UPDATE_PROBATION || !disk->rebooted)
        return false;
    row->boots++;
    return row->boots >= BOOTS_MAX;
}

const char *update_current(const struct update_row *row)
{
    return target_current(row->phase) ? row->want.bundle : row->committed;
}

const char *update_previous(const struct update_row *row)
{
    bool other = target_current(row->phase) && !text_eq(row->committed, row->want.bundle);
    return other && row->committed[0] != '\0' ? row->committed : row->previous;
}

const char *update_phase_wire(const struct update_row *row)
{
    if (row->phase == UPDATE_IDLE && row->committed[0] == '\0')
        return "empty";
    return phases[row->phase].wire;
}

const char *update_report_name(enum update_report report)
{
    static const char *const names[] = {
        [UPDATE_REPORT_NONE] = "",
        [UPDATE_REPORT_OFFERED] = "offered",
        [UPDATE_REPORT_DOWNLOADED] = "downloaded",
        [UPDATE_REPORT_VERIFIED] = "verified",
        [UPDATE_REPORT_STAGED] = "staged",
        [UPDATE_REPORT_TESTED] = "tested",
        [UPDATE_REPORT_HELD] = "held",
        [UPDATE_REPORT_RELEASED] = "released",
        [UPDATE_REPORT_SWITCHED] = "switched",
        [UPDATE_REPORT_COMMITTED] = "committed",
        [UPDATE_REPORT_FAILED] = "failed",
        [UPDATE_REPORT_ROLLED_BACK] = "rolled_back",
    };
    return names[report];
}

const char *update_phase_name(enum update_phase phase)
{
    return phases[phase].name;
}

bool update_phase_parse(const char *name, enum update_phase *ret_phase)
{
    for (int i = 0; i < UPDATE_PHASES_; i++) {
        if (text_eq(name, phases[i].name)) {
            *ret_phase = (enum update_phase)i;
            return true;
        }
    }
    return false;
}

const char *update_word(const char *word)
{
    static const char *const words[] = {"download",  "verify",      "stage",
                                        "test",      "switch",      "probation",
                                        "no_change", "rolled_back", "unable_to_roll_back"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (text_eq(word, words[i]))
            return words[i];
    return NULL;
}
