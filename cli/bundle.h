#pragma once
/* Bundle files as several commands take and show them. */

#include "cli/command.h"

#include "common/bundle/bundle.h"

/* The file for reading (close() it). */
[[nodiscard]] enum err bundle_open(struct cli *cli, const char *path, int *ret_fd);

/* What went wrong with a bundle file, with its name. Returns e. */
[[nodiscard]] enum err bundle_failed(struct cli *cli, const char *path, enum err e, const struct err_info *why);

/* The keys of --trust, of which as many as --required must have signed. trust_free() it. */
[[nodiscard]] enum err bundle_trust(struct cli *cli, struct trust **ret_trust);

/* What a bundle is and has. parts: one for each payload entry; NULL: all travel as the manifest says. */
[[nodiscard]] enum err bundle_print(struct cli *cli, const struct manifest *m, const struct bundle_keys *keys,
                                    const struct bundle_part *parts);

/* The same as JSON; NULL: no memory. */
json_t *bundle_json(const struct manifest *m, const struct bundle_keys *keys, const struct bundle_part *parts);

/* How the payload entries travel, as an array of {file, path, form, size, old_sha256, …}. NULL: no memory. */
json_t *bundle_parts_json(const struct manifest *m, const struct bundle_part *parts);

/* A directory in $TMPDIR; file_remove_tree() it. */
enum { BUNDLE_SCRATCH = 256 };
[[nodiscard]] enum err bundle_scratch(struct cli *cli, char ret_path[BUNDLE_SCRATCH]);

#define BUNDLE_TRUST_OPTIONS                                                                                           \
    {"trust", OPTION_TEXT, "DIR", "directory of trusted public keys (default: /etc/muster/keys)", false, 0, 0},        \
    {                                                                                                                  \
        "required", OPTION_INT, "N", "how many different trusted keys must have signed (default: 1)", false, 1,        \
            BUNDLE_KEYS_MAX                                                                                            \
    }
