/* bundle_inspect: what a bundle file says and needs, for people. */

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/text.h"
#include "common/bundle/reader.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct inspection {
    struct bundle_part *parts;
    int delta_fd; /* the delta that is being read; -1: none */
};

static enum err inspection_head(void *user, const struct manifest *m, const struct bundle_signature *signatures,
                                size_t count, struct err_info *info)
{
    (void)signatures;
    (void)count;
    (void)info;
    struct inspection *i = user;
    i->parts = calloc(m->payload_count, sizeof *i->parts);
    return i->parts == NULL ? ERR_NO_MEMORY : ERR_OK;
}

static enum err inspection_begin(void *user, const struct bundle_item *item, struct err_info *info)
{
    struct inspection *i = user;
    struct bundle_part *part = &i->parts[item->index];
    part->form = item->form;
    part->size = item->size;
    if (item->form == BUNDLE_SAME)
        (void)text_copy(part->old_sha256, sizeof part->old_sha256, item->payload->file);
    if (item->form != BUNDLE_DELTA)
        return ERR_OK;
    const char *where = getenv("TMPDIR");
    enum err e = file_unnamed(where == NULL ? "/tmp" : where, &i->delta_fd);
    return e == ERR_OK ? e : err_set(info, e, "cannot make a temporary file: %s", err_name(e));
}

static enum err inspection_raw(void *user, const void *bytes, size_t len, struct err_info *info)
{
    struct inspection *i = user;
    enum err e = i->delta_fd < 0 ? ERR_OK : file_write_fd(i->delta_fd, bytes, len);
    return e == ERR_OK ? e : err_set(info, e, "cannot write a temporary file: %s", err_name(e));
}

static enum err inspection_end(void *user, const struct bundle_item *item, struct err_info *info)
{
    struct inspection *i = user;
    struct bundle_part *part = &i->parts[item->index];
    if (item->form != BUNDLE_DELTA)
        return ERR_OK;
    cleanup_fd int fd = i->delta_fd;
    i->delta_fd = -1;
    enum err e = delta_inspect(fd, &part->about, info);
    if (e != ERR_OK)
        return e;
    if (part->about.new_size != item->file->size || strcmp(part->about.new_sha256, item->file->sha256) != 0)
        return err_code(info, ERR_CORRUPT, "delta_invalid", "entry \"delta/%s\": it makes another file",
                        item->file->sha256);
    (void)text_copy(part->old_sha256, sizeof part->old_sha256, part->about.old_sha256);
    return ERR_OK;
}

enum err bundle_inspect(int fd, const struct trust *trust, struct manifest **ret_manifest, struct bundle_keys *ret_keys,
                        struct bundle_part **ret_parts, struct err_info *info)
{
    struct inspection i = {.delta_fd = -1};
    struct bundle_sink sink = {.user = &i,
                               .deltas = true,
                               .head = inspection_head,
                               .begin = inspection_begin,
                               .raw = inspection_raw,
                               .end = inspection_end};
    enum err e = bundle_read(fd, trust, &sink, ret_manifest, ret_keys, info);
    if (i.delta_fd >= 0)
        (void)close(i.delta_fd);
    if (e == ERR_OK && ret_parts != NULL)
        *ret_parts = i.parts;
    else
        free(i.parts);
    return e;
}
