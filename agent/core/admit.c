#include "agent/core/admit.h"

#include "common/base/text.h"
#include "common/bundle/manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool hardware_fits(const struct manifest_requires *needs, const char *hardware)
{
    for (size_t i = 0; i < needs->hardware_count; i++)
        if (text_eq(needs->hardware[i], hardware))
            return true;
    return needs->hardware_count == 0;
}

/* Whether a name is in a list like "cuda, tensorrt". */
static bool list_has(const char *list, const char *name)
{
    size_t len = strlen(name);
    while (*list != '\0') {
        list += strspn(list, ", ");
        size_t n = strcspn(list, ", ");
        if (n == len && strncmp(list, name, n) == 0)
            return true;
        list += n;
    }
    return false;
}

static bool accelerator_fits(const struct manifest_requires *needs, const char *accelerators)
{
    for (size_t i = 0; i < needs->accelerator_count; i++)
        if (list_has(accelerators, needs->accelerators[i]))
            return true;
    return needs->accelerator_count == 0;
}

/* "a, b, c", cut when it gets too long. */
static const char *names_join(const char *const *names, size_t count, char out[UPDATE_DETAIL_SIZE / 2])
{
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < count && len < UPDATE_DETAIL_SIZE / 2; i++) {
        int n = snprintf(out + len, UPDATE_DETAIL_SIZE / 2 - len, "%s%s", i == 0 ? "" : ", ", names[i]);
        len += n > 0 ? (size_t)n : 0;
    }
    return out;
}

static long long mib_up(int64_t bytes)
{
    return (long long)((bytes + (1 << 20) - 1) >> 20);
}

/* What the bundle requires of the device's size and equipment. */
static const char *equipment_admit(const struct manifest_requires *needs, const struct update_device *device,
                                   char detail[UPDATE_DETAIL_SIZE])
{
    char names[UPDATE_DETAIL_SIZE / 2];
    if (!hardware_fits(needs, device->hardware)) {
        (void)snprintf(detail, UPDATE_DETAIL_SIZE, "the bundle is for the hardware %s; this device is \"%s\"",
                       names_join(needs->hardware, needs->hardware_count, names), device->hardware);
        return "does_not_fit";
    }
    if (!accelerator_fits(needs, device->accelerators)) {
        (void)snprintf(detail, UPDATE_DETAIL_SIZE, "the bundle needs one of the accelerators %s; this device has %s",
                       names_join(needs->accelerators, needs->accelerator_count, names),
                       device->accelerators[0] == '\0' ? "none" : device->accelerators);
        return "does_not_fit";
    }
    if (device->memory_total > 0 && needs->memory > device->memory_total) {
        (void)snprintf(detail, UPDATE_DETAIL_SIZE,
                       "the bundle needs a device with %lld MiB of memory; this one has %lld MiB",
                       mib_up(needs->memory), (long long)(device->memory_total >> 20));
        return "does_not_fit";
    }
    if (device->disk_free >= 0 && needs->disk > device->disk_free) {
        (void)snprintf(detail, UPDATE_DETAIL_SIZE,
                       "the bundle needs %lld MiB of free disk besides its files; %lld MiB are free",
                       mib_up(needs->disk), (long long)(device->disk_free >> 20));
        return "does_not_fit";
    }
    return NULL;
}

const char *update_admit(const struct update_row *row, const struct manifest *manifest,
                         const struct update_device *device, char detail[UPDATE_DETAIL_SIZE])
{
    const struct manifest_requires *needs = &manifest->requires_;
    bool was_here = text_eq(manifest->id, row->committed) || text_eq(manifest->id, row->previous);
    if (!text_eq(manifest->slot, row->slot)) {
        (void)snprintf(detail, UPDATE_DETAIL_SIZE, "the bundle is for the slot %s, not %s", manifest->slot, row->slot);
        return "slot_mismatch";
    }
    if ((manifest->kind == MANIFEST_AGENT) != text_eq(row->slot, SLOT_AGENT)) {
        (void)snprintf(detail, UPDATE_DETAIL_SIZE, "bundles of kind agent belong into the slot %s, and no others do",
                       SLOT_AGENT);
        return "slot_mismatch";
    }
    if (needs->min_agent != NULL && text_version_older(device->agent_version, needs->min_agent)) {
        (void)snprintf(detail, UPDATE_DETAIL_SIZE, "the bundle needs agent %s or newer; this one is %s",
                       needs->min_agent, device->agent_version);
        return "agent_too_old";
    }
    if (needs->runtime != NULL && device->runtime[0] != '\0' && text_version_older(device->runtime, needs->runtime)) {
        (void)snprintf(detail, UPDATE_DETAIL_SIZE, "the bundle needs ONNX Runtime %s or newer; this device has %s",
                       needs->runtime, device->runtime);
        return "runtime_unfit";
    }
    const char *code = equipment_admit(needs, device, detail);
    if (code != NULL)
        return code;
    if (!was_here && manifest->release_counter < row->counter) {
        (void)snprintf(detail, UPDATE_DETAIL_SIZE,
                       "release counter %" PRId64 " is below %" PRId64 ", which this device has already run",
                       manifest->release_counter, row->counter);
        return "counter_too_low";
    }
    return NULL;
}
