"""The profile: the measurements of one bundle on one machine with one tail. A plan is a function of it alone."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from hybrid_batch.data.terminal.numbers import format_number
from hybrid_batch.inference.planner.profile.device import Device
from hybrid_batch.inference.planner.profile.piecewise_linear import Measure, PiecewiseLinear

FORMAT = 6
Count = Annotated[int, Meta(ge=0)]
TimesByBatch = Annotated[Mapping[int, PiecewiseLinear], Meta(min_length=1)]


@dataclass(frozen=True, slots=True)
class CodecCost:
    """The cost of a codec: µs per element to encode on this machine and to decode in the tail, bytes per element over
    the head's multiply-accumulates, and the fixed µs per frame at both ends, most of the cost of small frames."""

    encode_us: Measure
    decode_us: Measure
    bytes: PiecewiseLinear
    encode_frame_us: Measure = 0.0
    decode_frame_us: Measure = 0.0


@dataclass(frozen=True, slots=True)
class ImageStats:
    """Means over the sample images: bytes of a file, µs to decode it on one thread of this machine, and for each JPEG
    codec (bytes, µs to encode) at the model's input size. `made_up` is true where a synthetic image was measured."""

    count: Count
    bytes: Measure
    decode_us: Measure
    jpeg: Mapping[str, tuple[Measure, Measure]] = field(default_factory=dict)
    made_up: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """`rate_bps`, in bits per second in each direction, is a lower bound where `is_lower_bound`; `round_trip_us` is
    that of a frame of zero bytes."""

    rate_bps: Measure
    round_trip_us: Measure
    is_lower_bound: bool = False

    @property
    def rate_text(self) -> str:
        """The rate for people: "12 Mbit/s", "at least 100 Mbit/s"."""
        return f"{'at least ' if self.is_lower_bound else ''}{format_number(self.rate_bps / 1e6)} Mbit/s"


@dataclass(frozen=True, slots=True)
class TailProfile:
    """The tail at an address.

    `times` maps a batch size to µs per image of the runtime's call over the tail's multiply-accumulates.
    `image_decode_us` is the tail's time to decode one image file. `shares_cores` is true where the tail slows work on
    this machine. Each request has a fixed cost: `client_overhead_us` of this machine's CPU time and
    `server_overhead_us` of the tail's time. A frame has at most `max_frame_bytes`; None is unlimited. An older tail may
    not decode calibrated codecs."""

    address: str
    times: TimesByBatch
    image_decode_us: Measure
    link: Link
    shares_cores: bool = False
    notes: tuple[str, ...] = ()
    client_overhead_us: Measure = 0.0
    server_overhead_us: Measure = 0.0
    max_frame_bytes: Count | None = None
    decodes_calibrated: bool = True


@dataclass(frozen=True, slots=True)
class Profile:
    """`times` maps a batch size to µs per image of the head over its multiply-accumulates; the last point is the whole
    model. `codecs` has those that this machine and the tail both know. `run_us` maps a batch size to µs per image that
    a run takes besides decoding and computing; 0 where it is not known. `bundle` is the bundle's sha256, `measured_at`
    is in seconds of the Unix clock."""

    bundle: str
    runtime: str
    device: Device
    images: ImageStats
    times: TimesByBatch
    codecs: Mapping[str, CodecCost]
    tail: TailProfile | None = None
    run_us: Mapping[int, Measure] = field(default_factory=dict)
    measured_at: float = 0.0
    format: int = field(default=FORMAT)

    @property
    def interpolation_error(self) -> float:
        """The largest error of a head's time between measured cuts, as a share of the time that an image takes on this
        machine, with decoding and the work of the run."""
        return max(self._error(batch, curve) for batch, curve in self.times.items())

    def _error(self, batch: int, curve: PiecewiseLinear) -> float:
        whole_us = curve.points[-1][1]
        image_us = whole_us + self.images.decode_us / max(1, self.device.cores) + self.run_us.get(batch, 0.0)
        return curve.error * whole_us / image_us if image_us else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The profile as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Profile":
        """Read a JSON object made by `to_dict`. Raises ValueError for anything else, and for another format."""
        found = msgspec.json.decode(text, type=_Header).format
        if found != FORMAT:
            raise ValueError(f"format {found}, expected {FORMAT}")
        return msgspec.json.decode(text, type=cls)


@dataclass(frozen=True, slots=True)
class _Header:
    """The field that all formats have."""

    format: int
