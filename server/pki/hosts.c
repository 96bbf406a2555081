#include "server/pki/hosts.h"

#include "common/base/text.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>

enum { HOSTS_MAX = 32, HOST_SIZE = 254, LABEL_MAX = 63 };

static bool host_is_address(const char *host)
{
    struct in6_addr address;
    return inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
}

static bool label_ok(const char *label, size_t len)
{
    if (len == 0 || len > LABEL_MAX || label[0] == '-' || label[len - 1] == '-')
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isascii(label[i]) || (!isalnum((unsigned char)label[i]) && label[i] != '-'))
            return false;
    return true;
}

/* RFC 1123; a last label of digits only is a mistyped address. */
static bool host_is_name(const char *host)
{
    const char *label = text_starts(host, "*.") ? host + 2 : host;
    for (;;) {
        size_t len = strcspn(label, ".");
        if (!label_ok(label, len))
            return false;
        if (label[len] == '\0')
            return strspn(label, "0123456789") != len;
        label += len + 1;
    }
}

static enum err host_add(const char *host, struct buf *alt_names, struct err_info *info)
{
    const char *kind = host_is_address(host) ? "IP" : host_is_name(host) ? "DNS" : NULL;
    if (kind == NULL) {
        enum err e = err_field(info, ERR_INVALID, "host", "\"%.80s\" is neither a DNS name nor an IP address", host);
        err_next(info, "give the names and addresses by which devices and browsers reach this server, for example "
                       "--host muster.example.org,10.0.0.1");
        return e;
    }
    return buf_addf(alt_names, "%s%s:%s", alt_names->len == 0 ? "" : ",", kind, host);
}

enum err hosts_alt_names(const char *hosts, struct buf *alt_names, char ret_first[65], struct err_info *info)
{
    char first[65] = "";
    size_t count = 0;
    for (const char *p = hosts;; p++) {
        char host[HOST_SIZE];
        size_t len = strcspn(p, ",");
        if (len >= sizeof host)
            return err_field(info, ERR_INVALID, "host", "a host name has at most %d characters", HOST_SIZE - 1);
        memcpy(host, p, len);
        host[len] = '\0';
        if (++count > HOSTS_MAX)
            return err_field(info, ERR_INVALID, "host", "at most %d hosts", HOSTS_MAX);
        enum err e = host_add(host, alt_names, info);
        if (e != ERR_OK)
            return e;
        if (count == 1)
            (void)text_copy(first, sizeof first, host);
        p += len;
        if (*p == '\0')
            break;
    }
    memcpy(ret_first, first, sizeof first);
    return ERR_OK;
}
