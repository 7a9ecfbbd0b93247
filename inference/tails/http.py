"""The exchange over HTTP: `hybrid-batch serve`, or any server of the Open Inference Protocol with our bundle."""

import time

import httpx

from data.errors import BadFrame, WrongUsage
from inference.bundle import Bundle
from inference.tails import public_address
from inference.tails.access import find_access
from inference.tails.exchange import NoAnswer, Reply, Request
from inference.tails.served import ServedTail
from inference.tails.settings import TailSettings

_LOOPBACK = ("all://localhost", "all://*.localhost", "all://127.0.0.1", "all://[::1]")


class HttpExchange:
    """See Exchange. Connections are kept."""

    advice = "check the address, and that `hybrid-batch serve` or a deployed tail runs there"

    def __init__(self, address: str, settings: TailSettings | None = None) -> None:
        settings = settings or TailSettings()
        self.name = public_address(address.rstrip("/"))
        timeout = httpx.Timeout(settings.patience.answer_s, connect=settings.patience.connect_s, pool=None)
        try:
            self._client = httpx.Client(
                base_url=address,
                auth=find_access(address, settings.token_file),
                headers={"Accept-Encoding": "identity"},
                timeout=timeout,
                limits=httpx.Limits(max_connections=settings.in_flight, max_keepalive_connections=settings.in_flight),
                mounts=dict.fromkeys(_LOOPBACK),  # no proxy of the environment stands before this machine
                verify=address.startswith("https://"),  # reading the certificates takes longer than a request
            )
        except httpx.InvalidURL as error:
            raise WrongUsage(f"{address!r} is no address ({error}); give one such as http://host:8000.") from error
        if not self._client.base_url.host:
            raise WrongUsage(f"{address!r} names no host; give an address such as http://host:8000.")

    def room(self, request: Request) -> None:
        """See Exchange."""

    def ask(self, request: Request, limit: int) -> Reply:
        """See Exchange."""
        content = request.content if request.method == "POST" else None
        headers = dict(request.headers)
        began = time.perf_counter_ns()
        try:
            with self._client.stream(request.method, request.path, content=content, headers=headers) as response:
                received = self._read(response, limit)
        except httpx.TransportError as error:
            raise NoAnswer(str(error) or type(error).__name__) from error
        return Reply(response.status_code, response.headers, received, (time.perf_counter_ns() - began) // 1000)

    def close(self) -> None:
        """See Exchange."""
        self._client.close()

    def _read(self, response: httpx.Response, limit: int) -> bytes:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise BadFrame(f"{self.name} answered compressed, which was not asked for.")
        received = bytearray()
        for chunk in response.iter_raw():
            received += chunk
            if len(received) > limit:
                raise BadFrame(f"{self.name} answered more than the {limit} bytes that were due.")
        return bytes(received)


def http_tail(address: str, bundle: Bundle, settings: TailSettings | None = None) -> ServedTail:
    """The tail at http(s)://HOST[:PORT][/PATH]. Raises WrongUsage for what is no address."""
    settings = settings or TailSettings()
    return ServedTail(HttpExchange(address, settings), bundle, settings)
