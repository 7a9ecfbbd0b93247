"""Terminal output of a run: the progress bar, and the summary at its end."""

import shlex
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from hybrid_batch.data.log.records import LOCAL_CUT, STAGES
from hybrid_batch.data.log.runs import shards
from hybrid_batch.data.terminal.console import open_console
from hybrid_batch.data.terminal.numbers import format_number, format_percent
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.runner.batch import Batch
from hybrid_batch.inference.runner.runner import RunSpec
from hybrid_batch.inference.runner.split import AUTO, CutSplit, LocalSplit, UploadSplit
from hybrid_batch.inference.runner.totals import Totals


class RunProgress:
    """A progress bar on stderr, shown on a terminal only: images/s, bytes sent, errors, time left."""

    def __init__(self, spec: RunSpec) -> None:
        rows = spec.images.table.num_rows
        present = spec.folder.parts()
        done = sum(len(part) for shard, part in shards(rows, spec.shard_size) if shard in present)
        self._errors = 0
        self._sent_bytes = 0
        self._resumed_at = done
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("[bold]{task.fields[cut]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]} images/s · {task.fields[sent]} sent · {task.fields[errors]} errors"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        split = spec.router.fixed_split
        cut = split.name if split else AUTO
        self._task = self._bar.add_task("run", total=rows, completed=done, cut=cut, rate="0", sent="0", errors=0)

    def update(self, batch: Batch) -> None:
        """Count a batch whose predictions are available."""
        self._errors += len(batch.errors)
        self._sent_bytes += batch.sent_bytes
        task = self._bar.tasks[self._task]
        rate = (task.completed - self._resumed_at) / task.elapsed if task.elapsed else 0
        self._bar.update(
            self._task,
            cut=batch.split.name,
            advance=len(batch.images),
            rate=f"{rate:,.0f}",
            sent=decimal(self._sent_bytes),
            errors=self._errors,
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


def print_summary(spec: RunSpec, totals: Totals) -> None:
    """Print the images, accuracy, splits, bytes and times of a run, and the next command, on stdout."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    errors = f", {totals.errors} with an error" if totals.errors else ""
    table.add_row("images", f"{totals.images:,}{errors}")
    if totals.accuracy is not None:
        table.add_row("accuracy", f"{totals.accuracy:.4f} ({totals.correct:,} of {totals.labelled:,} labelled)")
    table.add_row("cut", _splits(spec, totals))
    if totals.sent_bytes or isinstance(spec.router.fixed_split, UploadSplit | CutSplit):
        share = totals.sent_bytes / totals.image_bytes if totals.image_bytes else 0
        of_files = f"{format_number(share)} x the files' {decimal(totals.image_bytes)}"
        table.add_row("sent", f"{decimal(totals.sent_bytes)}, {of_files}; {decimal(totals.received_bytes)} received")
    table.add_row("ms an image", _stages(totals))
    table.add_row("log", spec.folder.uri)
    table.add_row("evaluate", f"hybrid-batch evaluate {shlex.quote(spec.folder.uri)}")
    open_console().print(table)


def _splits(spec: RunSpec, totals: Totals) -> str:
    """The split of all images, or the share of the images with each split."""
    split = spec.router.fixed_split
    if split is None or len(totals.cuts) > 1 or (isinstance(split, LocalSplit) and not _all_local(totals)):
        shares = ((label, count / totals.images) for label, count in sorted(totals.cuts.items()))
        return " · ".join(_share(spec, label, share) for label, share in shares)
    match split:
        case LocalSplit():
            return "local: the whole model ran on this machine"
        case UploadSplit():
            cut = spec.bundle.input_cut
        case CutSplit(cut):
            pass
    return f"{cut.id} {cut.name}, {cut.head_share:.1%} of the work local, {split.codec} to {spec.tail_name}"


def _all_local(totals: Totals) -> bool:
    return all(label.startswith(f"{LOCAL_CUT} ") for label in totals.cuts)


def _share(spec: RunSpec, label: str, share: float) -> str:
    """The share of the images whose record has the cut and codec of `label`."""
    cut, _, codec = label.partition(" ")
    if cut == LOCAL_CUT:
        return f"{format_percent(share)} local"
    if codec in codecs.IMAGE_CODECS:
        return f"{format_percent(share)} upload" + ("" if codec == codecs.IMAGE else f" {codec}")
    return f"{format_percent(share)} {cut} {spec.bundle.cut(cut).name} in {codec}"


def _stages(totals: Totals) -> str:
    count = max(1, totals.images - totals.errors)
    return " · ".join(f"{stage} {totals.stages_us[stage] / count / 1000:.2f}" for stage in STAGES)
