"""What is measured: models as bundles, and folders of pictures."""

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

SHARED = Path(__file__).parent.parent.parent / "shared" / "data"


def keras_models() -> dict[str, Any]:
    """MobileNetV2 and ResNet50 with random weights, and a published emotion model where its file is at hand."""
    from hybrid_batch.inference.model.tensorflow_loader import import_keras, suppress_output

    with suppress_output():
        applications = import_keras(3).applications
        models = {name: getattr(applications, name)(weights=None) for name in ("MobileNetV2", "ResNet50")}
        emotions = SHARED / "models" / "fer_mini_xception.hdf5"
        if emotions.is_file():
            models["emotions"] = import_keras(2).models.load_model(emotions, compile=False)
        else:
            print(f"(no emotion model at {emotions}, left out)", file=sys.stderr)
    return models


def bundle_of(model: Any, folder: Path) -> Bundle:  # noqa: ANN401
    """A model object as a bundle in a folder."""
    path = folder / f"{model.name.replace('.', '_')}.bundle"
    return import_traceable_model(wrap_keras_model(model), model.name, path, ImportSettings(scale="0-1")).bundle


@contextmanager
def pictures(count: int, height: int, width: int) -> Iterator[Path]:
    """A folder of JPEG files of coloured blocks under noise, about as large as photographs compress."""
    with TemporaryDirectory() as folder:
        chance = np.random.default_rng(0)
        kinds = []
        for _ in range(min(count, 50)):
            kinds.append(synthetic_photo(chance, height, width))
        for number in range(count):
            (Path(folder) / f"{number:06d}.jpg").write_bytes(kinds[number % len(kinds)])
        yield Path(folder)
