#pragma once
/* What `muster-agent status` says: facts of the device as JSON, and that JSON in words. Pure. */

#include "agent/core/update.h"
#include "common/base/json.h"

enum { STATUS_TEXT_SIZE = 512 };

/* One slot. Versions are "" when they are not known. */
struct status_slot {
    const struct update_row *row;
    const char *kind;    /* of what is current: "model", "app", "agent"; NULL: nothing is */
    const char *running; /* bundle that runs, proven by digests; NULL: none, or not known */
    char committed_version[SLOT_VERSION_SIZE];
    char previous_version[SLOT_VERSION_SIZE];
    char target_version[SLOT_VERSION_SIZE];
    char from_version[SLOT_VERSION_SIZE]; /* of the base of the delta that is being used */
    int64_t since_ms;                     /* when the present version was made current, 0: not known */
    bool ready;                           /* in probation: it runs */
    int64_t elapsed_s;                    /* in probation: since it runs */
    int64_t count, errors;                /* in probation: of inferences */
};

struct status {
    bool live; /* from a running agent; else from its files */
    const char *agent_version;
    int64_t uptime_s; /* of the agent, when live */
    const char *state_dir;
    const char *name;             /* of the device, "": not known */
    const char *device;           /* its id, "": not enrolled */
    int64_t certificate_until_ms; /* 0: none */
    const char *server_url;       /* "": not known */
    bool connected;
    int64_t contact_ms;                            /* last word from the server, 0: none since the agent has started */
    int64_t generation;                            /* of the newest desired document */
    int64_t spool_items, spool_bytes, spool_limit; /* -1: not known */
    int64_t disk_total, disk_free;                 /* of the state directory's file system; 0: not known */
    size_t slot_count;
    const struct status_slot *slots;
};

/* One sentence about the phase of the slot. */
void status_sentence(const struct status_slot *slot, char ret_text[STATUS_TEXT_SIZE]);

/* json_decref() it; NULL when memory is short. */
[[nodiscard]] json_t *status_json(const struct status *status);

/* The same for people, out of that JSON: lines of at most about 100 characters. now_ms: wall clock. free() it;
 * ERR_NO_MEMORY. */
[[nodiscard]] enum err status_words(const json_t *json, int64_t now_ms, char **ret_text);
