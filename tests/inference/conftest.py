"""Fixtures for tests of models: TensorFlow and both Keras versions, loaded once, and an empty cache."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from hybrid_batch.inference.model.importing.sandbox import isolated_import
from hybrid_batch.inference.model.importing.sandbox.child_process import ImportRequest, answer
from hybrid_batch.inference.model.importing.sandbox.conversation import outcome
from hybrid_batch.inference.model.importing.sandbox.limits import Protections
from hybrid_batch.inference.model.tensorflow_loader import import_keras, import_tensorflow, suppress_output


@pytest.fixture(scope="session")
def tf() -> ModuleType:
    return import_tensorflow()


@pytest.fixture(scope="session")
def keras() -> ModuleType:
    return import_keras(3)


@pytest.fixture(scope="session")
def tf_keras() -> ModuleType:
    return import_keras(2)


@pytest.fixture
def suppressed_output() -> Iterator[None]:
    """Suppress Keras' warnings about the test models."""
    with suppress_output():
        yield


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache, empty."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(folder))
    return folder


def import_here(request: ImportRequest, search: list[str], temporary: Path) -> tuple[Protections, tuple[str, ...]]:
    """Import in this process, with the code that the process of an import runs, and no limits."""
    result = json.dumps(answer(request.reference, request.output, json.loads(request.to_json())["settings"]))
    protections = Protections(7, True, request.network, request.limits.memory_bytes, request.limits.time_s)
    return protections, outcome(request, result.encode())


@pytest.fixture(autouse=True)
def import_in_this_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Import without a new process, which would load TensorFlow for each of hundreds of tests. A test that is about the
    process has the mark `child`."""
    if request.node.get_closest_marker("child") is None:
        monkeypatch.setattr(isolated_import, "ask_child", import_here)
