#include "cli/samples.h"

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/text.h"

#include <ctype.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

enum { DATA_MAX = 1 << 30, LABELS_MAX = 1 << 26, LINE_MAX_VALUES = 1 << 24 };

struct samples *samples_free(struct samples *samples)
{
    if (samples == NULL)
        return NULL;
    free(samples->values);
    free(samples->labels);
    free(samples);
    return NULL;
}

static enum err text_load(const char *path, size_t max, char **ret_text, size_t *ret_len, struct err_info *info)
{
    enum err e = file_read(path, max, ret_text, ret_len);
    return e == ERR_OK ? ERR_OK : err_set(info, e, "%.200s: cannot read: %s", path, err_words(e));
}

/* ---- float32, back to back ---- */

static enum err raw_load(const char *path, struct samples *s, struct err_info *info)
{
    cleanup_free char *bytes = NULL;
    size_t len = 0;
    enum err e = text_load(path, DATA_MAX, &bytes, &len, info);
    if (e != ERR_OK)
        return e;
    if (len == 0 || len % (4 * s->size) != 0)
        return err_set(info, ERR_INVALID,
                       "%.200s has %zu bytes, which is no whole number of samples: the model takes %zu float32 values "
                       "(%zu bytes)",
                       path, len, s->size, 4 * s->size);
    s->count = len / (4 * s->size);
    s->values = malloc(len);
    if (s->values == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < len / 4; i++) {
        uint32_t word;
        memcpy(&word, bytes + 4 * i, 4);
        word = le32toh(word);
        memcpy(&s->values[i], &word, 4);
    }
    return ERR_OK;
}

/* One whole number per line. */
static enum err label_lines(const char *path, char *text, struct samples *s, struct err_info *info)
{
    size_t count = 0;
    char *rest = NULL;
    for (char *line = strtok_r(text, "\r\n", &rest); line != NULL; line = strtok_r(NULL, "\r\n", &rest)) {
        int64_t label = 0;
        if (text_to_i64(line, INT32_MIN, INT32_MAX, &label) != ERR_OK)
            return err_set(info, ERR_INVALID, "%.200s: label %zu, \"%.20s\", is not a whole number", path, count + 1,
                           line);
        if (count < s->count)
            s->labels[count] = label;
        count++;
    }
    if (count != s->count)
        return err_set(info, ERR_INVALID, "%.200s has %zu labels for %zu samples", path, count, s->count);
    return ERR_OK;
}

static enum err labels_load(const char *path, struct samples *s, struct err_info *info)
{
    cleanup_free char *text = NULL;
    size_t len = 0;
    enum err e = text_load(path, LABELS_MAX, &text, &len, info);
    if (e != ERR_OK)
        return e;
    s->labels = calloc(s->count + 1, sizeof *s->labels);
    if (s->labels == NULL)
        return ERR_NO_MEMORY;
    /* As many bytes as samples cannot be lines, which need a line end each. */
    if (len != s->count || (len == 1 && isdigit((unsigned char)*text) != 0))
        return label_lines(path, text, s, info);
    for (size_t i = 0; i < len; i++)
        s->labels[i] = (unsigned char)text[i];
    return ERR_OK;
}

/* ---- CSV ---- */

static size_t lines_of(const char *text)
{
    size_t count = 0;
    for (; *text != '\0'; count++) {
        text += strcspn(text, "\n");
        text += *text == '\n';
    }
    return count;
}

/* "label,value,..." into the next sample. ERR_INVALID without info: this line is none. */
static enum err csv_line(char *line, double scale, struct samples *s)
{
    char *rest = NULL;
    const char *word = strtok_r(line, ",", &rest);
    float *values = s->values + s->count * s->size;
    if (word == NULL || text_to_i64(word, INT32_MIN, INT32_MAX, &s->labels[s->count]) != ERR_OK)
        return ERR_INVALID;
    for (size_t i = 0; i < s->size; i++) {
        double value = 0;
        word = strtok_r(NULL, ",", &rest);
        if (word == NULL || text_to_f64(word, -3e38, 3e38, &value) != ERR_OK)
            return ERR_INVALID;
        values[i] = (float)(value * scale);
    }
    return strtok_r(NULL, ",", &rest) == NULL ? ERR_OK : ERR_INVALID;
}

static enum err csv_load(const char *path, double scale, struct samples *s, struct err_info *info)
{
    cleanup_free char *text = NULL;
    size_t len = 0;
    enum err e = text_load(path, DATA_MAX, &text, &len, info);
    if (e != ERR_OK)
        return e;
    const size_t lines = lines_of(text) + 1;
    if (s->size > LINE_MAX_VALUES)
        return err_set(info, ERR_INVALID, "%.200s: a model with %zu inputs needs raw float32 samples, not CSV", path,
                       s->size);
    s->labels = calloc(lines, sizeof *s->labels);
    s->values = calloc(lines * s->size, sizeof *s->values);
    if (s->labels == NULL || s->values == NULL)
        return ERR_NO_MEMORY;
    char *rest = NULL;
    size_t number = 0;
    for (char *line = strtok_r(text, "\r\n", &rest); line != NULL; line = strtok_r(NULL, "\r\n", &rest)) {
        number++;
        if (csv_line(line, scale, s) == ERR_OK)
            s->count++;
        else if (number > 1) /* the first may name the columns */
            return err_set(info, ERR_INVALID,
                           "%.200s: line %zu is not a label and %zu numbers, as the model takes them", path, number,
                           s->size);
    }
    return s->count > 0 ? ERR_OK
                        : err_set(info, ERR_INVALID, "%.200s has no line of a label and %zu numbers", path, s->size);
}

enum err samples_load(const char *path, const char *labels_path, size_t size, double scale,
                      struct samples **ret_samples, struct err_info *info)
{
    cleanup_samples struct samples *s = calloc(1, sizeof *s);
    if (s == NULL)
        return ERR_NO_MEMORY;
    s->size = size;
    const size_t len = strlen(path);
    const bool csv = len > 4 && text_eq(path + len - 4, ".csv");
    if (csv && labels_path != NULL)
        return err_set(info, ERR_INVALID, "the labels are in %.200s already: its lines begin with them", path);
    enum err e = csv ? csv_load(path, scale, s, info) : raw_load(path, s, info);
    if (e == ERR_OK && labels_path != NULL)
        e = labels_load(labels_path, s, info);
    if (e != ERR_OK)
        return e;
    *ret_samples = s;
    s = NULL;
    return ERR_OK;
}
