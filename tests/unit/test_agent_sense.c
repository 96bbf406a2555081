/* Sensors, on trees like those under /sys and /proc. */
#include "agent/sense/host.h"
#include "agent/sense/items.h"
#include "agent/sense/thermal.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/json.h"

#include "tests/unit/unit.h"

#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct tree {
    char root[64];
    struct sysfs sysfs;
    struct thermal_memory memory;
    struct thermal thermal;
};

static void put(const struct tree *t, const char *path, const char *text)
{
    char full[256];
    char dir[256];
    (void)snprintf(full, sizeof full, "%s/%s", t->root, path);
    (void)snprintf(dir, sizeof dir, "%s", full);
    assert_int_equal(file_make_dirs(dirname(dir), 0755), ERR_OK);
    assert_int_equal(file_write(full, text, strlen(text), 0644), ERR_OK);
}

static void tree_start(struct tree *t)
{
    *t = (struct tree){.root = "/tmp/muster-test-XXXXXX"};
    assert_non_null(mkdtemp(t->root));
    t->sysfs.root = open(t->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(t->sysfs.root >= 0);
}

static void tree_end(struct tree *t)
{
    (void)close(t->sysfs.root);
    assert_int_equal(file_remove_tree(t->root), ERR_OK);
}
#define cleanup_tree [[gnu::cleanup(tree_end)]]

static void sample(struct tree *t)
{
    thermal_sample(&t->sysfs, &t->memory, &t->thermal);
}

static void zone(const struct tree *t, int n, const char *type, const char *temp)
{
    char path[96];
    (void)snprintf(path, sizeof path, "class/thermal/thermal_zone%d/type", n);
    put(t, path, type);
    (void)snprintf(path, sizeof path, "class/thermal/thermal_zone%d/temp", n);
    put(t, path, temp);
}

static void trip(const struct tree *t, int n, int k, const char *type, const char *temp)
{
    char path[96];
    (void)snprintf(path, sizeof path, "class/thermal/thermal_zone%d/trip_point_%d_type", n, k);
    put(t, path, type);
    (void)snprintf(path, sizeof path, "class/thermal/thermal_zone%d/trip_point_%d_temp", n, k);
    put(t, path, temp);
}

/* ---------------------------------------------------------------- temperatures */

static void nothing_there_is_nothing(void **state)
{
    (void)state;
    cleanup_tree struct tree t;
    double margin = 0;
    tree_start(&t);
    sample(&t);
    assert_int_equal(t.thermal.temp_count, 0);
    assert_false(t.thermal.throttled);
    assert_false(thermal_margin(&t.thermal, &margin));
}

static void zones_with_trip_points(void **state)
{
    (void)state;
    cleanup_tree struct tree t;
    double margin = 0;
    tree_start(&t);
    zone(&t, 0, "cpu-thermal\n", "61500\n");
    trip(&t, 0, 0, "active\n", "50000\n"); /* a fan: not a limit */
    trip(&t, 0, 1, "critical\n", "105000\n");
    trip(&t, 0, 2, "passive\n", "85000\n");
    zone(&t, 3, "gpu-thermal\n", "70000\n"); /* numbers have gaps */
    trip(&t, 3, 0, "hot\n", "90000\n");
    sample(&t);
    assert_int_equal(t.thermal.temp_count, 2);
    assert_string_equal(t.thermal.temps[0].name, "cpu-thermal");
    assert_true(t.thermal.temps[0].read);
    assert_float_equal(t.thermal.temps[0].c, 61.5, 1e-9);
    assert_float_equal(t.thermal.temps[0].trip_c, 85.0, 1e-9);
    assert_false(t.thermal.throttled);
    assert_true(thermal_margin(&t.thermal, &margin));
    assert_float_equal(margin, 20.0, 1e-9); /* the GPU's */
}

static void what_cannot_be_read_is_not_zero(void **state)
{
    (void)state;
    cleanup_tree struct tree t;
    double margin = 0;
    tree_start(&t);
    zone(&t, 0, "broken\n", "garbage\n");
    trip(&t, 0, 0, "passive\n", "85000\n");
    zone(&t, 1, "empty\n", "");
    zone(&t, 2, "absent\n", "-274000\n"); /* what drivers say when there is no sensor */
    zone(&t, 3, "frost\n", "0\n");        /* zero degrees are zero degrees */
    sample(&t);
    assert_int_equal(t.thermal.temp_count, 4);
    for (int i = 0; i < 3; i++)
        assert_false(t.thermal.temps[i].read);
    assert_true(t.thermal.temps[3].read);
    assert_false(thermal_margin(&t.thermal, &margin));
}

static void hanging_sensor_does_not_hang(void **state)
{
    (void)state;
    cleanup_tree struct tree t;
    char path[128];
    tree_start(&t);
    zone(&t, 0, "cpu\n", "50000\n");
    put(&t, "class/thermal/thermal_zone1/type", "hangs\n");
    (void)snprintf(path, sizeof path, "%s/class/thermal/thermal_zone1/temp", t.root);
    assert_int_equal(mkfifo(path, 0644), 0); /* a plain open() would wait for ever */
    int64_t began = clock_mono_ms();
    sample(&t);
    assert_true(clock_mono_ms() - began < 2000);
    assert_int_equal(t.thermal.temp_count, 2);
    assert_false(t.thermal.temps[1].read);
}

static void disabled_zones_are_left_out(void **state)
{
    (void)state;
    cleanup_tree struct tree t;
    tree_start(&t);
    zone(&t, 0, "cpu\n", "50000\n");
    put(&t, "class/thermal/thermal_zone0/mode", "disabled\n");
    sample(&t);
    assert_int_equal(t.thermal.temp_count, 0);
}

static void hwmon_chips(void **state)
{
    (void)state;
    cleanup_tree struct tree t;
    tree_start(&t);
    zone(&t, 0, "cpu-thermal\n", "50000\n");
    put(&t, "class/hwmon/hwmon0/name", "cpu_thermal\n"); /* the zone again */
    put(&t, "class/hwmon/hwmon0/temp1_input", "50000\n");
    put(&t, "class/hwmon/hwmon1/name", "coretemp\n");
    put(&t, "class/hwmon/hwmon1/temp1_input", "55000\n");
    put(&t, "class/hwmon/hwmon1/temp1_label", "Core 0\n");
    put(&t, "class/hwmon/hwmon1/temp1_crit", "100000\n");
    put(&t, "class/hwmon/hwmon2/name", "nvme\n");
    put(&t, "class/hwmon/hwmon2/temp1_input", "40000\n");
    put(&t, "class/hwmon/hwmon3/name", "nvme\n");
    put(&t, "class/hwmon/hwmon3/temp1_input", "41000\n");
    put(&t, "class/hwmon/hwmon3/temp1_crit_alarm", "1\n");
    sample(&t);
    assert_int_equal(t.thermal.temp_count, 4);
    assert_string_equal(t.thermal.temps[1].name, "coretemp Core 0");
    assert_float_equal(t.thermal.temps[1].trip_c, 100.0, 1e-9);
    assert_string_equal(t.thermal.temps[2].name, "nvme");
    assert_string_equal(t.thermal.temps[3].name, "nvme 2");
    assert_false(t.thermal.temps[3].has_trip);
    assert_true(t.thermal.throttled);
    assert_string_equal(t.thermal.reason, "critical alarm of nvme 2");
}

/* ---------------------------------------------------------------- throttling */

static void passive_trip_point_throttles(void **state)
{
    (void)state;
    cleanup_tree struct tree t;
    double margin = 0;
    tree_start(&t);
    zone(&t, 0, "cpu\n", "85000\n");
    trip(&t, 0, 0, "passive\n", "85000\n");
    sample(&t);
    assert_true(t.thermal.throttled);
    assert_non_null(strstr(t.thermal.reason, "passive trip point"));
    assert_true(thermal_margin(&t.thermal, &margin));
    assert_float_equal(margin, 0.0, 1e-9);
}

static void cooling_devices(void **state)
{
    (void)state;
    cleanup_tree struct tree t;
    tree_start(&t);
    put(&t, "class/thermal/cooling_device0/type", "pwm-fan\n");
    put(&t, "class/thermal/cooling_device0/cur_state", "3\n");
    put(&t, "class/thermal/cooling_device1/type", "Processor\n");
    put(&t, "class/thermal/cooling_device1/cur_state", "0\n");
    put(&t, "class/thermal/cooling_device2/type", "intel_powerclamp\n");
    put(&t, "class/thermal/cooling_device2/cur_state", "-1\n");
    sample(&t);
    assert_false(t.thermal.throttled);
    put(&t, "class/thermal/cooling_device1/cur_state", "3\n");
    sample(&t);
    assert_true(t.thermal.throttled);
    assert_string_equal(t.thermal.reason, "cooling device Processor at 3");
}

static void intel_counters_must_grow(void **state)
{
    (void)state;
    cleanup_tree struct tree t;
    tree_start(&t);
    put(&t, "devices/system/cpu/cpu0/thermal_throttle/core_throttle_total_time_ms", "1000\n");
    put(&t, "devices/system/cpu/cpu1/thermal_throttle/package_throttle_total_time_ms", "500\n");
    sample(&t);
    assert_false(t.thermal.throttled); /* long ago */
    sample(&t);
    assert_false(t.thermal.throttled);
    put(&t, "devices/system/cpu/cpu1/thermal_throttle/package_throttle_total_time_ms", "530\n");
    sample(&t);
    assert_true(t.thermal.throttled);
    assert_non_null(strstr(t.thermal.reason, "30 ms"));
    sample(&t);
    assert_false(t.thermal.throttled);
}

static void raspberry_bits(void **state)
{
    (void)state;
    static const struct {
        const char *bits;
        bool throttled;
    } cases[] = {{"0\n", false},    {"50000\n", false}, {"1\n", false},   {"2\n", true},  {"50005\n", true},
                 {"80008\n", true}, {"\n", false},      {"xyz\n", false}, {"0x4\n", true}};
    cleanup_tree struct tree t;
    tree_start(&t);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put(&t, "devices/platform/soc/soc:firmware/get_throttled", cases[i].bits);
        sample(&t);
        assert_int_equal(t.thermal.throttled, cases[i].throttled);
    }
}

/* ---------------------------------------------------------------- host */

static void processor_memory_load(void **state)
{
    (void)state;
    cleanup_tree struct tree t;
    struct host_cpu before = {0};
    struct host_usage usage;
    tree_start(&t);
    put(&t, "stat", "cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 2 3 4\n");
    put(&t, "meminfo", "MemTotal:       1000 kB\nMemFree:  1 kB\nMemAvailable:    250 kB\n");
    put(&t, "loadavg", "0.52 0.40 0.30 1/200 4242\n");
    host_usage(t.root, &before, &usage);
    assert_true(usage.cpu < 0); /* one reading is no rate */
    assert_int_equal(usage.memory_total, 1024000);
    assert_int_equal(usage.memory_used, 768000);
    assert_float_equal(usage.load1, 0.52, 1e-9);
    assert_true(usage.disk_total > 0 && usage.disk_used >= 0 && usage.disk_used <= usage.disk_total);
    put(&t, "stat", "cpu  150 0 150 790 110 0 0 0 0 0\n");
    host_usage(t.root, &before, &usage);
    assert_float_equal(usage.cpu, 0.5, 1e-9);
    put(&t, "stat", "nonsense\n");
    put(&t, "meminfo", "MemTotal: 0 kB\n");
    put(&t, "loadavg", "\n");
    host_usage(t.root, &before, &usage);
    assert_true(usage.cpu < 0 && usage.load1 < 0 && usage.memory_total == -1);
}

static void health_item(void **state)
{
    (void)state;
    cleanup_free char *text = NULL;
    json_t *json = NULL;
    struct host_usage usage = {.cpu = -1, .load1 = 0.5, .memory_used = 1, .memory_total = 2, .disk_used = -1};
    struct sensors_reading reading = {.fraction = 0.25, .reason = "cooling device Processor at 3"};
    reading.thermal.temp_count = 1;
    reading.thermal.temps[0] = (struct thermal_temp){.name = "cpu", .has_trip = true, .trip_c = 85.0};
    assert_int_equal(item_health(7, &usage, &reading, &text), ERR_OK);
    assert_int_equal(json_parse(text, strlen(text), JSON_BYTES_MAX, &json, NULL), ERR_OK);
    const json_t *temp = json_array_get(json_object_get(json, "temps"), 0);
    assert_true(json_is_null(json_object_get(json, "cpu")));
    assert_true(json_is_null(json_object_get(json, "disk")));
    assert_true(json_is_null(json_object_get(temp, "c"))); /* not read: never 0 */
    assert_float_equal(json_real_value(json_object_get(temp, "trip_c")), 85.0, 1e-9);
    assert_string_equal(json_text_or_null(json_object_get(json, "memory"), "used"), "1");
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_there_is_nothing),        cmocka_unit_test(zones_with_trip_points),
        cmocka_unit_test(what_cannot_be_read_is_not_zero), cmocka_unit_test(hanging_sensor_does_not_hang),
        cmocka_unit_test(disabled_zones_are_left_out),     cmocka_unit_test(hwmon_chips),
        cmocka_unit_test(passive_trip_point_throttles),    cmocka_unit_test(cooling_devices),
        cmocka_unit_test(intel_counters_must_grow),        cmocka_unit_test(raspberry_bits),
        cmocka_unit_test(processor_memory_load),           cmocka_unit_test(health_item),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
