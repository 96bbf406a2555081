#include "server/core/plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum err plan_check(const struct plan_wave *waves, size_t count, struct err_info *info)
{
    double reached = 0;
    for (size_t i = 0; i < count; i++) {
        if (waves[i].devices > 0)
            continue;
        if (waves[i].percent <= reached) {
            enum err e =
                err_field(info, ERR_INVALID, "waves", "wave %zu reaches %g %%, but a wave before it already does",
                          i + 1, waves[i].percent);
            err_next(info, "Percentages count from the start and must grow from wave to wave.");
            return e;
        }
        reached = waves[i].percent;
    }
    if (count > 0 && waves[count - 1].devices == 0 && waves[count - 1].percent >= 100)
        return ERR_OK;
    enum err e = err_field(info, ERR_INVALID, "waves", "the last wave does not reach 100 %%");
    err_next(info, "End with a wave of percent 100, so that no device is left out.");
    return e;
}

/* FNV-1a, 64 bits, and the last step of MurmurHash3, because FNV spreads its last bytes badly. */
static uint64_t hash_of(const char *bundle_id, const char *name)
{
    uint64_t h = 0xcbf29ce484222325U;
    const char *const parts[] = {bundle_id, "/", name};
    for (size_t p = 0; p < sizeof parts / sizeof parts[0]; p++)
        for (const char *c = parts[p]; *c != '\0'; c++)
            h = (h ^ (unsigned char)*c) * 0x100000001b3U;
    h = (h ^ h >> 33) * 0xff51afd7ed558ccdU;
    h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53U;
    return h ^ h >> 33;
}

static int by_stratum(const void *a, const void *b)
{
    const struct plan_device *x = a;
    const struct plan_device *y = b;
    int strata = strcmp(x->stratum, y->stratum);
    if (strata != 0)
        return strata;
    if (x->order_ != y->order_)
        return x->order_ < y->order_ ? -1 : 1;
    return strcmp(x->id, y->id);
}

/* Canaries first; then the first of every stratum, the second of every stratum, and so on. */
static int by_turn(const void *a, const void *b)
{
    const struct plan_device *x = a;
    const struct plan_device *y = b;
    if (x->canary != y->canary)
        return x->canary ? -1 : 1;
    if (x->rank_ != y->rank_)
        return x->rank_ < y->rank_ ? -1 : 1;
    if (x->order_ != y->order_)
        return x->order_ < y->order_ ? -1 : 1;
    return strcmp(x->id, y->id);
}

static void order_devices(const char *bundle_id, struct plan_device *devices, size_t count)
{
    for (size_t i = 0; i < count; i++)
        devices[i].order_ = hash_of(bundle_id, devices[i].id);
    qsort(devices, count, sizeof *devices, by_stratum);
    for (size_t i = 0; i < count; i++) {
        bool same = i > 0 && strcmp(devices[i].stratum, devices[i - 1].stratum) == 0;
        devices[i].rank_ = same ? devices[i - 1].rank_ + 1 : 0;
    }
    qsort(devices, count, sizeof *devices, by_turn);
}

static size_t canaries_of(const struct plan_device *devices, size_t count)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        n += devices[i].canary ? 1 : 0;
    return n;
}

/* How many devices are in this wave and those before it. */
static size_t wave_end(const struct plan_wave *wave, size_t taken, size_t count)
{
    double end =
        wave->devices > 0 ? (double)taken + (double)wave->devices : ceil(wave->percent * (double)count / 100 - 1e-9);
    if (end < (double)taken)
        return taken;
    return end > (double)count ? count : (size_t)end;
}

void plan_make(const char *bundle_id, struct plan_device *devices, size_t device_count, const struct plan_wave *waves,
               size_t count, struct plan_wave *ret_waves, size_t *ret_count)
{
    order_devices(bundle_id, devices, device_count);
    size_t canaries = canaries_of(devices, device_count);
    size_t taken = 0;
    size_t made = 0;
    for (size_t i = 0; i < count; i++) {
        size_t end = wave_end(&waves[i], taken, device_count);
        if (made == 0 && end < canaries)
            end = canaries;
        if (end == taken)
            continue;
        ret_waves[made++] = waves[i];
        for (; taken < end; taken++)
            devices[taken].wave = (int)made;
    }
    *ret_count = made;
}
