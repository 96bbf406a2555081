#include "common/delta/tensor_decode.h"

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/delta/packed.h"
#include "common/delta/states.h"
#include "common/delta/tensor_encode.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { WINDOW_BYTES = 64 * 1024, SCALES_AHEAD = 256 };

/* One end of a copy: bytes of a file in order, through a buffer. */
struct window {
    int fd;
    int64_t offset; /* in the file, of the first byte behind the buffer (reading) or of its first (writing) */
    int64_t left;   /* reading: bytes that may still be read */
    size_t at, len;
    uint8_t bytes[WINDOW_BYTES];
};

struct tensor_decoder {
    struct states states;
    int old_fd, new_fd;
    struct coded coded;
    struct err_info *info;
    struct range_decoder range;
    uint64_t lines; /* left in the block */
    uint8_t *block;
    struct window in, out;
    struct predict_scratch scratch;
    int64_t old[RESIDUAL_LINE_MAX], value[RESIDUAL_LINE_MAX], predicted[RESIDUAL_LINE_MAX];
    uint8_t hint[RESIDUAL_LINE_MAX];
    uint64_t scales_first, scales_count; /* rows whose scales are here */
    float old_scales[SCALES_AHEAD], new_scales[SCALES_AHEAD];
};

/* Tensors lie inside the file: one that ends before is a failure of the disk. */
static enum err pread_all(int fd, uint8_t *bytes, size_t len, int64_t offset)
{
    enum err e = file_pread(fd, bytes, len, offset);
    return e == ERR_CORRUPT ? ERR_IO : e;
}

static enum err window_flush(struct window *window)
{
    size_t done = 0;
    while (done < window->at) {
        const ssize_t put = pwrite(window->fd, window->bytes + done, window->at - done, window->offset);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return put == 0 ? ERR_IO : err_from_errno(errno);
        done += (size_t)put;
        window->offset += put;
    }
    window->at = 0;
    return ERR_OK;
}

/* Room for len more bytes to write, at most WINDOW_BYTES. */
static enum err window_room(struct window *window, size_t len, uint8_t **ret_bytes)
{
    if (WINDOW_BYTES - window->at < len) {
        enum err e = window_flush(window);
        if (e != ERR_OK)
            return e;
    }
    *ret_bytes = window->bytes + window->at;
    window->at += len;
    return ERR_OK;
}

/* The next len bytes, at most WINDOW_BYTES; they stay until the next call. */
static enum err window_next(struct window *window, size_t len, const uint8_t **ret_bytes)
{
    if (window->len - window->at < len) {
        const size_t kept = window->len - window->at;
        memmove(window->bytes, window->bytes + window->at, kept);
        size_t more = WINDOW_BYTES - kept;
        if ((int64_t)more > window->left)
            more = (size_t)window->left;
        enum err e = pread_all(window->fd, window->bytes + kept, more, window->offset);
        if (e != ERR_OK)
            return e;
        window->offset += (int64_t)more;
        window->left -= (int64_t)more;
        window->at = 0;
        window->len = kept + more;
    }
    *ret_bytes = window->bytes + window->at;
    window->at += len;
    return ERR_OK;
}

static enum err same_decode(struct tensor_decoder *decoder, int64_t bytes)
{
    enum err e = ERR_OK;
    while (bytes > 0 && e == ERR_OK) {
        const size_t part = bytes < WINDOW_BYTES ? (size_t)bytes : WINDOW_BYTES;
        const uint8_t *from;
        uint8_t *to;
        e = window_next(&decoder->in, part, &from);
        if (e == ERR_OK)
            e = window_room(&decoder->out, part, &to);
        if (e == ERR_OK)
            memcpy(to, from, part);
        bytes -= (int64_t)part;
    }
    return e;
}

/* Reads the next block when the last one has no more lines. */
static enum err block_next(struct tensor_decoder *decoder)
{
    if (decoder->lines != 0) {
        decoder->lines--;
        return ERR_OK;
    }
    uint64_t lines = 0, coded = 0, raw = 0;
    enum err e = plan_number_read(&decoder->coded, INT64_MAX, &lines, decoder->info);
    if (e == ERR_OK)
        e = plan_number_read(&decoder->coded, BLOCK_BYTES_MAX, &coded, decoder->info);
    if (e == ERR_OK)
        e = plan_number_read(&decoder->coded, BLOCK_BYTES_MAX - coded, &raw, decoder->info);
    if (e != ERR_OK)
        return e;
    if (lines == 0)
        return plan_corrupt(decoder->info, "a block holds nothing");
    if (coded + raw != 0)
        e = coded_read(&decoder->coded, decoder->block, (size_t)(coded + raw));
    if (e != ERR_OK)
        return e;
    range_decoder_start(&decoder->range, decoder->block, (size_t)coded, decoder->block + coded, (size_t)raw);
    decoder->lines = lines - 1;
    return ERR_OK;
}

static enum err line_get(struct tensor_decoder *decoder, struct residual *residual, const struct residual_line *line)
{
    enum err e = block_next(decoder);
    if (e == ERR_OK)
        residual_decode(residual, &decoder->range, line);
    return e;
}

/* Factors are small integers; what is not is corrupt. */
static enum err factors_get(struct tensor_decoder *decoder, struct residual *factors, unsigned count,
                            int64_t *ret_values)
{
    static const int64_t zeros[PREDICT_RANK_MAX + 1];
    return line_get(decoder, factors, &(struct residual_line){.predicted = zeros, .value = ret_values, .count = count});
}

static enum err across_get(struct tensor_decoder *decoder, const struct plan *plan, uint64_t cols, float *across)
{
    struct residual *factors;
    enum err e = states_begin_factors(&decoder->states, plan->rank, &factors, decoder->info);
    for (uint64_t j = 0; j < cols && e == ERR_OK; j++) {
        int64_t values[PREDICT_RANK_MAX];
        e = factors_get(decoder, factors, plan->rank, values);
        for (unsigned i = 0; i < plan->rank && e == ERR_OK; i++)
            across[i * cols + j] = (float)values[i];
    }
    return e;
}

/* The scales of the rows from this one on, of both files. */
static enum err scales_get(struct tensor_decoder *decoder, const struct tensor_pair *pair, uint64_t row)
{
    const uint64_t left = pair->scale_count - row;
    const uint64_t count = left < SCALES_AHEAD ? left : SCALES_AHEAD;
    const int64_t at = (int64_t)(row * sizeof(float));
    const size_t bytes = (size_t)count * sizeof(float);
    enum err e = pread_all(decoder->old_fd, (uint8_t *)decoder->old_scales, bytes, pair->old_scales + at);
    if (e == ERR_OK)
        e = pread_all(decoder->new_fd, (uint8_t *)decoder->new_scales, bytes, pair->new_scales + at);
    decoder->scales_first = row;
    decoder->scales_count = e == ERR_OK ? count : 0;
    return e;
}

static enum err row_ratio(struct tensor_decoder *decoder, const struct tensor_pair *pair, uint64_t row,
                          double *ret_ratio)
{
    enum err e = ERR_OK;
    *ret_ratio = 1;
    if (pair->old_scales < 0 || pair->new_scales < 0)
        return ERR_OK;
    row = pair->scale_count == 1 ? 0 : row;
    if (row - decoder->scales_first >= decoder->scales_count)
        e = scales_get(decoder, pair, row);
    if (e == ERR_OK)
        *ret_ratio = tensor_scale_ratio(decoder->old_scales[row - decoder->scales_first],
                                        decoder->new_scales[row - decoder->scales_first]);
    return e;
}

static enum err piece_get(struct tensor_decoder *decoder, const struct tensor_view *view, const struct plan *plan,
                          const struct plan_row *row, struct residual *elements, size_t column, size_t count)
{
    const size_t bytes = count * tensor_type_size(view->type);
    enum err e = ERR_OK;
    if (plan->base != BASE_NOTHING) {
        const uint8_t *from;
        e = window_next(&decoder->in, bytes, &from);
        if (e == ERR_OK)
            numbers_load(view->type, from, count, decoder->old);
    }
    if (e != ERR_OK)
        return e;
    const bool hinted = predict_line(plan, row, view->type, view->cols, column, count, decoder->old, &decoder->scratch,
                                     decoder->predicted, decoder->hint);
    e = line_get(decoder, elements,
                 &(struct residual_line){.predicted = decoder->predicted,
                                         .value = decoder->value,
                                         .hint = hinted ? decoder->hint : NULL,
                                         .count = count,
                                         .column = column});
    uint8_t *to;
    if (e == ERR_OK)
        e = window_room(&decoder->out, bytes, &to);
    if (e != ERR_OK)
        return e;
    predict_finish(plan, view->type, count, decoder->old, decoder->value);
    numbers_store(view->type, decoder->value, count, to);
    return ERR_OK;
}

static enum err row_decode(struct tensor_decoder *decoder, const struct tensor_pair *pair,
                           const struct tensor_view *view, const struct plan *plan, uint64_t i,
                           struct residual *elements, struct residual *factors)
{
    const unsigned factor_count = predict_row_factors(plan);
    struct plan_row row = {.scale = 1, .ratio = 1};
    int64_t values[PREDICT_RANK_MAX + 1];
    enum err e = plan->rescaled ? row_ratio(decoder, pair, i, &row.ratio) : ERR_OK;
    if (e == ERR_OK && factor_count != 0) {
        e = factors_get(decoder, factors, factor_count, values);
        if (e == ERR_OK)
            predict_row(plan, values, &row);
    }
    for (uint64_t j = 0; j < view->cols && e == ERR_OK; j += RESIDUAL_LINE_MAX) {
        const size_t count = view->cols - j < RESIDUAL_LINE_MAX ? (size_t)(view->cols - j) : RESIDUAL_LINE_MAX;
        e = piece_get(decoder, view, plan, &row, elements, (size_t)j, count);
    }
    return e;
}

/* Rows from first to end, and the end of their block. */
static enum err rows_decode(struct tensor_decoder *decoder, const struct tensor_pair *pair, const struct plan *plan,
                            uint64_t first, uint64_t end)
{
    const struct tensor_view view = tensor_view_of(pair);
    const unsigned factor_count = predict_row_factors(plan);
    struct residual *elements, *factors = NULL;
    decoder->scales_count = 0;
    enum err e = states_begin(&decoder->states, plan, &view, &elements, decoder->info);
    if (e == ERR_OK && factor_count != 0)
        e = states_begin_factors(&decoder->states, factor_count, &factors, decoder->info);
    for (uint64_t i = first; i < end && e == ERR_OK; i++)
        e = row_decode(decoder, pair, &view, plan, i, elements, factors);
    return e;
}

static enum err block_is_read(const struct tensor_decoder *decoder)
{
    return decoder->lines == 0 ? ERR_OK : plan_corrupt(decoder->info, "a block holds more than its tensor");
}

/* The factors across, when the plan has some; *ret_across is then to be freed, whatever is returned. */
static enum err across_read(struct tensor_decoder *decoder, const struct tensor_pair *pair, struct plan *plan,
                            float **ret_across)
{
    const struct tensor_view view = tensor_view_of(pair);
    if (plan->rank == 0)
        return ERR_OK;
    float *across = malloc(plan->rank * view.cols * sizeof *across);
    if (across == NULL)
        return ERR_NO_MEMORY;
    *ret_across = across;
    plan->across = across;
    return across_get(decoder, plan, view.cols, across);
}

static enum err planned_decode(struct tensor_decoder *decoder, const struct tensor_pair *pair, struct plan *plan)
{
    const struct tensor_view view = tensor_view_of(pair);
    const size_t bytes = plan->rank * view.cols * sizeof(float);
    cleanup_free float *across = NULL;
    enum err e = states_take(&decoder->states, bytes, decoder->info);
    if (e != ERR_OK)
        return e;
    e = across_read(decoder, pair, plan, &across);
    if (e == ERR_OK)
        e = rows_decode(decoder, pair, plan, 0, view.rows);
    if (e == ERR_OK)
        e = block_is_read(decoder);
    decoder->states.memory -= bytes;
    return e;
}

static enum err packed_put(void *user, const uint8_t *bytes, size_t len)
{
    uint8_t *to;
    enum err e = window_room(user, len, &to);
    if (e == ERR_OK)
        memcpy(to, bytes, len);
    return e;
}

static enum err packed_decode(struct tensor_decoder *decoder, size_t bytes)
{
    enum err e = states_take(&decoder->states, packed_memory(), decoder->info);
    if (e != ERR_OK)
        return e;
    e = packed_read(&decoder->coded, bytes, &(struct packed_sink){packed_put, &decoder->out}, decoder->info);
    decoder->states.memory -= packed_memory();
    return e;
}

/* The stretch of a tensor that is read and written next. */
static void windows_begin(struct tensor_decoder *decoder, const struct tensor_pair *pair, int64_t skip, int64_t bytes)
{
    decoder->in.fd = decoder->old_fd;
    decoder->in.offset = pair->old_offset + skip;
    decoder->in.left = bytes;
    decoder->in.at = decoder->in.len = 0;
    decoder->out.fd = decoder->new_fd;
    decoder->out.offset = pair->new_offset + skip;
    decoder->out.at = 0;
    decoder->lines = 0;
}

static enum err pair_decode(struct tensor_decoder *decoder, const struct tensor_pair *pair)
{
    const int64_t bytes = (int64_t)(pair->rows * pair->cols * tensor_type_size(pair->type));
    enum method method;
    struct plan plan;
    enum err e = plan_read(&decoder->coded, pair, &method, &plan, decoder->info);
    if (e != ERR_OK)
        return e;
    windows_begin(decoder, pair, 0, bytes);
    if (method == METHOD_SAME)
        e = same_decode(decoder, bytes);
    else if (method == METHOD_PACKED)
        e = packed_decode(decoder, (size_t)bytes);
    else
        e = planned_decode(decoder, pair, &plan);
    return e == ERR_OK ? window_flush(&decoder->out) : e;
}

void tensor_decoder_free(struct tensor_decoder *decoder)
{
    if (decoder == NULL)
        return;
    states_reset(&decoder->states);
    free(decoder->block);
    free(decoder);
}

enum err tensor_decoder_new(int old_fd, int new_fd, enum delta_effort effort, size_t memory_max, struct err_info *info,
                            struct tensor_decoder **ret_decoder)
{
    struct tensor_decoder *decoder = calloc(1, sizeof *decoder);
    if (decoder == NULL)
        return ERR_NO_MEMORY;
    decoder->states.effort = effort;
    decoder->states.memory_max = memory_max;
    decoder->old_fd = old_fd;
    decoder->new_fd = new_fd;
    decoder->info = info;
    enum err e = states_take(&decoder->states, sizeof *decoder + BLOCK_BYTES_MAX, info);
    decoder->block = malloc(BLOCK_BYTES_MAX);
    if (e == ERR_OK && decoder->block == NULL)
        e = ERR_NO_MEMORY;
    if (e == ERR_OK)
        *ret_decoder = decoder;
    else
        tensor_decoder_free(decoder);
    return e;
}

/* All bytes were of use. */
static enum err coded_is_read(const struct tensor_decoder *decoder)
{
    return coded_left(&decoder->coded) == 0
               ? ERR_OK
               : plan_corrupt(decoder->info, "a group of tensors holds more than its tensors");
}

enum err tensor_group_decode(struct tensor_decoder *decoder, const struct tensor_source *source, uint64_t at,
                             uint64_t end, const struct tensor_pair *pairs, size_t count)
{
    enum err e = ERR_OK;
    coded_begin(&decoder->coded, source, at, end);
    for (size_t i = 0; i < count && e == ERR_OK; i++)
        e = pair_decode(decoder, &pairs[i]);
    if (e == ERR_OK)
        e = coded_is_read(decoder);
    states_reset(&decoder->states);
    return e;
}

enum err tensor_head_decode(struct tensor_decoder *decoder, const struct tensor_source *source, uint64_t at,
                            uint64_t end, const struct tensor_pair *pair, struct tensor_head *ret_head)
{
    enum method method;
    struct tensor_head head = {0};
    coded_begin(&decoder->coded, source, at, end);
    windows_begin(decoder, pair, 0, 0);
    enum err e = plan_read(&decoder->coded, pair, &method, &head.plan, decoder->info);
    head.has_slices = method != METHOD_SAME && method != METHOD_PACKED;
    if (e == ERR_OK && head.has_slices)
        e = across_read(decoder, pair, &head.plan, &head.across);
    if (e == ERR_OK)
        e = block_is_read(decoder);
    states_reset(&decoder->states);
    head.end = coded_at(&decoder->coded);
    if (e == ERR_OK)
        *ret_head = head;
    else
        free(head.across);
    return e;
}

enum err tensor_slice_decode(struct tensor_decoder *decoder, const struct tensor_source *source, uint64_t at,
                             uint64_t end, const struct tensor_pair *pair, const struct plan *plan, uint64_t first,
                             uint64_t rows)
{
    const struct tensor_view view = tensor_view_of(pair);
    const int64_t row_bytes = (int64_t)(view.cols * tensor_type_size(view.type));
    coded_begin(&decoder->coded, source, at, end);
    windows_begin(decoder, pair, (int64_t)first * row_bytes, (int64_t)rows * row_bytes);
    enum err e = rows_decode(decoder, pair, plan, first, first + rows);
    if (e == ERR_OK)
        e = block_is_read(decoder);
    if (e == ERR_OK)
        e = coded_is_read(decoder);
    if (e == ERR_OK)
        e = window_flush(&decoder->out);
    states_reset(&decoder->states);
    return e;
}
