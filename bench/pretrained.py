"""Pretrained models with labelled images, if the shared data folder exists beside the checkout."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.fixtures import SHARED_DATA
from hybrid_batch.data.images.images import ImageSet, find_images
from hybrid_batch.data.images.labels import label_images
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.importing.resolve_model import resolve_model


@dataclass(frozen=True, slots=True)
class PretrainedModel:
    """A model file, the folder of its images, the options of `import`, and the cuts for measurements of codecs."""

    model: str
    images: str
    settings: tuple[str, ...]
    cuts: tuple[str, ...]


PRETRAINED = {
    "mobilenet": PretrainedModel(
        "imagenet_mobilenet_v1_025_224.keras",
        "imagenet256",
        ("--scale", "-1-1", "--classes", str(SHARED_DATA / "labels" / "imagenet.txt")),
        ("c011", "c024", "c037", "c038", "c039", "c051", "c076"),
    ),
    "resnet8": PretrainedModel(
        "cifar10_resnet8.h5",
        "cifar10",
        ("--scale", "0-255", "--classes", str(SHARED_DATA / "labels" / "cifar10.txt")),
        ("c003", "c005", "c007"),
    ),
    "emotions": PretrainedModel(
        "fer_mini_xception.hdf5",
        "fer",
        ("--scale", "-1-1", "--colour", "grey", "--classes", str(SHARED_DATA / "labels" / "fer.txt")),
        ("c006", "c007", "c008", "c009"),
    ),
}


def import_pretrained(name: str, folder: Path) -> tuple[Bundle, ImageSet]:
    """Import a model into the folder, in its own process; return the bundle and its labelled images."""
    pretrained = PRETRAINED[name]
    path = folder / f"{name}.bundle"
    command = [sys.executable, "-m", "hybrid_batch", "import", str(SHARED_DATA / "models" / pretrained.model)]
    subprocess.run([*command, *pretrained.settings, "-o", str(path)], check=True, capture_output=True)
    bundle = resolve_model(str(path))
    found = find_images(str(SHARED_DATA / "images" / pretrained.images))
    return bundle, ImageSet(found.root, label_images(found.table, "folders", bundle.labels).table)
