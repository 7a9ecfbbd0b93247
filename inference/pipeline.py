"""Stages that overlap: each takes an iterator and gives an iterator, and nothing ever holds the data set."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


def overlap(
    stage: Callable[[In], Out],
    items: Iterable[In],
    *,
    name: str,
    workers: int = 1,
    ahead: int = 1,
    held: int = 0,
    patient: bool = True,
) -> Generator[Out, None, None]:
    """`stage` of every item, in order, computed by `workers` threads while the caller uses earlier results.

    At most `workers + ahead` items are taken that the caller has not been given; while the first of them is not done,
    `held` more, so that one slow item does not stop the others. What `stage` or `items` raise
    is raised here, after which nothing more is started. What is under way is waited for, unless a stage that is not
    `patient`, as one that waits for others, is interrupted by the user.
    """
    wait = True
    pool = ThreadPoolExecutor(workers, thread_name_prefix=name)
    pending: deque[Future[Out]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(stage, item))
            while len(pending) >= workers + ahead + (0 if pending[0].done() else held):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except KeyboardInterrupt:
        wait = patient
        raise
    finally:
        pool.shutdown(wait=wait, cancel_futures=True)
