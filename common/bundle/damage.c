/* bundle_damage: how far an unfinished or damaged file is right. */

#include "common/bundle/blocks.h"
#include "common/bundle/reader.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct search {
    int fd;
    int64_t file_size;
    int64_t found;  /* where the first wrong block begins; -1: none so far */
    enum err error; /* of reading it */
};

static enum err entry_check(void *user, const struct bundle_item *item, struct err_info *info)
{
    struct search *s = user;
    if (item->form != BUNDLE_FULL) /* nothing vouches for its bytes */
        return err_set(info, ERR_CONFLICT, "nothing is known from here on");
    for (int64_t i = 0; i < blocks_count(item->payload); i++) {
        char sha256[SHA256_HEX];
        struct block block = blocks_at(item->payload, i);
        int64_t begin = item->offset + block.offset;
        if (begin + block.size > s->file_size)
            return err_set(info, ERR_CONFLICT, "the file ends here");
        s->error = sha256_pread(s->fd, begin, block.size, sha256);
        if (s->error != ERR_OK)
            return s->error;
        if (strcmp(sha256, block.sha256) == 0)
            continue;
        s->found = begin;
        return err_set(info, ERR_CONFLICT, "found");
    }
    return ERR_OK;
}

enum err bundle_damage(int fd, const struct trust *trust, int64_t *ret_offset)
{
    struct stat st;
    struct search s = {.fd = fd, .found = -1};
    const struct bundle_sink sink = {.user = &s, .unread = true, .deltas = true, .begin = entry_check};
    cleanup_manifest struct manifest *m = NULL;
    if (lseek(fd, 0, SEEK_SET) != 0 || fstat(fd, &st) != 0)
        return ERR_IO;
    s.file_size = st.st_size;
    /* However the reading ends: what is known is what was found until then. */
    enum err e = bundle_read(fd, trust, &sink, &m, NULL, NULL);
    if (e == ERR_IO || e == ERR_NO_MEMORY)
        return e;
    if (s.error != ERR_OK)
        return s.error;
    *ret_offset = s.found;
    return ERR_OK;
}
