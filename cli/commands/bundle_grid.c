#include "cli/commands/bundle_grid.h"

#include "cli/grid_report.h"
#include "cli/table.h"

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/text.h"
#include "common/bundle/reader.h"
#include "common/delta/delta.h"
#include "common/delta/grid_publish.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { AUTO_TRIES = 4 }; /* rms, rms/2, rms/4, rms/8 */

/* A file in memory. */
struct mapping {
    int fd;
    uint8_t *bytes;
    size_t size;
};

struct bundle_grid {
    char dir[PATH_MAX]; /* everything temporary; "": none yet */
    char old_path[PATH_MAX], rounded_path[PATH_MAX];
    struct mapping old, new;
    struct grid *grid;
    struct judge *judge;
    double max_loss, min_agreement;
    unsigned first, tries; /* steps to try: rms / 2^first, and so many finer ones */
    int64_t delta_before;  /* bytes, without a grid */
    json_t *report;
};

struct bundle_grid *bundle_grid_free(struct bundle_grid *g)
{
    if (g == NULL)
        return NULL;
    struct mapping *const mappings[] = {&g->old, &g->new};
    (void)grid_free(g->grid);
    (void)judge_free(g->judge);
    for (size_t i = 0; i < 2; i++) {
        if (mappings[i]->bytes != NULL)
            (void)munmap(mappings[i]->bytes, mappings[i]->size);
        if (mappings[i]->fd >= 0)
            (void)close(mappings[i]->fd);
    }
    if (*g->dir != '\0')
        (void)file_remove_tree(g->dir);
    json_decref(g->report);
    free(g);
    return NULL;
}

json_t *bundle_grid_json(const struct bundle_grid *grid)
{
    return grid == NULL ? NULL : grid->report;
}

static enum err failed(struct cli *cli, const char *path)
{
    return err_set(&cli->info, err_from_errno(errno), "%.200s: %s", path, strerror(errno));
}

/* ---- options ---- */

/* "rms/4" -> 2; "" and "auto" -> 0 and all of AUTO_TRIES. */
static enum err step_parse(struct cli *cli, const char *text, struct bundle_grid *g)
{
    int64_t divisor = 1;
    g->first = 0;
    g->tries = *text == '\0' || text_eq(text, "auto") ? AUTO_TRIES : 1;
    if (g->tries > 1 || text_eq(text, "rms"))
        return ERR_OK;
    if (!text_starts(text, "rms/") || text_to_i64(text + 4, 1, 1 << GRID_FINER_MAX, &divisor) != ERR_OK ||
        (divisor & (divisor - 1)) != 0)
        return usage_error(cli,
                           "--grid=%.40s: auto, rms, or rms/N with N a power of two up to %d is expected, like rms/4",
                           text, 1 << GRID_FINER_MAX);
    while (divisor >> g->first > 1)
        g->first++;
    return ERR_OK;
}

static enum err number_option(struct cli *cli, const char *name, double least, double most, double *value)
{
    const char *text = option_text(cli, name);
    if (text == NULL || text_to_f64(text, least, most, value) == ERR_OK)
        return ERR_OK;
    return usage_error(cli, "--%s \"%.40s\": a number from %g to %g is expected", name, text, least, most);
}

static enum err options_read(struct cli *cli, struct bundle_grid *g, struct judge_settings *settings)
{
    enum err e = step_parse(cli, option_text(cli, "grid"), g);
    if (e == ERR_OK && option_text(cli, "from") == NULL)
        e = usage_error(cli, "--grid needs --from OLD: the bundle or model that devices have now");
    if (e == ERR_OK && option_text(cli, "check") == NULL)
        e = usage_error(cli, "--grid needs --check DATA: what rounding does to the answers must be measured");
    if (e == ERR_OK)
        e = number_option(cli, "max-loss", -100, 100, &g->max_loss);
    if (e == ERR_OK)
        e = number_option(cli, "min-agreement", 0, 100, &g->min_agreement);
    if (e == ERR_OK)
        e = number_option(cli, "scale", -1e9, 1e9, &settings->scale);
    settings->samples = option_text(cli, "check");
    settings->labels = option_text(cli, "labels");
    settings->library = option_text(cli, "onnxruntime") == NULL ? "" : option_text(cli, "onnxruntime");
    return e;
}

/* The shape that the manifest gives the model's input, where it does. */
static void shape_read(const json_t *head, int64_t shape[MANIFEST_RANK_MAX], struct judge_settings *settings)
{
    const json_t *inputs = json_object_get(json_object_get(head, "model"), "inputs");
    const json_t *dims = json_object_get(json_array_get(inputs, 0), "shape");
    if (json_array_size(inputs) != 1 || json_array_size(dims) > MANIFEST_RANK_MAX)
        return;
    settings->rank = json_array_size(dims);
    settings->shape = shape;
    for (size_t i = 0; i < settings->rank; i++)
        shape[i] = json_integer_value(json_array_get(dims, i));
}

/* ---- the two models ---- */

static enum err mapping_open(struct cli *cli, const char *path, struct mapping *ret_mapping)
{
    struct stat about;
    ret_mapping->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (ret_mapping->fd < 0 || fstat(ret_mapping->fd, &about) != 0)
        return failed(cli, path);
    if (!S_ISREG(about.st_mode) || about.st_size == 0)
        return err_set(&cli->info, ERR_INVALID, "%.200s: a file with a model in it is expected", path);
    void *bytes = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, ret_mapping->fd, 0);
    if (bytes == MAP_FAILED)
        return failed(cli, path);
    ret_mapping->bytes = bytes;
    ret_mapping->size = (size_t)about.st_size;
    return ERR_OK;
}

static enum err dir_make(struct cli *cli, struct bundle_grid *g)
{
    const char *where = getenv("TMPDIR");
    (void)snprintf(g->dir, sizeof g->dir, "%.4000s/muster-grid-XXXXXX",
                   where == NULL || *where == '\0' ? "/tmp" : where);
    if (mkdtemp(g->dir) == NULL) {
        enum err e = failed(cli, g->dir);
        *g->dir = '\0';
        return e;
    }
    (void)snprintf(g->rounded_path, sizeof g->rounded_path, "%.4000s/rounded", g->dir);
    return ERR_OK;
}

/* The model of an old bundle, unpacked. Its signatures do not matter: it is only what the update is counted from. */
static enum err bundle_model(struct cli *cli, int fd, struct bundle_grid *g)
{
    cleanup_manifest struct manifest *m = NULL;
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%.4000s/old", g->dir);
    cleanup_fd int dir = mkdir(path, 0700) == 0 ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (dir < 0)
        return failed(cli, path);
    enum err e = bundle_unpack(fd, NULL, NULL, dir, &m, NULL, &cli->info);
    if (e != ERR_OK)
        return e;
    if (m->kind != MANIFEST_MODEL)
        return err_set(&cli->info, ERR_INVALID, "%.200s is a bundle of an %s, not of a model", option_text(cli, "from"),
                       manifest_kind_name(m->kind));
    (void)snprintf(g->old_path, sizeof g->old_path, "%.3700s/%s", path, m->model.file);
    return ERR_OK;
}

/* OLD is a bundle when it begins as every bundle does. */
static enum err old_find(struct cli *cli, struct bundle_grid *g)
{
    const char *path = option_text(cli, "from");
    char begin[sizeof MANIFEST_NAME] = "";
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return failed(cli, path);
    if (pread(fd, begin, sizeof begin, 0) == (ssize_t)sizeof begin && memcmp(begin, MANIFEST_NAME, sizeof begin) == 0)
        return bundle_model(cli, fd, g);
    if (!text_copy(g->old_path, sizeof g->old_path, path))
        return err_set(&cli->info, ERR_INVALID, "--from: the path is too long");
    return ERR_OK;
}

/* Bytes of the delta that brings the old model to the file fd is of. */
static enum err delta_size(struct cli *cli, const struct bundle_grid *g, int fd, int64_t *ret_size)
{
    const struct delta_options options = {.effort = DELTA_FAST};
    cleanup_fd int out = open(g->dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    struct delta_info about;
    if (out < 0)
        return failed(cli, g->dir);
    enum err e = delta_create(g->old.fd, fd, out, &options, &about, &cli->info);
    if (e == ERR_OK)
        *ret_size = about.delta_size;
    return e;
}

static enum err models_open(struct cli *cli, const char *new_path, struct bundle_grid *g)
{
    struct err_info why = {0};
    enum err e = dir_make(cli, g);
    if (e == ERR_OK)
        e = old_find(cli, g);
    if (e == ERR_OK)
        e = mapping_open(cli, g->old_path, &g->old);
    if (e == ERR_OK)
        e = mapping_open(cli, new_path, &g->new);
    if (e != ERR_OK)
        return e;
    const struct tensor_files files = {
        .old = g->old.bytes, .old_size = g->old.size, .new = g->new.bytes, .new_size = g->new.size};
    e = grid_new(&files, &g->grid, &why);
    if (e != ERR_OK)
        return err_set(&cli->info, e, "%.100s and %.100s: %.150s", option_text(cli, "from"), new_path, why.text);
    return delta_size(cli, g, g->new.fd, &g->delta_before);
}

/* ---- the steps of the grid ---- */

static double points_lost(const struct judge_verdict *v)
{
    return v->labelled ? grid_percent(v->right_before, v->samples) - grid_percent(v->right_after, v->samples) : 0;
}

static bool verdict_passes(const struct bundle_grid *g, const struct judge_verdict *v)
{
    const double slack = 1e-9; /* of the division, not of models */
    return grid_percent(v->agree, v->samples) >= g->min_agreement - slack &&
           (!v->labelled || points_lost(v) <= g->max_loss + slack);
}

static enum err rounded_write(struct cli *cli, const struct bundle_grid *g, const uint8_t *bytes, int *ret_fd)
{
    *ret_fd = open(g->rounded_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    enum err e = *ret_fd < 0 ? err_from_errno(errno) : file_write_fd(*ret_fd, bytes, g->new.size);
    return e == ERR_OK ? e : err_set(&cli->info, e, "%.200s: cannot write: %s", g->rounded_path, err_words(e));
}

static enum err step_try(struct cli *cli, struct bundle_grid *g, struct grid_trial *trial)
{
    cleanup_fd int fd = -1;
    const uint8_t *bytes = NULL;
    const struct grid_line *lines = NULL;
    enum err e = grid_publish(g->grid, trial->finer, &bytes, &lines);
    if (e == ERR_OK)
        e = rounded_write(cli, g, bytes, &fd);
    if (e == ERR_OK)
        e = judge_model(g->judge, g->rounded_path, &trial->verdict, &cli->info);
    if (e == ERR_OK)
        e = delta_size(cli, g, fd, &trial->delta_size);
    if (e != ERR_OK)
        return e;
    trial->size = (int64_t)g->new.size;
    trial->passed = verdict_passes(g, &trial->verdict);
    e = grid_report_add(g->report, trial);
    if (e == ERR_OK && option_given(cli, "verbose"))
        e = grid_report_tensors(g->report, lines, grid_count(g->grid));
    return e;
}

static enum err refused(struct cli *cli, const struct bundle_grid *g, const struct grid_trial *last)
{
    char loss[120] = "";
    if (last->verdict.labelled)
        (void)snprintf(loss, sizeof loss, ", and accuracy changes by %+.2f points (%g may be lost)",
                       0.0 - points_lost(&last->verdict), g->max_loss);
    enum err e = err_code(&cli->info, ERR_CONFLICT, "grid_refused",
                          "the rounded model answers too differently: %.2f %% of its answers are the same (%g %% are "
                          "wanted)%s; nothing was written",
                          grid_percent(last->verdict.agree, last->verdict.samples), g->min_agreement, loss);
    const unsigned finer = last->finer + 2 <= GRID_FINER_MAX ? last->finer + 2 : GRID_FINER_MAX;
    err_next(&cli->info,
             "try a finer grid, like --grid=rms/%d, or decide on other limits with --min-agreement and "
             "--max-loss",
             1 << finer);
    return e;
}

static enum err steps_try(struct cli *cli, struct bundle_grid *g)
{
    struct grid_trial trial = {.finer = g->first};
    enum err e = step_try(cli, g, &trial);
    while (e == ERR_OK && !trial.passed && trial.finer + 1 < g->first + g->tries) {
        trial = (struct grid_trial){.finer = trial.finer + 1};
        e = step_try(cli, g, &trial);
    }
    if (e != ERR_OK)
        return e;
    if (!wants_json(cli))
        grid_report_print(g->report);
    else if (!trial.passed) /* else it is shown with the bundle */
        e = json_show(json_pack("{s:O}", "grid", g->report));
    return e != ERR_OK || trial.passed ? e : refused(cli, g, &trial);
}

/* Options that mean nothing without --grid. */
static enum err alone_check(struct cli *cli)
{
    static const char *const names[] = {"from",     "check",         "labels",  "scale",
                                        "max-loss", "min-agreement", "verbose", "onnxruntime"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (option_given(cli, names[i]))
            return usage_error(cli, "--%s goes with --grid", names[i]);
    return ERR_OK;
}

/* A self-test compares with outputs that were measured before rounding: a device must not refuse what we let pass. */
static enum err selftest_check(struct cli *cli, const struct bundle_grid *g, const json_t *head,
                               const struct judge_settings *settings, const char *model, const char *samples)
{
    cleanup_judge struct judge *judge = NULL;
    struct judge_settings own = *settings;
    struct judge_verdict verdict = {0};
    const double tolerance = json_number_value(json_object_get(json_object_get(head, "selftest"), "tolerance"));
    own.samples = samples;
    own.labels = NULL;
    enum err e = judge_open(&own, model, &judge, &cli->info);
    if (e == ERR_OK)
        e = judge_model(judge, g->rounded_path, &verdict, &cli->info);
    if (e != ERR_OK || verdict.largest <= tolerance / 2)
        return e;
    e = err_code(
        &cli->info, ERR_CONFLICT, "grid_refused",
        "rounding changes outputs on the samples of the self-test by %.3g, and --tolerance is %g: devices could "
        "refuse the model; nothing was written",
        verdict.largest, tolerance);
    err_next(&cli->info, "make --tolerance at least %.2g, or the grid finer", 2 * verdict.largest);
    return e;
}

/* Where the file is that the manifest calls so; NULL: nowhere. */
static struct bundle_file *file_of(const json_t *head, const char *object, const char *key, struct bundle_file *files,
                                   size_t count)
{
    const char *path = json_string_value(json_object_get(json_object_get(head, object), key));
    for (size_t i = 0; path != NULL && i < count; i++)
        if (text_eq(files[i].path, path))
            return &files[i];
    return NULL;
}

enum err bundle_grid_make(struct cli *cli, const json_t *head, struct bundle_file *files, size_t count,
                          struct bundle_grid **ret_grid)
{
    if (!option_given(cli, "grid"))
        return alone_check(cli);
    cleanup_bundle_grid struct bundle_grid *g = calloc(1, sizeof *g);
    int64_t shape[MANIFEST_RANK_MAX];
    struct judge_settings settings = {.scale = 1};
    struct bundle_file *model = file_of(head, "model", "file", files, count);
    const struct bundle_file *samples = file_of(head, "selftest", "samples", files, count);
    if (g == NULL || model == NULL)
        return g == NULL ? ERR_NO_MEMORY : ERR_INTERNAL;
    g->old.fd = g->new.fd = -1;
    g->max_loss = 0.1;
    g->min_agreement = 99.5;
    shape_read(head, shape, &settings);
    enum err e = options_read(cli, g, &settings);
    if (e == ERR_OK)
        e = models_open(cli, model->source, g);
    if (e == ERR_OK)
        e = judge_open(&settings, model->source, &g->judge, &cli->info);
    if (e != ERR_OK)
        return e;
    g->report = grid_report_new(option_text(cli, "from"), judge_samples(g->judge), g->delta_before);
    if (g->report == NULL)
        return ERR_NO_MEMORY;
    e = steps_try(cli, g);
    if (e == ERR_OK && samples != NULL)
        e = selftest_check(cli, g, head, &settings, model->source, samples->source);
    if (e != ERR_OK)
        return e;
    model->source = g->rounded_path;
    *ret_grid = g;
    g = NULL;
    return ERR_OK;
}
