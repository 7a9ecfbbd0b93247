"""`run --dry-run`: what the command would do, without its tail; nothing is written or sent."""

from typing import Any

import pyarrow.compute as pc
from rich.filesize import decimal
from rich.table import Table

from hybrid_batch.data.log.runs import shards
from hybrid_batch.data.terminal.console import open_console
from hybrid_batch.data.terminal.numbers import format_count
from hybrid_batch.inference.commands.run.overwrite import find_existing
from hybrid_batch.inference.commands.run.prepared_run import PreparedRun
from hybrid_batch.inference.runner.split import AUTO
from hybrid_batch.inference.tails import LOCAL, redacted_address

_MEASURED = "auto: chosen when the tail is measured, and adapted to the link"
_CALIBRATED = "auto: calibrated on the images when the run starts"


def describe_run(run: PreparedRun) -> dict[str, Any]:
    """What the run would do, as JSON values; `cut` and `codec` are None while they are not chosen.

    Raises SettingsMismatch as the run would, WrongUsage for --overwrite on a folder with other objects, StorageFailed.
    """
    options, table = run.options, run.images.table
    is_local = options.split == LOCAL
    facts: dict[str, Any] = {
        "images": table.num_rows,
        "image_bytes": pc.sum(table["size"]).as_py() or 0,
        "labelled": table.num_rows - table["label"].null_count,
        "from": run.images.root.uri,
        "skipped": run.images.skipped.to_dict(),
        "model": run.bundle.name,
        "bundle": run.bundle.sha256,
        "cut": None if options.is_adaptive else run.split.name,
        "codec": None if options.codec == AUTO and not is_local else run.codec,
        "reason": run.reason,
        "tail": LOCAL if is_local else redacted_address(options.tail),
    }
    if run.needs_calibration and not options.run_id:
        return facts | {"run": None, "log": options.log}
    folder, existing = run.folder, None if options.overwrite else run.existing()
    sizes = dict(shards(table.num_rows, existing.shard_size if existing else options.shard_size))
    present = sizes.keys() & folder.parts().keys()
    deleted = find_existing(folder) if options.overwrite else ()
    left = sizes.keys() if deleted else sizes.keys() - present
    return facts | {
        "run": folder.uri,
        "shards": len(sizes),
        "shards_present": len(present),
        "objects_deleted": len(deleted),
        "images_left": sum(len(sizes[shard]) for shard in left),
    }


def print_description(run: PreparedRun, facts: dict[str, Any]) -> None:
    """Print the description of a run as a table on stdout."""
    cut = facts["cut"]
    if cut in {one.id for one in run.bundle.cuts}:
        found = run.bundle.cut(cut)
        cut = f"{cut} {found.name}, {found.head_share:.1%} of the work in the head"
    log = facts["run"] or f"{facts['log']}, a run whose id depends on the calibrated codec"
    rows = [
        ("images", f"{facts['images']:,}, {decimal(facts['image_bytes'])}, {facts['labelled']:,} with a label"),
        ("from", facts["from"]),
        ("skipped", str(run.images.skipped)),
        ("model", f"{facts['model']} {facts['bundle'][:12]}"),
        ("cut", cut or _MEASURED),
        ("codec", facts["codec"] or _CALIBRATED),
        ("why", facts["reason"] or ""),
        ("tail", "this process" if facts["tail"] == LOCAL else f"{facts['tail']} (not contacted)"),
        ("log", log),
        ("shards", f"{facts['shards']:,}, {facts['shards_present']:,} of them present" if facts["run"] else ""),
        (
            "would delete",
            f"{format_count(facts['objects_deleted'], 'object')} of this run" if facts.get("objects_deleted") else "",
        ),
        ("would run", f"{facts['images_left']:,} of {format_count(facts['images'], 'image')}" if facts["run"] else ""),
    ]
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        if value:
            table.add_row(name, value)
    open_console().print(table)
