/* Any bytes as a signature, a public and a secret key. What is parsed as a key and printed must parse to the same. */
#include "common/bundle/minisig.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

static void public_again(const struct minisig_public *key)
{
    struct minisig_public again;
    char *text = NULL;
    if (minisig_public_print(key, &text) != ERR_OK)
        abort();
    if (minisig_public_parse(text, strlen(text), &again, NULL) != ERR_OK || memcmp(key, &again, sizeof again) != 0)
        abort();
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct minisig_public public_key = {0};
    struct minisig_secret secret;
    struct minisig_signature signature;
    struct err_info info = {0};
    const char *text = (const char *)data;
    if (minisig_public_parse(text, size, &public_key, &info) == ERR_OK)
        public_again(&public_key);
    if (minisig_secret_parse(text, size, &secret, &info) == ERR_OK)
        minisig_secret_wipe(&secret);
    /* Nobody can guess a signature. */
    if (minisig_parse(text, size, &signature, &info) == ERR_OK) {
        memcpy(public_key.id, signature.id, sizeof public_key.id);
        if (minisig_verify(&signature, &public_key, "message", 7, &info) == ERR_OK)
            abort();
    }
    return 0;
}
