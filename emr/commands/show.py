"""What the commands of EMR print, and in which form."""

import json
from collections.abc import Callable
from typing import Any

import click

from hybrid_batch.emr.jobs.state import State

json_option = click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
output_option = click.option(
    "--output", metavar="DIR|s3://…", help="Also write report.json, report.html and the CSV files there."
)


def handle_argument(function: Callable[..., None]) -> Callable[..., None]:
    """The job, as `submit` printed it."""
    return click.argument("job")(function)


def show_json(value: Any) -> None:  # noqa: ANN401
    """One line of JSON."""
    click.echo(json.dumps(value, default=str))


def show_report(result: str, as_json: bool, output: str | None) -> None:
    """Fetch the report at a job's result, print it, and write its files to `output`. Raises JobFailed, NotARun,
    StorageFailed."""
    from hybrid_batch.emr.jobs.result import read_report, run_of
    from hybrid_batch.evaluation.output.terminal_report import print_report
    from hybrid_batch.evaluation.report import to_json
    from hybrid_batch.jobs.output.results import write_results

    report = read_report(result)
    if as_json:
        click.echo(to_json(report))
    else:
        print_report(report)
    if output:
        write_results(report, [run_of(result)], output)


def tell(state: State) -> None:
    """A change of state, on stderr."""
    click.echo(f"  {state.word}", err=True)
