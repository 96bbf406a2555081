/* Any bytes as manifest.json. What is accepted must hold together: every payload entry makes a listed file. */
#include "common/base/text.h"
#include "common/bundle/manifest.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_manifest struct manifest *m = NULL;
    struct err_info info = {0};
    char name[MANIFEST_PAYLOAD_NAME];
    if (manifest_parse(data, size, &m, &info) != ERR_OK)
        return 0;
    for (size_t i = 0; i < m->payload_count; i++) {
        manifest_payload_name(&m->payload[i], name);
        if (manifest_payload_file(m, &m->payload[i]) == NULL)
            abort();
    }
    for (size_t i = 0; i < m->file_count; i++)
        if (manifest_file_find(m, m->files[i].path) == NULL || m->files[i].path[0] == '/')
            abort();
    return 0;
}
