/* Plans: deterministic, complete, spread over strata, canaries first. */
#include "server/core/plan.h"

#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEVICES_MAX = 600 };

struct fleet {
    char ids[DEVICES_MAX][32];
    char sites[DEVICES_MAX][32];
    struct plan_device devices[DEVICES_MAX];
    size_t count;
};

static void fleet_make(struct fleet *f, size_t count, size_t sites)
{
    f->count = count;
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(f->ids[i], sizeof f->ids[i], "device-%zu", i);
        (void)snprintf(f->sites[i], sizeof f->sites[i], "site-%zu", i % sites);
        f->devices[i] = (struct plan_device){.id = f->ids[i], .stratum = f->sites[i]};
    }
}

static size_t in_wave(const struct fleet *f, int wave)
{
    size_t n = 0;
    for (size_t i = 0; i < f->count; i++)
        n += f->devices[i].wave == wave ? 1 : 0;
    return n;
}

static int wave_of(const struct fleet *f, const char *id)
{
    for (size_t i = 0; i < f->count; i++)
        if (strcmp(f->devices[i].id, id) == 0)
            return f->devices[i].wave;
    return -1;
}

static const struct plan_wave usual[] = {{.devices = 1, .soak_s = 7}, {.percent = 50}, {.percent = 100}};

static void sizes(void **state)
{
    (void)state;
    static const struct {
        size_t devices;
        size_t waves;
        size_t size[3];
    } table[] = {
        {1, 1, {1}}, {2, 2, {1, 1}}, {3, 3, {1, 1, 1}}, {6, 3, {1, 2, 3}}, {7, 3, {1, 3, 3}}, {600, 3, {1, 299, 300}},
    };
    struct fleet f;
    for (size_t t = 0; t < sizeof table / sizeof table[0]; t++) {
        fleet_make(&f, table[t].devices, 3);
        struct plan_wave made[3];
        size_t count = 0;
        plan_make("bundle", f.devices, f.count, usual, 3, made, &count);
        assert_int_equal(count, table[t].waves);
        for (size_t w = 0; w < count; w++)
            assert_int_equal(in_wave(&f, (int)w + 1), table[t].size[w]);
        assert_int_equal(made[0].soak_s, 7);
    }
}

static void devices_count_on_from_the_wave_before(void **state)
{
    (void)state;
    struct fleet f;
    fleet_make(&f, 20, 2);
    const struct plan_wave waves[] = {{.devices = 2}, {.devices = 5}, {.percent = 40}, {.percent = 100}};
    struct plan_wave made[4];
    size_t count = 0;
    plan_make("bundle", f.devices, f.count, waves, 4, made, &count);
    assert_int_equal(count, 4);
    assert_int_equal(in_wave(&f, 1), 2);
    assert_int_equal(in_wave(&f, 2), 5);
    assert_int_equal(in_wave(&f, 3), 1);
    assert_int_equal(in_wave(&f, 4), 12);
}

/* The order in which the database gives the devices changes nothing; another bundle chooses others. */
static void the_choice_is_the_devices_own(void **state)
{
    (void)state;
    static struct fleet a, b, c;
    struct plan_wave made[3];
    size_t count = 0;
    fleet_make(&a, 200, 4);
    fleet_make(&b, 200, 4);
    fleet_make(&c, 200, 4);
    for (size_t i = 0; i < 100; i++) {
        struct plan_device swap = b.devices[i];
        b.devices[i] = b.devices[199 - i];
        b.devices[199 - i] = swap;
    }
    plan_make("bundle", a.devices, 200, usual, 3, made, &count);
    plan_make("bundle", b.devices, 200, usual, 3, made, &count);
    plan_make("another", c.devices, 200, usual, 3, made, &count);
    int differ = 0;
    for (size_t i = 0; i < 200; i++) {
        assert_int_equal(wave_of(&a, a.ids[i]), wave_of(&b, a.ids[i]));
        differ += wave_of(&a, a.ids[i]) != wave_of(&c, a.ids[i]) ? 1 : 0;
    }
    assert_in_range(differ, 50, 150);
}

static void strata_take_turns(void **state)
{
    (void)state;
    static struct fleet f;
    for (size_t sites = 1; sites <= 12; sites++) {
        fleet_make(&f, 120, sites);
        const struct plan_wave waves[] = {{.devices = (int64_t)sites}, {.percent = 100}};
        struct plan_wave made[2];
        size_t count = 0;
        plan_make("bundle", f.devices, f.count, waves, 2, made, &count);
        assert_int_equal(in_wave(&f, 1), sites);
        for (size_t i = 0; i < sites; i++) /* the first turn: every site once */
            for (size_t j = 0; j < i; j++)
                assert_string_not_equal(f.devices[i].stratum, f.devices[j].stratum);
    }
}

static void a_small_site_is_not_forgotten(void **state)
{
    (void)state;
    static struct fleet f;
    fleet_make(&f, 101, 1);
    f.devices[57].stratum = "the-small-one";
    const char *id = f.devices[57].id;
    const struct plan_wave waves[] = {{.devices = 2}, {.percent = 100}};
    struct plan_wave made[2];
    size_t count = 0;
    plan_make("bundle", f.devices, f.count, waves, 2, made, &count);
    assert_int_equal(wave_of(&f, id), 1);
}

static void canaries_are_in_the_first_wave(void **state)
{
    (void)state;
    static struct fleet f;
    fleet_make(&f, 60, 3);
    for (size_t i = 0; i < 5; i++)
        f.devices[i * 11].canary = true;
    struct plan_wave made[3];
    size_t count = 0;
    plan_make("bundle", f.devices, f.count, usual, 3, made, &count);
    assert_int_equal(in_wave(&f, 1), 5); /* it grows to hold them */
    for (size_t i = 0; i < f.count; i++)
        assert_int_equal(f.devices[i].canary, f.devices[i].wave == 1);
}

static void every_device_is_in_exactly_one_wave(void **state)
{
    (void)state;
    static struct fleet f;
    uint64_t seed = 42;
    for (int round = 0; round < 3000; round++) {
        seed = seed * 6364136223846793005U + 1442695040888963407U;
        fleet_make(&f, 1 + (seed >> 33) % 90, 1 + (seed >> 45) % 5);
        for (size_t i = 0; i < f.count; i++)
            f.devices[i].canary = ((seed >> 20) + i * 7) % 13 == 0;
        struct plan_wave waves[PLAN_WAVES_MAX], made[PLAN_WAVES_MAX];
        size_t asked = 1 + (seed >> 50) % 6;
        for (size_t w = 0; w < asked; w++) {
            waves[w] = (struct plan_wave){.percent = 100.0 * (double)(w + 1) / (double)asked};
            if (w + 1 < asked && ((seed >> w) & 1) == 0)
                waves[w] = (struct plan_wave){.devices = 1 + (int64_t)((seed >> (8 + w)) % 30)};
        }
        assert_int_equal(plan_check(waves, asked, NULL), ERR_OK);
        size_t count = 0;
        plan_make("bundle", f.devices, f.count, waves, asked, made, &count);
        assert_in_range(count, 1, asked);
        size_t sum = 0;
        for (size_t w = 1; w <= count; w++) {
            assert_true(in_wave(&f, (int)w) > 0);
            sum += in_wave(&f, (int)w);
        }
        assert_int_equal(sum, f.count);
    }
}

static void wrong_waves_are_errors(void **state)
{
    (void)state;
    struct err_info info;
    const struct plan_wave short_of[] = {{.devices = 1}, {.percent = 50}};
    assert_int_equal(plan_check(short_of, 2, &info), ERR_INVALID);
    assert_string_equal(info.field, "waves");
    const struct plan_wave only_devices[] = {{.devices = 100}};
    assert_int_equal(plan_check(only_devices, 1, &info), ERR_INVALID);
    const struct plan_wave shrinking[] = {{.percent = 50}, {.devices = 3}, {.percent = 20}, {.percent = 100}};
    assert_int_equal(plan_check(shrinking, 4, &info), ERR_INVALID);
    assert_non_null(strstr(info.text, "wave 3"));
    assert_int_equal(plan_check(NULL, 0, &info), ERR_INVALID);
    assert_int_equal(plan_check(usual, 3, &info), ERR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),
        cmocka_unit_test(devices_count_on_from_the_wave_before),
        cmocka_unit_test(the_choice_is_the_devices_own),
        cmocka_unit_test(strata_take_turns),
        cmocka_unit_test(a_small_site_is_not_forgotten),
        cmocka_unit_test(canaries_are_in_the_first_wave),
        cmocka_unit_test(every_device_is_in_exactly_one_wave),
        cmocka_unit_test(wrong_waves_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
