"""Requirements for another machine's Python."""

import sys
from importlib.metadata import version

import pytest

from hybrid_batch.data.packaging.wheels import installed_requirements

RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.mark.parametrize(("python", "relation"), [("3.9", "<="), (RUNNING, "=="), ("3.100", "==")])
def test_an_older_python_gets_the_newest_version_up_to_the_installed_one(python: str, relation: str) -> None:
    assert installed_requirements("numpy", python=python) == (f"numpy{relation}{version('numpy')}",)
