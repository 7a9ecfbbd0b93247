"""The job: evaluation of one run on EMR, its objects in S3, and the commands for EMR.

Both engines get the same two archives, unpacked beside the process by YARN or EMR Serverless, and the same environment
variables. The mrjob job runs as a Hadoop Streaming step; mrjob's own EMR runner is not used.

| object in the workspace | content |
|---|---|
| `packages/environment-….zip`, `packages/code-….zip` | libraries and code, shared by all jobs |
| `packages/spark_main-….py`, `packages/bootstrap-….sh` | the Spark script, the script for machines of a new cluster |
| `jobs/ID/parts.jsonl` | the parts of the run, the input of the streaming step |
| `jobs/ID/attempt-N/job.json` | the run and options of attempt N, written before it starts |
| `jobs/ID/attempt-N/result/` | its result: `report.json` (Spark) or `part-00000` (streaming) |
| `logs/` | EMR's logs |
"""

import hashlib
import json
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

from hybrid_batch.data.storage.ensure_object import EnsureObject
from hybrid_batch.emr.packaging.archives import (
    build_environment,
    code_archive,
    environment_name,
    find_environment,
)

PYTHON = "/usr/bin/python3.11"
# PYTHONSAFEPATH keeps the working folder and the folder of a script off sys.path.
_VARIABLES = {"PYTHONPATH": "environment:code", "PYTHONSAFEPATH": "1"}
_MAX_MAPPERS = 200
MACHINE_FOLDER = "/home/hadoop/hybrid-batch"  # of verified packages
_ENVIRONMENT, _CODE, _MAIN = "environment.zip", "code.zip", "spark_main.py"
_FILES = Path(__file__).parent / "packaging"


@dataclass(frozen=True, slots=True)
class EvaluationJob:
    """The evaluation of the parts with these numbers of the run in the s3:// folder `run`, by the engine "spark" or
    "mrjob". `workspace` is the s3:// folder for packages, logs and results. `architecture` (x86_64 or arm64) and
    `region` are those of the machines. The machines of an `is_verified` job have downloaded the packages at their start
    and compared their hashes; other machines get them from YARN or EMR Serverless, which compare nothing."""

    run: str
    parts: tuple[int, ...]
    engine: str
    architecture: str
    workspace: str
    region: str
    python: str = PYTHON
    by: tuple[str, ...] = ()
    skip_unreadable: bool = False
    is_verified: bool = False
    attempt: int = 0
    code: bytes = field(default_factory=code_archive, repr=False)

    @property
    def id(self) -> str:
        """The hash of what determines the report: run, parts, engine, options and code."""
        content = [self.run, self.parts, self.engine, self._options, hashlib.sha256(self.code).hexdigest()]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]

    @property
    def name(self) -> str:
        """The name of the step or job run; a resubmission finds the job by it."""
        return f"hybrid-batch {self.id}"

    @property
    def folder(self) -> str:
        return f"{self.workspace}/jobs/{self.id}"

    @property
    def result_uri(self) -> str:
        return f"{self.folder}/attempt-{self.attempt}/result"

    @property
    def logs_uri(self) -> str:
        return f"{self.workspace}/logs/"

    def uploads(self) -> list[EnsureObject]:
        """Return the objects that must exist in S3 before the job starts."""
        cached = find_environment(self.architecture)
        environment = EnsureObject(
            self._environment,
            lambda: build_environment(self.architecture).read_bytes(),
            cached.stat().st_size if cached else None,
        )
        lines = "".join(f"{json.dumps([self.run, index])}\n" for index in self.parts)
        files = [EnsureObject.of(self._code, self.code)]
        if self.engine == "mrjob":
            files.append(EnsureObject.of(self._parts, lines.encode()))
        else:
            files.append(EnsureObject.of(self._main, (_FILES / "spark_main.py").read_bytes()))
        attempt = {
            "run": self.run,
            "engine": self.engine,
            "architecture": self.architecture,
            "skip_unreadable": self.skip_unreadable,
        }
        marker = EnsureObject.of(f"{self.folder}/attempt-{self.attempt}/job.json", json.dumps(attempt).encode())
        return [environment, *files, marker]

    def build(self) -> None:
        """Build the archive of libraries unless it is in the cache. Raises PackageFailed."""
        build_environment(self.architecture)

    def verified_downloads(self) -> list[str]:
        """Return the hash, the URI and the file name of each package, for the bootstrap script."""
        cached = find_environment(self.architecture)
        environment = hashlib.sha256(cached.read_bytes()).hexdigest() if cached else "(not built yet)"
        main = hashlib.sha256((_FILES / "spark_main.py").read_bytes()).hexdigest()
        return [
            *(environment, self._environment, _ENVIRONMENT),
            *(hashlib.sha256(self.code).hexdigest(), self._code, _CODE),
            *((main, self._main, _MAIN) if self.engine == "spark" else ()),
        ]

    def bootstrap_script(self) -> EnsureObject:
        """Return the script that the machines of a new cluster run at their start."""
        return EnsureObject.of(self._versioned_uri("bootstrap.sh"), (_FILES / "bootstrap.sh").read_bytes())

    def step_arguments(self) -> list[str]:
        """Return the command for EMR's command-runner.jar."""
        return self._streaming() if self.engine == "mrjob" else self._spark_submit()

    def spark_parameters(self) -> str:
        """Return the `sparkSubmitParameters` for EMR Serverless."""
        settings = {
            "spark.archives": self._archives,
            "spark.emr-serverless.driverEnv.PYSPARK_DRIVER_PYTHON": self.python,
            **self._environment_settings("spark.emr-serverless.driverEnv"),
            "spark.dynamicAllocation.maxExecutors": str(self.max_executors),
        }
        return " ".join(f"--conf {name}={value}" for name, value in settings.items())

    @property
    def max_executors(self) -> int:
        """The maximum number of EMR Serverless workers besides the driver."""
        return min(10, len(self.parts))

    @property
    def entry_point(self) -> str:
        return self._main

    @property
    def entry_arguments(self) -> list[str]:
        return [*self._options, self.run, self.result_uri]

    def _spark_submit(self) -> list[str]:
        settings = self._environment_settings("spark.yarn.appMasterEnv")
        return [
            *("spark-submit", "--deploy-mode", "cluster", "--name", self.name, "--archives", self._archives),
            *(word for name, value in settings.items() for word in ("--conf", f"{name}={value}")),
            self._on_machine(_MAIN, self._main),
            *self.entry_arguments,
        ]

    def _environment_settings(self, driver: str) -> dict[str, str]:
        variables = {"PYSPARK_PYTHON": self.python, **_VARIABLES, "AWS_DEFAULT_REGION": self.region}
        return {f"{side}.{name}": value for side in (driver, "spark.executorEnv") for name, value in variables.items()}

    def _streaming(self) -> list[str]:
        variables = {**_VARIABLES, "AWS_DEFAULT_REGION": self.region}
        script = " ".join([self.python, "-m", "hybrid_batch.jobs.evaluate_mrjob", "--step-num=0", *self._options])
        return [
            *("hadoop-streaming", "-D", f"mapreduce.job.name={self.name}", "-D", "mapreduce.job.reduces=1"),
            *("-D", f"mapreduce.input.lineinputformat.linespermap={ceil(len(self.parts) / _MAX_MAPPERS)}"),
            *("-D", "stream.map.input.ignoreKey=true", "-archives", self._archives),
            *(word for name, value in variables.items() for word in ("-cmdenv", f"{name}={value}")),
            *("-inputformat", "org.apache.hadoop.mapred.lib.NLineInputFormat"),
            *("-mapper", f"{script} --mapper", "-reducer", f"{script} --reducer"),
            *("-input", self._parts, "-output", self.result_uri),
        ]

    @property
    def _options(self) -> list[str]:
        return [*(f"--by={column}" for column in self.by), *(["--skip-unreadable"] if self.skip_unreadable else [])]

    @property
    def _archives(self) -> str:
        environment, code = self._on_machine(_ENVIRONMENT, self._environment), self._on_machine(_CODE, self._code)
        return f"{environment}#environment,{code}#code"

    def _on_machine(self, name: str, uri: str) -> str:
        """Return the URI from which the job gets a package."""
        return f"file://{MACHINE_FOLDER}/{name}" if self.is_verified else uri

    @property
    def _environment(self) -> str:
        return f"{self.workspace}/packages/{environment_name(self.architecture)}"

    @property
    def _code(self) -> str:
        return f"{self.workspace}/packages/code-{hashlib.sha256(self.code).hexdigest()[:16]}.zip"

    @property
    def _main(self) -> str:
        return self._versioned_uri("spark_main.py")

    @property
    def _parts(self) -> str:
        return f"{self.folder}/parts.jsonl"

    def _versioned_uri(self, name: str) -> str:
        stem, dot, suffix = name.partition(".")
        content = hashlib.sha256((_FILES / name).read_bytes()).hexdigest()[:16]
        return f"{self.workspace}/packages/{stem}-{content}{dot}{suffix}"


def result_uri_of(arguments: list[str]) -> str:
    """Return the result folder of the job with these step or entry point arguments."""
    return arguments[arguments.index("-output") + 1] if "-output" in arguments else arguments[-1]
