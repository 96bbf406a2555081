/* Fetches an object by digest into a file, going on where an earlier try has ended, or where what it has left is wrong.
 */

#include "agent/fetch/http.h"
#include "agent/fetch/space.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/crypt.h"
#include "common/base/file.h"
#include "common/base/text.h"
#include "common/bundle/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

enum { PROGRESS_MS = 200 };

struct transfer {
    struct http http;
    struct outcome *outcome;
    int fd;
    const char *sha256;
    int64_t size;        /* of the object */
    int64_t unpacked;    /* bytes it will need when it is unpacked */
    int64_t bytes_s;     /* most bytes per second, 0: any */
    struct trust *trust; /* the keys that sign bundles; NULL: not said */
    int64_t have;        /* bytes of it in the file */
    struct sha256 *hash; /* of these */
    bool started;        /* an answer has begun to arrive */
    bool object;         /* its body is the object, not a problem */
    bool stopped;        /* it was stopped here; outcome says why */
    int64_t told_ms;
};

static bool file_cut(const struct transfer *t, int64_t size)
{
    if (ftruncate(t->fd, size) == 0)
        return true;
    return outcome_fail(t->outcome, "io_error", "cannot shorten the download: %s", strerror(errno));
}

/* Begins with an empty file. */
static bool file_restart(struct transfer *t)
{
    sha256_free(t->hash);
    t->hash = NULL;
    t->have = 0;
    if (!file_cut(t, 0))
        return false;
    if (lseek(t->fd, 0, SEEK_SET) != 0)
        return outcome_fail(t->outcome, "io_error", "cannot go back in the download: %s", strerror(errno));
    if (sha256_new(&t->hash) != ERR_OK)
        return outcome_retry(t->outcome, "internal", "out of memory");
    return true;
}

/* Where the first block begins that the signed manifest in the file knows to be wrong; -1: none is known to be. */
static int64_t wrong_from(const struct transfer *t)
{
    int64_t offset = -1;
    return t->trust != NULL && bundle_damage(t->fd, t->trust, &offset) == ERR_OK ? offset : -1;
}

/* Hashes what an earlier try has left, up to the first block that is wrong; a file that is too long is begun anew. */
static bool file_resume(struct transfer *t)
{
    char bytes[16384];
    int64_t wrong = wrong_from(t);
    if (wrong >= 0 && !file_cut(t, wrong))
        return false;
    if (lseek(t->fd, 0, SEEK_SET) != 0)
        return outcome_fail(t->outcome, "io_error", "cannot read the download: %s", strerror(errno));
    if (sha256_new(&t->hash) != ERR_OK)
        return outcome_retry(t->outcome, "internal", "out of memory");
    for (;;) {
        ssize_t n = read(t->fd, bytes, sizeof bytes);
        if (n == 0)
            return true;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return outcome_fail(t->outcome, "io_error", "cannot read the download: %s", strerror(errno));
        t->have += n;
        if (t->have > t->size)
            return file_restart(t);
        if (sha256_add(t->hash, bytes, (size_t)n) != ERR_OK)
            return outcome_retry(t->outcome, "internal", "cannot hash");
    }
}

static void progress_tell(struct transfer *t)
{
    int64_t now = clock_mono_ms();
    if (now - t->told_ms < PROGRESS_MS && t->have != t->size)
        return;
    t->told_ms = now;
    json_t *line = json_pack("{so}", "progress", json_id(t->have));
    if (line != NULL)
        line_print(line);
    json_decref(line);
}

/* A partial answer that begins where the file ends goes on, a whole one begins anew, anything else is a problem. */
static bool answer_begin(struct transfer *t)
{
    long status = 0;
    char expected[64];
    struct curl_header *range = NULL;
    t->started = true;
    (void)curl_easy_getinfo(t->http.curl, CURLINFO_RESPONSE_CODE, &status);
    t->object = status == 200 || status == 206;
    if (status == 200)
        return t->have == 0 || file_restart(t);
    if (status != 206)
        return true;
    (void)snprintf(expected, sizeof expected, "bytes %" PRId64 "-", t->have);
    if (curl_easy_header(t->http.curl, "Content-Range", 0, CURLH_HEADER, -1, &range) == CURLHE_OK &&
        text_starts(range->value, expected))
        return true;
    return outcome_retry(t->outcome, "server_unavailable", "the server sent another range than was asked for");
}

static bool object_append(struct transfer *t, const char *bytes, size_t len)
{
    if ((int64_t)len > t->size - t->have)
        return outcome_fail(t->outcome, "object_digest_mismatch", "the server sent more than %" PRId64 " bytes",
                            t->size);
    enum err e = file_write_fd(t->fd, bytes, len);
    if (e == ERR_OK)
        e = sha256_add(t->hash, bytes, len);
    if (e != ERR_OK)
        return outcome_error(t->outcome, e, "io_error", NULL);
    t->have += (int64_t)len;
    progress_tell(t);
    return true;
}

static size_t object_write(char *bytes, size_t size, size_t count, void *user)
{
    struct transfer *t = user;
    size_t len = size * count;
    bool good = t->started || answer_begin(t);
    if (good && t->object)
        good = object_append(t, bytes, len);
    else if (good)
        good = buf_add(&t->http.body, bytes, len) == ERR_OK;
    t->stopped = !good;
    return good ? len : 0;
}

static bool object_get(struct transfer *t)
{
    char range[32];
    long status = 0;
    CURL *c = t->http.curl;
    (void)snprintf(range, sizeof range, "%" PRId64 "-", t->have);
    if (curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, object_write) != CURLE_OK ||
        curl_easy_setopt(c, CURLOPT_WRITEDATA, t) != CURLE_OK ||
        (t->have > 0 && curl_easy_setopt(c, CURLOPT_RANGE, range) != CURLE_OK) ||
        (t->bytes_s > 0 && curl_easy_setopt(c, CURLOPT_MAX_RECV_SPEED_LARGE, (curl_off_t)t->bytes_s) != CURLE_OK))
        return outcome_retry(t->outcome, "internal", "libcurl cannot be set up");
    struct outcome broken = {0};
    bool complete = http_run(&t->http, &status, &broken);
    if (!complete && !t->stopped)
        *t->outcome = broken;
    if (!complete)
        return false;
    if (status != 200 && status != 206)
        return http_problem(&t->http, status, t->outcome);
    return true;
}

/* All bytes are here: are they the right ones? If not, those are kept that lie before a block that is wrong. */
static bool object_check(struct transfer *t)
{
    char hex[SHA256_HEX];
    if (t->have < t->size)
        return outcome_retry(t->outcome, "server_unreachable",
                             "the answer ended after %" PRId64 " of %" PRId64 " bytes", t->have, t->size);
    if (sha256_end(t->hash, hex) != ERR_OK)
        return outcome_retry(t->outcome, "internal", "cannot hash");
    if (!text_eq(hex, t->sha256)) {
        int64_t wrong = wrong_from(t);
        (void)file_cut(t, wrong > 0 ? wrong : 0);
        return outcome_fail(t->outcome, "object_digest_mismatch", "the bytes have the digest %.12s, not %.12s", hex,
                            t->sha256);
    }
    if (fsync(t->fd) != 0)
        return outcome_fail(t->outcome, "io_error", "cannot write the download: %s", strerror(errno));
    return true;
}

static bool object_fetch(struct transfer *t, const struct request *request)
{
    char path[128];
    if (!file_resume(t))
        return false;
    if (t->have == t->size)
        return object_check(t);
    /* What is missing, and what it will make when it is unpacked: nothing is begun that cannot end. */
    if (!space_check(t->fd, t->size - t->have + t->unpacked, t->outcome))
        return false;
    (void)snprintf(path, sizeof path, "/device/v1/objects/%s", t->sha256);
    bool done = http_open(&t->http, request, path, true, t->outcome) && object_get(t) && object_check(t);
    http_close(&t->http);
    return done;
}

static bool file_open(const char *path, int *ret_fd, struct outcome *outcome)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return outcome_error(outcome, err_from_errno(errno) == ERR_NO_SPACE ? ERR_NO_SPACE : ERR_IO, "io_error", NULL);
    *ret_fd = fd;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        return outcome_retry(outcome, "internal", "another muster-fetch still writes %s", path);
    return true;
}

void operation_object(const struct request *request, struct outcome *outcome)
{
    struct err_info info = {0};
    struct transfer t = {.outcome = outcome};
    cleanup_fd int fd = -1;
    const char *file = request_text(request, "file", outcome);
    t.sha256 = file == NULL ? NULL : request_text(request, "sha256", outcome);
    if (t.sha256 == NULL)
        return;
    if (!text_is_sha256(t.sha256) || json_get_id(request->json, "size", 1, &t.size, &info) != ERR_OK) {
        (void)outcome_fail(outcome, "request_invalid", "sha256 or size is not valid");
        return;
    }
    t.unpacked = t.size;
    if ((json_has(request->json, "unpacked") &&
         json_get_id(request->json, "unpacked", 0, &t.unpacked, &info) != ERR_OK) ||
        (json_has(request->json, "bytes_s") && json_get_id(request->json, "bytes_s", 0, &t.bytes_s, &info) != ERR_OK)) {
        (void)outcome_fail(outcome, "request_invalid", "unpacked or bytes_s is not valid");
        return;
    }
    if (!file_open(file, &fd, outcome))
        return;
    t.fd = fd;
    /* Without keys nothing is known of a part; what is wrong with them, unpacking says. */
    const char *trust_dir = json_text_or_null(request->json, "trust_dir");
    if (trust_dir != NULL)
        (void)!trust_load(trust_dir, &t.trust, NULL);
    outcome->ok = object_fetch(&t, request);
    sha256_free(t.hash);
    (void)trust_free(t.trust);
}
