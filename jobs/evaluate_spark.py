"""Evaluate runs as a Spark job.

`python -m hybrid_batch.jobs.evaluate_spark RUN...` prints the report as JSON.

RUN is a run folder, or a log that holds a single run, local or s3://. Spark divides the list of their parts among
its workers, not the files; a worker reads a part through this project's storage, so s3:// needs no jars.
Without a master from `spark-submit` the job runs on the cores of this machine.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from hybrid_batch.data.errors import HybridBatchError
from hybrid_batch.data.terminal.escapes import escape_controls, escape_json, write_line
from hybrid_batch.evaluation.counting.counts import decode_counts, encode_counts, merge_counts
from hybrid_batch.evaluation.output.canonical_json import to_json
from hybrid_batch.evaluation.report import build_report
from hybrid_batch.evaluation.report_schema import Report
from hybrid_batch.jobs.engines.spark_session import run_on_spark
from hybrid_batch.jobs.input.part_list import Part, count_parts, list_parts, require_complete

if TYPE_CHECKING:
    from pyspark import SparkContext

_SHARES_PER_CORE = 2  # keeps cores busy beside one slow part; more shares would only make more counts to merge


def evaluate(parts: Sequence[Part], by: Sequence[str] = (), skip_unreadable: bool = False) -> Report:
    """The report of the parts, sliced also by the columns `by`, with this process's Spark session or a new one.

    Raises NotARun for a part that cannot be counted, unless `skip_unreadable`; MissingExtra where Spark or Java is not
    installed.
    """

    def count(context: "SparkContext") -> list[bytes]:
        shares = min(len(parts), context.defaultParallelism * _SHARES_PER_CORE)
        shared = context.parallelize(parts, max(1, shares))
        counts: list[bytes] = shared.mapPartitions(lambda share: _count(share, by)).collect()
        return counts

    report = build_report(merge_counts(map(decode_counts, run_on_spark(count))))
    return report if skip_unreadable else require_complete(report)


def _count(parts: Iterable[Part], by: Sequence[str]) -> Iterator[bytes]:
    """The encoded counts of a share of the parts."""
    yield encode_counts(count_parts(parts, by))


def main(arguments: Sequence[str]) -> None:
    """Evaluate the runs named in the arguments and print the report."""
    parser = ArgumentParser(
        prog="python -m hybrid_batch.jobs.evaluate_spark", description="Evaluate runs as a Spark job."
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="LOG/run=ID, or a LOG that holds a single run")
    parser.add_argument("--by", action="append", default=[], metavar="COLUMN", help="slice by this column too")
    parser.add_argument("--skip-unreadable", action="store_true", help="leave out parts that cannot be counted")
    options = parser.parse_args(arguments)
    runs = list_parts(options.runs)
    for note in runs.notes:
        write_line(sys.stderr, note)
    write_line(sys.stdout, escape_json(to_json(evaluate(runs.parts, options.by, options.skip_unreadable))))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except HybridBatchError as error:
        sys.exit(escape_controls(f"hybrid-batch: {error}"))
