"""What each way to divide the work would do, told from a profile by arithmetic alone.

Times are µs an image: the wall time of its batch over its images. Stages overlap, so that a run is as fast as the
slowest (`throughput = min`), while one image waits for all of them (`latency = sum`). What this machine does with
the pictures that stay whole here shares its cores with the heads, and the best share of both has a closed form.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.planner.calibration.calibration import Choice
from hybrid_batch.inference.planner.plan.prices import Prices
from hybrid_batch.inference.planner.profile.profile import CodecCost, Link, Profile
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.protocol.codecs.calibrated import is_tuned
from hybrid_batch.inference.runner.split import NO_CODEC, Split

_LENGTH_BYTES = 4  # before each picture
_FRAME_BYTES = 450  # header and metadata of a frame, either way
_SURELY = 0.8
_NEVER_US = 1e12
STAGES = "decode", "head", "encode", "link", "tail"  # each has its µs an image in a Candidate
_LIKE_TUNED = "q4"  # takes as long to encode and decode


@dataclass(frozen=True, slots=True)
class Conditions:
    """How things are now, against the profile: the link, and how many times longer head and tail take."""

    link: Link
    head: float = 1.0
    tail: float = 1.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way. `cut` None: all here. `share` of the images is sent when the others stay whole here; `shared_rate` is
    then the rate, `rate` when all are sent (images/s). `bound` is the stage that sets `rate`: of those that
    share this machine's cores the longest. `away_us` is the slowest of encoding, which one thread does, link and
    tail. Seconds of the cloud and dollars are for 1,000 images, all sent. `latency_us` is what one image waits at the
    least."""

    cut: Cut | None
    codec: str
    batch: int
    decode_us: float
    head_us: float
    encode_us: float
    link_us: float
    tail_us: float
    sent_bytes: float
    received_bytes: float
    rate: float
    bound: str
    away_us: float
    share: float
    shared_rate: float
    latency_us: float
    cloud_s: float
    cost: float

    @property
    def split(self) -> Split:
        """For the runner."""
        return Split(self.cut, self.codec)

    @property
    def name(self) -> str:
        """For people."""
        if self.cut is None:
            return "all local"
        if self.codec in codecs.PICTURE_CODECS:
            return "upload" if self.codec == codecs.IMAGE else f"upload {self.codec}"
        return f"{self.cut.id} {self.cut.name}"


def list_candidates(
    bundle: Bundle,
    profile: Profile,
    names: Sequence[str],
    in_flight: int,
    prices: Prices,
    *,
    now: Conditions | None = None,
    choices: Mapping[str, Choice] | None = None,
) -> list[Candidate]:
    """All local, then every cut with every codec named and the one chosen for it (`choices`, by the cut's id), and the
    pictures' own upload, as they are and as JPEG, at every batch size measured; always in the same order."""
    return list(_Arithmetic(bundle, profile, in_flight, prices, now).candidates(names, choices or {}))


class _Arithmetic:
    def __init__(
        self, bundle: Bundle, profile: Profile, in_flight: int, prices: Prices, now: Conditions | None
    ) -> None:
        self._bundle, self._profile, self._in_flight, self._prices = bundle, profile, in_flight, prices
        self._now = now or Conditions(profile.tail.link if profile.tail else Link(0, 0))
        self._cores = profile.device.cores
        self._decode_us = profile.pictures.decode_us
        self._output_bytes = 4 * bundle.output.elements

    def candidates(self, names: Sequence[str], choices: Mapping[str, Choice]) -> Iterator[Candidate]:
        for batch in self._profile.times:
            yield self._local(batch)
        if self._profile.tail is None:
            return
        for batch in self._profile.times:
            whole_us = self._whole_us(batch)
            for cut in self._bundle.cuts:
                head_us = self._now.head * self._profile.times[batch].at(cut.head_macs)
                tail_us = self._now.tail * self._profile.tail.times[batch].at(cut.tail_macs)
                for codec, payload in self._payloads(cut, names, choices.get(cut.id)):
                    if not self._fits(batch, payload):
                        continue
                    cost = self._cost(codec)
                    encode_us = cut.elements * cost.encode_us + cost.encode_frame_us / batch
                    decode_us = cut.elements * cost.decode_us + cost.decode_frame_us / batch
                    yield self._remote(
                        cut,
                        codec,
                        batch,
                        decode_us=self._decode_us,
                        head_us=head_us,
                        encode_us=encode_us,
                        payload=payload,
                        tail_us=tail_us + decode_us,
                        whole_us=whole_us,
                    )
                if cut is self._bundle.whole:
                    pictures = self._profile.pictures
                    for codec, (size, jpeg_us) in {codecs.IMAGE: (pictures.bytes, 0.0), **pictures.jpeg}.items():
                        if not self._fits(batch, size):
                            continue
                        yield self._remote(
                            cut,
                            codec,
                            batch,
                            decode_us=jpeg_us,
                            head_us=0,
                            encode_us=0,
                            payload=size + _LENGTH_BYTES,
                            tail_us=tail_us + self._profile.tail.picture_us,
                            whole_us=whole_us,
                        )

    def _fits(self, batch: int, payload: float) -> bool:
        """Whether a frame of so many bytes an image, told with some error, is surely let through to the tail."""
        room = self._profile.tail.room if self._profile.tail else None
        return room is None or batch * payload < _SURELY * room

    def _payloads(self, cut: Cut, names: Sequence[str], choice: Choice | None) -> Iterator[tuple[str, float]]:
        """The codecs for a cut's tensors, and the bytes an image that each makes."""
        for codec in names:
            yield codec, cut.elements * self._cost(codec).bytes.at(cut.head_macs)
        if choice is not None and choice.codec not in (*names, *codecs.PICTURE_CODECS):
            yield choice.codec, choice.image_bytes

    def _cost(self, codec: str) -> CodecCost:
        return self._profile.codecs[_LIKE_TUNED if is_tuned(codec) else codec]

    def _whole_us(self, batch: int) -> float:
        """All of one image here, on all cores."""
        return self._now.head * self._profile.times[batch].points[-1][1] + self._decode_us / self._cores

    def _local(self, batch: int) -> Candidate:
        busy_us, decode_us = self._whole_us(batch), self._decode_us / self._cores
        head_us = busy_us - decode_us
        bound = "head" if head_us >= decode_us else "decode"
        rate = 1e6 / max(busy_us, 1e-3)
        return Candidate(
            None, NO_CODEC, batch, self._decode_us, head_us, 0, 0, 0, 0, 0,
            rate, bound, 0, 0, rate, batch * (head_us + self._decode_us), 0, 0,
        )  # fmt: skip

    def _remote(
        self,
        cut: Cut,
        codec: str,
        batch: int,
        *,
        decode_us: float,
        head_us: float,
        encode_us: float,
        payload: float,
        tail_us: float,
        whole_us: float,
    ) -> Candidate:
        tail = self._profile.tail
        assert tail is not None  # noqa: S101 - the caller looked
        link = self._now.link
        tail_us += tail.answer_us / batch
        sent, received = payload + _FRAME_BYTES / batch, self._output_bytes + _FRAME_BYTES / batch
        up_us, down_us = (_wire_us(size, link) for size in (sent, received))
        trip_us = up_us + down_us + link.round_trip_us / batch
        here = {
            "decode": decode_us / self._cores,
            "head": head_us,
            "encode": (encode_us + tail.ask_us / batch) / self._cores,
            "tail": tail_us if tail.shares_cores else 0.0,
        }
        here_us = sum(here.values())
        # What is in flight hides the round trip only if there is enough of it.
        link_us = max(up_us, down_us, (trip_us + tail_us) / self._in_flight)
        away = {"tail": tail_us, "link": link_us, "encode": encode_us}
        away_us = max(away.values())
        slowest = max(here_us, away_us, 1e-3)
        bound = max(here, key=here.__getitem__) if here_us == slowest else max(away, key=away.__getitem__)
        share = 1.0 if here_us >= away_us or here_us >= whole_us else whole_us / (away_us + whole_us - here_us)
        seconds = 1000 * tail_us / 1e6
        return Candidate(
            cut=cut,
            codec=codec,
            batch=batch,
            decode_us=decode_us,
            head_us=head_us,
            encode_us=encode_us,
            link_us=trip_us,
            tail_us=tail_us,
            sent_bytes=sent,
            received_bytes=received,
            rate=1e6 / slowest,
            away_us=away_us,
            bound=bound,
            share=share,
            shared_rate=1e6 / max(slowest if share == 1 else share * away_us, 1e-3),
            latency_us=batch * (decode_us + head_us + encode_us + trip_us + tail_us),
            cloud_s=seconds,
            cost=self._prices.cost(seconds, 1000 / batch, 1000 * sent, 1000 * received),
        )


def _wire_us(size: float, link: Link) -> float:
    return size * 8e6 / link.rate_bps if link.rate_bps > 0 else _NEVER_US
