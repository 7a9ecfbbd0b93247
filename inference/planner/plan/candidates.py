"""A candidate: a cut, a codec and a batch size, with predicted times, bytes and cost."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.runner.split import LocalSplit, Split, split_at

STAGES = "decode", "head", "encode", "link", "tail"
RUN = "run"  # the bottleneck of small models: files, queues, records and the log, which are no stage
FRAME_BYTES = 450  # header and metadata of a frame, in each direction


@dataclass(frozen=True, slots=True)
class StageTimes:
    """µs per image in each stage: the wall time of a batch divided by its images. The link's time includes the round
    trip."""

    decode_us: float
    head_us: float
    encode_us: float = 0.0
    link_us: float = 0.0
    tail_us: float = 0.0

    @property
    def total_us(self) -> float:
        """The sum of all stages."""
        return self.decode_us + self.head_us + self.encode_us + self.link_us + self.tail_us

    def of(self, stage: str) -> float:
        """The time of one of STAGES."""
        us: float = getattr(self, f"{stage}_us")
        return us


@dataclass(frozen=True, slots=True)
class Candidate:
    """A cut, a codec and a batch size, with predictions per image; `cut` is None where the whole model runs locally.

    Stages overlap in a run, so the busiest resource sets the rate. `local_us` is the time on this machine's cores,
    `remote_us` the longest time on any other resource: the encoding thread, the link and the tail. `bottleneck` is the
    longest stage of the busier side. `all_local_us` is the time on this machine's cores for an image that is not sent.
    `cost` is in US dollars per 1,000 sent images."""

    cut: Cut | None
    codec: str
    batch: int
    times: StageTimes
    sent_bytes: float
    received_bytes: float
    local_us: float
    remote_us: float
    all_local_us: float
    bottleneck: str
    cost: float

    @property
    def split(self) -> Split:
        """The split for the runner."""
        return LocalSplit() if self.cut is None else split_at(self.cut, self.codec)

    @property
    def name(self) -> str:
        """The name for people."""
        if self.cut is None:
            return "all local"
        if self.codec in codecs.IMAGE_CODECS:
            return "upload" if self.codec == codecs.IMAGE else f"upload {self.codec}"
        return f"{self.cut.id} {self.cut.name}"

    @property
    def payload_bytes(self) -> float:
        """Bytes per image without those of the frame around a batch."""
        return max(0.0, self.sent_bytes - FRAME_BYTES / self.batch)

    @property
    def figures(self) -> tuple[str, int, StageTimes, float]:
        """What distinguishes a candidate from others: those of a layer and of its activation are often equal."""
        return self.codec, self.batch, self.times, self.sent_bytes

    @property
    def rate(self) -> float:
        """Images per second if all images are sent, or none if the candidate is local."""
        return 1e6 / max(self.local_us, self.remote_us, 1e-3)

    @property
    def offload_share(self) -> float:
        """The share of images to send for the highest rate, while this machine runs the others whole: both ends finish
        at the same time. 1 where this machine has no time left for whole images, 0 for a local candidate."""
        if self.cut is None:
            return 0.0
        if self.local_us >= self.remote_us or self.local_us >= self.all_local_us:
            return 1.0
        return self.all_local_us / (self.remote_us + self.all_local_us - self.local_us)

    @property
    def shared_rate(self) -> float:
        """Images per second if `offload_share` of the images is sent and the others run locally."""
        share = self.offload_share
        return 1e6 / max(share * self.remote_us, 1e-3) if 0 < share < 1 else self.rate

    @property
    def latency_us(self) -> float:
        """The least time from the start of a batch to its results."""
        return self.batch * self.times.total_us

    @property
    def cloud_s(self) -> float:
        """Seconds of the tail per 1,000 sent images."""
        return 1000 * self.times.tail_us / 1e6

    def to_dict(self) -> dict[str, Any]:
        """All predictions as a flat JSON object; `cut` is the record's."""
        return {
            "cut": self.split.name,
            "name": self.name,
            "codec": self.codec,
            "batch": self.batch,
            **asdict(self.times),
            "sent_bytes": self.sent_bytes,
            "received_bytes": self.received_bytes,
            "rate": self.rate,
            "bottleneck": self.bottleneck,
            "remote_us": self.remote_us,
            "offload_share": self.offload_share,
            "shared_rate": self.shared_rate,
            "latency_us": self.latency_us,
            "cloud_s": self.cloud_s,
            "cost": self.cost,
        }


# Each objective is minimised.
OBJECTIVES: dict[str, Callable[[Candidate], float]] = {
    "throughput": lambda candidate: 1 / candidate.shared_rate,
    "latency": lambda candidate: candidate.latency_us,
    "bytes": lambda candidate: candidate.sent_bytes,
    "cloud-seconds": lambda candidate: candidate.cloud_s,
    "cost": lambda candidate: candidate.cost,
}
