"""Evaluate runs as an mrjob job.

`python -m hybrid_batch.jobs.evaluate_mrjob -r inline RUN...` prints the report as JSON.

RUN is a run folder, or a log that holds a single run, local or s3://. The job's input is the list of their
parts, not the files themselves, so a mapper reads a part whole and through the same storage on every runner.
Without RUN the list is read from standard input: a line of JSON, `[run, index]`, for each part, or `[[run, index], …]`
for several that one mapper is to have.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hybrid_batch.data.errors import HybridBatchError
from hybrid_batch.evaluation.counting.counts import from_bytes, merge, to_bytes
from hybrid_batch.evaluation.report import build, from_json, to_json
from hybrid_batch.evaluation.report_schema import Report
from hybrid_batch.jobs.engines.parts_job import PartsJob
from hybrid_batch.jobs.evaluate_inline import count
from hybrid_batch.jobs.input.part_list import Part, find_work, whole

if TYPE_CHECKING:
    from mrjob.runner import MRJobRunner


class EvaluateRuns(PartsJob):
    """Parts to one bag of counts a mapper, bags to one report."""

    def configure_args(self) -> None:
        super().configure_args()
        self.add_passthru_arg("--threads", type=int, default=1, help="Threads of a mapper.")

    def mapper_init(self) -> None:
        self.parts: list[Part] = []

    def mapper(self, _: None, line: Sequence[Any]) -> None:
        parts = line if all(isinstance(part, list) for part in line) else [line]
        self.parts += [Part(*part) for part in parts]

    def mapper_final(self) -> Iterator[tuple[bytes, bytes]]:
        yield b"counts", to_bytes(count(self.parts, self.options.by, self.options.threads))

    def reducer(self, _: bytes, bags: Iterable[bytes]) -> Iterator[tuple[None, bytes]]:
        yield None, to_json(build(merge(map(from_bytes, bags)))).encode()

    def make_runner(self) -> "MRJobRunner":
        if self.options.runner in (None, "inline"):  # its one mapper may have the machine
            self.pass_on(f"--threads={os.cpu_count() or 1}")
        return super().make_runner()

    def take(self, lines: Iterable[object]) -> None:
        if self.options.runner in (None, "inline"):  # of two lines mrjob makes two mappers, each with bags of its own
            lines = [list(lines)]
        super().take(lines)

    def lines(self, runs: Sequence[str]) -> Iterator[tuple[str, int]]:
        work = find_work(runs)
        sys.stderr.writelines(f"{note}\n" for note in work.notes)
        yield from lines(work.parts)

    def printed(self, output: bytes) -> str:
        return to_json(self.report(output))

    def report(self, output: bytes) -> Report:
        """The report that the job left. Raises NotARun for a part that cannot be counted."""
        report = from_json(output.decode())
        return report if self.options.skip_bad else whole(report)


def evaluate(parts: Sequence[Part], by: Sequence[str] = (), skip_bad: bool = False, runner: str = "inline") -> Report:
    """The report of the parts, sliced also by the columns `by`, by one of mrjob's runners of `parts_job.HERE`.

    Raises NotARun for a part that cannot be counted, unless `skip_bad`; JobFailed, MissingExtra.
    """
    job = EvaluateRuns.on(runner, by, skip_bad)
    job.take(lines(parts))
    return job.report(job.output())


def lines(parts: Iterable[Part]) -> Iterator[tuple[str, int]]:
    """The lines of the job's input."""
    return ((part.run, part.index) for part in parts)


if __name__ == "__main__":
    try:
        EvaluateRuns.run()
    except HybridBatchError as error:
        sys.exit(str(error))
