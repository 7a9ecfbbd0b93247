"""The job: one run to evaluate on EMR, what it needs in S3, and the commands that EMR is given.

Both engines get the same two archives, unpacked beside the process by YARN or by EMR Serverless, and the same
PYTHONPATH. mrjob's job runs as the Hadoop Streaming step that it is made for; its own EMR runner is not used.

| object in the workspace | content |
|---|---|
| `packages/environment-….zip`, `packages/code-….zip` | libraries and code, shared by all jobs |
| `packages/spark_main-….py`, `packages/bootstrap-….sh` | what Spark runs, what a new cluster's machines run first |
| `jobs/ID/parts.jsonl` | the parts of the run, the input of the streaming step |
| `jobs/ID/attempt-N/job.json` | says that attempt N was begun |
| `jobs/ID/attempt-N/result/` | what it left: `report.json` (Spark) or `part-00000` (streaming) |
| `logs/` | the logs EMR writes |
"""

import hashlib
import json
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

from hybrid_batch.data.storage.ensure_object import Upload
from hybrid_batch.emr.packaging.code import code_archive
from hybrid_batch.emr.packaging.environment import build_environment, environment_name, find_environment

PYTHON = "/usr/bin/python3.11"
ENGINES = ("spark", "mrjob")
_PYTHONPATH = "environment:code"
_MOST_MAPPERS = 200
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Job:
    """`run` is the run's s3:// folder and `parts` the numbers of its parts; `workspace` is an s3:// folder of
    ours, `architecture` the processor of the machines, `region` where they are."""

    run: str
    parts: tuple[int, ...]
    engine: str
    architecture: str
    workspace: str
    region: str
    python: str = PYTHON
    by: tuple[str, ...] = ()
    skip_bad: bool = False
    attempt: int = 0
    code: bytes = field(default_factory=code_archive, repr=False)

    @property
    def id(self) -> str:
        """Equal for jobs that must give the same report: the same parts, options and code."""
        said = [self.run, self.parts, self.engine, self._options, hashlib.sha256(self.code).hexdigest()]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]

    @property
    def name(self) -> str:
        """The step's or job run's name, by which a resubmission finds it."""
        return f"hybrid-batch {self.id}"

    @property
    def folder(self) -> str:
        return f"{self.workspace}/jobs/{self.id}"

    @property
    def result(self) -> str:
        return f"{self.folder}/attempt-{self.attempt}/result"

    @property
    def logs(self) -> str:
        return f"{self.workspace}/logs/"

    def uploads(self) -> list[Upload]:
        """What must stand in S3 before the job starts."""
        standing = find_environment(self.architecture)
        environment = Upload(
            self._environment,
            lambda: build_environment(self.architecture).read_bytes(),
            standing.stat().st_size if standing else None,
        )
        lines = "".join(f"{json.dumps([self.run, index])}\n" for index in self.parts)
        own = [Upload.of(self._code, self.code)]
        if self.engine == "mrjob":
            own.append(Upload.of(self._parts, lines.encode()))
        else:
            own.append(Upload.of(self._main, (_HERE / "spark_main.py").read_bytes()))
        claim = {"run": self.run, "engine": self.engine, "architecture": self.architecture, "skip_bad": self.skip_bad}
        begun = Upload.of(f"{self.folder}/attempt-{self.attempt}/job.json", json.dumps(claim).encode())
        return [environment, *own, begun]

    def bootstrap(self) -> Upload:
        """The script that a new cluster's machines run before all else."""
        return Upload.of(self._packaged("bootstrap.sh"), (_HERE / "bootstrap.sh").read_bytes())

    def step_arguments(self) -> list[str]:
        """The command for EMR's command-runner.jar."""
        return self._streaming() if self.engine == "mrjob" else self._spark_submit()

    def spark_parameters(self) -> str:
        """`sparkSubmitParameters` for EMR Serverless."""
        settings = {
            "spark.archives": self._archives,
            "spark.emr-serverless.driverEnv.PYSPARK_DRIVER_PYTHON": self.python,
            **self._environment_settings("spark.emr-serverless.driverEnv"),
            "spark.dynamicAllocation.maxExecutors": str(self.executors),
        }
        return " ".join(f"--conf {name}={value}" for name, value in settings.items())

    @property
    def executors(self) -> int:
        """The most Serverless workers it may start besides the driver."""
        return min(10, len(self.parts))

    @property
    def entry_point(self) -> str:
        return self._main

    @property
    def entry_arguments(self) -> list[str]:
        return [*self._options, self.run, self.result]

    def _spark_submit(self) -> list[str]:
        settings = self._environment_settings("spark.yarn.appMasterEnv")
        return [
            *("spark-submit", "--deploy-mode", "cluster", "--name", self.name, "--archives", self._archives),
            *(word for name, value in settings.items() for word in ("--conf", f"{name}={value}")),
            self._main,
            *self.entry_arguments,
        ]

    def _environment_settings(self, driver: str) -> dict[str, str]:
        wanted = {"PYSPARK_PYTHON": self.python, "PYTHONPATH": _PYTHONPATH, "AWS_DEFAULT_REGION": self.region}
        return {f"{side}.{name}": value for side in (driver, "spark.executorEnv") for name, value in wanted.items()}

    def _streaming(self) -> list[str]:
        script = " ".join([self.python, "-m", "hybrid_batch.jobs.evaluate_mrjob", "--step-num=0", *self._options])
        return [
            *("hadoop-streaming", "-D", f"mapreduce.job.name={self.name}", "-D", "mapreduce.job.reduces=1"),
            *("-D", f"mapreduce.input.lineinputformat.linespermap={ceil(len(self.parts) / _MOST_MAPPERS)}"),
            *("-D", "stream.map.input.ignoreKey=true", "-archives", self._archives),
            *("-cmdenv", f"PYTHONPATH={_PYTHONPATH}", "-cmdenv", f"AWS_DEFAULT_REGION={self.region}"),
            *("-inputformat", "org.apache.hadoop.mapred.lib.NLineInputFormat"),
            *("-mapper", f"{script} --mapper", "-reducer", f"{script} --reducer"),
            *("-input", self._parts, "-output", self.result),
        ]

    @property
    def _options(self) -> list[str]:
        return [*(f"--by={column}" for column in self.by), *(["--skip-bad"] if self.skip_bad else [])]

    @property
    def _archives(self) -> str:
        return f"{self._environment}#environment,{self._code}#code"

    @property
    def _environment(self) -> str:
        return f"{self.workspace}/packages/{environment_name(self.architecture)}"

    @property
    def _code(self) -> str:
        return f"{self.workspace}/packages/code-{hashlib.sha256(self.code).hexdigest()[:16]}.zip"

    @property
    def _main(self) -> str:
        return self._packaged("spark_main.py")

    @property
    def _parts(self) -> str:
        return f"{self.folder}/parts.jsonl"

    def _packaged(self, name: str) -> str:
        stem, dot, suffix = name.partition(".")
        content = hashlib.sha256((_HERE / name).read_bytes()).hexdigest()[:16]
        return f"{self.workspace}/packages/{stem}-{content}{dot}{suffix}"


def result_of(arguments: list[str]) -> str:
    """Where the job with these step or entry-point arguments leaves its result."""
    return arguments[arguments.index("-output") + 1] if "-output" in arguments else arguments[-1]
