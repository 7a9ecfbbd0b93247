import sys
from collections.abc import Iterator

import pytest

from tests.conftest import HANG_S


@pytest.fixture(autouse=True, scope="module")
def own_java() -> Iterator[None]:
    """Stop Java after each module: it outlives a Spark session and keeps the environment of its start."""
    yield
    if "pyspark" in sys.modules:
        from pyspark import SparkContext

        gateway = SparkContext._gateway
        if gateway is not None:
            gateway.shutdown()
            gateway.proc.stdin.close()
            gateway.proc.wait(HANG_S)
            SparkContext._gateway = SparkContext._jvm = None
