#include "server/store/certificate.h"

#include "common/base/text.h"

enum err certificate_find_device(struct db *db, const char *fingerprint, char ret_device_id[DEVICE_ID_SIZE],
                                 struct err_info *info)
{
    static const char sql[] = "SELECT c.device_id, c.revoked_at IS NOT NULL, d.retired_at IS NOT NULL"
                              " FROM device_certificate c JOIN device d ON d.id = c.device_id"
                              " WHERE c.fingerprint = $1::text";
    cleanup_rows struct rows *rows = NULL;
    enum err e = db_query(db, sql, DB_ARGS(db_text(fingerprint)), &rows, info);
    if (e != ERR_OK)
        return e;
    if (rows_count(rows) == 0)
        return err_code(info, ERR_UNAUTHENTICATED, "certificate_unknown", "this certificate was not issued here");
    if (rows_flag(rows, 0, 1))
        return err_code(info, ERR_UNAUTHENTICATED, "certificate_revoked", "this certificate is revoked");
    if (rows_flag(rows, 0, 2))
        return err_code(info, ERR_UNAUTHENTICATED, "device_retired", "this device is retired");
    (void)text_copy(ret_device_id, DEVICE_ID_SIZE, rows_text(rows, 0, 0));
    return ERR_OK;
}

enum err certificate_add(struct db *db, const char *device_id, const struct certificate *certificate,
                         struct err_info *info)
{
    static const char sql[] = "INSERT INTO device_certificate (fingerprint, device_id, public_key, pem, not_after)"
                              " VALUES ($1::text, $2::text, $3::text, $4::text, from_ms($5::bigint))";
    return db_exec(db, sql,
                   DB_ARGS(db_text(certificate->fingerprint), db_text(device_id), db_text(certificate->public_key),
                           db_text(certificate->pem), db_i64(certificate->not_after_ms)),
                   NULL, info);
}
