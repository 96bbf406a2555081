#pragma once
/* The tables of commands, one per file in cli/commands/, and all of them, NULL-terminated, in the order of help. */

#include "cli/command.h"

extern const struct command *const command_tables[];

extern const struct command commands_login[];
extern const struct command commands_fleet[];
extern const struct command commands_device[];
extern const struct command commands_rollout[];
extern const struct command commands_rollout_watch[];
extern const struct command commands_bundle_store[];
extern const struct command commands_bundle_create[];
extern const struct command commands_bundle[];
extern const struct command commands_bundle_diff[];
extern const struct command commands_delta[];
extern const struct command commands_delta_server[];
extern const struct command commands_profile[];
extern const struct command commands_key[];
extern const struct command commands_alert[];
extern const struct command commands_token[];
extern const struct command commands_enrol_token[];
extern const struct command commands_audit[];

/* --limit and --before: for lists that go back in time. */
extern const struct option options_page[];
