"""Import: trace a model once, fold its variables to constants, find its cuts, and write the bundle.

TensorFlow is needed here and nowhere else.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.decode import Colour, Preparation, Resize, Scale
from data.errors import BadLabels, ModelRefused
from inference.bundle import Bundle, write_bundle
from inference.cuts import TensorSpec, find_cuts
from inference.frameworks import import_tensorflow, quiet
from inference.graph import list_ops, output_kind, tensor_spec
from inference.sources import Source, load_source

# Ops that reach outside the graph, and those that keep state or calls which freezing should have removed.
_RUNS_CODE = {
    "PyFunc",
    "PyFuncStateless",
    "EagerPyFunc",
    "ReadFile",
    "WriteFile",
    "MatchingFiles",
    "Save",
    "SaveV2",
}
_NOT_FROZEN = {
    "VarHandleOp",
    "ReadVariableOp",
    "PartitionedCall",
    "StatefulPartitionedCall",
    "While",
    "HashTableV2",
}
_COLOURS: dict[int, Colour] = {1: "grey", 3: "rgb"}


@dataclass(frozen=True, slots=True)
class ImportSettings:
    """What the user states of a model; None where its source or a default decides."""

    scale: Scale | None = None
    resize: Resize = "squash"
    colour: Colour | None = None
    size: tuple[int, int] | None = None
    classes: Path | None = None
    weights: str = "none"
    trust: bool = False


@dataclass(frozen=True, slots=True)
class Imported:
    """The bundle, and what was assumed for want of a word from the user."""

    bundle: Bundle
    notes: tuple[str, ...]


def import_model(text: str, path: Path, settings: ImportSettings) -> Imported:
    """Import the model `text` names into the folder `path`.

    Raises NotABundle (missing or unreadable), ModelRefused (cannot be cut, or would run code), BadLabels
    (the classes file does not fit the outputs), MissingExtra (no TensorFlow here).
    """
    labels = None if settings.classes is None else read_classes(settings.classes)
    source = load_source(
        text,
        size=settings.size,
        weights=settings.weights,
        classes=None if labels is None else len(labels),
        trust=settings.trust,
    )
    return import_source(source, Path(text).name, path, settings)


def import_source(source: Source, named: str, path: Path, settings: ImportSettings) -> Imported:
    """Import a traced model, whatever it came from; `named` is what the bundle says of its origin."""
    graph_def, input_tensor, output_tensor, operations = _freeze(source)
    image, scores = _image(input_tensor), _scores(output_tensor)
    ops = list_ops(input_tensor.graph, source.layers)
    notes = [] if settings.scale or source.scale else ["assumed pixels from 0 to 1 (state it with --scale)"]
    classes = 2 if scores.elements == 1 else scores.elements
    labels = _labels(settings.classes, classes)
    if settings.classes is None:
        notes.append(f"named the classes 0 to {classes - 1} (name them with --classes FILE)")
    bundle = Bundle(
        path=path,
        name=path.name.removesuffix(".bundle"),
        source=named,
        sha256="",
        input=image,
        output=scores,
        preparation=Preparation(
            height=image.shape[0],
            width=image.shape[1],
            colour=_colour(settings.colour, image.shape[2]),
            resize=settings.resize,
            scale=settings.scale or source.scale or "0-1",
        ),
        labels=labels,
        output_kind=output_kind(operations, output_tensor.name),
        cuts=find_cuts(ops, image.name, scores.name),
    )
    return Imported(write_bundle(bundle, graph_def), tuple(notes))


def read_classes(path: Path) -> tuple[str, ...]:
    """Class names, one a line, in the order of the model's outputs. Raises BadLabels."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadLabels(f"Cannot read the class names in {path}: {error}.") from error
    names = tuple(line.strip() for line in lines)
    while names and not names[-1]:
        names = names[:-1]
    if not names or "" in names:
        raise BadLabels(f"{path} must name one class a line; line {names.index('') + 1 if names else 1} is empty.")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadLabels(f"{path} names the class {twice!r} twice; every class needs a name of its own.")
    return names


def _freeze(source: Source) -> tuple[bytes, Any, Any, list[Any]]:
    """The frozen graph's bytes, its input and output tensors and its operations."""
    tf = import_tensorflow()
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    try:
        with quiet():
            frozen = convert_variables_to_constants_v2(source.function)
    except Exception as error:  # the converter raises anything on what it does not know
        raise ModelRefused(f"TensorFlow cannot freeze this model: {str(error).splitlines()[0]}") from error
    if len(frozen.inputs) != 1 or len(frozen.outputs) != 1:
        raise ModelRefused(
            f"The model has {len(frozen.inputs)} inputs and {len(frozen.outputs)} outputs;"
            " one image in and one row of scores out are needed."
        )
    output = frozen.outputs[0]
    with quiet():
        graph_def = tf.compat.v1.graph_util.extract_sub_graph(frozen.graph.as_graph_def(), [output.op.name])
    kinds = {node.op for node in graph_def.node}
    if outside := kinds & _RUNS_CODE:
        raise ModelRefused(f"The model reaches outside its graph ({', '.join(sorted(outside))}); it is refused.")
    if left := kinds & _NOT_FROZEN:
        raise ModelRefused(f"The model keeps state or control flow that cannot be frozen ({', '.join(sorted(left))}).")
    return (
        graph_def.SerializeToString(deterministic=True),
        frozen.inputs[0],
        output,
        frozen.graph.get_operations(),
    )


def _image(tensor: Any) -> TensorSpec:  # noqa: ANN401
    spec = tensor_spec(tensor)
    if spec is None or len(spec.shape) != 3:
        raise ModelRefused(
            f"The model's input has shape {_shape(tensor)}; (batch, height, width, channels) is needed, with"
            " any batch. Where height and width are unknown, state them with --size HEIGHTxWIDTH."
        )
    return spec


def _scores(tensor: Any) -> TensorSpec:  # noqa: ANN401
    spec = tensor_spec(tensor)
    if spec is None or len(spec.shape) != 1:
        raise ModelRefused(f"The model's output has shape {_shape(tensor)}; a classifier's is (batch, classes).")
    return spec


def _shape(tensor: Any) -> str:  # noqa: ANN401
    return str(tensor.shape).replace("None", "?")


def _colour(stated: Colour | None, channels: int) -> Colour:
    if channels not in _COLOURS or (stated is not None and (stated == "grey") != (channels == 1)):
        raise ModelRefused(f"The model takes {channels} channels, which does not fit --colour {stated or 'rgb'}.")
    return stated or _COLOURS[channels]


def _labels(path: Path | None, classes: int) -> tuple[str, ...]:
    if path is None:
        return tuple(str(index) for index in range(classes))
    names = read_classes(path)
    if len(names) != classes:
        raise BadLabels(f"{path} names {len(names)} classes but the model has {classes}; give one name an output.")
    return names
