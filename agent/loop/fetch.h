#pragma once
/* The agent's side of muster-fetch: one request, one process. Requests and answers: docs/man/muster-fetch.8. Only the
 * loop's thread may call. */

#include "agent/loop/child.h"
#include "common/base/json.h"

/* What every request needs; borrowed for as long as requests are made. */
struct fetch_setup {
    const char *program;     /* path of muster-fetch */
    const char *server_url;  /* "https://host:8444" */
    const char *server_ca;   /* PEM file: whom to believe */
    const char *certificate; /* PEM file of the device, not there before enrolment */
    const char *key;         /* PEM file */
};

struct fetch_answer {
    bool ok;
    bool transient;     /* not ok: the same request may work later */
    int64_t wait_ms;    /* not ok: how long the server asks to wait before that, with some jitter; 0: not said */
    const char *code;   /* not ok: for programs; codes of api/mqtt.md and those of muster-fetch.8 */
    const char *detail; /* not ok: for people */
    const json_t *json; /* ok: the answer's members */
};

/* One request at a time. Zero is a valid, idle state. */
struct fetch {
    struct child child;
    json_t *answer; /* the last line that was one */
    void (*progress)(void *user, int64_t bytes);
    void (*done)(void *user, const struct fetch_answer *answer);
    void *user;
};

/* Starts a request. members: what the operation needs beside the setup (stolen, may be NULL when memory was short).
 * progress (may be NULL) and done are called from the loop; done exactly once, unless fetch_cancel() comes first; it
 * may start the next request. On an error nothing was started. */
[[nodiscard]] enum err fetch_start(struct fetch *fetch, struct loop *loop, const struct fetch_setup *setup,
                                   const char *operation, json_t *members, void (*progress)(void *user, int64_t bytes),
                                   void (*done)(void *user, const struct fetch_answer *answer), void *user,
                                   struct err_info *info);

bool fetch_running(const struct fetch *fetch);

/* Ends the request without an answer. */
void fetch_cancel(struct fetch *fetch);
