"""Compare two runs as an mrjob job: `python -m jobs.compare_mrjob -r inline RUN_A RUN_B` prints the comparison as JSON.

Each RUN is a run folder, or a log that holds a single run, local or s3://. The job's input is the list of their parts;
a mapper deals the records of a part to buckets, a reducer joins a bucket, and a last one adds up what they counted.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import TYPE_CHECKING

from data.errors import HybridBatchError
from evaluation.comparison import build, to_json
from evaluation.pairing import Bag, from_bytes, merge, to_bytes
from jobs.mapreduce import BytesProtocol, BytesValueProtocol, JSONValueProtocol, MRJob, MRStep, StepFailedException
from jobs.sides import Comparing, SidePart, deal_part, find_comparing, join_bucket

if TYPE_CHECKING:
    from mrjob.runner import MRJobRunner


class CompareRuns(MRJob):  # type: ignore[misc]  # mrjob has no types
    """Parts to buckets, buckets to bags, bags to one."""

    INPUT_PROTOCOL = JSONValueProtocol
    INTERNAL_PROTOCOL = BytesProtocol
    OUTPUT_PROTOCOL = BytesValueProtocol

    def configure_args(self) -> None:
        super().configure_args()
        self.add_passthru_arg("--by", action="append", default=[], help="Slice by this column too.")
        self.add_passthru_arg("--buckets", type=int, default=1, help="Buckets to deal the images to; found out.")

    def steps(self) -> "list[MRStep]":
        return [
            MRStep(mapper=self.deal_part, reducer=self.join_bucket),
            MRStep(reducer=self.merge_bags),
        ]

    def deal_part(self, _: None, line: tuple[str, str, int]) -> Iterator[tuple[bytes, bytes]]:
        for bucket, piece in deal_part(SidePart(*line), self.options.buckets, self.options.by):
            yield b"%d" % bucket, piece

    def join_bucket(self, _: bytes, pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
        yield b"bag", to_bytes(join_bucket(pieces, self.options.by))

    def merge_bags(self, _: bytes, bags: Iterable[bytes]) -> Iterator[tuple[None, bytes]]:
        yield None, to_bytes(merge(map(from_bytes, bags)))

    def make_runner(self) -> "MRJobRunner":
        """mrjob's runner, its input the list of the parts of the two runs named on the command line."""
        if self.options.args:
            comparing = find_comparing(self.options.args, self.options.by)
            sys.stderr.writelines(f"{note}\n" for note in comparing.notes)
            self.options.args, self.options.buckets = [], comparing.buckets
            self.sandbox(_lines(comparing), self.stdout, self.stderr)
        return super().make_runner()

    def run_job(self) -> None:
        """Run on the runner asked for and print the comparison."""
        self.set_up_logging(quiet=self.options.quiet, verbose=self.options.verbose)
        sys.stdout.write(f"{to_json(build(self.bag()))}\n")

    def bag(self) -> Bag:
        """Run, and give the bag of the two runs."""
        with self.make_runner() as runner:
            runner.run()
            return from_bytes(b"".join(runner.cat_output()))


def compare(comparing: Comparing) -> Bag:
    """The bag of two runs, by mrjob in this process."""
    CompareRuns.set_up_logging(quiet=True)
    by = [f"--by={name}" for name in comparing.by]
    job = CompareRuns(["-r", "inline", "--no-conf", f"--buckets={comparing.buckets}", *by])
    job.sandbox(_lines(comparing))
    return job.bag()


def _lines(comparing: Comparing) -> BytesIO:
    rows = ([part.side, part.run, part.index] for part in comparing.parts)
    return BytesIO("".join(f"{json.dumps(row)}\n" for row in rows).encode())


if __name__ == "__main__":
    try:
        CompareRuns.run()
    except (HybridBatchError, StepFailedException) as error:
        sys.exit(str(error))
