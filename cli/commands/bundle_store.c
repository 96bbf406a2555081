/* Bundles on the server. */
#include "cli/api.h"
#include "cli/commands.h"
#include "cli/table.h"
#include "cli/terminal.h"

#include "common/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

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
    struct https *https = NULL;
    struct request request = {.method = "PUT", .path = "/api/v1/bundles", .progress = terminal_progress};
    enum err e = file_open(cli, &fd, &request.upload_size);
    if (e == ERR_OK)
        e = api_connect(cli, true, &https);
    if (e != ERR_OK)
        return e;
    request.upload_fd = fd;
    e = https_send(https, &request, &answer, &cli->info);
    terminal_progress_end();
    if (e == ERR_OK)
        e = api_judge(cli, &answer, &json);
    if (e != ERR_OK)
        return e;
    if (wants_json(cli)) {
        puts(answer.text);
        return ERR_OK;
    }
    puts(answer.status == 201 ? "stored" : "already there");
    stored_print(json);
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

const struct command commands_bundle_store[] = {
    {"bundle upload", "FILE", 1, 1, NULL, "Store a signed bundle on the server",
     "The server verifies it before it is stored. The same bundle again is fine.",
     "musterctl bundle upload digits-1.0.0.mub", bundle_upload},
    {"bundle list", "", 0, 0, list_options, "List bundles, newest first", "", "musterctl bundle list --slot digits",
     list_bundles},
    {"bundle show", "BUNDLE", 1, 1, NULL, "Show one bundle", "BUNDLE is SLOT@VERSION or an id.",
     "musterctl bundle show digits@1.0.0", show_bundle},
    {.name = NULL},
};
