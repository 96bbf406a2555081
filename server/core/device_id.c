#include "server/core/device_id.h"

#include "common/base/crypt.h"
#include "common/base/text.h"

#include <stdint.h>
#include <string.h>

enum err device_id_new(char ret_id[DEVICE_ID_SIZE])
{
    uint8_t bits[16]; /* 128 bits are 26 characters of base32 */
    enum err e = random_bytes(bits, sizeof bits);
    if (e == ERR_OK)
        text_base32(bits, sizeof bits, ret_id);
    return e;
}

bool device_id_ok(const char *s)
{
    return s != NULL && strlen(s) == DEVICE_ID_SIZE - 1 &&
           strspn(s, "abcdefghijklmnopqrstuvwxyz234567") == DEVICE_ID_SIZE - 1;
}
