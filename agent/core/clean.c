#include "agent/core/clean.h"

#include "common/base/text.h"

#include <string.h>

void clean_text(char *text)
{
    bool utf8 = text_is_utf8(text, strlen(text));
    for (char *c = text; *c != '\0'; c++) {
        unsigned char byte = (unsigned char)*c;
        if (byte < 0x20 || byte == 0x7f || (byte >= 0x80 && !utf8))
            *c = '?';
    }
}
