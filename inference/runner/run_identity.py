"""The identity of a run: the same command resumes its own run, and a different command is rejected."""

import hashlib
import json
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from hybrid_batch.data.errors import NotARun, SettingsMismatch
from hybrid_batch.data.images.images import ImageSet
from hybrid_batch.data.log.records import LOCAL_TAIL
from hybrid_batch.data.log.runs import RunFolder, shards
from hybrid_batch.data.storage.file_names import to_former_text, to_text
from hybrid_batch.data.storage.local_storage import LocalStorage
from hybrid_batch.data.storage.storage import Storage
from hybrid_batch.data.terminal.numbers import format_count
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.runner.split import LocalSplit, Split

_SOFTWARE = ("hybrid-batch", "openvino", "numpy", "pillow", "pyarrow")


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """The settings that decide the predictions of a run, besides its images. `bundle` is the bundle's hash; `engine` is
    the runtime, under the key that existing logs have."""

    bundle: str
    split: str
    codec: str
    engine: str

    def run_id(self, images: pa.Table) -> str:
        """The default run id: equal for equal identity and images (names, labels, sizes)."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode())
        for column in (_with_former_names(images) or images).columns:
            for value in column.to_pylist():
                digest.update(f"{value}\n".encode())
        return digest.hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class RunInputs:
    """The images and the shard size (in images) that a run's first command fixed."""

    images: ImageSet
    shard_size: int

    def is_complete(self, folder: RunFolder) -> bool:
        """Whether every part exists. `_SUCCESS` does not prove it: damaged parts may have been removed later."""
        return folder.parts().keys() >= {shard for shard, _ in shards(self.images.table.num_rows, self.shard_size)}


def open_run(
    folder: RunFolder,
    identity: RunIdentity,
    images: ImageSet,
    shard_size: int,
    metadata: Mapping[str, Any],
    *,
    note: Callable[[str], None] = lambda _: None,
) -> RunInputs:
    """Create the run, or resume it. The first command fixes the images and the shard size. `note` is called as
    `RunFolder.create` does. Raises SettingsMismatch when the folder belongs to a run with other settings or images."""
    stored = folder.create({"identity": asdict(identity), "shard_size": shard_size, **metadata}, note)
    return _checked(folder.uri, identity, images, stored, folder.freeze_images(images.table))


def read_run(folder: RunFolder, identity: RunIdentity, images: ImageSet) -> RunInputs | None:
    """As `open_run` for an existing run; None if the run has not begun. Nothing is written."""
    try:
        stored, frozen = folder.settings(), folder.images()
    except NotARun:  # it has not begun; damage is reported by `open_run`
        return None
    return _checked(folder.uri, identity, images, stored, frozen)


def _checked(
    uri: str, identity: RunIdentity, images: ImageSet, stored: Mapping[str, Any], frozen: pa.Table
) -> RunInputs:
    _check_identity(uri, stored.get("identity", {}), asdict(identity))
    former = _with_former_names(images.table)
    if not any(frozen.equals(table.cast(frozen.schema)) for table in (images.table, former) if table is not None):
        before, now = (format_count(table.num_rows, "image") for table in (frozen, images.table))
        raise SettingsMismatch(
            f"Run {uri} was begun with {before}, and IMAGES now has {now}, or other names, "
            "labels or sizes; use another --run-id, or leave it out."
        )
    return RunInputs(replace(images, table=frozen), int(stored["shard_size"]))


def run_metadata(bundle: Bundle, images: ImageSet, tail: str, split: Split | None = None) -> dict[str, Any]:
    """The other content of `_run.json`: bundle, images, labels, split, tail, software and machine. No secrets.

    `split` is that of every batch, None for an adaptive run."""
    import psutil

    return {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "bundle_name": bundle.name,
        **({"weights": "random"} if bundle.has_random_weights else {}),
        "images": location(images.root),
        **({"skipped": skipped} if (skipped := images.skipped.to_dict()) else {}),
        "labels": images.label_source or "none",
        **({} if split is None else {"cut": split.name, "cut_name": _cut_name(bundle, split), "codec": split.codec}),
        "tail": LOCAL_TAIL if isinstance(split, LocalSplit) else tail,
        "software": {"python": platform.python_version()} | {name: version(name) for name in _SOFTWARE},
        "machine": {
            "platform": platform.platform(),
            "processor": platform.machine(),
            "cores": psutil.cpu_count(),
            "memory_bytes": psutil.virtual_memory().total,
        },
    }


def location(root: Storage) -> str:
    """Where the images are, for commands in another working folder too."""
    return to_text(os.path.abspath(root.folder)) if isinstance(root, LocalStorage) else root.uri  # noqa: PTH100


def _with_former_names(images: pa.Table) -> pa.Table | None:
    """The images with the names that former logs have; None where two images would have the same, or none differs."""
    names = images["image"].to_pylist()
    former = [to_former_text(name) for name in names]
    if former == names or len(set(former)) < len(former):
        return None
    renamed = images.set_column(0, images.schema.field("image"), pa.array(former))
    return renamed.take(pc.sort_indices(renamed["image"]))


def _cut_name(bundle: Bundle, split: Split) -> str:
    return split.name if isinstance(split, LocalSplit) else bundle.cut(split.name).name


def _check_identity(uri: str, stored: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    differing = [name for name in mine if stored.get(name) != mine[name]]
    if differing:
        changes = ", ".join(f"{name} {str(stored.get(name))[:12]} (now {mine[name][:12]})" for name in differing)
        raise SettingsMismatch(
            f"Run {uri} exists with other settings: {changes}; use another --run-id, or leave it out."
        )
