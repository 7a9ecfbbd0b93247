"""Published models with their real weights and labelled pictures, where their folder stands beside the checkout."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.fixtures import SHARED
from hybrid_batch.data.images.images import ImageSet, find_images
from hybrid_batch.data.images.labels import label_images
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.importing.resolve_model import resolve_model


@dataclass(frozen=True, slots=True)
class Published:
    """A model of the folder, the folder of its pictures, what `import` must be told, and cuts to measure codecs at."""

    model: str
    images: str
    settings: tuple[str, ...]
    cuts: tuple[str, ...]


PUBLISHED = {
    "mobilenet": Published(
        "imagenet_mobilenet_v1_025_224.keras",
        "imagenet256",
        ("--scale", "-1-1", "--classes", str(SHARED / "labels" / "imagenet.txt")),
        ("c011", "c024", "c037", "c038", "c039", "c051", "c076"),
    ),
    "resnet8": Published(
        "cifar10_resnet8.h5",
        "cifar10",
        ("--scale", "0-255", "--classes", str(SHARED / "labels" / "cifar10.txt")),
        ("c003", "c005", "c007"),
    ),
    "emotions": Published(
        "fer_mini_xception.hdf5",
        "fer",
        ("--scale", "-1-1", "--colour", "grey", "--classes", str(SHARED / "labels" / "fer.txt")),
        ("c006", "c007", "c008", "c009"),
    ),
}


def import_published(name: str, folder: Path) -> tuple[Bundle, ImageSet]:
    """Its bundle, made in the folder by a process of its own, and its pictures with their labels."""
    published = PUBLISHED[name]
    path = folder / f"{name}.bundle"
    command = [sys.executable, "-m", "hybrid_batch", "import", str(SHARED / "models" / published.model)]
    subprocess.run([*command, *published.settings, "-o", str(path)], check=True, capture_output=True)
    bundle = resolve_model(str(path))
    found = find_images(str(SHARED / "images" / published.images))
    return bundle, ImageSet(found.root, label_images(found.table, "folders", bundle.labels).table)
