#include "cli/files.h"

#include "common/base/cleanup.h"
#include "common/base/text.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PATH_LEN = 4096, DEPTH_MAX = 32 };

enum err file_list_new(struct file_list **ret_list)
{
    struct file_list *list = calloc(1, sizeof *list);
    if (list == NULL)
        return ERR_NO_MEMORY;
    *ret_list = list;
    return ERR_OK;
}

void file_list_free(struct file_list **list)
{
    for (size_t i = 0; *list != NULL && i < (*list)->count; i++)
        free((*list)->texts[i]);
    free(*list);
    *list = NULL;
}

struct bundle_file *file_list_find(struct file_list *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->files[i].path, name) == 0)
            return &list->files[i];
    return NULL;
}

/* Takes text ("SOURCE\0NAME" or "SOURCE", with name inside it) over, also on error. */
static enum err add(struct cli *cli, struct file_list *list, char *text, const char *name,
                    struct bundle_file **ret_file)
{
    if (list->count == MANIFEST_FILES_MAX) {
        free(text);
        return usage_error(cli, "a bundle has at most %d files", MANIFEST_FILES_MAX);
    }
    list->texts[list->count] = text;
    struct bundle_file *file = &list->files[list->count++];
    *file = (struct bundle_file){.source = text, .path = name};
    if (ret_file != NULL)
        *ret_file = file;
    return ERR_OK;
}

enum err file_list_add(struct cli *cli, struct file_list *list, const char *text, struct bundle_file **ret_file)
{
    char *copy = strdup(text);
    if (copy == NULL)
        return ERR_NO_MEMORY;
    char *name = strrchr(copy, '=');
    if (name != NULL)
        *name++ = '\0';
    char *slash = strrchr(copy, '/');
    if (name == NULL)
        name = slash == NULL ? copy : slash + 1;
    return add(cli, list, copy, name, ret_file);
}

/* ---- directories ---- */

/* A walk through a directory: where it is, and what that is called in the bundle. */
struct walk {
    struct cli *cli;
    struct file_list *list;
    int depth;
    char source[PATH_LEN], name[PATH_LEN];
};

static enum err too_long(struct walk *w)
{
    return err_set(&w->cli->info, ERR_INVALID, "%.200s: the path is too long, or the directories too deep", w->source);
}

static enum err file_found(struct walk *w)
{
    size_t source_len = strlen(w->source);
    size_t name_len = strlen(w->name);
    char *text = malloc(source_len + name_len + 2);
    if (text == NULL)
        return ERR_NO_MEMORY;
    memcpy(text, w->source, source_len + 1);
    memcpy(text + source_len + 1, w->name, name_len + 1);
    return add(w->cli, w->list, text, text + source_len + 1, NULL);
}

static enum err dir_found(struct walk *w);

static enum err entry_found(struct walk *w, const char *entry)
{
    struct stat st;
    size_t source_len = strlen(w->source);
    size_t name_len = strlen(w->name);
    int n = snprintf(w->source + source_len, sizeof w->source - source_len, "/%s", entry);
    int m = snprintf(w->name + name_len, sizeof w->name - name_len, "%s%s", name_len == 0 ? "" : "/", entry);
    enum err e = ERR_OK;
    if (n < 0 || m < 0 || (size_t)n >= sizeof w->source - source_len || (size_t)m >= sizeof w->name - name_len)
        e = too_long(w);
    else if (lstat(w->source, &st) != 0)
        e = err_set(&w->cli->info, err_from_errno(errno), "%.200s: cannot read: %s", w->source, strerror(errno));
    else if (S_ISDIR(st.st_mode))
        e = dir_found(w);
    else if (S_ISREG(st.st_mode))
        e = file_found(w);
    else
        e = err_set(&w->cli->info, ERR_INVALID, "%.200s is no plain file: a bundle has neither links nor devices",
                    w->source);
    w->source[source_len] = '\0';
    w->name[name_len] = '\0';
    return e;
}

/* The same order everywhere, whatever the locale. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static enum err dir_found(struct walk *w)
{
    struct dirent **entries = NULL;
    if (w->depth == DEPTH_MAX)
        return too_long(w);
    int count = scandir(w->source, &entries, NULL, by_name);
    if (count < 0)
        return err_set(&w->cli->info, err_from_errno(errno), "%.200s: cannot read: %s", w->source, strerror(errno));
    enum err e = ERR_OK;
    w->depth++;
    for (int i = 0; i < count; i++) {
        const char *entry = entries[i]->d_name;
        if (e == ERR_OK && strcmp(entry, ".") != 0 && strcmp(entry, "..") != 0)
            e = entry_found(w, entry);
        free(entries[i]);
    }
    w->depth--;
    free(entries);
    return e;
}

enum err file_list_add_dir(struct cli *cli, struct file_list *list, const char *text)
{
    cleanup_free struct walk *w = calloc(1, sizeof *w);
    if (w == NULL)
        return ERR_NO_MEMORY;
    w->cli = cli;
    w->list = list;
    if (!text_copy(w->source, sizeof w->source, text))
        return usage_error(cli, "--dir %.100s: the path is too long", text);
    char *name = strrchr(w->source, '=');
    if (name != NULL) {
        *name++ = '\0';
        (void)text_copy(w->name, sizeof w->name, name);
    }
    size_t before = list->count;
    enum err e = dir_found(w);
    if (e == ERR_OK && list->count == before)
        return err_set(&cli->info, ERR_INVALID, "%.200s: there is no file in it", w->source);
    return e;
}
