#pragma once
/* The desired document (api/mqtt.md), parsed into plain structs. Pure. */

#include "common/base/crypt.h"
#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SLOT_NAME_SIZE = 64,    /* with the NUL */
    SLOT_VERSION_SIZE = 65, /* with the NUL */
    SLOT_COUNT_MAX = 16,    /* slots of one device */
    HOLD_TEXT_SIZE = 128,   /* longer reasons are cut */
    HOLD_OWNER_SIZE = 64,   /* longer names are cut */
    DESIRED_OBJECTS_MAX = 8 /* ways to get one bundle that are looked at */
};

#define SLOT_AGENT "agent" /* the slot of the agent itself */

/* Why an update has to wait. */
struct desired_hold {
    bool on;
    bool then_apply;    /* on expiry the update goes on by itself; else it waits for a new document */
    int64_t expires_ms; /* wall clock; 0: never */
    int64_t since_ms;   /* wall clock; 0: not said */
    char reason[HOLD_TEXT_SIZE];
    char owner[HOLD_OWNER_SIZE];
};

/* One way to get a bundle. */
struct desired_object {
    char sha256[SHA256_HEX]; /* "": none */
    int64_t size;
    char from[SHA256_HEX]; /* a delta: the bundle whose files it needs; "": the full bundle */
    bool failed;           /* never in a document: the device has tried it, and it was no good */
};

struct desired_slot {
    char name[SLOT_NAME_SIZE];
    char bundle[SHA256_HEX];
    char version[SLOT_VERSION_SIZE];
    int probation_s;
    int64_t asked; /* generation that asked for the bundle, or asked again after a failure; 0: not said */
    size_t object_count;
    struct desired_object objects[DESIRED_OBJECTS_MAX]; /* those this agent knows, best first */
    struct desired_hold hold;
};

struct desired {
    int64_t generation;
    int64_t beat_ms;
    char unknown[SLOT_NAME_SIZE]; /* a critical name that this agent does not know; "": it knows all */
    size_t slot_count;
    struct desired_slot slots[SLOT_COUNT_MAX];
};

/* ERR_INVALID and ERR_TOO_LARGE with text in info; ERR_NO_MEMORY. */
[[nodiscard]] enum err desired_parse(const char *text, size_t len, struct desired *ret_desired, struct err_info *info);

/* The hold holds at this wall-clock time. */
bool desired_hold_active(const struct desired_hold *hold, int64_t now_ms);
