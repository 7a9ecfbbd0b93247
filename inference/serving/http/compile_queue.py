"""Compilations for a server: one at a time in a thread of its own, few waiting, and no other request waits for them."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.serving.monitoring.metric_layout import Refusal
from hybrid_batch.inference.serving.replies import Overloaded
from hybrid_batch.inference.serving.segment_cache import Lease, SegmentCache

# Cuts that wait for the compiler, beside the one in it. Checks may take one place, so that they delay no inference.
_MAX_WAITING, _MAX_WAITING_CHECKS = 2, 1


@dataclass(slots=True, eq=False)
class _Compilation:
    """A cut in the queue, and the requests that wait for it."""

    done: asyncio.Future[Lease]
    is_check: bool
    requests: int = 0


class CompileQueue:
    """Leases of compiled tails for an event loop, on which all methods but `close` are called. `warm_up` is called
    after each compilation, in its thread: runtimes finish the compilation in the first call, which takes up to 4 s."""

    def __init__(self, segments: SegmentCache, warm_up: Callable[[Cut], object] = lambda _: None) -> None:
        self._segments, self._warm_up = segments, warm_up
        self._queued: dict[str, _Compilation] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="compile")

    async def lease(self, cut: Cut, *, is_check: bool = False) -> Lease:
        """A lease of a tail, at once if it is compiled. Raises Overloaded if too many others wait for the compiler."""
        found = self._segments.find(cut, computes=not is_check)
        if found is not None:
            return found
        compilation = self._queued.get(cut.id) or self._enqueue(cut, is_check=is_check)
        compilation.is_check = compilation.is_check and is_check
        compilation.requests += 1
        try:
            await asyncio.shield(compilation.done)
            # The compilation's own lease keeps the tail until every request has one.
            return self._segments.get(cut, computes=not is_check)
        finally:
            compilation.requests -= 1
            _release_unless_wanted(compilation)

    def close(self) -> None:
        """Wait for the compilation in progress; the others are cancelled."""
        self._thread.shutdown(cancel_futures=True)

    def _enqueue(self, cut: Cut, *, is_check: bool) -> _Compilation:
        waiting = list(self._queued.values())[1:]
        checks = sum(one.is_check for one in waiting)
        if len(waiting) >= _MAX_WAITING or (is_check and checks >= _MAX_WAITING_CHECKS):
            raise Overloaded(
                f"{len(self._queued)} other cuts are being compiled; retry later, or serve fewer with --cuts.",
                Refusal.COMPILATION,
            )
        loop = asyncio.get_running_loop()
        compilation = _Compilation(loop.create_future(), is_check)
        self._queued[cut.id] = compilation
        loop.run_in_executor(self._thread, self._compile, cut, is_check).add_done_callback(
            lambda compiled: self._finish(cut, compiled)
        )
        return compilation

    def _compile(self, cut: Cut, is_check: bool) -> Lease:
        lease = self._segments.get(cut, computes=not is_check)
        try:
            self._warm_up(cut)
        except BaseException:
            lease.release()
            raise
        return lease

    def _finish(self, cut: Cut, compiled: "asyncio.Future[Lease]") -> None:
        """Hand the lease to the requests that wait; without any, it ends."""
        compilation = self._queued.pop(cut.id)
        if compiled.cancelled():
            compilation.done.cancel()
        elif error := compiled.exception():
            compilation.done.set_exception(error)
            compilation.done.exception()  # retrieved, also if no request waits any more
        else:
            compilation.done.set_result(compiled.result())
            _release_unless_wanted(compilation)


def _release_unless_wanted(compilation: _Compilation) -> None:
    """Release the lease of a compilation if no request waits for it any more."""
    done = compilation.done
    if not compilation.requests and done.done() and not done.cancelled() and done.exception() is None:
        done.result().release()
