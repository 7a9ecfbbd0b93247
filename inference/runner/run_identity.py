"""Claim a run folder: the same command finds its own run again, another command is told so."""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from hybrid_batch.data.errors import OtherSettings
from hybrid_batch.data.images.images import Images
from hybrid_batch.data.log.runs import RunFolder, shards
from hybrid_batch.inference.model.bundle import Bundle

_SOFTWARE = ("hybrid-batch", "openvino", "numpy", "pillow", "pyarrow")


@dataclass(frozen=True, slots=True)
class Identity:
    """What decides the predictions of a run, besides its images."""

    bundle: str
    split: str
    codec: str
    engine: str

    def run_id(self, images: pa.Table) -> str:
        """A name for the run: equal for equal bundle, settings and images (names, labels, sizes)."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode())
        for column in images.columns:
            for value in column.to_pylist():
                digest.update(f"{value}\n".encode())
        return digest.hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Claim:
    """What stands in a run folder that is ours: the images it was made for, and its shard size."""

    images: Images
    shard_size: int

    def is_whole(self, folder: RunFolder) -> bool:
        """Whether every part stands, whatever `_SUCCESS` says: parts found damaged may have been removed."""
        return folder.parts().keys() >= {shard for shard, _ in shards(self.images.table.num_rows, self.shard_size)}


def claim_run(
    folder: RunFolder, identity: Identity, images: Images, shard_size: int, about: Mapping[str, Any]
) -> Claim:
    """Make or find the run. The first command fixes images and shard size for ever. Raises OtherSettings if the
    folder was made for other settings or images."""
    standing = folder.claim({"identity": asdict(identity), "shard_size": shard_size, **about})
    _compare(folder.uri, standing.get("identity", {}), asdict(identity))
    fixed = folder.fix_images(images.table)
    if not fixed.equals(images.table.cast(fixed.schema)):
        raise OtherSettings(
            f"The run {folder.uri} was made for other images ({fixed.num_rows} then, {images.table.num_rows} now, or"
            " other labels or sizes); choose another --run-id, or leave it out."
        )
    return Claim(Images(images.root, fixed), int(standing["shard_size"]))


def about(bundle: Bundle, images: Images, tail: str) -> dict[str, Any]:
    """What else `_run.json` tells: where, with what, on what machine. Nothing secret."""
    import psutil

    return {
        "bundle_name": bundle.name,
        "images": images.root.uri,
        "tail": tail,
        "software": {"python": platform.python_version()} | {name: version(name) for name in _SOFTWARE},
        "machine": {
            "platform": platform.platform(),
            "processor": platform.machine(),
            "cores": psutil.cpu_count(),
            "memory_bytes": psutil.virtual_memory().total,
        },
    }


def _compare(uri: str, standing: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    differing = [name for name in mine if standing.get(name) != mine[name]]
    if differing:
        words = ", ".join(f"{name} {str(standing.get(name))[:12]} (now {mine[name][:12]})" for name in differing)
        raise OtherSettings(f"The run {uri} was made with {words}; choose another --run-id, or leave it out.")
