"""The tail behind HTTP: `hybrid-batch serve`, or any server of the Open Inference Protocol with our bundle."""

import json
import random
import threading
import time
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self
from urllib.parse import quote

import httpx

from data.errors import BadFrame, OtherBundle, TailRefused, TailUnreachable, WrongUsage
from inference.bundle import Bundle
from inference.tails.answer import ERROR_CHARACTERS, Answer, read_scores, read_times
from inference.tails.worker import BUNDLE
from inference.wire import HEADER_LENGTH, Body, Frame, decode_response, encode_request, parse_header_length

_ENOUGH_BYTES = 1 << 16  # of headers, metadata and error messages
_LOOPBACK = ("all://localhost", "all://127.0.0.1", "all://[::1]")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a tail, and how often to ask it. Pauses double from the first to the longest, each
    cut short by a random part, and are at least what the server asks for up to `longest_retry_after_s`."""

    connect_s: float = 5.0
    answer_s: float = 60.0
    attempts: int = 6
    first_pause_s: float = 0.1
    longest_pause_s: float = 5.0
    longest_retry_after_s: float = 30.0

    def pause_s(self, failures: int, retry_after: str | None) -> float:
        """Before the next attempt, after so many failures and the server's Retry-After."""
        pause: float = min(self.longest_pause_s, self.first_pause_s * 2.0 ** (failures - 1)) * random.uniform(0.5, 1)  # noqa: S311
        if retry_after is not None and retry_after.isascii() and retry_after.isdigit():
            pause = max(pause, min(float(retry_after), self.longest_retry_after_s))
        return pause


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    headers: httpx.Headers
    content: bytes
    took_us: int

    @property
    def message(self) -> str:
        """The server's error message, or the beginning of whatever it said."""
        try:
            text = json.loads(self.content)["error"]
        except (ValueError, KeyError, TypeError, RecursionError):
            text = self.content.decode(errors="replace")
        return " ".join(str(text)[:ERROR_CHARACTERS].split()) or "no message"


class HttpTail:
    """See Tail. Connections are kept; up to `in_flight` requests travel at once."""

    def __init__(self, address: str, bundle: Bundle, in_flight: int = 4, patience: Patience | None = None) -> None:
        self._address = address.rstrip("/")
        self._bundle = bundle
        self._model = f"/v2/models/{quote(bundle.name, safe='')}"
        self._patience = patience or Patience()
        self._closed = threading.Event()
        timeout = httpx.Timeout(self._patience.answer_s, connect=self._patience.connect_s, pool=None)
        try:
            self._client = httpx.Client(
                base_url=self._address,
                headers={"Accept-Encoding": "identity"},
                timeout=timeout,
                limits=httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight),
                mounts=dict.fromkeys(_LOOPBACK),  # no proxy of the environment stands before this machine
                verify=address.startswith("https://"),  # reading the certificates takes longer than a request
            )
        except httpx.InvalidURL as error:
            raise WrongUsage(f"{address!r} is no address ({error}); give one such as http://host:8000.") from error
        if not self._client.base_url.host:
            raise WrongUsage(f"{address!r} names no host; give an address such as http://host:8000.")

    def check(self, cut_id: str) -> None:
        """See Tail."""
        mine = f"{self._bundle.name} {self._bundle.sha256[:12]}"
        reply = self._ask("GET", self._model)
        if reply.status == httpx.codes.NOT_FOUND:
            raise OtherBundle(f"{self._address} does not serve {mine}: {reply.message}")
        self._accept(reply)
        try:
            served = str(json.loads(reply.content)["parameters"]["sha256"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise TailRefused(
                f"{self._address} does not say which bundle it serves; start it with `hybrid-batch serve`."
            ) from error
        if served != self._bundle.sha256:
            raise OtherBundle(
                f"{self._address} serves {self._bundle.name} {served[:12]}, but this run has {mine}; "
                "serve the same bundle there."
            )
        self._accept(self._ask("GET", f"{self._model}/versions/{cut_id}/ready"))

    def infer(self, cut_id: str, frame: Frame) -> Answer:
        """See Tail."""
        frame = replace(frame, parameters={**frame.parameters, BUNDLE: self._bundle.sha256})
        body = encode_request(frame)
        batch = _batch(frame)
        limit = _ENOUGH_BYTES + batch * (8 * self._bundle.output.elements + 4 * ERROR_CHARACTERS + 4)
        reply = self._ask("POST", f"{self._model}/versions/{cut_id}/infer", body, limit)
        self._accept(reply)
        answer = decode_response(reply.content, parse_header_length(reply.headers.get(HEADER_LENGTH)))
        scores, errors = read_scores(self._bundle.output, batch, answer)
        times = read_times(answer.parameters, reply.took_us)
        return Answer(scores, errors, times, body.size, len(reply.content), reply.took_us)

    def close(self) -> None:
        """See Tail."""
        self._closed.set()
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self, reply: _Reply) -> None:
        if reply.status == httpx.codes.CONFLICT:
            raise OtherBundle(f"{self._address} refused: {reply.message}")
        if reply.status != httpx.codes.OK:
            raise TailRefused(f"{self._address} refused with {reply.status}: {reply.message}")

    def _ask(self, method: str, path: str, body: Body | None = None, limit: int = _ENOUGH_BYTES) -> _Reply:
        """The server's answer, asking again while there is none or it is busy. Raises TailUnreachable."""
        content = body.join() if body else None
        headers = body.headers if body else {}
        retry_after, cause = None, "closed before"
        for failures in range(self._patience.attempts):
            if failures and self._closed.wait(self._patience.pause_s(failures, retry_after)):
                break
            try:
                reply = self._once(method, path, content, headers, limit)
            except httpx.TransportError as error:
                retry_after, cause = None, str(error) or type(error).__name__
                continue
            if reply.status != httpx.codes.TOO_MANY_REQUESTS and reply.status < httpx.codes.INTERNAL_SERVER_ERROR:
                return reply
            retry_after, cause = reply.headers.get("Retry-After"), f"{reply.status} {reply.message}"
        advice = (
            "it is busy, try again later" if cause.startswith("429") else "check that `hybrid-batch serve` runs there"
        )
        raise TailUnreachable(
            f"No answer from {self._address}, asked {self._patience.attempts} times (at last: {cause}); {advice}."
        )

    def _once(self, method: str, path: str, content: bytes | None, headers: dict[str, str], limit: int) -> _Reply:
        began = time.perf_counter_ns()
        with self._client.stream(method, path, content=content, headers=headers) as response:
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise BadFrame(f"{self._address} answered compressed, which was not asked for.")
            received = bytearray()
            for chunk in response.iter_raw():
                received += chunk
                if len(received) > limit:
                    raise BadFrame(f"{self._address} answered more than the {limit} bytes that were due.")
        return _Reply(response.status_code, response.headers, bytes(received), (time.perf_counter_ns() - began) // 1000)


def _batch(frame: Frame) -> int:
    """Images in a frame of our own making."""
    first = frame.tensors[0]
    batch: int = first.parameters.get("shape", first.shape)[0]
    return batch
