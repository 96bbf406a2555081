#include "common/bundle/manifest.h"

#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "common/bundle/blocks.h"
#include "common/bundle/manifest_parts.h"
#include "common/wire/profile.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { SCHEMA = 1, NOTES_MAX = 4000, RESTARTS_MAX = 100 };
#define ERROR_RATE_DEFAULT 0.01
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
            return manifest_inside(info, e, "files[%zu]", i);
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

/* Digests of the entry's blocks: there may be none. */
static enum err blocks_parse(const json_t *json, struct manifest_payload *entry, struct err_info *info)
{
    static const char *const members[] = {"size", "sha256", NULL};
    json_t *blocks = NULL;
    if (!json_has(json, "blocks"))
        return ERR_OK;
    enum err e = json_get_object(json, "blocks", &blocks, info);
    if (e != ERR_OK)
        return e;
    e = json_only(blocks, members, info);
    if (e == ERR_OK)
        e = json_get_i64(blocks, "size", MANIFEST_BLOCK_MIN, MANIFEST_SIZE_MAX, &entry->block_size, info);
    if (e == ERR_OK)
        e = json_get_text(blocks, "sha256", MANIFEST_BYTES_MAX, &entry->blocks, info);
    if (e != ERR_OK)
        return manifest_inside(info, e, "blocks");
    size_t len = strlen(entry->blocks);
    if (entry->block_size >= entry->size || strspn(entry->blocks, DIGITS "abcdef") != len || len % BLOCK_HEX != 0 ||
        (int64_t)(len / BLOCK_HEX) != blocks_count(entry))
        return err_field(info, ERR_INVALID, "blocks",
                         "there must be 64 hex digits for each block of the entry, which has two at least");
    return ERR_OK;
}

static enum err payload_entry_parse(const struct manifest *m, const json_t *json, struct manifest_payload *entry,
                                    struct err_info *info)
{
    static const char *const members[] = {"file", "encoding", "size", "sha256", "blocks", NULL};
    const char *encoding = NULL;
    enum err e = json_is_object(json) ? ERR_OK : err_set(info, ERR_INVALID, "an object is expected");
    if (e == ERR_OK)
        e = json_get_text(json, "encoding", 32, &encoding, info);
    if (e == ERR_OK && !text_eq(encoding, "raw") && !text_eq(encoding, "zstd"))
        e = manifest_unsupported(info, "the encoding", encoding);
    if (e == ERR_OK)
        e = json_only(json, members, info);
    if (e == ERR_OK)
        e = sha256_get(json, "file", &entry->file, info);
    if (e == ERR_OK)
        e = json_get_i64(json, "size", 0, MANIFEST_SIZE_MAX, &entry->size, info);
    if (e == ERR_OK)
        e = sha256_get(json, "sha256", &entry->sha256, info);
    if (e == ERR_OK)
        e = blocks_parse(json, entry, info);
    if (e != ERR_OK)
        return e;
    entry->encoding = text_eq(encoding, "raw") ? MANIFEST_RAW : MANIFEST_ZSTD;
    const struct manifest_file *file = file_by_sha256(m, entry->file);
    if (file == NULL)
        return err_field(info, ERR_INVALID, "file", "no file has this sha256");
    if (payload_for(m, entry->file) != NULL)
        return err_field(info, ERR_INVALID, "file", "an entry before makes the same file");
    for (size_t i = 0; i < m->payload_count; i++)
        if (strcmp(m->payload[i].sha256, entry->sha256) == 0)
            return err_field(info, ERR_INVALID, "sha256", "an entry before has the same sha256, so the same name");
    bool same = strcmp(entry->sha256, entry->file) == 0;
    if (entry->encoding == MANIFEST_RAW && (!same || entry->size != file->size))
        return err_field(info, ERR_INVALID, "sha256", "a raw entry must have its file's sha256 and size");
    if (entry->encoding == MANIFEST_ZSTD && (same || entry->size == 0))
        return err_field(info, ERR_INVALID, "sha256", "a zstd entry has a size and a sha256 of its own");
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
            return manifest_inside(info, e, "payload[%zu]", i);
        m->payload_count++;
    }
    for (size_t i = 0; i < m->file_count; i++)
        if (payload_for(m, m->files[i].sha256) == NULL)
            return err_field(info, ERR_INVALID, "payload", "nothing in \"payload\" makes the file \"%.80s\"",
                             m->files[i].path);
    return ERR_OK;
}

/* ---- profile ---- */

static enum err profile_check(struct manifest *m, struct err_info *info)
{
    cleanup_profile struct profile *profile = NULL;
    if (!json_has(m->json, "profile"))
        return ERR_OK;
    m->profile = json_object_get(m->json, "profile");
    return manifest_inside(info, profile_from_json(m->profile, &profile, info), "profile");
}

/* ---- requires, critical ---- */

/* An optional version. */
static enum err version_get(const json_t *object, const char *key, const char **ret_version, struct err_info *info)
{
    const char *version = NULL;
    if (!json_has(object, key))
        return ERR_OK;
    enum err e = json_get_text(object, key, MANIFEST_VERSION_MAX, &version, info);
    if (e == ERR_OK && !manifest_version_ok(version))
        e = err_field(info, ERR_INVALID, key, "\"%s\" must be a version like 1.2.3", key);
    if (e == ERR_OK)
        *ret_version = version;
    return e;
}

/* An optional number of bytes. */
static enum err bytes_get(const json_t *object, const char *key, int64_t *ret_bytes, struct err_info *info)
{
    return json_has(object, key) ? json_get_i64(object, key, 0, MANIFEST_SIZE_MAX, ret_bytes, info) : ERR_OK;
}

/* A requirement that is not understood cannot be met: unlike elsewhere, unknown members are refused. */
static enum err requires_parse(struct manifest *m, struct err_info *info)
{
    static const char *const members[] = {"hardware", "min_agent", "runtime", "memory", "disk", "accelerator", NULL};
    struct manifest_requires *needs = &m->requires_;
    json_t *json = NULL;
    if (!json_has(m->json, "requires"))
        return ERR_OK;
    enum err e = json_get_object(m->json, "requires", &json, info);
    if (e == ERR_OK)
        e = manifest_known(json, members, "the requirement", info);
    if (e == ERR_OK)
        e = manifest_text_list(json, "hardware", MANIFEST_HARDWARE_MAX, &needs->hardware, &needs->hardware_count, info);
    if (e == ERR_OK)
        e = version_get(json, "min_agent", &needs->min_agent, info);
    if (e == ERR_OK)
        e = version_get(json, "runtime", &needs->runtime, info);
    if (e == ERR_OK)
        e = bytes_get(json, "memory", &needs->memory, info);
    if (e == ERR_OK)
        e = bytes_get(json, "disk", &needs->disk, info);
    if (e == ERR_OK)
        e = manifest_text_list(json, "accelerator", MANIFEST_HARDWARE_MAX, &needs->accelerators,
                               &needs->accelerator_count, info);
    return manifest_inside(info, e, "requires");
}

/* Rules of probation; a rule that is not understood would not be kept. */
static enum err health_parse(struct manifest *m, struct err_info *info)
{
    static const char *const members[] = {"max_error_rate", "max_restarts", NULL};
    json_t *json = NULL;
    int64_t restarts = 0;
    m->health.max_error_rate = ERROR_RATE_DEFAULT;
    if (!json_has(m->json, "health"))
        return ERR_OK;
    enum err e = json_get_object(m->json, "health", &json, info);
    if (e == ERR_OK)
        e = manifest_known(json, members, "the rule of health", info);
    if (e == ERR_OK && json_has(json, "max_error_rate"))
        e = json_get_f64(json, "max_error_rate", 0, 1, &m->health.max_error_rate, info);
    if (e == ERR_OK && json_has(json, "max_restarts"))
        e = json_get_i64(json, "max_restarts", 0, RESTARTS_MAX, &restarts, info);
    m->health.max_restarts = (int)restarts;
    return manifest_inside(info, e, "health");
}

/* Names of top-level members that a reader must understand: what this version enforces. */
static enum err critical_check(const struct manifest *m, struct err_info *info)
{
    static const char *const known[] = {"files",   "payload",  "model",           "app",      "agent",
                                        "profile", "requires", "release_counter", "selftest", "health"};
    json_t *names = NULL;
    enum err e = manifest_texts(m->json, "critical", 100, &names, info);
    for (size_t i = 0; e == ERR_OK && i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        bool found = false;
        for (size_t k = 0; k < sizeof known / sizeof known[0] && !found; k++)
            found = strcmp(known[k], name) == 0;
        if (!found)
            e = manifest_unsupported(info, "what the manifest calls critical,", name);
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
    return e != ERR_OK ? e : manifest_unsupported(info, "the kind", text);
}

static enum err head_parse(struct manifest *m, struct err_info *info)
{
    int64_t number = 0;
    const char *notes = NULL;
    enum err e = json_get_i64(m->json, "schema", 1, COUNTER_MAX, &number, info);
    if (e == ERR_OK && number != SCHEMA)
        return manifest_unsupported(info, "a schema other than", "1");
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
        e = manifest_kind_parse(m, info);
    if (e == ERR_OK)
        e = profile_check(m, info);
    if (e == ERR_OK)
        e = health_parse(m, info);
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
    free(manifest->requires_.hardware);
    free(manifest->requires_.accelerators);
    manifest_kind_free(manifest);
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
