#include "cli/events.h"

#include "cli/table.h"

#include <string.h>

/* "slot=digits code=counter_too_low": the members of an event's data that have a value. */
static void cell_data(const json_t *value, struct buf *out)
{
    const char *key = NULL;
    json_t *member = NULL;
    json_object_foreach((json_t *)value, key, member)
    {
        if (json_is_null(member) || json_is_object(member))
            continue;
        (void)!buf_addf(out, "%s%s=", out->len > 0 ? " " : "", key);
        cell_text(member, out);
    }
}

void events_print(const json_t *json)
{
    static const struct column columns[] = {
        {"ID", "id", cell_text},           {"TIME", "t", cell_time},
        {"EVENT", "kind", cell_text},      {"DEVICE", "device.name", cell_text},
        {"ROLLOUT", "rollout", cell_text}, {"WAVE", "wave", cell_text},
        {"BY", "actor", cell_text},        {"DATA", "data", cell_data},
    };
    table_print(json_object_get(json, "events"), COLUMNS(columns), "no events");
}
