#pragma once
/* Temperatures and throttling, from sysfs (docs/design/agent.md says which files). */

#include "agent/sense/sysfs.h"

enum { THERMAL_TEMPS_MAX = 32, THERMAL_NAME_SIZE = 64, THERMAL_REASON_SIZE = 96 };

struct thermal_temp {
    char name[THERMAL_NAME_SIZE];
    bool read; /* c is valid; false: the sensor is there and could not be read */
    double c;
    bool has_trip;
    double trip_c; /* lowest passive, hot or critical trip point */
};

struct thermal {
    size_t temp_count;
    struct thermal_temp temps[THERMAL_TEMPS_MAX];
    bool throttled;
    char reason[THERMAL_REASON_SIZE]; /* the first reason found; "" when not throttled */
};

/* Counters that only grow while something is throttled; kept from sample to sample. */
struct thermal_memory {
    bool known;
    int64_t throttle_ms;
};

/* Reads everything once. */
void thermal_sample(struct sysfs *sysfs, struct thermal_memory *memory, struct thermal *ret_thermal);

/* Smallest distance to a trip point in °C; false when no sensor that could be read has one. */
bool thermal_margin(const struct thermal *thermal, double *ret_margin_c);
