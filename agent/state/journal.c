#include "agent/state/journal.h"

#include "common/base/cleanup.h"
#include "common/base/json.h"
#include "common/base/text.h"

#include <string.h>

#define COLUMNS                                                                                                        \
    "slot, phase, target, version, probation_s, object, object_size, hold_on, hold_then_apply, hold_expires,"          \
    " hold_reason, generation, target_counter, downloaded, tries, boots, committed, previous, counter, stage, code,"   \
    " detail, device_left, objects, object_from, hold_owner, hold_since, asked"

/* Columns in their order, one at a time. */
struct cursor {
    sqlite3_stmt *statement;
    int column;
    int rc;
};

static void text_in(struct cursor *c, const char *text)
{
    c->rc |= sqlite3_bind_text(c->statement, ++c->column, text, -1, SQLITE_STATIC);
}

static void number_in(struct cursor *c, int64_t value)
{
    c->rc |= sqlite3_bind_int64(c->statement, ++c->column, value);
}

static void text_out(struct cursor *c, char *out, size_t size)
{
    (void)text_copy(out, size, state_column_text(c->statement, c->column++));
}

static int64_t number_out(struct cursor *c)
{
    return sqlite3_column_int64(c->statement, c->column++);
}

/* The objects of a document, with what is known of them: [{"sha256", "size", "from", "failed"}, …]. */
static enum err objects_print(const struct desired_slot *want, char **ret_text)
{
    json_auto_t *list = json_array();
    for (size_t i = 0; i < want->object_count; i++) {
        const struct desired_object *o = &want->objects[i];
        if (json_array_append_new(list, json_pack("{ss so ss sb}", "sha256", o->sha256, "size", json_id(o->size),
                                                  "from", o->from, "failed", (int)o->failed)) != 0)
            return ERR_NO_MEMORY;
    }
    return json_print(list, ret_text, NULL);
}

/* A list that cannot be read is none: the next document brings it again. */
static void objects_read(const char *text, struct desired_slot *want)
{
    json_t *list = NULL;
    if (json_parse(text, strlen(text), JSON_BYTES_MAX, &list, NULL) != ERR_OK)
        return;
    for (size_t i = 0; i < json_array_size(list) && want->object_count < DESIRED_OBJECTS_MAX; i++) {
        const json_t *json = json_array_get(list, i);
        struct desired_object o = {0};
        const char *from = json_text_or_null(json, "from");
        if (json_get_id(json, "size", 1, &o.size, NULL) != ERR_OK ||
            json_get_bool(json, "failed", &o.failed, NULL) != ERR_OK || from == NULL ||
            !text_is_sha256(json_text_or_null(json, "sha256")))
            continue;
        (void)text_copy(o.sha256, sizeof o.sha256, json_text_or_null(json, "sha256"));
        (void)text_copy(o.from, sizeof o.from, from);
        want->objects[want->object_count++] = o;
    }
    json_decref(list);
}

enum err journal_put(struct state *state, const struct update_row *row)
{
    cleanup_statement sqlite3_stmt *statement = NULL;
    cleanup_free char *objects = NULL;
    enum err e = objects_print(&row->want, &objects);
    if (e == ERR_OK)
        e = state_prepare(state,
                          "INSERT OR REPLACE INTO slot (" COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,"
                          " ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27,"
                          " ?28)",
                          &statement);
    if (e != ERR_OK)
        return e;
    struct cursor c = {.statement = statement};
    text_in(&c, row->slot);
    text_in(&c, update_phase_name(row->phase));
    text_in(&c, row->want.bundle);
    text_in(&c, row->want.version);
    number_in(&c, row->want.probation_s);
    text_in(&c, row->object.sha256);
    number_in(&c, row->object.size);
    number_in(&c, row->want.hold.on);
    number_in(&c, row->want.hold.then_apply);
    number_in(&c, row->want.hold.expires_ms);
    text_in(&c, row->want.hold.reason);
    number_in(&c, row->generation);
    number_in(&c, row->target_counter);
    number_in(&c, row->downloaded);
    number_in(&c, row->tries);
    number_in(&c, row->boots);
    text_in(&c, row->committed);
    text_in(&c, row->previous);
    number_in(&c, row->counter);
    text_in(&c, row->stage); /* NULL binds as NULL */
    text_in(&c, row->code);
    text_in(&c, row->detail);
    text_in(&c, row->device_left);
    text_in(&c, objects);
    text_in(&c, row->object.from);
    text_in(&c, row->want.hold.owner);
    number_in(&c, row->want.hold.since_ms);
    number_in(&c, row->want.asked);
    return c.rc == SQLITE_OK ? state_run(statement) : ERR_NO_MEMORY;
}

static void row_read(sqlite3_stmt *statement, struct update_row *row)
{
    char word[32];
    struct cursor c = {.statement = statement};
    *row = (struct update_row){0};
    text_out(&c, row->slot, sizeof row->slot);
    (void)text_copy(row->want.name, sizeof row->want.name, row->slot);
    text_out(&c, word, sizeof word);
    bool known = update_phase_parse(word, &row->phase);
    text_out(&c, row->want.bundle, sizeof row->want.bundle);
    text_out(&c, row->want.version, sizeof row->want.version);
    row->want.probation_s = (int)number_out(&c);
    text_out(&c, row->object.sha256, sizeof row->object.sha256);
    row->object.size = number_out(&c);
    row->want.hold.on = number_out(&c) != 0;
    row->want.hold.then_apply = number_out(&c) != 0;
    row->want.hold.expires_ms = number_out(&c);
    text_out(&c, row->want.hold.reason, sizeof row->want.hold.reason);
    row->generation = number_out(&c);
    row->target_counter = number_out(&c);
    row->downloaded = number_out(&c);
    row->tries = (int)number_out(&c);
    row->boots = (int)number_out(&c);
    text_out(&c, row->committed, sizeof row->committed);
    text_out(&c, row->previous, sizeof row->previous);
    row->counter = number_out(&c);
    text_out(&c, word, sizeof word);
    row->stage = update_word(word);
    text_out(&c, row->code, sizeof row->code);
    text_out(&c, row->detail, sizeof row->detail);
    text_out(&c, word, sizeof word);
    row->device_left = update_word(word);
    objects_read(state_column_text(statement, c.column++), &row->want);
    text_out(&c, row->object.from, sizeof row->object.from);
    text_out(&c, row->want.hold.owner, sizeof row->want.hold.owner);
    row->want.hold.since_ms = number_out(&c);
    row->want.asked = number_out(&c);
    if (row->object.sha256[0] != '\0' && row->want.object_count == 0) /* written by an agent that knew one object */
        row->want.objects[row->want.object_count++] = row->object;
    if (known)
        return;
    row->phase = UPDATE_IDLE;
    row->want = (struct desired_slot){0};
    (void)text_copy(row->want.bundle, sizeof row->want.bundle, row->committed);
}

enum err journal_load(struct state *state, struct update_row ret_rows[SLOT_COUNT_MAX], size_t *ret_count)
{
    cleanup_statement sqlite3_stmt *statement = NULL;
    size_t count = 0;
    bool row = true;
    enum err e = state_prepare(state, "SELECT " COLUMNS " FROM slot ORDER BY slot", &statement);
    while (e == ERR_OK && count < SLOT_COUNT_MAX) {
        e = state_row(statement, &row);
        if (e != ERR_OK || !row)
            break;
        row_read(statement, &ret_rows[count++]);
    }
    if (e == ERR_OK)
        *ret_count = count;
    return e;
}
