"""`hybrid-batch runs`: the runs of a log."""

from typing import TYPE_CHECKING

import click

from hybrid_batch.data.terminal.messages import print_json, print_note, print_warning

if TYPE_CHECKING:
    from hybrid_batch.data.log.run_list import RunEntry

_UNKNOWN = "-"


@click.command("runs", short_help="List the runs of a log.")
@click.argument("log", default="hybrid-batch-log")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of the runs, with all fields.")
def command(*, log: str, as_json: bool) -> None:
    """List the runs of LOG (a folder or s3://…, by default hybrid-batch-log), the newest first.

    Accuracy is that of a complete run. An incomplete run shows how many of its images are classified; the command that
    started it continues it.

    \b
    Example:
      hybrid-batch runs
      hybrid-batch runs s3://bucket/log --json
    """
    from hybrid_batch.data.errors import NotARun
    from hybrid_batch.data.log.own_runs import describe_writers, is_own
    from hybrid_batch.data.log.run_list import list_run
    from hybrid_batch.data.log.runs import open_log
    from hybrid_batch.inference.model.cache import cache_folder

    entries = []
    cache = cache_folder("own")
    for run in open_log(log):
        try:
            entries.append(list_run(run, own=is_own(cache, run)))
        except NotARun as error:
            print_warning(f"{str(error).removesuffix('.')}; the run is not listed.")
    entries.sort(key=lambda entry: (entry.created_at or "", entry.run), reverse=True)
    if foreign := describe_writers([entry.uri for entry in entries if not entry.own]):
        print_note(foreign)
    if as_json:
        print_json([entry.to_dict() for entry in entries])
    else:
        _print_table(entries)


def _print_table(entries: "list[RunEntry]") -> None:
    from rich.table import Table

    from hybrid_batch.data.terminal.console import open_console

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("run", "model", "cut", "codec", "tail"):
        table.add_column(name, overflow="fold")
    for name in ("images", "accuracy"):
        table.add_column(name, justify="right")
    for name in ("started (UTC)", "complete"):
        table.add_column(name, no_wrap=True)
    for entry in entries:
        whole = entry.images == entry.images_total
        table.add_row(
            entry.run,
            f"{entry.model or _UNKNOWN}{' (random weights)' if entry.weights == 'random' else ''}",
            entry.cut or _UNKNOWN,
            entry.codec or _UNKNOWN,
            entry.tail or _UNKNOWN,
            f"{entry.images:,}" if whole else f"{entry.images:,} of {entry.images_total:,}",
            _UNKNOWN if entry.accuracy is None else f"{entry.accuracy:.4f}",
            (entry.created_at or _UNKNOWN).replace("T", " ").removesuffix("+00:00"),
            "yes" if entry.is_complete else "no",
        )
    open_console().print(table)
