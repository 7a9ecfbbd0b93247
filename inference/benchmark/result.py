"""What the experiment found, whole."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hybrid_batch.inference.benchmark.level import LevelRow
from hybrid_batch.inference.benchmark.storm import Storm
from hybrid_batch.inference.benchmark.tail_row import TailRow
from hybrid_batch.inference.planner.profile.device import Device


@dataclass(frozen=True, slots=True)
class Result:
    """The tails' rows, and those of the users with the storm; without users no rows and None. Everything had `rounds`
    turns, a turn of users took `seconds`."""

    model: str
    sha256: str
    machine: Device
    rounds: int
    seconds: float
    tails: Sequence[TailRow]
    users: Sequence[LevelRow]
    storm: Storm | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)
