"""The progress of a run on stderr: a bar on a terminal, and a line for each batch with -v."""

from types import TracebackType
from typing import Self

from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hybrid_batch.data.log.runs import shards
from hybrid_batch.data.terminal.console import WideConsole
from hybrid_batch.data.terminal.messages import is_quiet, print_detail
from hybrid_batch.data.terminal.numbers import format_count
from hybrid_batch.inference.runner.batch import Batch
from hybrid_batch.inference.runner.runner import RunSpec
from hybrid_batch.inference.runner.split import AUTO, LOCAL


class RunProgress:
    """A progress bar, shown on a terminal only and not with -q: images/s, bytes at the cut, errors, time left."""

    def __init__(self, spec: RunSpec) -> None:
        rows = spec.images.table.num_rows
        present = spec.folder.parts()
        done = sum(len(part) for shard, part in shards(rows, spec.shard_size) if shard in present)
        self._tail_name = spec.tail_name
        self._errors = 0
        self._cut_bytes = 0
        self._classified = 0
        self._period_ns: tuple[int, int] | None = None
        console = WideConsole(stderr=True)
        self._bar = Progress(
            TextColumn("[bold]{task.fields[cut]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]} images/s{task.fields[bytes]} · {task.fields[errors]}"),
            TimeRemainingColumn(),
            console=console,
            disable=is_quiet() or not console.is_terminal,
        )
        split = spec.router.fixed_split
        cut = split.name if split else AUTO
        self._task = self._bar.add_task(
            "run", total=rows, completed=done, cut=cut, rate="0", bytes="", errors=format_count(0, "error")
        )
        print_detail(
            f"{format_count(rows, 'image')}, {done:,} of them in the log already, from {spec.images.root.uri}."
        )
        print_detail(f"Head on this machine, tail {self._tail_name}, log {spec.folder.uri}.")

    def update(self, batch: Batch) -> None:
        """Count a batch whose predictions are available."""
        self._errors += len(batch.errors)
        self._cut_bytes += batch.cut_bytes
        self._classified += len(batch.images) - len(batch.errors)
        started_ns, done_ns = self._period_ns or (min(batch.started_ns), 0)
        self._period_ns = started_ns, max(done_ns, batch.done_ns)
        seconds = (self._period_ns[1] - started_ns) / 1e9
        rate = self._classified / seconds if seconds > 0 else 0
        self._bar.update(
            self._task,
            cut=batch.split.name,
            advance=len(batch.images),
            rate=f"{rate:,.0f}",
            bytes=f" · {decimal(self._cut_bytes)} at the cut" if self._cut_bytes else "",
            errors=format_count(self._errors, "error"),
        )
        tail = LOCAL if batch.ran_locally else self._tail_name
        images = format_count(len(batch.images), "image")
        print_detail(
            f"shard {batch.shard}, batch {batch.number}: {images}, cut {batch.split.name}, "
            f"codec {batch.split.codec}, tail {tail}; {decimal(batch.cut_bytes)} at the cut, "
            f"{decimal(batch.sent_bytes)} sent, {decimal(batch.received_bytes)} received; "
            + format_count(len(batch.errors), "error")
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
