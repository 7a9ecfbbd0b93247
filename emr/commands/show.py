"""What the commands of EMR print, and in which form."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from emr.state import State

json_option = click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
output_option = click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also write the report as report.json into this folder.",
)


def handle_argument(function: Callable[..., None]) -> Callable[..., None]:
    """The job, as `submit` printed it."""
    return click.argument("job")(function)


def show_json(value: Any) -> None:  # noqa: ANN401
    """One line of JSON."""
    click.echo(json.dumps(value, default=str))


def show_report(result: str, as_json: bool, output: Path | None) -> None:
    """Fetch the report at a job's result, print it, and write it to `output`. Raises JobFailed, NotARun,
    StorageFailed."""
    from data.errors import StorageFailed
    from emr.result import read_result
    from evaluation.report import to_json
    from evaluation.table import print_report

    report = read_result(result)
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


def tell(state: State) -> None:
    """A change of state, on stderr."""
    click.echo(f"  {state.word}", err=True)
