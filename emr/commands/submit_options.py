"""The options of `hybrid-batch emr submit`, and the target and the job they describe."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hybrid_batch.data.errors import WrongUsage

if TYPE_CHECKING:
    from hybrid_batch.data.aws.aws_client import AwsClient
    from hybrid_batch.emr.job import EvaluationJob
    from hybrid_batch.emr.submission import JobTarget


@dataclass(frozen=True, slots=True)
class SubmitOptions:
    """The options of `hybrid-batch emr submit`; `timeout` and `poll_interval` are in seconds."""

    run: str
    release: str | None
    cluster: str | None
    create_cluster: bool
    serverless: str | None
    engine: str
    by: tuple[str, ...]
    skip_unreadable: bool
    workspace: str | None
    instance_type: str
    workers: int
    service_role: str
    instance_profile: str
    security_configuration: str
    subnet: str | None
    role: str | None
    python: str
    wait: bool
    timeout: float
    poll_interval: float
    dry_run: bool
    as_json: bool
    output: str | None

    def check(self) -> None:
        """Raises WrongUsage for options that contradict each other or are not possible on EMR."""
        from hybrid_batch.emr.packaging.archives import check_release
        from hybrid_batch.evaluation.counting.columns import check_sliceable

        check_sliceable(self.by)
        for problem in self._problems():
            raise WrongUsage(problem)
        if self.release:
            check_release(self.release)

    def open_target(self, api: "AwsClient") -> "JobTarget":
        """Return the target of the job. Raises AwsRefused, AwsUnreachable, WrongUsage."""
        from hybrid_batch.emr.packaging.archives import DEFAULT_RELEASE
        from hybrid_batch.emr.targets.existing_cluster import ExistingCluster
        from hybrid_batch.emr.targets.new_cluster import ClusterSpec, NewCluster
        from hybrid_batch.emr.targets.serverless_application import ServerlessApplication

        if self.cluster:
            return ExistingCluster.open(api, self.cluster, self.release, self.engine)
        if self.serverless:
            return ServerlessApplication.open(api, self.serverless, self.release, str(self.role), self.timeout)
        spec = ClusterSpec(
            self.release or DEFAULT_RELEASE,
            self.instance_type,
            self.workers,
            self.service_role,
            self.instance_profile,
            self.security_configuration,
            self.subnet,
        )
        return NewCluster(api, spec)

    def make_job(self, target: "JobTarget") -> "EvaluationJob":
        """Return the job for the run's parts in S3. Raises NotARun, StorageFailed, WrongUsage."""
        from hybrid_batch.emr.job import EvaluationJob
        from hybrid_batch.jobs.input.part_list import list_parts

        parts = list_parts([self.run]).parts
        run = parts[0].run
        bucket = run.removeprefix("s3://").partition("/")[0]
        workspace = (self.workspace or f"s3://{bucket}/hybrid-batch-emr").rstrip("/")
        return EvaluationJob(
            run=run,
            parts=tuple(part.index for part in parts),
            engine=self.engine,
            architecture=target.architecture,
            workspace=workspace,
            region=target.api.region,
            python=self.python,
            by=tuple(dict.fromkeys(self.by)),
            skip_unreadable=self.skip_unreadable,
            is_verified=target.is_temporary,
        )

    def _problems(self) -> Iterator[str]:
        if sum(map(bool, (self.cluster, self.create_cluster, self.serverless))) != 1:
            yield "Choose the target with one of --cluster j-…, --create-cluster and --serverless APP."
        if not self.run.startswith("s3://"):
            yield (
                f"EMR cannot read {self.run!r}; log to S3 with `hybrid-batch run --log s3://…`, or copy the run to S3 "
                "with `aws s3 cp --recursive`."
            )
        if self.workspace is not None and not self.workspace.startswith("s3://"):
            yield f"EMR cannot use the workspace {self.workspace!r}; give s3://bucket/folder."
        if self.serverless and self.engine == "mrjob":
            yield "EMR Serverless has no Hadoop Streaming for --engine mrjob; use --engine spark, or a cluster."
        if self.serverless and not self.role:
            yield "--serverless needs --role ARN, the IAM role of the job."
