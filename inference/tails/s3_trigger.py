"""The conventional way: pictures are put into S3, a function triggered by that computes the whole model, and its
replies are collected from there.

A picture goes to PREFIX/in/BATCH/NUMBER; the reply to it appears at PREFIX/out/BATCH/NUMBER, with its status and the
length of its header as the object's metadata.
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

from hybrid_batch.data.errors import OtherBundle, StorageFailed, TailRefused, TailUnreachable, WrongUsage
from hybrid_batch.data.storage.s3_storage import S3Storage
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import WHOLE
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.protocol.infer_response import Answer, TailTimes, read_scores, read_times
from hybrid_batch.inference.protocol.transport import Reply
from hybrid_batch.inference.protocol.wire import HEADER_LENGTH, Frame, decode_response, parse_header_length
from hybrid_batch.inference.serving.executor import BUNDLE
from hybrid_batch.inference.tails.settings import TailSettings

SCHEME = "s3-trigger:"
_TRANSFERS = 16
_LONGEST_END_S = 20.0
_ENOUGH_BYTES = 1 << 16  # of a reply's header and error
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0
_PROBE = b"no picture, a question whether anybody answers"


@dataclass(frozen=True, slots=True)
class _Found:
    scores: np.ndarray
    error: str | None
    times: TailTimes


class S3TriggerTail:
    """See Tail. Serves the whole model, from the files of pictures, and nothing else."""

    room = None

    def __init__(self, address: str, bundle: Bundle, settings: TailSettings | None = None) -> None:
        settings = settings or TailSettings()
        self._address = address
        self._place = address.removeprefix(SCHEME).rstrip("/")
        if not self._place.startswith("s3://"):
            raise WrongUsage(f"{address!r} names no bucket; write s3-trigger:s3://BUCKET/PREFIX.")
        self._bundle = bundle
        self._patience_s = settings.patience.answer_s
        self._storage = S3Storage.open(self._place)
        self._transfers = ThreadPoolExecutor(_TRANSFERS, thread_name_prefix="s3")
        self._closed = threading.Event()
        self._asking = 0
        self._changed = threading.Condition()

    def check(self, cut_id: str) -> None:
        """See Tail."""
        self._ask(cut_id, [_PROBE])

    def infer(self, cut_id: str, frame: Frame) -> Answer:
        """See Tail. The times are those of the function that took longest, for they work side by side."""
        if not codecs.is_pictures(frame):
            raise self._wrong_use()
        return self._ask(cut_id, codecs.decode_pictures(self._bundle.input, frame))

    def close(self) -> None:
        """See Tail. Returns when what was put into the bucket is taken away again."""
        self._closed.set()
        with self._changed:
            self._changed.wait_for(lambda: not self._asking, _LONGEST_END_S)
        self._transfers.shutdown(wait=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wrong_use(self) -> WrongUsage:
        return WrongUsage(
            f"{self._address} computes the whole model from the files of pictures; use --split remote --codec image."
        )

    def _ask(self, cut_id: str, pictures: Sequence[bytes | memoryview]) -> Answer:
        if cut_id != WHOLE:
            raise self._wrong_use()
        batch = uuid.uuid4().hex
        names = [f"{batch}/{number:05}" for number in range(len(pictures))]
        began = time.perf_counter_ns()
        with self._taken_away(names):
            put = [self._transfers.submit(self._put, *pair) for pair in zip(names, pictures, strict=True)]
            wait(put)  # or what is put late would be left behind
            for one in put:
                one.result()
            replies = self._await(batch, names)
            round_trip_us = (time.perf_counter_ns() - began) // 1000
        found = [self._read(reply, round_trip_us) for reply in replies]
        return Answer(
            np.concatenate([one.scores for one in found]),
            tuple(one.error for one in found),
            max((one.times for one in found), key=lambda times: times.server_us),
            sum(map(len, pictures)),
            sum(len(reply.content) for reply in replies),
            round_trip_us,
        )

    @contextmanager
    def _taken_away(self, names: Sequence[str]) -> Iterator[None]:
        """At the end of the block nothing of these names is left. Raises TailUnreachable once closed."""
        with self._changed:
            if self._closed.is_set():
                raise self._closed_before()
            self._asking += 1
        try:
            yield
        finally:
            with suppress(StorageFailed):  # the bucket's lifecycle does it some day
                self._storage.remove(*(f"{side}/{name}" for side in ("in", "out") for name in names))
            with self._changed:
                self._asking -= 1
                self._changed.notify_all()

    def _closed_before(self) -> TailUnreachable:
        return TailUnreachable(f"{self._address} was closed before all replies were there.")

    def _put(self, name: str, picture: bytes | memoryview) -> None:
        self._storage.replace(f"in/{name}", bytes(picture), {BUNDLE: self._bundle.sha256})

    def _await(self, batch: str, names: Sequence[str]) -> list[Reply]:
        """The replies in the order of their names. Raises TailUnreachable when none came for too long."""
        found: dict[str, Future[Reply]] = {}
        pause_s, end = _FIRST_PAUSE_S, time.monotonic() + self._patience_s
        while len(found) < len(names):
            if self._closed.wait(pause_s):
                raise self._closed_before()
            there = {entry.name.removeprefix("out/") for entry in self._storage.entries(f"out/{batch}/")}
            new = [name for name in names if name in there and name not in found]
            found |= {name: self._transfers.submit(self._get, name) for name in new}
            if new:
                pause_s, end = _FIRST_PAUSE_S, time.monotonic() + self._patience_s
            elif time.monotonic() > end:
                some, none = "the function's log in AWS may say why", "check that the trigger is deployed for"
                raise TailUnreachable(
                    f"No reply to {len(names) - len(found)} of {len(names)} pictures came below {self._place}/out/ for "
                    f"{self._patience_s:.0f} s; {some if found else f'{none} {self._place}/in/'}."
                )
            else:
                pause_s = min(_LONGEST_PAUSE_S, 1.5 * pause_s)
        return [found[name].result() for name in names]

    def _get(self, name: str) -> Reply:
        content, told = self._storage.read_described(f"out/{name}", _ENOUGH_BYTES + 8 * self._bundle.output.elements)
        status = told.get("status", "")
        return Reply(int(status) if status.isascii() and status.isdigit() else 0, told, content)

    def _read(self, reply: Reply, round_trip_us: int) -> _Found:
        if reply.status == HTTPStatus.CONFLICT:
            raise OtherBundle(f"{self._address} refused: {reply.message}")
        if reply.status != HTTPStatus.OK:
            raise TailRefused(f"{self._address} refused with {reply.status or 'no status'}: {reply.message}")
        frame = decode_response(reply.content, parse_header_length(reply.header(HEADER_LENGTH)))
        scores, (error,) = read_scores(self._bundle.output, 1, frame)
        return _Found(scores, error, read_times(frame.parameters, round_trip_us))
