"""`tuned-ID`: the grids that a calibration found for the tensors of a cut, kept in the user's cache under their ID.

The frames carry the grids themselves, so a tail needs no calibration.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import numpy as np

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.inference.model.cache import cache_folder, keep_file
from hybrid_batch.inference.model.cuts import TensorSpec
from hybrid_batch.inference.protocol.codecs.error_feedback import Carry
from hybrid_batch.inference.protocol.codecs.quantised import Grid

TUNED = "tuned"


def is_tuned(codec: str) -> bool:
    """Whether a codec's name is that of a calibration."""
    return codec.startswith(f"{TUNED}-")


def keep_grids(grids: Mapping[str, Grid]) -> str:
    """The codec of these grids, by tensor name; from now on `read_grids` finds them. Raises StorageFailed."""
    text = json.dumps({name: asdict(grid) for name, grid in sorted(grids.items())}, default=np.ndarray.tolist)
    codec = f"{TUNED}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    keep_file(cache_folder("grids") / f"{codec}.json", text)
    return codec


def is_known(codec: str) -> bool:
    """Whether the grids of a calibration are in this user's cache, whole."""
    try:
        _read(str(cache_folder("grids")), codec)
    except WrongUsage:
        return False
    return True


def read_grids(codec: str, boundary: Sequence[TensorSpec]) -> list[Grid | None]:
    """The grid of each tensor of a boundary, None for whole numbers. Raises WrongUsage if the codec is not known
    here or is of another cut."""
    grids = _read_once(str(cache_folder("grids")), codec)
    wanted = {spec.name: (spec.shape or (1,))[-1] for spec in boundary}
    if {name: len(grid.floors) for name, grid in grids.items()}.items() - wanted.items():
        raise WrongUsage(f"The codec {codec} was calibrated for another cut; use --codec auto.")
    return [grids.get(spec.name) for spec in boundary]


def _read(folder: str, codec: str) -> dict[str, Grid]:
    try:
        with open(f"{folder}/{codec}.json", encoding="utf-8") as file:  # noqa: PTH123
            stored = json.load(file)
        return {
            name: Grid(
                grid["count"], grid["base"], tuple(grid["exponents"]), tuple(grid["floors"]), _carry(grid["carry"])
            )
            for name, grid in stored.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WrongUsage(f"No calibration {codec} in this user's cache; use --codec auto to make one.") from error


_read_once = lru_cache(maxsize=64)(_read)


def _carry(stored: dict[str, Any] | None) -> Carry | None:
    return Carry(tuple(stored["order"]), np.array(stored["shares"])) if stored else None
