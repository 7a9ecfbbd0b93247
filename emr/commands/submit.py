"""`hybrid-batch emr submit`: evaluate a run on EMR."""

from typing import TYPE_CHECKING

import click

from hybrid_batch.data.terminal.messages import print_json, print_line, print_message, print_note, print_warning
from hybrid_batch.emr.commands.output import json_option, output_option, print_job_report, print_state
from hybrid_batch.emr.commands.submit_options import SubmitOptions

if TYPE_CHECKING:
    from hybrid_batch.emr.job import EvaluationJob
    from hybrid_batch.emr.submission import JobTarget, SubmissionPlan


@click.command("submit", short_help="Evaluate a run on EMR.")
@click.argument("run", metavar="RUN")
@click.option("--release", metavar="emr-7.x.y", help="EMR release.  [default: that of the target, or emr-7.9.0]")
@click.option("--cluster", metavar="j-…", help="Add a step to this cluster.")
@click.option("--create-cluster", is_flag=True, help="Create a cluster for this job; it ends with the job.")
@click.option("--serverless", metavar="APP", help="Start a job run of this EMR Serverless application.")
@click.option("--engine", type=click.Choice(["spark", "mrjob"]), default="spark", show_default=True)
@click.option("--by", multiple=True, metavar="COLUMN", help="Also slice by this column; may be repeated.")
@click.option("--skip-unreadable", is_flag=True, help="Skip parts that cannot be counted, and list them.")
@click.option(
    "--workspace",
    metavar="s3://…",
    help="Folder for packages, logs and results.  [default: hybrid-batch-emr in the run's bucket]",
)
@click.option(
    "--instance-type", default="m6g.xlarge", show_default=True, help="Instance type of the --create-cluster machines."
)
@click.option(
    "--workers", type=click.IntRange(0), default=2, show_default=True, help="Core instances of --create-cluster."
)
@click.option("--service-role", default="HybridBatchEmr", show_default=True, help="EMR's role, for --create-cluster.")
@click.option(
    "--instance-profile",
    default="HybridBatchEc2",
    show_default=True,
    help="Instance profile of the --create-cluster machines.",
)
@click.option(
    "--security-configuration",
    default="HybridBatch",
    show_default=True,
    metavar="NAME|none",
    help="EMR security configuration of --create-cluster.",
)
@click.option("--subnet", help="Subnet of --create-cluster.  [default: one of the default VPC]")
@click.option("--role", metavar="ARN", help="IAM role of the job, for --serverless.")
@click.option("--python", default="/usr/bin/python3.11", show_default=True, help="Path of Python 3.11 on the machines.")
@click.option("--wait", is_flag=True, help="Wait for the end of the job and print the report.")
@click.option("--timeout", type=click.FloatRange(1), default=3600, show_default=True, help="Time limit in seconds.")
@click.option(
    "--poll-interval",
    type=click.FloatRange(0.01),
    default=5,
    show_default=True,
    help="First interval between polls of --wait, in seconds.",
)
@click.option("--dry-run", is_flag=True, help="Print the uploads and the request without executing them.")
@json_option
@output_option
def submit(**options: object) -> None:
    """Evaluate RUN, the s3:// folder of a run, on EMR. Choose the target with --cluster, --create-cluster or
    --serverless.

    Prints the job's ID for `status`, `logs`, `cancel` and `fetch`, or the report with --wait. The same command finds
    a running job or a finished report instead of submitting again. A cluster of --create-cluster always ends with its
    job. With --wait, and always on EMR Serverless, a job is stopped after --timeout.

    \b
    Example:
      hybrid-batch emr submit s3://my-bucket/logs/run=3f9c2a --create-cluster --wait
      hybrid-batch emr submit s3://my-bucket/logs/run=3f9c2a --cluster j-2AXXXXXXGAPLF --engine mrjob --dry-run
    """
    _submit(SubmitOptions(**options))  # type: ignore[arg-type]


def _submit(options: SubmitOptions) -> None:
    from hybrid_batch.emr.api import check_region, open_api
    from hybrid_batch.emr.jobs.result import find_attempts
    from hybrid_batch.emr.submission import SubmissionPlan, submit_once

    options.check()
    target = options.open_target(open_api())
    job, result_uri = find_attempts(options.make_job(target))
    if result_uri:
        print_note(f"{result_uri} already contains the report; nothing is submitted.")
        print_job_report(result_uri, options.as_json, options.output)
        return
    check_region(job.workspace, job.region)
    if not options.dry_run:
        job.build()
    plan = SubmissionPlan.of(job, target)
    if options.dry_run:
        _print_plan(plan, options.as_json)
    elif options.wait:
        print_job_report(_wait(plan, target, job, options), options.as_json, options.output)
    else:
        job_id = str(submit_once(plan, target, job))
        print_json({"job": job_id}) if options.as_json else print_line(job_id)


def _wait(plan: "SubmissionPlan", target: "JobTarget", job: "EvaluationJob", options: SubmitOptions) -> str:
    """Submit the job, wait for its end and return its result folder. Raises JobFailed if it fails or does not end in
    time, Interrupted."""
    from hybrid_batch.data.aws.poll_schedule import PollSchedule
    from hybrid_batch.data.errors import Interrupted, JobFailed
    from hybrid_batch.emr.jobs.watch import describe_failure, wait_until_ended
    from hybrid_batch.emr.submission import open_submitted_job, submit_once

    schedule = PollSchedule(options.poll_interval, options.timeout)
    try:
        job_id = submit_once(plan, target, job)
        print_message(f"Submitted {job_id}")
        submitted = open_submitted_job(target.api, job_id)
        state = wait_until_ended(submitted, schedule, print_state)
    except KeyboardInterrupt:
        raise Interrupted(f"Interrupted: {_describe_remains(target, job)}.") from None
    finally:
        _clean_up(target, job)
    if not state.succeeded:
        raise JobFailed(describe_failure(submitted, state, schedule))
    return submitted.result_uri()


def _describe_remains(target: "JobTarget", job: "EvaluationJob") -> str:
    """Describe what continues after an interrupt. The job is searched for, because its ID may not have arrived."""
    from hybrid_batch.data.errors import HybridBatchError
    from hybrid_batch.data.terminal.defer_sigint import defer_sigint

    if target.is_temporary:
        return "the cluster of the job is terminated"
    try:
        with defer_sigint():
            job_id = target.find_job(job)
    except HybridBatchError as error:
        return f"the job may continue, its state is unknown: {str(error).rstrip('.')}"
    if job_id is None:
        return "nothing was submitted"
    return f"{job_id} continues; stop it with `hybrid-batch emr cancel {job_id}`"


def _clean_up(target: "JobTarget", job: "EvaluationJob") -> None:
    from hybrid_batch.data.errors import HybridBatchError
    from hybrid_batch.data.terminal.defer_sigint import defer_sigint

    try:
        with defer_sigint():
            target.clean_up(job)
    except HybridBatchError as error:
        print_warning(f"the cluster named {job.name!r} may still run; it terminates after its step. {error}")


def _print_plan(plan: "SubmissionPlan", as_json: bool) -> None:
    if as_json:
        print_json(plan.describe())
        return
    for upload in plan.uploads:
        size = "not built yet" if upload.size is None else f"{upload.size:,} bytes"
        print_line(f"upload unless it exists: {upload.uri} ({size})")
    print_line(f"{plan.start_call.service} {plan.start_call.operation}:")
    print_json(plan.start_call.parameters, indent=2)
    for cost in plan.costs:
        print_line(f"costs: {cost}")
    print_message("Nothing was done.")
