#pragma once
/* Where and as what the programs of an app run: the version's directory, the environment, the data directory. */

#include "agent/core/desired.h"
#include "agent/update/versions.h"

#include <limits.h>

/* One version of an app. Zero is none. */
struct app_version {
    char slot[SLOT_NAME_SIZE];
    char dir[VERSION_PATH_SIZE]; /* relative to the state directory */
    struct manifest *manifest;   /* owned; NULL: none */
};

void app_version_free(struct app_version *version);

/* Absolute path of a path below the state directory, which is the working directory. ERR_IO, ERR_TOO_LARGE. */
[[nodiscard]] enum err place_absolute(const char *path, char ret_path[PATH_MAX]);

/* The slot's data directory, which outlives versions: made when it is not there; relative. ERR_NO_SPACE, ERR_IO. */
[[nodiscard]] enum err place_data(const char *slot, char ret_path[VERSION_PATH_SIZE]);

/* The environment of a version's programs: some of the agent's, and MUSTER_SLOT, MUSTER_VERSION, MUSTER_BUNDLE,
 * MUSTER_STATE. One block of memory: free() it. NULL when memory is short or the path is too long. */
const char **place_environment(const struct app_version *version);

/* The same four, one "NAME=value" each, for files that others read. */
enum { PLACE_VARIABLES = 4, PLACE_VARIABLE_SIZE = PATH_MAX + 32 };
[[nodiscard]] enum err place_variables(const struct app_version *version,
                                       char ret_variables[PLACE_VARIABLES][PLACE_VARIABLE_SIZE]);

/* Kills every process that was started for this slot and bundle, by the variables above, however it has hidden from its
 * parents; NULL: for any. Waits for their end, half a second at most. Returns how many there were. */
int place_clear(const char *slot, const char *bundle);
