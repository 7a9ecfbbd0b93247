"""What both mrjob jobs are: jobs whose input is a list of parts, a line of JSON each, on whatever runner mrjob has.

A mapper reads a part through the same storage on every runner, so it is the list that is shared out and not the files.
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Self

from hybrid_batch.data.errors import JobFailed
from hybrid_batch.jobs.engines.mrjob_import import (
    BytesProtocol,
    BytesValueProtocol,
    JSONValueProtocol,
    MRJob,
    StepFailedException,
)
from hybrid_batch.jobs.engines.spark_session import ALONE, find_java

if TYPE_CHECKING:
    from mrjob.runner import MRJobRunner

HERE = ("inline", "local", "spark")  # the runners that need nothing but this machine
_HADOOP = ("hadoop", "emr")
_A_LINE_A_MAPPER = "org.apache.hadoop.mapred.lib.NLineInputFormat"


class PartsJob(MRJob):  # type: ignore[misc]  # mrjob has no types
    """Gives `lines` for the runs named on the command line, and `printed` of what the last step left."""

    INPUT_PROTOCOL = JSONValueProtocol
    INTERNAL_PROTOCOL = BytesProtocol
    OUTPUT_PROTOCOL = BytesValueProtocol

    @classmethod
    def on(cls, runner: str, by: Sequence[str], skip_bad: bool, *more: str) -> Self:
        """The job on a runner of `HERE`, quiet and with no configuration of the user's."""
        cls.set_up_logging(quiet=True)
        options = [*(f"--by={name}" for name in by), *(["--skip-bad"] if skip_bad else []), *more]
        if runner == "local":
            options.append("--no-bootstrap-mrjob")  # its processes have ours
        return cls(["-r", runner, "--no-conf", *options])

    def configure_args(self) -> None:
        super().configure_args()
        self.add_passthru_arg("--by", action="append", default=[], help="Slice by this column too.")
        self.add_passthru_arg("--skip-bad", action="store_true", help="Leave out parts that cannot be read.")

    def lines(self, runs: Sequence[str]) -> Iterator[object]:
        """A line for each part of the runs; what there is to note of them goes to standard error."""
        raise NotImplementedError

    def printed(self, output: bytes) -> str:
        """What the job prints, of its output."""
        raise NotImplementedError

    def hadoop_input_format(self) -> str | None:
        return _A_LINE_A_MAPPER if self.options.runner in _HADOOP else None  # Spark, asked too, cannot use it

    def jobconf(self) -> dict[str, str]:
        if self.options.runner in _HADOOP:  # that input format gives every line a key, for mappers to trip over
            return {"stream.map.input.ignoreKey": "true"}
        return dict(ALONE) if self._spark_here() else {}

    def make_runner(self) -> "MRJobRunner":
        """mrjob's runner, its input the list of the parts of the runs named on the command line."""
        if self.options.runner in (None, "inline"):  # one mapper after the other: fewer have fewer bags to merge
            self.options.num_cores = self.options.num_cores or 1
        if self._spark_here():
            import pyspark

            find_java(pyspark.__version__)
            os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
            self.options.python_bin = self.options.python_bin or sys.executable
        if self.options.args:
            self.take(self.lines(self.options.args))
            self.options.args = []
        return super().make_runner()

    def pass_on(self, option: str) -> None:
        """Give an option to the tasks too. They get what the command line says, and hear nothing of `options`."""
        self._cl_args.append(option)

    def take(self, lines: Iterable[object]) -> None:
        """Have these lines as the input."""
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        self.sandbox(BytesIO(text.encode()), self.stdout, self.stderr)

    def run_job(self) -> None:
        """Run on the runner asked for and print."""
        self.set_up_logging(quiet=self.options.quiet, verbose=self.options.verbose)
        sys.stdout.write(f"{self.printed(self.output())}\n")

    def output(self) -> bytes:
        """Run, and give what the last step left. Raises JobFailed."""
        try:
            with self.make_runner() as runner:
                runner.run()
                return b"".join(runner.cat_output())
        except StepFailedException as error:
            raise JobFailed(f"mrjob's runner {self.options.runner!r} failed: {error}") from error

    def _spark_here(self) -> bool:
        return self.options.runner == "spark" and (self.options.spark_master or "local").startswith("local")
