"""Compare two runs as an mrjob job.

`python -m hybrid_batch.jobs.compare_mrjob -r inline RUN_A RUN_B` prints the comparison as JSON.

Each RUN is a run folder, or a log that holds a single run, local or s3://. The job's input is the list of their parts;
a mapper deals the records of a part to buckets, a reducer joins a bucket, and a last one adds up what they counted.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence

from hybrid_batch.data.errors import HybridBatchError
from hybrid_batch.evaluation.comparison.comparison import build, to_json
from hybrid_batch.evaluation.comparison.run_join import Bag, from_bytes, merge, to_bytes
from hybrid_batch.jobs.engines.mrjob_import import MRStep
from hybrid_batch.jobs.engines.parts_job import PartsJob
from hybrid_batch.jobs.input.comparison_input import Comparing, SidePart, deal_part, find_comparing, join_bucket


class CompareRuns(PartsJob):
    """Parts to buckets, buckets to bags, bags to one."""

    def configure_args(self) -> None:
        super().configure_args()
        self.add_passthru_arg("--buckets", type=int, default=1, help="Buckets to deal the images to; found out.")

    def steps(self) -> "list[MRStep]":
        return [
            MRStep(mapper=self.deal_part, reducer=self.join_bucket),
            MRStep(reducer=self.merge_bags),
        ]

    def deal_part(self, _: None, line: tuple[str, str, int]) -> Iterator[tuple[bytes, bytes]]:
        options = self.options
        for bucket, piece in deal_part(SidePart(*line), options.buckets, options.by, options.skip_bad):
            yield b"%d" % bucket, piece

    def join_bucket(self, _: bytes, pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
        yield b"bag", to_bytes(join_bucket(pieces, self.options.by))

    def merge_bags(self, _: bytes, bags: Iterable[bytes]) -> Iterator[tuple[None, bytes]]:
        yield None, to_bytes(merge(map(from_bytes, bags)))

    def lines(self, runs: Sequence[str]) -> Iterator[tuple[str, str, int]]:
        comparing = find_comparing(runs, self.options.by, self.options.skip_bad)
        sys.stderr.writelines(f"{note}\n" for note in comparing.notes)
        self.pass_on(f"--buckets={comparing.buckets}")
        yield from lines(comparing)

    def printed(self, output: bytes) -> str:
        return to_json(build(from_bytes(output), self.options.skip_bad))


def compare(comparing: Comparing, runner: str = "inline") -> Bag:
    """The bag of two runs, by one of mrjob's runners of `parts_job.HERE`. Raises JobFailed, MissingExtra."""
    job = CompareRuns.on(runner, comparing.by, comparing.skip_bad, f"--buckets={comparing.buckets}")
    job.take(lines(comparing))
    return from_bytes(job.output())


def lines(comparing: Comparing) -> Iterator[tuple[str, str, int]]:
    """The lines of the job's input."""
    return ((part.side, part.run, part.index) for part in comparing.parts)


if __name__ == "__main__":
    try:
        CompareRuns.run()
    except HybridBatchError as error:
        sys.exit(str(error))
