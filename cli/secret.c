#include "cli/secret.h"

#include "cli/table.h"

#include "common/base/cleanup.h"

#include <stdio.h>

void secret_print(const json_t *json)
{
    cleanup_buf struct buf until = BUF_INIT(64);
    const char *id = json_text_or_null(json, "id");
    const char *secret = json_text_or_null(json, "secret");
    cell_time(json_object_get(json, "expires_at"), &until);
    fprintf(stderr, "token %s, valid until %s; it is shown only now:\n", id == NULL ? "?" : id, until.data);
    puts(secret == NULL ? "" : secret);
}

void secret_revoked_print(const json_t *json)
{
    (void)json;
    puts("revoked");
}
