"""The base class of the mrjob jobs: the input is a list of parts, one line of JSON each, with any of mrjob's runners.

A mapper reads its parts through the same storage with every runner, so the list is divided and not the files.
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Self

from hybrid_batch.data.errors import JobFailed
from hybrid_batch.data.terminal.escapes import escape_json, write_line
from hybrid_batch.jobs.engines.mrjob_import import (
    BytesProtocol,
    BytesValueProtocol,
    JSONValueProtocol,
    MRJob,
    StepFailedException,
)
from hybrid_batch.jobs.engines.spark_session import LOCAL_SPARK_CONF, SAFE_PATH, find_java

if TYPE_CHECKING:
    from mrjob.runner import MRJobRunner

LOCAL_RUNNERS = ("inline", "local", "spark")  # they need only this machine
_HADOOP_RUNNERS = ("hadoop", "emr")
_ONE_LINE_PER_MAPPER = "org.apache.hadoop.mapred.lib.NLineInputFormat"


class PartsJob(MRJob):  # type: ignore[misc]  # mrjob has no types
    """A job that implements `input_lines` for the runs on the command line, and `render` for the output."""

    INPUT_PROTOCOL = JSONValueProtocol
    INTERNAL_PROTOCOL = BytesProtocol
    OUTPUT_PROTOCOL = BytesValueProtocol

    @classmethod
    def for_runner(cls, runner: str, by: Sequence[str], skip_unreadable: bool, *more: str) -> Self:
        """The job for a runner of `LOCAL_RUNNERS`, without messages and without the user's mrjob configuration."""
        cls.set_up_logging(quiet=True)
        options = [*(f"--by={name}" for name in by), *(["--skip-unreadable"] if skip_unreadable else []), *more]
        if runner == "local":
            options.append("--no-bootstrap-mrjob")  # its processes use this Python installation
        return cls(["-r", runner, "--no-conf", *options])

    def configure_args(self) -> None:
        super().configure_args()
        self.add_passthru_arg("--by", action="append", default=[], help="Slice by this column too.")
        self.add_passthru_arg("--skip-unreadable", action="store_true", help="Leave out parts that are unreadable.")

    def input_lines(self, uris: Sequence[str]) -> Iterator[object]:
        """One line for each part of the runs; notes about the runs are written to standard error."""
        raise NotImplementedError

    def render(self, output: bytes) -> str:
        """The text to print for the job's output."""
        raise NotImplementedError

    def hadoop_input_format(self) -> str | None:
        return _ONE_LINE_PER_MAPPER if self.options.runner in _HADOOP_RUNNERS else None  # Spark cannot use it

    def jobconf(self) -> dict[str, str]:
        if (
            self.options.runner in _HADOOP_RUNNERS
        ):  # the input format adds a key to every line, which mappers cannot read
            return {"stream.map.input.ignoreKey": "true"}
        return dict(LOCAL_SPARK_CONF) if self._is_local_spark() else {}

    def make_runner(self) -> "MRJobRunner":
        """mrjob's runner, with the parts of the runs on the command line as its input."""
        if self.options.runner in (None, "inline"):  # mappers run one after the other: fewer have fewer counts to merge
            self.options.num_cores = self.options.num_cores or 1
        if self.options.runner == "local" or self._is_local_spark():
            self.options.cmdenv = SAFE_PATH | (self.options.cmdenv or {})
        if self._is_local_spark():
            import pyspark

            find_java(pyspark.__version__)
            os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
            self.options.python_bin = self.options.python_bin or sys.executable
        if self.options.args:
            self.set_input(self.input_lines(self.options.args))
            self.options.args = []
        return super().make_runner()

    def forward_option(self, option: str) -> None:
        """Pass an option to the tasks. They receive the arguments of the command line, not changes of `options`."""
        self._cl_args.append(option)

    def set_input(self, lines: Iterable[object]) -> None:
        """Use these lines as the job's input."""
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        self.sandbox(BytesIO(text.encode()), self.stdout, self.stderr)

    def run_job(self) -> None:
        """Run the job with the runner of the command line, and print its result."""
        self.set_up_logging(quiet=self.options.quiet, verbose=self.options.verbose)
        write_line(sys.stdout, escape_json(self.render(self.output())))

    def output(self) -> bytes:
        """Run the job, and return the output of the last step. Raises JobFailed."""
        try:
            with self.make_runner() as runner:
                runner.run()
                return b"".join(runner.cat_output())
        except StepFailedException as error:
            raise JobFailed(f"mrjob's runner {self.options.runner!r} failed: {error}") from error

    def _is_local_spark(self) -> bool:
        return self.options.runner == "spark" and (self.options.spark_master or "local").startswith("local")
