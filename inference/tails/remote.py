"""A remote tail: the Open Inference Protocol v2 over any transport, with retries and S3 for oversized bodies."""

import json
import threading
import time
from collections.abc import Collection
from dataclasses import replace
from http import HTTPStatus
from typing import Self
from urllib.parse import quote

from hybrid_batch.data.errors import BundleMismatch, TailRefused, TailUnreachable
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import INPUT_CUT
from hybrid_batch.inference.protocol.codecs import list_wire_codecs
from hybrid_batch.inference.protocol.infer_response import (
    ERROR_CHARACTERS,
    InferResponse,
    decode_scores,
    decode_timings,
)
from hybrid_batch.inference.protocol.spill import Spill, is_spilled
from hybrid_batch.inference.protocol.trace_context import TRACEPARENT, make_traceparent
from hybrid_batch.inference.protocol.transport import NoResponse, Reply, Request, Transport
from hybrid_batch.inference.protocol.wire import (
    BUNDLE,
    HEADER_LENGTH,
    MAX_HEADER_BYTES,
    Body,
    Frame,
    decode_response,
    encode_request,
    parse_header_length,
)
from hybrid_batch.inference.tails.outage import Outage
from hybrid_batch.inference.tails.settings import TailSettings

_MAX_TEXT_BYTES = 1 << 16  # of headers, metadata and error messages
_LONGEST_HEADERS = {**Body((), MAX_HEADER_BYTES).headers, TRACEPARENT: make_traceparent()}


class RemoteTail:
    """See Tail. Retries requests that got no response, status 429 or 5xx; every other error is raised at once."""

    def __init__(self, transport: Transport, bundle: Bundle, settings: TailSettings | None = None) -> None:
        settings = settings or TailSettings()
        self._transport = transport
        self._bundle = bundle
        self._model = f"/v2/models/{quote(bundle.name, safe='')}"
        self._retries = settings.retries
        self._notify, self._notified, self._noticing = settings.notify, False, threading.Lock()
        self._spill = Spill(settings.spill) if settings.spill else None
        self._announced_bytes: int | None = None
        self._codecs = list_wire_codecs()
        self._closed = threading.Event()

    @property
    def max_frame_bytes(self) -> int | None:
        """See Tail."""
        if self._spill is not None:
            return None
        return self._max_content_bytes(Request("POST", self._infer_path(INPUT_CUT), _LONGEST_HEADERS))

    @property
    def codecs(self) -> Collection[str]:
        """See Tail."""
        return self._codecs

    def check(self, cut_id: str) -> None:
        """See Tail."""
        name, local = self._transport.name, f"{self._bundle.name} {self._bundle.sha256[:12]}"
        reply = self._send(Request("GET", self._model))
        if reply.status == HTTPStatus.NOT_FOUND:
            raise BundleMismatch(f"{name} does not serve {local}: {reply.message}")
        self._check_status(reply)
        try:
            metadata = json.loads(reply.content)["parameters"]
            sha256, limit, spill = str(metadata["sha256"]), metadata.get("max_request_bytes"), metadata.get("spill")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise TailRefused(
                f"{name} does not report which bundle it serves; give the address of a tail of `hybrid-batch`."
            ) from error
        if sha256 != self._bundle.sha256:
            raise BundleMismatch(
                f"{name} serves {self._bundle.name} {sha256[:12]}, but this run has {local}; serve the same bundle."
            )
        self._codecs = _known_codecs(metadata.get("codecs"))
        self._announced_bytes = limit if type(limit) is int and limit > 0 else None
        self._check_spill(spill)
        self._check_status(self._send(Request("GET", f"{self._model}/versions/{cut_id}/ready")))

    def infer(self, cut_id: str, frame: Frame) -> InferResponse:
        """See Tail."""
        frame = replace(frame, parameters={**frame.parameters, BUNDLE: self._bundle.sha256})
        body = encode_request(frame)
        batch = _batch_size(frame)
        limit = _MAX_TEXT_BYTES + batch * (8 * self._bundle.output.elements + 4 * ERROR_CHARACTERS + 4)
        headers = {**body.headers, TRACEPARENT: make_traceparent()}
        reply = self._send_any_size(Request("POST", self._infer_path(cut_id), headers, body.join()), limit)
        self._check_status(reply)
        response = decode_response(reply.content, parse_header_length(reply.header(HEADER_LENGTH)))
        scores, errors = decode_scores(self._bundle.output, batch, response)
        timings = decode_timings(response.parameters, reply.round_trip_us)
        return InferResponse(scores, errors, timings, body.size, len(reply.content), reply.round_trip_us)

    def close(self) -> None:
        """See Tail."""
        self._closed.set()
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _infer_path(self, cut_id: str) -> str:
        return f"{self._model}/versions/{cut_id}/infer"

    def _check_status(self, reply: Reply) -> None:
        name = self._transport.name
        if reply.status == HTTPStatus.CONFLICT:
            raise BundleMismatch(f"{name} refused: {reply.message}")
        if reply.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise TailRefused(
                f"{name} denied access ({reply.status} {reply.message}); give its token with --token-file FILE or "
                "HYBRID_BATCH_TAIL_TOKEN, or AWS credentials that may call it."
            )
        if reply.status != HTTPStatus.OK:
            raise TailRefused(f"{name} refused with {reply.status}: {reply.message}")

    def _check_spill(self, served: object) -> None:
        """Check that the tail uses the same S3 prefix for oversized bodies, and that the prefix is writable."""
        if self._spill is None:
            return
        if served != self._spill.uri:
            prefix = str(served)[:200]
            reads = f"reads oversized requests from {prefix}" if served else "reads no requests from S3"
            hint = f"give --spill {prefix}" if served else "leave out --spill"
            raise TailRefused(f"{self._transport.name} {reads}, not from {self._spill.uri}; {hint}.")
        self._spill.check()

    def _max_content_bytes(self, request: Request) -> int | None:
        """The limit of the transport; if it has none, the limit that the tail announced."""
        limit = self._transport.max_content_bytes(request)
        return self._announced_bytes if limit is None else limit

    def _send_any_size(self, request: Request, limit: int) -> Reply:
        """As _send, with oversized bodies going through S3; the time of that counts as time of the link."""
        if self._spill is not None:
            request = self._spill.with_user(request)
        max_bytes, size, spill_us = self._max_content_bytes(request), len(request.content), 0
        if max_bytes is None or size <= max_bytes:
            reply = self._send(request, limit)
        elif self._spill is None:
            raise TailRefused(
                f"A request of {size} bytes exceeds the {max_bytes} that {self._transport.name} accepts; choose a "
                "smaller --batch-size, or an S3 prefix for oversized requests: --spill s3://BUCKET/PREFIX."
            )
        else:
            start = time.perf_counter_ns()
            with self._spill.put_request(request) as reference:
                spill_us = _us_since(start)
                reply = self._send(reference, limit)
        if not is_spilled(reply):
            return replace(reply, round_trip_us=reply.round_trip_us + spill_us)
        if self._spill is None:
            raise TailRefused(
                f"{self._transport.name} stored an oversized reply in S3; choose a smaller --batch-size, or give the "
                "tail's S3 prefix: --spill s3://BUCKET/PREFIX."
            )
        start = time.perf_counter_ns()
        reply = self._spill.take_reply(reply, limit)
        return replace(reply, round_trip_us=reply.round_trip_us + spill_us + _us_since(start))

    def _send(self, request: Request, limit: int = _MAX_TEXT_BYTES) -> Reply:
        """The reply, after retries while there is none or the tail is overloaded. Raises TailUnreachable."""
        outage = Outage(self._retries)
        while True:
            start = time.monotonic()
            try:
                reply = self._transport.send(request, limit)
            except NoResponse as error:
                retry_after, cause = error.retry_after, str(error)
            else:
                if reply.status != HTTPStatus.TOO_MANY_REQUESTS and reply.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                    self._end_notice()
                    return reply
                retry_after, cause = reply.header("Retry-After"), f"{reply.status} {reply.message}"
            outage.failed(start)
            if outage.is_over:
                break
            self._notify_once(outage, cause)
            if self._closed.wait(outage.pause_s(retry_after)):
                cause = "the tail was closed"
                break
        hint = "it is overloaded, try again later" if cause.startswith("429") else self._transport.hint
        raise TailUnreachable(f"No answer from {self._transport.name} {outage} (last: {cause}); {hint}.")

    def _notify_once(self, outage: Outage, cause: str) -> None:
        """Notify the user of the first long wait: otherwise nothing shows that requests are being retried."""
        with self._noticing:
            if outage.is_long and not self._notified:
                self._notified = True
                self._notify(f"No answer from {self._transport.name} {outage} ({cause}); {outage.outlook}.")

    def _end_notice(self) -> None:
        if self._notified and self._retries.patience_s:
            with self._noticing:
                if self._notified:
                    self._notified = False
                    self._notify(f"{self._transport.name} answers again.")


def _us_since(start_ns: int) -> int:
    return (time.perf_counter_ns() - start_ns) // 1000


def _batch_size(frame: Frame) -> int:
    """Number of images in a frame that this program encoded."""
    first = frame.tensors[0]
    batch: int = first.parameters.get("shape", first.shape)[0]
    return batch


def _known_codecs(listed: object) -> list[str]:
    """The codecs of this version that a tail lists in its metadata; all of them if it lists none."""
    known = list_wire_codecs()
    return [name for name in known if name in listed.split(",")] if isinstance(listed, str) else known
