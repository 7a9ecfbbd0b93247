"""What this machine is: facts to show beside its measured speed."""

import os
import platform
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Device:
    """`cores` are those this process may use, `load` the busy ones of all a minute ago; None where the system does
    not tell. `battery` is in percent."""

    name: str
    processor: str
    cores: int
    frequency_mhz: float | None
    memory_bytes: int
    load: float | None
    battery: float | None


def find_device() -> Device:
    """This machine, now."""
    import psutil

    frequency = psutil.cpu_freq() if hasattr(psutil, "cpu_freq") else None
    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    return Device(
        name=platform.node(),
        processor=platform.processor() or platform.machine(),
        cores=cores(),
        frequency_mhz=round(frequency.current, 1) if frequency else None,
        memory_bytes=psutil.virtual_memory().total,
        load=round(psutil.getloadavg()[0], 2) if hasattr(psutil, "getloadavg") else None,
        battery=battery.percent if battery else None,
    )


def cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
