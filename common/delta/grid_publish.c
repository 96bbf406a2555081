#include "common/delta/grid_publish.h"

#include "common/delta/container.h"
#include "common/delta/numbers.h"
#include "common/delta/pairing.h"

#include <stdlib.h>
#include <string.h>

struct grid {
    struct tensor_files files; /* borrowed */
    struct pairing pairing;
    struct container container; /* of the new file, for names */
    size_t count;
    struct grid_line *lines;
    size_t *pairs; /* of the lines: places in the pairing */
    uint8_t *bytes;
};

struct grid *grid_free(struct grid *grid)
{
    if (grid == NULL)
        return NULL;
    pairing_free(&grid->pairing);
    container_free(&grid->container);
    free(grid->lines);
    free(grid->pairs);
    free(grid->bytes);
    free(grid);
    return NULL;
}

static const char *name_of(const struct container *container, int64_t offset)
{
    for (size_t i = 0; i < container->count; i++)
        if (container->tensors[i].offset == offset)
            return container->tensors[i].name;
    return "";
}

/* The tensors that have an old one; how many of them can be rounded. */
static size_t pairs_take(struct grid *g)
{
    size_t floats = 0;
    for (size_t i = 0; i < g->pairing.count; i++) {
        const struct tensor_pair *pair = &g->pairing.pairs[i];
        if (pair->old_offset < 0)
            continue;
        g->pairs[g->count] = i;
        g->lines[g->count++] = (struct grid_line){.name = name_of(&g->container, pair->new_offset),
                                                  .type = pair->type,
                                                  .rows = pair->rows,
                                                  .cols = pair->cols};
        floats += numbers_are_floats(pair->type);
    }
    return floats;
}

enum err grid_new(const struct tensor_files *files, struct grid **ret_grid, struct err_info *info)
{
    cleanup_grid struct grid *g = calloc(1, sizeof *g);
    if (g == NULL)
        return ERR_NO_MEMORY;
    g->files = *files;
    enum err e = pairing_make(files, &g->pairing);
    if (e == ERR_OK)
        e = container_read(files->new, files->new_size, &g->container);
    if (e != ERR_OK)
        return e;
    if (g->pairing.container == FORMAT_BINARY)
        return err_set(info, ERR_INVALID, "the two files are not models of one format (ONNX or safetensors)");
    g->lines = calloc(g->pairing.count + 1, sizeof *g->lines);
    g->pairs = calloc(g->pairing.count + 1, sizeof *g->pairs);
    g->bytes = malloc(files->new_size);
    if (g->lines == NULL || g->pairs == NULL || g->bytes == NULL)
        return ERR_NO_MEMORY;
    if (pairs_take(g) == 0)
        return err_set(info, ERR_INVALID, "the old model has no float tensor of the shape of one of the new model's");
    *ret_grid = g;
    g = NULL;
    return ERR_OK;
}

size_t grid_count(const struct grid *grid)
{
    return grid->count;
}

enum err grid_publish(struct grid *grid, unsigned finer, const uint8_t **ret_bytes, const struct grid_line **ret_lines)
{
    if (finer > GRID_FINER_MAX)
        return ERR_INVALID;
    memcpy(grid->bytes, grid->files.new, grid->files.new_size);
    for (size_t i = 0; i < grid->count; i++) {
        const struct tensor_pair *pair = &grid->pairing.pairs[grid->pairs[i]];
        const struct grid_tensor tensor = {.type = pair->type,
                                           .count = pair->rows * pair->cols,
                                           .old = grid->files.old + pair->old_offset,
                                           .new = grid->bytes + pair->new_offset};
        grid->lines[i].report = grid_round(&tensor, finer);
    }
    *ret_bytes = grid->bytes;
    *ret_lines = grid->lines;
    return ERR_OK;
}
