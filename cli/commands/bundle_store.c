/* Bundles on the server. */
#include "cli/api.h"
#include "cli/commands.h"
#include "cli/table.h"
#include "cli/transfer.h"

#include "common/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void stored_print(const json_t *json)
{
    static const struct column head[] = {
        {"Slot", "slot", cell_text},
        {"Version", "version", cell_text},
        {"Id", "id", cell_text},
        {"Kind", "kind", cell_text},
        {"Counter", "release_counter", cell_text},
        {"Size", "size", cell_size},
        {"Signed by", "key_ids", cell_text},
        {"Uploaded by", "uploaded_by", cell_text},
        {"Uploaded", "created_at", cell_time},
        {"Devices running it", "running_on", cell_text},
        {"Model", "manifest.model.file", cell_text},
        {"Notes", "manifest.notes", cell_text},
    };
    static const struct column files[] = {{"FILE", "path", cell_text},
                                          {"SIZE", "size", cell_size},
                                          {"MODE", "mode", cell_text},
                                          {"SHA-256", "sha256", cell_text}};
    fields_print(json, COLUMNS(head));
    puts("");
    table_print(json_object_get(json_object_get(json, "manifest"), "files"), COLUMNS(files), "no files");
}

static void list_print(const json_t *json)
{
    static const struct column columns[] = {
        {"SLOT", "slot", cell_text},
        {"VERSION", "version", cell_text},
        {"COUNTER", "release_counter", cell_text},
        {"SIZE", "size", cell_size},
        {"RUNNING ON", "running_on", cell_text},
        {"SIGNED BY", "key_ids", cell_text},
        {"UPLOADED", "created_at", cell_time},
        {"BY", "uploaded_by", cell_text},
        {"ID", "id", cell_short_id},
    };
    table_print(json_object_get(json, "bundles"), COLUMNS(columns),
                "no bundles yet: `musterctl bundle upload` stores one");
}

static enum err file_open(struct cli *cli, int *ret_fd, int64_t *ret_size)
{
    struct stat st;
    const char *path = cli->words[0];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(&cli->info, err_from_errno(errno), "%.200s: cannot read: %s", path, strerror(errno));
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0) {
        (void)close(fd);
        return err_set(&cli->info, ERR_INVALID, "%.200s is empty or not a plain file", path);
    }
    *ret_fd = fd;
    *ret_size = st.st_size;
    return ERR_OK;
}

static enum err bundle_upload(struct cli *cli)
{
    cleanup_fd int fd = -1;
    cleanup_answer struct answer answer = {0};
    json_auto_t *json = NULL;
    int64_t size = 0;
    bool created = false;
    enum err e = file_open(cli, &fd, &size);
    if (e == ERR_OK)
        e = transfer_upload(cli, fd, size, option_int(cli, "patience", TRANSFER_PATIENCE_S), &created, &answer);
    if (e == ERR_OK)
        e = api_judge(cli, &answer, &json);
    if (e != ERR_OK)
        return e;
    if (wants_json(cli)) {
        puts(answer.text);
        return ERR_OK;
    }
    puts(created ? "stored" : "already there");
    stored_print(json);
    return ERR_OK;
}

/* ---- download */

/* The path of the new file, and of what it is called until it is whole. */
struct target {
    char path[PATH_MAX];
    char part[PATH_MAX + 8];
};

static enum err target_choose(struct cli *cli, const json_t *bundle, struct target *t)
{
    const char *out = option_text(cli, "out");
    int n = out != NULL ? snprintf(t->path, sizeof t->path, "%s", out)
                        : snprintf(t->path, sizeof t->path, "%s-%s.mub", json_text_or_null(bundle, "slot"),
                                   json_text_or_null(bundle, "version"));
    if (n < 0 || (size_t)n >= sizeof t->path)
        return err_set(&cli->info, ERR_INVALID, "the file's name is too long");
    (void)snprintf(t->part, sizeof t->part, "%s.part", t->path);
    if (access(t->path, F_OK) != 0)
        return ERR_OK;
    enum err e = err_set(&cli->info, ERR_CONFLICT, "%.300s is there already", t->path);
    err_next(&cli->info, "Remove it, or name another file by --out.");
    return e;
}

static enum err target_fill(struct cli *cli, const json_t *bundle, const struct target *t)
{
    int64_t size = 0;
    const char *sha256 = json_text_or_null(bundle, "object_sha256");
    enum err e = json_get_id(bundle, "size", 0, &size, &cli->info);
    if (e != ERR_OK)
        return e;
    cleanup_fd int fd = open(t->part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_set(&cli->info, err_from_errno(errno), "%.300s: cannot write: %s", t->part, strerror(errno));
    e = transfer_download(cli, sha256, size, option_int(cli, "patience", TRANSFER_PATIENCE_S), fd);
    if (e == ERR_OK && (fsync(fd) != 0 || rename(t->part, t->path) != 0))
        e = err_set(&cli->info, err_from_errno(errno), "%.300s: cannot write: %s", t->path, strerror(errno));
    if (e != ERR_OK)
        (void)unlink(t->part);
    return e;
}

static enum err bundle_download(struct cli *cli)
{
    struct target target;
    json_auto_t *json = NULL;
    const struct api_path path = api_path("/api/v1/bundles/", cli->words[0], "");
    enum err e = api_call(cli, "GET", &path, NULL, &json, NULL);
    if (e == ERR_OK)
        e = target_choose(cli, json, &target);
    if (e == ERR_OK)
        e = target_fill(cli, json, &target);
    if (e != ERR_OK)
        return e;
    if (wants_json(cli))
        return json_show(json_pack("{s:s, s:s}", "file", target.path, "bundle", json_text_or_null(json, "id")));
    printf("%s\n", target.path);
    return ERR_OK;
}

static enum err list_bundles(struct cli *cli)
{
    struct api_path path = api_path("/api/v1/bundles", NULL, "");
    api_query(&path, "slot", option_text(cli, "slot"));
    return api_show(cli, "GET", &path, NULL, list_print);
}

static enum err show_bundle(struct cli *cli)
{
    struct api_path path = api_path("/api/v1/bundles/", cli->words[0], "");
    return api_show(cli, "GET", &path, NULL, stored_print);
}

static const struct option list_options[] = {
    {"slot", OPTION_TEXT, "SLOT", "only those of this slot", false, 0, 0},
    {.name = NULL},
};

#define PATIENCE_OPTION                                                                                                \
    {                                                                                                                  \
        "patience", OPTION_INT, "SECONDS", "go on without any progress for so long (default 300)", false, 0, 86400     \
    }

static const struct option upload_options[] = {
    PATIENCE_OPTION,
    {.name = NULL},
};

static const struct option download_options[] = {
    {"out", OPTION_TEXT, "FILE", "the new file (default: SLOT-VERSION.mub)", false, 0, 0},
    PATIENCE_OPTION,
    {.name = NULL},
};

const struct command commands_bundle_store[] = {
    {"bundle upload", "FILE", 1, 1, upload_options, "Store a signed bundle on the server",
     "The server verifies it while it arrives. The same bundle again is fine. When the connection is lost or the "
     "server\n"
     "restarts, the upload goes on where it stopped; the same command, given again within a day, does so, too.",
     "musterctl bundle upload digits-1.0.0.mub", bundle_upload},
    {"bundle download", "BUNDLE", 1, 1, download_options, "Get a bundle's file from the server",
     "BUNDLE is SLOT@VERSION or an id. The file's digest is checked; `bundle verify` checks who signed it.",
     "musterctl bundle download digits@1.0.0 --out digits.mub", bundle_download},
    {"bundle list", "", 0, 0, list_options, "List bundles, newest first", "", "musterctl bundle list --slot digits",
     list_bundles},
    {"bundle show", "BUNDLE", 1, 1, NULL, "Show one bundle", "BUNDLE is SLOT@VERSION or an id.",
     "musterctl bundle show digits@1.0.0", show_bundle},
    {.name = NULL},
};
