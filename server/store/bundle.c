#include "server/store/bundle.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "common/bundle/bundle.h"

#include <string.h>

/* openapi's Bundle, as JSON, of row b. */
#define BUNDLE_JSON                                                                                                    \
    "jsonb_build_object('id', b.id, 'slot', b.slot, 'version', b.version, 'kind', b.kind,"                             \
    " 'release_counter', b.release_counter::text, 'size', o.size::text, 'object_sha256', b.object_sha256,"             \
    " 'key_ids', to_jsonb(b.key_ids), 'uploaded_by', b.uploaded_by, 'created_at', ms(b.created_at),"                   \
    " 'running_on', coalesce(r.devices, 0), 'manifest', b.manifest_json)"
#define BUNDLE_FROM                                                                                                    \
    " FROM bundle b JOIN object o ON o.sha256 = b.object_sha256"                                                       \
    " LEFT JOIN (SELECT s.running, count(*) AS devices FROM device_slot s JOIN device d ON d.id = s.device_id"         \
    " WHERE d.retired_at IS NULL GROUP BY s.running) r ON r.running = b.id"

enum err bundle_present(struct db *db, const struct manifest *manifest, bool *ret_present, struct err_info *info)
{
    /* The text keeps this lock apart from other uses of advisory locks. */
    static const char lock[] = "SELECT pg_advisory_xact_lock(hashtextextended('bundle:' || $1::text, 0))";
    static const char sql[] = "SELECT id FROM bundle WHERE id = $1::text OR (slot = $2::text AND version = $3::text)";
    enum err e = db_query(db, lock, DB_ARGS(db_text(manifest->slot)), NULL, info);
    if (e != ERR_OK)
        return e;
    cleanup_rows struct rows *rows = NULL;
    e = db_query(db, sql, DB_ARGS(db_text(manifest->id), db_text(manifest->slot), db_text(manifest->version)), &rows,
                 info);
    if (e != ERR_OK)
        return e;
    if (rows_count(rows) > 0 && !text_eq(rows_text(rows, 0, 0), manifest->id)) {
        e = err_code(info, ERR_CONFLICT, "version_taken", "%s@%s is there already, with other content (bundle %.12s…)",
                     manifest->slot, manifest->version, rows_text(rows, 0, 0));
        err_next(info, "a version never changes: give the new bundle a higher version");
        return e;
    }
    *ret_present = rows_count(rows) > 0;
    return ERR_OK;
}

/* "A,B": key ids are hex digits, so that the comma is safe. */
static enum err key_ids_join(const struct bundle_keys *keys, struct buf *out)
{
    enum err e = ERR_OK;
    for (size_t i = 0; e == ERR_OK && i < keys->count; i++)
        e = buf_addf(out, "%s%s", i == 0 ? "" : ",", keys->ids[i]);
    return e;
}

enum err bundle_add(struct db *db, const struct bundle_row *row, struct err_info *info)
{
    static const char sql[] =
        "INSERT INTO bundle (id, slot, version, kind, release_counter, manifest, manifest_json, object_sha256, key_ids,"
        " uploaded_by) VALUES ($1::text, $2::text, $3::text, $4::text, $5::bigint, $6::bytea, $7::jsonb, $8::text,"
        " string_to_array($9::text, ','), $10::text)";
    const struct manifest *m = row->manifest;
    cleanup_buf struct buf key_ids = BUF_INIT((size_t)BUNDLE_KEYS_MAX * MINISIG_ID_TEXT);
    enum err e = key_ids_join(row->keys, &key_ids);
    if (e != ERR_OK)
        return e;
    return db_exec(db, sql,
                   DB_ARGS(db_text(m->id), db_text(m->slot), db_text(m->version), db_text(manifest_kind_name(m->kind)),
                           db_i64(m->release_counter), db_bytes(m->raw, m->raw_len), db_text(m->raw),
                           db_text(row->object_sha256), db_text(key_ids.data), db_text(row->uploaded_by)),
                   NULL, info);
}

/* What people type, split: an id, or a slot and a version. All others are NULL and match nothing. */
struct reference {
    const char *id;
    const char *slot;
    const char *version;
    char slot_text[MANIFEST_SLOT_MAX + 1];
};

static void reference_read(const char *text, struct reference *ref)
{
    *ref = (struct reference){0};
    const char *at = strchr(text, '@');
    if (text_is_sha256(text)) {
        ref->id = text;
    } else if (at != NULL && (size_t)(at - text) < sizeof ref->slot_text) {
        memcpy(ref->slot_text, text, (size_t)(at - text));
        ref->slot = ref->slot_text;
        ref->version = at + 1;
    }
}

#define REFERENCE_WHERE " WHERE b.id = $1::text OR (b.slot = $2::text AND b.version = $3::text)"

/* The one column of the one bundle that a reference names; free() it. */
static enum err reference_query(struct db *db, const char *sql, const char *reference, char **ret_text,
                                struct err_info *info)
{
    struct reference ref;
    reference_read(reference, &ref);
    enum err e =
        db_query_text(db, sql, DB_ARGS(db_text(ref.id), db_text(ref.slot), db_text(ref.version)), ret_text, info);
    if (e != ERR_NOT_FOUND)
        return e;
    e = err_code(info, ERR_NOT_FOUND, "bundle_not_found", "there is no bundle \"%.120s\"", reference);
    err_next(info, "name it by its id or as slot@version; `musterctl bundle list` shows what there is");
    return e;
}

enum err bundle_find(struct db *db, const char *reference, char ret_id[BUNDLE_ID_SIZE], struct err_info *info)
{
    cleanup_free char *id = NULL;
    enum err e = reference_query(db, "SELECT b.id FROM bundle b" REFERENCE_WHERE, reference, &id, info);
    if (e == ERR_OK)
        (void)text_copy(ret_id, BUNDLE_ID_SIZE, id);
    return e;
}

enum err bundle_get(struct db *db, const char *reference, char **ret_json, struct err_info *info)
{
    return reference_query(db, "SELECT " BUNDLE_JSON BUNDLE_FROM REFERENCE_WHERE, reference, ret_json, info);
}

enum err bundle_list(struct db *db, const char *slot, int64_t limit, const char *before, char **ret_json,
                     struct err_info *info)
{
    static const char sql[] =
        "SELECT jsonb_build_object('bundles', coalesce(jsonb_agg(p.j ORDER BY p.created_at DESC, p.id DESC), '[]'))"
        " FROM (SELECT b.id, b.created_at, " BUNDLE_JSON " AS j" BUNDLE_FROM
        " WHERE ($1::text IS NULL OR b.slot = $1::text) AND ($3::text IS NULL OR"
        " (b.created_at, b.id) < (SELECT x.created_at, x.id FROM bundle x WHERE x.id = $3::text))"
        " ORDER BY b.created_at DESC, b.id DESC LIMIT $2::bigint) p";
    return db_query_text(db, sql, DB_ARGS(db_text(slot), db_i64(limit), db_text(before)), ret_json, info);
}
