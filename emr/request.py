"""What a user asks to be submitted, made into a job and the place where it will run."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hybrid_batch.data.errors import WrongUsage

if TYPE_CHECKING:
    from hybrid_batch.data.aws.aws_client import Api
    from hybrid_batch.emr.job import Job
    from hybrid_batch.emr.submission import Target


@dataclass(frozen=True, slots=True)
class Request:
    """The options of `hybrid-batch emr submit`, whole."""

    run: str
    release: str | None
    cluster: str | None
    create: bool
    serverless: str | None
    engine: str
    by: tuple[str, ...]
    skip_bad: bool
    workspace: str | None
    instance_type: str
    workers: int
    service_role: str
    instance_profile: str
    subnet: str | None
    role: str | None
    python: str
    wait: bool
    timeout: float
    poll: float
    dry_run: bool
    as_json: bool
    output: str | None

    def check(self) -> None:
        """Raises WrongUsage for options that make no sense together or on EMR."""
        from hybrid_batch.emr.packaging.release import check_release
        from hybrid_batch.evaluation.counting.columns import check_sliceable

        check_sliceable(self.by)
        for problem in self._problems():
            raise WrongUsage(problem)
        if self.release:
            check_release(self.release)

    def target(self, api: "Api") -> "Target":
        """The place that will run the job. Raises AwsRefused, AwsUnreachable, WrongUsage."""
        from hybrid_batch.emr.packaging.release import DEFAULT
        from hybrid_batch.emr.targets.existing_cluster import StandingCluster
        from hybrid_batch.emr.targets.new_cluster import Machines, NewCluster
        from hybrid_batch.emr.targets.serverless_application import Application

        if self.cluster:
            return StandingCluster.open(api, self.cluster, self.release, self.engine)
        if self.serverless:
            return Application.open(api, self.serverless, self.release, str(self.role), self.timeout)
        release = self.release or DEFAULT
        return NewCluster(
            api,
            Machines(release, self.instance_type, self.workers, self.service_role, self.instance_profile, self.subnet),
        )

    def job(self, target: "Target") -> "Job":
        """The job, its parts looked up in S3. Raises NotARun, StorageFailed, WrongUsage."""
        from hybrid_batch.emr.job import Job
        from hybrid_batch.jobs.input.part_list import find_work

        parts = find_work([self.run]).parts
        run = parts[0].run
        bucket = run.removeprefix("s3://").partition("/")[0]
        workspace = (self.workspace or f"s3://{bucket}/hybrid-batch-emr").rstrip("/")
        return Job(
            run=run,
            parts=tuple(part.index for part in parts),
            engine=self.engine,
            architecture=target.architecture,
            workspace=workspace,
            region=target.api.region,
            python=self.python,
            by=tuple(dict.fromkeys(self.by)),
            skip_bad=self.skip_bad,
        )

    def _problems(self) -> Iterator[str]:
        if sum(map(bool, (self.cluster, self.create, self.serverless))) != 1:
            yield "Say where to run: one of --cluster j-…, --create and --serverless APP."
        if not self.run.startswith("s3://"):
            yield (
                f"EMR cannot read {self.run!r}; log to S3 with `hybrid-batch run --log s3://…`, or copy the run there "
                "with `aws s3 cp --recursive`."
            )
        if self.workspace is not None and not self.workspace.startswith("s3://"):
            yield f"EMR cannot use the workspace {self.workspace!r}; give s3://bucket/folder."
        if self.serverless and self.engine == "mrjob":
            yield "EMR Serverless has no Hadoop Streaming for --engine mrjob; use --engine spark, or a cluster."
        if self.serverless and not self.role:
            yield "--serverless needs --role ARN, the IAM role that the job works with."
