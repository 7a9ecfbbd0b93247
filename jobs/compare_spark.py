"""Compare two runs as a Spark job.

`python -m hybrid_batch.jobs.compare_spark RUN_A RUN_B` prints the comparison as JSON.

Each RUN is a run folder, or a log that holds a single run, local or s3://; the session is as in `spark_session`.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hybrid_batch.data.errors import HybridBatchError
from hybrid_batch.evaluation.comparison.comparison import build, to_json
from hybrid_batch.evaluation.comparison.run_join import Bag, from_bytes, merge, to_bytes
from hybrid_batch.jobs.engines.spark_session import on_spark
from hybrid_batch.jobs.input.comparison_input import Comparing, deal_part, find_comparing, join_bucket

if TYPE_CHECKING:
    from pyspark import SparkContext


def compare(comparing: Comparing) -> Bag:
    """The bag of two runs, by the Spark session of this process or else by one made for it.

    Raises MissingExtra where Spark or Java is not installed.
    """
    buckets, by, skip_bad = comparing.buckets, comparing.by, comparing.skip_bad

    def join(context: "SparkContext") -> list[bytes]:
        shares = min(len(comparing.parts), 2 * context.defaultParallelism)
        parts = context.parallelize(comparing.parts, shares)
        pieces = parts.flatMap(lambda part: deal_part(part, buckets, by, skip_bad)).groupByKey(buckets)
        bags: list[bytes] = pieces.map(lambda bucket: to_bytes(join_bucket(bucket[1], by))).collect()
        return bags

    return merge(map(from_bytes, on_spark(join)))


def main(arguments: Sequence[str]) -> None:
    """Compare the two runs named in the arguments and print the comparison."""
    parser = ArgumentParser(
        prog="python -m hybrid_batch.jobs.compare_spark", description="Compare two runs as a Spark job."
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="RUN_A and RUN_B, each LOG/run=ID or a LOG with one run")
    parser.add_argument("--by", action="append", default=[], metavar="COLUMN", help="slice by this column too")
    parser.add_argument("--skip-bad", action="store_true", help="leave out parts that cannot be read")
    options = parser.parse_args(arguments)
    comparing = find_comparing(options.runs, options.by, options.skip_bad)
    sys.stderr.writelines(f"{note}\n" for note in comparing.notes)
    sys.stdout.write(f"{to_json(build(compare(comparing), options.skip_bad))}\n")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except HybridBatchError as error:
        sys.exit(str(error))
