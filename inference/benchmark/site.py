"""Where a tail is reached in the experiment, opened so that its first answer is as cold as it can be made."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.runtimes import Engine, open_engine
from hybrid_batch.inference.tails import LOCAL, Tail, check_address, open_tail, takes_pictures_alone
from hybrid_batch.inference.tails.settings import TailSettings

SERVE = "serve"
# What the first answer includes, beside the answer itself.
COMPILE = "compile"  # the engine, with nothing compiled before; the libraries were loaded
PROCESS = "process"  # a process from its start, with nothing compiled before
START = "start"  # Lambda says that it started an environment
RUNNING = "running"  # Lambda says that the environment was running: this is no cold start
UNTOLD = "untold"  # Lambda does not say which
CONNECTION = "connection"  # a new connection; whether what answers was cold is not known


@dataclass(frozen=True, slots=True)
class Kit:
    """What tails are opened with."""

    bundle: Bundle
    engine: Engine
    settings: TailSettings


@dataclass(frozen=True, slots=True)
class Opened:
    """A tail that was asked for no picture yet. The first answer is timed from `began_ns`; `first` says what that
    includes."""

    tail: Tail
    began_ns: int
    first: str


def open_site(address: str, kit: Kit) -> AbstractContextManager[Opened]:
    """The tail at an address; at `serve` a server that is started for it. Entering raises TailUnreachable, TailRefused
    and what `open_tail` raises."""
    return _OPENERS.get(address.partition(":")[0], _open_standing)(address, kit)


def check_site(address: str) -> str:
    """The address itself. Raises WrongUsage for one of no known kind."""
    return address if address == SERVE else check_address(address)


def is_paid(address: str) -> bool:
    """Whether requests there may cost money."""
    return address not in (LOCAL, SERVE) and not address.startswith("http://")


def can_do(address: str, bundle: Bundle, cut_id: str) -> bool:
    """Whether a tail computes from this cut."""
    return cut_id == bundle.whole.id or not takes_pictures_alone(address)


@contextmanager
def _open_local(address: str, kit: Kit) -> Iterator[Opened]:
    began = time.perf_counter_ns()
    with open_tail(address, kit.bundle, open_engine(kit.engine.name, kit.bundle, cached=False)) as tail:
        yield Opened(tail, began, COMPILE)


@contextmanager
def _open_server(_: str, kit: Kit) -> Iterator[Opened]:
    from hybrid_batch.inference.benchmark.server import started_server

    began = time.perf_counter_ns()
    with started_server(kit.bundle) as server, open_tail(server.url, kit.bundle, kit.engine, kit.settings) as tail:
        yield Opened(tail, began, PROCESS)


@contextmanager
def _open_lambda(address: str, kit: Kit) -> Iterator[Opened]:
    from hybrid_batch.inference.benchmark.lambda_start import ask_lambda

    with open_tail(address, kit.bundle, kit.engine, kit.settings) as tail:
        began = time.perf_counter_ns()
        yield Opened(tail, began, {True: START, False: RUNNING, None: UNTOLD}[ask_lambda(address)])


@contextmanager
def _open_standing(address: str, kit: Kit) -> Iterator[Opened]:
    began = time.perf_counter_ns()
    with open_tail(address, kit.bundle, kit.engine, kit.settings) as tail:
        yield Opened(tail, began, CONNECTION)


_OPENERS: dict[str, Callable[[str, Kit], AbstractContextManager[Opened]]] = {
    LOCAL: _open_local,
    SERVE: _open_server,
    "lambda": _open_lambda,
}
