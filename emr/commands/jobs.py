"""`hybrid-batch emr status|logs|cancel|fetch JOB`: a job that was submitted, by the name `submit` printed."""

from typing import TYPE_CHECKING

import click

from hybrid_batch.emr.commands.show import handle_argument, json_option, output_option, show_json, show_report

if TYPE_CHECKING:
    from hybrid_batch.emr.jobs.state import Work


@click.command("status", short_help="Say how a job stands.")
@handle_argument
@json_option
def status(job: str, as_json: bool) -> None:
    """Say how JOB stands: EMR's word for it, and the reason if it ended badly.

    \b
    Example:
      hybrid-batch emr status j-2AXXXXXXGAPLF/s-1C2D3E4F5G6H7
    """
    work = _open(job)
    state = work.state()
    if as_json:
        show_json({"job": job, "state": state.word, "ended": state.ended, "succeeded": state.succeeded,
                   "reason": state.reason, "result": work.result()})  # fmt: skip
    else:
        click.echo(f"{state.word}: {state.reason}" if state.reason else state.word)


@click.command("logs", short_help="Print the logs of a job that are in S3 so far.")
@handle_argument
@click.option("--line", is_flag=True, help="Only the line that says why it failed.")
def logs(job: str, line: bool) -> None:
    """Print the logs of JOB that EMR has brought to S3 so far, which takes it some minutes.

    \b
    Example:
      hybrid-batch emr logs 00f1r4vjc3hgqc09/00f1r50c2d3e4f09 --line
    """
    from hybrid_batch.data.errors import JobFailed
    from hybrid_batch.emr.jobs.logs import read_logs, telling_line

    place = _open(job).logs()
    if place is None:
        raise JobFailed(f"EMR keeps no logs of {job} in S3: it was given no log URI.")
    texts = read_logs(place)
    if not texts:
        raise JobFailed(f"There are no logs of {job} in {place.storage.uri} yet; EMR brings them after minutes.")
    if not line:
        for name, text in texts.items():
            click.echo(f"== {name}\n{text.rstrip()}")
    elif found := telling_line(texts.values()):
        click.echo(found)
    else:
        raise JobFailed(f"No line of the logs of {job} says why it failed; see them whole without --line.")


@click.command("cancel")
@handle_argument
def cancel(job: str) -> None:
    """Stop JOB, and with it the cluster if that was made for it. A job that has ended stays as it is.

    \b
    Example:
      hybrid-batch emr cancel j-2AXXXXXXGAPLF/s-1C2D3E4F5G6H7
    """
    work = _open(job)
    work.cancel()
    click.echo(work.state().word)


@click.command("fetch")
@handle_argument
@json_option
@output_option
def fetch(job: str, as_json: bool, output: str | None) -> None:
    """Fetch the report that JOB left, and print it.

    \b
    Example:
      hybrid-batch emr fetch j-2AXXXXXXGAPLF/s-1C2D3E4F5G6H7 --output ./report
    """
    show_report(_open(job).result(), as_json, output)


def _open(job: str) -> "Work":
    from hybrid_batch.emr.api import open_api
    from hybrid_batch.emr.jobs.job_id import Handle
    from hybrid_batch.emr.jobs.submitted_job import open_work

    handle = Handle.parse(job)
    return open_work(open_api(), handle)
