"""The shared arguments of the EMR commands, and the printing of reports and states."""

from collections.abc import Callable

import click

from hybrid_batch.data.terminal.messages import print_json_text, print_message
from hybrid_batch.emr.jobs.submitted_job import JobState

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
output_option = click.option(
    "-o", "--output", metavar="DIR|s3://…", help="Also write report.json, report.html and the CSV files to this folder."
)


def job_argument(function: Callable[..., None]) -> Callable[..., None]:
    """Add the argument JOB, an ID printed by `submit`."""
    return click.argument("job")(function)


def print_job_report(result_uri: str, as_json: bool, output: str | None) -> None:
    """Fetch the report from the result folder of a job, print it, and write its files to the folder `output`. Raises
    JobFailed, NotARun, StorageFailed."""
    from hybrid_batch.data.storage.open_storage import open_storage
    from hybrid_batch.emr.jobs.result import evaluated_run, read_report
    from hybrid_batch.evaluation.output.canonical_json import to_json
    from hybrid_batch.evaluation.output.terminal_report import print_report
    from hybrid_batch.jobs.output.report_files import write_report_files

    report = read_report(result_uri)
    if as_json:
        print_json_text(to_json(report))
    else:
        print_report(report)
    if output:
        write_report_files(report, [evaluated_run(result_uri)], open_storage(output))


def print_state(state: JobState) -> None:
    """Print a new state of a job on stderr."""
    print_message(f"  {state.name}")
