#include "agent/state/journal.h"

#include "common/base/text.h"

#define COLUMNS                                                                                                        \
    "slot, phase, target, version, probation_s, object, object_size, hold_on, hold_then_apply, hold_expires,"          \
    " hold_reason, generation, target_counter, downloaded, tries, boots, committed, previous, counter, stage, code,"   \
    " detail, device_left"

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

enum err journal_put(struct state *state, const struct update_row *row)
{
    cleanup_statement sqlite3_stmt *statement = NULL;
    enum err e = state_prepare(state,
                               "INSERT OR REPLACE INTO slot (" COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,"
                               " ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23)",
                               &statement);
    if (e != ERR_OK)
        return e;
    struct cursor c = {.statement = statement};
    text_in(&c, row->slot);
    text_in(&c, update_phase_name(row->phase));
    text_in(&c, row->want.bundle);
    text_in(&c, row->want.version);
    number_in(&c, row->want.probation_s);
    text_in(&c, row->want.object);
    number_in(&c, row->want.object_size);
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
    if (!update_phase_parse(word, &row->phase))
        row->phase = UPDATE_IDLE;
    text_out(&c, row->want.bundle, sizeof row->want.bundle);
    text_out(&c, row->want.version, sizeof row->want.version);
    row->want.probation_s = (int)number_out(&c);
    text_out(&c, row->want.object, sizeof row->want.object);
    row->want.object_size = number_out(&c);
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
