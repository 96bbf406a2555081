#include "cli/grid_report.h"

#include "cli/table.h"

#include <stdio.h>

double grid_percent(size_t part, size_t whole)
{
    return 100.0 * (double)part / (double)whole;
}

json_t *grid_report_new(const char *from, size_t samples, int64_t delta_size)
{
    return json_pack("{s:s, s:I, s:I, s:[], s:b}", "from", from, "samples", (json_int_t)samples, "delta_size",
                     (json_int_t)delta_size, "trials", "passed", false);
}

enum err grid_report_add(json_t *report, const struct grid_trial *t)
{
    const struct judge_verdict *v = &t->verdict;
    char step[24] = "rms";
    if (t->finer > 0)
        (void)snprintf(step, sizeof step, "rms/%d", 1 << t->finer);
    json_auto_t *trial = json_pack("{s:s, s:b, s:f, s:f, s:f, s:I, s:f}", "step", step, "passed", t->passed,
                                   "agreement", grid_percent(v->agree, v->samples), "largest_difference", v->largest,
                                   "mean_difference", v->mean, "delta_size", (json_int_t)t->delta_size, "delta_percent",
                                   100.0 * (double)t->delta_size / (double)t->size);
    json_auto_t *accuracy = json_pack("{s:f, s:f}", "before", grid_percent(v->right_before, v->samples), "after",
                                      grid_percent(v->right_after, v->samples));
    if (v->labelled && json_object_set(trial, "accuracy", accuracy) != 0)
        return ERR_NO_MEMORY;
    if (json_object_set(report, "passed", t->passed ? json_true() : json_false()) != 0 ||
        json_array_append(json_object_get(report, "trials"), trial) != 0)
        return ERR_NO_MEMORY;
    return ERR_OK;
}

static json_t *line_json(const struct grid_line *line)
{
    static const char *const types[] = {[TENSOR_F32] = "fp32",  [TENSOR_F16] = "fp16",  [TENSOR_BF16] = "bf16",
                                        [TENSOR_F64] = "fp64",  [TENSOR_I8] = "int8",   [TENSOR_U8] = "uint8",
                                        [TENSOR_I16] = "int16", [TENSOR_I32] = "int32", [TENSOR_I64] = "int64"};
    const struct grid_report *r = &line->report;
    json_t *json =
        json_pack("{s:s, s:s, s:I, s:I, s:s}", "name", line->name, "type", types[line->type], "rows",
                  (json_int_t)line->rows, "cols", (json_int_t)line->cols, "outcome", grid_outcome_name(r->outcome));
    json_auto_t *more =
        json_pack("{s:i, s:I, s:I, s:f, s:f}", "exponent", r->exponent, "moved_before", (json_int_t)r->moved_before,
                  "moved_after", (json_int_t)r->moved_after, "update", r->update, "error", r->error);
    if (r->outcome == GRID_ROUNDED)
        (void)json_object_update(json, more);
    return json;
}

enum err grid_report_tensors(json_t *report, const struct grid_line *lines, size_t count)
{
    json_auto_t *array = json_array();
    for (size_t i = 0; i < count; i++)
        if (json_array_append_new(array, line_json(&lines[i])) != 0)
            return ERR_NO_MEMORY;
    return json_object_set(report, "tensors", array) == 0 ? ERR_OK : ERR_NO_MEMORY;
}

/* ---- for people ---- */

static void cell_percent(const json_t *value, struct buf *out)
{
    (void)!(value == NULL ? buf_add_text(out, "-") : buf_addf(out, "%.2f %%", json_number_value(value)));
}

static void cell_small(const json_t *value, struct buf *out)
{
    (void)!(value == NULL ? buf_add_text(out, "-") : buf_addf(out, "%.3g", json_number_value(value)));
}

static void cell_power(const json_t *value, struct buf *out)
{
    (void)!(value == NULL ? buf_add_text(out, "-") : buf_addf(out, "2^%d", (int)json_integer_value(value)));
}

static void cell_passed(const json_t *value, struct buf *out)
{
    (void)!buf_add_text(out, json_is_true(value) ? "passed" : "refused");
}

void grid_report_print(const json_t *report)
{
    static const struct column head[] = {{"Rounded against", "from", cell_text},
                                         {"Samples", "samples", cell_text},
                                         {"Delta without grid", "delta_size", cell_size}};
    static const struct column trials[] = {{"GRID", "step", cell_text},
                                           {"", "passed", cell_passed},
                                           {"ACCURACY BEFORE", "accuracy.before", cell_percent},
                                           {"AFTER", "accuracy.after", cell_percent},
                                           {"AGREEMENT", "agreement", cell_percent},
                                           {"LARGEST DIFFERENCE", "largest_difference", cell_small},
                                           {"MEAN", "mean_difference", cell_small},
                                           {"DELTA", "delta_size", cell_size},
                                           {"OF MODEL", "delta_percent", cell_percent}};
    static const struct column tensors[] = {
        {"TENSOR", "name", cell_text},      {"TYPE", "type", cell_text},    {"ROWS", "rows", cell_text},
        {"COLUMNS", "cols", cell_text},     {"", "outcome", cell_text},     {"STEP", "exponent", cell_power},
        {"UPDATE", "update", cell_small},   {"ERROR", "error", cell_small}, {"MOVED BEFORE", "moved_before", cell_text},
        {"AFTER", "moved_after", cell_text}};
    fields_print(report, COLUMNS(head));
    puts("");
    table_print(json_object_get(report, "trials"), COLUMNS(trials), "nothing tried");
    if (json_object_get(report, "tensors") != NULL) {
        puts("");
        table_print(json_object_get(report, "tensors"), COLUMNS(tensors), "no tensors");
    }
    puts("");
}
