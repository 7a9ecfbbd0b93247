"""`hybrid-batch emr status|logs|cancel|fetch JOB`: commands for a submitted job."""

from typing import TYPE_CHECKING

import click

from hybrid_batch.data.terminal.messages import print_block, print_json, print_line
from hybrid_batch.emr.commands.output import job_argument, json_option, output_option, print_job_report

if TYPE_CHECKING:
    from hybrid_batch.emr.jobs.submitted_job import SubmittedJob


@click.command("status", short_help="Print the state of a job.")
@job_argument
@json_option
def status(job: str, as_json: bool) -> None:
    """Print EMR's state of JOB, and the reason if it failed.

    \b
    Example:
      hybrid-batch emr status j-2AXXXXXXGAPLF/s-1C2D3E4F5G6H7
    """

    submitted = _open(job)
    state = submitted.state()
    if as_json:
        print_json({"job": job, "state": state.name, "ended": state.ended, "succeeded": state.succeeded,
                    "reason": state.reason, "result": submitted.result_uri()})  # fmt: skip
    else:
        print_line(f"{state.name}: {state.reason}" if state.reason else state.name)


@click.command("logs", short_help="Print the logs of a job.")
@job_argument
@click.option("--line", is_flag=True, help="Print only the line that explains a failure.")
def logs(job: str, line: bool) -> None:
    """Print the logs of JOB that EMR has copied to S3; EMR needs some minutes for that.

    \b
    Example:
      hybrid-batch emr logs 00f1r4vjc3hgqc09/00f1r50c2d3e4f09 --line
    """
    from hybrid_batch.data.errors import JobFailed
    from hybrid_batch.emr.jobs.logs import failure_line, read_logs

    location = _open(job).logs()
    if location is None:
        raise JobFailed(f"EMR stores no logs of {job} in S3; set a log URI for the cluster and submit again.")
    texts = read_logs(location)
    if not texts:
        raise JobFailed(f"No logs of {job} are in {location.storage.uri} yet; try again in some minutes.")
    if not line:
        for name, text in texts.items():
            print_block(f"== {name}\n{text.rstrip()}")
    elif found := failure_line(texts.values()):
        print_line(found)
    else:
        raise JobFailed(f"No line of the logs of {job} explains a failure; print all logs without --line.")


@click.command("cancel", short_help="Stop a job.")
@job_argument
def cancel(job: str) -> None:
    """Stop JOB, and its cluster if that was created for it. A job that has ended is not changed.

    \b
    Example:
      hybrid-batch emr cancel j-2AXXXXXXGAPLF/s-1C2D3E4F5G6H7
    """
    submitted = _open(job)
    submitted.cancel()
    print_line(submitted.state().name)


@click.command("fetch", short_help="Print the report of a job.")
@job_argument
@json_option
@output_option
def fetch(job: str, as_json: bool, output: str | None) -> None:
    """Fetch the report of JOB and print it.

    \b
    Example:
      hybrid-batch emr fetch j-2AXXXXXXGAPLF/s-1C2D3E4F5G6H7 --output ./report
    """
    print_job_report(_open(job).result_uri(), as_json, output)


def _open(job: str) -> "SubmittedJob":
    from hybrid_batch.emr.api import open_api
    from hybrid_batch.emr.jobs.submitted_job import JobId
    from hybrid_batch.emr.submission import open_submitted_job

    job_id = JobId.parse(job)
    return open_submitted_job(open_api(), job_id)
