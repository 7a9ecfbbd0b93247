"""`hybrid-batch evaluate`: what the log of a run says."""

from pathlib import Path

import click

ENGINES = {"inline": "jobs.inline", "mrjob": "jobs.evaluate_mrjob", "spark": "jobs.evaluate_spark"}


@click.command("evaluate")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option(
    "--engine",
    type=click.Choice(list(ENGINES)),
    default="inline",
    show_default=True,
    help="Threads of this process, an mrjob job, or Spark on this machine; the report is the same to the byte.",
)
@click.option("--json", "as_json", is_flag=True, help="The report as canonical JSON on stdout.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also write the report as report.json into this folder.",
)
def command(runs: tuple[str, ...], engine: str, as_json: bool, output: Path | None) -> None:
    """Compute accuracy, confusion and latency from the log of one or more RUNs.

    RUN is the folder of a run (LOG/run=ID), or a LOG that holds a single run; local or s3://. Several runs are
    evaluated as one. Of an unfinished run what is there is evaluated, and stderr says how much is missing.

    \b
    Example:
      hybrid-batch evaluate hybrid-batch-log
      hybrid-batch evaluate s3://my-bucket/logs/run=3f9c2a --engine spark --json
    """
    from importlib import import_module

    from data.errors import StorageFailed
    from evaluation.report import to_json
    from evaluation.table import print_report
    from jobs.parts import find_work

    evaluate = import_module(ENGINES[engine]).evaluate  # late: mrjob is an extra
    work = find_work(runs)
    for note in work.notes:
        click.echo(f"Note: {note}", err=True)
    report = evaluate(work.parts)
    text = to_json(report)
    if output:
        try:
            output.mkdir(parents=True, exist_ok=True)
            (output / "report.json").write_text(f"{text}\n", encoding="ascii")
        except OSError as error:
            raise StorageFailed(
                f"Cannot write the report to {output}: {error.strerror}; choose another folder."
            ) from error
    if as_json:
        click.echo(text)
    else:
        print_report(report)
