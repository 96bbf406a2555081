#include "cli/transfer.h"

#include "cli/terminal.h"
#include "common/base/clock.h"
#include "common/base/crypt.h"
#include "common/base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PART = 8 * 1024 * 1024, WAIT_FIRST_MS = 500, WAIT_MAX_MS = 15000 };

/* How long nothing has moved, and when to try again. */
struct patience {
    int64_t since_ms; /* of the last progress */
    int64_t max_ms;
    int64_t wait_ms; /* before the next try */
};

static void patience_renew(struct patience *p)
{
    p->since_ms = clock_mono_ms();
    p->wait_ms = WAIT_FIRST_MS;
}

static void problem_forget(struct cli *cli)
{
    json_decref(cli->problem);
    cli->problem = NULL;
}

static const char *problem_code(const struct cli *cli)
{
    return cli->problem == NULL ? NULL : json_text_or_null(cli->problem, "code");
}

/* The server may be well again later; everything else is an answer. */
static bool may_pass(enum err e)
{
    return e == ERR_UNAVAILABLE || e == ERR_TIMEOUT;
}

/* Waits before another try; false when it has been too long. */
static bool patience_wait(struct cli *cli, struct patience *p, int64_t done, int64_t total)
{
    const char *why = cli->problem == NULL ? cli->info.text : json_text_or_null(cli->problem, "detail");
    if (clock_mono_ms() - p->since_ms + p->wait_ms > p->max_ms)
        return false;
    int64_t wait_ms = p->wait_ms + (int64_t)(random_unit() * (double)p->wait_ms / 2);
    terminal_progress_end();
    fprintf(stderr, "%s; trying again in %.1f s, from %.1f of %.1f MB\n", why == NULL ? "no answer" : why,
            (double)wait_ms / 1e3, (double)done / 1e6, (double)total / 1e6);
    clock_sleep_ms(wait_ms);
    p->wait_ms = p->wait_ms * 2 < WAIT_MAX_MS ? p->wait_ms * 2 : WAIT_MAX_MS;
    problem_forget(cli);
    cli->info = (struct err_info){.offset = -1};
    return true;
}

/* ---- upload */

struct upload {
    struct cli *cli;
    struct https *https;
    int fd;
    int64_t size, received;
    char sha256[SHA256_HEX];
    struct patience patience;
    bool done, created;
    struct answer answer; /* the Bundle, when done; owned */
};

static enum err upload_path(const struct upload *u, struct api_path *ret_path)
{
    *ret_path = api_path("/api/v1/uploads/", u->sha256, "");
    return ret_path->bad ? ERR_INTERNAL : ERR_OK;
}

/* "received" of openapi's Upload. */
static enum err received_take(struct upload *u, const json_t *json)
{
    int64_t received = 0;
    enum err e = json_get_id(json, "received", 0, &received, &u->cli->info);
    if (e == ERR_OK && received > u->size)
        e = err_set(&u->cli->info, ERR_CORRUPT, "the server says that it has more bytes than the file");
    if (e != ERR_OK)
        return e;
    if (received > u->received)
        patience_renew(&u->patience);
    u->received = received;
    return ERR_OK;
}

static enum err bundle_show(struct upload *u, const char *id)
{
    const struct api_path path = api_path("/api/v1/bundles/", id, "");
    enum err e = api_call(u->cli, "GET", &path, NULL, NULL, &u->answer);
    u->done = e == ERR_OK;
    return e;
}

/* What does the server have of it? Perhaps all. */
static enum err upload_look(struct upload *u)
{
    json_auto_t *json = NULL;
    struct api_path path;
    enum err e = upload_path(u, &path);
    if (e == ERR_OK)
        e = api_call(u->cli, "GET", &path, NULL, &json, NULL);
    if (e == ERR_NOT_FOUND && text_eq(problem_code(u->cli), "upload_not_found")) {
        problem_forget(u->cli);
        u->received = 0;
        return ERR_OK;
    }
    if (e != ERR_OK)
        return e;
    const char *bundle = json_text_or_null(json, "bundle");
    return bundle != NULL ? bundle_show(u, bundle) : received_take(u, json);
}

static enum err part_send(struct upload *u, struct answer *ret_answer)
{
    char range[96];
    struct api_path path;
    int64_t len = u->size - u->received < PART ? u->size - u->received : PART;
    (void)snprintf(range, sizeof range, "Content-Range: bytes %" PRId64 "-%" PRId64 "/%" PRId64, u->received,
                   u->received + len - 1, u->size);
    enum err e = upload_path(u, &path);
    const struct request request = {.method = "PUT",
                                    .path = path.text,
                                    .header = range,
                                    .upload_fd = u->fd,
                                    .upload_offset = u->received,
                                    .upload_size = len,
                                    .progress = terminal_progress,
                                    .progress_from = u->received,
                                    .progress_total = u->size};
    return e == ERR_OK ? https_send(u->https, &request, ret_answer, &u->cli->info) : e;
}

/* One part, from what the server has on. */
static enum err upload_step(struct upload *u)
{
    cleanup_answer struct answer answer = {0};
    json_auto_t *json = NULL;
    int64_t before = u->received;
    enum err e = part_send(u, &answer);
    if (e == ERR_OK)
        e = api_judge(u->cli, &answer, &json);
    if (e == ERR_CONFLICT && text_eq(problem_code(u->cli), "upload_out_of_order")) {
        problem_forget(u->cli);
        return upload_look(u); /* somebody else sends it, too, or it was given up */
    }
    if (e != ERR_OK)
        return e;
    if (answer.status != 202) {
        u->done = true;
        u->created = answer.status == 201;
        u->answer = answer;
        answer = (struct answer){0};
        return ERR_OK;
    }
    e = received_take(u, json);
    if (e == ERR_OK && u->received <= before)
        e = err_set(&u->cli->info, ERR_CORRUPT, "the server keeps nothing of what is sent");
    return e;
}

static enum err upload_run(struct upload *u)
{
    bool met = false;   /* a server that was never there is no lost connection */
    bool knows = false; /* what the server has */
    while (!u->done) {
        enum err e = knows ? upload_step(u) : upload_look(u);
        knows = e == ERR_OK;
        met = met || knows;
        if (e != ERR_OK && !(met && may_pass(e) && patience_wait(u->cli, &u->patience, u->received, u->size)))
            return e;
    }
    return ERR_OK;
}

enum err transfer_upload(struct cli *cli, int fd, int64_t size, int64_t patience_s, bool *ret_created,
                         struct answer *ret_answer)
{
    struct upload u = {.cli = cli, .fd = fd, .patience = {.max_ms = patience_s * 1000}};
    enum err e = lseek(fd, 0, SEEK_SET) == 0 ? sha256_fd(fd, u.sha256, &u.size) : ERR_IO;
    if (e != ERR_OK || u.size != size)
        return err_set(&cli->info, e == ERR_OK ? ERR_CONFLICT : e, "the file cannot be read, or changes meanwhile");
    e = api_connect(cli, true, &u.https);
    if (e != ERR_OK)
        return e;
    patience_renew(&u.patience);
    e = upload_run(&u);
    terminal_progress_end();
    if (e != ERR_OK) {
        answer_free(&u.answer);
        return e;
    }
    *ret_created = u.created;
    *ret_answer = u.answer;
    return ERR_OK;
}

/* ---- download */

static enum err download_step(struct cli *cli, const char *sha256, int64_t size, int fd, int64_t have)
{
    cleanup_answer struct answer answer = {0};
    struct https *https = NULL;
    char range[64];
    const struct api_path path = api_path("/api/v1/objects/", sha256, "");
    (void)snprintf(range, sizeof range, "Range: bytes=%" PRId64 "-", have);
    const struct request request = {.method = "GET",
                                    .path = path.text,
                                    .header = have > 0 ? range : NULL,
                                    .download = true,
                                    .download_fd = fd,
                                    .progress = terminal_progress,
                                    .progress_from = have,
                                    .progress_total = size};
    enum err e = path.bad ? ERR_INTERNAL : api_connect(cli, true, &https);
    if (e == ERR_OK)
        e = https_send(https, &request, &answer, &cli->info);
    if (e != ERR_OK)
        return e;
    if (answer.status == (have > 0 ? 206 : 200))
        return ERR_OK;
    e = api_judge(cli, &answer, NULL);
    return e == ERR_OK ? err_set(&cli->info, ERR_CORRUPT, "the server does not go on where the download stopped") : e;
}

static enum err digest_check(struct cli *cli, const char *sha256, int fd)
{
    char found[SHA256_HEX];
    int64_t size = 0;
    enum err e = lseek(fd, 0, SEEK_SET) == 0 ? sha256_fd(fd, found, &size) : ERR_IO;
    if (e == ERR_OK && !text_eq(found, sha256))
        e = err_set(&cli->info, ERR_CORRUPT, "what has come is not the object: its SHA-256 is %.16s…", found);
    return e;
}

enum err transfer_download(struct cli *cli, const char *sha256, int64_t size, int64_t patience_s, int fd)
{
    struct patience patience = {.max_ms = patience_s * 1000};
    enum err e = ERR_OK;
    patience_renew(&patience);
    for (int64_t have = 0; have < size;) {
        e = download_step(cli, sha256, size, fd, have);
        int64_t now = lseek(fd, 0, SEEK_END);
        if (now > have)
            patience_renew(&patience);
        have = now;
        if (e != ERR_OK && !(have > 0 && may_pass(e) && patience_wait(cli, &patience, have, size)))
            break;
    }
    terminal_progress_end();
    return e == ERR_OK ? digest_check(cli, sha256, fd) : e;
}
