/* Reads an installed version once more: are its files what its manifest says? A proof for the beat of what runs. */

#include "agent/fetch/request.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/text.h"
#include "common/bundle/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static bool file_verify(int dir, const struct manifest_file *file, struct outcome *outcome)
{
    struct stat st;
    char sha256[SHA256_HEX];
    int64_t size = 0;
    cleanup_fd int fd = openat(dir, file->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return outcome_fail(outcome, "payload_mismatch", "%s is missing", file->path);
    if (fd < 0 || fstat(fd, &st) != 0)
        return outcome_fail(outcome, "io_error", "%s: %s", file->path, strerror(errno));
    if (!S_ISREG(st.st_mode) || st.st_size != file->size)
        return outcome_fail(outcome, "payload_mismatch", "%s is not the file that the manifest lists", file->path);
    enum err e = sha256_fd(fd, sha256, &size);
    if (e != ERR_OK)
        return outcome_error(outcome, e, "io_error", NULL);
    return text_eq(sha256, file->sha256) ||
           outcome_fail(outcome, "payload_mismatch", "%s has other bytes than the manifest lists", file->path);
}

void operation_verify(const struct request *request, struct outcome *outcome)
{
    const char *path = request_text(request, "dir", outcome);
    const char *bundle = path == NULL ? NULL : request_text(request, "bundle", outcome);
    cleanup_free char *bytes = NULL;
    cleanup_manifest struct manifest *manifest = NULL;
    struct err_info info = {0};
    size_t len = 0;
    if (bundle == NULL)
        return;
    cleanup_fd int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum err e = dir < 0 ? err_from_errno(errno) : file_read_at(dir, MANIFEST_NAME, MANIFEST_BYTES_MAX, &bytes, &len);
    if (e == ERR_OK)
        e = manifest_parse(bytes, len, &manifest, &info);
    if (e != ERR_OK) {
        (void)outcome_error(outcome, e, "payload_mismatch", &info);
        return;
    }
    if (!text_eq(manifest->id, bundle)) {
        (void)outcome_fail(outcome, "payload_mismatch", "%s holds another bundle", path);
        return;
    }
    outcome->ok = true;
    for (size_t i = 0; outcome->ok && i < manifest->file_count; i++)
        outcome->ok = file_verify(dir, &manifest->files[i], outcome);
}
