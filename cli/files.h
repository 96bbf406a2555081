#pragma once
/* The files of a new bundle, as the command line names them. */

#include "cli/command.h"

#include "common/bundle/bundle.h"

/* count files, with the memory of their names. Pointers to a file stay good. */
struct file_list {
    size_t count;
    struct bundle_file files[MANIFEST_FILES_MAX];
    char *texts[MANIFEST_FILES_MAX]; /* owned */
};

/* An empty one; file_list_free() it. */
[[nodiscard]] enum err file_list_new(struct file_list **ret_list);
void file_list_free(struct file_list **list);

/* "PATH=NAME", or "PATH", which is called like its last part. ret_file may be NULL. */
[[nodiscard]] enum err file_list_add(struct cli *cli, struct file_list *list, const char *text,
                                     struct bundle_file **ret_file);

/* "DIR=NAME", or "DIR": every plain file below DIR, in the order of their names, called NAME/… or by its path from DIR.
 * Anything that is neither a file nor a directory is an error. */
[[nodiscard]] enum err file_list_add_dir(struct cli *cli, struct file_list *list, const char *text);

/* The file with this name in the bundle, or NULL. */
struct bundle_file *file_list_find(struct file_list *list, const char *name);
