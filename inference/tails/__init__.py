"""A tail finishes what a head began: one verb, `infer(cut, frame)`, wherever the work is done."""

from collections.abc import Callable
from typing import Protocol, Self

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.runtimes import Engine
from hybrid_batch.inference.protocol.infer_response import Answer
from hybrid_batch.inference.protocol.wire import Frame
from hybrid_batch.inference.tails.retry_policy import Patience
from hybrid_batch.inference.tails.settings import TailSettings

LOCAL, S3_TRIGGER = "local", "s3-trigger"


class Tail(Protocol):
    """Serves one bundle; threads may call it at once."""

    @property
    def room(self) -> int | None:
        """Most bytes of a frame that are let through, as far as is known; None: any number."""

    def check(self, cut_id: str) -> None:
        """Make sure that the tail answers, serves this very bundle, and has compiled the cut, before images are
        spent on it. Raises TailUnreachable, OtherBundle, TailRefused."""
        ...

    def infer(self, cut_id: str, frame: Frame) -> Answer:
        """The scores of a batch. Raises BadFrame, TailUnreachable, TailRefused, CutNotFound."""
        ...

    def close(self) -> None:
        """Let go of connections; calls that still wait for a retry give up."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def open_tail(address: str, bundle: Bundle, engine: Engine, settings: TailSettings | None = None) -> Tail:
    """The tail at an address: `local`, which computes with `engine`, or one of KINDS. Nothing is sent yet. Raises
    WrongUsage for an address that makes no sense, TailRefused and StorageFailed where AWS's settings make none."""
    if check_address(address) == LOCAL:
        from hybrid_batch.inference.tails.local import LocalTail

        return LocalTail(bundle, engine)
    return KINDS[address.partition(":")[0]](address, bundle, settings or TailSettings())


def check_address(address: str) -> str:
    """The address itself. Raises WrongUsage for one of no known kind."""
    if address != LOCAL and address.partition(":")[0] not in KINDS:
        kinds = ", ".join(f"{kind}:…" for kind in KINDS)
        raise WrongUsage(f"No tail at {address!r}; give {LOCAL}, or an address such as http://host:8000 ({kinds}).")
    return address


def takes_pictures_alone(address: str) -> bool:
    """Whether the tail computes nothing but the whole model from the files of pictures."""
    return address.startswith(f"{S3_TRIGGER}:")


def _http(address: str, bundle: Bundle, settings: TailSettings) -> Tail:
    from hybrid_batch.inference.tails.http import http_tail

    return http_tail(address, bundle, settings)


def _lambda(address: str, bundle: Bundle, settings: TailSettings) -> Tail:
    from hybrid_batch.inference.tails.aws_lambda import lambda_tail

    return lambda_tail(address, bundle, settings)


def _queue(address: str, bundle: Bundle, settings: TailSettings) -> Tail:
    from hybrid_batch.inference.tails.sqs.transport import queue_tail

    return queue_tail(address, bundle, settings)


def _s3_trigger(address: str, bundle: Bundle, settings: TailSettings) -> Tail:
    from hybrid_batch.inference.tails.s3_trigger import S3TriggerTail

    return S3TriggerTail(address, bundle, settings)


KINDS: dict[str, Callable[[str, Bundle, TailSettings], Tail]] = {
    "http": _http,
    "https": _http,
    "lambda": _lambda,
    "sqs": _queue,
    S3_TRIGGER: _s3_trigger,
}


def usual_in_flight(address: str) -> int:
    """Requests at once where the user says nothing: one tail is kept busy by 4; Lambda has an environment for each, and
    a new account only ten; a queue has up to 15 workers, each of which computes one while it fetches the next."""
    return {"lambda": 8, "sqs": 32}.get(address.partition(":")[0], 4)


def measuring_patience(address: str) -> Patience:
    """How long to wait for a tail that is measured. What starts in the cloud takes longer than a server."""
    return Patience(answer_s=30, attempts=2) if address.startswith("http") else Patience()


def public_address(address: str) -> str:
    """The address as it may be logged: without user name, password and query."""
    scheme, separator, rest = address.partition("://")
    return f"{scheme}{separator}{rest.partition('?')[0].rpartition('@')[2]}"
