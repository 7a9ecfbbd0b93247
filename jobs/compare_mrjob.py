"""Compare two runs as an mrjob job.

`python -m hybrid_batch.jobs.compare_mrjob -r inline RUN_A RUN_B` prints the comparison as JSON.

Each RUN is a run folder, or a log that holds a single run, local or s3://. The job's input is the list of their parts.
A mapper partitions the records of a part into buckets, a reducer joins a bucket, and a second reducer adds the counts.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence

from hybrid_batch.data.errors import HybridBatchError
from hybrid_batch.data.terminal.escapes import escape_controls, write_line
from hybrid_batch.evaluation.comparison.comparison import build_comparison
from hybrid_batch.evaluation.comparison.run_join import (
    JoinCounts,
    decode_join_counts,
    encode_join_counts,
    merge_join_counts,
)
from hybrid_batch.evaluation.output.canonical_json import to_json
from hybrid_batch.jobs.engines.mrjob_import import MRStep
from hybrid_batch.jobs.engines.parts_job import PartsJob
from hybrid_batch.jobs.input.comparison_input import (
    ComparisonInput,
    SidePart,
    join_bucket,
    list_comparison_input,
    partition_part,
)


class CompareRuns(PartsJob):
    """Parts to buckets, buckets to counts, counts to their sum."""

    def configure_args(self) -> None:
        super().configure_args()
        self.add_passthru_arg("--buckets", type=int, default=1, help="Number of buckets; set by the job itself.")

    def steps(self) -> "list[MRStep]":
        return [
            MRStep(mapper=self.partition_part, reducer=self.join_bucket),
            MRStep(reducer=self.merge_counts),
        ]

    def partition_part(self, _: None, line: tuple[str, str, int, int]) -> Iterator[tuple[bytes, bytes]]:
        options = self.options
        for bucket, piece in partition_part(SidePart(*line), options.buckets, options.by, options.skip_unreadable):
            yield b"%d" % bucket, piece

    def join_bucket(self, _: bytes, pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
        yield b"counts", encode_join_counts(join_bucket(pieces, self.options.by))

    def merge_counts(self, _: bytes, counts: Iterable[bytes]) -> Iterator[tuple[None, bytes]]:
        yield None, encode_join_counts(merge_join_counts(map(decode_join_counts, counts)))

    def input_lines(self, uris: Sequence[str]) -> Iterator[tuple[str, str, int, int]]:
        runs = list_comparison_input(uris, self.options.by, self.options.skip_unreadable)
        for note in runs.notes:
            write_line(sys.stderr, note)
        self.forward_option(f"--buckets={runs.buckets}")
        yield from lines(runs)

    def render(self, output: bytes) -> str:
        return to_json(build_comparison(decode_join_counts(output), self.options.skip_unreadable))


def compare(runs: ComparisonInput, runner: str = "inline") -> JoinCounts:
    """The counts of two runs, with a runner of `parts_job.LOCAL_RUNNERS`. Raises JobFailed, MissingExtra."""
    job = CompareRuns.for_runner(runner, runs.by, runs.skip_unreadable, f"--buckets={runs.buckets}")
    job.set_input(lines(runs))
    return decode_join_counts(job.output())


def lines(runs: ComparisonInput) -> Iterator[tuple[str, str, int, int]]:
    """The lines of the job's input, one for each part."""
    return ((part.side, part.run, part.index, part.most_rows) for part in runs.parts)


if __name__ == "__main__":
    try:
        CompareRuns.run()
    except HybridBatchError as error:
        sys.exit(escape_controls(f"hybrid-batch: {error}"))
