#include "cli/rollout.h"

#include "cli/table.h"

#include <stdio.h>

void rollout_print(const json_t *json)
{
    static const struct column head[] = {
        {"Rollout", "id", cell_text},           {"Slot", "slot", cell_text},
        {"Version", "version", cell_text},      {"Bundle", "bundle", cell_text},
        {"State", "state", cell_text},          {"Since", "state_since", cell_time},
        {"Reason", "reason", cell_text},        {"Devices", "devices", cell_text},
        {"Selected by", "selector", cell_text}, {"Now", "counts", cell_counts},
        {"Running it", "on_bundle", cell_text}, {"Created by", "created_by", cell_text},
        {"Created", "created_at", cell_time},   {"Finished", "finished_at", cell_time},
    };
    static const struct column waves[] = {
        {"WAVE", "n", cell_text},          {"STATE", "state", cell_text},   {"SINCE", "state_since", cell_time},
        {"DEVICES", "devices", cell_text}, {"SOAK S", "soak_s", cell_text}, {"MAY FAIL", "max_failures", cell_text},
        {"NOW", "counts", cell_counts},
    };
    fields_print(json, COLUMNS(head));
    puts("");
    table_print(json_object_get(json, "waves"), COLUMNS(waves), "no waves");
}
