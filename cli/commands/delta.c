/* Deltas between two versions of a file: all of it works offline. */
#include "cli/commands.h"
#include "cli/effort.h"
#include "cli/table.h"
#include "cli/terminal.h"

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/text.h"
#include "common/delta/delta.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { PATH_LEN = 4096, FILES_MAX = 2 };

/* ---- files ---- */

static enum err in_open(struct cli *cli, const char *path, int *ret_fd)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(&cli->info, err_from_errno(errno), "%.200s: cannot read: %s", path, strerror(errno));
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        (void)close(fd);
        return err_set(&cli->info, ERR_INVALID, "%.200s is no regular file", path);
    }
    *ret_fd = fd;
    return ERR_OK;
}

/* A file that is written beside its place, and gets its name when it is complete. */
struct out_file {
    const char *path;
    char temporary[PATH_LEN]; /* "": not there, or renamed */
    int fd;
};

static void out_drop(struct out_file *out)
{
    if (out->temporary[0] != '\0')
        (void)unlink(out->temporary);
    if (out->fd >= 0)
        (void)close(out->fd);
}

/* Refuses a place where one of the files that are read stands. */
static enum err out_check(struct cli *cli, const char *path, const int *inputs)
{
    struct stat there;
    struct stat input;
    if (stat(path, &there) != 0)
        return ERR_OK;
    if (!S_ISREG(there.st_mode))
        return usage_error(cli, "--out %.200s: this is there and no regular file", path);
    for (size_t i = 0; i < FILES_MAX; i++)
        if (fstat(inputs[i], &input) == 0 && input.st_dev == there.st_dev && input.st_ino == there.st_ino)
            return usage_error(cli, "--out %.200s is \"%.100s\", which is read; give another name", path,
                               cli->words[i]);
    return ERR_OK;
}

static enum err out_open(struct cli *cli, const char *path, const int *inputs, struct out_file *out)
{
    enum err e = out_check(cli, path, inputs);
    if (e != ERR_OK)
        return e;
    out->path = path;
    int n = snprintf(out->temporary, sizeof out->temporary, "%s.XXXXXX", path);
    if (n >= 0 && (size_t)n < sizeof out->temporary)
        out->fd = mkostemp(out->temporary, O_CLOEXEC);
    else
        errno = ENAMETOOLONG;
    if (out->fd >= 0)
        return ERR_OK;
    out->temporary[0] = '\0';
    return err_set(&cli->info, err_from_errno(errno), "%.200s: cannot write: %s", path, strerror(errno));
}

static enum err out_commit(struct cli *cli, struct out_file *out)
{
    mode_t mask = umask(0);
    (void)umask(mask);
    if (fchmod(out->fd, 0666 & ~mask) != 0 || rename(out->temporary, out->path) != 0)
        return err_set(&cli->info, err_from_errno(errno), "%.200s: cannot write: %s", out->path, strerror(errno));
    out->temporary[0] = '\0';
    return ERR_OK;
}

/* ---- shown ---- */

static json_t *info_json(const struct delta_info *d)
{
    json_t *methods = json_array();
    for (size_t i = 0; i < d->method_count; i++)
        (void)!json_array_append_new(methods, json_pack("{s:s, s:I, s:I, s:I}", "method", d->methods[i].name, "tensors",
                                                        (json_int_t)d->methods[i].tensors, "bytes",
                                                        (json_int_t)d->methods[i].bytes, "encoded_bytes",
                                                        (json_int_t)d->methods[i].encoded_bytes));
    char percent[32];
    (void)snprintf(percent, sizeof percent, "%.2f %%",
                   d->new_size == 0 ? 0.0 : 100.0 * (double)d->delta_size / (double)d->new_size);
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:s, s:s, s:s, s:I, s:I, s:o}", "format", d->format, "effort",
                     d->effort == DELTA_BEST ? "best" : "fast", "old_size", (json_int_t)d->old_size, "new_size",
                     (json_int_t)d->new_size, "delta_size", (json_int_t)d->delta_size, "share", percent, "old_sha256",
                     d->old_sha256, "new_sha256", d->new_sha256, "tensors", (json_int_t)d->tensors, "apply_memory",
                     (json_int_t)d->apply_memory, "methods", methods);
}

static enum err info_print(struct cli *cli, const struct delta_info *d)
{
    static const struct column fields[] = {
        {"Format", "format", cell_text},     {"Effort", "effort", cell_text},
        {"Old file", "old_size", cell_size}, {"Old SHA-256", "old_sha256", cell_text},
        {"New file", "new_size", cell_size}, {"New SHA-256", "new_sha256", cell_text},
        {"Delta", "delta_size", cell_size},  {"Share of the new file", "share", cell_text},
        {"Tensors", "tensors", cell_text},   {"Memory to apply", "apply_memory", cell_size},
    };
    static const struct column methods[] = {{"METHOD", "method", cell_text},
                                            {"TENSORS", "tensors", cell_text},
                                            {"SIZE", "bytes", cell_size},
                                            {"ENCODED", "encoded_bytes", cell_size}};
    json_auto_t *json = info_json(d);
    if (wants_json(cli))
        return json_show(json_incref(json));
    fields_print(json, COLUMNS(fields));
    if (d->method_count > 0) {
        puts("");
        table_print(json_object_get(json, "methods"), COLUMNS(methods), "");
    }
    return ERR_OK;
}

/* ---- commands ---- */

static enum err create(struct cli *cli)
{
    cleanup_fd int old = -1;
    cleanup_fd int new = -1;
    [[gnu::cleanup(out_drop)]] struct out_file out = {.fd = -1};
    struct delta_info found;
    int tenth = 0;
    struct delta_options options = {.threads = (int)option_int(cli, "threads", 0), .user = &tenth};
    bool progress = option_given(cli, "progress");
    enum err e = effort_take(cli, DELTA_BEST, &options.effort);
    if (e == ERR_OK)
        e = in_open(cli, cli->words[0], &old);
    if (e == ERR_OK)
        e = in_open(cli, cli->words[1], &new);
    if (e == ERR_OK)
        e = out_open(cli, option_text(cli, "out"), (const int[FILES_MAX]){old, new}, &out);
    if (e != ERR_OK)
        return e;
    options.progress = progress ? terminal_percent : NULL;
    e = delta_create(old, new, out.fd, &options, &found, &cli->info);
    if (progress)
        terminal_progress_end();
    if (e == ERR_OK)
        e = out_commit(cli, &out);
    return e == ERR_OK ? info_print(cli, &found) : e;
}

static enum err apply(struct cli *cli)
{
    cleanup_fd int old = -1;
    cleanup_fd int delta = -1;
    [[gnu::cleanup(out_drop)]] struct out_file out = {.fd = -1};
    struct delta_info about;
    enum err e = in_open(cli, cli->words[0], &old);
    if (e == ERR_OK)
        e = in_open(cli, cli->words[1], &delta);
    if (e == ERR_OK)
        e = delta_inspect(delta, &about, &cli->info);
    if (e == ERR_OK)
        e = out_open(cli, option_text(cli, "out"), (const int[FILES_MAX]){old, delta}, &out);
    if (e == ERR_OK)
        e = delta_apply(old, delta, out.fd, NULL, &cli->info);
    if (e == ERR_OK)
        e = out_commit(cli, &out);
    if (e == ERR_OK && wants_json(cli))
        return json_show(json_pack("{s:s, s:I, s:s}", "path", out.path, "size", (json_int_t)about.new_size, "sha256",
                                   about.new_sha256));
    if (e == ERR_OK)
        printf("wrote %s: %lld bytes, SHA-256 %s\n", out.path, (long long)about.new_size, about.new_sha256);
    return e;
}

static enum err info(struct cli *cli)
{
    cleanup_fd int delta = -1;
    struct delta_info found;
    enum err e = in_open(cli, cli->words[0], &delta);
    if (e == ERR_OK)
        e = delta_inspect(delta, &found, &cli->info);
    return e == ERR_OK ? info_print(cli, &found) : e;
}

static const struct option create_options[] = {
    {"out", OPTION_TEXT, "FILE", "where the delta goes; -o FILE is the same", true, 0, 0},
    EFFORT_OPTION("best"),
    {"threads", OPTION_INT, "N", "most threads (default: one per core)", false, 1, 256},
    {"progress", OPTION_FLAG, NULL, "show on stderr how far it is", false, 0, 0},
    {.name = NULL},
};

static const struct option apply_options[] = {
    {"out", OPTION_TEXT, "FILE", "where the new file goes; -o FILE is the same", true, 0, 0},
    {.name = NULL},
};

const struct command commands_delta[] = {
    {"delta create", "OLD NEW", 2, 2, create_options, "Make the delta between two versions of a file (offline)",
     "ONNX and safetensors models are predicted tensor by tensor, any other file is matched like a program. The same\n"
     "files and effort make the same delta on every machine.",
     "musterctl delta create cnn-1.onnx cnn-2.onnx -o cnn-1-2.delta --effort best --progress", create},
    {"delta apply", "OLD DELTA", 2, 2, apply_options, "Rebuild the new file (offline)",
     "The new file is checked, and gets its name only when it is right; else the old file is, to say which of the two\n"
     "is wrong. Takes at most 8 MiB of memory besides the program, however large the files are.",
     "musterctl delta apply cnn-1.onnx cnn-1-2.delta -o cnn-2.onnx", apply},
    {"delta info", "DELTA", 1, 1, NULL, "Show what a delta says of itself (offline)", "",
     "musterctl delta info cnn-1-2.delta", info},
    {.name = NULL},
};
