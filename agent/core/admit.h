#pragma once
/* May a verified bundle be installed on this device? Pure. */

#include "agent/core/update.h"

struct manifest;

/* Facts of the device that decide whether a verified bundle may be installed. */
struct update_device {
    const char *hardware;
    const char *agent_version;
    const char *runtime;      /* version of ONNX Runtime, "": not known yet; then the self-test decides */
    const char *accelerators; /* names with commas between, "": none */
    int64_t memory_total;     /* bytes, 0: not known */
    int64_t disk_free;        /* bytes, -1: not known */
};

/* NULL when the verified manifest may be installed in the row's slot as its target; else the code, with a text in
 * detail. */
const char *update_admit(const struct update_row *row, const struct manifest *manifest,
                         const struct update_device *device, char detail[UPDATE_DETAIL_SIZE]);
