"""Compare two runs as a Spark job.

`python -m hybrid_batch.jobs.compare_spark RUN_A RUN_B` prints the comparison as JSON.

Each RUN is a run folder, or a log that holds a single run, local or s3://. `spark_session` describes the session.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hybrid_batch.data.errors import HybridBatchError
from hybrid_batch.data.terminal.escapes import escape_controls, escape_json, write_line
from hybrid_batch.evaluation.comparison.comparison import build_comparison
from hybrid_batch.evaluation.comparison.run_join import (
    JoinCounts,
    decode_join_counts,
    encode_join_counts,
    merge_join_counts,
)
from hybrid_batch.evaluation.output.canonical_json import to_json
from hybrid_batch.jobs.engines.spark_session import run_on_spark
from hybrid_batch.jobs.input.comparison_input import (
    ComparisonInput,
    join_bucket,
    list_comparison_input,
    partition_part,
)

if TYPE_CHECKING:
    from pyspark import SparkContext


def compare(runs: ComparisonInput) -> JoinCounts:
    """The counts of two runs, with the Spark session of this process or with a new one.

    Raises MissingExtra where Spark or Java is not installed.
    """
    buckets, by, skip_unreadable = runs.buckets, runs.by, runs.skip_unreadable

    def count(context: "SparkContext") -> list[bytes]:
        shares = min(len(runs.parts), 2 * context.defaultParallelism)
        parts = context.parallelize(runs.parts, shares)
        pieces = parts.flatMap(lambda part: partition_part(part, buckets, by, skip_unreadable)).groupByKey(buckets)
        counts: list[bytes] = pieces.map(lambda bucket: encode_join_counts(join_bucket(bucket[1], by))).collect()
        return counts

    return merge_join_counts(map(decode_join_counts, run_on_spark(count)))


def main(arguments: Sequence[str]) -> None:
    """Compare the two runs named in the arguments and print the comparison."""
    parser = ArgumentParser(
        prog="python -m hybrid_batch.jobs.compare_spark", description="Compare two runs as a Spark job."
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="RUN_A and RUN_B, each LOG/run=ID or a LOG with one run")
    parser.add_argument("--by", action="append", default=[], metavar="COLUMN", help="slice by this column too")
    parser.add_argument("--skip-unreadable", action="store_true", help="leave out parts that are unreadable")
    options = parser.parse_args(arguments)
    runs = list_comparison_input(options.runs, options.by, options.skip_unreadable)
    for note in runs.notes:
        write_line(sys.stderr, note)
    write_line(sys.stdout, escape_json(to_json(build_comparison(compare(runs), options.skip_unreadable))))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except HybridBatchError as error:
        sys.exit(escape_controls(f"hybrid-batch: {error}"))
