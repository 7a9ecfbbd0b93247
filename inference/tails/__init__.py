"""Tails compute the part of a model after the cut: in this process, on a server, in Lambda, or by workers of a queue.

A new kind of tail is one module with an opener, and one line in TAIL_KINDS.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from importlib import import_module
from typing import Protocol, Self

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.runtimes import Runtime
from hybrid_batch.inference.protocol.infer_response import InferResponse
from hybrid_batch.inference.protocol.wire import Frame
from hybrid_batch.inference.tails.settings import RetryPolicy, TailSettings

LOCAL, S3_TRIGGER = "local", "s3-trigger"


class Tail(Protocol):
    """Computes the tails of one bundle. Thread-safe."""

    @property
    def max_frame_bytes(self) -> int | None:
        """The largest frame in bytes that the transport and the tail accept, as far as is known; None for any size."""

    @property
    def codecs(self) -> Collection[str]:
        """The codecs of `list_wire_codecs` that the tail decodes, as far as is known: all of them before a check."""

    def check(self, cut_id: str) -> None:
        """Check, before any image is sent, that the tail responds, serves the same bundle, and has compiled the cut.
        Raises TailUnreachable, BundleMismatch, TailRefused."""
        ...

    def infer(self, cut_id: str, frame: Frame) -> InferResponse:
        """Compute the scores of a batch. Raises InvalidFrame, TailUnreachable, TailRefused, CutNotFound."""
        ...

    def close(self) -> None:
        """Close all connections; calls that wait for a retry give up."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


TailOpener = Callable[[str, Bundle, Runtime, TailSettings], Tail]


@dataclass(frozen=True, slots=True)
class TailKind:
    """One kind of tail. `open` opens the tail at an address without sending anything. `default_in_flight` is the number
    of concurrent requests if the user gives none, `profiling_retries` the policy while a tail is measured, and
    `accepts_only_images` whether it computes nothing but the whole model from image files."""

    open: TailOpener
    default_in_flight: int = 4  # keep one server busy
    profiling_retries: RetryPolicy = field(default_factory=RetryPolicy)
    accepts_only_images: bool = False


def _open_local(_: str, bundle: Bundle, runtime: Runtime, settings: TailSettings) -> Tail:
    from hybrid_batch.inference.tails.local import LocalTail

    return LocalTail(bundle, runtime, settings.pixels)


def _remote(name: str) -> TailOpener:
    """The opener `MODULE.FUNCTION` of this package, which takes address, bundle and settings but no runtime. It is
    imported when it is called, because its libraries take time to load."""
    module, _, function = name.rpartition(".")

    def open_remote(address: str, bundle: Bundle, _: Runtime, settings: TailSettings) -> Tail:
        opener: Callable[[str, Bundle, TailSettings], Tail]
        opener = getattr(import_module(f"{__name__}.{module}"), function)
        return opener(address, bundle, settings)

    return open_remote


# A running server responds sooner than a function or worker that may have to start.
_SERVER_RETRIES = RetryPolicy(response_timeout_s=30, attempts=2)

# By the address up to its first colon. Lambda has an environment for each request, and a new account only ten; a queue
# has up to 15 workers, each of which computes one request while it receives the next.
TAIL_KINDS: dict[str, TailKind] = {
    LOCAL: TailKind(_open_local),
    "http": TailKind(_remote("http.open_http_tail"), profiling_retries=_SERVER_RETRIES),
    "https": TailKind(_remote("http.open_http_tail"), profiling_retries=_SERVER_RETRIES),
    "lambda": TailKind(_remote("aws_lambda.open_lambda_tail"), default_in_flight=8),
    "sqs": TailKind(_remote("sqs.transport.open_sqs_tail"), default_in_flight=32),
    S3_TRIGGER: TailKind(_remote("s3_trigger.S3TriggerTail"), accepts_only_images=True),
}


def tail_kind(address: str) -> TailKind:
    """The kind of the tail at an address. Raises WrongUsage for an unknown kind."""
    scheme, colon, _ = address.partition(":")
    if scheme not in TAIL_KINDS or bool(colon) == (scheme == LOCAL):
        schemes = ", ".join(f"{known}:…" for known in TAIL_KINDS if known != LOCAL)
        raise WrongUsage(f"No tail at {address!r}; give {LOCAL}, or an address such as http://host:8000 ({schemes}).")
    return TAIL_KINDS[scheme]


def open_tail(address: str, bundle: Bundle, runtime: Runtime, settings: TailSettings | None = None) -> Tail:
    """Open the tail at an address; nothing is sent yet. The local tail computes with `runtime`. Raises WrongUsage for
    an invalid address, TailRefused and StorageFailed for unusable AWS settings."""
    return tail_kind(address).open(address, bundle, runtime, settings or TailSettings())


def check_address(address: str) -> str:
    """The address itself. Raises WrongUsage for an unknown kind."""
    tail_kind(address)
    return address


def redacted_address(address: str) -> str:
    """The address for logs and messages: without user name, password and query."""
    scheme, separator, rest = address.partition("://")
    return f"{scheme}{separator}{rest.partition('?')[0].rpartition('@')[2]}"
