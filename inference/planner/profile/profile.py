"""The profile: what was measured of one bundle on one machine with one tail. Plans are functions of it alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from hybrid_batch.data.terminal.numbers import figure
from hybrid_batch.inference.planner.profile.device import Device
from hybrid_batch.inference.planner.profile.piecewise_linear import Curve

FORMAT = 4
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class CodecCost:
    """Of one codec. µs an element to encode here and to decode in the tail; bytes an element over the head's work; and
    µs that encoding and decoding a frame takes whatever is in it, which is nearly all for what entropy codes little."""

    encode_us: float
    decode_us: float
    bytes: Curve
    encode_frame_us: float = 0.0
    decode_frame_us: float = 0.0


@dataclass(frozen=True, slots=True)
class Pictures:
    """Of the pictures measured with, a mean: bytes of a file, µs to decode it here on one thread; and by codec, bytes
    and µs of it as JPEG of the model's size."""

    count: int
    bytes: float
    decode_us: float
    jpeg: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Link:
    """`rate_bps` in bits a second, each way, the least it can be where `at_least`; `round_trip_us` of a frame without
    bytes."""

    rate_bps: float
    round_trip_us: float
    at_least: bool = False

    @property
    def told(self) -> str:
        """The rate for people."""
        return f"{'at least ' if self.at_least else ''}{figure(self.rate_bps / 1e6)} Mbit/s"


@dataclass(frozen=True, slots=True)
class TailSpeed:
    """The tail at an address: times of the batch's engine call over its images (µs), by batch, over the work of the
    tail; µs to decode one picture of its own; whether it takes this machine's cores while it works; and what a request
    costs whatever is in it: µs of this machine's processor to ask, and µs of the tail to answer. `room` is the most
    bytes of a frame, None: any."""

    address: str
    times: Mapping[int, Curve]
    picture_us: float
    link: Link
    shares_cores: bool = False
    notes: tuple[str, ...] = ()
    ask_us: float = 0.0
    answer_us: float = 0.0
    room: int | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """`times` are of the head, µs an image by batch, over its work; at all of the work that of the whole model.
    `measured_at` is in seconds of the Unix clock."""

    bundle: str
    engine: str
    device: Device
    pictures: Pictures
    times: Mapping[int, Curve]
    codecs: Mapping[str, CodecCost]
    tail: TailSpeed | None = None
    measured_at: float = 0.0
    format: int = field(default=FORMAT)

    @property
    def error(self) -> float:
        """How far the head's time between measured cuts may be off, as a share of the whole model's time."""
        return max(curve.error for curve in self.times.values())

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Profile":
        """What `to_dict` gave. Raises ValueError, KeyError or TypeError for anything else."""
        if stored["format"] != FORMAT:
            raise ValueError(f"format {stored['format']!r}, not {FORMAT}")
        tail = stored["tail"]
        values = dict(stored) | {
            "device": _read(Device, stored["device"], "cores", "memory_bytes"),
            "pictures": _read(
                Pictures,
                stored["pictures"] | {"jpeg": {name: _pair(pair) for name, pair in stored["pictures"]["jpeg"].items()}},
                *("count", "bytes", "decode_us"),
            ),
            "times": _curves(stored["times"]),
            "codecs": {
                name: _read(
                    CodecCost,
                    cost | {"bytes": _curve(cost["bytes"])},
                    *("encode_us", "decode_us", "encode_frame_us", "decode_frame_us"),
                )
                for name, cost in stored["codecs"].items()
            },
            "tail": None
            if tail is None
            else _read(
                TailSpeed,
                tail
                | {
                    "times": _curves(tail["times"]),
                    "link": _read(Link, tail["link"], "rate_bps", "round_trip_us"),
                    "notes": tuple(map(str, tail["notes"])),
                },
                *("picture_us", "ask_us", "answer_us", *(["room"] if tail["room"] is not None else [])),
            ),
        }
        return cls(**values)


def _read(kind: type[Made], stored: Mapping[str, Any], *numbers: str) -> Made:
    for name in numbers:
        _number(stored[name])
    return kind(**stored)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{value!r} for a number")
    return value


def _pair(stored: Sequence[Any]) -> tuple[float, float]:
    first, second = map(_number, stored)
    return first, second


def _curves(stored: Mapping[str, Any]) -> dict[int, Curve]:
    curves = {int(batch): _curve(curve) for batch, curve in stored.items()}
    if not curves:
        raise ValueError("no times")
    return curves


def _curve(stored: Mapping[str, Any]) -> Curve:
    points = tuple(_pair(point) for point in stored["points"])
    if not points:
        raise ValueError("a curve without points")
    return Curve(points)
