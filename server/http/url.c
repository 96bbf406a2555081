#include "server/http/url.h"

#include "common/base/text.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Decodes len raw bytes to out, which has room for len + 1. Returns NULL, or what is wrong. */
static const char *piece_decode(const char *raw, size_t len, bool in_query, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)raw[i];
        if (c == '%') {
            if (len - i < 3)
                return "an escape (%XX) is cut off";
            if (text_unhex((const char[]){raw[i + 1], raw[i + 2], '\0'}, 1, &c) != ERR_OK)
                return "an escape (%XX) is not two hex digits";
            if (c == '/' && !in_query)
                return "an escaped slash (%2F) is not allowed";
            i += 2;
        } else if (c == '+' && in_query) {
            c = ' ';
        }
        if (c < ' ' || c == 0x7f)
            return "control characters are not allowed";
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return text_is_utf8(out, n) ? NULL : "it is not UTF-8";
}

static enum err path_fail(struct url_path *path, struct err_info *info, const char *what)
{
    url_path_clear(path);
    return err_code(info, ERR_INVALID, "bad_path", "the path is not valid: %s", what);
}

enum err url_path_parse(const char *raw, size_t len, struct url_path *ret_path, struct err_info *info)
{
    struct url_path path = {.text = malloc(len + 1)};
    if (path.text == NULL)
        return ERR_NO_MEMORY;
    if (len == 0 || raw[0] != '/')
        return path_fail(&path, info, "it does not begin with a slash");
    char *out = path.text;
    for (size_t at = 1; at <= len && len > 1;) {
        const char *slash = memchr(raw + at, '/', len - at);
        size_t n = slash == NULL ? len - at : (size_t)(slash - (raw + at));
        const char *wrong = n == 0 ? "a segment is empty" : piece_decode(raw + at, n, false, out);
        if (wrong == NULL && (strcmp(out, ".") == 0 || strcmp(out, "..") == 0))
            wrong = "\".\" and \"..\" are not allowed";
        if (wrong != NULL)
            return path_fail(&path, info, wrong);
        if (path.count == URL_SEGMENTS_MAX) {
            url_path_clear(&path);
            return err_set(info, ERR_NOT_FOUND, "there is nothing at this path");
        }
        path.segments[path.count++] = out;
        out += strlen(out) + 1;
        at += n + 1;
    }
    *ret_path = path;
    return ERR_OK;
}

void url_path_clear(struct url_path *path)
{
    free(path->text);
    *path = (struct url_path){};
}

/* Adds `name=value` of len raw bytes, decoded to out; moves out behind it. Returns NULL, or what is wrong. */
static const char *pair_add(struct url_query *query, const char *raw, size_t len, char **out)
{
    const char *equals = memchr(raw, '=', len);
    size_t name_len = equals == NULL ? len : (size_t)(equals - raw);
    size_t value_at = equals == NULL ? len : name_len + 1;
    char *name = *out;
    const char *wrong = piece_decode(raw, name_len, true, name);
    if (wrong != NULL)
        return wrong;
    char *value = name + strlen(name) + 1;
    wrong = piece_decode(raw + value_at, len - value_at, true, value);
    if (wrong != NULL)
        return wrong;
    if (*name == '\0')
        return "a parameter has no name";
    if (url_query_get(query, name) != NULL)
        return "a parameter is there twice";
    if (query->count == URL_PAIRS_MAX)
        return "there are too many parameters";
    query->pairs[query->count].name = name;
    query->pairs[query->count++].value = value;
    *out = value + strlen(value) + 1;
    return NULL;
}

enum err url_query_parse(const char *raw, struct url_query *ret_query, struct err_info *info)
{
    size_t len = strlen(raw);
    /* A pair takes at most its raw bytes, one byte for a missing '=' and one for the NUL in place of '&'. */
    struct url_query query = {.text = malloc(2 * len + 2)};
    if (query.text == NULL)
        return ERR_NO_MEMORY;
    char *out = query.text;
    for (size_t at = 0; at < len;) {
        size_t n = strcspn(raw + at, "&");
        const char *wrong = n == 0 ? NULL : pair_add(&query, raw + at, n, &out);
        if (wrong != NULL) {
            url_query_clear(&query);
            return err_code(info, ERR_INVALID, "bad_query", "the query is not valid: %s", wrong);
        }
        at += n + 1;
    }
    *ret_query = query;
    return ERR_OK;
}

void url_query_clear(struct url_query *query)
{
    free(query->text);
    *query = (struct url_query){};
}

const char *url_query_get(const struct url_query *query, const char *name)
{
    for (size_t i = 0; i < query->count; i++)
        if (strcmp(query->pairs[i].name, name) == 0)
            return query->pairs[i].value;
    return NULL;
}
