#pragma once
/* Shared by agent.c (parts and hooks), report.c (what is sent) and poll.c (asking for the desired document). */

#include "agent/agent.h"
#include "agent/core/retry.h"
#include "agent/core/spool_policy.h"
#include "agent/link/link.h"
#include "agent/sense/host.h"
#include "agent/sense/sensors.h"
#include "agent/state/spool.h"
#include "agent/state/state.h"
#include "agent/update/updater.h"
#include "common/local/control.h"

enum { PENDING_MAX = 512 };

struct pending {
    enum spool_rank rank;
    char *item;
};

struct agent {
    struct loop *loop;
    const struct agent_settings *settings;
    struct state *state;
    struct spool *spool;
    struct supervisor *supervisor;
    struct apps *apps;
    struct self *self;
    struct runner runner;
    struct updater *updater;
    struct sensors *sensors;
    struct link *link; /* NULL before enrolment */
    struct fetch_setup fetch_setup;
    struct identity identity;
    struct enrolment enrolment;
    struct loop_timer trim_timer;
    char boot_id[40];

    /* report.c */
    struct loop_timer beat_timer, data_timer, health_timer, flush_timer, resend_timer;
    struct retry resend;
    int64_t beat_ms_ago; /* monotonic time of the last beat */
    bool beat_hurried;   /* the beat timer is set for a change, not for the period */
    struct host_cpu cpu;
    bool spool_failing; /* the last flush could not be stored */
    size_t pending_count;
    struct pending pending[PENDING_MAX]; /* items that are not in the spool yet */

    /* desk.c */
    struct control *control; /* NULL: nobody can ask */
    struct loop_watch control_watch;
    int64_t started_ms; /* monotonic */
    int64_t contact_ms; /* last word of the server, wall clock; 0: none yet */

    /* poll.c */
    struct fetch poll_fetch;
    struct loop_timer poll_timer;
    struct retry poll_retry;
};

/* ---- report.c ---- */

void report_start(struct agent *agent);
void report_stop(struct agent *agent);

/* The link is up: hello, a beat, and what waits. */
void report_up(struct agent *agent);

/* An ack has come. */
void report_ack(struct agent *agent, const char *text, size_t len);

/* Something a beat tells has changed: one goes out at once, but at most one a second. */
void report_changed(struct agent *agent);

/* Something was put into the spool that is not to wait for the next collection. */
void report_flush(struct agent *agent);

void report_event(struct agent *agent, const char *name, const char *slot, const char *detail);

/* The counts of one muster-infer: into the spool, and to the updater. */
void report_window(struct agent *agent, const char *slot, const char *bundle, const json_t *counts);

/* ---- desk.c ---- */

/* Answers `muster-agent status` and `rollback` on DESK_SOCKET. Without the socket the agent still works; it is logged.
 */
void desk_open(struct agent *agent);
void desk_close(struct agent *agent);

/* ---- poll.c ---- */

/* Asks the server for the desired document now, and from then on every poll_ms. */
void poll_now(struct agent *agent);
void poll_stop(struct agent *agent);

/* A document has come, from wherever. */
void poll_document(struct agent *agent, const char *text, size_t len, const char *from);
