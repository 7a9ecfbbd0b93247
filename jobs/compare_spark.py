"""Compare two runs as a Spark job: `python -m jobs.compare_spark RUN_A RUN_B` prints the comparison as JSON.

Each RUN is a run folder, or a log that holds a single run, local or s3://; the session is as in `spark_session`.
"""

import sys
from collections.abc import Sequence

from data.errors import HybridBatchError
from evaluation.comparison import build, to_json
from evaluation.pairing import Bag, from_bytes, merge, to_bytes
from jobs.sides import Comparing, deal_part, find_comparing, join_bucket
from jobs.spark_session import spark_session


def compare(comparing: Comparing) -> Bag:
    """The bag of two runs, by the Spark session of this process or else by one made for it.

    Raises MissingExtra where Spark or Java is not installed.
    """
    buckets, by = comparing.buckets, comparing.by
    with spark_session() as spark:
        context = spark.sparkContext
        shares = min(len(comparing.parts), 2 * context.defaultParallelism)
        parts = context.parallelize(comparing.parts, shares)
        pieces = parts.flatMap(lambda part: deal_part(part, buckets, by)).groupByKey(buckets)
        bags = pieces.map(lambda bucket: to_bytes(join_bucket(bucket[1], by))).collect()
    return merge(map(from_bytes, bags))


def main(uris: Sequence[str]) -> None:
    """Compare the two runs at `uris` and print the comparison."""
    comparing = find_comparing(uris)
    sys.stderr.writelines(f"{note}\n" for note in comparing.notes)
    sys.stdout.write(f"{to_json(build(compare(comparing)))}\n")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except HybridBatchError as error:
        sys.exit(str(error))
