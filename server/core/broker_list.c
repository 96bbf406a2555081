#include "server/core/broker_list.h"

#include "common/base/text.h"

#include <string.h>

enum { BROKERS_MAX = 16, BROKER_SIZE = 280 };

/* One "host:port"; brackets around an IPv6 address are taken off. */
static enum err broker_parse(char *text, json_t **ret_broker, struct err_info *info)
{
    char *colon = strrchr(text, ':');
    char *host = text;
    int64_t port = 0;
    bool ok = colon != NULL && colon != text && text_to_i64(colon + 1, 1, 65535, &port) == ERR_OK;
    if (ok) {
        *colon = '\0';
        size_t len = strlen(host);
        if (host[0] == '[' && host[len - 1] == ']') {
            host[len - 1] = '\0';
            host++;
        } else {
            ok = strchr(host, ':') == NULL;
        }
        ok = ok && host[0] != '\0' && strpbrk(host, " \t[]") == NULL;
    }
    if (!ok)
        return err_field(info, ERR_INVALID, "brokers", "a broker is HOST:PORT, or [ADDRESS]:PORT for IPv6");
    *ret_broker = json_pack("{s:s, s:i}", "host", host, "port", (int)port);
    return *ret_broker == NULL ? ERR_NO_MEMORY : ERR_OK;
}

enum err broker_list_parse(const char *text, json_t **ret_list, struct err_info *info)
{
    json_auto_t *list = json_array();
    for (const char *p = text;; p++) {
        char one[BROKER_SIZE];
        size_t len = strcspn(p, ",");
        if (len >= sizeof one || json_array_size(list) >= BROKERS_MAX)
            return err_field(info, ERR_INVALID, "brokers", "at most %d brokers of at most %d characters", BROKERS_MAX,
                             BROKER_SIZE - 1);
        memcpy(one, p, len);
        one[len] = '\0';
        json_t *broker = NULL;
        enum err e = broker_parse(one, &broker, info);
        if (e == ERR_OK && json_array_append_new(list, broker) != 0)
            e = ERR_NO_MEMORY;
        if (e != ERR_OK)
            return e;
        p += len;
        if (*p == '\0')
            break;
    }
    *ret_list = list;
    list = NULL;
    return ERR_OK;
}
