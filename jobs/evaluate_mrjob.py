"""Evaluate runs as an mrjob job.

`python -m hybrid_batch.jobs.evaluate_mrjob -r inline RUN...` prints the report as JSON.

RUN is a run folder, or a log that holds a single run, local or s3://. The job's input is the list of their
parts, not the files, so a mapper reads a whole part and through the same storage with every runner.
Without RUN the list is read from standard input. A line is JSON: `[run, index]` for one part, or `[[run, index], …]`
for several parts of one mapper.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hybrid_batch.data.errors import HybridBatchError
from hybrid_batch.data.terminal.escapes import escape_controls, write_line
from hybrid_batch.evaluation.counting.counts import decode_counts, encode_counts, merge_counts
from hybrid_batch.evaluation.output.canonical_json import from_json, to_json
from hybrid_batch.evaluation.report import build_report
from hybrid_batch.evaluation.report_schema import Report
from hybrid_batch.jobs.engines.parts_job import PartsJob
from hybrid_batch.jobs.evaluate_inline import count
from hybrid_batch.jobs.input.part_list import Part, list_parts, require_complete

if TYPE_CHECKING:
    from mrjob.runner import MRJobRunner


class EvaluateRuns(PartsJob):
    """Parts to one set of counts for each mapper, counts to one report."""

    def configure_args(self) -> None:
        super().configure_args()
        self.add_passthru_arg("--threads", type=int, default=1, help="Threads of a mapper.")

    def mapper_init(self) -> None:
        self.parts: list[Part] = []

    def mapper(self, _: None, line: Sequence[Any]) -> None:
        parts = line if all(isinstance(part, list) for part in line) else [line]
        self.parts += [Part(*part) for part in parts]

    def mapper_final(self) -> Iterator[tuple[bytes, bytes]]:
        yield b"counts", encode_counts(count(self.parts, self.options.by, self.options.threads))

    def reducer(self, _: bytes, counts: Iterable[bytes]) -> Iterator[tuple[None, bytes]]:
        yield None, to_json(build_report(merge_counts(map(decode_counts, counts)))).encode()

    def make_runner(self) -> "MRJobRunner":
        if self.options.runner in (None, "inline"):  # its single mapper can use all cores
            self.forward_option(f"--threads={os.cpu_count() or 1}")
        return super().make_runner()

    def set_input(self, lines: Iterable[object]) -> None:
        if self.options.runner in (None, "inline"):  # one line: mrjob makes two mappers, with counts each, of two lines
            lines = [list(lines)]
        super().set_input(lines)

    def input_lines(self, uris: Sequence[str]) -> Iterator[tuple[str, int]]:
        runs = list_parts(uris)
        for note in runs.notes:
            write_line(sys.stderr, note)
        yield from lines(runs.parts)

    def render(self, output: bytes) -> str:
        return to_json(self.report(output))

    def report(self, output: bytes) -> Report:
        """The report in the job's output. Raises NotARun for a part that cannot be counted."""
        report = from_json(output.decode())
        return report if self.options.skip_unreadable else require_complete(report)


def evaluate(
    parts: Sequence[Part], by: Sequence[str] = (), skip_unreadable: bool = False, runner: str = "inline"
) -> Report:
    """The report of the parts, sliced also by the columns `by`, with a runner of `parts_job.LOCAL_RUNNERS`.

    Raises NotARun for a part that cannot be counted, unless `skip_unreadable`; JobFailed, MissingExtra.
    """
    job = EvaluateRuns.for_runner(runner, by, skip_unreadable)
    job.set_input(lines(parts))
    return job.report(job.output())


def lines(parts: Iterable[Part]) -> Iterator[tuple[str, int]]:
    """The lines of the job's input, one for each part."""
    return ((part.run, part.index) for part in parts)


if __name__ == "__main__":
    try:
        EvaluateRuns.run()
    except HybridBatchError as error:
        sys.exit(escape_controls(f"hybrid-batch: {error}"))
