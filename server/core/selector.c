#include "server/core/selector.h"

#include "common/base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A piece of the text; not NUL-terminated. */
struct piece {
    const char *at;
    size_t len;
};

struct scanner {
    const char *text;
    const char *at;
    struct err_info *info;
};

static const char *const field_names[SELECTOR_FIELDS_] = {
    [SELECTOR_ID] = "id",
    [SELECTOR_NAME] = "name",
    [SELECTOR_SITE] = "site",
    [SELECTOR_HARDWARE] = "hardware",
    [SELECTOR_TAG] = "tag",
    [SELECTOR_STATUS] = "status",
    [SELECTOR_LIVENESS] = "liveness",
    [SELECTOR_MODEL] = "model",
};

const char *selector_field_name(enum selector_field field)
{
    return field_names[field];
}

static const char *const status_names[] = {"healthy", "degraded", "critical", "offline", "updating", "held", NULL};
static const char *const liveness_names[] = {"online", "late", "lost", "never_seen", NULL};

[[gnu::format(printf, 3, 4)]] static enum err fail(const struct scanner *s, const char *at, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    enum err e = err_field(s->info, ERR_INVALID, "q", "%s", text);
    if (s->info != NULL)
        s->info->offset = (int)(at - s->text);
    return e;
}

static int shown(struct piece p)
{
    return p.len > 60 ? 60 : (int)p.len;
}

/* `*` becomes '%'; what LIKE would take for its own is escaped. */
static char *like_of(struct piece p)
{
    char *like = malloc(2 * p.len + 1);
    if (like == NULL)
        return NULL;
    size_t n = 0;
    for (size_t i = 0; i < p.len; i++) {
        char c = p.at[i];
        if (c == '%' || c == '_' || c == '\\')
            like[n++] = '\\';
        like[n++] = c == '*' ? '%' : c;
    }
    like[n] = '\0';
    return like;
}

static bool at_end(const char *at)
{
    return *at == '\0' || *at == ' ' || *at == '\t';
}

static enum err scan_field(struct scanner *s, enum selector_field *ret_field)
{
    struct piece name = {.at = s->at, .len = strcspn(s->at, ": \t\"")};
    if (name.at[name.len] != ':' || name.len == 0) {
        enum err e = fail(s, s->at, "“%.*s” is not of the form field:value", shown(name), name.at);
        err_next(s->info, "Write a field and a value, for example name:%.*s*.", shown(name), name.at);
        return e;
    }
    for (int field = 0; field < SELECTOR_FIELDS_; field++) {
        if (strlen(field_names[field]) == name.len && strncmp(field_names[field], name.at, name.len) == 0) {
            *ret_field = (enum selector_field)field;
            s->at += name.len + 1;
            return ERR_OK;
        }
    }
    enum err e = fail(s, s->at, "there is no field “%.*s”", shown(name), name.at);
    err_next(s->info, "Fields are id, name, site, hardware, tag, status, liveness and model.");
    return e;
}

static enum err scan_value(struct scanner *s, struct piece *ret_value)
{
    const char *start = s->at;
    struct piece value = {.at = start, .len = strcspn(start, " \t\"")};
    if (*start == '"') {
        value = (struct piece){.at = start + 1, .len = strcspn(start + 1, "\"")};
        if (value.at[value.len] == '\0')
            return fail(s, start, "this quotation mark is never closed");
        s->at = value.at + value.len + 1;
    } else {
        s->at = start + value.len;
    }
    if (!at_end(s->at))
        return fail(s, s->at, "expected a space here");
    if (value.len == 0) {
        enum err e = fail(s, start, "a value is missing");
        err_next(s->info, "Write what to match; * stands for anything.");
        return e;
    }
    *ret_value = value;
    return ERR_OK;
}

/* status and liveness are closed sets: a value that can never match is a mistake. */
static enum err check_known(const struct scanner *s, struct piece value, const char *const *names)
{
    char pattern[64];
    if (value.len < sizeof pattern) {
        (void)snprintf(pattern, sizeof pattern, "%.*s", (int)value.len, value.at);
        for (const char *const *name = names; *name != NULL; name++)
            if (text_glob(pattern, *name))
                return ERR_OK;
    }
    enum err e = fail(s, value.at, "“%.*s” is not one of the values", shown(value), value.at);
    char list[120] = "";
    for (size_t i = 0, n = 0; names[i] != NULL; i++)
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", i == 0 ? "" : ", ", names[i]);
    err_next(s->info, "Values are %s.", list);
    return e;
}

static enum err split_model(const struct scanner *s, struct piece value, struct piece *ret_slot,
                            struct piece *ret_version)
{
    const char *sign = memchr(value.at, '@', value.len);
    if (sign == NULL || sign == value.at || sign + 1 == value.at + value.len) {
        enum err e = fail(s, value.at, "“%.*s” is not of the form SLOT@VERSION", shown(value), value.at);
        err_next(s->info, "Write for example model:digits@2.0.0, or model:digits@* for every version.");
        return e;
    }
    struct piece version = {.at = sign + 1, .len = (size_t)(value.at + value.len - sign - 1)};
    for (size_t i = 0; i < version.len; i++)
        if (strchr("0123456789.+-*ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", version.at[i]) == NULL)
            return fail(s, version.at + i, "a version cannot have this character");
    *ret_slot = (struct piece){.at = value.at, .len = (size_t)(sign - value.at)};
    *ret_version = version;
    return ERR_OK;
}

static enum err scan_term(struct scanner *s, struct selector_term *term)
{
    term->negated = *s->at == '-';
    s->at += term->negated ? 1 : 0;
    struct piece value = {.at = s->at};
    struct piece version = {.at = s->at};
    enum err e = scan_field(s, &term->field);
    if (e == ERR_OK)
        e = scan_value(s, &value);
    if (e == ERR_OK && term->field == SELECTOR_STATUS)
        e = check_known(s, value, status_names);
    if (e == ERR_OK && term->field == SELECTOR_LIVENESS)
        e = check_known(s, value, liveness_names);
    if (e == ERR_OK && term->field == SELECTOR_MODEL)
        e = split_model(s, value, &value, &version);
    if (e != ERR_OK)
        return e;
    term->like = like_of(value);
    if (term->field == SELECTOR_MODEL)
        term->like_version = like_of(version);
    return term->like == NULL || (term->field == SELECTOR_MODEL && term->like_version == NULL) ? ERR_NO_MEMORY : ERR_OK;
}

static enum err scan_all(struct scanner *s, struct selector *sel)
{
    for (;;) {
        s->at += strspn(s->at, " \t");
        if (*s->at == '\0')
            break;
        if (sel->count == SELECTOR_TERMS_MAX)
            return fail(s, s->at, "more than %d terms", SELECTOR_TERMS_MAX);
        sel->count++;
        enum err e = scan_term(s, &sel->terms[sel->count - 1]);
        if (e != ERR_OK)
            return e;
    }
    if (sel->count > 0)
        return ERR_OK;
    enum err e = fail(s, s->text, "the query is empty");
    err_next(s->info, "An empty query never means every device; say which ones, for example site:berlin-*.");
    return e;
}

enum err selector_parse(const char *text, struct selector **ret_selector, struct err_info *info)
{
    struct scanner s = {.text = text, .at = text, .info = info};
    size_t len = strlen(text);
    if (len > SELECTOR_TEXT_MAX)
        return fail(&s, text + SELECTOR_TEXT_MAX, "a query has at most %d bytes", SELECTOR_TEXT_MAX);
    if (!text_is_utf8(text, len))
        return fail(&s, text, "the query is not valid UTF-8");
    cleanup_selector struct selector *sel = calloc(1, sizeof *sel);
    if (sel == NULL)
        return ERR_NO_MEMORY;
    sel->terms = calloc(SELECTOR_TERMS_MAX, sizeof *sel->terms);
    if (sel->terms == NULL)
        return ERR_NO_MEMORY;
    enum err e = scan_all(&s, sel);
    if (e != ERR_OK)
        return e;
    *ret_selector = sel;
    sel = NULL;
    return ERR_OK;
}

void selector_free(struct selector *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->count; i++) {
        free(s->terms[i].like);
        free(s->terms[i].like_version);
    }
    free(s->terms);
    free(s);
}
