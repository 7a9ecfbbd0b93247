"""Models and image folders for benchmarks."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.importing.importer import ImportSettings, import_traceable_model
from hybrid_batch.inference.model.importing.traceable_model import wrap_keras_model
from hybrid_batch.inference.planner.profile.sample import synthetic_photo

SHARED_DATA = Path(__file__).parent.parent.parent / "shared" / "data"


def keras_models() -> dict[str, Any]:
    """Return MobileNetV2 and ResNet50 with random weights, and a pretrained emotion model if its file exists."""
    from hybrid_batch.inference.model.tensorflow_loader import import_keras, suppress_output

    with suppress_output():
        applications = import_keras(3).applications
        models = {name: getattr(applications, name)(weights=None) for name in ("MobileNetV2", "ResNet50")}
        emotions = SHARED_DATA / "models" / "fer_mini_xception.hdf5"
        if emotions.is_file():
            models["emotions"] = import_keras(2).models.load_model(emotions, compile=False)
        else:
            print(f"(no emotion model in {emotions}; skipped)", file=sys.stderr)
    return models


def import_bundle(model: Any, folder: Path) -> Bundle:  # noqa: ANN401
    """Import a Keras model into a folder."""
    path = folder / f"{model.name.replace('.', '_')}.bundle"
    return import_traceable_model(wrap_keras_model(model), model.name, path, ImportSettings(scale="0-1")).bundle


@contextmanager
def image_folder(count: int, height: int, width: int) -> Iterator[Path]:
    """Create a folder of JPEG files of coloured blocks with noise, of about the size of photographs."""
    with TemporaryDirectory() as folder:
        random = np.random.default_rng(0)
        files = []
        for _ in range(min(count, 50)):
            files.append(synthetic_photo(random, height, width))
        for index in range(count):
            (Path(folder) / f"{index:06d}.jpg").write_bytes(files[index % len(files)])
        yield Path(folder)
