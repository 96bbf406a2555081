#pragma once
/* Processor, memory, disk and the host's description, from /proc and the C library. */

#include <stdbool.h>
#include <stdint.h>

/* Totals of /proc/stat, to take differences. */
struct host_cpu {
    int64_t busy, total;
};

/* Fields are -1 when they could not be read. */
struct host_usage {
    double cpu; /* busy fraction since the last sample, 0..1; -1 for the first */
    double load1;
    int64_t memory_used, memory_total; /* bytes */
    int64_t disk_used, disk_total;     /* bytes, of the file system of the working directory */
};

/* proc_root: directory laid out like /proc. before is updated. */
void host_usage(const char *proc_root, struct host_cpu *before, struct host_usage *ret_usage);

struct host_facts {
    char hostname[65], os[128], kernel[65], arch[65];
    char hardware[128]; /* what the firmware says, "" when it says nothing */
    int cpus;
};
void host_facts(const char *sysfs_root, struct host_facts *ret_facts);

/* Seconds since boot. */
int64_t host_uptime_s(void);
