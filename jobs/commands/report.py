"""`hybrid-batch report`: what the log of a run says, as a page to look at."""

from pathlib import Path

import click

from hybrid_batch.data.terminal.local_path import LocalPath


@click.command("report", short_help="Write the evaluation of runs as one HTML file.")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option(
    "--output",
    type=LocalPath(dir_okay=False),
    default="hybrid-batch-report.html",
    show_default=True,
    help="Where to write the page.",
)
@click.option("--open", "show", is_flag=True, help="Open the page in the browser.")
@click.option("--by", multiple=True, metavar="COLUMN", help="Slice by this column too; may be given more than once.")
@click.option("--all-runs", is_flag=True, help="Of a LOG of several runs report on all, as one.")
@click.option("--skip-bad", is_flag=True, help="Leave out parts that cannot be counted, and name them.")
@click.option("--images", metavar="DIR|s3://…", help="Where the images are now.  [default: where the run found them]")
def command(
    *,
    runs: tuple[str, ...],
    output: Path,
    show: bool,
    by: tuple[str, ...],
    all_runs: bool,
    skip_bad: bool,
    images: str | None,
) -> None:
    """Write the evaluation of one or more RUNs as one HTML file.

    The file needs nothing else, neither network nor script: it can be mailed, archived and opened anywhere. It carries
    small copies of the images that were most confidently misjudged, where these are still to be found.

    \b
    Example:
      hybrid-batch report hybrid-batch-log --open
    """
    from hybrid_batch.data.errors import StorageFailed
    from hybrid_batch.evaluation.counting.columns import check_sliceable
    from hybrid_batch.evaluation.output.html import write_html
    from hybrid_batch.jobs.evaluate_inline import evaluate
    from hybrid_batch.jobs.input.part_list import find_work
    from hybrid_batch.jobs.output.thumbnails import thumbnails

    check_sliceable(by)
    work = find_work(runs, all_runs)
    for note in work.notes:
        click.echo(f"Note: {note}", err=True)
    found = dict.fromkeys(part.run for part in work.parts)
    page = write_html(evaluate(work.parts, by, skip_bad), thumbnails(found, images))
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(page, encoding="utf-8")
    except OSError as error:
        raise StorageFailed(f"Cannot write the report to {output}: {error.strerror}; choose another file.") from error
    click.echo(str(output))
    if show and click.launch(str(output.resolve()), wait=True) != 0:
        click.echo(f"Note: no browser opens here; open {output} yourself.", err=True)
