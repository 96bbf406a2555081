#include "cli/commands.h"

const struct command *const command_tables[] = {
    commands_login,         commands_fleet,         commands_device,
    commands_rollout,       commands_rollout_watch, commands_bundle_store,
    commands_bundle_create, commands_bundle,        commands_bundle_diff,
    commands_delta,         commands_delta_server,  commands_profile,
    commands_key,           commands_alert,         commands_enrol_token,
    commands_token,         commands_audit,         NULL,
};

const struct option options_page[] = {
    {"limit", OPTION_INT, "N", "most rows (default: 100)", false, 1, 500},
    {"before", OPTION_INT, "ID", "begin behind this one", false, 1, INT64_MAX},
    {.name = NULL},
};
