"""The bundle: an imported model in one folder, the only form of a model that commands after `import` work on.

`NAME.bundle/bundle.json` describes the model, and `NAME.bundle/graph.pb` is its frozen TensorFlow graph. Reading a
bundle does not import TensorFlow and runs no code from the bundle.
"""

import hashlib
import io
import json
import math
import os
import shlex
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from hybrid_batch import data
from hybrid_batch.data.errors import NotABundle, StorageFailed, WrongUsage, one_line
from hybrid_batch.data.images.decode import Preprocessing
from hybrid_batch.inference.model.atomic_directory import atomic_directory
from hybrid_batch.inference.model.cuts import INPUT_CUT, MAX_TENSORS, Cut, TensorSpec, match_cut
from hybrid_batch.inference.model.datatypes import NUMPY_DTYPES
from hybrid_batch.inference.model.model_names import APP, BUILT_IN

FORMAT_VERSION = 1
_LIMIT_BYTES = 64 << 20
_GRAPH_LIMIT_BYTES = (2 << 30) - 1  # of a message in the format of TensorFlow
_BUILT_IN_FOLDER = Path(data.__file__).parent / "digits"
_REASON_CHARACTERS = 200
OutputKind = Literal["probabilities", "logits"]
BUNDLE_FILES = _DESCRIPTION_FILE, _GRAPH_FILE = "bundle.json", "graph.pb"
_WEIGHTS, _RANDOM = "weights", "random"  # not in the hash, so that older bundles keep theirs
_MAX_ELEMENTS = 1 << 31  # of a tensor, for one image
_MOST_CLASSES, _MOST_CUTS = 1 << 18, 1 << 12

Entry = TypeVar("Entry")
_LINE = r"^[^\n\v\f\r\x1c-\x1e\x85\u2028\u2029]*\Z"  # text that cannot print a line of its own
Name = Annotated[str, Meta(min_length=1, max_length=1024, pattern=_LINE)]
CutId = Annotated[str, Meta(pattern=r"^[cf][0-9]{1,6}\Z")]
Size = Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]
Macs = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]


@dataclass(frozen=True, slots=True)
class Bundle:
    """The description of a model. `sha256` covers the graph and all values that change a prediction or a cut.

    `labels` are in output order; `cuts` begins with the input cut. `has_random_weights` is true for an untrained model
    of keras.applications."""

    path: Path
    name: str
    source: str
    sha256: str
    input: TensorSpec
    output: TensorSpec
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    output_kind: OutputKind
    cuts: tuple[Cut, ...]
    has_random_weights: bool = False

    @property
    def graph_path(self) -> Path:
        """The file of the frozen graph."""
        return self.path / _GRAPH_FILE

    @property
    def input_cut(self) -> Cut:
        """The cut before the first layer: the whole model is tail."""
        return self.cuts[0]

    @property
    def random_weights_note(self) -> str | None:
        """A sentence about random weights and their remedy; None for a trained model."""
        if not self.has_random_weights:
            return None
        return (
            f"{self.name} has random weights, so its predictions carry no meaning; for trained weights use"
            f" `hybrid-batch import {shlex.quote(self.source)} --weights imagenet` or --weights FILE."
        )

    def cut(self, id_or_name: str) -> Cut:
        """Return the cut with this id or name. Raises CutNotFound."""
        return (
            self.input_cut if id_or_name == INPUT_CUT else match_cut(self.cuts, id_or_name, self.name, self.reference)
        )

    @property
    def reference(self) -> str:
        """The bundle as an argument of a command."""
        path = str(self.path)
        if self.path.parent == _BUILT_IN_FOLDER:
            return self.name
        return shlex.quote(f"./{path}" if path == BUILT_IN or path.startswith(APP) else path)


def write_bundle(bundle: Bundle, graph: bytes) -> Bundle:
    """Write the folder `bundle.path` atomically, in place of an older bundle, and return the bundle with its hash.

    Raises WrongUsage if the folder holds other files, StorageFailed if it cannot be written."""
    try:
        check_replaceable(bundle.path)
        with atomic_directory(bundle.path) as folder:
            return store_bundle(folder, bundle, graph)
    except OSError as error:
        raise unwritable(bundle.path, error) from error


def check_replaceable(path: Path) -> None:
    """Raise WrongUsage if a folder holds other files than a bundle, OSError if it cannot be read."""
    if path.exists() and not is_bundle(path) and any(path.iterdir()):
        raise WrongUsage(f"{path} holds other files; choose another folder for the bundle.")


def unwritable(path: Path, error: OSError) -> StorageFailed:
    """The error for a bundle whose folder cannot be written."""
    return StorageFailed(f"Cannot write the bundle {path}: {error.strerror or error}.")


def store_bundle(folder: Path, bundle: Bundle, graph: bytes) -> Bundle:
    """Write the files of a bundle into an existing folder, and return the bundle with its hash. Raises OSError."""
    content = _content(bundle)
    bundle = replace(bundle, sha256=_hash(content, io.BytesIO(graph)))
    head: dict[str, Any] = {"format": FORMAT_VERSION, "name": bundle.name, "source": bundle.source}
    head["sha256"] = bundle.sha256
    if bundle.has_random_weights:
        head[_WEIGHTS] = _RANDOM
    (folder / _GRAPH_FILE).write_bytes(graph)
    (folder / _DESCRIPTION_FILE).write_text(json.dumps(head | content, indent=1) + "\n", encoding="utf-8")
    return bundle


def is_bundle(path: Path) -> bool:
    """Whether the folder has a bundle's description."""
    return (path / _DESCRIPTION_FILE).is_file()


def read_bundle(path: Path) -> Bundle:
    """Read the bundle in a folder. Raises NotABundle if a file is missing or damaged, or the hash differs."""
    try:
        with _open_regular(path / _DESCRIPTION_FILE, _LIMIT_BYTES) as file:
            content = file.read()
        if (version := _parse_format(content)) != FORMAT_VERSION:
            raise NotABundle(
                f"{path} has bundle format {version}, but this version reads {FORMAT_VERSION}; import the model again."
            )
        stored = _parse_description(content)
        bundle = Bundle(
            path=path,
            name=stored.name,
            source=stored.source,
            sha256=stored.sha256,
            input=_tensor(stored.input),
            output=_tensor(stored.output),
            preprocessing=Preprocessing.from_dict(stored.preparation),
            labels=tuple(stored.labels),
            output_kind=stored.output_kind,
            cuts=tuple(_cut(cut) for cut in stored.cuts),
            has_random_weights=stored.weights == _RANDOM,
        )
        with _open_regular(bundle.graph_path, _GRAPH_LIMIT_BYTES) as graph:
            actual_sha256 = _hash(_content(bundle), graph)
    except OSError as error:
        raise NotABundle(f"{path} is not a bundle: {error.strerror} ({error.filename}).") from error
    except (ValueError, WrongUsage) as error:
        if isinstance(error, NotABundle):
            raise
        reason = one_line(error)[:_REASON_CHARACTERS]
        raise NotABundle(f"{path / _DESCRIPTION_FILE} is damaged ({reason}); import the model again.") from error
    if actual_sha256 != bundle.sha256:
        raise NotABundle(f"{path} was altered after import (its hash differs); import the model again.")
    return bundle


def _open_regular(path: Path, limit_bytes: int) -> io.BufferedReader:
    """Open a file that has an end: not a pipe, which would be awaited, nor a device. Raises NotABundle, OSError."""
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    found = os.fstat(file.fileno())
    if not stat.S_ISREG(found.st_mode) or found.st_size > limit_bytes:
        file.close()
        fact = f"larger than {limit_bytes >> 20} MiB" if stat.S_ISREG(found.st_mode) else "not a regular file"
        raise NotABundle(f"{path} is {fact}, so it does not describe a bundle.")
    return file


class _TensorEntry(msgspec.Struct, frozen=True):
    """A tensor, without the batch."""

    name: Name
    shape: Annotated[list[Size], Meta(max_length=7)]
    datatype: str


class _CutEntry(msgspec.Struct, frozen=True):
    """A cut; its number of elements follows from its boundary."""

    id: CutId
    name: Name
    boundary: Annotated[list[_TensorEntry], Meta(min_length=1, max_length=MAX_TENSORS)]
    head_macs: Macs
    tail_macs: Macs


class _Description(msgspec.Struct, frozen=True):
    """The content of `bundle.json`. Only `weights` may be missing."""

    format: int
    name: Name
    source: Name
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    input: _TensorEntry
    output: _TensorEntry
    preparation: dict[str, Any]
    labels: Annotated[list[Name], Meta(min_length=1, max_length=_MOST_CLASSES)]
    output_kind: OutputKind
    cuts: Annotated[list[_CutEntry], Meta(min_length=1, max_length=_MOST_CUTS)]
    weights: str | None = None


class _Header(msgspec.Struct, frozen=True):
    format: int


def _parse_format(content: bytes) -> int:
    """The version of the format of `bundle.json`. Raises ValueError, with the reason as the end of a sentence."""
    return _decode(content, _Header).format


def _parse_description(content: bytes) -> _Description:
    """Parse `bundle.json`. Raises ValueError, with the reason as the end of a sentence."""
    found = _decode(content, _Description)
    tensors = [found.input, found.output, *(tensor for cut in found.cuts for tensor in cut.boundary)]
    for tensor in tensors:
        if tensor.datatype not in NUMPY_DTYPES:
            raise ValueError(f"tensor {tensor.name[:80]!r} has datatype {tensor.datatype[:20]!r}")
        if math.prod(tensor.shape) > _MAX_ELEMENTS:
            raise ValueError(f"tensor {tensor.name[:80]!r} has shape {tensor.shape}, which is too large")
    if found.cuts[0].id != INPUT_CUT or len(found.cuts[0].boundary) != 1:
        raise ValueError(f"the first cut is not {INPUT_CUT}")
    if len({cut.id for cut in found.cuts}) != len(found.cuts):
        raise ValueError("two cuts have the same id")
    if len(set(found.labels)) != len(found.labels):
        raise ValueError("two classes have the same name")
    outputs = math.prod(found.output.shape)
    if len(found.labels) != (2 if outputs == 1 else outputs):  # one output is the score of the second of two classes
        raise ValueError(f"there are {len(found.labels)} classes for an output of shape {found.output.shape}")
    return found


def _decode(content: bytes, kind: type[Entry]) -> Entry:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ValueError(str(error)) from error


def _content(bundle: Bundle) -> dict[str, Any]:
    """The values that the hash covers."""
    return {
        "input": _tensor_dict(bundle.input),
        "output": _tensor_dict(bundle.output),
        "preparation": bundle.preprocessing.to_dict(),
        "labels": list(bundle.labels),
        "output_kind": bundle.output_kind,
        "cuts": [
            {
                "id": cut.id,
                "name": cut.name,
                "boundary": [_tensor_dict(tensor) for tensor in cut.boundary],
                "elements": cut.elements,
                "head_macs": cut.head_macs,
                "tail_macs": cut.tail_macs,
            }
            for cut in bundle.cuts
        ],
    }


def _hash(content: Mapping[str, Any], graph: io.BufferedIOBase) -> str:
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())
    return hashlib.file_digest(graph, lambda: digest).hexdigest()


def _tensor_dict(tensor: TensorSpec) -> dict[str, Any]:
    return {"name": tensor.name, "shape": list(tensor.shape), "datatype": tensor.datatype}


def _tensor(stored: _TensorEntry) -> TensorSpec:
    return TensorSpec(stored.name, tuple(stored.shape), stored.datatype)


def _cut(stored: _CutEntry) -> Cut:
    boundary = tuple(map(_tensor, stored.boundary))
    return Cut(stored.id, stored.name, boundary, head_macs=stored.head_macs, tail_macs=stored.tail_macs)
