"""The choice of a split and a size for each batch: the `Router` interface, the fixed router, and `plan_batches`."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.protocol.codecs import wire_tensors
from hybrid_batch.inference.runner.batch import Batch
from hybrid_batch.inference.runner.split import CutSplit, Split, UploadSplit

FILES_BYTES = 32 << 20
BOUNDARY_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class Route:
    """The split of the next batch, and its largest size in images."""

    split: Split
    batch_size: int


class Router(Protocol):
    """Chooses the split of each batch. All methods may be called from several threads at once."""

    @property
    def fixed_split(self) -> Split | None:
        """The split of every batch of the run; None when it may change or a batch may fall back to this machine."""

    @property
    def reason(self) -> str | None:
        """Why the split was chosen, as one sentence; None where the user chose it."""

    def route(self) -> Route:
        """The route of the next batch, called when the runner forms it."""
        ...

    def admit(self, batch: Batch) -> Split:
        """The final split of a batch, called before its head runs: its own, or `LocalSplit` to keep it on this
        machine."""
        ...

    def on_send(self, batch: Batch, frame_bytes: int) -> None:
        """Called when the batch's frame of `frame_bytes` (tensor data only) is about to be sent."""
        ...

    def on_response(self, batch: Batch) -> None:
        """Called when the batch has its results, whether from the tail or from this machine, and its times."""
        ...

    def on_failure(self, batch: Batch, error: Exception) -> None:
        """Called when the tail gave no response. Returns to have the batch finished on this machine; raises `error`
        to end the run."""
        ...

    def session(self, images: int, compile_split: Callable[[Split], None]) -> AbstractContextManager[object]:
        """The context in which a run of `images` images takes place. `compile_split` compiles the local part of a
        split; it raises Draining once the run has ended."""
        ...


@dataclass(frozen=True, slots=True)
class FixedRouter:
    """Gives every batch the same split; a failure of the tail ends the run. `reason` is why the split was chosen, None
    where the user chose it."""

    split: Split
    batch_size: int
    reason: str | None = None

    @property
    def fixed_split(self) -> Split:
        """See Router."""
        return self.split

    def route(self) -> Route:
        """See Router."""
        return Route(self.split, self.batch_size)

    def admit(self, batch: Batch) -> Split:
        """See Router."""
        return batch.split

    def on_send(self, batch: Batch, frame_bytes: int) -> None:
        """See Router."""

    def on_response(self, batch: Batch) -> None:
        """See Router."""

    def on_failure(self, batch: Batch, error: Exception) -> None:
        """See Router."""
        raise error

    def session(self, images: int, compile_split: Callable[[Split], None]) -> AbstractContextManager[None]:
        """See Router."""
        return nullcontext()


def plan_batches(
    images: pa.Table, shards: Sequence[tuple[int, range]], router: Router, bundle: Bundle
) -> Iterator[Batch]:
    """The batches of these shards, in order. None crosses the end of a shard.

    The router gives the split and the largest size of a batch when it is formed. Unless it has one image only, a batch
    has at most FILES_BYTES of files, BOUNDARY_BYTES of tensors to send, and files for SERVED_BYTES of tensors."""
    for shard, rows in shards:
        part = images.slice(rows.start, len(rows))
        sizes = part["size"].to_pylist()
        start = number = 0
        while start < len(sizes):
            route = router.route()
            stop = _batch_end(sizes, start, min(route.batch_size, _largest_batch(route.split, bundle)))
            group = part.slice(start, stop - start)
            yield Batch(
                shard,
                group["image"].to_pylist(),
                group["label"].to_pylist(),
                sizes[start:stop],
                ends_shard=stop == len(rows),
                number=number,
                split=route.split,
            )
            start, number = stop, number + 1


def _batch_end(sizes: Sequence[int], start: int, batch_size: int) -> int:
    """The index after the last image of the batch that begins at `start`."""
    file_bytes = sizes[start]
    for position in range(start + 1, min(start + batch_size, len(sizes))):
        file_bytes += sizes[position]
        if file_bytes > FILES_BYTES:
            return position
    return min(start + batch_size, len(sizes))


def _largest_batch(split: Split, bundle: Bundle) -> int:
    """The number of images whose tensors at the split have BOUNDARY_BYTES, or that a server decodes from files."""
    match split:
        case UploadSplit() if split.sends_files:
            return max(1, wire_tensors.SERVED_BYTES // wire_tensors.decoded_bytes(bundle.input_cut.boundary, 1))
        case UploadSplit():
            boundary = bundle.input_cut.boundary
        case CutSplit(cut):
            boundary = cut.boundary
        case _:
            return sys.maxsize
    return max(1, BOUNDARY_BYTES // wire_tensors.decoded_bytes(boundary, 1))
