"""The tail behind S3: image files are put into a bucket, which triggers a function that computes the whole model.

An image is put at PREFIX/in/BATCH/NUMBER. Its reply appears at PREFIX/out/BATCH/NUMBER; the object's metadata are the
reply's status and headers. An address that ends in `/{user}` puts a folder named by the AWS user id before BATCH.
"""

import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

import numpy as np

from hybrid_batch.data.aws.caller import USER_PLACEHOLDER, caller_id
from hybrid_batch.data.backoff import Backoff
from hybrid_batch.data.errors import BundleMismatch, StorageFailed, TailRefused, TailUnreachable, WrongUsage
from hybrid_batch.data.storage.s3_storage import S3Storage
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import INPUT_CUT
from hybrid_batch.inference.protocol.codecs import IMAGE, wire_tensors
from hybrid_batch.inference.protocol.infer_response import InferResponse, ServerTimings, decode_scores, decode_timings
from hybrid_batch.inference.protocol.transport import Reply
from hybrid_batch.inference.protocol.wire import BUNDLE, HEADER_LENGTH, Frame, decode_response, parse_header_length
from hybrid_batch.inference.tails.settings import TailSettings

SCHEME = "s3-trigger:"
_TRANSFERS = 16
_CLOSE_TIMEOUT_S = 20.0
_MAX_TEXT_BYTES = 1 << 16  # of a reply's header and error
_POLLING = Backoff(0.05, 1.0, 1.5)
_PROBE = b"not an image; checks whether the function replies"


@dataclass(frozen=True, slots=True)
class _ImageResult:
    scores: np.ndarray
    error: str | None
    timings: ServerTimings


class S3TriggerTail:
    """See Tail. Computes only the whole model, from image files. Raises WrongUsage for an address without a bucket,
    StorageFailed for unusable AWS settings, AwsRefused and AwsUnreachable for an unknown user."""

    max_frame_bytes = None
    codecs = (IMAGE,)

    def __init__(self, address: str, bundle: Bundle, settings: TailSettings | None = None) -> None:
        settings = settings or TailSettings()
        self._address = address
        prefix = address.removeprefix(SCHEME).rstrip("/")
        self._prefix = prefix.removesuffix(f"/{USER_PLACEHOLDER}")
        if not self._prefix.startswith("s3://"):
            raise WrongUsage(f"{address!r} does not name a bucket; write s3-trigger:s3://BUCKET/PREFIX.")
        self._bundle = bundle
        self._timeout_s = settings.retries.response_timeout_s
        self._storage = S3Storage.open(self._prefix)
        self._folder = f"{caller_id()}/" if prefix != self._prefix else ""
        self._transfers = ThreadPoolExecutor(_TRANSFERS, thread_name_prefix="s3")
        self._closed = threading.Event()
        self._active = 0
        self._changed = threading.Condition()

    def check(self, cut_id: str) -> None:
        """See Tail."""
        self._compute(cut_id, [_PROBE])

    def infer(self, cut_id: str, frame: Frame) -> InferResponse:
        """See Tail. The timings are those of the slowest image, because functions compute images in parallel."""
        if not wire_tensors.holds_images(frame):
            raise self._unsupported()
        return self._compute(cut_id, wire_tensors.image_files(self._bundle.input, frame))

    def close(self) -> None:
        """See Tail. Returns when the objects of running calls are deleted, or after 20 s."""
        self._closed.set()
        with self._changed:
            self._changed.wait_for(lambda: not self._active, _CLOSE_TIMEOUT_S)
        self._transfers.shutdown(wait=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _unsupported(self) -> WrongUsage:
        return WrongUsage(
            f"{self._address} computes only the whole model from image files; use --split remote --codec image."
        )

    def _compute(self, cut_id: str, files: Sequence[bytes | memoryview]) -> InferResponse:
        if cut_id != INPUT_CUT:
            raise self._unsupported()
        batch = f"{self._folder}{uuid.uuid4().hex}"
        names = [f"{batch}/{number:05}" for number in range(len(files))]
        start = time.perf_counter_ns()
        with self._deleted_afterwards(names):
            puts = [self._transfers.submit(self._put, *pair) for pair in zip(names, files, strict=True)]
            wait(puts)  # before any error is raised: an object that is put later would not be deleted
            for put in puts:
                put.result()
            replies = self._await_replies(batch, names)
            round_trip_us = (time.perf_counter_ns() - start) // 1000
        results = [self._decode(reply, round_trip_us) for reply in replies]
        return InferResponse(
            np.concatenate([result.scores for result in results]),
            tuple(result.error for result in results),
            max((result.timings for result in results), key=lambda timings: timings.server_us),
            sum(map(len, files)),
            sum(len(reply.content) for reply in replies),
            round_trip_us,
        )

    @contextmanager
    def _deleted_afterwards(self, names: Sequence[str]) -> Iterator[None]:
        """Delete the objects of these names at the end of the block. Raises TailUnreachable once closed."""
        with self._changed:
            if self._closed.is_set():
                raise self._closed_error()
            self._active += 1
        try:
            yield
        finally:
            with suppress(StorageFailed):  # the bucket's lifecycle rule deletes them later
                self._storage.remove(*(f"{folder}/{name}" for folder in ("in", "out") for name in names))
            with self._changed:
                self._active -= 1
                self._changed.notify_all()

    def _closed_error(self) -> TailUnreachable:
        return TailUnreachable(f"{self._address} was closed before all replies arrived.")

    def _put(self, name: str, file: bytes | memoryview) -> None:
        self._storage.replace(f"in/{name}", bytes(file), {BUNDLE: self._bundle.sha256})

    def _await_replies(self, batch: str, names: Sequence[str]) -> list[Reply]:
        """The replies, in order of names. Raises TailUnreachable if none arrives for the response timeout."""
        found: dict[str, Future[Reply]] = {}
        pauses, end = _POLLING.pauses(), time.monotonic() + self._timeout_s
        while len(found) < len(names):
            if self._closed.wait(next(pauses)):
                raise self._closed_error()
            listed = {entry.name.removeprefix("out/") for entry in self._storage.list_files(f"out/{batch}/")}
            new = [name for name in names if name in listed and name not in found]
            found |= {name: self._transfers.submit(self._get, name) for name in new}
            if new:
                pauses, end = _POLLING.pauses(), time.monotonic() + self._timeout_s
            elif time.monotonic() > end:
                raise self._timed_out(len(names) - len(found), len(names))
        return [found[name].result() for name in names]

    def _timed_out(self, missing: int, total: int) -> TailUnreachable:
        trigger_hint = f"check that the trigger is deployed for {self._prefix}/in/"
        hint = trigger_hint if missing == total else "see the function's log in AWS"
        return TailUnreachable(
            f"No reply to {missing} of {total} images arrived below {self._prefix}/out/ for {self._timeout_s:.0f} s; "
            f"{hint}."
        )

    def _get(self, name: str) -> Reply:
        limit = _MAX_TEXT_BYTES + 8 * self._bundle.output.elements
        content, metadata = self._storage.read_with_metadata(f"out/{name}", limit)
        status = metadata.get("status", "")
        return Reply(int(status) if status.isascii() and status.isdigit() else 0, metadata, content)

    def _decode(self, reply: Reply, round_trip_us: int) -> _ImageResult:
        if reply.status == HTTPStatus.CONFLICT:
            raise BundleMismatch(f"{self._address} refused: {reply.message}")
        if reply.status != HTTPStatus.OK:
            raise TailRefused(f"{self._address} refused with {reply.status or 'no status'}: {reply.message}")
        frame = decode_response(reply.content, parse_header_length(reply.header(HEADER_LENGTH)))
        scores, (error,) = decode_scores(self._bundle.output, 1, frame)
        return _ImageResult(scores, error, decode_timings(frame.parameters, round_trip_us))
