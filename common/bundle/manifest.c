#include "common/bundle/manifest.h"

#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "common/wire/profile.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { SCHEMA = 1, TENSOR_NAME_MAX = 255, LABELS_MAX = 1000, NOTES_MAX = 4000, HARDWARE_TEXT_MAX = 128 };
#define COUNTER_MAX (((int64_t)1 << 53) - 1) /* exact in every JSON reader */

/* ---- words and paths ---- */

static bool in_set(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

#define DIGITS "0123456789"
#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

bool manifest_slot_ok(const char *slot)
{
    size_t len = strlen(slot);
    return len >= 1 && len <= MANIFEST_SLOT_MAX && slot[0] != '-' && strspn(slot, DIGITS LOWER "-") == len;
}

/* One of the dot-separated words of a version that starts at s: its length, 0 when it is not valid. */
static size_t version_word(const char *s, const char *set, bool no_leading_zero)
{
    size_t n = strspn(s, set);
    bool number = strspn(s, DIGITS) == n;
    return no_leading_zero && number && n > 1 && s[0] == '0' ? 0 : n;
}

/* Dot-separated words up to a character of `ends` or the end; NULL when one is not valid. */
static const char *version_words(const char *s, const char *set, bool no_leading_zero, const char *ends)
{
    for (;;) {
        size_t n = version_word(s, set, no_leading_zero);
        if (n == 0)
            return NULL;
        s += n;
        if (*s == '\0' || in_set(*s, ends))
            return s;
        if (*s++ != '.')
            return NULL;
    }
}

bool manifest_version_ok(const char *version)
{
    if (strlen(version) > MANIFEST_VERSION_MAX)
        return false;
    const char *s = version;
    for (int part = 0; part < 3; part++) {
        size_t n = version_word(s, DIGITS, true);
        if (n == 0 || (part < 2 && s[n] != '.'))
            return false;
        s += part < 2 ? n + 1 : n;
    }
    if (*s == '-')
        s = version_words(s + 1, DIGITS LOWER UPPER "-", true, "+");
    if (s != NULL && *s == '+')
        s = version_words(s + 1, DIGITS LOWER UPPER "-", false, "");
    return s != NULL && *s == '\0';
}

static bool path_ok(const char *path)
{
    if (text_starts(path, MANIFEST_NAME))
        return false;
    for (const char *s = path;;) {
        size_t n = strspn(s, DIGITS LOWER UPPER "._+@-");
        bool dots = (n == 1 && s[0] == '.') || (n == 2 && s[0] == '.' && s[1] == '.');
        if (n == 0 || dots)
            return false;
        s += n;
        if (*s == '\0')
            return true;
        if (*s++ != '/')
            return false;
    }
}

/* ---- errors: the field gets the path of the object it is in ---- */

[[gnu::format(printf, 3, 4)]] static enum err inside(struct err_info *info, enum err e, const char *fmt, ...)
{
    if (e == ERR_OK || e == ERR_NO_MEMORY)
        return e;
    char where[ERR_FIELD_MAX];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(where, sizeof where, fmt, args);
    va_end(args);
    char field[ERR_FIELD_MAX];
    char text[ERR_TEXT_MAX];
    bool nested = info->field[0] != '\0';
    (void)snprintf(field, sizeof field, "%.40s%s%.50s", where, nested ? "." : "", info->field);
    (void)snprintf(text, sizeof text, "%.60s: %.300s", where, info->text);
    (void)text_copy(info->field, sizeof info->field, field);
    (void)text_copy(info->text, sizeof info->text, text);
    return e;
}

static enum err unsupported(struct err_info *info, const char *what, const char *name)
{
    enum err e =
        err_code(info, ERR_UNSUPPORTED, "manifest_unsupported", "this version does not know %s \"%.60s\"", what, name);
    err_next(info, "Update this program, or make the bundle without it.");
    return e;
}

/* ---- files and payload ---- */

static enum err sha256_get(const json_t *object, const char *key, const char **ret_sha256, struct err_info *info)
{
    const char *text = NULL;
    enum err e = json_get_text(object, key, 64, &text, info);
    if (e == ERR_OK && !text_is_sha256(text))
        e = err_field(info, ERR_INVALID, key, "\"%s\" must be 64 lower-case hex digits", key);
    if (e == ERR_OK)
        *ret_sha256 = text;
    return e;
}

static enum err file_parse(const json_t *json, struct manifest_file *file, struct err_info *info)
{
    static const char *const members[] = {"path", "size", "sha256", "mode", NULL};
    const char *mode = NULL;
    enum err e = json_only(json, members, info);
    if (e == ERR_OK)
        e = json_get_text(json, "path", MANIFEST_PATH_MAX, &file->path, info);
    if (e == ERR_OK && !path_ok(file->path))
        e = err_field(info, ERR_INVALID, "path",
                      "\"%.80s\" is not a path that a bundle may have: relative, of letters, digits and ._+@-, without "
                      ". and .., and not called " MANIFEST_NAME,
                      file->path);
    if (e == ERR_OK)
        e = json_get_i64(json, "size", 0, MANIFEST_SIZE_MAX, &file->size, info);
    if (e == ERR_OK)
        e = sha256_get(json, "sha256", &file->sha256, info);
    if (e == ERR_OK)
        e = json_get_text(json, "mode", 4, &mode, info);
    if (e == ERR_OK && !text_eq(mode, "0444") && !text_eq(mode, "0555"))
        e = err_field(info, ERR_INVALID, "mode", "\"mode\" must be \"0444\" or \"0555\"");
    if (e == ERR_OK)
        file->mode = text_eq(mode, "0555") ? 0555 : 0444;
    return e;
}

/* a is b, or a directory of b. */
static bool path_covers(const char *a, const char *b)
{
    size_t n = strlen(a);
    return strncmp(a, b, n) == 0 && (b[n] == '\0' || b[n] == '/');
}

/* files[i] against those before it. */
static enum err file_check(const struct manifest *m, size_t i, struct err_info *info)
{
    const struct manifest_file *file = &m->files[i];
    for (size_t k = 0; k < i; k++) {
        const struct manifest_file *other = &m->files[k];
        if (path_covers(other->path, file->path) || path_covers(file->path, other->path))
            return err_field(info, ERR_INVALID, "path", "\"%.80s\" collides with \"%.80s\"", file->path, other->path);
        bool same = strcmp(other->sha256, file->sha256) == 0;
        if (same && (other->size != file->size || other->mode != file->mode))
            return err_field(info, ERR_INVALID, "sha256", "\"%.80s\" has equal content, but another size or mode",
                             other->path);
    }
    return ERR_OK;
}

static enum err files_parse(struct manifest *m, struct err_info *info)
{
    json_t *array = NULL;
    enum err e = json_get_array(m->json, "files", MANIFEST_FILES_MAX, &array, info);
    if (e != ERR_OK)
        return e;
    size_t count = json_array_size(array);
    if (count == 0)
        return err_field(info, ERR_INVALID, "files", "\"files\" is empty");
    m->files = calloc(count, sizeof *m->files);
    if (m->files == NULL)
        return ERR_NO_MEMORY;
    int64_t total = 0;
    for (size_t i = 0; i < count; i++) {
        e = file_parse(json_array_get(array, i), &m->files[i], info);
        if (e == ERR_OK)
            e = file_check(m, i, info);
        if (e != ERR_OK)
            return inside(info, e, "files[%zu]", i);
        total += m->files[i].size; /* at most 1000 * 2^40 */
        m->file_count++;
    }
    if (total > MANIFEST_SIZE_MAX)
        return err_field(info, ERR_INVALID, "files", "the files have %" PRId64 " bytes together, the limit is %" PRId64,
                         total, MANIFEST_SIZE_MAX);
    return ERR_OK;
}

static const struct manifest_file *file_by_sha256(const struct manifest *m, const char *sha256)
{
    for (size_t i = 0; i < m->file_count; i++)
        if (strcmp(m->files[i].sha256, sha256) == 0)
            return &m->files[i];
    return NULL;
}

static const struct manifest_payload *payload_for(const struct manifest *m, const char *file_sha256)
{
    for (size_t i = 0; i < m->payload_count; i++)
        if (text_eq(m->payload[i].file, file_sha256))
            return &m->payload[i];
    return NULL;
}

static enum err payload_entry_parse(const struct manifest *m, const json_t *json, struct manifest_payload *entry,
                                    struct err_info *info)
{
    static const char *const members[] = {"file", "encoding", "size", "sha256", NULL};
    const char *encoding = NULL;
    enum err e = json_is_object(json) ? ERR_OK : err_set(info, ERR_INVALID, "an object is expected");
    if (e == ERR_OK)
        e = json_get_text(json, "encoding", 32, &encoding, info);
    if (e == ERR_OK && !text_eq(encoding, "raw"))
        e = unsupported(info, "the encoding", encoding);
    if (e == ERR_OK)
        e = json_only(json, members, info);
    if (e == ERR_OK)
        e = sha256_get(json, "file", &entry->file, info);
    if (e == ERR_OK)
        e = json_get_i64(json, "size", 0, MANIFEST_SIZE_MAX, &entry->size, info);
    if (e == ERR_OK)
        e = sha256_get(json, "sha256", &entry->sha256, info);
    if (e != ERR_OK)
        return e;
    entry->encoding = MANIFEST_RAW;
    const struct manifest_file *file = file_by_sha256(m, entry->file);
    if (file == NULL)
        return err_field(info, ERR_INVALID, "file", "no file has this sha256");
    if (payload_for(m, entry->file) != NULL)
        return err_field(info, ERR_INVALID, "file", "an entry before makes the same file");
    if (strcmp(entry->sha256, entry->file) != 0 || entry->size != file->size)
        return err_field(info, ERR_INVALID, "sha256", "a raw entry must have its file's sha256 and size");
    return ERR_OK;
}

static enum err payload_parse(struct manifest *m, struct err_info *info)
{
    json_t *array = NULL;
    enum err e = json_get_array(m->json, "payload", m->file_count, &array, info);
    if (e != ERR_OK)
        return e;
    m->payload = calloc(m->file_count, sizeof *m->payload);
    if (m->payload == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < json_array_size(array); i++) {
        e = payload_entry_parse(m, json_array_get(array, i), &m->payload[i], info);
        if (e != ERR_OK)
            return inside(info, e, "payload[%zu]", i);
        m->payload_count++;
    }
    for (size_t i = 0; i < m->file_count; i++)
        if (payload_for(m, m->files[i].sha256) == NULL)
            return err_field(info, ERR_INVALID, "payload", "nothing in \"payload\" makes the file \"%.80s\"",
                             m->files[i].path);
    return ERR_OK;
}

/* ---- model ---- */

static enum err tensor_parse(const json_t *json, struct manifest_tensor *tensor, struct err_info *info)
{
    static const char *const members[] = {"name", "type", "shape", NULL};
    json_t *shape = NULL;
    enum err e = json_only(json, members, info);
    if (e == ERR_OK)
        e = json_get_text(json, "name", TENSOR_NAME_MAX, &tensor->name, info);
    if (e == ERR_OK)
        e = json_get_text(json, "type", 16, &tensor->type, info);
    if (e == ERR_OK)
        e = json_get_array(json, "shape", MANIFEST_RANK_MAX, &shape, info);
    if (e != ERR_OK)
        return e;
    for (size_t i = 0; i < json_array_size(shape); i++) {
        const json_t *n = json_array_get(shape, i);
        int64_t value = json_integer_value(n);
        if (!json_is_integer(n) || (value != -1 && (value < 1 || value > INT32_MAX)))
            return err_field(info, ERR_INVALID, "shape", "a dimension is a whole number from 1 to %d, or -1 for any",
                             INT32_MAX);
        tensor->shape[tensor->rank++] = value;
    }
    return ERR_OK;
}

static enum err tensors_parse(const json_t *model, const char *key, struct manifest_tensor **ret_tensors,
                              size_t *ret_count, struct err_info *info)
{
    json_t *array = NULL;
    if (!json_has(model, key))
        return ERR_OK;
    enum err e = json_get_array(model, key, MANIFEST_INPUTS_MAX, &array, info);
    if (e != ERR_OK || json_array_size(array) == 0)
        return e;
    cleanup_free struct manifest_tensor *tensors = calloc(json_array_size(array), sizeof *tensors);
    if (tensors == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < json_array_size(array); i++) {
        e = tensor_parse(json_array_get(array, i), &tensors[i], info);
        if (e != ERR_OK)
            return inside(info, e, "%s[%zu]", key, i);
    }
    *ret_count = json_array_size(array);
    *ret_tensors = tensors;
    tensors = NULL;
    return ERR_OK;
}

/* An optional array of at most max strings. */
static enum err texts_check(const json_t *object, const char *key, size_t max, json_t **ret_array,
                            struct err_info *info)
{
    json_t *array = NULL;
    enum err e = json_has(object, key) ? json_get_array(object, key, max, &array, info) : ERR_OK;
    for (size_t i = 0; e == ERR_OK && i < json_array_size(array); i++)
        if (!json_is_string(json_array_get(array, i)))
            e = err_field(info, ERR_INVALID, key, "\"%s\" must be an array of strings", key);
    if (e == ERR_OK)
        *ret_array = array;
    return e;
}

static enum err model_parse(struct manifest *m, struct err_info *info)
{
    json_t *json = NULL;
    json_t *labels = NULL;
    if (m->kind != MANIFEST_MODEL)
        return ERR_OK;
    enum err e = json_get_object(m->json, "model", &json, info);
    if (e != ERR_OK)
        return e;
    e = json_get_text(json, "file", MANIFEST_PATH_MAX, &m->model.file, info);
    if (e == ERR_OK && manifest_file_find(m, m->model.file) == NULL)
        e = err_field(info, ERR_INVALID, "file", "\"%.80s\" is not among the files", m->model.file);
    if (e == ERR_OK)
        e = tensors_parse(json, "inputs", &m->model.inputs, &m->model.input_count, info);
    if (e == ERR_OK)
        e = tensors_parse(json, "outputs", &m->model.outputs, &m->model.output_count, info);
    if (e == ERR_OK)
        e = texts_check(json, "labels", LABELS_MAX, &labels, info);
    m->model.labels = labels;
    return inside(info, e, "model");
}

static enum err profile_check(struct manifest *m, struct err_info *info)
{
    cleanup_profile struct profile *profile = NULL;
    if (!json_has(m->json, "profile"))
        return ERR_OK;
    m->profile = json_object_get(m->json, "profile");
    return inside(info, profile_from_json(m->profile, &profile, info), "profile");
}

/* ---- requires, critical ---- */

/* A requirement that is not understood cannot be met: unlike elsewhere, unknown members are refused. */
static enum err requires_known(const json_t *json, struct err_info *info)
{
    static const char *const members[] = {"hardware", "min_agent", NULL};
    if (json_only(json, members, info) == ERR_OK)
        return ERR_OK;
    return unsupported(info, "the requirement", info->field);
}

static enum err requires_parse(struct manifest *m, struct err_info *info)
{
    json_t *json = NULL;
    json_t *hardware = NULL;
    if (!json_has(m->json, "requires"))
        return ERR_OK;
    enum err e = json_get_object(m->json, "requires", &json, info);
    if (e == ERR_OK)
        e = requires_known(json, info);
    if (e == ERR_OK)
        e = texts_check(json, "hardware", MANIFEST_HARDWARE_MAX, &hardware, info);
    if (e == ERR_OK && json_has(json, "min_agent"))
        e = json_get_text(json, "min_agent", MANIFEST_VERSION_MAX, &m->requires_.min_agent, info);
    if (e == ERR_OK && m->requires_.min_agent != NULL && !manifest_version_ok(m->requires_.min_agent))
        e = err_field(info, ERR_INVALID, "min_agent", "\"min_agent\" must be a version like 1.2.3");
    if (e != ERR_OK || json_array_size(hardware) == 0)
        return inside(info, e, "requires");
    m->requires_.hardware = calloc(json_array_size(hardware), sizeof *m->requires_.hardware);
    if (m->requires_.hardware == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < json_array_size(hardware); i++)
        m->requires_.hardware[m->requires_.hardware_count++] = json_string_value(json_array_get(hardware, i));
    return ERR_OK;
}

/* Names of top-level members that a reader must understand: what this version enforces. */
static enum err critical_check(const struct manifest *m, struct err_info *info)
{
    static const char *const known[] = {"files", "payload", "model", "profile", "requires", "release_counter"};
    json_t *names = NULL;
    enum err e = texts_check(m->json, "critical", 100, &names, info);
    for (size_t i = 0; e == ERR_OK && i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        bool found = false;
        for (size_t k = 0; k < sizeof known / sizeof known[0] && !found; k++)
            found = strcmp(known[k], name) == 0;
        if (!found)
            e = unsupported(info, "what the manifest calls critical,", name);
    }
    return e;
}

/* ---- the whole ---- */

static enum err kind_parse(struct manifest *m, struct err_info *info)
{
    const char *text = NULL;
    enum err e = json_get_text(m->json, "kind", 16, &text, info);
    for (int kind = MANIFEST_MODEL; e == ERR_OK && kind <= MANIFEST_AGENT; kind++) {
        m->kind = (enum manifest_kind)kind;
        if (text_eq(text, manifest_kind_name(m->kind)))
            return ERR_OK;
    }
    return e != ERR_OK ? e : unsupported(info, "the kind", text);
}

static enum err head_parse(struct manifest *m, struct err_info *info)
{
    int64_t number = 0;
    const char *notes = NULL;
    enum err e = json_get_i64(m->json, "schema", 1, COUNTER_MAX, &number, info);
    if (e == ERR_OK && number != SCHEMA)
        return unsupported(info, "a schema other than", "1");
    if (e == ERR_OK)
        e = kind_parse(m, info);
    if (e == ERR_OK)
        e = json_get_text(m->json, "name", MANIFEST_SLOT_MAX, &m->slot, info);
    if (e == ERR_OK && !manifest_slot_ok(m->slot))
        e = err_field(info, ERR_INVALID, "name",
                      "\"%.63s\" is not a slot's name: 1 to 63 of a-z, 0-9 and -, not - first", m->slot);
    if (e == ERR_OK)
        e = json_get_text(m->json, "version", MANIFEST_VERSION_MAX, &m->version, info);
    if (e == ERR_OK && !manifest_version_ok(m->version))
        e = err_field(info, ERR_INVALID, "version", "\"%.64s\" is not a semantic version like 1.2.3 or 2.0.0-rc.1",
                      m->version);
    if (e == ERR_OK)
        e = json_get_i64(m->json, "release_counter", 1, COUNTER_MAX, &m->release_counter, info);
    if (e == ERR_OK)
        e = json_get_i64(m->json, "created", 0, COUNTER_MAX, &number, info);
    if (e == ERR_OK && json_has(m->json, "notes"))
        e = json_get_text(m->json, "notes", NOTES_MAX, &notes, info);
    return e;
}

static enum err document_parse(struct manifest *m, struct err_info *info)
{
    enum err e = json_parse(m->raw, m->raw_len, MANIFEST_BYTES_MAX, &m->json, info);
    if (e == ERR_OK && !json_is_object(m->json))
        e = err_set(info, ERR_INVALID, "an object is expected");
    if (e == ERR_OK)
        e = head_parse(m, info);
    if (e == ERR_OK)
        e = critical_check(m, info);
    if (e == ERR_OK)
        e = files_parse(m, info);
    if (e == ERR_OK)
        e = payload_parse(m, info);
    if (e == ERR_OK)
        e = model_parse(m, info);
    if (e == ERR_OK)
        e = profile_check(m, info);
    return e == ERR_OK ? requires_parse(m, info) : e;
}

enum err manifest_parse(const void *bytes, size_t len, struct manifest **ret_manifest, struct err_info *info)
{
    struct err_info why = {.offset = -1};
    if (len > MANIFEST_BYTES_MAX)
        return err_code(info, ERR_INVALID, "manifest_invalid", "the manifest has %zu bytes, the limit is %d", len,
                        MANIFEST_BYTES_MAX);
    cleanup_manifest struct manifest *m = calloc(1, sizeof *m);
    if (m == NULL)
        return ERR_NO_MEMORY;
    m->raw = malloc(len + 1);
    if (m->raw == NULL)
        return ERR_NO_MEMORY;
    memcpy(m->raw, bytes, len);
    m->raw[len] = '\0';
    m->raw_len = len;
    enum err e = sha256_hex(bytes, len, m->id);
    if (e == ERR_OK)
        e = document_parse(m, &why);
    if (e == ERR_INVALID || e == ERR_TOO_LARGE) {
        e = ERR_INVALID;
        (void)text_copy(why.code, sizeof why.code, "manifest_invalid");
    }
    if (e != ERR_OK) {
        if (info != NULL) {
            *info = why;
            (void)snprintf(info->text, sizeof info->text, MANIFEST_NAME ": %.380s", why.text);
            text_printable(info->text); /* cutting may have split a character */
            text_printable(info->field);
        }
        return e;
    }
    *ret_manifest = m;
    m = NULL;
    return ERR_OK;
}

struct manifest *manifest_free(struct manifest *manifest)
{
    if (manifest == NULL)
        return NULL;
    free(manifest->raw);
    free(manifest->files);
    free(manifest->payload);
    free(manifest->model.inputs);
    free(manifest->model.outputs);
    free(manifest->requires_.hardware);
    json_decref(manifest->json);
    free(manifest);
    return NULL;
}

const struct manifest_file *manifest_file_find(const struct manifest *manifest, const char *path)
{
    for (size_t i = 0; i < manifest->file_count; i++)
        if (strcmp(manifest->files[i].path, path) == 0)
            return &manifest->files[i];
    return NULL;
}

const struct manifest_file *manifest_payload_file(const struct manifest *manifest, const struct manifest_payload *entry)
{
    return file_by_sha256(manifest, entry->file);
}

void manifest_payload_name(const struct manifest_payload *entry, char ret_name[MANIFEST_PAYLOAD_NAME])
{
    (void)snprintf(ret_name, MANIFEST_PAYLOAD_NAME, "payload/%s", entry->sha256);
}

const char *manifest_kind_name(enum manifest_kind kind)
{
    static const char *const names[] = {"model", "app", "agent"};
    return names[kind];
}

int64_t manifest_files_size(const struct manifest *manifest)
{
    int64_t total = 0;
    for (size_t i = 0; i < manifest->file_count; i++)
        total += manifest->files[i].size;
    return total;
}
