"""The work of each stage of a run's pipeline."""

import time

from hybrid_batch.data.errors import BundleMismatch, TailUnreachable
from hybrid_batch.data.images.decoding.pixel_budget import RUNNER_BUDGET, PixelBudget
from hybrid_batch.data.storage.storage import Storage
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.runtimes import Runtime, Segment, compile_head, compile_tail
from hybrid_batch.inference.protocol.codecs import wire_tensors
from hybrid_batch.inference.protocol.infer_response import InferResponse
from hybrid_batch.inference.protocol.wire import Frame
from hybrid_batch.inference.runner import image_loader
from hybrid_batch.inference.runner.batch import Batch, BoundaryTensors, ImageFiles, ModelOutput, Pixels
from hybrid_batch.inference.runner.image_loader import ImageLoader
from hybrid_batch.inference.runner.pipeline import DrainGuard
from hybrid_batch.inference.runner.routing import Router
from hybrid_batch.inference.runner.split import CutSplit, LocalSplit, Split, UploadSplit
from hybrid_batch.inference.tails import Tail
from hybrid_batch.inference.tails.local import LocalTail

_MAX_HEADER_BYTES = 1 << 14  # of a frame


class Stages:
    """Each stage method takes a batch, replaces its payload and returns it; see Batch for the payloads.

    `has_head` and `has_tail` report whether the run needs the head stage, and the encode and send stages. `drain`
    guards computations that the end of the process must wait for, in threads that the pipeline may not wait for.
    """

    def __init__(
        self,
        bundle: Bundle,
        runtime: Runtime,
        tail: Tail,
        router: Router,
        root: Storage,
        *,
        pixels: PixelBudget = RUNNER_BUDGET,
    ) -> None:
        fixed = router.fixed_split
        self.has_head = not isinstance(fixed, UploadSplit)
        self.has_tail = not isinstance(fixed, LocalSplit)
        self.drain = DrainGuard()
        self._bundle, self._runtime, self._tail, self._router = bundle, runtime, tail, router
        upload_limit = image_loader.IMAGE_LIMIT_BYTES if fixed is None else image_loader.UPLOAD_LIMIT_BYTES
        self._loader = ImageLoader(root, bundle, upload_limit, pixels)
        self._local_tail = LocalTail(bundle, runtime, pixels)
        self._shares_process = isinstance(tail, LocalTail)
        self._segments: dict[str, Segment] = {}
        self.compile_split(fixed or LocalSplit())

    def compile_split(self, split: Split) -> None:
        """Compile the layers that a split runs on this machine. Raises Draining when the run has ended."""
        if isinstance(split, UploadSplit) or split.name in self._segments:
            return
        with self.drain.hold():
            match split:
                case LocalSplit():
                    segment = compile_tail(self._runtime, self._bundle, self._bundle.input_cut)
                case CutSplit(cut):
                    segment = compile_head(self._runtime, self._bundle, cut)
            self._segments[split.name] = segment

    def decode(self, batch: Batch) -> Batch:
        """Read the images, and decode them unless their files are sent."""
        start = time.perf_counter_ns()
        payload = self._loader.load(batch)
        batch.payload = payload if batch.ok_positions else None
        batch.decoded_ns = batch.left_ns = time.perf_counter_ns()
        batch.decode_ns = batch.decoded_ns - start
        return batch

    def run_head(self, batch: Batch) -> Batch:
        """Fix the batch's split, and run the layers that it assigns to this machine."""
        with batch.in_stage("head_wait"):
            self._run_head(batch)
        if batch.ran_locally:
            batch.done_ns = batch.left_ns
        return batch

    def _run_head(self, batch: Batch) -> None:
        planned, batch.split = batch.split, self._router.admit(batch)
        batch.ran_locally = isinstance(batch.split, LocalSplit)
        if batch.ran_locally and isinstance(batch.payload, ImageFiles):
            self._decode_upload(batch, batch.payload, planned.codec)
        if isinstance(batch.payload, Pixels) and not isinstance(batch.split, UploadSplit):
            start = time.perf_counter_ns()
            outputs = self._segments[batch.split.name]([batch.payload.array])
            batch.payload = ModelOutput(outputs[0]) if batch.ran_locally else BoundaryTensors(outputs)
            batch.head_ns = time.perf_counter_ns() - start

    def encode(self, batch: Batch) -> Batch:
        """Encode the files, pixels or boundary tensors as a frame; batches that ran locally pass through."""
        if not batch.ran_locally:
            with batch.in_stage("encode_wait"):
                self._encode(batch)
        return batch

    def _encode(self, batch: Batch) -> None:
        start = time.perf_counter_ns()
        match batch.split, batch.payload:
            case UploadSplit(), ImageFiles(files):
                tensors = wire_tensors.encode_images(self._bundle.input, files)
            case UploadSplit(codec), Pixels(pixels):
                tensors = wire_tensors.encode(codec, self._bundle.input_cut.boundary, [pixels])
            case CutSplit(cut, codec), BoundaryTensors(boundary):
                tensors = wire_tensors.encode(codec, cut.boundary, boundary)
            case _:
                return
        batch.payload = Frame(tensors)
        batch.encode_ns = time.perf_counter_ns() - start

    def send(self, batch: Batch) -> Batch:
        """Have the tail compute the model's output; batches that ran locally pass through."""
        if not batch.ran_locally:
            with batch.in_stage("send_wait"):
                if isinstance(batch.payload, Frame):
                    self._request(batch, batch.payload)
            batch.done_ns = batch.left_ns
        self._router.on_response(batch)
        return batch

    def _request(self, batch: Batch, frame: Frame) -> None:
        """Have a frame computed. The time beyond that of the response, such as that of failed requests, is a wait."""
        start = time.perf_counter_ns()
        self._accept(batch, self._infer(batch, frame))
        response_ns = 1000 * (batch.link_us + batch.queue_us + batch.tail_us)
        lost_ns = max(0, time.perf_counter_ns() - start - response_ns)
        batch.waits_ns["send_wait"] += lost_ns
        batch.stages_ns -= lost_ns

    def _decode_upload(self, batch: Batch, upload: ImageFiles, codec: str) -> None:
        start = time.perf_counter_ns()
        pixels = self._loader.decode_upload(batch, upload, codec)
        batch.payload = pixels if batch.ok_positions else None
        batch.decode_ns += time.perf_counter_ns() - start

    def _accept(self, batch: Batch, response: InferResponse) -> None:
        batch.payload = ModelOutput(response.scores[[error is None for error in response.errors]])
        batch.errors |= {at: error for at, error in zip(batch.ok_positions, response.errors, strict=True) if error}
        batch.cut_bytes = response.sent_bytes
        if not (batch.ran_locally or self._shares_process):
            batch.sent_bytes, batch.received_bytes = response.sent_bytes, response.received_bytes
        batch.link_us = response.link_us
        batch.queue_us = response.timings.queue_us
        batch.tail_us = response.timings.server_us - response.timings.queue_us

    def _infer(self, batch: Batch, frame: Frame) -> InferResponse:
        """The response of the tail. Unless the run's split is fixed, the frame is computed on this machine when the
        tail is unavailable or the frame too large to send."""
        frame_bytes = sum(len(tensor.data) for tensor in frame.tensors)
        max_bytes = self._tail.max_frame_bytes if self._router.fixed_split is None else None
        if max_bytes is not None and frame_bytes + _MAX_HEADER_BYTES > max_bytes:
            return self._infer_locally(batch, frame)
        self._router.on_send(batch, frame_bytes)
        try:
            return self._tail.infer(batch.split.name, frame)
        except (TailUnreachable, BundleMismatch) as error:
            self._router.on_failure(batch, error)
            return self._infer_locally(batch, frame)

    def _infer_locally(self, batch: Batch, frame: Frame) -> InferResponse:
        with self.drain.hold():
            batch.ran_locally = True
            return self._local_tail.infer(batch.split.name, frame)
