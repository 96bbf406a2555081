#include "agent/sense/thermal.h"

#include "agent/core/clean.h"
#include "common/base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ZONES_MAX = 64,
    TRIPS_MAX = 16,
    COOLERS_MAX = 256,
    HWMONS_MAX = 32,
    HWMON_TEMPS_MAX = 32,
    CPUS_MAX = 64,
    WORD_SIZE = 48
};
/* Outside of these a driver says "not available" with a number. */
#define PLAUSIBLE_MIN_C (-60.0)
#define PLAUSIBLE_MAX_C 250.0

[[gnu::format(printf, 2, 3)]] static void throttled_because(struct thermal *t, const char *fmt, ...)
{
    if (t->throttled)
        return;
    va_list args;
    t->throttled = true;
    va_start(args, fmt);
    (void)vsnprintf(t->reason, sizeof t->reason, fmt, args);
    va_end(args);
    clean_text(t->reason);
}

static bool celsius_read(struct sysfs *sysfs, double *ret_c, const char *path)
{
    int64_t milli = 0;
    if (!sysfs_number(sysfs, &milli, path))
        return false;
    double c = (double)milli / 1000.0;
    if (c < PLAUSIBLE_MIN_C || c > PLAUSIBLE_MAX_C)
        return false;
    *ret_c = c;
    return true;
}

static bool name_taken(const struct thermal *t, const char *name)
{
    for (size_t i = 0; i < t->temp_count; i++)
        if (text_eq(t->temps[i].name, name))
            return true;
    return false;
}

/* A new entry whose name is the only one of its kind; NULL when there is no room. */
static struct thermal_temp *temp_add(struct thermal *t, const char *name)
{
    char unique[THERMAL_NAME_SIZE];
    if (t->temp_count == THERMAL_TEMPS_MAX)
        return NULL;
    (void)snprintf(unique, sizeof unique, "%s", name);
    clean_text(unique);
    for (int n = 2; name_taken(t, unique); n++)
        (void)snprintf(unique, sizeof unique, "%.48s %d", name, n);
    struct thermal_temp *temp = &t->temps[t->temp_count++];
    *temp = (struct thermal_temp){0};
    (void)text_copy(temp->name, sizeof temp->name, unique);
    return temp;
}

static void trip_lower(struct thermal_temp *temp, double c)
{
    if (c > 0 && (!temp->has_trip || c < temp->trip_c)) {
        temp->has_trip = true;
        temp->trip_c = c;
    }
}

/* ---- thermal zones ---- */

static void zone_trips(struct sysfs *sysfs, int zone, struct thermal *t, struct thermal_temp *temp)
{
    for (int trip = 0; trip < TRIPS_MAX; trip++) {
        char path[SYSFS_PATH_SIZE];
        char type[WORD_SIZE];
        double c = 0;
        if (!sysfs_path(path, "class/thermal/thermal_zone%d/trip_point_%d_type", zone, trip) ||
            !sysfs_text(sysfs, type, sizeof type, path))
            return;
        bool passive = text_eq(type, "passive");
        if ((!passive && !text_eq(type, "hot") && !text_eq(type, "critical")) ||
            !sysfs_path(path, "class/thermal/thermal_zone%d/trip_point_%d_temp", zone, trip) ||
            !celsius_read(sysfs, &c, path))
            continue;
        trip_lower(temp, c);
        if (passive && c > 0 && temp->read && temp->c >= c)
            throttled_because(t, "%.40s at %.1f C, passive trip point %.1f C", temp->name, temp->c, c);
    }
}

static void zones_sample(struct sysfs *sysfs, struct thermal *t)
{
    for (int zone = 0; zone < ZONES_MAX; zone++) {
        char path[SYSFS_PATH_SIZE];
        char type[WORD_SIZE];
        char mode[WORD_SIZE];
        if (!sysfs_path(path, "class/thermal/thermal_zone%d/type", zone) || !sysfs_text(sysfs, type, sizeof type, path))
            continue;
        if (sysfs_path(path, "class/thermal/thermal_zone%d/mode", zone) && sysfs_text(sysfs, mode, sizeof mode, path) &&
            text_eq(mode, "disabled"))
            continue;
        struct thermal_temp *temp = temp_add(t, type);
        if (temp == NULL)
            return;
        temp->read = sysfs_path(path, "class/thermal/thermal_zone%d/temp", zone) && celsius_read(sysfs, &temp->c, path);
        zone_trips(sysfs, zone, t, temp);
    }
}

/* ---- hwmon ---- */

/* The kernel shows thermal zones as hwmon devices, too, with '-' as '_'. */
static bool is_zone(const struct thermal *t, size_t zones, const char *chip)
{
    for (size_t i = 0; i < zones; i++) {
        char name[THERMAL_NAME_SIZE];
        (void)text_copy(name, sizeof name, t->temps[i].name);
        for (char *c = name; *c != '\0'; c++)
            *c = *c == '-' ? '_' : *c;
        if (text_eq(name, chip))
            return true;
    }
    return false;
}

static void hwmon_temp(struct sysfs *sysfs, int hwmon, int n, const char *chip, struct thermal *t)
{
    char path[SYSFS_PATH_SIZE];
    char input[SYSFS_PATH_SIZE];
    char label[WORD_SIZE];
    char name[THERMAL_NAME_SIZE];
    int64_t alarm = 0;
    double c = 0;
    /* Without a label or a limit beside it, a missing temperature is a missing sensor. */
    bool labelled =
        sysfs_path(path, "class/hwmon/hwmon%d/temp%d_label", hwmon, n) && sysfs_text(sysfs, label, sizeof label, path);
    bool limited = sysfs_path(path, "class/hwmon/hwmon%d/temp%d_crit", hwmon, n) && celsius_read(sysfs, &c, path);
    double crit = c;
    bool read = sysfs_path(input, "class/hwmon/hwmon%d/temp%d_input", hwmon, n) && celsius_read(sysfs, &c, input);
    if (!read && !labelled && !limited)
        return;
    (void)snprintf(name, sizeof name, labelled ? "%.30s %.31s" : "%.30s", chip, label);
    struct thermal_temp *temp = temp_add(t, name);
    if (temp == NULL)
        return;
    temp->read = read;
    temp->c = read ? c : 0;
    if (limited)
        trip_lower(temp, crit);
    if (sysfs_path(path, "class/hwmon/hwmon%d/temp%d_crit_alarm", hwmon, n) && sysfs_number(sysfs, &alarm, path) &&
        alarm == 1)
        throttled_because(t, "critical alarm of %.60s", temp->name);
}

static void hwmons_sample(struct sysfs *sysfs, struct thermal *t)
{
    size_t zones = t->temp_count;
    for (int hwmon = 0; hwmon < HWMONS_MAX; hwmon++) {
        char path[SYSFS_PATH_SIZE];
        char chip[WORD_SIZE];
        if (!sysfs_path(path, "class/hwmon/hwmon%d/name", hwmon) || !sysfs_text(sysfs, chip, sizeof chip, path) ||
            is_zone(t, zones, chip))
            continue;
        for (int n = 1; n <= HWMON_TEMPS_MAX; n++)
            hwmon_temp(sysfs, hwmon, n, chip, t);
    }
}

/* ---- throttling ---- */

/* A fan that turns, and an offset the firmware has set, do not slow anything down. */
static bool cooler_slows(const char *type)
{
    return strcasestr(type, "fan") == NULL && !text_eq(type, "TCC Offset");
}

static void coolers_sample(struct sysfs *sysfs, struct thermal *t)
{
    for (int n = 0; n < COOLERS_MAX && !t->throttled; n++) {
        char path[SYSFS_PATH_SIZE];
        char type[WORD_SIZE];
        int64_t state = 0;
        if (!sysfs_path(path, "class/thermal/cooling_device%d/cur_state", n) || !sysfs_number(sysfs, &state, path) ||
            state <= 0)
            continue;
        if (sysfs_path(path, "class/thermal/cooling_device%d/type", n) && sysfs_text(sysfs, type, sizeof type, path) &&
            cooler_slows(type))
            throttled_because(t, "cooling device %.40s at %lld", type, (long long)state);
    }
}

/* Intel: milliseconds that cores and packages were throttled since boot. */
static void intel_sample(struct sysfs *sysfs, struct thermal_memory *memory, struct thermal *t)
{
    static const char *const counters[] = {"core", "package"};
    int64_t sum = 0;
    bool any = false;
    for (int cpu = 0; cpu < CPUS_MAX; cpu++) {
        for (size_t i = 0; i < 2; i++) {
            char path[SYSFS_PATH_SIZE];
            int64_t ms = 0;
            if (sysfs_path(path, "devices/system/cpu/cpu%d/thermal_throttle/%s_throttle_total_time_ms", cpu,
                           counters[i]) &&
                sysfs_number(sysfs, &ms, path)) {
                sum += ms;
                any = true;
            }
        }
    }
    if (any && memory->known && sum > memory->throttle_ms)
        throttled_because(t, "the processor throttled itself for %lld ms", (long long)(sum - memory->throttle_ms));
    memory->known = any;
    memory->throttle_ms = sum;
}

/* Raspberry Pi: bits 1 to 3 are frequency capped, throttled, soft temperature limit, all of them now. */
static void raspberry_sample(struct sysfs *sysfs, struct thermal *t)
{
    char text[WORD_SIZE];
    char *end = NULL;
    if (!sysfs_text(sysfs, text, sizeof text, "devices/platform/soc/soc:firmware/get_throttled"))
        return;
    unsigned long bits = strtoul(text, &end, 16);
    if (end == text || *end != '\0')
        return;
    if ((bits & 0x8) != 0)
        throttled_because(t, "soft temperature limit");
    else if ((bits & 0x4) != 0)
        throttled_because(t, "firmware throttles");
    else if ((bits & 0x2) != 0)
        throttled_because(t, "frequency capped%s", (bits & 0x1) != 0 ? ": under-voltage" : "");
}

void thermal_sample(struct sysfs *sysfs, struct thermal_memory *memory, struct thermal *ret_thermal)
{
    *ret_thermal = (struct thermal){0};
    zones_sample(sysfs, ret_thermal);
    hwmons_sample(sysfs, ret_thermal);
    coolers_sample(sysfs, ret_thermal);
    raspberry_sample(sysfs, ret_thermal);
    intel_sample(sysfs, memory, ret_thermal);
}

bool thermal_margin(const struct thermal *thermal, double *ret_margin_c)
{
    bool any = false;
    double least = 0;
    for (size_t i = 0; i < thermal->temp_count; i++) {
        const struct thermal_temp *temp = &thermal->temps[i];
        double margin = temp->trip_c - temp->c;
        if (!temp->read || !temp->has_trip || (any && margin >= least))
            continue;
        any = true;
        least = margin;
    }
    if (any)
        *ret_margin_c = least;
    return any;
}
