"""`hybrid-batch evaluate`: metrics and times from the log of a run."""

from typing import TYPE_CHECKING

import click

from hybrid_batch.data.terminal.messages import print_json_text, print_message, print_note
from hybrid_batch.jobs.commands.engine_options import engine_options

if TYPE_CHECKING:
    from hybrid_batch.jobs.engines.dispatch import Evaluation


@click.command("evaluate", short_help="Compute metrics and times from the logs of runs.")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@engine_options
@click.option("--all-runs", is_flag=True, help="Evaluate all runs of a LOG together.")
@click.option("--skip-unreadable", is_flag=True, help="Leave out parts that cannot be counted, and name them.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as canonical JSON.")
@click.option(
    "-o",
    "--output",
    metavar="DIR|s3://…",
    help="Folder for report.json, report.html and the CSV files.  [default: _report in the run, for a single run]",
)
@click.option("--no-files", is_flag=True, help="Write no files.")
def command(
    *,
    runs: tuple[str, ...],
    engine: str,
    runner: str | None,
    by: tuple[str, ...],
    all_runs: bool,
    skip_unreadable: bool,
    as_json: bool,
    output: str | None,
    no_files: bool,
) -> None:
    """Compute accuracy, calibration, confusion and latency from the log of one or more RUNs.

    RUN is the folder of a run (LOG/run=ID), or a LOG that holds a single run; local or s3://. Several runs are
    evaluated as one. For an unfinished run the existing parts are evaluated, and stderr reports how many are missing.

    The report has slices by cut, codec, tail, label, prediction and folder, and by each COLUMN of the log, such as
    model, label_source, width or batch.

    \b
    Example:
      hybrid-batch evaluate hybrid-batch-log
      hybrid-batch evaluate s3://my-bucket/logs/run=3f9c2a --engine spark --by batch --json
    """
    from hybrid_batch.data.errors import WrongUsage
    from hybrid_batch.evaluation.output.canonical_json import to_json
    from hybrid_batch.evaluation.output.terminal_report import print_report
    from hybrid_batch.jobs.engines.dispatch import EngineChoice, evaluate_runs

    if no_files and output:
        raise WrongUsage(f"--no-files contradicts --output {output}; remove one of them.")
    done = evaluate_runs(
        runs, by, print_note, EngineChoice(engine, runner), all_runs=all_runs, skip_unreadable=skip_unreadable
    )
    place = None
    try:
        if as_json:
            print_json_text(to_json(done.report))
        else:
            print_report(done.report)
    finally:  # also when the reader of a pipe closes it early
        if not no_files and (output or len(done.runs) == 1):
            place = _write(done, output)
    if place and not as_json:
        print_message(f"report      {place}/report.html")


def _write(done: "Evaluation", output: str | None) -> str | None:
    """Write the files; returns their folder, None if it cannot be written and the user did not name it."""
    from hybrid_batch.data.errors import StorageFailed
    from hybrid_batch.data.storage.open_storage import open_storage
    from hybrid_batch.jobs.output.report_files import default_storage, write_report_files

    storage = open_storage(output) if output else default_storage(done.runs[0])
    try:
        write_report_files(done.report, done.runs, storage, done.notes)
    except StorageFailed as error:
        if output:
            raise
        print_note(f"{error} The report was not written; name another folder with --output.")
        return None
    return output or storage.uri
