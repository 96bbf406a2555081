#pragma once
/* When an alert begins and ends. Pure: facts of one rule and one device in, the next state out.
 *
 *     none -> pending -> firing -> resolved        pending -> none: it did not last
 *
 * There is at most one open (pending or firing) alert of a rule and a device; a resolved one stays as history. */

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Rows of alert_rule. */
enum alert_kind {
    ALERT_HEARTBEAT_MISSING, /* threshold: beats missed; also when the connection broke and stayed away */
    ALERT_TEMPERATURE,       /* threshold: degrees left to the nearest trip point */
    ALERT_KINDS_
};

enum alert_state { ALERT_NONE, ALERT_PENDING, ALERT_FIRING, ALERT_RESOLVED, ALERT_STATES_ };

/* ALERT_KINDS_ and ALERT_STATES_ for an unknown name; static names. */
enum alert_kind alert_kind_parse(const char *name);
const char *alert_kind_name(enum alert_kind kind);
enum alert_state alert_state_parse(const char *name);
const char *alert_state_name(enum alert_state state); /* ALERT_NONE: "none" */

struct alert_rule {
    enum alert_kind kind;
    double threshold;
    int64_t for_ms; /* how long the condition must hold before it fires; of silence: since the last beat */
};

enum {
    ALERT_GONE_MS = 10 * 1000, /* a broken connection may come back so long, as in the view device_state */
};

/* Durations in ms, by the database's clock. */
struct alert_fact {
    bool watched;      /* the device is not retired, the rule not disabled */
    int64_t silent_ms; /* since the last beat; -1: never heard */
    int64_t gone_ms;   /* since its will came, and nothing after it; -1: it did not */
    int64_t beat_ms;
    double margin_c;        /* from the last beat; NAN: no sensor, or none could be read */
    enum alert_state state; /* of the open alert; ALERT_NONE: there is none */
    int64_t held_ms;        /* since that began; 0: there is none */
};

/* Does the rule's condition hold? Unknown when the facts are too old, or the server was away itself. */
enum alert_truth { ALERT_NO, ALERT_UNKNOWN, ALERT_YES };

struct alert_finding {
    enum alert_truth truth;
    double value;   /* for the record: beats missed, or degrees left; NAN: not known */
    int64_t ago_ms; /* when it holds: how long ago that began; heartbeat_missing: since the last beat */
};

/* heard_ms: how long this server has heard its devices without a break (struct alert_watch). */
struct alert_finding alert_condition(const struct alert_rule *rule, const struct alert_fact *fact, int64_t heard_ms);

/* The state after this look. lasted: the condition has held for the rule's time. */
enum alert_state alert_next(enum alert_state state, enum alert_truth truth, bool lasted);

/* Both: what becomes of the device's alert now. */
enum alert_state alert_decide(const struct alert_rule *rule, const struct alert_fact *fact, int64_t heard_ms,
                              struct alert_finding *ret_finding);

/* Since when one server has been able to hear its devices: its link to the broker stood, and it looked at the database
 * again and again without a failure or a pause. What was not heard in a break is held against nobody. Starts as {}. */
struct alert_watch {
    bool on;
    int64_t since_ms; /* monotonic */
    int64_t last_ms;
};

/* A look begins. link_since_ms: since when the link stands, 0: it does not. gap_ms: longest pause between looks that is
 * no break. Gives how long devices have been heard; -1 while the link is away: then nothing can be decided. */
int64_t alert_watch_look(struct alert_watch *watch, int64_t now_ms, int64_t link_since_ms, int64_t gap_ms);

/* A look failed. */
void alert_watch_break(struct alert_watch *watch);

/* What the sentence about an alert is made of. */
struct alert_story {
    enum alert_kind kind;
    enum alert_state state; /* not ALERT_NONE */
    const char *device;     /* name */
    double value;           /* when it fired (or began), of a temperature; NAN: not known */
    double threshold;
    int64_t beat_ms;
    int64_t silent_ms; /* now; -1: never heard */
    bool gone;         /* its connection broke, and it has not come back */
    double margin_c;   /* now; NAN: not known */
    int64_t lasted_ms; /* of a resolved one */
};

enum { ALERT_SUMMARY_SIZE = 320 };

/* One sentence for people: "edge-3 has not been heard for 14 s; its beat is 2 s". */
void alert_summary(const struct alert_story *story, char ret_text[ALERT_SUMMARY_SIZE]);
