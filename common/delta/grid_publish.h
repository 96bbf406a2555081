#pragma once
/* Grid publishing of a whole model: the update of every float tensor that an old version has too is rounded
 * (grid_round.h), all other bytes stay as they are. Whoever calls it measures what that does to the answers. Pure; one
 * thread for each grid. */

#include "common/delta/grid_round.h"

struct grid;

/* One tensor of the new model that the old one has too. */
struct grid_line {
    const char *name; /* in the new model; "" for none; lives as long as the grid */
    enum tensor_type type;
    uint64_t rows, cols; /* the first dimension, and the product of the others */
    struct grid_report report;
};

/* Pairs the tensors of two models; the bytes of files stay the caller's and must outlive the grid. grid_free() it.
 * ERR_INVALID: one of them is neither ONNX nor safetensors, or there is no float tensor that both have. */
[[nodiscard]] enum err grid_new(const struct tensor_files *files, struct grid **ret_grid, struct err_info *info);
struct grid *grid_free(struct grid *grid);

/* Makes the rounded model, finer as in grid_round(). ret_bytes: as many as the new model has, borrowed until the next
 * call. ret_lines: grid_count() of them, borrowed likewise. */
[[nodiscard]] enum err grid_publish(struct grid *grid, unsigned finer, const uint8_t **ret_bytes,
                                    const struct grid_line **ret_lines);
size_t grid_count(const struct grid *grid);

static inline void cleanup_grid_p(struct grid **grid)
{
    (void)grid_free(*grid);
}
#define cleanup_grid [[gnu::cleanup(cleanup_grid_p)]]
