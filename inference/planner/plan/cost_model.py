"""The cost model: predicts every candidate from a profile, by arithmetic alone.

Times are µs per image. Stages overlap, so a run is as fast as its busiest resource, while an image passes all stages in
turn. On this machine, the images that are not sent share the cores with the heads of those that are; the best share of
both has a closed form.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.planner.calibration.accuracy_drop import CodecChoice
from hybrid_batch.inference.planner.plan.candidates import FRAME_BYTES, RUN, Candidate, StageTimes
from hybrid_batch.inference.planner.plan.prices import Prices
from hybrid_batch.inference.planner.profile.profile import CodecCost, Link, Profile, TailProfile
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.protocol.codecs import is_calibrated
from hybrid_batch.inference.runner.split import NO_CODEC

_LENGTH_BYTES = 4  # before each image file
_MAX_FILL = 0.8  # of the largest frame, because payloads are estimates
_NEVER_US = 1e12
_SIMILAR_TO_CALIBRATED = "q4"  # takes as long to encode and decode


@dataclass(frozen=True, slots=True)
class Conditions:
    """The present conditions: the link, and how many times longer than in the profile heads and tails take."""

    link: Link
    head_factor: float = 1.0
    tail_factor: float = 1.0


class CostModel:
    """Predicts candidates for a run with `in_flight` requests at a time; without `conditions`, those of the profile."""

    def __init__(
        self, bundle: Bundle, profile: Profile, prices: Prices, in_flight: int, conditions: Conditions | None = None
    ) -> None:
        self._bundle, self._profile, self._prices, self._in_flight = bundle, profile, prices, in_flight
        self._conditions = conditions or Conditions(profile.tail.link if profile.tail else Link(0, 0))
        self._cores = profile.device.cores
        self._decode_us = profile.images.decode_us
        self._whole_us = {
            batch: self._conditions.head_factor * curve.points[-1][1] for batch, curve in profile.times.items()
        }
        self._output_bytes = 4 * bundle.output.elements

    def list_candidates(
        self, codec_names: Sequence[str], codec_choices: Mapping[str, CodecChoice] | None = None
    ) -> list[Candidate]:
        """All local, then each cut and the upload of image files, at all measured batch sizes, in a fixed order.

        A cut has the named codecs and the one in `codec_choices` for its id."""
        candidates = [self._local(batch) for batch in self._profile.times]
        if self._profile.tail is not None:
            for batch in self._profile.times:
                candidates += self._remote_of(self._profile.tail, batch, codec_names, codec_choices or {})
        return candidates

    def _local(self, batch: int) -> Candidate:
        head_us = self._whole_us[batch]
        all_local_us = self._all_local_us(batch)
        busy = {"head": head_us, "decode": self._decode_us / self._cores, RUN: self._run_us(batch)}
        bottleneck = max(busy, key=busy.__getitem__)
        times = StageTimes(self._decode_us, head_us)
        return Candidate(None, NO_CODEC, batch, times, 0, 0, all_local_us, 0, all_local_us, bottleneck, 0)

    def _remote_of(
        self, tail: TailProfile, batch: int, codec_names: Sequence[str], codec_choices: Mapping[str, CodecChoice]
    ) -> Iterator[Candidate]:
        for cut in self._bundle.cuts:
            head_us = self._conditions.head_factor * self._profile.times[batch].at(cut.head_macs)
            tail_us = self._conditions.tail_factor * tail.times[batch].at(cut.tail_macs)
            elements = cut.elements
            for codec, payload_bytes in self._tensor_payloads(cut, codec_names, codec_choices.get(cut.id)):
                if _fits(tail, batch, payload_bytes):
                    cost = self._codec_cost(codec)
                    encode_us = elements * cost.encode_us + cost.encode_frame_us / batch
                    decode_us = elements * cost.decode_us + cost.decode_frame_us / batch
                    times = StageTimes(self._decode_us, head_us, encode_us, tail_us=tail_us + decode_us)
                    yield self._remote(tail, cut, codec, batch, times, payload_bytes=payload_bytes)
            if cut is self._bundle.input_cut:
                for codec, file_bytes, recompress_us in self._image_payloads():
                    if _fits(tail, batch, file_bytes):
                        times = StageTimes(recompress_us, 0, tail_us=tail_us + tail.image_decode_us)
                        yield self._remote(tail, cut, codec, batch, times, payload_bytes=file_bytes + _LENGTH_BYTES)

    def _tensor_payloads(
        self, cut: Cut, codec_names: Sequence[str], choice: CodecChoice | None
    ) -> Iterator[tuple[str, float]]:
        """(codec, bytes per image) for the tensors of a cut."""
        elements = cut.elements
        for codec in codec_names:
            yield codec, elements * self._codec_cost(codec).bytes.at(cut.head_macs)
        if choice is not None and choice.codec not in (*codec_names, *codecs.IMAGE_CODECS):
            yield choice.codec, choice.image_bytes

    def _image_payloads(self) -> Iterator[tuple[str, float, float]]:
        """(codec, bytes per image, µs to recompress the file) for image files."""
        images = self._profile.images
        yield codecs.IMAGE, images.bytes, 0.0
        for codec, (file_bytes, recompress_us) in images.jpeg.items():
            yield codec, file_bytes, recompress_us

    def _codec_cost(self, codec: str) -> CodecCost:
        known = self._profile.codecs
        if is_calibrated(codec):
            return known.get(_SIMILAR_TO_CALIBRATED, known[codecs.FP32])
        if codec not in known:
            raise WrongUsage(f"The tail does not decode {codec}; choose one of {', '.join(known)}, or update the tail.")
        return known[codec]

    def _all_local_us(self, batch: int) -> float:
        """The time of this machine's cores for an image that is not sent."""
        return self._whole_us[batch] + self._decode_us / self._cores + self._run_us(batch)

    def _run_us(self, batch: int) -> float:
        return self._profile.run_us.get(batch, 0.0)

    def _remote(
        self, tail: TailProfile, cut: Cut, codec: str, batch: int, times: StageTimes, *, payload_bytes: float
    ) -> Candidate:
        """A candidate from its stages' times without link and request overheads."""
        link = self._conditions.link
        tail_us = times.tail_us + tail.server_overhead_us / batch
        sent_bytes, received_bytes = payload_bytes + FRAME_BYTES / batch, self._output_bytes + FRAME_BYTES / batch
        up_us, down_us = _transfer_us(sent_bytes, link), _transfer_us(received_bytes, link)
        link_us = up_us + down_us + link.round_trip_us / batch
        local = {
            "decode": times.decode_us / self._cores,
            "head": times.head_us,
            "encode": (times.encode_us + tail.client_overhead_us / batch) / self._cores,
            "tail": tail_us if tail.shares_cores else 0.0,
            RUN: self._run_us(batch),
        }
        remote = {
            "tail": tail_us,
            # Requests in flight hide the round trip only if there are enough of them.
            "link": max(up_us, down_us, (link_us + tail_us) / self._in_flight),
            "encode": times.encode_us,
        }
        local_us, remote_us = sum(local.values()), max(remote.values())
        busier = local if local_us >= max(remote_us, 1e-3) else remote
        return Candidate(
            cut=cut,
            codec=codec,
            batch=batch,
            times=StageTimes(times.decode_us, times.head_us, times.encode_us, link_us, tail_us),
            sent_bytes=sent_bytes,
            received_bytes=received_bytes,
            local_us=local_us,
            remote_us=remote_us,
            all_local_us=self._all_local_us(batch),
            bottleneck=max(busier, key=busier.__getitem__),
            cost=self._prices.cost(1000 * tail_us / 1e6, 1000 / batch, 1000 * sent_bytes, 1000 * received_bytes),
        )


def _fits(tail: TailProfile, batch: int, payload_bytes: float) -> bool:
    """Whether a batch fits into a frame of the tail, with a margin for the payload's estimate."""
    return tail.max_frame_bytes is None or batch * payload_bytes < _MAX_FILL * tail.max_frame_bytes


def _transfer_us(size: float, link: Link) -> float:
    return size * 8e6 / link.rate_bps if link.rate_bps > 0 else _NEVER_US
