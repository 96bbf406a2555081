#pragma once
/* The update of one slot as a table: phase x event -> phase, action, reports. Pure: it changes the journal row it is
 * given and says what to do; whoever calls it stores the row first and then does it. Every action can be done again, so
 * after a crash update_resume() of the stored row is all there is to recovery.
 *
 * What holds at any time: the version in `committed` is complete on the device and has passed its probation; only
 * UPDATE_SWITCH, from a phase in which no hold is active, makes another one current; `counter` never goes down. */

#include "agent/core/desired.h"

enum update_phase {
    UPDATE_IDLE,        /* runs what is committed, or nothing when the slot never had anything */
    UPDATE_DOWNLOADING, /* fetching the object */
    UPDATE_VERIFYING,   /* checking and unpacking it */
    UPDATE_STAGING,     /* building the version's directory */
    UPDATE_TESTING,     /* trying the version out beside the present one */
    UPDATE_STAGED,      /* ready: decides whether a hold is active */
    UPDATE_HELD,
    UPDATE_SWITCHING,   /* making the target current */
    UPDATE_PROBATION,   /* the target runs and is watched */
    UPDATE_RESTORING,   /* probation failed: back to what is committed */
    UPDATE_WITHDRAWING, /* another target is wanted: back to what is committed, then on */
    UPDATE_FAILED,      /* runs what is committed; the target is not tried again by itself */
    UPDATE_PHASES_
};

enum update_event {
    UPDATE_WANT_FETCH,     /* a bundle is wanted that is not here */
    UPDATE_WANT_LOCAL,     /* the previous version is wanted, and it is here */
    UPDATE_WANT_COMMITTED, /* what is committed is wanted */
    UPDATE_WANT_REFUSED,   /* wanted, but not by an agent of this version */
    UPDATE_FETCHED,
    UPDATE_VERIFIED,
    UPDATE_STAGED_OK,
    UPDATE_TESTED,
    UPDATE_NEXT, /* the object is no good: on with the next one of the document */
    UPDATE_REDO, /* a file that an earlier step had made is not there any more */
    UPDATE_HOLD,
    UPDATE_GO,
    UPDATE_SWITCHED,
    UPDATE_PASSED,   /* probation */
    UPDATE_FAIL,     /* for good; code and detail say why */
    UPDATE_RESTORED, /* what is committed runs again */
    UPDATE_LOST,     /* it does not run again */
    UPDATE_BACK,     /* somebody at the device wants the version before */
    UPDATE_EVENTS_
};

enum update_action {
    UPDATE_DO_NOTHING,
    UPDATE_DO_FETCH,
    UPDATE_DO_UNPACK,
    UPDATE_DO_STAGE,
    UPDATE_DO_TEST,
    UPDATE_DO_DECIDE, /* answer UPDATE_HOLD or UPDATE_GO */
    UPDATE_DO_WAIT,   /* for the end of the hold, then UPDATE_GO */
    UPDATE_DO_SWITCH, /* or, when it has not happened and a hold has come, answer UPDATE_HOLD */
    UPDATE_DO_WATCH,
    UPDATE_DO_RESTORE,
    UPDATE_DO_TIDY /* remove what is not needed any more */
};

enum update_report {
    UPDATE_REPORT_NONE,
    UPDATE_REPORT_OFFERED,
    UPDATE_REPORT_DOWNLOADED,
    UPDATE_REPORT_VERIFIED,
    UPDATE_REPORT_STAGED,
    UPDATE_REPORT_TESTED,
    UPDATE_REPORT_HELD,
    UPDATE_REPORT_RELEASED,
    UPDATE_REPORT_SWITCHED,
    UPDATE_REPORT_COMMITTED,
    UPDATE_REPORT_FAILED,
    UPDATE_REPORT_ROLLED_BACK
};

enum { UPDATE_CODE_SIZE = 32, UPDATE_DETAIL_SIZE = 256 };

/* One row of the journal. Bundles are ids in hex, "" for none. */
struct update_row {
    char slot[SLOT_NAME_SIZE];
    enum update_phase phase;
    struct desired_slot want;     /* the target: want.bundle */
    struct desired_object object; /* how the target is being fetched: one of want.objects, or none yet */
    int64_t generation;           /* of the document that named the target, or renewed a failed one; of the newest one
                                     when the target was taken back at the device */
    int64_t target_counter;       /* release counter of the target, 0 until it is known */
    int64_t downloaded;           /* bytes fetched for the target */
    int tries;                    /* failures with this object that count */
    int boots;                    /* boots of the device that began in probation */
    char committed[SHA256_HEX];
    char previous[SHA256_HEX];
    int64_t counter;                 /* highest release counter ever committed */
    const char *stage;               /* where it failed: a static string, NULL when it has not */
    char code[UPDATE_CODE_SIZE];     /* why, for programs */
    char detail[UPDATE_DETAIL_SIZE]; /* why, for people */
    const char *device_left;         /* static, NULL when it has not failed */
};

struct update_input {
    enum update_event event;
    const struct desired_slot *want; /* of UPDATE_WANT_*; borrowed */
    int64_t generation;              /* of UPDATE_WANT_* and UPDATE_BACK: of the newest document */
    const char *code, *detail;       /* of UPDATE_FAIL, UPDATE_LOST, UPDATE_BACK and UPDATE_WANT_REFUSED */
};

struct update_output {
    bool ignored; /* the event does not belong to this phase: nothing has changed */
    enum update_action action;
    enum update_report report; /* about `bundle` */
    char bundle[SHA256_HEX];
};

/* Does the step of one event. */
struct update_output update_step(struct update_row *row, const struct update_input *input);

/* What to do when the row after an event cannot be stored, because the disk is full or broken. Giving up an update and
 * going back need no journal: after a crash the stored row leads to the same again. Going on does. */
enum update_unstored {
    UPDATE_ACCEPT, /* go on in memory */
    UPDATE_LATER,  /* keep the old row, repeat its action after a while: what is committed must be stored */
    UPDATE_GIVE_UP /* the update fails for the disk */
};
enum update_unstored update_unstored(enum update_phase next, enum update_event event);

/* What to do for a row as it was stored: after a crash, and to repeat a step. */
enum update_action update_resume(enum update_phase phase);

/* Which event the newest document is for this row; false when there is nothing to do about it (present target, or one
 * that failed and is not renewed, or a way back is not finished). previous_here: the previous version is complete. */
bool update_want(const struct update_row *row, const struct desired_slot *want, int64_t generation, bool previous_here,
                 enum update_event *ret_event);

/* The newest document does not name the slot. What runs goes on; true: an update is on its way that is not applied yet,
 * and is to be given up by UPDATE_WANT_COMMITTED with *ret_want. */
bool update_unnamed(const struct update_row *row, struct desired_slot *ret_want);

/* How to fetch the target now: the first object that has not failed and that, being a delta, has its base here. NULL:
 * none is left. Borrowed from the row. here: which versions are complete on the device. */
struct update_here {
    bool committed, previous;
};
const struct desired_object *update_object(const struct update_row *row, struct update_here here);

/* Sets row->object: the one that is being fetched already as long as it can be used, else the best. False: none. */
bool update_pick(struct update_row *row, struct update_here here);

/* A document says more about the row's target: takes it over, but remembers which objects have failed, and goes on with
 * the one that is being fetched even if it is not named any more: the server says when it has not got it. True: the
 * download that is under way is to begin anew, because another object is smaller than what it still lacks. */
bool update_refresh(struct update_row *row, const struct desired_slot *want, struct update_here here);

/* Whether somebody at the device may go back now, and how: by UPDATE_BACK to the version before, or by
 * UPDATE_WANT_LOCAL with row->want to a target that was taken back here earlier. NULL when it is possible, else why
 * not; static text. */
const char *update_back(const struct update_row *row, struct update_here here, enum update_event *ret_event);

/* The version that update_back() would lead to: a bundle. */
const char *update_back_to(const struct update_row *row);

/* A step has failed with this code: what now? row->tries counts. */
enum update_retry {
    UPDATE_TRY_AGAIN, /* the same, later: transient ones for ever, some a few times */
    UPDATE_TRY_NEXT,  /* UPDATE_NEXT: whatever goes wrong with a delta, there is another way to get the bundle */
    UPDATE_TRY_NOT    /* UPDATE_FAIL */
};
enum update_retry update_retry(struct update_row *row, const char *code, bool transient, struct update_here here);

/* The row after a start of the agent, checked against what is on the disk. */
struct update_disk {
    bool committed_here, previous_here; /* complete directories of these versions exist */
    const char *current;                /* bundle of the complete version that `current` names, or "" */
    bool rebooted;                      /* the device has booted since the row was stored */
};
/* True when the row has to be given UPDATE_FAIL instead of being resumed: the device did not survive its probation. */
bool update_recover(struct update_row *row, const struct update_disk *disk);

/* The version that `current` has to name, and the one that `previous` has to name; "" for none. */
const char *update_current(const struct update_row *row);
const char *update_previous(const struct update_row *row);

/* Names of the protocol (api/mqtt.md), static. The last two are for the journal. */
const char *update_phase_wire(const struct update_row *row);
const char *update_report_name(enum update_report report);
const char *update_phase_name(enum update_phase phase);
bool update_phase_parse(const char *name, enum update_phase *ret_phase);
/* The static string for a stage or device_left of the journal; NULL when it is none of them. */
const char *update_word(const char *word);
