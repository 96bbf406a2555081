#include "agent/sense/host.h"

#include "agent/core/clean.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/text.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <time.h>

enum { PROC_FILE_MAX = 256 * 1024, SMALL_FILE_MAX = 16 * 1024 };

/* A file below root, or NULL; free() it. */
static char *text_read(const char *root, const char *name, size_t max)
{
    char path[PATH_MAX];
    char *text = NULL;
    if (snprintf(path, sizeof path, "%s/%s", root, name) >= (int)sizeof path ||
        file_read(path, max, &text, NULL) != ERR_OK)
        return NULL;
    return text;
}

/* "cpu  user nice system idle iowait irq softirq steal …" */
static bool cpu_read(const char *root, struct host_cpu *ret_cpu)
{
    cleanup_free char *text = text_read(root, "stat", PROC_FILE_MAX);
    int64_t v[8] = {0};
    if (text == NULL ||
        sscanf(text, "cpu %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64,
               &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]) < 4)
        return false;
    ret_cpu->total = 0;
    for (int i = 0; i < 8; i++)
        ret_cpu->total += v[i];
    ret_cpu->busy = ret_cpu->total - v[3] - v[4];
    return true;
}

static double cpu_fraction(const char *root, struct host_cpu *before)
{
    struct host_cpu now = {0};
    if (!cpu_read(root, &now))
        return -1;
    int64_t total = now.total - before->total;
    int64_t busy = now.busy - before->busy;
    bool first = before->total == 0;
    *before = now;
    if (first || total <= 0 || busy < 0 || busy > total)
        return -1;
    return (double)busy / (double)total;
}

/* "MemTotal:  123 kB" -> bytes, -1 when it is not there. */
static int64_t meminfo_value(const char *text, const char *key)
{
    int64_t kib = 0;
    const char *line = strstr(text, key);
    if (line == NULL || sscanf(line + strlen(key), " %" SCNd64 " kB", &kib) != 1)
        return -1;
    return kib * 1024;
}

static void memory_read(const char *root, struct host_usage *usage)
{
    cleanup_free char *text = text_read(root, "meminfo", SMALL_FILE_MAX);
    if (text == NULL)
        return;
    int64_t total = meminfo_value(text, "MemTotal:");
    int64_t available = meminfo_value(text, "MemAvailable:");
    if (total <= 0 || available < 0 || available > total)
        return;
    usage->memory_total = total;
    usage->memory_used = total - available;
}

static void disk_read(struct host_usage *usage)
{
    struct statvfs fs;
    if (statvfs(".", &fs) != 0)
        return;
    usage->disk_total = (int64_t)fs.f_blocks * (int64_t)fs.f_frsize;
    usage->disk_used = (int64_t)(fs.f_blocks - fs.f_bfree) * (int64_t)fs.f_frsize;
}

void host_usage(const char *proc_root, struct host_cpu *before, struct host_usage *ret_usage)
{
    struct host_usage usage = {.load1 = -1, .memory_used = -1, .memory_total = -1, .disk_used = -1, .disk_total = -1};
    usage.cpu = cpu_fraction(proc_root, before);
    memory_read(proc_root, &usage);
    disk_read(&usage);
    cleanup_free char *load = text_read(proc_root, "loadavg", SMALL_FILE_MAX);
    if (load != NULL) {
        load[strcspn(load, " \n")] = '\0';
        if (text_to_f64(load, 0, 1e6, &usage.load1) != ERR_OK)
            usage.load1 = -1;
    }
    *ret_usage = usage;
}

/* PRETTY_NAME="Debian GNU/Linux 12 (bookworm)" */
static void os_read(char *out, size_t size)
{
    static const char key[] = "PRETTY_NAME=\"";
    cleanup_free char *text = text_read("/etc", "os-release", SMALL_FILE_MAX);
    const char *name = text == NULL ? NULL : strstr(text, key);
    (void)snprintf(out, size, "Linux");
    if (name == NULL)
        return;
    name += sizeof key - 1;
    (void)snprintf(out, size, "%.*s", (int)strcspn(name, "\"\n"), name);
}

static void hardware_read(const char *sysfs_root, char *out, size_t size)
{
    static const char *const files[] = {"firmware/devicetree/base/model", "class/dmi/id/product_name"};
    out[0] = '\0';
    for (size_t i = 0; i < 2 && out[0] == '\0'; i++) {
        cleanup_free char *text = text_read(sysfs_root, files[i], SMALL_FILE_MAX);
        if (text != NULL)
            (void)snprintf(out, size, "%.*s", (int)strcspn(text, "\n"), text);
    }
}

void host_facts(const char *sysfs_root, struct host_facts *ret_facts)
{
    struct utsname name;
    struct host_facts facts = {.cpus = (int)sysconf(_SC_NPROCESSORS_ONLN)};
    if (uname(&name) == 0) {
        (void)snprintf(facts.hostname, sizeof facts.hostname, "%s", name.nodename);
        (void)snprintf(facts.kernel, sizeof facts.kernel, "%s", name.release);
        (void)snprintf(facts.arch, sizeof facts.arch, "%s", name.machine);
    }
    os_read(facts.os, sizeof facts.os);
    clean_text(facts.os);
    hardware_read(sysfs_root, facts.hardware, sizeof facts.hardware);
    clean_text(facts.hardware);
    clean_text(facts.hostname);
    *ret_facts = facts;
}

int64_t host_uptime_s(void)
{
    struct timespec now;
    return clock_gettime(CLOCK_BOOTTIME, &now) == 0 ? (int64_t)now.tv_sec : 0;
}
