"""The compiled tails of one bundle, within a limit of bytes: the least used are evicted, those in use never.

An entry is worth the number of its uses, each halved with every _HALF_LIFE_S of age, as in LRFU (Lee et al., IEEE
Transactions on Computers 50, 2001). With the plain order of last use, one client that goes through all cuts would evict
the cut that all others use.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from hybrid_batch.data.freed_memory import return_freed_memory
from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.model.runtimes import MeasuredSegment, ReleasableSegment, Segment
from hybrid_batch.inference.serving.monitoring.metric_layout import Refusal
from hybrid_batch.inference.serving.replies import Overloaded

DEFAULT_COMPILED_BYTES = 640 << 20
_HALF_LIFE_S = 30.0
_ROOM_S, _POLL_S = 1.0, 0.05
_CHECK_WEIGHT = 0.01  # of a use that computes nothing: readiness checks alone evict no cut that is used


@dataclass(frozen=True, slots=True)
class CacheState:
    """Numbers of compiled cuts, their estimated bytes, compilations and evictions since the start."""

    cuts: int = 0
    held_bytes: int = 0
    compilations: int = 0
    evictions: int = 0


@dataclass(slots=True, eq=False)
class _Entry:
    segment: Segment
    held_bytes: int
    release_memory: Callable[[], None] | None
    working_bytes: int = 0
    leases: int = 0
    uses: float = 0.0
    used_at: float = 0.0

    def worth(self, now: float) -> float:
        return float(self.uses * 2 ** ((self.used_at - now) / _HALF_LIFE_S))

    def use(self, weight: float) -> None:
        now = time.monotonic()
        self.uses, self.used_at = self.worth(now) + weight, now


class Lease:
    """A compiled tail that is not evicted before `release`, which the end of the block calls."""

    def __init__(self, cache: "SegmentCache", entry: _Entry) -> None:
        self.segment = entry.segment
        self._cache = cache
        self._entry: _Entry | None = entry

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def reserve_working(self, size: int) -> None:
        """Count the memory of a call of the runtime; idle tails give back theirs, or are evicted, to make room."""
        if self._entry is not None:
            self._cache.reserve_working(self._entry, size)

    def release(self) -> None:
        """Allow the eviction. A second call has no effect."""
        entry, self._entry = self._entry, None
        if entry is not None:
            self._cache.release(entry)


class SegmentCache:
    """Compiled tails, by cut. Thread-safe. `compile_cut` is called by one thread at a time; `largest_bytes` bounds the
    size of a tail that was never compiled. A tail that is alone may exceed `limit_bytes`; None is no limit. `observe`
    is called after every change."""

    def __init__(
        self,
        compile_cut: Callable[[Cut], Segment],
        largest_bytes: int,
        limit_bytes: int | None = None,
        observe: Callable[[CacheState], None] = lambda _: None,
    ) -> None:
        self.limit_bytes = limit_bytes
        self.observe = observe
        self._compile_cut, self._largest_bytes = compile_cut, largest_bytes
        self._entries: dict[str, _Entry] = {}
        self._sizes: dict[str, int] = {}
        self._compilations = self._evictions = 0
        self._changing, self._compiling = threading.Condition(), threading.Lock()

    @property
    def state(self) -> CacheState:
        """The present numbers."""
        return CacheState(len(self._entries), self._held(), self._compilations, self._evictions)

    def find(self, cut: Cut, *, computes: bool = True) -> Lease | None:
        """A lease of a compiled tail, None if it is not compiled. `computes` is false for a mere check."""
        with self._changing:
            entry = self._entries.get(cut.id)
            if entry is None:
                return None
            entry.leases += 1
            entry.use(1.0 if computes else _CHECK_WEIGHT)
            return Lease(self, entry)

    def get(self, cut: Cut, *, computes: bool = True) -> Lease:
        """A lease of a tail, which is compiled if it is not yet. Raises Overloaded if the tails in use leave no room,
        and what the compilation raises."""
        found = self.find(cut, computes=computes)
        if found is not None:
            return found
        with self._compiling:
            if (found := self.find(cut, computes=computes)) is not None:
                return found
            self._wait_for_room(self._sizes.get(cut.id, self._largest_bytes))
            segment = self._compile_cut(cut)
            release_memory = segment.release_memory if isinstance(segment, ReleasableSegment) else None
            size = segment.held_bytes if isinstance(segment, MeasuredSegment) else self._largest_bytes
            with self._changing:
                self._sizes[cut.id] = size
                self._entries[cut.id] = entry = _Entry(segment, size, release_memory, leases=1)
                entry.use(1.0 if computes else _CHECK_WEIGHT)
                self._compilations += 1
            self._make_room(0)
            return Lease(self, entry)

    def reserve_working(self, entry: _Entry, size: int) -> None:
        """See Lease."""
        more = size - entry.working_bytes
        if more <= 0:
            return
        with self._changing:
            entry.working_bytes = size
        self._make_room(0)

    def release(self, entry: _Entry) -> None:
        """See Lease."""
        with self._changing:
            entry.leases -= 1
            if entry.release_memory is None:
                entry.working_bytes = 0  # the runtime frees it after the call
            self._changing.notify_all()

    def _wait_for_room(self, needed: int) -> None:
        """Make room for a new tail. Raises Overloaded if those in use leave none for _ROOM_S."""
        deadline = time.monotonic() + _ROOM_S
        while not self._make_room(needed):
            with self._changing:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise Overloaded(
                        f"The compiled cuts in use hold {self._held() >> 20} MiB and another needs {needed >> 20} MiB, "
                        f"more than the limit of {(self.limit_bytes or 0) >> 20}; retry later, or serve with a greater "
                        "--max-compiled-mb.",
                        Refusal.COMPILATION,
                    )
                self._changing.wait(min(left_s, _POLL_S))

    def _make_room(self, needed: int) -> bool:
        """Free memory until `needed` more bytes are within the limit: first the working memory of idle tails, then the
        tails. Returns whether there is room now; a tail that is alone has room."""
        if self.limit_bytes is not None and self._free(needed, self.limit_bytes):
            return_freed_memory()
        self.observe(self.state)
        return self.limit_bytes is None or not self._entries or self._held() + needed <= self.limit_bytes

    def _free(self, needed: int, limit: int) -> bool:
        """Free what `_make_room` says. Returns whether a tail was evicted; none is referred to any more then."""
        released: list[Callable[[], None]] = []
        evicted: list[_Entry] = []
        with self._changing:
            now = time.monotonic()
            idle = sorted((e for e in self._entries.items() if not e[1].leases), key=lambda e: e[1].worth(now))
            for _, entry in idle:
                if entry.working_bytes and self._held() + needed > limit:
                    entry.working_bytes = 0
                    if entry.release_memory is not None:
                        released.append(entry.release_memory)
            for cut_id, _ in idle:
                if self._held() + needed > limit:
                    evicted.append(self._entries.pop(cut_id))
            self._evictions += len(evicted)
        for release_memory in released:  # without the lock: it takes up to 0.1 s
            release_memory()
        return bool(evicted)

    def _held(self) -> int:
        return sum(entry.held_bytes + entry.working_bytes for entry in list(self._entries.values()))
