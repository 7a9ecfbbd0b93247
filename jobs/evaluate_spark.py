"""Evaluate runs as a Spark job.

`python -m hybrid_batch.jobs.evaluate_spark RUN...` prints the report as JSON.

RUN is a run folder, or a log that holds a single run, local or s3://. Spark shares out the list of their parts,
not the files: workers read a part through the same storage as everything else, so s3:// needs no jars.
Without a master of its own (`spark-submit` gives one) it runs on the cores of this machine.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from hybrid_batch.data.errors import HybridBatchError
from hybrid_batch.evaluation.counting.counts import from_bytes, merge, to_bytes
from hybrid_batch.evaluation.report import build, to_json
from hybrid_batch.evaluation.report_schema import Report
from hybrid_batch.jobs.engines.spark_session import on_spark
from hybrid_batch.jobs.input.part_list import Part, count_parts, find_work, whole

if TYPE_CHECKING:
    from pyspark import SparkContext

_SHARES_PER_CORE = 2  # so that one slow part does not keep a core to itself; more would only make more bags


def evaluate(parts: Sequence[Part], by: Sequence[str] = (), skip_bad: bool = False) -> Report:
    """The report of the parts, sliced also by the columns `by`, by the Spark session of this process or else by
    one made for it.

    Raises NotARun for a part that cannot be counted, unless `skip_bad`; MissingExtra where Spark or Java is not
    installed.
    """

    def count(context: "SparkContext") -> list[bytes]:
        shares = min(len(parts), context.defaultParallelism * _SHARES_PER_CORE)
        shared = context.parallelize(parts, max(1, shares))
        bags: list[bytes] = shared.mapPartitions(lambda share: _count(share, by)).collect()
        return bags

    report = build(merge(map(from_bytes, on_spark(count))))
    return report if skip_bad else whole(report)


def _count(parts: Iterable[Part], by: Sequence[str]) -> Iterator[bytes]:
    """One bag for a share of the parts."""
    yield to_bytes(count_parts(parts, by))


def main(arguments: Sequence[str]) -> None:
    """Evaluate the runs named in the arguments and print the report."""
    parser = ArgumentParser(
        prog="python -m hybrid_batch.jobs.evaluate_spark", description="Evaluate runs as a Spark job."
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="LOG/run=ID, or a LOG that holds a single run")
    parser.add_argument("--by", action="append", default=[], metavar="COLUMN", help="slice by this column too")
    parser.add_argument("--skip-bad", action="store_true", help="leave out parts that cannot be counted")
    options = parser.parse_args(arguments)
    work = find_work(options.runs)
    sys.stderr.writelines(f"{note}\n" for note in work.notes)
    sys.stdout.write(f"{to_json(evaluate(work.parts, options.by, options.skip_bad))}\n")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except HybridBatchError as error:
        sys.exit(str(error))
