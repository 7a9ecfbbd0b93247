"""The closing table of a run."""

import shlex

from rich.filesize import decimal
from rich.table import Table

from hybrid_batch.data.log.records import LOCAL_CUT, STAGES
from hybrid_batch.data.terminal.console import open_console
from hybrid_batch.data.terminal.numbers import figure, percent
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.runner.runner import Job
from hybrid_batch.inference.runner.totals import Totals


def print_closing(job: Job, totals: Totals) -> None:
    """What was classified, how well, what it cost, and where to go from here; on stdout."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    unread = f", {totals.errors} with an error" if totals.errors else ""
    table.add_row("images", f"{totals.images:,}{unread}")
    if totals.accuracy is not None:
        table.add_row("accuracy", f"{totals.accuracy:.4f} ({totals.correct:,} of {totals.labelled:,} labelled)")
    table.add_row("cut", _cut(job, totals))
    if totals.sent_bytes or job.split.cut is not None:
        share = totals.sent_bytes / totals.image_bytes if totals.image_bytes else 0
        uploading = f"{figure(share)} x the files' {decimal(totals.image_bytes)}"
        table.add_row("sent", f"{decimal(totals.sent_bytes)}, {uploading}; {decimal(totals.received_bytes)} received")
    table.add_row("ms an image", _stages(totals))
    table.add_row("log", job.folder.uri)
    table.add_row("evaluate", f"hybrid-batch evaluate {shlex.quote(job.folder.uri)}")
    console = open_console()
    console.print(table)


def _cut(job: Job, totals: Totals) -> str:
    cut = job.split.cut
    elsewhere = cut is None and any(not way.startswith(f"{LOCAL_CUT} ") for way in totals.cuts)
    if job.follow is not None or elsewhere or len(totals.cuts) > 1:
        return " · ".join(_way(job, way, count / totals.images) for way, count in sorted(totals.cuts.items()))
    if cut is None:
        return "local: everything ran here"
    return f"{cut.id} {cut.name}, {cut.head_share:.1%} of the work here, {job.split.codec} to {job.tail_name}"


def _way(job: Job, way: str, share: float) -> str:
    """One of several ways the images went."""
    cut, _, codec = way.partition(" ")
    if cut == LOCAL_CUT:
        return f"{percent(share)} whole here"
    if codec in codecs.PICTURE_CODECS:
        return f"{percent(share)} upload" + ("" if codec == codecs.IMAGE else f" {codec}")
    return f"{percent(share)} {cut} {job.bundle.cut(cut).name} in {codec}"


def _stages(totals: Totals) -> str:
    count = max(1, totals.images - totals.errors)
    return " · ".join(f"{stage} {totals.stages_us[stage] / count / 1000:.2f}" for stage in STAGES)
