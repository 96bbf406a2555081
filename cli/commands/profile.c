/* Drift reference profiles. */
#include "cli/commands.h"

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/text.h"
#include "common/wire/profile.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

enum { DATA_MAX = 1 << 30, SHAPE_MAX = 1 << 24 };

/* Number of floats of one sample: "1,16,16" -> 256. */
static enum err shape_size(struct cli *cli, const char *shape, size_t *ret_size)
{
    size_t size = 1;
    for (const char *s = shape;;) {
        char word[16];
        int64_t n = 0;
        size_t len = strcspn(s, ",");
        (void)snprintf(word, sizeof word, "%.*s", len < sizeof word ? (int)len : 0, s);
        if (text_to_i64(word, 1, SHAPE_MAX, &n) != ERR_OK || size * (size_t)n > SHAPE_MAX)
            return usage_error(cli, "--shape \"%.60s\": numbers like 1,16,16 are expected, their product at most %d",
                               shape, SHAPE_MAX);
        size *= (size_t)n;
        s += len;
        if (*s++ == '\0')
            break;
    }
    *ret_size = size;
    return ERR_OK;
}

/* The file's bytes are little-endian floats; this makes them the machine's, in place. */
static const float *floats_of(char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t word;
        memcpy(&word, bytes + 4 * i, 4);
        word = le32toh(word);
        memcpy(bytes + 4 * i, &word, 4);
    }
    return (const float *)(void *)bytes; /* from malloc: aligned */
}

static enum err samples_read(struct cli *cli, const char *path, size_t size, char **ret_bytes, size_t *ret_count)
{
    cleanup_free char *bytes = NULL;
    size_t len = 0;
    enum err e = file_read(path, DATA_MAX, &bytes, &len);
    if (e != ERR_OK)
        return err_set(&cli->info, e, "%.200s: cannot read: %s", path, err_words(e));
    if (len == 0 || len % (4 * size) != 0)
        return err_set(
            &cli->info, ERR_INVALID,
            "%.200s has %zu bytes, which is no whole number of samples of %zu float32 values (%zu bytes each)", path,
            len, size, 4 * size);
    *ret_count = len / (4 * size);
    *ret_bytes = bytes;
    bytes = NULL;
    return ERR_OK;
}

static enum err profile_create(struct cli *cli)
{
    cleanup_free char *bytes = NULL;
    cleanup_free char *text = NULL;
    cleanup_profile struct profile *profile = NULL;
    const char *out = option_text(cli, "out");
    size_t size = 1;
    size_t count = 0;
    size_t len = 0;
    enum err e = shape_size(cli, option_text(cli, "shape"), &size);
    if (e == ERR_OK)
        e = samples_read(cli, option_text(cli, "data"), size, &bytes, &count);
    if (e == ERR_OK)
        e = profile_build(floats_of(bytes, count * size), count, size, &profile, &cli->info);
    json_auto_t *json = e == ERR_OK ? profile_to_json(profile) : NULL;
    if (e == ERR_OK)
        e = json_print(json, &text, &len);
    if (e != ERR_OK)
        return e;
    e = file_write(out, text, len, 0644);
    if (e != ERR_OK)
        return err_set(&cli->info, e, "%.200s: cannot write: %s", out, err_words(e));
    if (wants_json(cli))
        puts(text);
    else
        printf("wrote %s: %zu features of %zu samples\n", out, profile->count, count);
    return ERR_OK;
}

static const struct option create_options[] = {
    {"data", OPTION_TEXT, "FILE", "samples, back to back, float32 little-endian", true, 0, 0},
    {"shape", OPTION_TEXT, "N,N,...", "shape of one sample", true, 0, 0},
    {"out", OPTION_TEXT, "FILE", "where the profile goes, for `bundle create --profile`", true, 0, 0},
    {.name = NULL},
};

const struct command commands_profile[] = {
    {"profile create", "", 0, 0, create_options, "Measure a drift reference from samples (offline)",
     "Counts each scalar feature of the samples (mean, std, min, max, fraction of zeros) into its own deciles. "
     "Devices\n"
     "count their inputs into the same bins, and the server scores the difference (PSI).",
     "musterctl profile create --data digits_test_16x16_f32.bin --shape 1,16,16 --out profile.json", profile_create},
    {.name = NULL},
};
