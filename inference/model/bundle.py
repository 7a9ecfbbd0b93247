"""The bundle: an imported model in one folder, the only representation everything after import works on.

`NAME.bundle/bundle.json` describes, `NAME.bundle/graph.pb` is the frozen TensorFlow graph. Nothing here
imports TensorFlow, and nothing in a bundle is code of anyone's.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from hybrid_batch.data.errors import NotABundle, StorageFailed, WrongUsage
from hybrid_batch.data.images.decode import Preparation
from hybrid_batch.inference.model.atomic_directory import new_folder
from hybrid_batch.inference.model.cuts import WHOLE, Cut, TensorSpec, match_cut

FORMAT_VERSION = 1
OutputKind = Literal["probabilities", "logits"]
_DESCRIPTION, _GRAPH = "bundle.json", "graph.pb"


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a bundle says of itself. `sha256` covers the graph and everything that changes a prediction or a cut."""

    path: Path
    name: str
    source: str
    sha256: str
    input: TensorSpec
    output: TensorSpec
    preparation: Preparation
    labels: tuple[str, ...]
    output_kind: OutputKind
    cuts: tuple[Cut, ...]

    @property
    def graph_path(self) -> Path:
        """The frozen graph."""
        return self.path / _GRAPH

    @property
    def whole(self) -> Cut:
        """The cut before everything: all of the model is tail."""
        return self.cuts[0]

    def cut(self, wanted: str) -> Cut:
        """The cut with this id or name; raises CutNotFound."""
        return self.whole if wanted == WHOLE else match_cut(self.cuts, wanted, self.name)


def write_bundle(bundle: Bundle, graph: bytes) -> Bundle:
    """Write the folder `bundle.path`, replacing a bundle that is there; gives the bundle with its hash.

    The folder appears whole or not at all. Raises WrongUsage if something else is there, StorageFailed."""
    content = _content(bundle)
    bundle = replace(bundle, sha256=_hash(content, io.BytesIO(graph)))
    head = {"format": FORMAT_VERSION, "name": bundle.name, "source": bundle.source, "sha256": bundle.sha256}
    try:
        if bundle.path.exists() and not is_bundle(bundle.path) and any(bundle.path.iterdir()):
            raise WrongUsage(f"{bundle.path} holds something else; choose another place for the bundle.")
        with new_folder(bundle.path) as folder:
            (folder / _GRAPH).write_bytes(graph)
            (folder / _DESCRIPTION).write_text(json.dumps(head | content, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageFailed(f"Cannot write the bundle {bundle.path}: {error.strerror or error}.") from error
    return bundle


def is_bundle(path: Path) -> bool:
    """Whether the folder looks like a bundle."""
    return (path / _DESCRIPTION).is_file()


def read_bundle(path: Path) -> Bundle:
    """The bundle in a folder. Raises NotABundle when something is missing, foreign or altered."""
    try:
        stored: dict[str, Any] = json.loads((path / _DESCRIPTION).read_text(encoding="utf-8"))
        if stored["format"] != FORMAT_VERSION:
            raise NotABundle(
                f"{path} is of bundle format {stored['format']}, this software reads {FORMAT_VERSION}; import it again."
            )
        bundle = Bundle(
            path=path,
            name=stored["name"],
            source=stored["source"],
            sha256=stored["sha256"],
            input=_tensor(stored["input"]),
            output=_tensor(stored["output"]),
            preparation=Preparation.from_dict(stored["preparation"]),
            labels=tuple(stored["labels"]),
            output_kind=stored["output_kind"],
            cuts=tuple(_cut(cut) for cut in stored["cuts"]),
        )
        with bundle.graph_path.open("rb") as graph:
            found = _hash(_content(bundle), graph)
    except OSError as error:
        raise NotABundle(f"{path} is no bundle: {error.strerror} ({error.filename}).") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotABundle(f"{path / _DESCRIPTION} is damaged ({error!r}); import the model again.") from error
    if found != bundle.sha256:
        raise NotABundle(f"{path} was altered after import (its hash differs); import the model again.")
    return bundle


def _content(bundle: Bundle) -> dict[str, Any]:
    return {
        "input": _tensor_dict(bundle.input),
        "output": _tensor_dict(bundle.output),
        "preparation": bundle.preparation.to_dict(),
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


def _tensor(stored: Mapping[str, Any]) -> TensorSpec:
    return TensorSpec(stored["name"], tuple(int(n) for n in stored["shape"]), stored["datatype"])


def _cut(stored: Mapping[str, Any]) -> Cut:
    return Cut(
        id=stored["id"],
        name=stored["name"],
        boundary=tuple(_tensor(tensor) for tensor in stored["boundary"]),
        head_macs=int(stored["head_macs"]),
        tail_macs=int(stored["tail_macs"]),
    )
