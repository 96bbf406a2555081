#pragma once
/* `musterd pki init`: makes what one installation needs, and keeps what is there. Run by an administrator, not by the
 * running server; one at a time. */

#include "common/base/err.h"

#include <stdio.h>

/* Files made in dir (0700; keys 0600, certificates 0644), each written in one step:
 *   server-ca.{pem,key}, device-ca.{pem,key}   two CAs, ECDSA P-256, 10 years, path length 0
 *   musterd.{pem,key}, broker.{pem,key}        server certificates for hosts, 2 years
 *   mqtt-client.{pem,key}                      CN=musterd, clientAuth, 2 years: musterd at the broker
 * hosts: DNS names or IP addresses, "a,b,10.0.0.1". Certificates (never CAs) are issued anew, for the same key, when
 * the hosts have changed, when they end within 30 days or when they are not of this CA. A line per file goes to out. */
[[nodiscard]] enum err pki_init(const char *dir, const char *hosts, FILE *out, struct err_info *info);
