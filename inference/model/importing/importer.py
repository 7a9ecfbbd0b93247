"""Import: trace a model once, fold its variables to constants, find its cuts, and write the bundle.

TensorFlow is needed here and nowhere else.
"""

from dataclasses import dataclass
from pathlib import Path

from hybrid_batch.data.errors import BadLabels, ModelRefused, NotABundle, WrongUsage
from hybrid_batch.data.images.decode import Colour, Preparation, Resize, Scale
from hybrid_batch.inference.model.bundle import Bundle, write_bundle
from hybrid_batch.inference.model.cuts import Cut, find_cuts, operations_between
from hybrid_batch.inference.model.importing.freeze import Frozen, freeze
from hybrid_batch.inference.model.importing.keras_applications import APP, make_application
from hybrid_batch.inference.model.importing.keras_files import read_keras
from hybrid_batch.inference.model.importing.min_cut import hull_frontiers
from hybrid_batch.inference.model.importing.saved_models import read_saved_model
from hybrid_batch.inference.model.importing.traceable_model import Source, trace

_KERAS_SUFFIXES = {".keras", ".h5", ".hdf5"}
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
    (the classes file does not fit the outputs), WrongUsage (a setting that cannot be), MissingExtra (no TensorFlow).
    """
    labels = None if settings.classes is None else read_classes(settings.classes)
    source = _load(text, settings, None if labels is None else len(labels))
    return import_source(source, Path(text).name, path, settings)


def _load(text: str, settings: ImportSettings, classes: int | None) -> Source:
    if text.startswith(APP):
        return make_application(text, settings.size, settings.weights, classes)
    path = Path(text)
    if path.is_dir():
        return read_saved_model(path, settings.size)
    if not path.exists():
        raise NotABundle(f"No model at {text}; give a model file, a SavedModel folder or app:NAME.")
    if path.suffix.lower() in _KERAS_SUFFIXES:
        return trace(read_keras(path, trust=settings.trust), settings.size)
    raise NotABundle(f"{text} is no model; give a .keras, .h5 or .hdf5 file, a SavedModel folder or app:NAME.")


def import_source(source: Source, named: str, path: Path, settings: ImportSettings) -> Imported:
    """Import a model that is in memory already; `named` is what the bundle says of its origin."""
    colour, (scale, notes) = _colour(settings.colour, source.shape[2]), _scale(settings.scale, source)
    frozen = freeze(source)
    tensors = {spec.name: spec for op in frozen.ops for spec in op.outputs if spec is not None}
    scores = tensors.get(frozen.output)
    if scores is None or len(scores.shape) != 1 or scores.datatype != "FP32":
        shape = "of no fixed shape" if scores is None else f"{'x'.join(map(str, scores.shape))} {scores.datatype}"
        raise ModelRefused(f"The model's output for an image is {shape}; one row of scores is needed.")
    classes = 2 if scores.elements == 1 else scores.elements
    labels = _labels(settings.classes, classes)
    if settings.classes is None:
        notes = (*notes, f"named the classes 0 to {classes - 1} (name them with --classes FILE)")
    height, width, _ = source.shape
    bundle = Bundle(
        path=path,
        name=path.name.removesuffix(".bundle"),
        source=named,
        sha256="",
        input=tensors[frozen.input],
        output=scores,
        preparation=Preparation(height, width, colour, settings.resize, scale),
        labels=labels,
        output_kind=frozen.output_kind,
        cuts=_cuts(frozen),
    )
    return Imported(write_bundle(bundle, frozen.graph), notes)


def _cuts(frozen: Frozen) -> tuple[Cut, ...]:
    """Those that a walk meets, and those across branches that no walk does."""
    cuts = find_cuts(frozen.ops, frozen.input, frozen.output)
    return (*cuts, *hull_frontiers(operations_between(frozen.ops, frozen.input, frozen.output), cuts))


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


def _scale(stated: Scale | None, source: Source) -> tuple[Scale, tuple[str, ...]]:
    """The scale, and a note if it was assumed."""
    if not source.dtype.startswith(("float", "bfloat")):
        if stated not in (None, "0-255"):
            raise WrongUsage(f"The model takes {source.dtype} pixels, which --scale {stated} does not give; use 0-255.")
        return "0-255", ()
    known = stated or source.scale
    return known or "0-1", () if known else ("assumed pixels from 0 to 1 (state it with --scale)",)


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
