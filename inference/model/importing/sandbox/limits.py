"""The memory and the time of an import, and the protections under which it ran."""

import math
import os
import resource
from dataclasses import asdict, dataclass
from typing import Any

GIBIBYTE = 1 << 30
DEFAULT_MEMORY_BYTES = 16 * GIBIBYTE
DEFAULT_TIME_S = 900.0
# Mapped libraries, and the address space that the allocator reserves for the threads of each core.
_ADDRESS_SPACE_BYTES, _ADDRESS_SPACE_BYTES_PER_CORE = 16 * GIBIBYTE, GIBIBYTE // 2
_LARGEST_FILE_BYTES = 4 * GIBIBYTE  # a serialised graph has less than 2 GiB
_OPEN_FILES = 512


@dataclass(frozen=True, slots=True)
class ImportLimits:
    """What an import may use: private memory in bytes, and the time until it is ended, in seconds."""

    memory_bytes: int = DEFAULT_MEMORY_BYTES
    time_s: float = DEFAULT_TIME_S


@dataclass(frozen=True, slots=True)
class Protections:
    """The protections that were in force: the version of Landlock (0 for none), the filter of system calls, and the
    limits. `network` is true where the import may open connections."""

    landlock: int
    seccomp: bool
    network: bool
    memory_bytes: int
    time_s: float

    def to_dict(self) -> dict[str, Any]:
        """The values for JSON."""
        return asdict(self)

    def describe(self) -> str:
        """One line for people."""
        files = f"Landlock {self.landlock}: reads only the model and libraries, writes only its output"
        calls = "seccomp: no other programs" + ("" if self.network else ", no network")
        parts = [files] * (self.landlock > 0) + [calls] * self.seccomp
        parts += [f"at most {self.memory_bytes / GIBIBYTE:g} GiB and {self.time_s:g} s"]
        return f"import process: {'; '.join(parts)}"

    def describe_missing(self) -> str | None:
        """A sentence about the protections that this system lacks; None if it has all."""
        missing = ["files of the user (no Landlock)"] * (not self.landlock)
        missing += ["the network and other programs (no seccomp)"] * (not self.seccomp)
        if not missing:
            return None
        return f"this system cannot keep the import from {' and from '.join(missing)}; import models you trust"


def limit_process(limits: ImportLimits) -> None:
    """Apply the limits to this process, with those on the size and number of files.

    The limit on address space is far above that on memory: TensorFlow maps 2 GiB when it is imported, of which 0.5 GiB
    are private memory. The limit on processor time ends an import whose parent has died."""
    cores = os.cpu_count() or 1
    address_space = 2 * limits.memory_bytes + _ADDRESS_SPACE_BYTES + cores * _ADDRESS_SPACE_BYTES_PER_CORE
    for kind, value in (
        (resource.RLIMIT_DATA, limits.memory_bytes),
        (resource.RLIMIT_AS, address_space),
        (resource.RLIMIT_CPU, math.ceil(limits.time_s) * cores + 1),
        (resource.RLIMIT_FSIZE, _LARGEST_FILE_BYTES),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        lowest = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (lowest, lowest))
