"""A sysfs tree for one demo device, laid out as Linux has it: a thermal zone with trip points and one cooling device."""

from __future__ import annotations

from pathlib import Path


def _write(path: Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{value}\n")


def make_tree(root: Path, celsius: float, *, passive: float = 85.0, critical: float = 100.0) -> None:
    """`root` is what /sys would be. Temperatures are in °C; the kernel's files have m°C."""
    zone = root / "class/thermal/thermal_zone0"
    _write(zone / "type", "cpu-thermal")
    _write(zone / "mode", "enabled")
    _write(zone / "trip_point_0_type", "passive")
    _write(zone / "trip_point_0_temp", int(passive * 1000))
    _write(zone / "trip_point_1_type", "critical")
    _write(zone / "trip_point_1_temp", int(critical * 1000))
    cooling = root / "class/thermal/cooling_device0"
    _write(cooling / "type", "Processor")
    _write(cooling / "max_state", 10)
    set_temperature(root, celsius, passive=passive)


def set_temperature(root: Path, celsius: float, *, passive: float = 85.0) -> None:
    """The zone's reading; the processor is throttled from the passive trip point on."""
    _write(root / "class/thermal/thermal_zone0/temp", int(celsius * 1000))
    _write(root / "class/thermal/cooling_device0/cur_state", 3 if celsius >= passive else 0)
