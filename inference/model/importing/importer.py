"""Import a model: freeze it, find its cuts, and write the bundle. No later step needs TensorFlow."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from hybrid_batch.data.errors import BadLabels, ModelRefused, NotABundle, WrongUsage
from hybrid_batch.data.images.decode import Colour, Preprocessing, Resize, Scale
from hybrid_batch.inference.model.bundle import Bundle, is_bundle, read_bundle, write_bundle
from hybrid_batch.inference.model.cuts import Cut, find_cuts, operations_between
from hybrid_batch.inference.model.importing.class_names import read_classes
from hybrid_batch.inference.model.importing.freeze import FrozenGraph, freeze
from hybrid_batch.inference.model.importing.keras.keras_applications import APP, load_application
from hybrid_batch.inference.model.importing.keras.keras_files import read_keras
from hybrid_batch.inference.model.importing.min_cut import hull_cuts
from hybrid_batch.inference.model.importing.sandbox.limits import Protections
from hybrid_batch.inference.model.importing.saved_model.saved_models import read_saved_model
from hybrid_batch.inference.model.importing.traceable_model import TraceableModel, wrap_keras_model

_KERAS_SUFFIXES = {".keras", ".h5", ".hdf5"}
_COLOURS: dict[int, Colour] = {1: "grey", 3: "rgb"}


@dataclass(frozen=True, slots=True)
class ImportSettings:
    """The user's settings for an import. None leaves the choice to the model file or a default.

    `size` is (height, width) or (height, width, channels), `classes` a file of class names, `weights` of an application
    is none, imagenet or a file. `trust` allows code in a Keras file to run, and any class and
    function that it names."""

    scale: Scale | None = None
    resize: Resize | None = None
    colour: Colour | None = None
    size: tuple[int, ...] | None = None
    classes: Path | None = None
    weights: str = "none"
    trust: bool = False


@dataclass(frozen=True, slots=True)
class ImportResult:
    """The bundle, and a note for each value that was assumed because the user did not give it.

    `protections` are those of the process that imported the model; None for a bundle, which needs none."""

    bundle: Bundle
    notes: tuple[str, ...]
    protections: Protections | None = None


@dataclass(frozen=True, slots=True)
class BuiltBundle:
    """A bundle that is not yet stored, its serialised graph, and a note for each value that was assumed."""

    bundle: Bundle
    graph: bytes
    notes: tuple[str, ...]


def import_model(reference: str, path: Path, settings: ImportSettings) -> ImportResult:
    """Import a model file, a SavedModel folder or `app:NAME` into the folder `path`, in this process; of a bundle, only
    the input preparation and the class names can be set anew.

    Commands import the models of strangers with `isolated_import.import_isolated`. Raises NotABundle (missing or
    unreadable), ModelRefused (cannot be cut, or would run code), BadLabels (the classes file does not match the
    outputs), WrongUsage (an impossible setting), StorageFailed, MissingExtra (no TensorFlow).
    """
    if not reference.startswith(APP) and is_bundle(Path(reference)):
        return import_bundle(read_bundle(Path(reference)), path, settings)
    built = build_bundle(reference, path, settings)
    return ImportResult(write_bundle(built.bundle, built.graph), built.notes)


def check_reference(reference: str) -> None:
    """Raise NotABundle if `reference` does not exist, or its name is that of another kind of file."""
    path = Path(reference)
    if reference.startswith(APP) or path.is_dir():
        return
    if not path.exists():
        raise NotABundle(f"No model at {reference}; give a model file, a SavedModel folder or app:NAME.")
    if not path.is_file():  # a pipe or a device, which has no end
        raise NotABundle(f"{reference} is neither a file nor a folder, so it is not a model.")
    if path.suffix.lower() not in _KERAS_SUFFIXES:
        raise NotABundle(
            f"{reference} is not a model; give a .keras, .h5 or .hdf5 file, a SavedModel folder or app:NAME."
        )


def build_bundle(reference: str, path: Path, settings: ImportSettings) -> BuiltBundle:
    """Make the bundle of a model, for the folder `path`, without writing it. Raises as `import_model` does."""
    classes = None if settings.classes is None else len(read_classes(settings.classes).names)
    return _build(_load(reference, settings, classes), Path(reference).name, path, settings)


def import_bundle(bundle: Bundle, path: Path, settings: ImportSettings) -> ImportResult:
    """Copy a bundle with the preparation and the class names of `settings`. Raises WrongUsage, BadLabels."""
    before = bundle.preprocessing
    if settings.size is not None or settings.weights != "none":
        raise WrongUsage(
            f"The graph of {bundle.path} keeps its size and weights; import the model again to change them."
        )
    preprocessing = replace(
        before,
        scale=settings.scale or before.scale,
        resize=settings.resize or before.resize,
        colour=_colour(settings.colour or before.colour, before.channels),
    )
    labels, notes = (bundle.labels, ()) if settings.classes is None else _labels(settings, len(bundle.labels))
    changed = replace(
        bundle, path=path, name=path.name.removesuffix(".bundle"), preprocessing=preprocessing, labels=labels
    )
    return ImportResult(write_bundle(changed, bundle.graph_path.read_bytes()), notes)


def _load(reference: str, settings: ImportSettings, classes: int | None) -> TraceableModel:
    check_reference(reference)
    if reference.startswith(APP):
        return load_application(reference, settings.size, settings.weights, classes)
    path = Path(reference)
    if path.is_dir():
        return read_saved_model(path, settings.size)
    return wrap_keras_model(read_keras(path, trust=settings.trust), settings.size)


def import_traceable_model(model: TraceableModel, source: str, path: Path, settings: ImportSettings) -> ImportResult:
    """Import a model in memory into the folder `path`. The bundle stores `source` as its origin.

    Raises ModelRefused, BadLabels, WrongUsage, StorageFailed."""
    built = _build(model, source, path, settings)
    return ImportResult(write_bundle(built.bundle, built.graph), built.notes)


def _build(model: TraceableModel, source: str, path: Path, settings: ImportSettings) -> BuiltBundle:
    colour, (scale, notes) = _colour(settings.colour, model.shape[2]), _scale(settings.scale, model)
    frozen = freeze(model)
    tensors = {spec.name: spec for op in frozen.ops for spec in op.outputs if spec is not None}
    scores = tensors.get(frozen.output)
    if scores is None or len(scores.shape) != 1 or scores.datatype != "FP32":
        shape = "of no fixed shape" if scores is None else f"{'x'.join(map(str, scores.shape))} {scores.datatype}"
        raise ModelRefused(f"The model's output for an image is {shape}; one row of scores is needed.")
    classes = 2 if scores.elements == 1 else scores.elements
    labels, label_notes = _labels(settings, classes)
    height, width, _ = model.shape
    bundle = Bundle(
        path=path,
        name=path.name.removesuffix(".bundle"),
        source=source,
        sha256="",
        input=tensors[frozen.input],
        output=scores,
        preprocessing=Preprocessing(height, width, colour, settings.resize or "squash", scale),
        labels=labels,
        output_kind=frozen.output_kind,
        cuts=_cuts(frozen),
        has_random_weights=model.has_random_weights,
    )
    notes = (*notes, *_output_notes(bundle), *label_notes)
    return BuiltBundle(bundle, frozen.graph, notes)


def _output_notes(bundle: Bundle) -> Iterator[str]:
    """What is assumed about the output of the model."""
    is_logits = bundle.output_kind == "logits"
    if bundle.output.elements == 1:
        value = "a logit, and its sigmoid as the probability" if is_logits else "the probability"
        yield f"the only output is taken as {value} of class {bundle.labels[1]}"
    elif is_logits:
        yield "the outputs are logits, so confidences are their softmax"


def _classes(count: int) -> str:
    return f"{count} class{'' if count == 1 else 'es'}"


def _cuts(frozen: FrozenGraph) -> tuple[Cut, ...]:
    """The cuts on one walk through the graph, and those across branches that the walk does not pass."""
    cuts = find_cuts(frozen.ops, frozen.input, frozen.output)
    return (*cuts, *hull_cuts(operations_between(frozen.ops, frozen.input, frozen.output), cuts))


def _scale(given: Scale | None, model: TraceableModel) -> tuple[Scale, tuple[str, ...]]:
    """The scale, and a note if it was assumed."""
    if not model.dtype.startswith(("float", "bfloat")):
        if given not in (None, "0-255"):
            raise WrongUsage(f"The model takes {model.dtype} pixels, but --scale {given} gives floats; use 0-255.")
        return "0-255", ()
    known = given or model.scale
    return known or "0-1", () if known else (
        "no pixel scale is known, so 0-1 is assumed (--scale sets it; a run on labelled images checks it)",
    )


def _colour(given: Colour | None, channels: int) -> Colour:
    if channels not in _COLOURS or (given is not None and (given == "grey") != (channels == 1)):
        noun = "channel" if channels == 1 else "channels"
        raise ModelRefused(f"The model takes {channels} {noun}, which does not match --colour {given or 'rgb'}.")
    return given or _COLOURS[channels]


def _labels(settings: ImportSettings, classes: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The class names, and a note if they are not the lines of the user's file."""
    path = settings.classes
    if path is None:
        note = f"no class names are given, so the classes are called 0 to {classes - 1} (--classes FILE names them)"
        return tuple(str(index) for index in range(classes)), (note,)
    found = read_classes(path)
    names = found.names
    if len(names) != classes:
        raise BadLabels(f"{path} names {_classes(len(names))} but the model has {classes}; give one name per output.")
    if not found.were_indexed:
        return names, ()
    scale = "" if settings.scale else "; its image models expect --scale -1-1"
    note = f"removed the index before each name in {path.name}, as Teachable Machine writes it{scale}"
    return names, (note,)
