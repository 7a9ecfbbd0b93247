"""A tail that is served somewhere, by the Open Inference Protocol v2, whatever exchange leads there."""

import json
import threading
import time
from dataclasses import replace
from http import HTTPStatus
from typing import Self
from urllib.parse import quote

from hybrid_batch.data.errors import OtherBundle, TailRefused, TailUnreachable
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.protocol.infer_response import ERROR_CHARACTERS, Answer, read_scores, read_times
from hybrid_batch.inference.protocol.spill import Spill, spilled
from hybrid_batch.inference.protocol.transport import Exchange, NoAnswer, Reply, Request
from hybrid_batch.inference.protocol.wire import (
    HEADER_LENGTH,
    MAX_HEADER_BYTES,
    Body,
    Frame,
    decode_response,
    encode_request,
    parse_header_length,
)
from hybrid_batch.inference.serving.executor import BUNDLE
from hybrid_batch.inference.tails.settings import TailSettings

_ENOUGH_BYTES = 1 << 16  # of headers, metadata and error messages
_LONGEST_HEADERS = Body((), MAX_HEADER_BYTES).headers


class ServedTail:
    """See Tail. Asks again where that may help; says in one sentence what is wrong where it does not."""

    def __init__(self, exchange: Exchange, bundle: Bundle, settings: TailSettings | None = None) -> None:
        settings = settings or TailSettings()
        self._exchange = exchange
        self._bundle = bundle
        self._model = f"/v2/models/{quote(bundle.name, safe='')}"
        self._patience = settings.patience
        self._say, self._silence_told = settings.say, False
        self._spill = Spill(settings.spill) if settings.spill else None
        self._told_room: int | None = None
        self._closed = threading.Event()

    @property
    def room(self) -> int | None:
        """See Tail."""
        if self._spill is not None:
            return None
        return self._room_of(Request("POST", f"{self._model}/versions/c000/infer", _LONGEST_HEADERS))

    def check(self, cut_id: str) -> None:
        """See Tail."""
        name, mine = self._exchange.name, f"{self._bundle.name} {self._bundle.sha256[:12]}"
        reply = self._ask(Request("GET", self._model))
        if reply.status == HTTPStatus.NOT_FOUND:
            raise OtherBundle(f"{name} does not serve {mine}: {reply.message}")
        self._accept(reply)
        try:
            told = json.loads(reply.content)["parameters"]
            served, room, spill = str(told["sha256"]), told.get("max_request_bytes"), told.get("spill")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise TailRefused(
                f"{name} does not say which bundle it serves; give the address of a tail of `hybrid-batch`."
            ) from error
        if served != self._bundle.sha256:
            raise OtherBundle(
                f"{name} serves {self._bundle.name} {served[:12]}, but this run has {mine}; "
                "serve the same bundle there."
            )
        self._told_room = room if type(room) is int and room > 0 else None
        self._check_spill(spill)
        self._accept(self._ask(Request("GET", f"{self._model}/versions/{cut_id}/ready")))

    def infer(self, cut_id: str, frame: Frame) -> Answer:
        """See Tail."""
        frame = replace(frame, parameters={**frame.parameters, BUNDLE: self._bundle.sha256})
        body = encode_request(frame)
        batch = _batch(frame)
        limit = _ENOUGH_BYTES + batch * (8 * self._bundle.output.elements + 4 * ERROR_CHARACTERS + 4)
        request = Request("POST", f"{self._model}/versions/{cut_id}/infer", body.headers, body.join())
        reply = self._carry(request, limit)
        self._accept(reply)
        answer = decode_response(reply.content, parse_header_length(reply.header(HEADER_LENGTH)))
        scores, errors = read_scores(self._bundle.output, batch, answer)
        times = read_times(answer.parameters, reply.took_us)
        return Answer(scores, errors, times, body.size, len(reply.content), reply.took_us)

    def close(self) -> None:
        """See Tail."""
        self._closed.set()
        self._exchange.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self, reply: Reply) -> None:
        if reply.status == HTTPStatus.CONFLICT:
            raise OtherBundle(f"{self._exchange.name} refused: {reply.message}")
        if reply.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise TailRefused(
                f"{self._exchange.name} does not let us in ({reply.status} {reply.message}); give its token with "
                "--token-file FILE or HYBRID_BATCH_TAIL_TOKEN, or AWS credentials that may call it."
            )
        if reply.status != HTTPStatus.OK:
            raise TailRefused(f"{self._exchange.name} refused with {reply.status}: {reply.message}")

    def _check_spill(self, theirs: object) -> None:
        """Make sure that both sides have the same place for large bodies, and that it can be used."""
        if self._spill is None:
            return
        if theirs != self._spill.uri:
            place = str(theirs)[:200]
            reads = f"reads large requests from {place}" if theirs else "reads no requests from S3"
            advice = f"give --spill {place}" if theirs else "leave out --spill"
            raise TailRefused(f"{self._exchange.name} {reads}, not from {self._spill.uri}; {advice}.")
        self._spill.check()

    def _room_of(self, request: Request) -> int | None:
        """What the way allows; where it allows anything, what the tail says it takes."""
        room = self._exchange.room(request)
        return self._told_room if room is None else room

    def _carry(self, request: Request, limit: int) -> Reply:
        """As _ask, with bodies too large for their way going through S3; the time that takes is the link's."""
        room, size, spill_us = self._room_of(request), len(request.content), 0
        if room is None or size <= room:
            reply = self._ask(request, limit)
        elif self._spill is None:
            raise TailRefused(
                f"A request of {size} bytes is too large for {self._exchange.name}, which takes {room}; choose a "
                "smaller --batch-size, or a place for large requests: --spill s3://BUCKET/PREFIX."
            )
        else:
            began = time.perf_counter_ns()
            with self._spill.sending(request) as light:
                spill_us = _us_since(began)
                reply = self._ask(light, limit)
        if not spilled(reply):
            return replace(reply, took_us=reply.took_us + spill_us)
        if self._spill is None:
            raise TailRefused(
                f"The reply of {self._exchange.name} was too large for its way and lies in S3; choose a smaller "
                "--batch-size, or give the place where it lies: --spill s3://BUCKET/PREFIX."
            )
        began = time.perf_counter_ns()
        reply = self._spill.collect(reply, limit)
        return replace(reply, took_us=reply.took_us + spill_us + _us_since(began))

    def _ask(self, request: Request, limit: int = _ENOUGH_BYTES) -> Reply:
        """The tail's reply, asking again while there is none or it is busy. Raises TailUnreachable."""
        retry_after, cause = None, "closed before"
        for failures in range(self._patience.attempts):
            if failures and self._closed.wait(self._patience.pause_s(failures, retry_after)):
                break
            began = time.monotonic()
            try:
                reply = self._exchange.ask(request, limit)
            except NoAnswer as error:
                retry_after, cause = error.retry_after, str(error)
                self._tell_silence(time.monotonic() - began, cause)
                continue
            if reply.status != HTTPStatus.TOO_MANY_REQUESTS and reply.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                return reply
            retry_after, cause = reply.header("Retry-After"), f"{reply.status} {reply.message}"
        advice = "it is busy, try again later" if cause.startswith("429") else self._exchange.advice
        raise TailUnreachable(
            f"No answer from {self._exchange.name}, asked {self._patience.attempts} times (at last: {cause}); {advice}."
        )

    def _tell_silence(self, waited_s: float, cause: str) -> None:
        """Once, for else nothing is seen to happen while it is asked again and again."""
        if waited_s >= self._patience.silence_s and not self._silence_told:
            self._silence_told = True
            self._say(f"No answer from {self._exchange.name} in {waited_s:.0f} s ({cause}); asking again.")


def _us_since(began_ns: int) -> int:
    return (time.perf_counter_ns() - began_ns) // 1000


def _batch(frame: Frame) -> int:
    """Images in a frame of our own making."""
    first = frame.tensors[0]
    batch: int = first.parameters.get("shape", first.shape)[0]
    return batch
