#pragma once
/* What `bundle create --grid` tried and found, as JSON and for people. */

#include "cli/judge.h"
#include "common/base/json.h"
#include "common/delta/grid_publish.h"

/* delta_size: bytes of the delta without a grid. NULL: no memory. */
json_t *grid_report_new(const char *from, size_t samples, int64_t delta_size);

/* One step of the grid, rms / 2^finer. delta_size: bytes of the delta with it; size: of the model. */
struct grid_trial {
    unsigned finer;
    struct judge_verdict verdict;
    int64_t delta_size, size;
    bool passed;
};
[[nodiscard]] enum err grid_report_add(json_t *report, const struct grid_trial *trial);

/* What was done to each tensor by the latest step. */
[[nodiscard]] enum err grid_report_tensors(json_t *report, const struct grid_line *lines, size_t count);

void grid_report_print(const json_t *report);

/* Part of the samples, in percent. */
double grid_percent(size_t part, size_t whole);
