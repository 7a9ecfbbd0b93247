"""What tests of importing share: TensorFlow and the Kerases, imported once, and a cache of their own."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from hybrid_batch.inference.model.tensorflow_loader import import_keras, import_tensorflow, quiet


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
def quietly() -> Iterator[None]:
    """Without Keras' warnings about how the models here are made and saved."""
    with quiet():
        yield


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache, empty."""
    place = tmp_path / "cache"
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(place))
    return place
