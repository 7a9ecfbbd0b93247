"""Fixtures for tests of models: TensorFlow and both Keras versions, imported once, and an empty cache."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

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
