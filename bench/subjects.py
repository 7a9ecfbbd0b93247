"""What is measured: models as bundles, and folders of pictures."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.importing.importer import ImportSettings, import_source
from hybrid_batch.inference.model.importing.traceable_model import trace

SHARED = Path(__file__).parent.parent.parent / "shared" / "data"


def keras_models() -> dict[str, Any]:
    """MobileNetV2 and ResNet50 with random weights, and a published emotion model where its file is at hand."""
    from hybrid_batch.inference.model.tensorflow_loader import import_keras, quiet

    with quiet():
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
    return import_source(trace(model), model.name, path, ImportSettings(scale="0-1")).bundle


@contextmanager
def pictures(count: int, height: int, width: int) -> Iterator[Path]:
    """A folder of JPEG files of coloured blocks under noise, about as large as photographs compress."""
    with TemporaryDirectory() as folder:
        chance = np.random.default_rng(0)
        kinds = []
        for _ in range(min(count, 50)):
            blocks = chance.integers(0, 256, (-(-height // 16), -(-width // 16), 3))
            image = np.kron(blocks, np.ones((16, 16, 1)))[:height, :width] + chance.normal(0, 6, (height, width, 3))
            buffer = io.BytesIO()
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
            kinds.append(buffer.getvalue())
        for number in range(count):
            (Path(folder) / f"{number:06d}.jpg").write_bytes(kinds[number % len(kinds)])
        yield Path(folder)
