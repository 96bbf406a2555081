/* The part of musterctl that makes and applies deltas, small enough to be built for another processor:
 *   rebuild create fast|best OLD NEW DELTA
 *   rebuild apply OLD DELTA OUT */
#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "common/delta/delta.h"

#include <fcntl.h>
#include <stdio.h>

enum { EXIT_CALLED_WRONGLY = 2 };

static int failed(const char *what, const struct err_info *info, enum err e)
{
    (void)fprintf(stderr, "rebuild: %s: %s\n", what, *info->text != '\0' ? info->text : err_name(e));
    return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    struct err_info info = {0};
    const bool create = argc == 6 && text_eq(argv[1], "create");
    const bool apply = argc == 5 && text_eq(argv[1], "apply");
    if (!create && !apply) {
        (void)fputs("usage: rebuild create fast|best OLD NEW DELTA; rebuild apply OLD DELTA OUT\n", stderr);
        return EXIT_CALLED_WRONGLY;
    }
    cleanup_fd int old = open(argv[argc - 3], O_RDONLY | O_CLOEXEC);
    cleanup_fd int other = open(argv[argc - 2], O_RDONLY | O_CLOEXEC);
    cleanup_fd int out = open(argv[argc - 1], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (old < 0 || other < 0 || out < 0)
        return failed(argv[1], &info, ERR_IO);
    const struct delta_options options = {.effort = create && text_eq(argv[2], "best") ? DELTA_BEST : DELTA_FAST};
    enum err e =
        create ? delta_create(old, other, out, &options, NULL, &info) : delta_apply(old, other, out, NULL, &info);
    return e == ERR_OK ? EXIT_SUCCESS : failed(argv[1], &info, e);
}
