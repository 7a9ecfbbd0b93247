"""Facts about this machine, reported beside its measured speed."""

import os
import platform
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta


@dataclass(frozen=True, slots=True)
class Device:
    """`cores` are those available to this process. `load` is the average number of busy cores over the last minute and
    `battery` a percentage; they and `frequency_mhz` are None where the system does not report them."""

    name: str
    processor: str
    cores: Annotated[int, Meta(ge=0)]
    frequency_mhz: float | None
    memory_bytes: Annotated[int, Meta(ge=0)]
    load: float | None
    battery: float | None


def find_device() -> Device:
    """Describe this machine as it is now."""
    import psutil

    frequency = psutil.cpu_freq() if hasattr(psutil, "cpu_freq") else None
    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    return Device(
        name=platform.node(),
        processor=platform.processor() or platform.machine(),
        cores=count_cores(),
        frequency_mhz=round(frequency.current, 1) if frequency else None,
        memory_bytes=psutil.virtual_memory().total,
        load=round(psutil.getloadavg()[0], 2) if hasattr(psutil, "getloadavg") else None,
        battery=battery.percent if battery else None,
    )


def count_cores() -> int:
    """The number of cores available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
