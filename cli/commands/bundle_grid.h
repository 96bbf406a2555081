#pragma once
/* `bundle create --grid`: the model that goes into the bundle is rounded against an older version first, and only when
 * its answers stay what they were (docs/design/grid-publishing.md). */

#include "cli/command.h"
#include "common/bundle/bundle.h"

/* The options of it, for the table of `bundle create`, besides --check, which apps have, too. */
#define GRID_OPTIONS                                                                                                   \
    {"from", OPTION_TEXT, "OLD", "with --grid: the version that devices have, a bundle or a model", false, 0, 0},      \
        {"grid", OPTION_MAYBE,                                                                                         \
         "STEP", "round the update from OLD: rms, rms/2, rms/4, … (auto: the coarsest that passes)",                   \
         false,  0,                                                                                                    \
         0},                                                                                                           \
        {"labels", OPTION_TEXT, "FILE", "their right answers: a number per line, or a byte each", false, 0, 0},        \
        {"scale", OPTION_TEXT, "FACTOR", "what values of a .csv are multiplied by (default: 1)", false, 0, 0},         \
        {"max-loss", OPTION_TEXT, "POINTS", "most accuracy that may be lost, in points (default: 0.1)", false, 0, 0},  \
        {"min-agreement",                                                                                              \
         OPTION_TEXT,                                                                                                  \
         "PERCENT",                                                                                                    \
         "least part of the samples with the same answer as before (default: 99.5)",                                   \
         false,                                                                                                        \
         0,                                                                                                            \
         0},                                                                                                           \
        {"verbose", OPTION_FLAG, NULL, "with --grid: also what was done to each tensor", false, 0, 0},                 \
    {                                                                                                                  \
        "onnxruntime", OPTION_TEXT, "FILE", "libonnxruntime.so to load; else the first that is found", false, 0, 0     \
    }

struct bundle_grid;

/* Does nothing (NULL) without --grid. Else rounds the model among files that head (the manifest in the making) names,
 * and lets its source be the rounded one, which lives as long as the result: bundle_grid_free() it after the bundle was
 * made. Prints what was tried, unless JSON is wanted. ERR_CONFLICT code `grid_refused` when the answers changed too
 * much. */
[[nodiscard]] enum err bundle_grid_make(struct cli *cli, const json_t *head, struct bundle_file *files, size_t count,
                                        struct bundle_grid **ret_grid);
struct bundle_grid *bundle_grid_free(struct bundle_grid *grid);

/* What was tried and chosen, for --output json; borrowed. NULL for NULL. */
json_t *bundle_grid_json(const struct bundle_grid *grid);

static inline void cleanup_bundle_grid_p(struct bundle_grid **grid)
{
    (void)bundle_grid_free(*grid);
}
#define cleanup_bundle_grid [[gnu::cleanup(cleanup_bundle_grid_p)]]
