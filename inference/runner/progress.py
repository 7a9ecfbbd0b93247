"""The progress bar of a run: images/s, bytes sent, errors, time left. On stderr, and only for people."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from hybrid_batch.data.log.runs import shards
from hybrid_batch.inference.runner.batch import Batch
from hybrid_batch.inference.runner.runner import Job


class Progress:
    """A context manager that shows what `watch` is told."""

    def __init__(self, job: Job) -> None:
        rows = job.images.table.num_rows
        present = job.folder.parts()
        done = sum(len(part) for shard, part in shards(rows, job.shard_size) if shard in present)
        self._errors = 0
        self._sent = 0
        self._start = done
        console = Console(stderr=True)
        self._bar = Bar(
            TextColumn("[bold]{task.fields[cut]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]} images/s · {task.fields[sent]} sent · {task.fields[errors]} errors"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(
            "run", total=rows, completed=done, cut=job.split.name, rate="0", sent="0", errors=0
        )

    def watch(self, batch: Batch) -> None:
        """Count in a batch whose results are in hand."""
        self._errors += len(batch.errors)
        self._sent += batch.sent_bytes
        task = self._bar.tasks[self._task]
        rate = (task.completed - self._start) / task.elapsed if task.elapsed else 0
        self._bar.update(
            self._task,
            cut=batch.split.name,
            advance=len(batch.images),
            rate=f"{rate:,.0f}",
            sent=decimal(self._sent),
            errors=self._errors,
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
