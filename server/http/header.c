#include "server/http/header.h"

#include "common/base/text.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

static const char BLANK[] = " \t";

/* A run of digits at *at; moves *at behind it. -1: no digits, or too many for a file's size. */
static int64_t digits_take(const char **at)
{
    size_t n = strspn(*at, "0123456789");
    char text[20];
    int64_t value = -1;
    if (n == 0 || n >= sizeof text)
        return -1;
    memcpy(text, *at, n);
    text[n] = '\0';
    *at += n;
    return text_to_i64(text, 0, INT64_MAX, &value) == ERR_OK ? value : -1;
}

enum header_range header_range(const char *range, int64_t size, int64_t *ret_first, int64_t *ret_last)
{
    static const char unit[] = "bytes=";
    if (range == NULL || strncasecmp(range, unit, sizeof unit - 1) != 0)
        return RANGE_ALL;
    const char *at = range + sizeof unit - 1;
    at += strspn(at, BLANK);
    bool is_suffix = *at == '-';
    int64_t first = is_suffix ? 0 : digits_take(&at);
    if (first < 0 || *at != '-')
        return RANGE_ALL;
    at++;
    bool is_open = *at == '\0' && !is_suffix;
    int64_t last = is_open ? size - 1 : digits_take(&at);
    at += strspn(at, BLANK);
    if (*at != '\0' || (last < 0 && !is_open) || (!is_suffix && !is_open && last < first))
        return RANGE_ALL;
    if (is_suffix) {
        if (last == 0 || size == 0)
            return RANGE_UNSATISFIABLE;
        first = last < size ? size - last : 0;
        last = size - 1;
    }
    if (first >= size)
        return RANGE_UNSATISFIABLE;
    *ret_first = first;
    *ret_last = last < size ? last : size - 1;
    return RANGE_PART;
}

bool header_content_range(const char *content_range, int64_t *ret_first, int64_t *ret_last, int64_t *ret_size)
{
    static const char unit[] = "bytes ";
    if (content_range == NULL || strncasecmp(content_range, unit, sizeof unit - 1) != 0)
        return false;
    const char *at = content_range + sizeof unit - 1;
    int64_t first = digits_take(&at);
    if (first < 0 || *at++ != '-')
        return false;
    int64_t last = digits_take(&at);
    if (last < first || *at++ != '/')
        return false;
    int64_t size = digits_take(&at);
    if (size <= last || *at != '\0')
        return false;
    *ret_first = first;
    *ret_last = last;
    *ret_size = size;
    return true;
}

/* Takes the next entry of a comma list, without blanks around it; false at the end. */
static bool entry_next(const char **at, const char **ret_entry, size_t *ret_len)
{
    *at += strspn(*at, ", \t");
    if (**at == '\0')
        return false;
    size_t n = strcspn(*at, ",");
    *ret_entry = *at;
    *at += n;
    while (n > 0 && strchr(BLANK, (*ret_entry)[n - 1]) != NULL)
        n--;
    *ret_len = n;
    return true;
}

/* The n bytes are the entity tag in quotes. */
static bool is_quoted(const char *text, size_t n, const char *etag)
{
    size_t len = strlen(etag);
    return n == len + 2 && text[0] == '"' && text[n - 1] == '"' && memcmp(text + 1, etag, len) == 0;
}

bool header_names_etag(const char *if_none_match, const char *etag)
{
    const char *entry = NULL;
    size_t n = 0;
    while (if_none_match != NULL && entry_next(&if_none_match, &entry, &n)) {
        if (n == 1 && *entry == '*')
            return true;
        size_t weak = n > 2 && strncmp(entry, "W/", 2) == 0 ? 2 : 0;
        if (is_quoted(entry + weak, n - weak, etag))
            return true;
    }
    return false;
}

bool header_if_range(const char *if_range, const char *etag)
{
    return if_range == NULL || is_quoted(if_range, strlen(if_range), etag);
}

/* The parameters of an entry say q=0, q=0.0 and so on. */
static bool is_refused(const char *parameters, size_t n)
{
    for (size_t i = 0; i + 2 < n; i++)
        if (strncasecmp(parameters + i, "q=", 2) == 0 && strchr("; \t", parameters[i - 1]) != NULL)
            return strspn(parameters + i + 2, "0.") == n - i - 2;
    return false;
}

bool header_accepts(const char *list, const char *entry)
{
    size_t want = strlen(entry);
    const char *found = NULL;
    size_t n = 0;
    while (list != NULL && entry_next(&list, &found, &n)) {
        size_t name = strcspn(found, "; \t,");
        if (name == want && name <= n && strncasecmp(found, entry, want) == 0)
            return !is_refused(found + name, n - name);
    }
    return false;
}

bool header_is_type(const char *content_type, const char *type)
{
    if (content_type == NULL)
        return false;
    size_t n = strcspn(content_type, "; \t");
    return n == strlen(type) && strncasecmp(content_type, type, n) == 0;
}
