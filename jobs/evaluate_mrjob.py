"""Evaluate runs as an mrjob job: `python -m jobs.evaluate_mrjob -r inline RUN...` prints the report as JSON.

RUN is a run folder, or a log that holds a single run, local or s3://. The job's input is the list of their
parts, not the files themselves, so a mapper reads a part whole and through the same storage on every runner.
Without RUN the list is read from standard input: a line of JSON, `[run, index]`, for each part.
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from typing import TYPE_CHECKING

from data.errors import HybridBatchError
from evaluation.counts import from_bytes, merge, to_bytes
from evaluation.report import build, from_json, to_json
from evaluation.shape import Report
from jobs.inline import count
from jobs.mapreduce import BytesProtocol, BytesValueProtocol, JSONValueProtocol, MRJob, StepFailedException
from jobs.parts import Part, find_work, whole

if TYPE_CHECKING:
    from mrjob.runner import MRJobRunner


class EvaluateRuns(MRJob):  # type: ignore[misc]  # mrjob has no types
    """Parts to one bag of counts a mapper, bags to one report."""

    INPUT_PROTOCOL = JSONValueProtocol
    INTERNAL_PROTOCOL = BytesProtocol
    OUTPUT_PROTOCOL = BytesValueProtocol

    def configure_args(self) -> None:
        super().configure_args()
        self.add_passthru_arg("--by", action="append", default=[], help="Slice by this column too.")
        self.add_passthru_arg("--threads", type=int, default=1, help="Threads of a mapper.")
        self.add_passthru_arg("--skip-bad", action="store_true", help="Leave out parts that cannot be counted.")

    def mapper_init(self) -> None:
        self.parts: list[Part] = []

    def mapper(self, _: None, line: tuple[str, int]) -> None:
        self.parts.append(Part(*line))

    def mapper_final(self) -> Iterator[tuple[bytes, bytes]]:
        yield b"counts", to_bytes(count(self.parts, self.options.by, self.options.threads))

    def reducer(self, _: bytes, bags: Iterable[bytes]) -> Iterator[tuple[None, bytes]]:
        yield None, to_json(build(merge(map(from_bytes, bags)))).encode()

    def make_runner(self) -> "MRJobRunner":
        """mrjob's runner, its input the list of the parts of the runs named on the command line."""
        if self.options.runner in (None, "inline"):  # one mapper after the other: each may have the machine
            self.options.threads = os.cpu_count() or 1
        if self.options.args:
            work = find_work(self.options.args)
            sys.stderr.writelines(f"{note}\n" for note in work.notes)
            self.sandbox(_lines(work.parts), self.stdout, self.stderr)
            self.options.args = []
        return super().make_runner()

    def run_job(self) -> None:
        """Run on the runner asked for and print the report."""
        self.set_up_logging(quiet=self.options.quiet, verbose=self.options.verbose)
        sys.stdout.write(f"{to_json(self.report())}\n")

    def report(self) -> Report:
        """Run, and give the report. Raises NotARun for a part that cannot be counted."""
        with self.make_runner() as runner:
            runner.run()
            report = from_json(b"".join(runner.cat_output()).decode())
            return report if self.options.skip_bad else whole(report)


def evaluate(parts: Sequence[Part], by: Sequence[str] = (), skip_bad: bool = False) -> Report:
    """The report of the parts, sliced also by the columns `by`, by mrjob in this process.

    Raises NotARun for a part that cannot be counted, unless `skip_bad`.
    """
    EvaluateRuns.set_up_logging(quiet=True)
    options = [*(f"--by={name}" for name in by), *(["--skip-bad"] if skip_bad else [])]
    job = EvaluateRuns(["-r", "inline", "--no-conf", *options])
    job.sandbox(_lines(parts))
    return job.report()


def _lines(parts: Iterable[Part]) -> BytesIO:
    return BytesIO("".join(f"{json.dumps([part.run, part.index])}\n" for part in parts).encode())


if __name__ == "__main__":
    try:
        EvaluateRuns.run()
    except (HybridBatchError, StepFailedException) as error:
        sys.exit(str(error))
