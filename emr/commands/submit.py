"""`hybrid-batch emr submit`: evaluate a run on EMR."""

import json
from typing import TYPE_CHECKING

import click

from hybrid_batch.emr.commands.show import json_option, output_option, show_json, show_report, tell
from hybrid_batch.emr.request import Request

if TYPE_CHECKING:
    from hybrid_batch.emr.job import Job
    from hybrid_batch.emr.submission import Target
    from hybrid_batch.emr.submission_plan import Plan


@click.command("submit", short_help="Evaluate a run on EMR.")
@click.argument("run", metavar="RUN")
@click.option("--release", metavar="emr-7.x.y", help="EMR release.  [default: emr-7.9.0, or what stands]")
@click.option("--cluster", metavar="j-…", help="Add a step to this cluster.")
@click.option("--create", is_flag=True, help="Make a cluster for this job, which ends with it.")
@click.option("--serverless", metavar="APP", help="Start a job run of this EMR Serverless application.")
@click.option("--engine", type=click.Choice(["spark", "mrjob"]), default="spark", show_default=True)
@click.option("--by", multiple=True, metavar="COLUMN", help="Slice by this column too; may be given more than once.")
@click.option("--skip-bad", is_flag=True, help="Leave out parts that cannot be counted, and name them.")
@click.option(
    "--workspace",
    metavar="s3://…",
    help="Where packages, logs and results go.  [default: hybrid-batch-emr in the run's bucket]",
)
@click.option("--instance-type", default="m6g.xlarge", show_default=True, help="Machines of --create.")
@click.option("--workers", type=click.IntRange(0), default=2, show_default=True, help="Core machines of --create.")
@click.option("--service-role", default="HybridBatchEmr", show_default=True, help="EMR's role, for --create.")
@click.option("--instance-profile", default="HybridBatchEc2", show_default=True, help="The machines' role.")
@click.option("--subnet", help="Subnet of --create.  [default: one of the default VPC]")
@click.option("--role", metavar="ARN", help="The job's role, for --serverless.")
@click.option("--python", default="/usr/bin/python3.11", show_default=True, help="Python 3.11 of the machines.")
@click.option("--wait", is_flag=True, help="Wait for the end, and print the report.")
@click.option("--timeout", type=click.FloatRange(1), default=3600, show_default=True, help="Seconds it may take.")
@click.option("--poll", type=click.FloatRange(0.01), default=5, show_default=True, help="First pause of --wait, s.")
@click.option("--dry-run", is_flag=True, help="Print what would be uploaded and asked for, and do none of it.")
@json_option
@output_option
def submit(**options: object) -> None:
    """Evaluate RUN, the s3:// folder of a run, on EMR; name the place with --cluster, --create or --serverless.

    Prints the job's name for `status`, `logs`, `cancel` and `fetch`; with --wait the report. The same command
    again finds the job that runs, or its report. A cluster of --create ends with its job in every case. With
    --wait, and always on EMR Serverless, a job that takes longer than --timeout is stopped.

    \b
    Example:
      hybrid-batch emr submit s3://my-bucket/logs/run=3f9c2a --create --wait
      hybrid-batch emr submit s3://my-bucket/logs/run=3f9c2a --cluster j-2AXXXXXXGAPLF --engine mrjob --dry-run
    """
    _submit(Request(**options))  # type: ignore[arg-type]


def _submit(request: Request) -> None:
    from hybrid_batch.emr.api import open_api
    from hybrid_batch.emr.jobs.result import look_back
    from hybrid_batch.emr.submission import carry_out, make_plan
    from hybrid_batch.emr.targets.region import check_region

    request.check()
    target = request.target(open_api())
    job, standing = look_back(request.job(target))
    if standing:
        click.echo(f"Note: the report stands in {standing}; nothing is submitted.", err=True)
        show_report(standing, request.as_json, request.output)
        return
    check_region(job.workspace, job.region)
    plan = make_plan(target, job)
    if request.dry_run:
        _show_plan(plan, request.as_json)
    elif request.wait:
        show_report(_wait(plan, target, job, request), request.as_json, request.output)
    else:
        handle = str(carry_out(plan, target, job))
        show_json({"job": handle}) if request.as_json else click.echo(handle)


def _wait(plan: "Plan", target: "Target", job: "Job", request: Request) -> str:
    """Where the result is. Raises JobFailed when the job ends badly or not in time, Interrupted."""
    from hybrid_batch.data.aws.poll_schedule import Patience
    from hybrid_batch.data.errors import Interrupted, JobFailed
    from hybrid_batch.emr.jobs.submitted_job import open_work
    from hybrid_batch.emr.jobs.watch import await_end, why_failed
    from hybrid_batch.emr.submission import carry_out

    patience = Patience(request.poll, request.timeout)
    try:
        handle = carry_out(plan, target, job)
        click.echo(f"Submitted {handle}", err=True)
        work = open_work(target.api, handle)
        state = await_end(work, patience, tell)
    except KeyboardInterrupt:
        raise Interrupted(f"Interrupted: {_left_running(target, job)}.") from None
    finally:
        _end(target, job)
    if not state.succeeded:
        raise JobFailed(why_failed(work, state, patience))
    return work.result()


def _left_running(target: "Target", job: "Job") -> str:
    """What an interrupt leaves. It is looked up: the answer that named the job may not have come this far."""
    from hybrid_batch.data.errors import HybridBatchError
    from hybrid_batch.data.terminal.defer_sigint import undisturbed

    if target.owned:
        return "the cluster made for the job ends"
    try:
        with undisturbed():
            handle = target.find(job)
    except HybridBatchError as error:
        return f"whether the job goes on is not known, for {str(error).rstrip('.')}"
    return f"{handle} goes on; `hybrid-batch emr cancel {handle}` stops it" if handle else "nothing was submitted"


def _end(target: "Target", job: "Job") -> None:
    from hybrid_batch.data.errors import HybridBatchError
    from hybrid_batch.data.terminal.defer_sigint import undisturbed

    try:
        with undisturbed():
            target.end(job)
    except HybridBatchError as error:
        click.echo(
            f"Warning: the cluster named {job.name!r} may still stand; it ends by itself with its step. {error}",
            err=True,
        )


def _show_plan(plan: "Plan", as_json: bool) -> None:
    if as_json:
        show_json(plan.describe())
        return
    for upload in plan.uploads:
        size = "not made yet" if upload.size is None else f"{upload.size:,} bytes"
        click.echo(f"upload unless it stands: {upload.uri} ({size})")
    click.echo(f"{plan.call.service} {plan.call.operation}:")
    click.echo(json.dumps(plan.call.parameters, indent=2))
    for cost in plan.costs:
        click.echo(f"costs: {cost}")
    click.echo("Nothing was done.", err=True)
