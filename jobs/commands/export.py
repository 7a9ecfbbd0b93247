"""`hybrid-batch export`: the records of a run as CSV, JSON lines, one Parquet file, or COCO's JSON."""

from pathlib import Path

import click

from hybrid_batch.data.terminal.escaped_output import open_stdout
from hybrid_batch.data.terminal.local_path import LocalPath
from hybrid_batch.data.terminal.messages import print_line, print_note
from hybrid_batch.data.terminal.numbers import format_count

_FORMATS = ("csv", "jsonl", "parquet", "coco")


@click.command("export", short_help="Write the records of a run as CSV, JSON or Parquet.")
@click.argument("run")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(_FORMATS),
    help="Format.  [default: by the suffix of --output, else csv]",
)
@click.option("-o", "--output", type=LocalPath(dir_okay=False), help="File, replaced when complete.  [default: stdout]")
def command(*, run: str, format_name: str | None, output: Path | None) -> None:
    """Write the records of RUN, the folder of a run (LOG/run=ID) or a LOG that holds a single run; local or s3://.

    csv and jsonl have one row or line for each record, with the columns of the log. parquet is one file. coco is COCO's
    JSON: images with width and height, categories, and one annotation with category_id and score for each prediction.

    \b
    Example:
      hybrid-batch export hybrid-batch-log/run=ab87e0277db9 --format csv | head
      hybrid-batch export s3://bucket/log/run=ab87e0277db9 --output predictions.parquet
    """
    from hybrid_batch.data.errors import WrongUsage
    from hybrid_batch.data.log.runs import open_runs
    from hybrid_batch.jobs.input.foreign_runs import describe_foreign_runs
    from hybrid_batch.jobs.output.export import BINARY_FORMATS, FORMATS

    name = format_name or _format_of(output)
    if output is None and name in BINARY_FORMATS:
        raise WrongUsage(f"The format {name} is not text; give --output FILE.")
    (folder,) = open_runs(run)
    for sentence in describe_foreign_runs([folder.uri]):
        print_note(sentence)
    if folder.totals() is None:
        shards = format_count(len(folder.parts()), "finished shard")
        print_note(f"{folder.uri} is unfinished; only the records of its {shards} are exported.")
    if output is None:
        FORMATS[name](folder, open_stdout())
        return
    from hybrid_batch.jobs.output.replaced_file import replaced_file

    with replaced_file(output) as file:
        FORMATS[name](folder, file)
    print_line(str(output))


def _format_of(output: Path | None) -> str:
    suffix = "" if output is None else output.suffix.lower().removeprefix(".")
    return {"json": "coco"}.get(suffix, suffix if suffix in _FORMATS else _FORMATS[0])
