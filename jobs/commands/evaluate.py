"""`hybrid-batch evaluate`: what the log of a run says."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from hybrid_batch.evaluation.report_schema import Report

ENGINES = {
    "inline": "hybrid_batch.jobs.evaluate_inline",
    "mrjob": "hybrid_batch.jobs.evaluate_mrjob",
    "spark": "hybrid_batch.jobs.evaluate_spark",
}
RUNNERS = ("inline", "local", "spark")


@click.command("evaluate", short_help="Compute metrics and times from the logs of runs.")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option(
    "--engine",
    type=click.Choice(list(ENGINES)),
    default="inline",
    show_default=True,
    help="Threads of this process, an mrjob job, or Spark on this machine; the report is the same to the byte.",
)
@click.option(
    "--runner",
    type=click.Choice(RUNNERS),
    help="mrjob's runner, for --engine mrjob: this process, processes, or Spark.  [default: inline]",
)
@click.option("--by", multiple=True, metavar="COLUMN", help="Slice by this column too; may be given more than once.")
@click.option("--all-runs", is_flag=True, help="Of a LOG of several runs evaluate all, as one.")
@click.option("--skip-bad", is_flag=True, help="Leave out parts that cannot be counted, and name them.")
@click.option("--json", "as_json", is_flag=True, help="The report as canonical JSON on stdout.")
@click.option(
    "--output",
    metavar="DIR|s3://…",
    help="Where report.json, report.html and the CSV files go.  [default: _report in the run, when it is one]",
)
@click.option("--no-files", is_flag=True, help="Write no files.")
def command(
    *,
    runs: tuple[str, ...],
    engine: str,
    runner: str | None,
    by: tuple[str, ...],
    all_runs: bool,
    skip_bad: bool,
    as_json: bool,
    output: str | None,
    no_files: bool,
) -> None:
    """Compute accuracy, calibration, confusion and latency from the log of one or more RUNs.

    RUN is the folder of a run (LOG/run=ID), or a LOG that holds a single run; local or s3://. Several runs are
    evaluated as one. Of an unfinished run what is there is evaluated, and stderr says how much is missing.

    All is sliced by cut, codec, tail, label, prediction and folder, and by the columns of the log named with --by.

    \b
    Example:
      hybrid-batch evaluate hybrid-batch-log
      hybrid-batch evaluate s3://my-bucket/logs/run=3f9c2a --engine spark --by batch --json
    """
    from importlib import import_module

    from hybrid_batch.data.errors import WrongUsage
    from hybrid_batch.evaluation.counting.columns import check_sliceable
    from hybrid_batch.evaluation.output.terminal_report import print_report
    from hybrid_batch.evaluation.report import to_json
    from hybrid_batch.jobs.input.part_list import find_work

    if runner and engine != "mrjob":
        raise WrongUsage(f"--runner {runner} is one of mrjob's; add --engine mrjob.")
    if no_files and output:
        raise WrongUsage(f"--no-files writes nothing and --output {output} says where to; leave out one of them.")
    check_sliceable(by)
    evaluate = import_module(ENGINES[engine]).evaluate  # late: mrjob is an extra
    work = find_work(runs, all_runs)
    for note in work.notes:
        click.echo(f"Note: {note}", err=True)
    report = evaluate(work.parts, by, skip_bad, **({"runner": runner} if runner else {}))
    found = list(dict.fromkeys(part.run for part in work.parts))
    try:
        if as_json:
            click.echo(to_json(report))
        else:
            print_report(report)
    finally:  # a reader may have had enough of the table
        if not no_files and (output or len(found) == 1):
            _write(report, found, output)


def _write(report: "Report", runs: list[str], output: str | None) -> None:
    from hybrid_batch.data.errors import StorageFailed
    from hybrid_batch.jobs.output.results import BESIDE, write_results

    try:
        write_results(report, runs, output or f"{runs[0]}/{BESIDE}")
    except StorageFailed as error:
        if output:
            raise
        click.echo(f"Note: {error} The report was not written; --output says where else.", err=True)
