#pragma once
/* The systemd unit of an app, by systemctl(1). The unit of a slot is always called muster-SLOT.service: the bundle's
 * file plus a last section with the version's directory and environment, kept in units/ of the state directory and
 * linked from there. systemd keeps it running; the agent looks. One operation at a time; only the loop's thread may
 * call. */

#include "agent/apps/place.h"
#include "agent/loop/child.h"

enum { UNIT_SAID_MAX = 200, UNIT_STEPS_MAX = 4, UNIT_NAME_SIZE = SLOT_NAME_SIZE + 16 };

enum unit_state { UNIT_UNKNOWN, UNIT_ACTIVE, UNIT_CHANGING, UNIT_DOWN };

/* What `systemctl show` says. */
struct unit_look {
    enum unit_state state;
    int64_t restarts; /* by systemd, since the unit was started */
    char result[32];  /* why it is down: "exit-code", "signal", … */
};

/* Zero is a valid, idle state. */
struct unit {
    struct loop *loop;
    const char *systemctl;
    struct child child;
    struct loop_timer timer;
    char name[UNIT_NAME_SIZE];
    char path[PATH_MAX]; /* of the unit file, absolute */
    const char *steps[UNIT_STEPS_MAX];
    size_t step;
    int limit_s; /* of one step */
    bool late, forget;
    char said[UNIT_SAID_MAX + 1]; /* its last line */
    struct unit_look look;
    void (*done)(void *user, bool ok, const char *detail);
    void (*looked)(void *user, const struct unit_look *look);
    void *user;
};

/* loop and systemctl are borrowed for the unit's life. */
void unit_init(struct unit *unit, struct loop *loop, const char *systemctl, const char *slot, void *user);

/* A unit file of the slot is there, from whichever version. */
bool unit_known(const struct unit *unit);

/* The unit file that is there was made from this version. */
bool unit_same(const struct unit *unit, const struct app_version *version);

/* Writes the unit file and has systemd start it. done is called from the loop. */
void unit_start(struct unit *unit, const struct app_version *version,
                void (*done)(void *user, bool ok, const char *detail));

/* Stops it; forget: and removes all trace of it. done is called from the loop; what goes wrong is only told. */
void unit_stop(struct unit *unit, bool forget, void (*done)(void *user, bool ok, const char *detail));

/* Asks how it is. UNIT_UNKNOWN when systemctl gives no answer. */
void unit_look(struct unit *unit, void (*looked)(void *user, const struct unit_look *look));

/* Gives up the operation; nothing is called back. */
void unit_cancel(struct unit *unit);

/* One line of `systemctl show`, "NAME=value", goes into the look. Pure. */
void unit_look_line(struct unit_look *look, const char *line);

/* The unit file: the bundle's text and what is added. free() it. Pure but for the state directory's path. ERR_INVALID:
 * the text is not one, ERR_NO_MEMORY, ERR_TOO_LARGE. */
[[nodiscard]] enum err unit_text(const char *bundle_text, size_t len, const struct app_version *version,
                                 char **ret_text);
